"""Builds one proved loop: its body from the rows of the first trip, its operands from what they read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.op import get_op
from graphc.ir.types import TensorType, int64, tensor_type
from graphc.passes.roll_columns import Columns
from graphc.passes.roll_join import Joiner
from graphc.passes.roll_verify import Carry, Element, Gathered, LoopPlan, Numbers, Sequenced

_SCALAR_INT64 = tensor_type(int64)
_CARRIES, _INVARIANTS, _SEQUENCES = range(3)


class Outside(Protocol):
    """What a loop asks of the graph that it stands in."""

    stacked: list[dict[int, Node]]
    joiner: Joiner

    def outside_value(self, node: Node) -> Node:
        """The new node for an old one outside of the loop."""


def build_loop(
    b: Builder,
    graph: Graph,
    columns: Columns,
    plan: LoopPlan,
    stacked: Sequence[int],
    final: Sequence[int],
    outside: Outside,
) -> tuple[dict[int, Node], dict[int, Node]]:
    """Make a loop.

    Args:
        b: makes the loop and what it needs outside.
        graph: with the notes of the old nodes.
        columns: of the old nodes.
        plan: the loop.
        stacked: rows wanted at every trip.
        final: rows wanted after the last trip only.
        outside: where operands are found.

    Returns:
        Row → its stacked result, and row → its last value.
    """
    rows = columns.sequence[plan.start : plan.start + plan.period]
    note = graph.note(rows[0])
    with b.noted(step_note(note), note.role):
        return _LoopBuilder(b, graph, rows, plan, outside).build(stacked, final)


def step_note(note: Note) -> Note:
    """A note for what happens at every step: without the layer's ``step t`` part."""
    if not any(part.startswith("step ") for part in note.scope):
        return note
    scope = tuple(part for part in note.scope if not part.startswith("step "))
    return Note(note.locations, scope, note.role, note.name)


