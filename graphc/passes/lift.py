"""Values of a loop's body for all trips at once, computed outside of the loop."""

from __future__ import annotations

from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType
from graphc.passes.loops import LoopParts, outside_value, whole_sequence

_LIFTED = frozenset({"transpose", "reshape", "broadcast_to", "slice", "concat", "matmul", "sum", "max", "min"})


def can_lift(parts: LoopParts, node: Node, byte_limit: int) -> bool:
    """Is there an op for ``node`` with the trips as leading axis, and do its values for all trips fit the limit?"""
    if not isinstance(node.type, TensorType) or not node.type.is_static or parts.holds_loops:
        return False
    if parts.size is not None:
        return False  # there is no op over all steps where each call says how many there are
    if node.op.kind is not OpKind.POINTWISE and node.op.name not in _LIFTED:
        return False
    return node.type.nbytes * parts.trips <= byte_limit


class Lifter:
    """Builds values of one body outside of its loop.

    Attributes:
        outside: node of the body that depends on invariants alone → its value.
        lifted: node of the body → its values for all trips along a new first axis; what is there already is taken.

    Args:
        b: where they are made.
        parts: the loop.
        backward: the last trip first, which is how a sequence lies that is read from its end.
    """

    def __init__(self, b: Builder, parts: LoopParts, *, backward: bool = False) -> None:
        self.b = b
        self.parts = parts
        self.sequences = {part.inner: part.mirrored(parts.trips) if backward else part for part in parts.sequences}
        self.outside: dict[Node, Node] = {}
        self.lifted: dict[Node, Node] = {}

    def fixed(self, node: Node) -> Node:
        """An invariant expression, built before the loop."""
        return outside_value(self.b, node, self.outside, self.parts.invariants)

    def lift(self, root: Node) -> Node:
        """The values of ``root`` for all trips, along a new first axis."""
        order: list[Node] = []
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if node in self.lifted or node in self.parts.invariants or node.op.name == "constant":
                continue
            if ready:
                order.append(node)
                self.lifted[node] = self._lift_one(node)
                continue
            stack.append((node, True))
            stack.extend((operand, False) for operand in reversed(node.inputs))
        return self.lifted[root]

    def _lift_one(self, node: Node) -> Node:
        if node in self.sequences:
            return whole_sequence(self.b, self.sequences[node], self.parts.trips)
        if not any(operand in self.lifted and self._moves(operand) for operand in node.inputs):
            # Only invariants below: kept as they are, to be broadcast by whoever uses them.
            return self.fixed(node)
        return self._apply_lifted(node)

    def _moves(self, node: Node) -> bool:
        """Whether a lifted value has the steps as first axis (an invariant has not)."""
        return self.lifted[node].rank == node.rank + 1

    def _value(self, operand: Node) -> tuple[Node, bool]:
        if operand in self.lifted:
            return self.lifted[operand], self._moves(operand)
        return self.fixed(operand), False

    def _apply_lifted(self, node: Node) -> Node:
        b, trips = self.b, self.parts.trips
        values = [self._value(operand) for operand in node.inputs]
        attrs = node.attrs
        match node.op.name:
            case "matmul":
                return self._lifted_matmul(node, values)
            case "transpose":
                return b.op("transpose", values[0][0], permutation=(0, *(axis + 1 for axis in attrs["permutation"])))
            case "reshape":
                return b.op("reshape", values[0][0], shape=(trips, *attrs["shape"]))
            case "broadcast_to":
                return b.op("broadcast_to", _aligned(b, values[0][0], node.rank + 1), shape=(trips, *attrs["shape"]))
            case "slice":
                return b.op(
                    "slice",
                    values[0][0],
                    starts=(0, *attrs["starts"]),
                    stops=(trips, *attrs["stops"]),
                    steps=(1, *attrs["steps"]),
                )
            case "concat":
                parts = [
                    value if moves else b.op("broadcast_to", value, shape=(trips, *value.shape))
                    for value, moves in values
                ]
                return b.op("concat", *parts, axis=attrs["axis"] + 1)
            case "sum" | "max" | "min":
                return b.op(
                    node.op.name,
                    values[0][0],
                    axes=tuple(axis + 1 for axis in attrs["axes"]),
                    keepdims=attrs["keepdims"],
                )
            case _:
                return b.make(node.op, [_aligned(b, v, node.rank + 1) if moves else v for v, moves in values], attrs)

    def _lifted_matmul(self, node: Node, values: list[tuple[Node, bool]]) -> Node:
        """Σ over the last axis of all steps at once; a plain x_t @ W becomes one product of T·B rows."""
        b = self.b
        (left, left_moves), (right, right_moves) = values
        if left_moves and not right_moves and left.rank == 3 and right.rank == 2:
            trips, rows, inner = left.shape
            flat = b.op("reshape", left, shape=(trips * rows, inner))
            return b.op("reshape", b.op("matmul", flat, right), shape=(trips, rows, right.shape[1]))
        left = _aligned(b, left, node.rank + 1) if left_moves else left
        right = _aligned(b, right, node.rank + 1) if right_moves else right
        return b.op("matmul", left, right)


def _aligned(b: Builder, value: Node, rank: int) -> Node:
    """A value with the steps first, with 1-axes after them so that it broadcasts against values of rank ``rank``."""
    if value.rank == rank:
        return value
    return b.op("reshape", value, shape=(value.shape[0], *(1,) * (rank - value.rank), *value.shape[1:]))
