"""Ops without inputs that compute their value."""

from __future__ import annotations

import ast

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.lowering.base import Rule, Scope, rounded, shape_of
from graphc.backends.numpy.syntax import call, method, numpy
from graphc.ir.node import Node
from graphc.ir.types import float64, int32, int64


def _lower_iota(scope: Scope, node: Node) -> ast.expr:
    axis = node.attrs["axis"]
    length = scope.dim(node.shape[axis])
    if node.dtype in (int32, int64, float64):
        value: ast.expr = call(numpy("arange"), length, dtype=dtype_expression(node.dtype))
    else:
        # Counted in integers first: narrow ones wrap, and float32 would lose count.
        element = numpy(node.dtype.compute.name)
        value = rounded(scope, method(call(numpy("arange"), length), "astype", element), node.dtype)
    if node.rank == 1:
        return value
    column = [length if place == axis else scope.dim(1) for place in range(node.rank)]
    return call(
        numpy("broadcast_to"), method(value, "reshape", ast.Tuple(column, ast.Load())), shape_of(scope, node.shape)
    )


RULES: dict[str, Rule] = {"iota": _lower_iota}
