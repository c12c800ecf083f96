"""Parts of loops: some trips of one, and a loop over segments of its trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import inline
from graphc.ir.traverse import reachable
from graphc.ir.types import int64
from graphc.ops.loop_parts import LoopParts, Slice, make_loop


def _region(body: Graph, outputs: Sequence[Node], origin: int | None) -> Graph:
    """The body with other outputs; input ``origin``, if any, is a new one: the number of the first trip."""
    fresh = Builder()
    operands = [fresh.input(node.attrs["name"], node.tensor) for node in body.inputs]
    inputs = list(operands)
    if origin is not None:
        first = fresh.input("first", body.inputs[0].tensor)
        inputs.insert(origin, first)
        operands[0] = fresh.op("add", operands[0], first)
    whole = Graph.make("body", body.inputs, [(f"o{i}", node) for i, node in enumerate(outputs)], builder=_noted(body))
    made = inline(fresh, whole, operands)
    return Graph.make("body", inputs, [(f"o{i}", node) for i, node in enumerate(made)], builder=fresh)


def _noted(body: Graph) -> Builder:
    """A builder with the notes of a body's nodes."""
    builder = Builder()
    for node in body.nodes:
        builder.set_note(node, body.note(node))
    return builder


def needed_carries(loop: LoopParts, values: Sequence[Node]) -> list[int]:
    """Numbers of the carries that must be known before a step so that ``values`` of its body can be computed."""
    inner, outputs = loop.body.inputs[1 : 1 + len(loop.carries)], loop.body.output_nodes
    needed: list[int] = []
    while True:
        live = reachable([*values, *(outputs[number] for number in needed)])
        found = [number for number, node in enumerate(inner) if node in live]
        if found == needed:
            return needed
        needed = found


def with_carries(loop: LoopParts, numbers: Sequence[int], values: Sequence[Node]) -> LoopParts:
    """The loop with these carries alone, and stacking ``values``, which need no others."""
    count, body = len(loop.carries), loop.body
    inputs = [body.inputs[0], *(body.inputs[1 + number] for number in numbers), *body.inputs[1 + count :]]
    outputs = [(f"c{place}", body.output_nodes[number]) for place, number in enumerate(numbers)]
    outputs += [(f"y{place}", value) for place, value in enumerate(values)]
    reduced = Graph.make("body", inputs, outputs, builder=_noted(body))
    return replace(loop, body=reduced, carries=tuple(loop.carries[number] for number in numbers))


class Pieces:
    """Makes loops over some trips of a loop."""

    def __init__(self, loop: LoopParts) -> None:
        self.loop = loop
        self.carries = len(loop.carries)
        counter, body = loop.body.inputs[0], loop.body
        self.counted = counter in body.output_nodes or any(counter in node.inputs for node in body.nodes)

    def run(
        self,
        b: Builder,
        trips: int,
        origin: Node,
        carries: Sequence[Node],
        invariants: Sequence[Node],
        sequences: Sequence[Node],
        slices: Sequence[Slice],
        stacked: Sequence[Node],
    ) -> list[Node]:
        """A loop whose first trip is number ``origin``: the carries after it, then the stacks of ``stacked``."""
        outputs = [*self.loop.body.output_nodes[: self.carries], *stacked]
        if not self.counted:
            body = _region(self.loop.body, outputs, None)
            return make_loop(b, trips, body, carries, invariants, sequences, slices)
        body = _region(self.loop.body, outputs, 1 + self.carries)
        return make_loop(b, trips, body, carries, (origin, *invariants), sequences, slices)

    def plain(self, b: Builder, first: int, trips: int, carries: Sequence[Node], stacked: Sequence[Node]) -> list[Node]:
        """Trips ``first`` to ``first + trips`` of the loop."""
        slices = [(axis, start + step * first, step) for axis, start, step in self.loop.slices]
        origin = b.constant(first, int64)
        return self.run(b, trips, origin, carries, self.loop.invariants, self.loop.sequences, slices, stacked)


@dataclass(frozen=True, slots=True)
class Chunks:
    """What the segments read of a sequence: ``whole`` is [segment][step] in the order of memory."""

    whole: Node
    descending: bool

    def outer(self, count: int, *, reverse: bool = False) -> Slice:
        """How a loop over segments reads, in the order of the steps or against it."""
        return (0, count - 1, -1) if self.descending is not reverse else (0, 0, 1)

    def inner(self, segment: int) -> Slice:
        """How the loop over a segment's steps reads."""
        return (0, segment - 1, -1) if self.descending else (0, 0, 1)

    def led(self, b: Builder, early: Node, rows: Node, steps: int) -> Node:
        """A segment's ``rows`` behind the first ``steps`` of another one."""
        segment, *rest = early.shape
        low = segment - steps if self.descending else 0
        taken = b.op(
            "slice",
            early,
            starts=(low, *(0,) * len(rest)),
            stops=(low + steps, *rest),
            steps=(1,) * (1 + len(rest)),
        )
        return b.op("concat", *((rows, taken) if self.descending else (taken, rows)), axis=0)


def chunked(b: Builder, sequence: Node, place: Slice, first: int, count: int, segment: int) -> Chunks:
    """The elements of ``count`` segments from trip ``first`` on."""
    axis, start, step = place
    trips = count * segment
    begin = start + step * first
    low = begin if step > 0 else begin + step * (trips - 1)
    stride = abs(step)
    if axis:
        others = [other for other in range(sequence.rank) if other != axis]
        sequence = b.op("transpose", sequence, permutation=(axis, *others))
    rest = sequence.shape[1:]
    if (low, stride, trips) != (0, 1, sequence.shape[0]):
        stops = (low + (trips - 1) * stride + 1, *rest)
        steps = (stride, *(1,) * len(rest))
        sequence = b.op("slice", sequence, starts=(low, *(0,) * len(rest)), stops=stops, steps=steps)
    return Chunks(b.op("reshape", sequence, shape=(count, segment, *rest)), step < 0)


class OuterBody:
    """The body of a loop over segments, being built; they are elements of its sequences along ``axis``."""

    def __init__(
        self, carries: Sequence[Node], invariants: Sequence[Node], sequences: Sequence[Node], axis: int = 0
    ) -> None:
        self.b = Builder()
        self.counter = self.b.input("t", self.b.constant(0, int64).tensor)
        self.carries = [self.b.input(f"c{i}", node.tensor) for i, node in enumerate(carries)]
        self.invariants = [self.b.input(f"v{i}", node.tensor) for i, node in enumerate(invariants)]
        self.sequences = [
            self.b.input(f"s{i}", node.tensor.with_shape((*node.shape[:axis], *node.shape[axis + 1 :])))
            for i, node in enumerate(sequences)
        ]

    def step(self, factor: int, first: int) -> Node:
        """``first + factor · segment number``."""
        moved = self.b.op("multiply", self.counter, self.b.constant(factor, int64))
        return self.b.op("add", moved, self.b.constant(first, int64))

    def close(self, outputs: Sequence[Node]) -> Graph:
        """The finished body."""
        inputs = [self.counter, *self.carries, *self.invariants, *self.sequences]
        return Graph.make("body", inputs, [(f"o{i}", node) for i, node in enumerate(outputs)], builder=self.b)


def flat(b: Builder, stack: Node) -> Node:
    """[segment][step] → [step]."""
    count, segment, *rest = stack.shape
    return b.op("reshape", stack, shape=(count * segment, *rest))
