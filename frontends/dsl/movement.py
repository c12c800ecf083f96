"""Functions that move elements and compute nothing, under their Array API names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_dim, checked_shape, checked_size, normalize_axes, normalize_axis
from graphc.frontends.dsl.methods import Axis
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, as_tensors, fail, promoted
from graphc.ir.attrs import Attrs, make_attrs
from graphc.ir.dim import Dim, divide_exact, product
from graphc.ir.types import int64


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements in row-major order in another shape; one dimension may be -1 and is then worked out."""
    tensor = as_tensor(x)
    wanted = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    free = [position for position, dim in enumerate(wanted) if isinstance(dim, int) and dim == -1]
    if len(free) > 1:
        raise fail(GraphcValueError, "E214", f"only one dimension may be -1, got {tuple(wanted)}", None, tensor)
    dims: list[Dim] = [
        1 if position in free else checked_dim(dim, "a dimension", tensor) for position, dim in enumerate(wanted)
    ]
    if free:
        rest = product(dims)
        missing = divide_exact(tensor.size, rest)
        if missing is None:
            message = (
                f"cannot reshape {tensor.shape} to {tuple(wanted)}: {tensor.size} elements do not divide into {rest}"
            )
            raise fail(GraphcValueError, "E211", message, None, tensor)
        dims[free[0]] = missing
    return tensor if tuple(dims) == tensor.shape else apply("reshape", tensor, shape=tuple(dims))


def flatten(x: Any) -> Tensor:
    """All elements along one axis."""
    return reshape(x, -1)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order, reversed for None: axis i of the result is axis ``axes[i]`` of x."""
    tensor = as_tensor(x)
    if axes is None:
        order = tuple(reversed(range(tensor.ndim)))
    else:
        order = tuple(normalize_axis(axis, tensor.ndim, tensor) for axis in axes)
    if sorted(order) != list(range(tensor.ndim)):
        raise fail(GraphcValueError, "E217", f"{order} does not order the {tensor.ndim} axes", None, tensor)
    return tensor if order == tuple(range(tensor.ndim)) else apply("transpose", tensor, permutation=order)


def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """The Array API's name for :func:`transpose`."""
    return transpose(x, axes)


def matrix_transpose(x: Any) -> Tensor:
    """The last two axes exchanged."""
    return swapaxes(x, -1, -2)


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    tensor = as_tensor(x)
    order = list(range(tensor.ndim))
    first, second = normalize_axis(axis1, tensor.ndim, tensor), normalize_axis(axis2, tensor.ndim, tensor)
    order[first], order[second] = second, first
    return transpose(tensor, order)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes moved to new positions; the others keep their order."""
    tensor = as_tensor(x)
    sources = source if isinstance(source, (tuple, list)) else (source,)
    targets = destination if isinstance(destination, (tuple, list)) else (destination,)
    if len(sources) != len(targets):
        raise fail(
            GraphcValueError,
            "E217",
            f"moveaxis needs as many sources as destinations, got {source} and {destination}",
            None,
            tensor,
        )
    moved = [normalize_axis(axis, tensor.ndim, tensor) for axis in sources]
    order = [axis for axis in range(tensor.ndim) if axis not in moved]
    for target, axis in sorted(
        zip((normalize_axis(axis, tensor.ndim, tensor) for axis in targets), moved, strict=True)
    ):
        order.insert(target, axis)
    return transpose(tensor, order)


def expand_dims(x: Any, axis: int | Sequence[int]) -> Tensor:
    """New axes of length 1 at these positions of the result."""
    tensor = as_tensor(x)
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    rank = tensor.ndim + len(given)
    new = {normalize_axis(one, rank, tensor) for one in given}
    if len(new) != len(given):
        raise fail(GraphcValueError, "E217", f"an axis stands twice in {given}", None, tensor)
    old = iter(tensor.shape)
    return reshape(tensor, tuple(1 if position in new else next(old) for position in range(rank)))


def squeeze(x: Any, axis: Axis = None) -> Tensor:
    """Without these axes of length 1; for None without all of them."""
    tensor = as_tensor(x)
    axes = (
        [position for position, dim in enumerate(tensor.shape) if dim == 1]
        if axis is None
        else normalize_axes(tensor, axis)
    )
    for position in axes:
        if tensor.shape[position] != 1:
            raise fail(GraphcValueError, "E217", f"axis {position} of {tensor.shape} is not of length 1", None, tensor)
    return reshape(tensor, tuple(dim for position, dim in enumerate(tensor.shape) if position not in axes))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """X repeated to ``shape`` under NumPy's rules."""
    tensor = as_tensor(x)
    target = checked_shape(shape, tensor)
    return tensor if target == tensor.shape else apply("broadcast_to", tensor, shape=target)