class _LoopBuilder:
    def __init__(self, b: Builder, graph: Graph, rows: Sequence[Node], plan: LoopPlan, outside: Outside) -> None:
        self.b = b
        self.graph = graph
        self.rows = rows
        self.plan = plan
        self.outside = outside
        self.body = Builder()
        self.counter = self.body.input("t", _SCALAR_INT64)
        self.operands: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
        self.inputs: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
        self.slices: list[tuple[int, int, int]] = []
        self.known: dict[Hashable, Node] = {}
        self.values: dict[int, Node] = {}
        self.notes: dict[Node, Note] = {}

    def build(self, stacked: Sequence[int], final: Sequence[int]) -> tuple[dict[int, Node], dict[int, Node]]:
        """The loop, and its results."""
        plan, body = self.plan, self.body
        for carry in plan.carries:
            type_ = self.rows[carry.row].tensor
            initial = self.outside.outside_value(carry.initial)
            if initial.shape != type_.shape:
                initial = self.b.op("broadcast_to", initial, shape=type_.shape)
            self._input(_CARRIES, carry, initial, type_)
        for row, node in enumerate(self.rows):
            self.values[row] = self._row(row, node)
            note = self.graph.note(node)
            if note is not NO_NOTE:
                self.notes.setdefault(self.values[row], step_note(note))
        following = [self.known[c.previous] if c.previous is not None else self.values[c.row] for c in plan.carries]
        direct = {carry.row: place for place, carry in reversed(list(enumerate(plan.carries))) if carry.lag == 1}
        for row in final:
            if row not in direct:
                # Only the last trip's value is wanted: a carry that nobody reads, cheaper than a stack.
                direct[row] = len(following)
                self._input(_CARRIES, ("final", row), self._filler(self.rows[row].tensor), self.rows[row].tensor)
                following.append(self.values[row])
        outputs = [(f"c{place}", value) for place, value in enumerate(following)]
        outputs += [(f"y{place}", self.values[row]) for place, row in enumerate(stacked)]
        carries, invariants, sequences = self.inputs
        region = Graph.make(
            "body", [self.counter, *carries, *invariants, *sequences], outputs, builder=body, notes=self.notes
        )
        attrs = {
            "trips": plan.trips,
            "body": region,
            "carries": len(carries),
            "invariants": len(invariants),
            "slices": tuple(self.slices),
        }
        loop = self.b.make(get_op("loop"), [node for group in self.operands for node in group], attrs)
        lasts = {row: self.b.op("result", loop, index=direct[row]) for row in final}
        stacks = {row: self.b.op("result", loop, index=len(carries) + place) for place, row in enumerate(stacked)}
        return stacks, lasts

    def _filler(self, type_: TensorType) -> Node:
        zero = self.b.constant(0, type_.dtype)
        return self.b.op("broadcast_to", zero, shape=type_.shape) if type_.rank else zero

    def _input(self, group: int, key: Hashable, outer: Node, type_: TensorType) -> Node:
        """The body's input for an operand; one for each key."""
        found = self.known.get(key)
        if found is None:
            letter = "cvs"[group]
            found = self.known[key] = self.body.input(f"{letter}{len(self.inputs[group])}", type_)
            self.inputs[group].append(found)
            self.operands[group].append(outer)
        return found

    def _row(self, row: int, node: Node) -> Node:
        """The body's node for one row."""
        plan = self.plan
        if row in plan.sequenced:
            return self._sequenced(plan.sequenced[row])
        operands = [
            self._operand(element, operand) for element, operand in zip(plan.elements[row], node.inputs, strict=True)
        ]
        if row in plan.streams:
            move = self.body.constant(plan.streams[row], int64)
            operands.append(self.body.op("multiply", self.counter, move))
        return self.body.make(node.op, operands, node.attrs)

    def _operand(self, element: Element, operand: Node) -> Node:
        match element:
            case int():
                return self.values[element]
            case Carry():
                return self.known[element]
            case Sequenced():
                return self._sequenced(element)
            case Numbers():
                return self._numbers(element)
            case Gathered():
                return self._gathered(element)
            case Node() if element.op.name == "constant" and element.rank == 0:
                # Scalars are part of the body: fusion and folding want to see them.
                return self.body.make(element.op, (), element.attrs)
            case Node():
                return self._input(_INVARIANTS, element, self.outside.outside_value(element), operand.tensor)

    def _sequence(self, key: Hashable, outer: Node, place: tuple[int, int, int]) -> Node:
        """The body's input for the element of ``outer`` at ``place``."""
        if key not in self.known:
            axis = place[0]
            self._input(
                _SEQUENCES, key, outer, outer.tensor.with_shape((*outer.shape[:axis], *outer.shape[axis + 1 :]))
            )
            self.slices.append(place)
        return self.known[key]

    def _sequenced(self, element: Sequenced) -> Node:
        if element in self.known:
            return self.known[element]
        source = element.source
        whole = (
            self.outside.outside_value(source)
            if isinstance(source, Node)
            else self.outside.stacked[source[0]][source[1]]
        )
        axis, start, step, width = element.axis, element.start, element.step, element.width
        if width > 1:
            whole, start = self._windows(whole, element)
        inner = self._sequence((element, "element"), whole, (axis, start, step))
        if width == 1:
            inner = self.body.op("reshape", inner, shape=(*inner.shape[:axis], 1, *inner.shape[axis:]))
        self.known[element] = inner
        return inner

    def _windows(self, whole: Node, element: Sequenced) -> tuple[Node, int]:
        """The windows of all trips along an axis of their own, and which of them is the first trip's."""
        axis, width, trips = element.axis, element.width, self.plan.trips
        low = element.start if element.step > 0 else element.start - (trips - 1) * width
        high = low + trips * width
        shape = whole.shape
        if (low, high) != (0, shape[axis]):
            whole = self.b.op(
                "slice",
                whole,
                starts=tuple(low if d == axis else 0 for d in range(len(shape))),
                stops=tuple(high if d == axis else size for d, size in enumerate(shape)),
                steps=(1,) * len(shape),
            )
        split = self.b.op("reshape", whole, shape=(*shape[:axis], trips, width, *shape[axis + 1 :]))
        return split, 0 if element.step > 0 else trips - 1

    def _gathered(self, element: Gathered) -> Node:
        if element not in self.known:
            whole = self.outside.joiner.join("stack", element.nodes, 0)
            self._sequence(element, whole, (0, 0, 1))
        return self.known[element]

    def _numbers(self, element: Numbers) -> Node:
        if element not in self.known:
            first = element.constants[0]
            values = np.array([constant.attrs["value"].array for constant in element.constants])
            all_numbers = self.b.make("constant", (), {"value": ArrayValue(values, first.dtype)})
            self._sequence(element, all_numbers, (0, 0, 1))
        return self.known[element]
