"""Which ops over all steps keep the steps apart, and what such an op is of a single step."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpKind

Place = tuple[Node, int, int]
"""(value, start, step): in trip t a loop reads the element ``start + step·t`` along the first axis."""


def moving(node: Node) -> list[bool] | None:
    """For an op each step of which needs the same step of its operands: which of those have steps; None for others.

    Steps are the first axis of a value.
    """
    if not node.rank or not node.inputs or node.shape[0] == 1:
        return None
    attrs, steps, first = node.attrs, node.shape[0], node.inputs[0]
    flags = [operand.rank == node.rank and operand.shape[0] == steps for operand in node.inputs]
    match node.op.name:
        case "broadcast_to":
            return flags
        case "reshape":
            return [True] if first.rank and first.shape[0] == steps else None
        case "transpose":
            return [True] if attrs["permutation"][0] == 0 else None
        case "sum" | "max" | "min":
            return [True] if 0 not in attrs["axes"] else None
        case "matmul":
            return [True, False] if (node.rank, first.rank, node.inputs[1].rank) == (3, 3, 2) else None
        case "take_along_axis" | "scatter_add_along_axis" | "concat":
            return flags if attrs["axis"] != 0 and all(flags) else None
        case "slice":
            whole = (attrs["starts"][0], attrs["stops"][0], attrs["steps"][0]) == (0, first.shape[0], 1)
            return [True] if whole else None
    return flags if node.op.kind is OpKind.POINTWISE else None


def moved(place: Place, trips: int) -> Place | None:
    """Where the elements of a value lie that moves whole steps; None where it does not, or not these as one."""
    node, start, step = place
    attrs = node.attrs
    match node.op.name:
        case "flip" if attrs["axes"] == (0,):
            return node.inputs[0], int(node.shape[0]) - 1 - start, -step
        case "slice":
            (operand,) = node.inputs
            first, by = attrs["starts"][0], attrs["steps"][0]
            rest = zip(attrs["starts"], attrs["stops"], attrs["steps"], operand.shape, strict=True)
            if all((low, high, one) == (0, size, 1) for low, high, one, size in list(rest)[1:]):
                return operand, first + by * start, by * step
        case "concat" if attrs["axis"] == 0:
            low, ends = 0, (start, start + step * (trips - 1))
            for operand in node.inputs:
                if low <= min(ends) and max(ends) < low + operand.shape[0]:
                    return operand, start - low, step
                low += int(operand.shape[0])
    return None


def apply_step(b: Builder, node: Node, operands: Sequence[Node]) -> Node:
    """A step of an op that :func:`moving` knows, of a step of its operands."""
    attrs = node.attrs
    match node.op.name:
        case "broadcast_to" | "reshape":
            return b.op(node.op.name, *operands, shape=node.shape[1:])
        case "transpose":
            return b.op("transpose", *operands, permutation=tuple(axis - 1 for axis in attrs["permutation"][1:]))
        case "sum" | "max" | "min":
            axes = tuple(axis - 1 for axis in attrs["axes"])
            return b.op(node.op.name, *operands, axes=axes, keepdims=attrs["keepdims"])
        case "take_along_axis" | "scatter_add_along_axis" | "concat":
            return b.make(node.op, operands, attrs.replace(axis=attrs["axis"] - 1))
        case "slice":
            names = ("starts", "stops", "steps")
            return b.op("slice", *operands, **{name: attrs[name][1:] for name in names})
    return b.make(node.op, operands, attrs)
