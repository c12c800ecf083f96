"""Finds the loops whose stacked values can be computed again: a forward loop and the backward loop that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.node import Node
from graphc.ops.loop_parts import LoopParts


@dataclass(frozen=True, slots=True)
class Read:
    """What a backward loop reads of a value of the forward one.

    Attributes:
        value: of the forward body: output number, or ~number of the carry whose value on entry it is.
        lag: steps between that which a trip walks back through and the earlier one that it reads this value of.
    """

    value: int
    lag: int


@dataclass(frozen=True, eq=False)
class SegmentPlan:
    """A forward loop and the loop that reads what it has stacked, last step first.

    The forward loop's segments are of steps ``low`` to ``end``.  Trip 0 of the backward loop walks back through step
    ``last``; its segments are as long as those, but ``lag`` steps later: what a trip reads lies up to so many steps
    before the one that it walks back through.

    Attributes:
        forward, backward: the loop nodes.
        segment: steps a segment.
        count: number of segments.
        low: the first step of the forward loop's first segment.
        last: the step that the backward loop begins with.
        lag: the largest among ``reads``.
        again: body outputs of ``forward`` that are computed again instead of kept.
        reads: operand of ``backward`` → what it reads of those.
    """

    forward: Node
    backward: Node
    segment: int
    count: int
    low: int
    last: int
    lag: int
    again: frozenset[int]
    reads: Mapping[int, Read]

    @property
    def end(self) -> int:
        """The step after the last segment of the forward loop."""
        return self.low + self.count * self.segment

    @property
    def head(self) -> int:
        """Trips of the backward loop before its first segment."""
        return self.last + 1 - self.lag - self.end

    @property
    def window(self) -> int:
        """Forward steps that are computed again for one segment."""
        return self.segment + self.lag


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
        if result.op.name == "result" and result.attrs["index"] >= len(loop.carries) and result not in outputs
    }
    backward = _walks_back(forward, [reader for stack in stacks.values() for reader in readers[stack]])
    if backward is None:
        return None
    starts: dict[int, dict[int, int]] = {}
    for output, stack in stacks.items():
        read = _reversed_reads(backward, stack)
        others = [reader for reader in readers[stack] if reader is not backward]
        if read is not None and all(_takes_element(reader) for reader in others):
            starts[output] = read
    last = max((start for read in starts.values() for start in read.values()), default=0)
    reads = {
        output: {operand: _read(loop, output, last - start) for operand, start in read.items()}
        for output, read in starts.items()
    }
    again = {output for output, read in reads.items() if all(one.lag <= segment for one in read.values())}
    if not again:
        return None
    lag = max(one.lag for output in again for one in reads[output].values())
    # What is wanted of a single step is had outside of the segments: they keep away from such steps.
    low, end = max(0, last + 1 - lag - trips_of(LoopParts.of(backward))), last + 1 - lag
    for output in sorted(again):
        for reader in readers[stacks[output]]:
            if reader is backward:
                continue
            step = reader.attrs["index"]
            if step > last - lag - segment:
                end = min(end, step + (carry_of(loop, output) is not None))
            elif step < segment:
                low = max(low, step + 1)
            else:
                again.discard(output)
    count = (end - low) // segment
    if count < 2 or not again:
        return None
    wanted = {operand: one for output in sorted(again) for operand, one in reads[output].items()}
    return SegmentPlan(forward, backward, segment, count, end - count * segment, last, lag, frozenset(again), wanted)


def trips_of(loop: LoopParts) -> int:
    """The trips of a loop that can be cut, which are known."""
    assert isinstance(loop.trips, int)
    return loop.trips


def _divisible(loop: LoopParts) -> bool:
    """Can the loop be cut into pieces?  Its trips are known, its sequences move, and it is not cut already."""
    if not isinstance(loop.trips, int) or any(not isinstance(start, int) or not step for _, start, step in loop.slices):
        return False
    return not any(node.op.name == "loop" for node in loop.body.nodes)


def _walks_back(forward: Node, readers: Iterable[Node]) -> Node | None:
    """The loop that reads most of the values that a loop has stacked, where that can be cut."""
    loops = [reader for reader in readers if reader.op.name == "loop" and reader is not forward]
    backward = max(dict.fromkeys(loops), key=loops.count, default=None)
    return backward if backward is not None and _divisible(LoopParts.of(backward)) else None


def _reversed_reads(backward: Node, stack: Node) -> dict[int, int] | None:
    """Operand of a loop → step of ``stack`` that it begins with; None where a loop does not walk back through it."""
    loop = LoopParts.of(backward)
    before = len(loop.carries) + len(loop.invariants)
    found: dict[int, int] = {}
    for position, (sequence, (axis, start, step)) in enumerate(zip(loop.sequences, loop.slices, strict=True)):
        if sequence is stack and (axis, step) == (0, -1) and isinstance(start, int):
            found[before + position] = start
    return found if found and backward.inputs.count(stack) == len(found) else None


def _read(loop: LoopParts, output: int, lag: int) -> Read:
    """A value as far back as that; what a carry was a step before is what it is when the step begins."""
    carry = carry_of(loop, output)
    return Read(output, lag) if lag == 0 or carry is None else Read(~carry, lag - 1)


def _takes_element(reader: Node) -> bool:
    return reader.op.name == "index" and reader.attrs["axis"] == 0


def carry_of(loop: LoopParts, output: int) -> int | None:
    """The carry that has the value of ``output`` after each step."""
    outputs = loop.body.output_nodes
    return next((number for number in range(len(loop.carries)) if outputs[number] is outputs[output]), None)
