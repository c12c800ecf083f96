"""Products of matrices and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import normalize_axis
from graphc.frontends.dsl.einsum import contract
from graphc.frontends.dsl.movement import flatten, reshape
from graphc.frontends.dsl.tensor import Tensor, apply, fail, promoted


def matmul(x1: Any, x2: Any) -> Tensor:
    """The matrix product.

    Vectors count as a row on the left and as a column on the right, and leading axes broadcast.
    """
    left, right = promoted(x1, x2)
    if left.node.rank > 1 and right.node.rank > 1:
        return Tensor(left.builder.make("matmul", (left.node, right.node)), left.builder)
    if left.ndim == 0 or right.ndim == 0:
        raise fail(GraphcValueError, "E211", "matmul takes no scalars", "multiply with *", left, right)
    first = reshape(left, (1, *left.shape)) if left.ndim == 1 else left
    second = reshape(right, (*right.shape, 1)) if right.ndim == 1 else right
    product = apply("matmul", first, second)
    rows = product.shape[-2:-1] if left.ndim > 1 else ()
    columns = product.shape[-1:] if right.ndim > 1 else ()
    return reshape(product, (*product.shape[:-2], *rows, *columns))


def vecdot(x1: Any, x2: Any, axis: int = -1) -> Tensor:
    """The sum of products along one axis."""
    left, right = promoted(x1, x2)
    return (left * right).sum(axis)


def dot(x1: Any, x2: Any) -> Tensor:
    """NumPy's ``dot``: the last axis of x1 against the last but one (or only) of x2, or a product with a scalar."""
    left, right = promoted(x1, x2)
    if left.ndim == 0 or right.ndim == 0:
        return apply("multiply", left, right)
    if right.ndim == 1 or (left.ndim <= 2 and right.ndim == 2):
        return matmul(left, right)
    return tensordot(left, right, ((left.ndim - 1,), (right.ndim - 2,)))


def tensordot(x1: Any, x2: Any, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes: the last ``axes`` of x1 with the first of x2, or the pairs listed."""
    left, right = promoted(x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(left.ndim, right.ndim):
            raise fail(
                GraphcValueError,
                "E217",
                f"tensordot over {axes} axes of {left.shape} and {right.shape}",
                None,
                left,
                right,
            )
        first, second = list(range(left.ndim - axes, left.ndim)), list(range(axes))
    else:
        sides = [side if isinstance(side, (tuple, list)) else (side,) for side in axes]
        first = [normalize_axis(axis, left.ndim, left) for axis in sides[0]]
        second = [normalize_axis(axis, right.ndim, right) for axis in sides[1]]
    if len(first) != len(second) or len(set(first)) != len(first) or len(set(second)) != len(second):
        raise fail(
            GraphcValueError,
            "E217",
            f"tensordot needs as many different axes of both, got {first} and {second}",
            None,
            left,
            right,
        )
    left_labels = list(range(left.ndim))
    right_labels = list(range(left.ndim, left.ndim + right.ndim))
    for mine, theirs in zip(first, second, strict=True):
        right_labels[theirs] = left_labels[mine]
    shared = {left_labels[axis] for axis in first}
    output = [label for label in (*left_labels, *right_labels) if label not in shared]
    return contract([left, right], [left_labels, right_labels], output)


def outer(x1: Any, x2: Any) -> Tensor:
    """All products of an element of x1 with one of x2, both flattened."""
    left, right = promoted(x1, x2)
    return apply("multiply", reshape(left, (left.size, 1)), reshape(flatten(right), (1, right.size)))
