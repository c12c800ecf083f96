"""Positions that come from the data, and random numbers."""

from __future__ import annotations

import ast

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.lowering.base import Rule, Scope, rounded, shape_of, wide
from graphc.backends.numpy.syntax import call, literal, numpy
from graphc.ir.node import Node


def _checked(scope: Scope, node: Node) -> ast.expr:
    """The indices of a gather: NumPy would accept negative ones."""
    x, indices = node.inputs
    limit = scope.dim(x.shape[node.attrs["axis"]])
    return call(scope.helper("_check_indices"), literal(node.op.name), scope.value(indices), limit)


def _lower_gather(scope: Scope, node: Node) -> ast.expr:
    axis = literal(node.attrs["axis"])
    return call(numpy(node.op.name), scope.value(node.inputs[0]), _checked(scope, node), axis=axis)


def _lower_scatter(scope: Scope, node: Node) -> ast.expr:
    base, indices, updates = node.inputs
    helper = scope.helper(f"_{node.op.name}")
    value = call(
        helper, wide(scope, base), scope.value(indices), wide(scope, updates), axis=literal(node.attrs["axis"])
    )
    return rounded(scope, value, node.dtype)


def _lower_argsort(scope: Scope, node: Node) -> ast.expr:
    x, axis = scope.value(node.inputs[0]), literal(node.attrs["axis"])
    if node.attrs["descending"]:
        return call(scope.helper("_argsort_descending"), x, axis=axis)
    return call(numpy("argsort"), x, axis=axis, kind=literal("stable"))


def _lower_random_uniform(scope: Scope, node: Node) -> ast.expr:
    key = scope.value(node.inputs[0])
    stream: ast.expr = literal(node.attrs["stream"])
    if len(node.inputs) > 1:
        stream = ast.BinOp(stream, ast.Add(), scope.value(node.inputs[1]))
    return call(scope.helper("_random_uniform"), key, shape_of(scope, node.shape), stream, dtype_expression(node.dtype))


RULES: dict[str, Rule] = {
    "take": _lower_gather,
    "take_along_axis": _lower_gather,
    "scatter_add": _lower_scatter,
    "scatter_add_along_axis": _lower_scatter,
    "argsort": _lower_argsort,
    "random_uniform": _lower_random_uniform,
}
