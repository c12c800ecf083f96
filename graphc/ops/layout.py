"""Layouts of images, and what convolution and pooling check and pad alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.types import Shape, TensorType
from graphc.ops.rules import check_length, check_positive, is_below
from graphc.ops.windows import window_positions

SPATIAL = {1: "W", 2: "HW", 3: "DHW"}
"""Spatial letters by their number."""


@dataclass(frozen=True)
class Layout:
    """Where batch, channels and spatial axes stand in the data.

    Attributes:
        rank: of the data.
        channel: the channel axis.
        spatial: the spatial axes in order.
    """

    rank: int
    channel: int
    spatial: tuple[int, ...]

    @classmethod
    def of(cls, op: str, text: str) -> Layout:
        """The layout called ``text``; E211 where there is none of that name."""
        for letters in SPATIAL.values():
            if text == f"N{letters}C":
                return cls(len(text), len(text) - 1, tuple(range(1, len(text) - 1)))
            if text == f"NC{letters}":
                return cls(len(text), 1, tuple(range(2, len(text))))
        raise GraphcValueError("E211", f"{op}: unknown layout {text!r}", hint="NHWC or NCHW, with W, HW or DHW between")

    @property
    def channels_last(self) -> bool:
        """True for ``N...C``."""
        return self.channel == self.rank - 1

    @property
    def kernel(self) -> str:
        """The name of the kernel layout that goes with it."""
        letters = SPATIAL[len(self.spatial)]
        return f"{letters}IO" if self.channels_last else f"OI{letters}"

    def assemble(self, batch: Dim, channels: Dim, spatial: Sequence[Dim]) -> Shape:
        """A shape in this layout."""
        return (batch, *spatial, channels) if self.channels_last else (batch, channels, *spatial)

    def split_kernel(self, shape: Shape) -> tuple[tuple[Any, ...], Dim, Dim]:
        """Spatial sizes, I and O of a kernel's shape."""
        if self.channels_last:
            return shape[:-2], shape[-2], shape[-1]
        return shape[2:], shape[1], shape[0]


def kernel_layout(layout: str) -> str:
    """The kernel layout that goes with a data layout: ``HWIO`` with ``NHWC``, ``OIHW`` with ``NCHW``."""
    return Layout.of("conv", layout).kernel


def data_layout(op: str, attrs: Attrs, x: TensorType) -> Layout:
    """The layout of ``x``, after checking it with strides, dilation and padding."""
    layout = Layout.of(op, attrs["layout"])
    if x.rank != layout.rank:
        raise GraphcValueError("E211", f"{op}: {x!r} does not have the axes of layout {attrs['layout']}")
    count = len(layout.spatial)
    for what in ("strides", "dilation"):
        check_length(op, what, attrs[what], count)
        check_positive(op, what, attrs[what])
    check_length(op, "padding", attrs["padding"], count)
    for pair in attrs["padding"]:
        if len(pair) != 2 or any(is_below(amount, 0) for amount in pair):
            raise GraphcValueError(
                "E211", f"{op}: padding is (low, high) ≥ 0 for each spatial axis, got {attrs['padding']}"
            )
    return layout


def pad_spatial(b: Builder, layout: Layout, x: Node, padding: Sequence[tuple[int, int]], value: Node) -> Node:
    """``x`` with ``value`` around its spatial axes."""
    if all(pair == (0, 0) for pair in padding):
        return x
    low, high = [0] * x.rank, [0] * x.rank
    for axis, (before, after) in zip(layout.spatial, padding, strict=True):
        low[axis], high[axis] = before, after
    return b.op("pad", x, value, low=tuple(low), high=tuple(high))


def window_counts(op: str, attrs: Attrs, layout: Layout, x: TensorType, window: Sequence[int]) -> list[Dim]:
    """How many windows fit along each spatial axis of the padded ``x``."""
    return [
        window_positions(op, low + x.shape[axis] + high, taps, stride, dilation)
        for axis, taps, stride, dilation, (low, high) in zip(
            layout.spatial, window, attrs["strides"], attrs["dilation"], attrs["padding"], strict=True
        )
    ]
