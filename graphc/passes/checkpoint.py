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
from dataclasses import dataclass, replace
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import users
from graphc.ir.types import TensorType
from graphc.ops.loop_parts import LoopParts, Slice, make_loop
from graphc.passes.base import Pass
from graphc.passes.checkpoint_jam import jammed
from graphc.passes.checkpoint_plan import SegmentPlan, carry_of, plan_segments, trips_of
from graphc.passes.checkpoint_steps import stepped
from graphc.passes.segments import Chunks, OuterBody, Pieces, chunked, flat, needed_carries, with_carries


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
        # What lies between loops, and loops that feed one another, become parts of one loop.  That helps where their
        # gradients become parts of one loop, too.
        least = 2 * self.segment
        forms = dict.fromkeys((graph, jammed(graph, least), jammed(stepped(graph, least), least)))
        choices = [(form, self._plans(form)) for form in forms]
        graph, plans = min(choices, key=lambda choice: _kept_bytes(*choice))
        return _rebuild(graph, plans) if plans else graph

    def _plans(self, graph: Graph) -> dict[Node, SegmentPlan]:
        """How loops can be cut: each of two loops → the plan for both."""
        readers = users(graph.nodes)
        roots = {*graph.output_nodes, *(value for _, value in graph.updates)}
        plans: dict[Node, SegmentPlan] = {}
        for node in graph.nodes:
            # (Loops whose trips each call says cannot be cut into a known number of segments.)
            if node.op.name == "loop" and node not in plans and "size" not in node.attrs:
                plan = plan_segments(node, readers, roots, self.segment)
                if plan is not None and plan.backward not in plans:
                    plans[node] = plans[plan.backward] = plan
        return plans


def _kept_bytes(graph: Graph, plans: Mapping[Node, SegmentPlan]) -> int:
    """What ops outside of loops leave in memory, and what loops stack and do not make again."""
    total = 0
    for node in graph.nodes:
        if not isinstance(node.type, TensorType) or not node.type.is_static:
            continue
        if node.op.name == "result":
            loop, output = node.inputs[0], node.attrs["index"]
            plan = plans.get(loop)
            if plan is not None and output in (plan.again if loop is plan.forward else plan.brief):
                continue
        elif node.op.kind in (OpKind.SOURCE, OpKind.MOVEMENT):
            continue
        total += node.tensor.nbytes
    return total


# -- the new loops -----------------------------------------------------------------------------------------------------


