"""Checks of arguments and shapes that several layers make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.ir.dim import Dim

if TYPE_CHECKING:
    from graphc.frontends.nn.layer import Layer


def sample_shape(given: Any) -> tuple[int | None, ...]:
    """A shape without the batch: sizes, and None for those that the data say."""
    if not isinstance(given, (tuple, list)):
        raise fail(GraphcTypeError, "E214", f"input_shape is a tuple of sizes, got {given!r}")
    return tuple(None if size is None else checked_size(size, "a size of input_shape", minimum=1) for size in given)


def axes_argument(axis: Any) -> int | tuple[int, ...]:
    """One axis or several, as given."""
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    if any(isinstance(one, bool) or not isinstance(one, int) for one in given):
        raise fail(GraphcTypeError, "E217", f"an axis must be an integer, got {axis!r}")
    return tuple(given) if isinstance(axis, (tuple, list)) else given[0]


def check_rank(layer: Layer, shape: Sequence[Dim], minimum: int, what: str = "batch and features") -> None:
    """Complain about fewer than ``minimum`` dimensions."""
    if len(shape) < minimum:
        message = f"{layer.name} needs at least {minimum} dimensions ({what}), got shape {tuple(shape)}"
        raise fail(GraphcValueError, "E211", message)


def last_dim(layer: Layer, shape: tuple[Dim, ...]) -> int:
    """The static size of the last axis, for a kernel."""
    check_rank(layer, shape, 2)
    size = shape[-1]
    if not isinstance(size, int):
        raise fail(
            GraphcValueError, "E214", f"{layer.name}: the last dimension must have a size, got the symbol {size}"
        )
    return size


def check_spatial(layer: Layer, x: Tensor, spatial: int) -> None:
    """Complain where ``x`` does not have the batch, the channels and so many spatial axes."""
    if x.ndim != spatial + 2:
        message = f"{layer.name} needs {spatial + 2} dimensions (with batch and channels), got shape {x.shape}"
        raise fail(GraphcValueError, "E211", message, None, x)
