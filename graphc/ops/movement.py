"""Ops that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, divide_exact, product
from graphc.ir.node import Node
from graphc.ir.op import Array, EvaluateRule, InferRule, JvpRule, OpDef, OpKind, VjpRule, register
from graphc.ir.types import Shape, TensorType, tensor_type
from graphc.ops.rules import (
    check_axes,
    check_axis,
    check_length,
    check_positive,
    check_same_dtype,
    is_below,
    linear_jvp,
    zeros,
)
from graphc.ops.shapes import broadcast_shapes, format_shape, unbroadcast

Cotangents = Sequence[Node | None]

# -- reshape, transpose, broadcast_to, flip ---------------------------------------------------------------------------


def reshape_target(shape: Shape, wanted: Sequence[Any]) -> Shape:
    """The shape meant by ``wanted``, in which one entry may be −1: "what is left".

    Raises:
        GraphcValueError: E211 where the elements do not fit.
    """
    unknown = [axis for axis, dim in enumerate(wanted) if isinstance(dim, int) and dim == -1]
    if not unknown:
        return tuple(wanted)
    known = product(dim for axis, dim in enumerate(wanted) if axis not in unknown)
    rest = divide_exact(product(shape), known) if len(unknown) == 1 else None
    if rest is None:
        raise GraphcValueError("E211", f"cannot reshape {format_shape(shape)} to {format_shape(tuple(wanted))}")
    return tuple(rest if axis in unknown else dim for axis, dim in enumerate(wanted))


def _infer_reshape(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    made = tensor_type(x.dtype, attrs["shape"])
    if product(made.shape) != x.size:
        raise GraphcValueError(
            "E211",
            f"cannot reshape {format_shape(x.shape)} to {format_shape(made.shape)}: {x.size} elements, not {made.size}",
        )
    return made


def _evaluate_reshape(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return x.reshape(result.static_shape)


def _reshape_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else b.op("reshape", g, shape=node.inputs[0].shape)]


def _infer_transpose(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    permutation = check_axes("transpose", attrs["permutation"], x.rank)
    check_length("transpose", "permutation", permutation, x.rank)
    return tensor_type(x.dtype, [x.shape[axis] for axis in permutation])


def _evaluate_transpose(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return np.transpose(x, attrs["permutation"])


def inverse_permutation(permutation: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``permutation``."""
    return tuple(sorted(range(len(permutation)), key=lambda axis: permutation[axis]))


def _transpose_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else b.op("transpose", g, permutation=inverse_permutation(node.attrs["permutation"]))]


