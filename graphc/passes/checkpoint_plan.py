"""Finds the loops whose stacked values can be computed again: a forward loop and the backward loop that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.node import Node
from graphc.ops.loop_parts import LoopParts


@dataclass(frozen=True, eq=False)
class SegmentPlan:
    """A forward loop and the loop that reads what it has stacked, last step first.

    Attributes:
        forward, backward: the loop nodes.
        segment: steps a segment.
        count: number of segments.
        first: the first step of the first segment.
        again: body outputs of ``forward`` that are computed again instead of kept.
        reads: operand of ``backward`` → the value of the forward body that it reads: output number, or ~number of the
            carry whose value on entry it is.
    """

    forward: Node
    backward: Node
    segment: int
    count: int
    first: int
    again: frozenset[int]
    reads: Mapping[int, int]

    @property
    def end(self) -> int:
        """The step after the last segment."""
        return self.first + self.count * self.segment


@dataclass(frozen=True, slots=True)
class _Read:
    """Operand ``operand`` of a loop reads output ``output`` from step ``start`` down."""

    operand: int
    output: int
    start: int


def plan_segments(
    forward: Node, readers: Mapping[Node, Sequence[Node]], outputs: Sequence[Node], segment: int
) -> SegmentPlan | None:
    """How to cut ``forward`` and the loop that reads it backwards into segments of ``segment`` steps; None if at all.

    Args:
        forward: a loop.
        readers: who reads each node of the graph.
        outputs: of the graph.
        segment: steps a segment, 2 at least.
    """
    loop = LoopParts.of(forward)
    if not _divisible(loop):
        return None
    stacks = {
        result.attrs["index"]: result
        for result in readers[forward]
        if result.op.name == "result" and result.attrs["index"] >= len(loop.carries)
    }
    found: dict[Node, list[_Read]] = {}
    for output, stack in stacks.items():
        for reader in dict.fromkeys(readers[stack]):
            if reader.op.name == "loop" and reader is not forward:
                found.setdefault(reader, []).extend(_reversed_reads(reader, stack, output))
    if not found:
        return None
    backward, reads = max(found.items(), key=lambda item: len(item[1]))
    other = LoopParts.of(backward)
    if not reads or not _divisible(other):
        return None
    last = max(read.start for read in reads)
    trips = trips_of(other)
    count = min(trips, last + 1) // segment
    first = last + 1 - count * segment
    if count < 2:
        return None
    values = {read.operand: _value(loop, read, last) for read in reads}
    again = set()
    for output, stack in stacks.items():
        mine = [read.operand for read in reads if read.output == output]
        if not mine or stack in outputs or any(values[operand] is None for operand in mine):
            continue
        if all(
            _can_do_without(reader, stack, backward, len(mine), first, last, output, loop) for reader in readers[stack]
        ):
            again.add(output)
    wanted = {
        read.operand: value for read in reads if read.output in again and (value := values[read.operand]) is not None
    }
    if not again:
        return None
    return SegmentPlan(forward, backward, segment, count, first, frozenset(again), wanted)


def trips_of(loop: LoopParts) -> int:
    """The trips of a loop that can be cut, which are known."""
    assert isinstance(loop.trips, int)
    return loop.trips


def _divisible(loop: LoopParts) -> bool:
    """Can the loop be cut into pieces?  Its trips are known and its sequences move."""
    if not isinstance(loop.trips, int) or any(not isinstance(start, int) or not step for _, start, step in loop.slices):
        return False
    return not any(node.op.name in _POSITIONED for node in loop.body.nodes)


_POSITIONED = frozenset({"loop", "random_uniform"})
"""What may depend on the number of the trip in ways that are not an operand, or is cut already."""


def _reversed_reads(reader: Node, stack: Node, output: int) -> list[_Read]:
    loop = LoopParts.of(reader)
    before = len(loop.carries) + len(loop.invariants)
    found = []
    for position, (sequence, (axis, start, step)) in enumerate(zip(loop.sequences, loop.slices, strict=True)):
        if sequence is stack and (axis, step) == (0, -1) and isinstance(start, int):
            found.append(_Read(before + position, output, start))
    return found


def _value(loop: LoopParts, read: _Read, last: int) -> int | None:
    """What is read at step ``last``: an output, or the carry that the step before has left; None for neither."""
    if read.start == last:
        return read.output
    outputs = loop.body.output_nodes
    for number in range(len(loop.carries)):
        if read.start == last - 1 and outputs[number] is outputs[read.output]:
            return ~number
    return None


def _can_do_without(
    reader: Node, stack: Node, backward: Node, reads: int, first: int, last: int, output: int, loop: LoopParts
) -> bool:
    """Does ``reader`` find what it needs of ``stack`` outside the segments, or is it the backward loop?"""
    if reader is backward:
        return list(reader.inputs).count(stack) == reads
    if reader.op.name != "index" or reader.attrs["axis"] != 0:
        return False
    step = reader.attrs["index"]
    return step < first or step > last or (step == last and carry_of(loop, output) is not None)


def carry_of(loop: LoopParts, output: int) -> int | None:
    """The carry that has the value of ``output`` after each step."""
    outputs = loop.body.output_nodes
    return next((number for number in range(len(loop.carries)) if outputs[number] is outputs[output]), None)