class _Split:
    """Builds the pieces of a plan's two loops.

    Attributes:
        before, behind: values of the forward body (as :class:`Read` numbers them) → what they were in the steps before
            the segments, with the ``lag`` first ones of those, and in the steps behind.
        early, late: what the backward loop stacks before its segments, and after them.
        needed: numbers of the carries without which the forward loop's values cannot be computed again.
        checkpoints: those carries as they enter each segment.
        reached: the carries behind the last segment.
    """

    def __init__(self, plan: SegmentPlan) -> None:
        self.plan = plan
        self.forward = Pieces(LoopParts.of(plan.forward))
        self.backward = Pieces(LoopParts.of(plan.backward))
        body = self.forward.loop.body
        self.stacks = range(self.forward.carries, len(body.output_nodes))
        self.kept = [k for k in self.stacks if k not in plan.again]
        self.wanted = sorted({read.value for read in plan.reads.values()})
        self.values = {~number: body.inputs[1 + number] for number in range(self.forward.carries)}
        self.values.update(enumerate(body.output_nodes))
        self.before: dict[int, Node] = {}
        self.behind: dict[int, Node] = {}
        self.whole = [
            k for k in range(self.backward.carries, len(self.backward.loop.body.outputs)) if k not in plan.brief
        ]
        self.early: dict[int, Node] = {}
        self.late: dict[int, Node] = {}
        self.needed = needed_carries(self.forward.loop, [self.values[value] for value in self.wanted])
        self.checkpoints: list[Node] = []
        self.reached: list[Node] = []

    @property
    def tail(self) -> int:
        """Trips of the backward loop behind its segments."""
        return trips_of(self.backward.loop) - self.plan.head - self.plan.count * self.plan.segment

    def run_forward(self, b: Builder, operands: Sequence[Node]) -> list[Node | None]:
        """The results of the forward loop; None for the stacks that are computed again."""
        plan, pieces = self.plan, self.forward
        pieces.loop = pieces.loop.with_operands(operands)
        n = pieces.carries
        everything = sorted({*self.stacks, *self.wanted})
        carries = list(pieces.loop.carries)
        if plan.low:
            carries, self.before = self._plain(b, 0, plan.low, carries, everything)
        if plan.lag and self.tail:
            _, more = self._plain(b, plan.low, plan.lag, carries, self.wanted)
            first = [(value, self.before.get(value), rows) for value, rows in more.items()]
            more = {
                value: rows if known is None else b.op("concat", known, rows, axis=0) for value, known, rows in first
            }
        else:
            more = {}
        segmented = self._segments_forward(b, carries)
        carries = self.reached = segmented[:n]
        behind = n + len(self.needed)
        self.checkpoints = segmented[n:behind]
        middle = dict(zip(self.kept, segmented[behind:], strict=True))
        rest = trips_of(pieces.loop) - plan.end
        if rest:
            carries, self.behind = self._plain(b, plan.end, rest, carries, everything)
        results: list[Node | None] = [*carries]
        for k in self.stacks:
            if k in plan.again:
                results.append(None)
                continue
            joined = [part for part in (self.before.get(k), flat(b, middle[k]), self.behind.get(k)) if part is not None]
            results.append(b.op("concat", *joined, axis=0) if len(joined) > 1 else joined[0])
        self.before |= more
        return results

    def _plain(
        self, b: Builder, first: int, trips: int, carries: Sequence[Node], values: Sequence[int]
    ) -> tuple[list[Node], dict[int, Node]]:
        """The carries after some steps of the forward loop, and values of those steps."""
        made = self.forward.plain(b, first, trips, carries, [self.values[value] for value in values])
        n = self.forward.carries
        return made[:n], dict(zip(values, made[n:], strict=True))

    def _chunks(self, b: Builder, first: int) -> list[Chunks]:
        """What the segments read of the forward loop's sequences, the first of them from step ``first`` on."""
        loop, plan = self.forward.loop, self.plan
        return [
            chunked(b, sequence, place, first, plan.count, plan.segment)
            for sequence, place in zip(loop.sequences, loop.slices, strict=True)
        ]

    def _segments_forward(self, b: Builder, carries: Sequence[Node]) -> list[Node]:
        """Final carries, the needed ones as they enter each segment, the stacks that are kept."""
        plan, pieces = self.plan, self.forward
        loop, n = pieces.loop, pieces.carries
        chunks = self._chunks(b, plan.low)
        sequences = [one.whole for one in chunks]
        outer = OuterBody([*carries], loop.invariants, sequences)
        inner = pieces.run(
            outer.b,
            plan.segment,
            outer.step(plan.segment, plan.low),
            outer.carries,
            outer.invariants,
            outer.sequences,
            [one.inner(plan.segment) for one in chunks],
            [loop.body.output_nodes[k] for k in self.kept],
        )
        body = outer.close([*inner[:n], *(outer.carries[k] for k in self.needed), *inner[n:]])
        slices = [one.outer(plan.count) for one in chunks]
        return make_loop(b, plan.count, body, carries, loop.invariants, sequences, slices)

    def element(self, b: Builder, stack: Node, step: int) -> Node:
        """What one of the loops had in a stack that is not kept, at a step outside the segments."""
        plan, output = self.plan, stack.attrs["index"]
        if stack.inputs[0] is plan.backward:
            done = trips_of(self.backward.loop) - self.tail
            rows, first = (self.late, done) if step >= done else (self.early, 0)
            return b.op("index", rows[output], axis=0, index=step - first)
        if step < plan.low:
            return b.op("index", self.before[output], axis=0, index=step)
        if step >= plan.end:
            return b.op("index", self.behind[output], axis=0, index=step - plan.end)
        carry = carry_of(self.forward.loop, output)
        assert carry is not None and step == plan.end - 1
        return self.reached[carry]

    def run_backward(self, b: Builder, operands: Sequence[Node | None]) -> list[Node | None]:
        """The results of the backward loop; None for the stacks of which it makes some steps alone."""
        plan, n = self.plan, self.backward.carries
        carries = [x for x in operands[:n] if x is not None]
        if plan.head:
            carries, self.early = self._edge(b, operands, 0, plan.head, carries, self.behind, plan.end)
        segmented = self._segments_backward(b, operands, carries)
        carries = segmented[:n]
        middle = dict(zip(self.whole, (flat(b, stack) for stack in segmented[n:]), strict=True))
        if self.tail:
            done = trips_of(self.backward.loop) - self.tail
            carries, self.late = self._edge(b, operands, done, self.tail, carries, self.before, 0)
        results: list[Node | None] = [*carries]
        for k in range(n, len(self.backward.loop.body.outputs)):
            if k in plan.brief:
                results.append(None)
                continue
            parts = [rows[k] for rows in (self.early, middle, self.late) if k in rows]
            results.append(b.op("concat", *parts, axis=0) if len(parts) > 1 else parts[0])
        return results

    def _edge(
        self,
        b: Builder,
        operands: Sequence[Node | None],
        first: int,
        trips: int,
        carries: Sequence[Node],
        known: Mapping[int, Node],
        begin: int,
    ) -> tuple[list[Node], dict[int, Node]]:
        """Trips outside of the segments, where what they read of the forward loop is ``known`` from step ``begin`` on:
        the carries after them, and what they stack.
        """
        plan, loop = self.plan, self.backward.loop
        before = len(loop.carries) + len(loop.invariants)
        given, slices = list(operands), list(loop.slices)
        for operand, read in plan.reads.items():
            given[operand] = known[read.value]
            slices[operand - before] = (0, plan.last - read.lag - begin, -1)
        parts = replace(loop.with_operands([x for x in given if x is not None]), slices=tuple(slices))
        n = len(carries)
        made = Pieces(parts).plain(b, first, trips, carries, loop.body.output_nodes[n:])
        return made[:n], dict(enumerate(made[n:], n))

    def _segments_backward(self, b: Builder, operands: Sequence[Node | None], carries: Sequence[Node]) -> list[Node]:
        """Final carries and stacks [segment][step] of the segments, the last one first."""
        plan, pieces, values = self.plan, self.backward, [self.values[value] for value in self.wanted]
        again = Pieces(with_carries(self.forward.loop, self.needed, values))
        loop, n = pieces.loop, pieces.carries
        fixed, before = [x for x in operands[n : n + len(loop.invariants)] if x is not None], n + len(loop.invariants)
        own: dict[int, Chunks] = {}
        for position, place in enumerate(loop.slices):
            node = operands[before + position]
            if before + position not in plan.reads:
                assert node is not None
                own[before + position] = chunked(b, node, place, plan.head, plan.count, plan.segment)
        # A window is the first steps of a segment and then a segment that begins so many steps later.
        later = self._chunks(b, plan.low + plan.lag)
        early = self._chunks(b, plan.low) if plan.lag else []
        sequences = [chunks.whole for chunks in (*own.values(), *later, *early)]
        outer = OuterBody(carries, [*fixed, *again.loop.invariants], [*sequences, *self.checkpoints])
        given = iter(outer.sequences)
        segments = {operand: next(given) for operand in own}
        windows = [next(given) for _ in later]
        if plan.lag:
            windows = [
                chunks.led(outer.b, next(given), rows, plan.lag) for chunks, rows in zip(early, windows, strict=True)
            ]
        made = again.run(
            outer.b,
            plan.window,
            outer.step(-plan.segment, plan.end - plan.segment),
            list(given),
            outer.invariants[len(fixed) :],
            windows,
            [chunks.inner(plan.window) for chunks in later],
            values,
        )
        stacks = dict(zip(self.wanted, made[again.carries :], strict=True))
        read: list[Node] = []
        slices: list[Slice] = []
        for operand in range(before, before + len(loop.slices)):
            if operand in plan.reads:
                read.append(stacks[plan.reads[operand].value])
                slices.append((0, plan.window - 1 - plan.reads[operand].lag, -1))
            else:
                read.append(segments[operand])
                slices.append(own[operand].inner(plan.segment))
        inner = pieces.run(
            outer.b,
            plan.segment,
            outer.step(plan.segment, plan.head),
            outer.carries,
            outer.invariants[: len(fixed)],
            read,
            slices,
            [loop.body.output_nodes[k] for k in self.whole],
        )
        body = outer.close(inner)
        places = [chunks.outer(plan.count) for chunks in own.values()]
        places += [chunks.outer(plan.count, reverse=True) for chunks in (*later, *early)]
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
            table[node] = splits[plans[stack.inputs[0]]].element(b, stack, node.attrs["index"])
            continue
        known = tuple(x for x in operands if x is not None)
        made = node if known == node.inputs else b.make(node.op, known, node.attrs)
        b.place(made)
        if made is not node:
            b.set_note(made, graph.note(node))
        table[node] = made
    return rebuilt(graph, {old: new for old, new in table.items() if new is not None}, b)
