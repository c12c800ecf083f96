"""Reductions and running sums."""

from __future__ import annotations

import ast

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.lowering.base import Rule, Scope, rounded, wide
from graphc.backends.numpy.syntax import call, integers, literal, numpy
from graphc.ir.node import Node
from graphc.ir.types import int64


def _axis(axes: tuple[int, ...]) -> ast.expr:
    return literal(axes[0]) if len(axes) == 1 else integers(axes)


def _keywords(node: Node) -> dict[str, ast.expr]:
    """``axis`` and ``keepdims`` as far as they are not what NumPy assumes."""
    axes, rank = node.attrs["axes"], node.inputs[0].rank
    keywords: dict[str, ast.expr] = {}
    whole = rank > 0 and tuple(axes) == tuple(range(rank)) and not node.attrs["keepdims"]
    if not whole or node.op.name in ("argmax", "argmin"):
        keywords["axis"] = _axis(axes)
    if node.attrs["keepdims"]:
        keywords["keepdims"] = literal(True)
    return keywords


def _accumulator(node: Node) -> dict[str, ast.expr]:
    """NumPy widens narrow integers unless told not to."""
    element = node.dtype
    return {"dtype": dtype_expression(element)} if element.is_integer and element is not int64 else {}


_OF_WINDOWS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}


def _of_windows(scope: Scope, node: Node) -> ast.expr | None:
    """A reduction of all of each sliding window (pooling), if this is one.

    NumPy is slow over many short axes, and fast over one offset of all windows.
    """
    (x,) = node.inputs
    if x.op.name != "patches" or node.attrs["keepdims"] or x.rank == 0:
        return None
    count = len(x.attrs["window"])
    if not count or tuple(node.attrs["axes"]) != tuple(range(x.rank - count, x.rank)):
        return None
    return call(scope.helper("_reduce_windows"), numpy(_OF_WINDOWS[node.op.name]), wide(scope, x), literal(count))


def _lower_sum(scope: Scope, node: Node) -> ast.expr:
    pooled = _of_windows(scope, node)
    if pooled is not None:
        return rounded(scope, pooled, node.dtype)
    value = call(numpy(node.op.name), wide(scope, node.inputs[0]), **_keywords(node), **_accumulator(node))
    return rounded(scope, value, node.dtype)


def _lower_choice(scope: Scope, node: Node) -> ast.expr:
    """Reductions that pick or compare: exact in every dtype."""
    pooled = _of_windows(scope, node) if node.op.name in _OF_WINDOWS else None
    if pooled is not None:
        return rounded(scope, pooled, node.dtype)
    return call(numpy(node.op.name), scope.value(node.inputs[0]), **_keywords(node))


def _lower_cumsum(scope: Scope, node: Node) -> ast.expr:
    axis = {"axis": literal(node.attrs["axis"])}
    value = wide(scope, node.inputs[0])
    if node.attrs["reverse"]:
        value = call(numpy("flip"), value, **axis)
    value = call(numpy("cumsum"), value, **axis, **_accumulator(node))
    if node.attrs["reverse"]:
        value = call(numpy("flip"), value, **axis)
    return rounded(scope, value, node.dtype)


RULES: dict[str, Rule] = {
    "sum": _lower_sum,
    "prod": _lower_sum,
    **dict.fromkeys(("max", "min", "any", "all", "argmax", "argmin"), _lower_choice),
    "cumsum": _lower_cumsum,
}
