"""The arena: lifetimes of temporaries, their offsets, and a verifier that proves the plan sound.

Positions count calls and copies in the order of the steps, each loop body once.  A temporary lives from its first to
its last access; one that is also used outside a loop, or that carries a value from one trip to the next, lives for
the whole span of that loop.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.clock import timed
from graphc.errors import VerificationError
from graphc.kernel.loopir import AnyKernel
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, MemoryPlan, Ref, Step

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

_EXACT_LIMIT = 3000
"""Up to here the plan looks at all pairs of temporaries; beyond, it walks through time once."""


@dataclass(frozen=True, slots=True)
class Access:
    """One use of a buffer by one call or copy.

    Attributes:
        ref: the pointer.
        reads, writes: how it is used.
    """

    ref: Ref
    reads: bool
    writes: bool


def accesses(step: Call | Copy, kernels: Sequence[AnyKernel]) -> Iterator[Access]:
    """How a step uses its pointers."""
    if isinstance(step, Copy):
        yield Access(step.source, True, False)
        yield Access(step.target, False, True)
        return
    for ref, param in zip(step.args, kernels[step.kernel].params, strict=True):
        yield Access(ref, param.mode != "out", param.mode != "in")


@dataclass(frozen=True, slots=True)
class _Use:
    """An access at a position of the flattened steps.

    Attributes:
        position: of the step.
        loops: numbers of the loops around it, outermost first.
        still: how many of them leave the pointer where it is: what a loop walks through outlives its trips.
        reads: does it read?
    """

    position: int
    loops: tuple[int, ...]
    still: int
    reads: bool


def _uses(
    buffers: Sequence[Buffer], steps: Sequence[Step], kernels: Sequence[AnyKernel]
) -> tuple[dict[int, list[_Use]], list[tuple[int, int]]]:
    """The accesses of each temporary in order, and the (first, last) positions of each loop."""
    uses: dict[int, list[_Use]] = {}
    spans: list[tuple[int, int]] = []
    position = 0
    stack: list[tuple[Iterator[Step], tuple[int, ...]]] = [(iter(steps), ())]
    while stack:
        remaining, loops = stack[-1]
        step = next(remaining, None)
        if step is None:
            stack.pop()
            if loops:
                spans[loops[-1]] = (spans[loops[-1]][0], position - 1)
        elif isinstance(step, Loop):
            spans.append((position, position))
            stack.append((iter(step.body), (*loops, len(spans) - 1)))
        else:
            for access in accesses(step, kernels):
                ref = access.ref
                if buffers[ref.buffer].kind == "temporary":
                    still = next((depth for depth, stride in enumerate(ref.strides) if stride), len(loops))
                    uses.setdefault(ref.buffer, []).append(_Use(position, loops, still, access.reads))
            position += 1
    return uses, spans


def _lifetime(uses: Sequence[_Use], spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """First and last position at which the buffer's bytes are its own."""
    if not any(use.loops for use in uses):
        return uses[0].position, uses[-1].position
    shared = uses[0].loops[: uses[0].still]
    for use in uses:
        length = min(len(shared), use.still)
        shared = shared[: next((d for d in range(length) if shared[d] != use.loops[d]), length)]
    if shared and uses[0].reads:
        # Read before it is written: the value comes from the trip before.
        shared = shared[:-1]
    depth = len(shared)
    firsts, lasts = [], []
    for use in uses:
        first, last = spans[use.loops[depth]] if len(use.loops) > depth else (use.position, use.position)
        firsts.append(first)
        lasts.append(last)
    return min(firsts), max(lasts)


@timed("memory plan")
def plan_memory(buffers: Sequence[Buffer], steps: Sequence[Step], kernels: Sequence[AnyKernel]) -> MemoryPlan:
    """Lifetimes and offsets of all temporaries; the same plan for the same steps.

    Up to a few thousand temporaries are placed largest first, each into the tightest gap among those that live at the
    same time; more are placed in order of time, which needs no look at pairs.
    """
    uses, spans = _uses(buffers, steps, kernels)
    lifetimes = {buffer: _lifetime(found, spans) for buffer, found in sorted(uses.items())}
    sizes = {buffer: _aligned(buffers[buffer].nbytes) for buffer in lifetimes}
    plan = _place_in_time(sizes, lifetimes)
    if len(sizes) <= _EXACT_LIMIT:
        other = _place_by_size(sizes, lifetimes)
        plan = min(other, plan, key=lambda offsets: _extent(offsets, sizes))
    return MemoryPlan(plan, _extent(plan, sizes), lifetimes)


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _extent(offsets: Mapping[int, int], sizes: Mapping[int, int]) -> int:
    return max((offset + sizes[buffer] for buffer, offset in offsets.items()), default=0)


