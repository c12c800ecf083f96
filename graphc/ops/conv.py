"""Convolution: composites over ``pad``, ``patches``, ``einsum`` and ``fold_patches``.

Data layouts name the axes, such as ``NHWC``, ``NCHW``, ``NWC`` or ``NDHWC``; the kernel's layout goes with the
data's: ``HWIO`` (spatial axes, input channels of one group, output channels) where channels come last,
``OIHW`` where they come first.  ``conv_transpose`` is the transpose of ``conv`` *with the same kernel*: there
I names its output channels of one group and O its input channels, which is how frameworks store them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, divide_exact
from graphc.ir.node import Node
from graphc.ir.op import register
from graphc.ir.types import NUMERIC, Shape, TensorType, tensor_type
from graphc.ops.composite import define_composite
from graphc.ops.layout import Layout, data_layout, pad_spatial, window_counts
from graphc.ops.rules import check_dtype, check_length, check_positive, check_same_dtype, is_below
from graphc.ops.windows import window_span

_POSITIONS = "xyz"
_OFFSETS = "uvw"


def _check_kernel(
    op: str, attrs: Attrs, layout: Layout, x: TensorType, kernel: TensorType
) -> tuple[tuple[int, ...], Dim, Dim]:
    check_dtype(op, x, NUMERIC)
    check_same_dtype(op, (x, kernel))
    if attrs["kernel_layout"] != layout.kernel:
        raise GraphcValueError(
            "E211",
            f"{op}: kernel layout {attrs['kernel_layout']!r} does not go with {attrs['layout']!r}",
            hint=f"use {layout.kernel}",
        )
    if kernel.rank != layout.rank:
        raise GraphcValueError("E211", f"{op}: the kernel {kernel!r} does not have the axes {layout.kernel}")
    check_positive(op, "groups", (attrs["groups"],))
    window, inner, outer = layout.split_kernel(kernel.shape)
    if not all(isinstance(taps, int) for taps in window):
        raise GraphcValueError("E340", f"{op}: the window of the kernel {kernel!r} is symbolic", hint="bind it")
    check_positive(op, "window sizes", window)
    if divide_exact(outer, attrs["groups"]) is None:
        raise GraphcValueError(
            "E211", f"{op}: {outer} channels of the kernel {kernel!r} do not divide into {attrs['groups']} groups"
        )
    return window, inner, outer


def _infer_conv(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x, kernel = inputs
    layout = data_layout("conv", attrs, x)
    window, inner, outer = _check_kernel("conv", attrs, layout, x, kernel)
    if x.shape[layout.channel] != inner * attrs["groups"]:
        raise GraphcValueError(
            "E211",
            f"conv: {x!r} has {x.shape[layout.channel]} channels, "
            f"the kernel {kernel!r} takes {inner} in each of {attrs['groups']} groups",
        )
    return tensor_type(x.dtype, layout.assemble(x.shape[0], outer, window_counts("conv", attrs, layout, x, window)))


class _Letters:
    """Einsum letters of data, kernel and result for one layout; ``g`` counts groups where there are several."""

    def __init__(self, layout: Layout, groups: int) -> None:
        count, group = len(layout.spatial), "g" if groups > 1 else ""
        offsets = _OFFSETS[:count]

        def data(channel: str) -> str:
            places, channels = _POSITIONS[:count], group + channel
            return f"n{places}{channels}" if layout.channels_last else f"n{channels}{places}"

        self.inner = data("i")
        self.outer = data("o")
        self.patches = self.inner + offsets
        self.kernel = f"{offsets}i{group}o" if layout.channels_last else f"{group}oi{offsets}"


def _grouped(b: Builder, x: Node, axis: int, groups: int) -> Node:
    """``x`` with ``axis`` split into (groups, channels of one group); ``x`` itself for one group."""
    if groups == 1:
        return x
    channels = divide_exact(x.shape[axis], groups)
    assert channels is not None
    return b.op("reshape", x, shape=(*x.shape[:axis], groups, channels, *x.shape[axis + 1 :]))


def _joined(b: Builder, x: Node, axis: int, groups: int) -> Node:
    """The inverse of :func:`_grouped`."""
    if groups == 1:
        return x
    return b.op("reshape", x, shape=(*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def _decompose_conv(b: Builder, node: Node, inputs: Sequence[Node]) -> Node:
    x, kernel = inputs
    attrs, groups = node.attrs, node.attrs["groups"]
    layout = Layout.of("conv", attrs["layout"])
    window, _, _ = layout.split_kernel(kernel.shape)
    letters = _Letters(layout, groups)
    padded = pad_spatial(b, layout, x, attrs["padding"], b.full_like(x, 0))
    seen = b.op(
        "patches", padded, axes=layout.spatial, window=window, strides=attrs["strides"], dilation=attrs["dilation"]
    )
    product = b.op(
        "einsum",
        _grouped(b, seen, layout.channel, groups),
        _grouped(b, kernel, kernel.rank - 1 if layout.channels_last else 0, groups),
        subscripts=f"{letters.patches},{letters.kernel}->{letters.outer}",
    )
    return _joined(b, product, layout.channel, groups)


def _unfolded(dim: Dim, taps: int, stride: int, dilation: int) -> Dim:
    """The length over which ``dim`` windows reach."""
    return (dim - 1) * stride + window_span(taps, dilation)


def _infer_conv_transpose(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x, kernel = inputs
    op = "conv_transpose"
    layout = data_layout(op, attrs, x)
    window, inner, outer = _check_kernel(op, attrs, layout, x, kernel)
    check_length(op, "output_padding", attrs["output_padding"], len(layout.spatial))
    if x.shape[layout.channel] != outer:
        raise GraphcValueError(
            "E211", f"{op}: {x!r} has {x.shape[layout.channel]} channels, the kernel {kernel!r} takes {outer}"
        )
    lengths = []
    for place, axis in enumerate(layout.spatial):
        low, high = attrs["padding"][place]
        extra = attrs["output_padding"][place]
        full = _unfolded(x.shape[axis], window[place], attrs["strides"][place], attrs["dilation"][place])
        length = full + extra - low - high
        if extra < 0 or x.shape[axis] == 0 or is_below(length, 0):
            raise GraphcValueError(
                "E219",
                f"{op}: padding {attrs['padding'][place]} and output padding {extra} leave nothing of {full} elements",
            )
        lengths.append(length)
    return tensor_type(x.dtype, layout.assemble(x.shape[0], inner * attrs["groups"], lengths))


def _decompose_conv_transpose(b: Builder, node: Node, inputs: Sequence[Node]) -> Node:
    x, kernel = inputs
    attrs, groups = node.attrs, node.attrs["groups"]
    layout = Layout.of("conv_transpose", attrs["layout"])
    window, inner, _ = layout.split_kernel(kernel.shape)
    letters = _Letters(layout, groups)
    spread = b.op(
        "einsum",
        _grouped(b, x, layout.channel, groups),
        _grouped(b, kernel, kernel.rank - 1 if layout.channels_last else 0, groups),
        subscripts=f"{letters.outer},{letters.kernel}->{letters.patches}",
    )
    full = [
        _unfolded(x.shape[axis], taps, stride, dilation)
        for axis, taps, stride, dilation in zip(
            layout.spatial, window, attrs["strides"], attrs["dilation"], strict=True
        )
    ]
    folded = b.op(
        "fold_patches",
        _joined(b, spread, layout.channel, groups),
        axes=layout.spatial,
        window=window,
        strides=attrs["strides"],
        dilation=attrs["dilation"],
        shape=layout.assemble(x.shape[0], inner * groups, full),
    )
    return _crop(b, layout, attrs, folded, node.shape)


def _crop(b: Builder, layout: Layout, attrs: Attrs, folded: Node, shape: Shape) -> Node:
    """``folded`` without its padding; output padding beyond the last window is zero."""
    beyond = [
        (0, max(extra - high, 0)) for extra, (_, high) in zip(attrs["output_padding"], attrs["padding"], strict=True)
    ]
    extended = pad_spatial(b, layout, folded, beyond, b.full_like(folded, 0))
    if extended.shape == shape:
        return extended
    starts: list[Dim] = [0] * folded.rank
    for axis, (low, _) in zip(layout.spatial, attrs["padding"], strict=True):
        starts[axis] = low
    stops = tuple(start + dim for start, dim in zip(starts, shape, strict=True))
    return b.op("slice", extended, starts=tuple(starts), stops=stops, steps=(1,) * folded.rank)


register(
    define_composite(
        "conv",
        _infer_conv,
        _decompose_conv,
        ("strides", "padding", "dilation", "groups", "layout", "kernel_layout"),
        "convolution (cross-correlation) over one to three spatial axes",
        arity=2,
    )
)
register(
    define_composite(
        "conv_transpose",
        _infer_conv_transpose,
        _decompose_conv_transpose,
        ("strides", "padding", "dilation", "groups", "layout", "kernel_layout", "output_padding"),
        "the transpose of conv with the same kernel",
        arity=2,
    )
)
