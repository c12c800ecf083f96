"""Masks: which steps of a sequence count.

A mask is a bool tensor (batch, time) that travels with the tensor it belongs to, from the layer that makes it
(``Masking``, ``Embedding(mask_zero=True)``) through the layers that keep it, to those that use it.  As in Keras, a
function that is no layer loses it.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.elementwise import not_equal
from graphc.frontends.dsl.movement import reshape
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail
from graphc.ir.types import bool_, int64


class MaskedTensor(Tensor):
    """A tensor, and the mask of its steps."""

    __slots__ = ("mask",)

    mask: Tensor

    def __init__(self, tensor: Tensor, mask: Tensor) -> None:
        super().__init__(tensor.node, tensor.builder)
        object.__setattr__(self, "mask", mask)


def mask_of(x: Any) -> Tensor | None:
    """The mask that travels with ``x``."""
    return x.mask if isinstance(x, MaskedTensor) else None


def with_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with this mask, or with none."""
    if mask is None:
        return Tensor(x.node, x.builder) if isinstance(x, MaskedTensor) else x
    return MaskedTensor(x, mask)


def checked_mask(mask: Any, x: Tensor) -> Tensor:
    """A mask for the two leading axes of ``x``, as bools."""
    tensor = as_tensor(mask, None, x.builder)
    if tensor.ndim == 3 and tensor.shape[2] == 1:
        tensor = reshape(tensor, tensor.shape[:2])
    if tensor.shape != x.shape[:2]:
        message = f"a mask has the two leading axes of its sequence, {x.shape[:2]}, got shape {tensor.shape}"
        raise fail(GraphcValueError, "E211", message, None, x, tensor)
    return tensor if tensor.dtype is bool_ else not_equal(tensor, 0)


def mask_of_lengths(lengths: Any, x: Tensor, time_major: bool = False) -> Tensor:
    """True for the first ``lengths[b]`` steps of sequence b."""
    tensor = as_tensor(lengths, None, x.builder)
    batch, time = (x.shape[1], x.shape[0]) if time_major else (x.shape[0], x.shape[1])
    if not tensor.dtype.is_integer:
        raise fail(GraphcTypeError, "E213", f"lengths are integers, got {tensor.dtype}", None, x, tensor)
    if tensor.shape != (batch,):
        raise fail(GraphcValueError, "E211", f"lengths must have shape ({batch},), got {tensor.shape}", None, x, tensor)
    wide = tensor.astype(int64)
    shape = (time, 1) if time_major else (1, time)
    steps = Tensor(x.builder.op("iota", shape=shape, axis=0 if time_major else 1, dtype=int64), x.builder)
    return steps < reshape(wide, (1, batch) if time_major else (batch, 1))
