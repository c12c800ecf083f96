"""Finds the loops whose stacked values can be computed again: a forward loop and the backward loop that reads it."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
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
        brief: body outputs of ``backward`` of which single steps outside of its segments are wanted.
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
    brief: frozenset[int]

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
    forward: Node, readers: Mapping[Node, Sequence[Node]], roots: Container[Node], segment: int
) -> SegmentPlan | None:
    """How to cut ``forward`` and the loop that reads it backwards into segments of ``segment`` steps; None if at all.

    Args:
        forward: a loop.
        readers: who reads each node of the graph.
        roots: outputs of the graph and new values of its state.
        segment: steps a segment, 2 at least.
    """
    loop = LoopParts.of(forward)
    if not is_divisible(loop):
        return None
    stacks = _stacks(forward, readers, roots)
    backward = _walks_back(forward, [reader for stack in stacks.values() for reader in readers[stack]], stacks.values())
    if backward is None:
        return None
    starts: dict[int, dict[int, int]] = {}
    for output, stack in stacks.items():
        read = _reversed_reads(backward, stack)
        if all(_takes_element(reader) for reader in readers[stack] if read is None or reader is not backward):
            starts[output] = read or {}
    last = max((start for read in starts.values() for start in read.values()), default=0)
    reads = {
        output: {operand: _read(loop, output, last - start) for operand, start in read.items()}
        for output, read in starts.items()
    }
    again = {output for output, read in reads.items() if all(one.lag <= segment for one in read.values())}
    lag = max((one.lag for output in again for one in reads[output].values()), default=0)
    trips = trips_of(LoopParts.of(backward))
    # What is wanted of a single step is had outside of the segments: they keep away from such steps.
    low, end = max(0, last + 1 - lag - trips), last + 1 - lag
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
    brief, edge = set(), min(segment, _EDGE)
    for output, stack in _stacks(backward, readers, roots).items():
        if not all(_takes_element(reader) for reader in readers[stack]):
            continue
        steps = [reader.attrs["index"] for reader in readers[stack]]
        if all(step < edge or step >= trips - edge for step in steps):
            brief.add(output)
            end = min([end, *(last - lag - step for step in steps if step < edge)])
            low = max([low, *(last + 1 - lag - step for step in steps if step >= edge)])
    count = (end - low) // segment
    wanted = {operand: one for output in sorted(again) for operand, one in reads[output].items()}
    if count < 2 or not wanted:
        return None
    return SegmentPlan(
        forward,
        backward,
        segment,
        count,
        end - count * segment,
        last,
        lag,
        frozenset(again),
        wanted,
        frozenset(brief),
    )


_EDGE = 8
"""Trips at the ends of a backward loop that may stand outside of its segments, for single steps that are wanted."""


def _stacks(loop: Node, readers: Mapping[Node, Sequence[Node]], roots: Container[Node]) -> dict[int, Node]:
    """Number of a result → the result, for what a loop stacks and only other nodes read."""
    results = [node for node in readers[loop] if node.op.name == "result" and node not in roots]
    return {node.attrs["index"]: node for node in results if node.attrs["index"] >= loop.attrs["carries"]}


def trips_of(loop: LoopParts) -> int:
    """The trips of a loop that can be cut, which are known."""
    assert isinstance(loop.trips, int)
    return loop.trips


def is_divisible(loop: LoopParts) -> bool:
    """Can the loop be cut into pieces?  Its trips are known, its sequences move, and it is not cut already."""
    if not isinstance(loop.trips, int) or any(not isinstance(start, int) or not step for _, start, step in loop.slices):
        return False
    return not any(node.op.name == "loop" for node in loop.body.nodes)


def _walks_back(forward: Node, readers: Sequence[Node], stacks: Collection[Node]) -> Node | None:
    """The loop that walks back through most of the values that a loop has stacked, where it can be cut."""
    loops = [node for node in dict.fromkeys(readers) if node.op.name == "loop" and node is not forward]
    counts = {node: sum(_reversed_reads(node, stack) is not None for stack in stacks) for node in loops}
    backward = max(loops, key=counts.__getitem__, default=None)
    return backward if backward is not None and is_divisible(LoopParts.of(backward)) else None


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
