"""Pooling: composites that reduce sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.op import register
from graphc.ir.types import FLOATS, NUMERIC, DType, TensorType, float32, tensor_type
from graphc.ops.composite import define_composite
from graphc.ops.layout import Layout, data_layout, pad_spatial, window_counts
from graphc.ops.rules import check_dtype, check_length, check_positive
from graphc.ops.windows import window_positions


def _infer(op: str, dtypes: Sequence[DType], attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    check_dtype(op, x, dtypes)
    layout = data_layout(op, attrs, x)
    check_length(op, "window", attrs["window"], len(layout.spatial))
    check_positive(op, "window sizes", attrs["window"])
    counts = window_counts(op, attrs, layout, x, attrs["window"])
    return tensor_type(x.dtype, layout.assemble(x.shape[0], x.shape[layout.channel], counts))


def _infer_max_pool(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    return _infer("max_pool", NUMERIC, attrs, inputs)


def _infer_average_pool(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    return _infer("average_pool", FLOATS, attrs, inputs)


def _reduce_windows(b: Builder, reduction: str, attrs: Attrs, layout: Layout, padded: Node) -> Node:
    if attrs["strides"] == attrs["window"] and all(gap == 1 for gap in attrs["dilation"]):
        return _reduce_blocks(b, reduction, attrs["window"], layout, padded)
    seen = b.op(
        "patches",
        padded,
        axes=layout.spatial,
        window=attrs["window"],
        strides=attrs["strides"],
        dilation=attrs["dilation"],
    )
    return b.op(reduction, seen, axes=tuple(range(layout.rank, seen.rank)), keepdims=False)


def _reduce_blocks(b: Builder, reduction: str, window: Sequence[int], layout: Layout, padded: Node) -> Node:
    """Windows side by side split the axis in two, and every element keeps its neighbours, forward and backward."""
    sizes = dict(zip(layout.spatial, window, strict=True))
    counts = {axis: window_positions("pool", padded.shape[axis], size, size, 1) for axis, size in sizes.items()}
    used = tuple(counts[axis] * sizes[axis] if axis in sizes else dim for axis, dim in enumerate(padded.shape))
    if used != padded.shape:
        padded = b.op("slice", padded, starts=(0,) * len(used), stops=used, steps=(1,) * len(used))
    shape: list[Dim] = []
    inside = []
    for axis, dim in enumerate(used):
        if axis in sizes:
            inside.append(len(shape) + 1)
            shape += [counts[axis], sizes[axis]]
        else:
            shape.append(dim)
    return b.op(reduction, b.op("reshape", padded, shape=tuple(shape)), axes=tuple(inside), keepdims=False)


def _decompose_max_pool(b: Builder, node: Node, inputs: Sequence[Node]) -> Node:
    (x,) = inputs
    layout = Layout.of("max_pool", node.attrs["layout"])
    lowest = -np.inf if x.dtype.is_float else int(np.iinfo(x.dtype.storage).min)
    padded = pad_spatial(b, layout, x, node.attrs["padding"], b.full_like(x, lowest))
    return _reduce_windows(b, "max", node.attrs, layout, padded)


def _decompose_average_pool(b: Builder, node: Node, inputs: Sequence[Node]) -> Node:
    (given,) = inputs
    attrs = node.attrs
    layout = Layout.of("average_pool", attrs["layout"])
    # Half dtypes are summed and divided in float32 and rounded once.
    x = b.op("cast", given, dtype=float32) if given.dtype.is_half else given
    padded = pad_spatial(b, layout, x, attrs["padding"], b.full_like(x, 0))
    total = _reduce_windows(b, "sum", attrs, layout, padded)
    mean = b.op("divide", total, _divisor(b, attrs, layout, x))
    return b.op("cast", mean, dtype=given.dtype) if given.dtype.is_half else mean


def _divisor(b: Builder, attrs: Attrs, layout: Layout, x: Node) -> Node:
    """How many elements each window averages: all of it, or what lies outside the padding."""
    if attrs["count_include_pad"] or all(pair == (0, 0) for pair in attrs["padding"]):
        return b.full_like(x, float(np.prod(attrs["window"])))
    shape = tuple(dim if axis in layout.spatial else 1 for axis, dim in enumerate(x.shape))
    inside = b.op("broadcast_to", b.full_like(x, 1), shape=shape)
    return _reduce_windows(b, "sum", attrs, layout, pad_spatial(b, layout, inside, attrs["padding"], b.full_like(x, 0)))


register(
    define_composite(
        "max_pool",
        _infer_max_pool,
        _decompose_max_pool,
        ("window", "strides", "padding", "dilation", "layout"),
        "largest value of each window; padding never wins",
        arity=1,
    )
)
register(
    define_composite(
        "average_pool",
        _infer_average_pool,
        _decompose_average_pool,
        ("window", "strides", "padding", "dilation", "layout", "count_include_pad"),
        "mean of each window, with or without the padding in the count",
        arity=1,
        dtypes=FLOATS,
    )
)
