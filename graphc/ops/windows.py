"""Sliding windows: ``patches`` shows them as a strided view, ``fold_patches`` adds them back up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, divide_exact
from graphc.ir.node import Node
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.types import NUMERIC, TensorType, tensor_type
from graphc.ops.rules import check_axes, check_dtype, check_length, check_positive, is_below, linear_jvp


def window_span(window: int, dilation: int) -> int:
    """How many elements a window of ``window`` taps reaches over."""
    return (window - 1) * dilation + 1


def window_positions(op: str, dim: Dim, window: int, stride: int, dilation: int) -> Dim:
    """The number of places where a window fits into ``dim`` elements.

    Raises:
        GraphcValueError: E219 where the window is larger than ``dim``; E214 where the number is no polynomial
        in the symbols of ``dim``.
    """
    span = window_span(window, dilation)
    if is_below(dim, span):
        raise GraphcValueError(
            "E219",
            f"{op}: a window of {window} with dilation {dilation} reaches over {span}, the padded input has {dim}",
        )
    rest = dim - span
    if isinstance(rest, int):
        return rest // stride + 1
    # floor(rest / stride) is a polynomial only where the remainder is the same for all values of the symbols.
    for remainder in range(stride):
        quotient = divide_exact(rest - remainder, stride)
        if quotient is not None:
            return quotient + 1
    raise GraphcValueError(
        "E214",
        f"{op}: windows with stride {stride} over {dim} elements have no polynomial count",
        hint="bind the symbol first",
    )


def _check_windows(op: str, attrs: Attrs, rank: int) -> tuple[int, ...]:
    axes = check_axes(op, attrs["axes"], rank)
    for what in ("window", "strides", "dilation"):
        check_length(op, what, attrs[what], len(axes))
        check_positive(op, what, attrs[what])
    return axes


def _patched(op: str, attrs: Attrs, x: TensorType) -> TensorType:
    axes = _check_windows(op, attrs, x.rank)
    shape = list(x.shape)
    for place, axis in enumerate(axes):
        sizes = attrs["window"][place], attrs["strides"][place], attrs["dilation"][place]
        shape[axis] = window_positions(op, shape[axis], *sizes)
    return tensor_type(x.dtype, (*shape, *attrs["window"]))


def _infer_patches(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    return _patched("patches", attrs, inputs[0])


def _evaluate_patches(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    axes, window, strides, dilation = (attrs[name] for name in ("axes", "window", "strides", "dilation"))
    spans = tuple(window_span(taps, gap) for taps, gap in zip(window, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axes) if axes else x
    cut = [slice(None)] * view.ndim
    for place, axis in enumerate(axes):
        cut[axis] = slice(None, None, strides[place])
        cut[x.ndim + place] = slice(None, None, dilation[place])
    return view[tuple(cut)]


def _patches_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else b.op("fold_patches", g, **node.attrs, shape=node.inputs[0].shape)]


def _infer_fold_patches(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (g,) = inputs
    check_dtype("fold_patches", g, NUMERIC)
    made = tensor_type(g.dtype, attrs["shape"])
    expected = _patched("fold_patches", attrs, made)
    if g is not expected:
        raise GraphcValueError("E211", f"fold_patches to {made!r} takes {expected!r}, got {g!r}")
    return made


def _evaluate_fold_patches(attrs: Attrs, g: Array, *, result: TensorType) -> Array:
    axes, window, strides, dilation = (attrs[name] for name in ("axes", "window", "strides", "dilation"))
    total = np.zeros(result.static_shape, g.dtype)
    for offset in itertools.product(*(range(taps) for taps in window)):
        place = [slice(None)] * total.ndim
        for tap, axis, stride, gap in zip(offset, axes, strides, dilation, strict=True):
            first = tap * gap
            place[axis] = slice(first, first + (g.shape[axis] - 1) * stride + 1, stride)
        taps: tuple[Any, ...] = (..., *offset)
        total[tuple(place)] += g[taps]
    return total


def _fold_patches_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    attributes = {name: node.attrs[name] for name in ("axes", "window", "strides", "dilation")}
    return [None if g is None else b.op("patches", g, **attributes)]


register(
    OpDef(
        "patches",
        OpKind.MOVEMENT,
        _infer_patches,
        _evaluate_patches,
        _patches_vjp,
        linear_jvp,
        attributes=("axes", "window", "strides", "dilation"),
        summary="sliding windows as a strided view: positions along the axes, offsets as new last axes",
        arity=1,
    )
)
register(
    OpDef(
        "fold_patches",
        OpKind.MOVEMENT,
        _infer_fold_patches,
        _evaluate_fold_patches,
        _fold_patches_vjp,
        linear_jvp,
        attributes=("axes", "window", "strides", "dilation", "shape"),
        dtypes=NUMERIC,
        summary="the transpose of patches: overlapping windows are added up",
        arity=1,
    )
)
