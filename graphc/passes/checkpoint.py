"""checkpoint: a backward loop computes again what its forward loop would have had to keep.

A recurrent layer keeps every gate of every step for its gradient.  With segments of K steps the forward loop keeps the
carries that enter each segment instead, and the backward loop, segment by segment from the last, runs the segment's
steps once more before it walks back through them: memory for T/K + K steps in place of T, for one more forward run
(Griewank and Walther, *Algorithm 799: revolve*, 2000; Chen et al., *Training deep nets with sublinear memory cost*,
2016).  Both loops become loops of loops.  Steps before the first whole segment, and those after the last one that the
backward loop reads, stay plain loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import users
from graphc.ops.loop_parts import LoopParts, Slice, make_loop
from graphc.passes.base import Pass
from graphc.passes.checkpoint_plan import SegmentPlan, carry_of, plan_segments, trips_of
from graphc.passes.segments import Chunks, OuterBody, Pieces, chunked, flat


@dataclass(frozen=True)
class Checkpoint(Pass):
    """Trade a second run of forward loops for the memory of what they would keep.

    Attributes:
        segment: steps a segment; 0 keeps everything.
    """

    name: ClassVar[str] = "checkpoint"
    segment: int = 0

    def run(self, graph: Graph) -> Graph:
        """The graph with loops of loops."""
        if self.segment < 2:
            return graph
        readers = users(graph.nodes)
        plans: dict[Node, SegmentPlan] = {}
        for node in graph.nodes:
            # (Loops whose trips each call says cannot be cut into a known number of segments.)
            if node.op.name == "loop" and node not in plans and "size" not in node.attrs:
                plan = plan_segments(node, readers, graph.output_nodes, self.segment)
                if plan is not None and plan.backward not in plans:
                    plans[node] = plans[plan.backward] = plan
        return _rebuild(graph, plans) if plans else graph


# -- the new loops -----------------------------------------------------------------------------------------------------


class _Split:
    """Builds the pieces of a plan's two loops."""

    def __init__(self, plan: SegmentPlan) -> None:
        self.plan = plan
        self.forward = Pieces(LoopParts.of(plan.forward))
        self.backward = Pieces(LoopParts.of(plan.backward))
        outputs = self.forward.loop.body.output_nodes
        self.stacks = range(self.forward.carries, len(outputs))
        self.kept = [k for k in self.stacks if k not in plan.again]
        self.before: dict[int, Node] = {}
        self.behind: dict[int, Node] = {}
        self.chunks: list[Chunks] = []
        self.checkpoints: list[Node] = []
        self.reached: list[Node] = []

    def run_forward(self, b: Builder, operands: Sequence[Node]) -> list[Node | None]:
        """The results of the forward loop; None for the stacks that are computed again."""
        plan, pieces = self.plan, self.forward
        pieces.loop = pieces.loop.with_operands(operands)
        outputs = pieces.loop.body.output_nodes
        n, everything = pieces.carries, [outputs[k] for k in self.stacks]
        carries = list(pieces.loop.carries)
        if plan.first:
            made = pieces.plain(b, 0, plan.first, carries, everything)
            carries, self.before = made[:n], dict(zip(self.stacks, made[n:], strict=True))
        segmented = self._segments_forward(b, carries)
        carries = self.reached = segmented[:n]
        self.checkpoints = segmented[n : 2 * n]
        middle = dict(zip(self.kept, segmented[2 * n :], strict=True))
        behind = trips_of(pieces.loop) - plan.end
        if behind:
            made = pieces.plain(b, plan.end, behind, carries, everything)
            carries, self.behind = made[:n], dict(zip(self.stacks, made[n:], strict=True))
        results: list[Node | None] = [*carries]
        for k in self.stacks:
            if k in plan.again:
                results.append(None)
                continue
            joined = [part for part in (self.before.get(k), flat(b, middle[k]), self.behind.get(k)) if part is not None]
            results.append(b.op("concat", *joined, axis=0) if len(joined) > 1 else joined[0])
        return results

    def _segments_forward(self, b: Builder, carries: Sequence[Node]) -> list[Node]:
        """Final carries, the carries that enter each segment, the stacks that are kept."""
        plan, pieces = self.plan, self.forward
        loop, n = pieces.loop, pieces.carries
        for sequence, place in zip(loop.sequences, loop.slices, strict=True):
            self.chunks.append(chunked(b, sequence, place, plan.first, plan.count, plan.segment))
        outer = OuterBody([*carries], loop.invariants, [chunks.whole for chunks in self.chunks])
        inner = pieces.run(
            outer.b,
            plan.segment,
            outer.step(plan.segment, plan.first),
            outer.carries,
            outer.invariants,
            outer.sequences,
            [chunks.inner(plan.segment) for chunks in self.chunks],
            [loop.body.output_nodes[k] for k in self.kept],
        )
        body = outer.close([*inner[:n], *outer.carries, *inner[n:]])
        slices = [chunks.outer(plan.count) for chunks in self.chunks]
        sequences = [chunks.whole for chunks in self.chunks]
        return make_loop(b, plan.count, body, carries, loop.invariants, sequences, slices)

    def element(self, b: Builder, output: int, step: int) -> Node:
        """What the forward loop had in a stack that is not kept, at a step outside the segments."""
        plan = self.plan
        if step < plan.first:
            return b.op("index", self.before[output], axis=0, index=step)
        if step >= plan.end:
            return b.op("index", self.behind[output], axis=0, index=step - plan.end)
        carry = carry_of(self.forward.loop, output)
        assert carry is not None and step == plan.end - 1
        return self.reached[carry]

    def run_backward(self, b: Builder, operands: Sequence[Node | None]) -> list[Node]:
        """The results of the backward loop."""
        plan, pieces = self.plan, self.backward
        n = pieces.carries
        # What is computed again has no node any more; for the steps before the segments it stands in stacks.
        rest = [
            self.before.get(read.attrs["index"]) if operand in plan.reads else node
            for operand, (read, node) in enumerate(zip(plan.backward.inputs, operands, strict=True))
        ]
        values = self._segments_backward(b, operands)
        outputs = pieces.loop.body.output_nodes
        stacks = [flat(b, stack) for stack in values[n:]]
        carries = values[:n]
        done = plan.count * plan.segment
        trips = trips_of(pieces.loop) - done
        if trips:
            assert all(node is not None for node in rest)
            pieces.loop = pieces.loop.with_operands(rest)  # type: ignore[arg-type]
            made = pieces.plain(b, done, trips, carries, outputs[n:])
            carries = made[:n]
            stacks = [b.op("concat", *pair, axis=0) for pair in zip(stacks, made[n:], strict=True)]
        return [*carries, *stacks]

    def _segments_backward(self, b: Builder, operands: Sequence[Node | None]) -> list[Node]:
        """Final carries and stacks [segment][step] of the segments, the last one first."""
        plan, pieces, again = self.plan, self.backward, self.forward
        loop, n = pieces.loop, pieces.carries
        fixed, before = [x for x in operands[n : n + len(loop.invariants)] if x is not None], n + len(loop.invariants)
        own: dict[int, Chunks] = {}
        for position, place in enumerate(loop.slices):
            node = operands[before + position]
            if before + position not in plan.reads:
                assert node is not None
                own[before + position] = chunked(b, node, place, 0, plan.count, plan.segment)
        carries = [x for x in operands[:n] if x is not None]
        sequences = [chunks.whole for chunks in (*own.values(), *self.chunks)]
        outer = OuterBody(carries, [*fixed, *again.loop.invariants], [*sequences, *self.checkpoints])
        mine, theirs = outer.sequences[: len(own)], outer.sequences[len(own) : len(sequences)]
        values = {~number: again.loop.body.inputs[1 + number] for number in range(again.carries)}
        values.update(enumerate(again.loop.body.output_nodes))
        wanted = sorted(set(plan.reads.values()))
        made = again.run(
            outer.b,
            plan.segment,
            outer.step(-plan.segment, plan.end - plan.segment),
            outer.sequences[len(sequences) :],
            outer.invariants[len(fixed) :],
            theirs,
            [chunks.inner(plan.segment) for chunks in self.chunks],
            [values[value] for value in wanted],
        )
        stacks = dict(zip(wanted, made[again.carries :], strict=True))
        read: list[Node] = []
        slices: list[Slice] = []
        segments = dict(zip(own, mine, strict=True))
        for operand in range(before, before + len(loop.slices)):
            if operand in plan.reads:
                read.append(stacks[plan.reads[operand]])
                slices.append((0, plan.segment - 1, -1))
            else:
                read.append(segments[operand])
                slices.append(own[operand].inner(plan.segment))
        inner = pieces.run(
            outer.b,
            plan.segment,
            outer.step(plan.segment, 0),
            outer.carries,
            outer.invariants[: len(fixed)],
            read,
            slices,
            loop.body.output_nodes[n:],
        )
        body = outer.close(inner)
        places = [chunks.outer(plan.count) for chunks in own.values()]
        places += [chunks.outer(plan.count, reverse=True) for chunks in self.chunks]
        places += [(0, plan.count - 1, -1)] * len(self.checkpoints)
        invariants = [*fixed, *again.loop.invariants]
        return make_loop(b, plan.count, body, carries, invariants, [*sequences, *self.checkpoints], places)


