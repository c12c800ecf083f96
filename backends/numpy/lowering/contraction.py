"""Matrix products.  An einsum becomes ``tensordot`` or ``matmul`` where it is one: NumPy's own loop is far slower."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from graphc.backends.numpy.lowering.base import Rule, Scope, rounded, shape_of, wide
from graphc.backends.numpy.lowering.movement import transposed
from graphc.backends.numpy.syntax import call, integers, literal, method, numpy, tuple_of
from graphc.ir.dim import Dim, product
from graphc.ir.node import Node
from graphc.ops.linalg import split_subscripts


def _lower_matmul(scope: Scope, node: Node) -> ast.expr:
    a, b = node.inputs
    return rounded(scope, call(numpy("matmul"), wide(scope, a), wide(scope, b)), node.dtype)


def _lower_einsum(scope: Scope, node: Node) -> ast.expr:
    left, right, output = split_subscripts(node.attrs["subscripts"])
    summed = [letter for letter in left if letter not in output]
    batch = [letter for letter in output if letter in left and letter in right]
    a, b = (wide(scope, operand) for operand in node.inputs)
    free = [letter for letter in output if letter not in batch]
    if summed and not batch:
        value = _tensordot(a, b, left, right, output, summed)
    elif summed and free:
        value = _batched(scope, node, a, b)
    else:
        value = call(numpy("einsum"), literal(node.attrs["subscripts"]), a, b)
    return rounded(scope, value, node.dtype)


def _tensordot(a: ast.expr, b: ast.expr, left: str, right: str, output: str, summed: list[str]) -> ast.expr:
    """No letter is in all three parts: one matrix product of everything else by everything summed."""
    free_left = [letter for letter in left if letter not in summed]
    free_right = [letter for letter in right if letter not in summed]
    if [*output] == free_right + free_left != free_left + free_right:
        return _tensordot(b, a, right, left, output, summed)
    axes = tuple_of(integers(letters.index(letter) for letter in summed) for letters in (left, right))
    value = call(numpy("tensordot"), a, b, axes=axes)
    return transposed(value, tuple((free_left + free_right).index(letter) for letter in output))


def _batched(scope: Scope, node: Node, a: ast.expr, b: ast.expr) -> ast.expr:
    """Letters in all three parts become batch dimensions of ``matmul``."""
    left, right, output = split_subscripts(node.attrs["subscripts"])
    sizes: dict[str, Dim] = {
        letter: dim
        for letters, operand in zip((left, right), node.inputs, strict=True)
        for letter, dim in zip(letters, operand.shape, strict=True)
    }
    batch = [letter for letter in output if letter in left and letter in right]
    summed = [letter for letter in left if letter not in output]
    rows = [letter for letter in output if letter in left and letter not in batch]
    columns = [letter for letter in output if letter in right and letter not in batch]
    value = call(
        numpy("matmul"),
        _matrices(scope, a, left, batch, rows, summed, sizes),
        _matrices(scope, b, right, batch, summed, columns, sizes),
    )
    order = [*batch, *rows, *columns]
    if len(rows) != 1 or len(columns) != 1:
        value = method(value, "reshape", shape_of(scope, [sizes[letter] for letter in order]))
    return transposed(value, tuple(order.index(letter) for letter in output))


def _matrices(
    scope: Scope,
    value: ast.expr,
    letters: str,
    batch: list[str],
    rows: list[str],
    columns: list[str],
    sizes: Mapping[str, Dim],
) -> ast.expr:
    """An operand with its axes in the order batch, rows, columns, the last two each as one axis."""
    order = [*batch, *rows, *columns]
    value = transposed(value, tuple(letters.index(letter) for letter in order))
    if len(rows) == 1 and len(columns) == 1:
        return value
    dims = [*(sizes[letter] for letter in batch), product(sizes[x] for x in rows), product(sizes[x] for x in columns)]
    return method(value, "reshape", shape_of(scope, dims))


RULES: dict[str, Rule] = {"matmul": _lower_matmul, "einsum": _lower_einsum}