def _place_by_size(sizes: Mapping[int, int], lifetimes: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Greedy by size: each buffer, largest first, goes into the smallest gap that holds it."""
    order = sorted(sizes, key=lambda buffer: (-sizes[buffer], lifetimes[buffer], buffer))
    count = len(order)
    firsts, lasts, starts, ends = (np.zeros(count, np.int64) for _ in range(4))
    offsets: dict[int, int] = {}
    for done, buffer in enumerate(order):
        size, (first, last) = sizes[buffer], lifetimes[buffer]
        rivals = np.flatnonzero((firsts[:done] <= last) & (lasts[:done] >= first))
        rivals = rivals[np.argsort(starts[rivals], kind="stable")]
        tops = np.maximum.accumulate(np.concatenate(([0], ends[rivals])))
        gaps = starts[rivals] - tops[:-1]
        fitting = np.flatnonzero(gaps >= size)
        offset = int(tops[fitting[np.argmin(gaps[fitting])]] if fitting.size else tops[-1])
        offsets[buffer] = offset
        firsts[done], lasts[done], starts[done], ends[done] = first, last, offset, offset + size
    return offsets


def _place_in_time(sizes: Mapping[int, int], lifetimes: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """First to live, first placed: into the tightest free block; what has died is free again."""
    free = _FreeBlocks()
    living: list[tuple[int, int]] = []
    offsets: dict[int, int] = {}
    for buffer in sorted(sizes, key=lambda buffer: (lifetimes[buffer][0], -sizes[buffer], buffer)):
        first, last = lifetimes[buffer]
        while living and living[0][0] < first:
            _, dead = heapq.heappop(living)
            free.give(offsets[dead], sizes[dead])
        offsets[buffer] = free.take(sizes[buffer])
        heapq.heappush(living, (last, buffer))
    return offsets


class _FreeBlocks:
    """Free pieces of an arena that grows at its end; neighbours are merged."""

    def __init__(self) -> None:
        self._top = 0
        self._by_size: list[tuple[int, int]] = []
        self._size_at: dict[int, int] = {}
        self._start_of_end: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The start of ``size`` bytes."""
        if not size:
            return 0
        place = bisect_left(self._by_size, (size, -1))
        if place < len(self._by_size):
            found, start = self._by_size[place]
            self._remove(start)
            if found > size:
                self._add(start + size, found - size)
            return start
        start = self._start_of_end.get(self._top, self._top)
        if start != self._top:
            self._remove(start)
        self._top = start + size
        return start

    def give(self, start: int, size: int) -> None:
        """``size`` bytes from ``start`` on are free again."""
        if not size:
            return
        before = self._start_of_end.get(start)
        if before is not None:
            size += start - before
            self._remove(before)
            start = before
        after = self._size_at.get(start + size)
        if after is not None:
            self._remove(start + size)
            size += after
        self._add(start, size)

    def _add(self, start: int, size: int) -> None:
        insort(self._by_size, (size, start))
        self._size_at[start] = size
        self._start_of_end[start + size] = start

    def _remove(self, start: int) -> None:
        size = self._size_at.pop(start)
        del self._start_of_end[start + size]
        del self._by_size[bisect_left(self._by_size, (size, start))]


# -- the verifier --------------------------------------------------------------------------------------------------


def verify_plan(entry: Entry, kernels: Sequence[AnyKernel]) -> None:
    """Prove that no two temporaries share bytes while both hold a value that is still needed.

    Lifetimes are found anew, in another way than by the planner: every loop is walked twice, and a value is alive
    from each access of its buffer to the next, unless that next one writes the buffer afresh in another trip of a
    loop that holds all its uses.

    Raises:
        VerificationError: with the two buffers.
    """
    memory = entry.memory
    for buffer, offset in sorted(memory.offsets.items()):
        if offset % ALIGNMENT or offset < 0 or offset + entry.buffers[buffer].nbytes > memory.arena_bytes:
            raise VerificationError(
                "E903", f"{entry.name}: {entry.buffers[buffer].name!r} lies outside the arena or is not aligned"
            )
    segments = _live_segments(entry, kernels)
    active = _ActiveBytes(entry)
    ending: list[tuple[int, int]] = []
    for first, last, buffer in sorted(segments):
        while ending and ending[0][0] < first:
            active.remove(heapq.heappop(ending)[1])
        active.add(buffer)
        heapq.heappush(ending, (last, buffer))


class _ActiveBytes:
    """The temporaries alive at one moment, by where they start."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._starts: list[tuple[int, int]] = []

    def _range(self, buffer: int) -> tuple[int, int]:
        offset = self._entry.memory.offsets[buffer]
        return offset, offset + self._entry.buffers[buffer].nbytes

    def add(self, buffer: int) -> None:
        """Add a buffer: it must overlap neither neighbour."""
        start, end = self._range(buffer)
        if start == end:
            return
        place = bisect_left(self._starts, (start, buffer))
        for neighbour in self._starts[max(0, place - 1) : place + 1]:
            low, high = self._range(neighbour[1])
            if low < end and start < high:
                names = self._entry.buffers[neighbour[1]].name, self._entry.buffers[buffer].name
                raise VerificationError(
                    "E903", f"{self._entry.name}: {names[0]!r} and {names[1]!r} share bytes while both are alive"
                )
        self._starts.insert(place, (start, buffer))

    def remove(self, buffer: int) -> None:
        """The buffer is dead."""
        start, end = self._range(buffer)
        if start != end:
            del self._starts[bisect_left(self._starts, (start, buffer))]


_Trace = list[tuple[int, tuple[tuple[int, int], ...], Access]]


def _trace(
    steps: Sequence[Step], kernels: Sequence[AnyKernel]
) -> Iterator[tuple[int, tuple[tuple[int, int], ...], Access]]:
    """(time, ((loop, trip), ...), access) with every loop walked at most twice."""
    time = loops = 0
    stack: list[tuple[Iterator[Step], tuple[tuple[int, int], ...], Loop | None]] = [(iter(steps), (), None)]
    numbers: dict[int, int] = {}
    while stack:
        remaining, path, loop = stack[-1]
        step = next(remaining, None)
        if step is None:
            stack.pop()
            if loop is not None and path[-1][1] == 0 and loop.trips > 1:
                stack.append((iter(loop.body), (*path[:-1], (path[-1][0], 1)), loop))
        elif isinstance(step, Loop):
            # Loop steps are shared by no two places, so the object stands for the place.
            number = numbers.setdefault(id(step), loops)
            loops = max(loops, number + 1)
            stack.append((iter(step.body), (*path, (number, 0)), step))
        else:
            for access in accesses(step, kernels):
                yield time, path, access
            time += 1


def _live_segments(entry: Entry, kernels: Sequence[AnyKernel]) -> list[tuple[int, int, int]]:
    """(first time, last time, buffer): when the bytes of a buffer must be left alone."""
    found: dict[int, _Trace] = {}
    for time, path, access in _trace(entry.steps, kernels):
        if entry.buffers[access.ref.buffer].kind == "temporary":
            found.setdefault(access.ref.buffer, []).append((time, path, access))
    segments: list[tuple[int, int, int]] = []
    for buffer, trace in sorted(found.items()):
        home = _home([path for _, path, _ in trace], [access for _, _, access in trace])
        start = trace[0][0]
        for (time, path, _), (after, next_path, access) in itertools.pairwise(trace):
            if path[:home] != next_path[:home] and not access.reads:
                segments.append((start, time, buffer))
                start = after
        segments.append((start, trace[-1][0], buffer))
    return segments


def _home(paths: Sequence[tuple[tuple[int, int], ...]], uses: Sequence[Access]) -> int:
    """How many loops hold all uses of a buffer and leave its pointers still."""
    depth = min(len(path) for path in paths)
    for path, access in zip(paths, uses, strict=True):
        moving = next((d for d, stride in enumerate(access.ref.strides) if stride), depth)
        same = next((d for d in range(depth) if path[d][0] != paths[0][d][0]), depth)
        depth = min(depth, moving, same)
    return depth
