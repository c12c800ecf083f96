"""Indexing: NumPy's basic keys and one integer array, and the gathering functions."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size, normalize_axis
from graphc.frontends.dsl.movement import diagonal, flatten, flip, index_axis, reshape, slice_axis
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, common_builder, fail, promoted, to_dtype
from graphc.ir.dim import Dim
from graphc.ir.types import DType, float32, int64

_PLAIN = frozenset({int, type(None)})
"""Classes of the bounds that need no closer look (exact classes: ``True`` is an ``int`` that must not pass for 1)."""


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]`` with integers, slices, None, an ellipsis, and at most one array of integers."""
    if key.__class__ is int and x.shape:
        return _take_index(x, 0, key)
    keys = _expanded(x, key if isinstance(key, tuple) else (key,))
    result, axis = x, 0
    gathered: tuple[int, Any] | None = None
    for item in keys:
        if item is None:
            result = reshape(result, (*result.shape[:axis], 1, *result.shape[axis:]))
            axis += 1
        elif isinstance(item, slice):
            result = _take_slice(result, axis, item)
            axis += 1
        elif _is_array(item):
            if gathered is not None:
                raise fail(
                    GraphcTypeError,
                    "E220",
                    "only one axis can be indexed with an array",
                    "use take on one axis after the other",
                    x,
                )
            gathered = axis, item
            axis += 1
        else:
            result = _take_index(result, axis, item)
    if gathered is None:
        return result
    # An integer beside the array would move the array's axes to the front in NumPy; graphc refuses what people read in
    # two ways.
    if any(_is_integer(item) for item in keys):
        raise fail(
            GraphcTypeError,
            "E220",
            "an integer and an array cannot index together",
            "write x[i][:, indices] in two steps",
            x,
        )
    return take(result, gathered[1], gathered[0])


def _is_integer(item: Any) -> bool:
    return item is not None and not isinstance(item, slice) and not _is_array(item)


def _is_array(item: Any) -> bool:
    return isinstance(item, (Tensor, list)) or (isinstance(item, np.ndarray) and item.ndim > 0)


def _expanded(x: Tensor, keys: tuple[Any, ...]) -> list[Any]:
    """The keys with the ellipsis written out, one for each axis of ``x`` and None for each new one."""
    ellipses = [position for position, item in enumerate(keys) if item is Ellipsis]
    if len(ellipses) > 1:
        raise fail(GraphcTypeError, "E220", "an index may have one ellipsis only", None, x)
    used = len([item for item in keys if item is not None and item is not Ellipsis])
    if used > x.ndim:
        raise fail(GraphcIndexError, "E220", f"too many indices: {used} for a tensor with {x.ndim} dimensions", None, x)
    fill = [slice(None)] * (x.ndim - used)
    if not ellipses:
        return [*keys, *fill]
    return [*keys[: ellipses[0]], *fill, *keys[ellipses[0] + 1 :]]


def _integer(x: Tensor, item: Any, what: str) -> int:
    if isinstance(item, (bool, np.bool_)):
        raise fail(GraphcTypeError, "E220", f"{what} must be an integer, got {item!r}", None, x)
    try:
        return operator.index(item)
    except TypeError:
        raise fail(GraphcTypeError, "E220", f"{what} must be an integer, got {item!r}", None, x) from None


def _take_index(x: Tensor, axis: int, item: Any) -> Tensor:
    position = _integer(x, item, "an index")
    length = x.shape[axis]
    if not isinstance(length, int):
        # A symbolic axis is taken to be long enough; the call checks it.
        return apply("index", x, axis=axis, index=position if position >= 0 else length + position)
    if not -length <= position < length:
        raise fail(
            GraphcIndexError, "E220", f"index {position} is out of bounds for axis {axis} of length {length}", None, x
        )
    return index_axis(x, axis, position % length)


def _take_slice(x: Tensor, axis: int, item: slice) -> Tensor:
    length = x.shape[axis]
    if item.step is None and isinstance(length, int) and {item.start.__class__, item.stop.__class__} <= _PLAIN:
        if item.start is None and item.stop is None:
            return x
        low, high, _ = item.indices(length)
        return slice_axis(x, axis, low, high) if low < high else slice_axis(x, axis, 0, 0)
    bounds = [None if part is None else _integer(x, part, "a slice bound") for part in (item.start, item.stop)]
    step = 1 if item.step is None else _integer(x, item.step, "a slice step")
    if step == 0:
        raise fail(GraphcValueError, "E218", "a slice step must not be 0", None, x)
    if not isinstance(length, int):
        return _symbolic_slice(x, axis, bounds[0], bounds[1], step)
    chosen = range(*slice(bounds[0], bounds[1], step).indices(length))
    if not chosen:
        return slice_axis(x, axis, 0, 0)
    low, high = sorted((chosen[0], chosen[-1]))
    # The stop that a full axis has, so that x[:] and x[::-1] need no slice.
    stop = length if abs(step) == 1 and high == length - 1 else high + 1
    part = slice_axis(x, axis, low, stop, abs(step))
    return part if step > 0 else flip(part, axis)