def _infer_broadcast_to(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    made = tensor_type(x.dtype, attrs["shape"])
    if broadcast_shapes([x.shape, made.shape], "broadcast_to") != made.shape:
        raise GraphcValueError("E211", f"cannot broadcast {format_shape(x.shape)} to {format_shape(made.shape)}")
    return made


def _evaluate_broadcast_to(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return np.broadcast_to(x, result.static_shape)


def _broadcast_to_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else unbroadcast(b, g, node.inputs[0].tensor)]


def _infer_flip(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x: TensorType = inputs[0]
    check_axes("flip", attrs["axes"], x.rank)
    return x


def _evaluate_flip(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return np.flip(x, attrs["axes"])


def _flip_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else b.op("flip", g, axes=node.attrs["axes"])]


# -- slice, index ------------------------------------------------------------------------------------------------------


def _infer_slice(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x: TensorType = inputs[0]
    starts, stops, steps = attrs["starts"], attrs["stops"], attrs["steps"]
    for what, values in (("starts", starts), ("stops", stops), ("steps", steps)):
        check_length("slice", what, values, x.rank)
    check_positive("slice", "steps", steps)
    return x.with_shape([_sliced(x, axis, starts[axis], stops[axis], steps[axis]) for axis in range(x.rank)])


def _sliced(x: TensorType, axis: int, start: Dim, stop: Dim, step: int) -> Dim:
    dim = x.shape[axis]
    # What cannot be decided for symbols is checked again once they are bound.
    if is_below(start, 0) or is_below(stop, start) or is_below(dim, stop):
        raise GraphcIndexError("E220", f"slice {start}:{stop} is outside axis {axis} of {x!r}")
    length = stop - start
    if step == 1:
        return length
    if isinstance(length, int):
        return -(-length // step)
    # ceil(length / step) is a polynomial only where one of the remainders works out for all values.
    for slack in range(step):
        rounded = divide_exact(length + slack, step)
        if rounded is not None:
            return rounded
    raise GraphcValueError(
        "E214", f"slice {start}:{stop}:{step} of {x!r} has no polynomial length", hint="bind the symbol, or use step 1"
    )


def _evaluate_slice(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    spans = zip(attrs["starts"], attrs["stops"], attrs["steps"], strict=True)
    return x[tuple(slice(start, stop, step) for start, stop, step in spans)]


def scatter_slice(
    b: Builder, g: Node, type_: TensorType, starts: Sequence[Dim], stops: Sequence[Dim], steps: Sequence[int]
) -> Node:
    """The transpose of ``slice``: zeros of ``type_`` with ``g`` at ``starts:stops:steps``."""
    if 0 in g.shape:
        return zeros(b, type_)
    spread = g
    low: list[Dim] = []
    high: list[Dim] = []
    for axis, step in enumerate(steps):
        count: Dim = g.shape[axis]
        if step != 1 and count != 1:
            spread = _interleave_zeros(b, spread, axis, step)
        low.append(starts[axis])
        high.append(type_.shape[axis] - starts[axis] - spread.shape[axis])
    if all(amount == 0 for amount in (*low, *high)):
        return spread
    return b.op("pad", spread, b.full_like(g, 0), low=tuple(low), high=tuple(high))


def _interleave_zeros(b: Builder, x: Node, axis: int, step: int) -> Node:
    """``x`` with ``step`` − 1 zeros between neighbours along ``axis``: each element becomes a padded row."""
    before, count, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    rows = b.op("reshape", x, shape=(*before, count, 1, *after))
    low = (0,) * rows.rank
    high = (*(0,) * (axis + 1), step - 1, *(0,) * len(after))
    padded = b.op("pad", rows, b.full_like(x, 0), low=low, high=high)
    flat = b.op("reshape", padded, shape=(*before, count * step, *after))
    stops = (*before, (count - 1) * step + 1, *after)
    return b.op("slice", flat, starts=(0,) * flat.rank, stops=stops, steps=(1,) * flat.rank)


def _slice_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None]
    attrs = node.attrs
    return [scatter_slice(b, g, node.inputs[0].tensor, attrs["starts"], attrs["stops"], attrs["steps"])]


def _infer_index(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    axis, index = check_axis("index", attrs["axis"], x.rank), attrs["index"]
    if is_below(index, 0) or is_below(x.shape[axis] - 1, index):
        raise GraphcIndexError("E220", f"index {index} is out of bounds for axis {axis} of {x!r}")
    return tensor_type(x.dtype, (*x.shape[:axis], *x.shape[axis + 1 :]))


def _evaluate_index(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    row: Array = np.take(x, attrs["index"], axis=attrs["axis"])
    return row


def scatter_index(b: Builder, g: Node, type_: TensorType, axis: int, index: Dim) -> Node:
    """The transpose of ``index``: zeros of ``type_`` with ``g`` at position ``index`` along ``axis``."""
    row = b.op("reshape", g, shape=(*type_.shape[:axis], 1, *type_.shape[axis + 1 :]))
    before, after = (0,) * axis, (0,) * (type_.rank - axis - 1)
    low, high = (*before, index, *after), (*before, type_.shape[axis] - 1 - index, *after)
    if all(amount == 0 for amount in (*low, *high)):
        return row
    return b.op("pad", row, b.full_like(g, 0), low=low, high=high)


def _index_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None]
    return [scatter_index(b, g, node.inputs[0].tensor, node.attrs["axis"], node.attrs["index"])]


# -- concat, stack -----------------------------------------------------------------------------------------------------


def _infer_concat(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    if not inputs:
        raise GraphcValueError("E211", "concat needs at least one operand")
    check_same_dtype("concat", inputs)
    first: TensorType = inputs[0]
    axis = check_axis("concat", attrs["axis"], first.rank)
    for other in inputs[1:]:
        same = other.rank == first.rank and all(
            ours == theirs
            for place, (ours, theirs) in enumerate(zip(first.shape, other.shape, strict=True))
            if place != axis
        )
        if not same:
            raise GraphcValueError("E211", f"concat along axis {axis}: {first!r} and {other!r} differ elsewhere")
    total: Dim = 0
    for part in inputs:
        total = total + part.shape[axis]
    return tensor_type(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _evaluate_concat(attrs: Attrs, *parts: Array, result: TensorType) -> Array:
    return np.concatenate(parts, axis=attrs["axis"])


def _concat_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None] * len(node.inputs)
    axis = node.attrs["axis"]
    result: list[Node | None] = []
    start: Dim = 0
    for part in node.inputs:
        stop = start + part.shape[axis]
        starts = tuple(start if place == axis else 0 for place in range(part.rank))
        stops = tuple(stop if place == axis else dim for place, dim in enumerate(part.shape))
        result.append(b.op("slice", g, starts=starts, stops=stops, steps=(1,) * part.rank))
        start = stop
    return result


def _infer_stack(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    if not inputs:
        raise GraphcValueError("E211", "stack needs at least one operand")
    check_same_dtype("stack", inputs)
    first: TensorType = inputs[0]
    for other in inputs[1:]:
        if other is not first:
            raise GraphcValueError("E211", f"stack takes operands of one shape, got {first!r} and {other!r}")
    axis = check_axis("stack", attrs["axis"], first.rank + 1)
    return tensor_type(first.dtype, (*first.shape[:axis], len(inputs), *first.shape[axis:]))


def _evaluate_stack(attrs: Attrs, *parts: Array, result: TensorType) -> Array:
    return np.stack(parts, axis=attrs["axis"])


def _stack_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None] * len(node.inputs)
    return [b.op("index", g, axis=node.attrs["axis"], index=position) for position in range(len(node.inputs))]


# -- pad ---------------------------------------------------------------------------------------------------------------


def _infer_pad(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    x: TensorType = inputs[0]
    value: TensorType = inputs[1]
    check_same_dtype("pad", inputs)
    if value.rank != 0:
        raise GraphcValueError("E211", f"pad takes a scalar value, got {value!r} for {x!r}")
    low, high = attrs["low"], attrs["high"]
    check_length("pad", "low", low, x.rank)
    check_length("pad", "high", high, x.rank)
    if any(is_below(amount, 0) for amount in (*low, *high)):
        raise GraphcValueError("E211", f"pad: counts must not be negative, got low {low} and high {high}")
    return x.with_shape([below + dim + above for below, dim, above in zip(low, x.shape, high, strict=True)])


def _evaluate_pad(attrs: Attrs, x: Array, value: Array, *, result: TensorType) -> Array:
    widths = tuple(zip(attrs["low"], attrs["high"], strict=True))
    return np.pad(x, widths, constant_values=value) if widths else x


def _pad_vjp(b: Builder, node: Node, cotangents: Cotangents) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None]
    x, value = node.inputs
    low = node.attrs["low"]
    stops = tuple(start + dim for start, dim in zip(low, x.shape, strict=True))
    inner = b.op("slice", g, starts=low, stops=stops, steps=(1,) * x.rank)
    if value.op.name == "constant":
        return [inner, None]
    everything = b.op("sum", g, axes=tuple(range(g.rank)), keepdims=False)
    return [inner, b.op("subtract", everything, b.op("sum", inner, axes=tuple(range(g.rank)), keepdims=False))]


# -- registration ------------------------------------------------------------------------------------------------------


def _register(
    name: str,
    infer: InferRule,
    evaluate: EvaluateRule,
    vjp: VjpRule,
    attributes: tuple[str, ...],
    summary: str,
    *,
    arity: int | None = 1,
    jvp: JvpRule = linear_jvp,
) -> None:
    register(
        OpDef(name, OpKind.MOVEMENT, infer, evaluate, vjp, jvp, attributes=attributes, summary=summary, arity=arity)
    )


_register(
    "reshape", _infer_reshape, _evaluate_reshape, _reshape_vjp, ("shape",), "the same elements in row-major order"
)
_register(
    "transpose",
    _infer_transpose,
    _evaluate_transpose,
    _transpose_vjp,
    ("permutation",),
    "output axis i is input axis permutation[i]",
)
_register(
    "broadcast_to",
    _infer_broadcast_to,
    _evaluate_broadcast_to,
    _broadcast_to_vjp,
    ("shape",),
    "repeat by NumPy's rules",
)
_register("flip", _infer_flip, _evaluate_flip, _flip_vjp, ("axes",), "reverse the order along axes")
_register(
    "slice",
    _infer_slice,
    _evaluate_slice,
    _slice_vjp,
    ("starts", "stops", "steps"),
    "a rectangular part; steps are at least 1",
)
_register(
    "index",
    _infer_index,
    _evaluate_index,
    _index_vjp,
    ("axis", "index"),
    "one position along an axis, which is dropped",
)
_register("concat", _infer_concat, _evaluate_concat, _concat_vjp, ("axis",), "join along an axis", arity=None)
_register("stack", _infer_stack, _evaluate_stack, _stack_vjp, ("axis",), "join along a new axis", arity=None)
_register("pad", _infer_pad, _evaluate_pad, _pad_vjp, ("low", "high"), "surround with a scalar value", arity=2)
