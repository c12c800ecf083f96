"""From a sympy expression to pointwise ops: one walk for graphs (user-defined ops) and for text (derivatives).

``lower`` asks a :class:`Planner` how one expression is computed from smaller ones and works through those with an
explicit stack, so the walk sets no limit to nesting (sympy's own constructors do, at some hundred levels).  Equal
subexpressions are computed once.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from graphc.errors import UnsupportedOp
from graphc.ops.symbolic_patterns import minus_signs, rewritten, shortened, sigmoid_argument, with_sigmoids

if TYPE_CHECKING:
    import sympy

Value = TypeVar("Value")


class Emitter(abc.ABC, Generic[Value]):
    """Where the ops go: a graph or a text.  ``Value`` stands for the value of a subexpression."""

    @abc.abstractmethod
    def op(self, name: str, *operands: Value) -> Value:
        """The op ``name`` on values."""

    @abc.abstractmethod
    def number(self, value: float) -> Value:
        """A constant."""

    @abc.abstractmethod
    def truth(self, value: bool) -> Value:
        """A boolean constant."""


class Plan:
    """How an expression is computed: from ``operands``, by ``combine(emitter, values)``."""

    __slots__ = ("combine", "operands")

    def __init__(self, operands: tuple[Any, ...], combine: Callable[[Emitter[Any], list[Any]], Any]) -> None:
        self.operands = operands
        self.combine = combine


def lower(expression: sympy.Basic, symbols: Mapping[sympy.Symbol, Value], emitter: Emitter[Value]) -> Value:
    """Compute ``expression`` where each symbol has the value given.

    Raises:
        UnsupportedOp: E333, naming a sympy function that no op computes.
    """
    planner = Planner()
    values: dict[Any, Value] = dict(symbols)
    plans: dict[Any, Plan] = {}
    stack: list[Any] = [expression]
    while stack:
        top = stack[-1]
        if top in values:
            stack.pop()
            continue
        found = plans.get(top)
        if found is None:
            found = plans[top] = planner.plan(top)
            stack.extend(operand for operand in reversed(found.operands) if operand not in values)
            continue
        stack.pop()
        values[top] = found.combine(emitter, [values[operand] for operand in found.operands])
    return values[expression]


def _named(name: str) -> Callable[[Emitter[Any], list[Any]], Any]:
    return lambda emitter, values: emitter.op(name, *values)


def _folded(name: str) -> Callable[[Emitter[Any], list[Any]], Any]:
    """A binary op over two or more values, from the left."""

    def combine(emitter: Emitter[Any], values: list[Any]) -> Any:
        total = values[0]
        for value in values[1:]:
            total = emitter.op(name, total, value)
        return total

    return combine


_FUNCTIONS = {
    "Abs": "abs",
    "acos": "acos",
    "acosh": "acosh",
    "asin": "asin",
    "asinh": "asinh",
    "atan": "atan",
    "atan2": "atan2",
    "atanh": "atanh",
    "ceiling": "ceil",
    "cos": "cos",
    "cosh": "cosh",
    "erf": "erf",
    "exp": "exp",
    "floor": "floor",
    "log": "log",
    "sign": "sign",
    "sin": "sin",
    "sinh": "sinh",
    "tan": "tan",
    "tanh": "tanh",
    "Mod": "remainder",
    "Equality": "equal",
    "Unequality": "not_equal",
    "StrictLessThan": "less",
    "LessThan": "less_equal",
    "StrictGreaterThan": "greater",
    "GreaterThan": "greater_equal",
    "Not": "logical_not",
}
"""sympy class → op of the same operands."""

_FOLDED = {"Max": "maximum", "Min": "minimum", "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


class Planner:
    """Plans one expression at a time; remembers which subexpressions are plain numbers."""

    def __init__(self) -> None:
        import sympy

        self._sympy = sympy
        self._numeric: dict[Any, bool] = {}

    def plan(self, expression: Any) -> Plan:
        """How ``expression`` is computed.

        Raises:
            UnsupportedOp: E333.
        """
        sympy = self._sympy
        if expression is sympy.true or expression is sympy.false:
            held = expression is sympy.true
            return Plan((), lambda emitter, _: emitter.truth(held))
        if self.is_number(expression):
            number = self.to_float(expression)
            return Plan((), lambda emitter, _: emitter.number(number))
        kind = type(expression).__name__
        if expression.is_Add:
            return self._plan_sum(expression)
        if expression.is_Mul:
            return self._plan_product(expression)
        if expression.is_Pow:
            return self._plan_power(expression.base, expression.exp)
        if kind == "exp":
            return Plan((expression.args[0],), _named("exp"))
        if kind == "log":
            return self._plan_log(expression)
        if kind == "floor" and expression.args[0].is_Mul:
            above, below = sympy.fraction(expression.args[0])
            if below != 1:
                return Plan((above, below), _named("floor_divide"))
        if kind in _FUNCTIONS:
            return Plan(expression.args, _named(_FUNCTIONS[kind]))
        if kind in _FOLDED:
            # Sorted: sympy keeps the operands of these in a set.
            return Plan(tuple(sorted(expression.args, key=sympy.default_sort_key)), _folded(_FOLDED[kind]))
        if kind == "Heaviside":
            return self._plan_step(expression)
        if kind == "Piecewise":
            return _plan_piecewise(expression)
        other = rewritten(expression)
        if other is not None:
            return Plan((other,), lambda _, values: values[0])
        raise UnsupportedOp("E333", f"no op computes the sympy function {kind}, in {shortened(expression)}")

    # -- numbers -------------------------------------------------------------------------------------------------

    def is_number(self, expression: Any) -> bool:
        """True where no symbol occurs and the value is a number.  sympy's own ``is_number`` recurses."""
        known = self._numeric
        stack = [expression]
        while stack:
            top = stack[-1]
            if top in known:
                stack.pop()
                continue
            if not top.args:
                known[top] = bool(getattr(top, "is_number", False))
                continue
            waiting = [argument for argument in top.args if argument not in known]
            if waiting:
                stack.extend(waiting)
                continue
            known[top] = not top.is_Boolean and all(known[argument] for argument in top.args) and top.is_number is True
        return known[expression]

    def to_float(self, expression: Any) -> float:
        """The value of a number, rounded once."""
        value = self._sympy.N(expression, 30)
        if value is self._sympy.nan or value.is_extended_real is not True:
            raise UnsupportedOp("E333", f"not a real number: {shortened(expression)}")
        return float(value)

    # -- sums, products, powers ----------------------------------------------------------------------------------

    def _plan_sum(self, expression: Any) -> Plan:
        """Terms with a minus sign are subtracted; ``exp(u) - 1`` is ``expm1(u)``."""
        sympy = self._sympy
        terms = list(expression.args)
        exponential = next((term for term in terms if isinstance(term, sympy.exp)), None)
        added: list[Any] = []
        subtracted: list[Any] = []
        fused: list[Any] = []
        if exponential is not None and sympy.S.NegativeOne in terms:
            terms = [term for term in terms if term is not exponential and term is not sympy.S.NegativeOne]
            fused.append(exponential.args[0])
        for term in sorted(terms, key=self.is_number):  # numbers last: x + 1
            negated = (self.is_number(term) and self.to_float(term) < 0) or term.as_coeff_Mul()[0].is_negative
            (subtracted if negated else added).append(-term if negated else term)
        split = len(fused) + len(added)

        def combine(emitter: Emitter[Any], values: list[Any]) -> Any:
            plus, minus = list(values[:split]), list(values[split:])
            if fused:
                plus[0] = emitter.op("expm1", plus[0])
            total = plus[0] if plus else emitter.op("negative", minus.pop(0))
            for value in plus[1:]:
                total = emitter.op("add", total, value)
            for value in minus:
                total = emitter.op("subtract", total, value)
            return total

        return Plan((*fused, *added, *subtracted), combine)

    def _plan_product(self, expression: Any) -> Plan:
        """One constant factor, what is multiplied, and what it is divided by."""
        sympy = self._sympy
        constant = sympy.S.One
        above: list[Any] = []
        below: list[Any] = []
        for factor in expression.args:
            if self.is_number(factor):
                constant = constant * factor
            elif factor.is_Pow and self.is_number(factor.exp) and self.to_float(factor.exp) < 0:
                below.append(1 / factor)
            else:
                above.append(factor)
        above, below = with_sigmoids(above, below)
        if constant.is_negative:
            for position, factor in enumerate(above):
                if factor.is_Add and minus_signs(-factor) <= minus_signs(factor):
                    above[position] = -factor
                    constant = -constant
                    break
        quotient = constant.is_Rational and above and not below and constant.q & (constant.q - 1)
        if quotient:
            # x/3 is a division: a third is no floating-point number.  Halves and quarters are.
            below, constant = [sympy.Integer(constant.q)], sympy.Integer(constant.p)
        scale = self.to_float(constant)
        split = len(above)

        def combine(emitter: Emitter[Any], values: list[Any]) -> Any:
            fold = _folded("multiply")
            if not above:
                divisor = fold(emitter, values)
                return (
                    emitter.op("reciprocal", divisor)
                    if scale == 1
                    else emitter.op("divide", emitter.number(scale), divisor)
                )
            product = fold(emitter, values[:split])
            if abs(scale) != 1:
                product = emitter.op("multiply", emitter.number(scale), product)
            if below:
                product = emitter.op("divide", product, fold(emitter, values[split:]))
            return emitter.op("negative", product) if scale == -1 else product

        return Plan((*above, *below), combine)

    def _plan_power(self, base: Any, exponent: Any) -> Plan:
        sympy = self._sympy
        inner = sigmoid_argument(base)
        if inner is not None and exponent.is_Integer and exponent < 0:
            if exponent == -1:
                return Plan((inner,), _named("sigmoid"))
            if exponent == -2:
                return Plan((1 / base,), _named("square"))
            return Plan((1 / base, -exponent), _named("pow"))
        simple = {2: "square", sympy.Rational(1, 2): "sqrt", -1: "reciprocal"}.get(exponent)
        if simple is not None:
            return Plan((base,), _named(simple))
        if exponent.is_Rational and exponent < 0:
            return Plan((base**-exponent,), _named("reciprocal"))
        return Plan((base, exponent), _named("pow"))

    # -- functions -----------------------------------------------------------------------------------------------

    def _plan_log(self, expression: Any) -> Plan:
        """``log(1 + exp(u))`` is softplus, ``log(1 + u)`` is log1p."""
        sympy = self._sympy
        argument = expression.args[0]
        if argument.is_Add and sympy.S.One in argument.args:
            rest = argument - 1
            if isinstance(rest, sympy.exp):
                return Plan((rest.args[0],), _named("softplus"))
            return Plan((rest,), _named("log1p"))
        return Plan((argument,), _named("log"))

    def _plan_step(self, expression: Any) -> Plan:
        """Heaviside: 0, 1, and at the step its second argument (1/2 unless said)."""
        argument = expression.args[0]
        middle = expression.args[1] if len(expression.args) > 1 else self._sympy.Rational(1, 2)

        def combine(emitter: Emitter[Any], values: list[Any]) -> Any:
            value, at_step = values
            zero, one = emitter.number(0.0), emitter.number(1.0)
            below = emitter.op("select", emitter.op("less", value, zero), zero, at_step)
            return emitter.op("select", emitter.op("greater", value, zero), one, below)

        return Plan((argument, middle), combine)


def _plan_piecewise(expression: Any) -> Plan:
    """Nested selects; NaN where no condition holds."""
    branches = [branch for branch, _ in expression.args]
    conditions = [condition for _, condition in expression.args]

    def combine(emitter: Emitter[Any], values: list[Any]) -> Any:
        outcomes, tests = values[: len(branches)], values[len(branches) :]
        if conditions[-1] == True:  # noqa: E712  (sympy's true is not Python's)
            result = outcomes.pop()
            tests.pop()
        else:
            result = emitter.number(float("nan"))
        for outcome, test in zip(reversed(outcomes), reversed(tests), strict=True):
            result = emitter.op("select", test, outcome, result)
        return result

    return Plan((*branches, *conditions), combine)
