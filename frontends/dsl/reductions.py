"""Reductions over axes, under their Array API names."""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import normalize_axes, normalize_axis
from graphc.frontends.dsl.elementwise import astype, divide, sqrt, square
from graphc.frontends.dsl.methods import Axis
from graphc.frontends.dsl.movement import reshape
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, fail
from graphc.ir.dim import product
from graphc.ir.types import float32


def _reduce(op: str, x: Any, axis: Axis, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    return apply(op, tensor, axes=normalize_axes(tensor, axis), keepdims=bool(keepdims))


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over ``axis``; 0 over nothing."""
    return _reduce("sum", x, axis, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over ``axis``; 1 over nothing."""
    return _reduce("prod", x, axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest over ``axis``; NaN if any is; an error over nothing."""
    return _reduce("max", x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest over ``axis``; NaN if any is; an error over nothing."""
    return _reduce("min", x, axis, keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where some bool over ``axis`` is."""
    return _reduce("any", x, axis, keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """True where every bool over ``axis`` is."""
    return _reduce("all", x, axis, keepdims)


def element_count(x: Tensor, axes: tuple[int, ...]) -> Tensor | int:
    """The number of elements over ``axes``: an integer, or where it is symbolic a scalar that the call computes."""
    size = product(x.shape[axis] for axis in axes)
    if isinstance(size, int):
        return size
    ones = apply("broadcast_to", as_tensor(1, x.dtype, x.builder), shape=tuple(x.shape[axis] for axis in axes))
    return sum(ones)


def _floats(x: Any, what: str) -> Tensor:
    tensor = as_tensor(x)
    if not tensor.dtype.is_float:
        raise fail(
            GraphcTypeError,
            "E213",
            f"{what} takes floats, got {tensor.dtype}",
            "cast it first: x.astype('float32')",
            tensor,
        )
    return tensor


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean of floats over ``axis``; NaN over nothing.  The half dtypes are averaged in float32."""
    tensor = _floats(x, "mean")
    axes = normalize_axes(tensor, axis)
    wide = astype(tensor, float32) if tensor.dtype.is_half else tensor
    return astype(divide(sum(wide, axes, keepdims), element_count(wide, axes)), tensor.dtype)


def var(x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """The mean squared distance from the mean over ``axis``, divided by n - ``correction``."""
    tensor = _floats(x, "var")
    axes = normalize_axes(tensor, axis)
    wide = astype(tensor, float32) if tensor.dtype.is_half else tensor
    total = sum(square(wide - mean(wide, axes, keepdims=True)), axes, keepdims)
    count = element_count(wide, axes)
    return astype(divide(total, count - correction if correction else count), tensor.dtype)


def std(x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """The square root of :func:`var`."""
    return sqrt(var(x, axis, keepdims, correction))


def _argument(op: str, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    if axis is None:
        flat = apply(op, reshape(tensor, -1), axes=(0,), keepdims=False)
        return reshape(flat, (1,) * tensor.ndim) if keepdims else flat
    return apply(op, tensor, axes=(normalize_axis(axis, tensor.ndim, tensor),), keepdims=bool(keepdims))


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position (int64) of the first largest element along ``axis``, of the flattened tensor for None.

    NaN is largest.
    """
    return _argument("argmax", x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position (int64) of the first smallest element along ``axis``, of the flattened tensor for None.

    NaN is smallest.
    """
    return _argument("argmin", x, axis, keepdims)


def cumulative_sum(x: Any, axis: int | None = None, reverse: bool = False) -> Tensor:
    """The running sum along ``axis``, from the end where ``reverse``; the axis may be left out of a vector alone."""
    tensor = as_tensor(x)
    if axis is None:
        if tensor.ndim != 1:
            raise fail(
                GraphcValueError, "E217", f"cumulative_sum of {tensor.ndim} dimensions needs an axis", None, tensor
            )
        axis = 0
    return apply("cumsum", tensor, axis=normalize_axis(axis, tensor.ndim, tensor), reverse=bool(reverse))


def norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean length over ``axis``: sqrt(sum(x²))."""
    return sqrt(sum(square(_floats(x, "norm")), axis, keepdims))


def count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements (int64) over ``axis`` are not zero."""
    return sum(astype(astype(x, "bool"), "int64"), axis, keepdims)
