"""Rules for ops that only move elements: two in a row become one, and a part of an assembled tensor becomes the
part.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.node import Node

_MAXIMUM_PARTS = 256
"""Parts up to which concats join: a tensor grown part by part would otherwise be a graph quadratic in its steps."""


def _reshape(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # reshape(x, its own shape) = x;  reshape(reshape(x, s), r) = reshape(x, r).
    (x,) = inputs
    if x.type is node.type:
        return x
    return b.op("reshape", x.inputs[0], shape=node.shape) if x.op.name == "reshape" else None


def _transpose(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # transpose(x, identity) = x;  transpose(transpose(x, p), q) = transpose(x, p∘q).
    (x,) = inputs
    permutation = node.attrs["permutation"]
    if permutation == tuple(range(len(permutation))):
        return x
    if x.op.name == "transpose":
        return b.op("transpose", x.inputs[0], permutation=tuple(x.attrs["permutation"][axis] for axis in permutation))
    return None


def _broadcast_to(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # broadcast(x, its own shape) = x;  broadcast(broadcast(x, s), r) = broadcast(x, r).
    (x,) = inputs
    if x.type is node.type:
        return x
    return b.op("broadcast_to", x.inputs[0], shape=node.shape) if x.op.name == "broadcast_to" else None


def _flip(_b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # flip(flip(x)) = x over the same axes;  flip over no axes = x.
    (x,) = inputs
    if not node.attrs["axes"]:
        return x
    return x.inputs[0] if x.op.name == "flip" and set(x.attrs["axes"]) == set(node.attrs["axes"]) else None


def _index(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # index(stack(x…), i) = xᵢ;  index(concat(x…), i) = index(the part that holds i);  index of a broadcast axis drops
    # it.
    (x,) = inputs
    axis, position = node.attrs["axis"], node.attrs["index"]
    if x.op.name == "stack":
        if x.attrs["axis"] == axis:
            return x.inputs[position]
        return None
    if x.op.name == "concat" and x.attrs["axis"] == axis:
        for part in x.inputs:
            length = part.shape[axis]
            if not isinstance(length, int):
                return None
            if position < length:
                return b.op("index", part, axis=axis, index=position)
            position -= length
        return None
    if x.op.name == "slice" and x.inputs[0].rank:
        source = x.attrs["starts"][axis] + position * x.attrs["steps"][axis]
        others = [
            (start, stop, step) == (0, size, 1)
            for dimension, (start, stop, step, size) in enumerate(
                zip(x.attrs["starts"], x.attrs["stops"], x.attrs["steps"], x.inputs[0].shape, strict=True)
            )
            if dimension != axis
        ]
        return b.op("index", x.inputs[0], axis=axis, index=source) if all(others) else None
    if x.op.name == "broadcast_to":
        source_rank = x.inputs[0].rank
        inner = axis - (x.rank - source_rank)
        if inner < 0:
            return b.op("broadcast_to", x.inputs[0], shape=node.shape)
        if x.inputs[0].shape[inner] == 1 and x.shape[axis] != 1:
            return b.op("broadcast_to", b.op("index", x.inputs[0], axis=inner, index=0), shape=node.shape)
    return None


def _slice(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # slice(x, everything) = x;  slice(slice(x)) = one slice;  slice(concat(x…)) = xᵢ where it cuts exactly that part.
    (x,) = inputs
    if x.type is node.type and all(step == 1 for step in node.attrs["steps"]):
        return x
    starts, stops, steps = (node.attrs[name] for name in ("starts", "stops", "steps"))
    if x.op.name == "slice":
        inner = [x.attrs[name] for name in ("starts", "steps")]
        # An empty part starts where the inner slice does: counted from its own start it could begin beyond the end.
        merged_starts = tuple(
            a + start * step if size != 0 else a
            for a, start, step, size in zip(inner[0], starts, inner[1], node.shape, strict=True)
        )
        merged_steps = tuple(first * second for first, second in zip(inner[1], steps, strict=True))
        merged_stops = tuple(
            start + (size - 1) * step + 1 if size != 0 else start
            for start, step, size in zip(merged_starts, merged_steps, node.shape, strict=True)
        )
        return b.op("slice", x.inputs[0], starts=merged_starts, stops=merged_stops, steps=merged_steps)
    if x.op.name == "concat":
        axis = x.attrs["axis"]
        offset = 0
        for part in x.inputs:
            length = part.shape[axis]
            if not isinstance(length, int):
                return None
            if offset <= starts[axis] and stops[axis] <= offset + length:
                moved = [list(starts), list(stops)]
                moved[0][axis] -= offset
                moved[1][axis] -= offset
                return b.op("slice", part, starts=tuple(moved[0]), stops=tuple(moved[1]), steps=steps)
            offset += length
    return None


def _stack(_b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # stack(x[0], x[1], …, x[n−1]) = x along the same axis.
    axis = node.attrs["axis"]
    first = inputs[0]
    if first.op.name != "index" or first.inputs[0].type is not node.type:
        return None
    whole = first.inputs[0]
    for position, operand in enumerate(inputs):
        if operand.op.name != "index" or operand.inputs[0] is not whole:
            return None
        if operand.attrs["axis"] != axis or operand.attrs["index"] != position:
            return None
    return whole


def _concat(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # concat(x) = x;  concat(concat(x, y), z) = concat(x, y, z) on the same axis;  adjacent slices of one tensor join.
    axis = node.attrs["axis"]
    if len(inputs) == 1:
        return inputs[0]
    if any(operand.op.name == "concat" and operand.attrs["axis"] == axis for operand in inputs):
        flat: list[Node] = []
        for operand in inputs:
            flat.extend(operand.inputs if operand.op.name == "concat" and operand.attrs["axis"] == axis else (operand,))
        if len(flat) <= _MAXIMUM_PARTS:
            return b.op("concat", *flat, axis=axis)
    joined: list[Node] = [inputs[0]]
    for operand in inputs[1:]:
        merged = _join_slices(b, joined[-1], operand, axis)
        if merged is None:
            joined.append(operand)
        else:
            joined[-1] = merged
    if len(joined) == len(inputs):
        return None
    return joined[0] if len(joined) == 1 else b.op("concat", *joined, axis=axis)


def _join_slices(b: Builder, left: Node, right: Node, axis: int) -> Node | None:
    if left.op.name != "slice" or right.op.name != "slice" or left.inputs[0] is not right.inputs[0]:
        return None
    if left.attrs["steps"][axis] != 1 or left.attrs["steps"] != right.attrs["steps"]:
        return None
    for name in ("starts", "stops"):
        if any(left.attrs[name][d] != right.attrs[name][d] for d in range(left.rank) if d != axis):
            return None
    if left.attrs["stops"][axis] != right.attrs["starts"][axis]:
        return None
    stops = list(left.attrs["stops"])
    stops[axis] = right.attrs["stops"][axis]
    whole = b.op("slice", left.inputs[0], starts=left.attrs["starts"], stops=tuple(stops), steps=left.attrs["steps"])
    return left.inputs[0] if whole.type is left.inputs[0].type else whole


def _pad(_b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # pad by nothing = x.
    return inputs[0] if inputs[0].type is node.type and not any((*node.attrs["low"], *node.attrs["high"])) else None


MOVEMENT_RULES = {
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "flip": _flip,
    "index": _index,
    "slice": _slice,
    "stack": _stack,
    "concat": _concat,
    "pad": _pad,
}
