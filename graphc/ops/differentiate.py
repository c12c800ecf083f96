"""Derivatives of sympy expressions of any depth, by the chain rule with an explicit stack.

``sympy.diff`` recurses over the whole expression; here it is asked for one level at a time.  Functions that are
constant by pieces (floor, sign, a step) have the derivative zero, not sympy's ``DiracDelta``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy

PIECEWISE_CONSTANT = ("floor", "ceiling", "sign", "Heaviside")


def differentiate(expression: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """∂expression/∂symbol."""
    import sympy

    known: dict[Any, Any] = {}
    stack: list[Any] = [expression]
    while stack:
        top = stack[-1]
        if top in known:
            stack.pop()
            continue
        parts = _differentiable_parts(top)
        waiting = [part for part in parts if part not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if not parts:
            known[top] = sympy.S.One if top == symbol else sympy.S.Zero
        elif top.is_Piecewise:
            known[top] = sympy.Piecewise(*((known[branch], condition) for branch, condition in top.args))
        else:
            known[top] = _chain(top, known)
    return known[expression]


def _differentiable_parts(expression: Any) -> tuple[Any, ...]:
    if type(expression).__name__ in PIECEWISE_CONSTANT:
        return ()
    if expression.is_Piecewise:
        return tuple(branch for branch, _ in expression.args)
    return tuple(expression.args)


def _chain(expression: Any, known: dict[Any, Any]) -> Any:
    """The sum over the operands of the outer derivative times the inner one."""
    import sympy

    if expression.is_Add:
        return sympy.Add(*(known[operand] for operand in expression.args))
    varying = [position for position, operand in enumerate(expression.args) if known[operand] != 0]
    if not varying:
        return sympy.S.Zero
    kind = type(expression).__name__
    if kind == "frac":
        return known[expression.args[0]]
    if kind == "Mod":
        # Apart from its jumps Mod(p, q) is p - q·floor(p/q) with the floor held constant.
        dividend, divisor = expression.args
        return known[dividend] - sympy.floor(dividend / divisor) * known[divisor]
    operands = list(expression.args)
    held: dict[Any, Any] = {}
    for position in varying:
        stand_in = sympy.Dummy(f"operand_{position}", real=True)
        held[stand_in] = operands[position]
        operands[position] = stand_in
    outer = expression.func(*operands)
    terms = []
    for stand_in, operand in held.items():
        terms.append(known[operand] * sympy.diff(outer, stand_in).xreplace(held))
    return sympy.Add(*terms)


def with_real_symbols(expression: sympy.Expr, names: dict[sympy.Symbol, sympy.Symbol]) -> sympy.Expr:
    """``expression`` with symbols replaced and every level built anew, to simplify under the new assumptions."""
    known: dict[Any, Any] = dict(names)
    stack: list[Any] = [expression]
    while stack:
        top = stack[-1]
        if top in known:
            stack.pop()
            continue
        if not top.args:
            known[top] = top
            continue
        waiting = [argument for argument in top.args if argument not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        known[top] = top.func(*(known[argument] for argument in top.args))
    return known[expression]


def free_symbols(expression: sympy.Basic) -> list[sympy.Symbol]:
    """The symbols of an expression, sorted by name."""
    import sympy

    seen: set[Any] = set()
    stack: list[Any] = [expression]
    found = []
    while stack:
        top = stack.pop()
        if top in seen:
            continue
        seen.add(top)
        if isinstance(top, sympy.Symbol):
            found.append(top)
        stack.extend(top.args)
    return sorted(found, key=lambda symbol: symbol.name)
