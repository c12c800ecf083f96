"""Pointwise ops that users define by a sympy expression: ``G.pointwise`` ends here.

Such an op is composite: it evaluates, differentiates and decomposes by way of built-in ops, so every backend can run
it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.attrs import EMPTY, Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, get_op, registered_ops
from graphc.ir.types import FLOATS, DType, TensorType, ValueType, bool_, float32, tensor_type
from graphc.ops.differentiate import differentiate, free_symbols, with_real_symbols
from graphc.ops.pointwise import (
    Partial,
    apply_partials_forward,
    apply_partials_reverse,
    check_operands,
    check_same_dtype,
)
from graphc.ops.shapes import broadcast_node, broadcast_shapes
from graphc.ops.symbolic import Emitter, lower

if TYPE_CHECKING:
    import sympy

Array = np.ndarray[Any, Any]

MAXIMUM_ARITY = 8


class _NodeEmitter(Emitter[Node]):
    """Emits nodes; numbers are scalar constants of one dtype."""

    def __init__(self, builder: Builder, element: DType) -> None:
        self._builder = builder
        self._element = element

    def op(self, name: str, *operands: Node) -> Node:
        return self._builder.op(name, *operands)

    def number(self, value: float) -> Node:
        return self._builder.constant(value, self._element)

    def truth(self, value: bool) -> Node:
        return self._builder.constant(value, bool_)


class _ArrayEmitter(Emitter[Any]):
    """Evaluates with the reference rules of the built-in ops."""

    def __init__(self, element: np.dtype[Any]) -> None:
        self._element = element

    def op(self, name: str, *operands: Any) -> Any:
        return np.asarray(get_op(name).evaluate(EMPTY, *operands, result=None))

    def number(self, value: float) -> Any:
        return np.asarray(value, dtype=self._element)

    def truth(self, value: bool) -> Any:
        return np.asarray(value)


class _CheckingEmitter(Emitter[None]):
    """Emits nothing: a walk with it finds what no op computes."""

    def op(self, name: str, *operands: None) -> None:
        get_op(name)

    def number(self, value: float) -> None:
        return None

    def truth(self, value: bool) -> None:
        return None


class _Expression:
    """The meaning of one user-defined op: the expression over real symbols and what follows from it."""

    def __init__(self, expression: sympy.Expr, parameters: Sequence[sympy.Symbol]) -> None:
        import sympy

        self.names = tuple(symbol.name for symbol in parameters)
        real = {symbol: sympy.Symbol(symbol.name, real=True) for symbol in parameters}
        self.symbols = tuple(real.values())
        self.body = with_real_symbols(expression, real)
        lower(self.body, dict.fromkeys(self.symbols), _CheckingEmitter())

    @functools.cached_property
    def partials(self) -> tuple[Partial | None, ...]:
        """The partial derivatives, taken when they are first asked for."""
        return tuple(self._partial(symbol) for symbol in self.symbols)

    def _partial(self, symbol: sympy.Symbol) -> Partial | None:
        import sympy

        derivative = differentiate(self.body, symbol)
        if derivative == 0:
            return None
        seed = sympy.Dummy("g", real=True)
        scaled = seed * derivative

        def partial(b: Builder, g: Node, *inputs_and_out: Node) -> Node:
            return self._build(b, scaled, (seed, *self.symbols), (g, *inputs_and_out[:-1]))

        return partial

    def _build(
        self, b: Builder, expression: sympy.Expr, symbols: Sequence[sympy.Symbol], operands: Sequence[Node]
    ) -> Node:
        """The expression as nodes; the half dtypes are computed in float32 and rounded once, as by any op."""
        element = operands[0].dtype
        computed = float32 if element.is_half else element
        wide = [b.op("cast", operand, dtype=float32) if element.is_half else operand for operand in operands]
        value: Node = lower(expression, dict(zip(symbols, wide, strict=True)), _NodeEmitter(b, computed))
        return b.op("cast", value, dtype=element) if element.is_half else value

    def decompose(self, b: Builder, node: Node, operands: Sequence[Node]) -> Node:
        """The op as built-in ops, repeated to its shape where the expression leaves an operand out."""
        return broadcast_node(b, self._build(b, self.body, self.symbols, operands), node.shape)

    def evaluate(self, attrs: Attrs, *arrays: Array, result: TensorType) -> Array:
        """The op on arrays, by the reference rules of the built-in ops."""
        emitter = _ArrayEmitter(arrays[0].dtype)
        value = lower(self.body, dict(zip(self.symbols, arrays, strict=True)), emitter)
        return np.broadcast_to(value, np.broadcast_shapes(*(array.shape for array in arrays)))

    def vjp(self, b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
        """Reverse mode."""
        return apply_partials_reverse(b, node, self.partials, cotangents[0])

    def jvp(self, b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
        """Forward mode."""
        return apply_partials_forward(b, node, self.partials, tangents)


def make_pointwise(name: str, expression: sympy.Expr, parameters: Sequence[sympy.Symbol] | None = None) -> OpDef:
    """A pointwise op of floats from a sympy expression.

    Symbols stand for real numbers, whatever else they were declared to be.  Where the expression has a kink its
    derivative follows the built-in ops: Max and Min give half to each of two equal operands, and Abs has the
    derivative 0 at 0.

    Args:
        name: for people; need not be unique.
        expression: over at most eight symbols.
        parameters: the symbols in the order of the op's operands; sorted by name where not given.

    Raises:
        GraphcTypeError: E212, the expression is not a ``sympy.Expr``; text is never parsed.
        GraphcValueError: E224, the name or the parameters do not fit.
        UnsupportedOp: E333, it has a function that no op computes.
    """
    _check_expression(name, expression)
    symbols = _check_parameters(name, expression, parameters)
    try:
        meaning = _Expression(expression, symbols)
    except RecursionError:
        raise GraphcValueError(
            "E224", f"pointwise {name!r}: the expression is nested too deeply for sympy", hint="make several ops of it"
        ) from None

    def infer(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
        operands = check_operands(name, inputs, len(symbols), FLOATS)
        element = check_same_dtype(name, operands)
        return tensor_type(element, broadcast_shapes([operand.shape for operand in operands], name))

    return OpDef(
        # Passes know built-in ops by name: a user's op of the same name must not be taken for one.
        f"user_{name}" if any(op.name == name for op in registered_ops()) else name,
        OpKind.COMPOSITE,
        infer,
        meaning.evaluate,
        vjp=meaning.vjp,
        jvp=meaning.jvp,
        dtypes=FLOATS,
        decompose=meaning.decompose,
        summary=f"defined by the user over {', '.join(meaning.names)}",
        arity=len(symbols),
        user_defined=True,
        extra={"body": meaning.body, "parameters": meaning.symbols},
    )


def _check_expression(name: str, expression: object) -> None:
    import sympy

    if not isinstance(name, str) or not name.isidentifier():
        raise GraphcValueError("E224", f"the name of a pointwise op must be an identifier, got {name!r}")
    if isinstance(expression, sympy.Expr):
        return
    hint = "build it with sympy, e.g. x = sympy.Symbol('x'); x * sympy.tanh(x)"
    if isinstance(expression, str):
        raise GraphcTypeError(
            "E212", f"pointwise {name!r} needs a sympy expression, got text (which is never parsed)", hint=hint
        )
    raise GraphcTypeError(
        "E212", f"pointwise {name!r} needs a sympy expression, got {type(expression).__name__}", hint=hint
    )


def _check_parameters(
    name: str, expression: sympy.Expr, parameters: Sequence[sympy.Symbol] | None
) -> tuple[sympy.Symbol, ...]:
    import sympy

    free = free_symbols(expression)
    symbols = tuple(free if parameters is None else parameters)
    for symbol in symbols:
        if not isinstance(symbol, sympy.Symbol):
            raise GraphcTypeError("E212", f"pointwise {name!r}: a parameter must be a sympy.Symbol, got {symbol!r}")
    missing = [symbol.name for symbol in free if symbol not in symbols]
    if missing:
        raise GraphcValueError(
            "E224",
            f"pointwise {name!r}: the expression has the symbol {missing[0]!r}, which is not among the parameters",
            hint="a symbol of the same name with other assumptions is another symbol",
        )
    names = [symbol.name for symbol in symbols]
    if len(set(names)) != len(names):
        raise GraphcValueError("E224", f"pointwise {name!r}: two parameters have the same name, got {', '.join(names)}")
    if not 1 <= len(symbols) <= MAXIMUM_ARITY:
        raise GraphcValueError(
            "E224", f"pointwise {name!r} takes 1 to {MAXIMUM_ARITY} operands, got {len(symbols)} symbols"
        )
    return symbols