def _symbolic_slice(x: Tensor, axis: int, start: int | None, stop: int | None, step: int) -> Tensor:
    """A slice of a symbolic axis: bounds are taken to lie inside it."""
    length = x.shape[axis]
    if abs(step) != 1 or (step == -1 and (start, stop) != (None, None)):
        raise fail(
            GraphcValueError,
            "E214",
            f"the symbolic dimension {length} can be sliced with step 1, or turned over with [::-1]",
            None,
            x,
        )
    if step == -1:
        return apply("flip", x, axes=(axis,))
    first: Dim = 0 if start is None else start if start >= 0 else length + start
    last: Dim = length if stop is None else stop if stop >= 0 else length + stop
    return slice_axis(x, axis, first, last)


def _indices(x: Tensor, indices: Any) -> Tensor:
    """Indices as an int64 or int32 tensor, an empty list included."""
    if isinstance(indices, (list, tuple)) and not len(indices):
        indices = np.zeros(0, np.int64)
    tensor = as_tensor(indices, None, x.builder)
    if not tensor.dtype.is_integer:
        hint = "use where(mask, x, y) to choose by a condition" if tensor.dtype.kind == "bool" else "cast them first"
        raise fail(GraphcTypeError, "E213", f"indices must be integers, got {tensor.dtype}", hint, x, tensor)
    return tensor


def _wrapped_constant(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Constant indices checked against the axis, negative ones counted from its end.

    Others are checked when they are used.
    """
    length = x.shape[axis]
    if indices.node.op.name != "constant" or not isinstance(length, int):
        return indices
    values = indices.node.attrs["value"].array.astype(np.int64)
    wrong = values[(values < -length) | (values >= length)]
    if wrong.size:
        message = f"index {wrong.reshape(-1)[0]} is out of bounds for axis {axis} of length {length}"
        raise fail(GraphcIndexError, "E220", message, None, x)
    return as_tensor(np.where(values < 0, values + length, values), int64, x.builder) if (values < 0).any() else indices


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at ``indices`` along ``axis``, of the flattened array for None.

    Constant indices may count from the end; an index from the data must lie in [0, n) and is an error otherwise.
    """
    common_builder((x, indices))
    tensor = as_tensor(x)
    if axis is None:
        tensor, axis = flatten(tensor), 0
    position = normalize_axis(axis, tensor.ndim, tensor)
    chosen = _wrapped_constant(tensor, _indices(tensor, indices), position)
    return apply("take", tensor, chosen, axis=position)


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """For each position the element that ``indices`` (of the same rank) names along ``axis``."""
    common_builder((x, indices))
    tensor = as_tensor(x)
    position = normalize_axis(axis, tensor.ndim, tensor)
    chosen = _wrapped_constant(tensor, _indices(tensor, indices), position)
    return apply("take_along_axis", tensor, chosen, axis=position)


def scatter_add(base: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
    """``base`` with ``updates`` added at ``indices`` along ``axis``; equal indices add up."""
    common_builder((base, indices, updates))
    tensor, added = promoted(base, updates)
    position = normalize_axis(axis, tensor.ndim, tensor)
    chosen = _wrapped_constant(tensor, _indices(tensor, indices), position)
    return apply("scatter_add", tensor, chosen, added, axis=position)


def argsort(x: Any, axis: int = -1, descending: bool = False) -> Tensor:
    """The positions (int64) that sort x along ``axis``; stable, NaN last."""
    tensor = as_tensor(x)
    return apply("argsort", tensor, axis=normalize_axis(axis, tensor.ndim, tensor), descending=bool(descending))


def sort(x: Any, axis: int = -1, descending: bool = False) -> Tensor:
    """X sorted along ``axis``; NaN last."""
    tensor = as_tensor(x)
    return take_along_axis(tensor, argsort(tensor, axis, descending), axis)


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The ``k`` largest values along ``axis``, largest first, and their positions."""
    tensor = as_tensor(x)
    position = normalize_axis(axis, tensor.ndim, tensor)
    count = checked_size(k, "k", tensor, minimum=1)
    length = tensor.shape[position]
    if isinstance(length, int) and count > length:
        raise fail(GraphcValueError, "E220", f"k is {count}, axis {position} has only {length} elements", None, tensor)
    places = slice_axis(argsort(tensor, position, descending=True), position, 0, count)
    return take_along_axis(tensor, places, position), places


def one_hot(indices: Any, num_classes: int, dtype: DType | str = float32) -> Tensor:
    """1 at the index and 0 elsewhere, along a new last axis; an index outside [0, num_classes) gives only zeros."""
    tensor = as_tensor(indices)
    if not tensor.dtype.is_integer:
        raise fail(GraphcTypeError, "E213", f"one_hot takes integers, got {tensor.dtype}", None, tensor)
    classes = checked_size(num_classes, "num_classes", tensor, minimum=1)
    positions = Tensor(tensor.builder.op("iota", shape=(classes,), axis=0, dtype=int64), tensor.builder)
    hits = reshape(tensor.astype(int64), (*tensor.shape, 1)) == positions
    return hits.astype(to_dtype(dtype))


def embedding(indices: Any, table: Any) -> Tensor:
    """Rows of ``table`` (entries × features) at ``indices``, along a new last axis."""
    return take(table, indices, axis=0)


def trace(x: Any) -> Tensor:
    """The sum of the diagonal of matrices."""
    return sum(diagonal(x), axis=-1)
