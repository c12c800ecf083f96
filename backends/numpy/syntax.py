"""Short constructors for the pieces of Python syntax that generated modules are made of."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable

Literal = bool | int | float | str | bytes | None


def variable(identifier: str) -> ast.Name:
    """A variable that is read."""
    return ast.Name(identifier, ast.Load())


def attribute(value: ast.expr, path: str) -> ast.Attribute:
    """``value.a.b`` for the dotted path ``a.b``."""
    for part in path.split("."):
        value = ast.Attribute(value, part, ast.Load())
    assert isinstance(value, ast.Attribute)
    return value


def numpy(path: str) -> ast.Attribute:
    """``np.path``."""
    return attribute(variable("np"), path)


def call(function: ast.expr, *arguments: ast.expr, **keywords: ast.expr) -> ast.Call:
    """``function(*arguments, **keywords)``."""
    return ast.Call(function, list(arguments), [ast.keyword(name, value) for name, value in keywords.items()])


def method(value: ast.expr, name: str, *arguments: ast.expr, **keywords: ast.expr) -> ast.Call:
    """``value.name(...)``."""
    return call(attribute(value, name), *arguments, **keywords)


def literal(value: Literal) -> ast.expr:
    """A Python literal; NaN and the infinities by their NumPy names, negative numbers with a unary minus."""
    if isinstance(value, float) and math.isnan(value):
        return numpy("nan")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.copysign(1.0, value) < 0:
        return ast.UnaryOp(ast.USub(), literal(-value))
    if isinstance(value, float) and math.isinf(value):
        return numpy("inf")
    return ast.Constant(value)


def tuple_of(items: Iterable[ast.expr]) -> ast.Tuple:
    """A tuple."""
    return ast.Tuple(list(items), ast.Load())


def integers(values: Iterable[int]) -> ast.Tuple:
    """A tuple of integer literals."""
    return tuple_of(literal(value) for value in values)


def subscript(value: ast.expr, index: ast.expr) -> ast.Subscript:
    """``value[index]``."""
    return ast.Subscript(value, index, ast.Load())


def subscript_axes(value: ast.expr, axes: list[ast.expr]) -> ast.expr:
    """``value[a, b, c]`` without the colons at the end that say nothing."""
    while axes and _is_full(axes[-1]):
        axes = axes[:-1]
    if not axes:
        return value
    return subscript(value, axes[0] if len(axes) == 1 else tuple_of(axes))


def _is_full(index: ast.expr) -> bool:
    return isinstance(index, ast.Slice) and index.lower is None and index.upper is None and index.step is None


def binary(left: ast.expr, operator: ast.operator, right: ast.expr) -> ast.BinOp:
    """``left operator right``."""
    return ast.BinOp(left, operator, right)


def compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.Compare:
    """``left operator right`` for a comparison."""
    return ast.Compare(left, [operator], [right])


def assign(identifier: str, value: ast.expr) -> ast.Assign:
    """``identifier = value``."""
    return assign_to(ast.Name(identifier, ast.Store()), value)


def assign_to(target: ast.expr, value: ast.expr) -> ast.Assign:
    """``target = value``."""
    return ast.Assign([target], value, lineno=0)


def store_into(array: ast.expr, index: ast.expr, value: ast.expr) -> ast.Assign:
    """``array[index] = value``."""
    return assign_to(ast.Subscript(array, index, ast.Store()), value)


ELLIPSIS = ast.Constant(...)
"""``...`` as an index."""