def _rebuild(graph: Graph, plans: Mapping[Node, SegmentPlan]) -> Graph:
    b = RecordingBuilder(graph)
    table: dict[Node, Node | None] = {}
    results: dict[Node, Sequence[Node | None]] = {}
    splits = {plan: _Split(plan) for plan in dict.fromkeys(plans.values())}
    for node in graph.nodes:
        if node.op.name == "result" and node.inputs[0] in results:
            table[node] = results[node.inputs[0]][node.attrs["index"]]
            continue
        operands = [table[operand] for operand in node.inputs]
        plan = plans.get(node)
        if plan is not None:
            split = splits[plan]
            with b.noted(graph.note(node), graph.note(node).role):
                if node is plan.forward:
                    results[node] = split.run_forward(b, [x for x in operands if x is not None])
                else:
                    results[node] = split.run_backward(b, operands)
            continue
        if node.op.name == "index" and operands[0] is None:
            (stack,) = node.inputs
            table[node] = splits[plans[stack.inputs[0]]].element(b, stack.attrs["index"], node.attrs["index"])
            continue
        known = tuple(x for x in operands if x is not None)
        made = node if known == node.inputs else b.make(node.op, known, node.attrs)
        b.place(made)
        if made is not node:
            b.set_note(made, graph.note(node))
        table[node] = made
    return rebuilt(graph, {old: new for old, new in table.items() if new is not None}, b)