def concat(arrays: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The arrays one after another along an axis that they have; flattened first for None."""
    tensors = _several("concat", arrays)
    if axis is None:
        tensors, axis = [flatten(tensor) for tensor in tensors], 0
    position = normalize_axis(axis, tensors[0].ndim, tensors[0])
    return tensors[0] if len(tensors) == 1 else apply("concat", *tensors, axis=position)


def stack(arrays: Sequence[Any], axis: int = 0) -> Tensor:
    """The arrays side by side along a new axis."""
    tensors = _several("stack", arrays)
    return apply("stack", *tensors, axis=normalize_axis(axis, tensors[0].ndim + 1, tensors[0]))


def _several(what: str, arrays: Sequence[Any]) -> list[Tensor]:
    items = list(arrays)
    if not items:
        raise fail(GraphcValueError, "E211", f"{what} needs at least one array")
    return promoted(*items)


def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts along an axis, which they lose."""
    tensor = as_tensor(x)
    front = moveaxis(tensor, axis, 0)
    position = normalize_axis(axis, tensor.ndim, tensor)
    return tuple(index_axis(tensor, position, step) for step in range(len(front)))


def index_axis(x: Tensor, axis: int, position: int) -> Tensor:
    """Position ``position`` ≥ 0 of a static axis, which is dropped."""
    if _is_stacked(x, axis):
        # What one layer stacked and the next takes apart is connected directly: derivatives then stay step by step.
        return Tensor(x.node.inputs[position], x.builder)
    return apply("index", x, axis=axis, index=position)


def _is_stacked(x: Tensor, axis: int) -> bool:
    return x.node.op.name == "stack" and x.node.attrs["axis"] == axis


def slice_axis(x: Tensor, axis: int, start: Dim, stop: Dim, step: int = 1) -> Tensor:
    """Elements start, start + step, … before ``stop`` of one axis; bounds within the axis, ``step`` positive."""
    shape = x.shape
    if (start, stop, step) == (0, shape[axis], 1):
        return x
    return Tensor(x.builder.make("slice", (x.node,), _slice_attrs(shape, axis, start, stop, step)), x.builder)


@lru_cache(maxsize=4096)
def _slice_attrs(shape: tuple[Dim, ...], axis: int, start: Dim, stop: Dim, step: int) -> Attrs:
    """The attributes of a slice of one axis; remembered, since every step of an unrolled loop takes the same ones."""
    starts: list[Dim] = [0] * len(shape)
    stops, steps = list(shape), [1] * len(shape)
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return make_attrs({"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Parts along an axis: that many equal ones, or those between the given positions."""
    tensor = as_tensor(x)
    position = normalize_axis(axis, tensor.ndim, tensor)
    length = tensor.shape[position]
    if isinstance(indices_or_sections, int):
        count = checked_size(indices_or_sections, "the number of parts", tensor, minimum=1)
        size = divide_exact(length, count)
        if size is None:
            raise fail(
                GraphcValueError,
                "E211",
                f"axis {position} of {tensor.shape} does not divide into {count} equal parts",
                None,
                tensor,
            )
        return tuple(slice_axis(tensor, position, number * size, (number + 1) * size) for number in range(count))
    if not isinstance(length, int):
        raise fail(GraphcValueError, "E214", f"cannot split the symbolic dimension {length} at positions", None, tensor)
    cuts = [min(max(cut + length if cut < 0 else cut, 0), length) for cut in indices_or_sections]
    bounds = [0, *cuts, length]
    return tuple(slice_axis(tensor, position, low, max(low, high)) for low, high in itertools.pairwise(bounds))


def tile(x: Any, repetitions: int | Sequence[int]) -> Tensor:
    """The whole array repeated, that often along each axis; missing leading counts are 1."""
    tensor = as_tensor(x)
    given = tuple(repetitions) if isinstance(repetitions, (tuple, list)) else (repetitions,)
    counts = tuple(checked_size(count, "a repetition", tensor) for count in given)
    counts = (1,) * (tensor.ndim - len(counts)) + counts
    shape = (1,) * (len(counts) - tensor.ndim) + tensor.shape
    if all(count == 1 for count in counts):
        return reshape(tensor, shape)
    apart = reshape(tensor, tuple(dim for size in shape for dim in (1, size)))
    spread = broadcast_to(apart, tuple(dim for pair in zip(counts, shape, strict=True) for dim in pair))
    return reshape(spread, tuple(count * size for count, size in zip(counts, shape, strict=True)))


def repeat(x: Any, repeats: int, axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along an axis; of the flattened array for None."""
    tensor = as_tensor(x)
    if axis is None:
        tensor, axis = flatten(tensor), 0
    position = normalize_axis(axis, tensor.ndim, tensor)
    count = checked_size(repeats, "repeats", tensor)
    before, length, after = tensor.shape[:position], tensor.shape[position], tensor.shape[position + 1 :]
    spread = broadcast_to(expand_dims(tensor, position + 1), (*before, length, count, *after))
    return reshape(spread, (*before, length * count, *after))


def _each(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved by ``shift`` along an axis, those that leave at one end entering at the other.

    Flattened for None.
    """
    tensor = as_tensor(x)
    if axis is None:
        return reshape(roll(flatten(tensor), shift, 0), tensor.shape)
    axes, shifts = _each(axis), _each(shift)
    shifts = shifts * len(axes) if isinstance(shift, int) else shifts
    for amount, one in zip(shifts, axes, strict=True):
        position = normalize_axis(one, tensor.ndim, tensor)
        length = tensor.shape[position]
        if length == 0:
            continue
        # A symbolic length cannot reduce the shift: it is taken as shorter than the axis.
        cut = -amount % length if isinstance(length, int) else (length - amount if amount > 0 else -amount)
        if cut != 0:
            parts = [slice_axis(tensor, position, cut, length), slice_axis(tensor, position, 0, cut)]
            tensor = apply("concat", *parts, axis=position)
    return tensor


def flip(x: Any, axis: Axis = None) -> Tensor:
    """The order of the elements reversed along these axes."""
    tensor = as_tensor(x)
    axes = normalize_axes(tensor, axis)
    if len(axes) == 1 and _is_stacked(tensor, axes[0]):
        parts = [Tensor(node, tensor.builder) for node in reversed(tensor.node.inputs)]
        return apply("stack", *parts, axis=axes[0])
    return apply("flip", tensor, axes=axes) if axes else tensor


def pad(x: Any, pad_width: Any, constant_values: Any = 0) -> Tensor:
    """A border of constants: one width for all sides, a (before, after) pair for all axes, or a pair for each."""
    tensor = as_tensor(x)
    pairs = _pad_pairs(tensor, pad_width)
    if all(pair == (0, 0) for pair in pairs):
        return tensor
    _, value = as_tensors(tensor, constant_values)
    low, high = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return apply("pad", tensor, value.astype(tensor.dtype), low=low, high=high)


def _pad_pairs(x: Tensor, pad_width: Any) -> list[tuple[int, int]]:
    if isinstance(pad_width, int):
        pad_width = (pad_width, pad_width)
    widths = list(pad_width)
    if len(widths) == 2 and not isinstance(widths[0], (tuple, list)):
        widths = [tuple(widths)] * x.ndim
    if len(widths) != x.ndim or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in widths):
        raise fail(
            GraphcValueError,
            "E211",
            f"pad_width must give (before, after) for each of the {x.ndim} axes, got {pad_width!r}",
            None,
            x,
        )
    return [(checked_size(low, "a pad width", x), checked_size(high, "a pad width", x)) for low, high in widths]


def _diagonal_mask(x: Tensor, k: int) -> Tensor:
    """True where the column is at most the row plus ``k``."""
    shape = x.shape[-2:]
    builder = x.builder
    rows = Tensor(builder.op("iota", shape=(shape[0], 1), axis=0, dtype=int64), builder)
    columns = Tensor(builder.op("iota", shape=(1, shape[1]), axis=1, dtype=int64), builder)
    return columns - rows <= k


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above diagonal ``k``."""
    tensor = _matrices(x)
    return apply("select", _diagonal_mask(tensor, k), *as_tensors(tensor, 0))


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below diagonal ``k``."""
    tensor = _matrices(x)
    zero = as_tensors(tensor, 0)[1]
    return apply("select", _diagonal_mask(tensor, k - 1), zero, tensor)


def _matrices(x: Any) -> Tensor:
    tensor = as_tensor(x)
    if tensor.ndim < 2:
        raise fail(
            GraphcValueError, "E211", f"a triangle needs at least 2 dimensions, got {tensor.shape}", None, tensor
        )
    return tensor


def diagonal(x: Any) -> Tensor:
    """The diagonal of matrices with static sizes, along a new last axis."""
    tensor = _matrices(x)
    rows, columns = tensor.shape[-2:]
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise fail(GraphcValueError, "E214", f"the diagonal of {tensor.shape} needs a static size", None, tensor)
    length = min(rows, columns)
    flat = reshape(tensor, (*tensor.shape[:-2], rows * columns))
    stop = (length - 1) * (columns + 1) + 1 if length else 0
    return slice_axis(flat, flat.ndim - 1, 0, stop, columns + 1)
