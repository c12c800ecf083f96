"""Ops that move elements: mostly views."""

from __future__ import annotations

import ast

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.lowering.base import Rule, Scope, rounded, shape_of, wide
from graphc.backends.numpy.syntax import attribute, call, integers, literal, method, numpy, subscript_axes, tuple_of
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.types import bfloat16, float32

FULL = ast.Slice()
"""``:`` as an index."""

_VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "index", "flip", "patches", "stop_gradient"})


def is_view(node: Node) -> bool:
    """True where the value of ``node`` may share memory with that of its first operand."""
    if node.op.name == "broadcast_to":
        return not is_filled(node)
    if node.op.name == "cast":
        return node.inputs[0].dtype is node.dtype or (node.inputs[0].dtype is bfloat16 and node.dtype is float32)
    return node.op.name in _VIEWS or (node.op.name == "pad" and node.rank == 0)


def is_filled(node: Node) -> bool:
    """True for a scalar constant repeated to a shape: an array of its own."""
    return node.op.name == "broadcast_to" and node.inputs[0].op.name == "constant" and node.inputs[0].rank == 0


def _lower_reshape(scope: Scope, node: Node) -> ast.expr:
    return method(scope.value(node.inputs[0]), "reshape", shape_of(scope, node.shape))


def _lower_transpose(scope: Scope, node: Node) -> ast.expr:
    return transposed(scope.value(node.inputs[0]), node.attrs["permutation"])


def transposed(value: ast.expr, permutation: tuple[int, ...]) -> ast.expr:
    """``value`` with its axes permuted, in the shortest way to say it."""
    rank = len(permutation)
    if permutation == tuple(range(rank)):
        return value
    if permutation == tuple(range(rank))[::-1]:
        return attribute(value, "T")
    if permutation == (*range(rank - 2), rank - 1, rank - 2):
        return method(value, "swapaxes", literal(-1), literal(-2))
    return method(value, "transpose", integers(permutation))


def _lower_broadcast_to(scope: Scope, node: Node) -> ast.expr:
    (x,) = node.inputs
    shape = shape_of(scope, node.shape)
    if not is_filled(node):
        return call(numpy("broadcast_to"), scope.value(x), shape)
    element = dtype_expression(node.dtype)
    # Looked at as bits: minus zero is not np.zeros.
    if not any(x.attrs["value"].array.tobytes()):
        return call(numpy("zeros"), shape, element)
    return call(numpy("full"), shape, scope.weak(x), element)


def _lower_slice(scope: Scope, node: Node) -> ast.expr:
    (x,) = node.inputs
    spans = zip(x.shape, node.attrs["starts"], node.attrs["stops"], node.attrs["steps"], strict=True)
    return subscript_axes(scope.value(x), [_span(scope, *span) for span in spans])


def _span(scope: Scope, dim: Dim, start: Dim, stop: Dim, step: int) -> ast.expr:
    return ast.Slice(
        None if start == 0 else scope.dim(start),
        None if stop == dim else scope.dim(stop),
        None if step == 1 else literal(step),
    )


def _lower_index(scope: Scope, node: Node) -> ast.expr:
    return element(scope.value(node.inputs[0]), node.attrs["axis"], scope.dim(node.attrs["index"]))


def element(value: ast.expr, axis: int, index: ast.expr) -> ast.expr:
    """``value[index]`` along ``axis``."""
    return subscript_axes(value, [FULL] * axis + [index])


def _lower_flip(scope: Scope, node: Node) -> ast.expr:
    backwards = ast.Slice(step=literal(-1))
    axes = node.attrs["axes"]
    return subscript_axes(
        scope.value(node.inputs[0]), [backwards if axis in axes else FULL for axis in range(node.rank)]
    )


def _lower_join(function: str) -> Rule:
    def lower(scope: Scope, node: Node) -> ast.expr:
        parts = tuple_of(scope.value(part) for part in node.inputs)
        return call(numpy(function), parts, axis=literal(node.attrs["axis"]))

    return lower


def _lower_pad(scope: Scope, node: Node) -> ast.expr:
    x, filling = node.inputs
    value = scope.value(x)
    if not node.rank:
        return value
    widths = zip(node.attrs["low"], node.attrs["high"], strict=True)
    pairs = tuple_of(shape_of(scope, pair) for pair in widths)
    if filling.op.name == "constant" and not any(filling.attrs["value"].array.tobytes()):
        return call(numpy("pad"), value, pairs)
    return call(numpy("pad"), value, pairs, constant_values=scope.weak(filling))


def _lower_patches(scope: Scope, node: Node) -> ast.expr:
    axes, window, strides, dilation = (node.attrs[name] for name in ("axes", "window", "strides", "dilation"))
    value = scope.value(node.inputs[0])
    if not axes:
        return value
    spans = [(taps - 1) * gap + 1 for taps, gap in zip(window, dilation, strict=True)]
    view = call(numpy("lib.stride_tricks.sliding_window_view"), value, integers(spans), axis=integers(axes))
    rank = node.inputs[0].rank
    cuts: list[ast.expr] = [FULL] * (rank + len(axes))
    for place, axis in enumerate(axes):
        cuts[axis] = _every(strides[place])
        cuts[rank + place] = _every(dilation[place])
    return subscript_axes(view, cuts)


def _every(step: int) -> ast.Slice:
    return FULL if step == 1 else ast.Slice(step=literal(step))


def _lower_fold_patches(scope: Scope, node: Node) -> ast.expr:
    settings = [integers(node.attrs[name]) for name in ("axes", "strides", "dilation")]
    value = call(scope.helper("_fold_patches"), wide(scope, node.inputs[0]), *settings, shape_of(scope, node.shape))
    return rounded(scope, value, node.dtype)


RULES: dict[str, Rule] = {
    "reshape": _lower_reshape,
    "transpose": _lower_transpose,
    "broadcast_to": _lower_broadcast_to,
    "slice": _lower_slice,
    "index": _lower_index,
    "flip": _lower_flip,
    "concat": _lower_join("concatenate"),
    "stack": _lower_join("stack"),
    "pad": _lower_pad,
    "patches": _lower_patches,
    "fold_patches": _lower_fold_patches,
}
