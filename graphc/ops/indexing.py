"""Positions that come from the data: gather, scatter, sorting.

Indices may have any integer dtype.  A negative or too large one is an error of the call (E456), never a
wrapped or clipped access.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.types import INTEGERS, NUMERIC, TensorType, int64, tensor_type
from graphc.ops.rules import check_axis, check_dtype, check_same_dtype, linear_in_first_jvp, zeros

SCATTERS = frozenset({"scatter_add", "scatter_add_along_axis"})
"""Ops that add to their first operand."""


def _check_indices(op: str, indices: TensorType) -> None:
    check_dtype(op, indices, INTEGERS, "indices are integers: cast them")


def check_bounds(op: str, indices: Array, limit: int) -> Array:
    """The indices as int64.

    Raises:
        GraphcIndexError: E456 with the first index outside [0, limit) and where it stands.
    """
    positions = indices.astype(np.int64)
    wrong = (positions < 0) | (positions >= limit)
    if wrong.any():
        place = tuple(int(part[0]) for part in np.nonzero(np.atleast_1d(wrong)))[: indices.ndim]
        raise GraphcIndexError(
            "E456", f"{op}: index {int(positions[place])} at position {place} is not in [0, {limit})"
        )
    return positions


# -- take, scatter_add -------------------------------------------------------------------------------------------------


def _taken(op: str, attrs: Attrs, x: TensorType, indices: TensorType) -> TensorType:
    _check_indices(op, indices)
    axis = check_axis(op, attrs["axis"], x.rank)
    return tensor_type(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _infer_take(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    return _taken("take", attrs, *inputs)


def _evaluate_take(attrs: Attrs, x: Array, indices: Array, *, result: TensorType) -> Array:
    axis = attrs["axis"]
    return np.take(x, check_bounds("take", indices, x.shape[axis]), axis=axis)


def _take_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None]
    x, indices = node.inputs
    return [b.op("scatter_add", zeros(b, x.tensor), indices, g, axis=node.attrs["axis"]), None]


def _infer_scatter_add(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    base, indices, updates = inputs
    check_dtype("scatter_add", base, NUMERIC)
    check_same_dtype("scatter_add", (base, updates))
    expected = _taken("scatter_add", attrs, base, indices)
    if updates is not expected:
        raise GraphcValueError(
            "E211", f"scatter_add to {base!r} at {indices!r} takes updates {expected!r}, got {updates!r}"
        )
    result: TensorType = base
    return result


def _evaluate_scatter_add(attrs: Attrs, base: Array, indices: Array, updates: Array, *, result: TensorType) -> Array:
    axis = attrs["axis"]
    positions = check_bounds("scatter_add", indices, base.shape[axis])
    total = np.array(base, copy=True)
    # The index axes go to the front of both, then NumPy adds up one update after the other.
    sources = np.moveaxis(updates, tuple(range(axis, axis + indices.ndim)), tuple(range(indices.ndim)))
    np.add.at(np.moveaxis(total, axis, 0), positions, sources)
    return total


def _scatter_add_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None, None]
    return [g, None, b.op("take", g, node.inputs[1], axis=node.attrs["axis"])]


def _scatter_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """For both scatters: linear in base and updates together."""
    base, indices, _ = node.inputs
    to_base, _, to_updates = tangents
    if to_updates is None:
        return [to_base]
    start = zeros(b, base.tensor) if to_base is None else to_base
    return [b.make(node.op, (start, indices, to_updates), node.attrs)]


# -- take_along_axis, scatter_add_along_axis ---------------------------------------------------------------------------


def _check_along(op: str, attrs: Attrs, x: TensorType, indices: TensorType) -> None:
    _check_indices(op, indices)
    axis = check_axis(op, attrs["axis"], x.rank)
    fits = indices.rank == x.rank and all(
        ours == theirs for place, (ours, theirs) in enumerate(zip(x.shape, indices.shape, strict=True)) if place != axis
    )
    if not fits:
        raise GraphcValueError("E211", f"{op} along axis {axis}: {x!r} and indices {indices!r} differ elsewhere")


def _infer_take_along_axis(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x, indices = inputs
    _check_along("take_along_axis", attrs, x, indices)
    return tensor_type(x.dtype, indices.shape)


def _evaluate_take_along_axis(attrs: Attrs, x: Array, indices: Array, *, result: TensorType) -> Array:
    axis = attrs["axis"]
    return np.take_along_axis(x, check_bounds("take_along_axis", indices, x.shape[axis]), axis)


def _take_along_axis_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None]
    x, indices = node.inputs
    return [b.op("scatter_add_along_axis", zeros(b, x.tensor), indices, g, axis=node.attrs["axis"]), None]


def _infer_scatter_add_along_axis(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    base, indices, updates = inputs
    check_dtype("scatter_add_along_axis", base, NUMERIC)
    check_same_dtype("scatter_add_along_axis", (base, updates))
    _check_along("scatter_add_along_axis", attrs, base, indices)
    if updates.shape != indices.shape:
        raise GraphcValueError(
            "E211", f"scatter_add_along_axis: updates {updates!r} and indices {indices!r} differ in shape"
        )
    result: TensorType = base
    return result


def _evaluate_scatter_add_along_axis(
    attrs: Attrs, base: Array, indices: Array, updates: Array, *, result: TensorType
) -> Array:
    axis = attrs["axis"]
    place = list(np.ogrid[tuple(slice(dim) for dim in indices.shape)])
    place[axis] = check_bounds("scatter_add_along_axis", indices, base.shape[axis])
    total = np.array(base, copy=True)
    np.add.at(total, tuple(place), updates)
    return total


def _scatter_add_along_axis_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None, None]
    return [g, None, b.op("take_along_axis", g, node.inputs[1], axis=node.attrs["axis"])]


# -- argsort -----------------------------------------------------------------------------------------------------------


def _infer_argsort(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    check_axis("argsort", attrs["axis"], x.rank)
    return tensor_type(int64, x.shape)


def _evaluate_argsort(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    key = x
    if attrs["descending"]:
        # An order-reversing key keeps the sort stable and NaN last; the complement of integers cannot overflow
        # as their negative can.
        key = -x if x.dtype.kind == "f" else ~x
    return np.argsort(key, axis=attrs["axis"], kind="stable").astype(np.int64)


register(
    OpDef(
        "take",
        OpKind.INDEXING,
        _infer_take,
        _evaluate_take,
        _take_vjp,
        linear_in_first_jvp,
        attributes=("axis",),
        summary="elements at positions along an axis, as NumPy's take",
        arity=2,
    )
)
register(
    OpDef(
        "scatter_add",
        OpKind.INDEXING,
        _infer_scatter_add,
        _evaluate_scatter_add,
        _scatter_add_vjp,
        _scatter_jvp,
        attributes=("axis",),
        dtypes=NUMERIC,
        summary="the transpose of take: updates added to a base at positions along an axis",
        arity=3,
    )
)
register(
    OpDef(
        "take_along_axis",
        OpKind.INDEXING,
        _infer_take_along_axis,
        _evaluate_take_along_axis,
        _take_along_axis_vjp,
        linear_in_first_jvp,
        attributes=("axis",),
        summary="one position along an axis for each element of the indices",
        arity=2,
    )
)
register(
    OpDef(
        "scatter_add_along_axis",
        OpKind.INDEXING,
        _infer_scatter_add_along_axis,
        _evaluate_scatter_add_along_axis,
        _scatter_add_along_axis_vjp,
        _scatter_jvp,
        attributes=("axis",),
        dtypes=NUMERIC,
        summary="the transpose of take_along_axis, added to a base",
        arity=3,
    )
)
register(
    OpDef(
        "argsort",
        OpKind.INDEXING,
        _infer_argsort,
        _evaluate_argsort,
        attributes=("axis", "descending"),
        summary="the positions that sort along an axis; stable, NaN last",
        arity=1,
        differentiable=False,
    )
)
