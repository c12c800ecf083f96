"""Which iterations are taken for loops: stretches of candidates in which all moves by constants, largest first."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.types import TensorType
from graphc.passes.roll_columns import Columns
from graphc.passes.roll_search import Candidate, IntArray, stretches

MAXIMUM_LAG = 4

_VALUE_COST = 16
"""What a carry costs beside its elements, in elements."""

_NEVER = 1 << 50
"""Cost of cutting between a node with several results and those who take them: a carry is one tensor."""

_MULTIPLES = (2, 3, 4)
"""What repeats with a period repeats with its multiples: steps that take turns may be a loop only by twos or threes."""

_NESTED_ROWS = 64
_NESTED_SHARE = 4
"""Loops are looked for inside the iterations of one that has so many rows, of at most this part of its period."""

_MAXIMUM_LOOPS = 256
_EFFORT = 64
"""How many times each node may be looked at, in the average."""


@dataclass(frozen=True, slots=True)
class Span:
    """Iterations with constant steps, within a candidate."""

    start: int
    period: int
    trips: int
    candidate: Candidate

    @property
    def stop(self) -> int:
        """The position after the last iteration."""
        return self.start + self.period * self.trips


_Entry = tuple[int, int, int, int, Candidate | Span]
"""What could be taken: minus what it covers at most, its period, its start, whether it is a candidate still."""


def choose_spans(
    columns: Columns, candidates: Sequence[Candidate], minimum_trips: int, minimum_nodes: int
) -> list[Span]:
    """Spans that do not overlap, greatest coverage first, in order of position."""
    return _Choice(columns, minimum_trips, minimum_nodes).run(candidates)


class _Choice:
    """A queue of what could be taken, by how much it covers (of a candidate: at most).

    A period and its double cover about the same; two bodies' worth of nodes speak for the shorter.
    """

    def __init__(self, columns: Columns, minimum_trips: int, minimum_nodes: int) -> None:
        self.columns = columns
        self.minimum_trips = max(minimum_trips, 2)
        self.minimum_nodes = minimum_nodes
        self.queue: list[_Entry] = []
        self.taken: list[Span] = []
        self.multiplied: set[tuple[int, int]] = set()
        self.effort = _EFFORT * len(columns.sequence)

    def run(self, candidates: Sequence[Candidate]) -> list[Span]:
        """See :func:`choose_spans`."""
        for candidate in candidates:
            self._enter(candidate)
        while self.queue and len(self.taken) < _MAXIMUM_LOOPS:
            found = heapq.heappop(self.queue)[-1]
            pieces = self._free(found.start, found.stop)
            if pieces != [(found.start, found.stop)]:
                for low, high in pieces:
                    self._enter(Candidate(low, high, found.period))
            elif isinstance(found, Candidate):
                self._look_into(found)
            elif not self._is_better_inside(found):
                bisect.insort(self.taken, self._turned(found), key=lambda span: span.start)
        return self.taken

    def _is_better_inside(self, span: Span) -> bool:
        """Whether loops inside of each iteration would leave fewer nodes than a loop of the iterations.

        Those are taken first then; what is left of the iterations may be a loop of loops when one looks again.
        """
        if span.period < _NESTED_ROWS:
            return False
        inside = [
            found
            for *_, found in self.queue
            if _NESTED_SHARE * found.period <= span.period and found.start < span.stop and found.stop > span.start
        ]
        for found in inside:
            if isinstance(found, Candidate):
                self.queue.remove(self._entry(found))
                self._look_into(found)
        heapq.heapify(self.queue)
        saved = taken = 0
        spans = [found for *_, found in self.queue if isinstance(found, Span)]
        for found in sorted(spans, key=lambda inner: (inner.start, inner.period)):
            if _NESTED_SHARE * found.period <= span.period and found.start >= max(taken, span.start):
                if found.stop > span.stop:
                    break
                saved += found.period * (found.trips - 1)
                taken = found.stop
        return span.period * span.trips - saved < span.period

    def _look_into(self, candidate: Candidate) -> None:
        """Enter the stretches of a candidate, and its multiples where the stretches leave much of it."""
        spans = self._stretches(candidate)
        for span in spans:
            self._enter(span)
        rest = candidate.stop - candidate.start - sum(span.stop - span.start for span in spans)
        key = (candidate.start, candidate.stop)
        if rest >= max(self.minimum_trips * candidate.period, self.minimum_nodes) and key not in self.multiplied:
            self.multiplied.add(key)
            for factor in _MULTIPLES:
                self._enter(Candidate(candidate.start, candidate.stop, factor * candidate.period))

    def _enter(self, found: Candidate | Span) -> None:
        length = found.stop - found.start
        if length < max(self.minimum_trips * found.period, self.minimum_nodes):
            return
        heapq.heappush(self.queue, self._entry(found))

    def _entry(self, found: Candidate | Span) -> _Entry:
        kind = 1 if isinstance(found, Candidate) else 0
        return (2 * found.period + found.start - found.stop, found.period, found.start, kind, found)

    def _free(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What of start … stop−1 is not taken."""
        pieces = []
        for span in self.taken:
            if span.stop <= start or span.start >= stop:
                continue
            if start < span.start:
                pieces.append((start, span.start))
            start = span.stop
        if start < stop:
            pieces.append((start, stop))
        return pieces

    def _stretches(self, candidate: Candidate) -> list[Span]:
        """The runs of iterations of a candidate in which every input moves by a constant."""
        trips = (candidate.stop - candidate.start) // candidate.period
        self.effort -= trips * candidate.period
        if trips < self.minimum_trips or self.effort < 0:
            return []
        period = candidate.period
        steps, legal = self.columns.steps(candidate)
        same = np.all(steps[:-1] == steps[1:], axis=1) & legal[:-1] & legal[1:]
        table = self.columns.table(candidate.start, period, trips)
        result = []
        taken = 0
        for low, high in stretches(same):
            # Steps low … high are equal: trips low … high+1.
            first = low - _earlier_trips(table, steps, low, low - taken, candidate)
            count = high + 2 - first
            if count >= self.minimum_trips:
                result.append(Span(candidate.start + first * period, period, count, candidate))
                taken = high + 2
        return result

    def _turned(self, span: Span) -> Span:
        """The span cut at the row where the fewest values cross from trip to trip."""
        rotation = _best_rotation(self.columns, span)
        if not rotation:
            return span
        region = next(
            (low, high)
            for low, high in self._free(span.candidate.start, span.candidate.stop)
            if low <= span.start and span.stop <= high
        )
        low = max(region[0], span.start - span.period)
        shift = (span.start + rotation - low) % span.period
        options = [
            option
            for option in self._stretches(Candidate(low + shift, region[1], span.period))
            if option.start < span.stop and option.stop > span.start
        ]
        return max(options, key=lambda option: option.trips, default=span)


def _earlier_trips(table: IntArray, steps: IntArray, first: int, room: int, candidate: Candidate) -> int:
    """How many trips before ``first`` differ only in what their carries read: initial values.

    A carry of lag L reads values from before the loop in its first L trips.
    """
    period = candidate.period
    inputs = table.shape[1]
    behind = (candidate.start + first * period) - table[first]
    lag = np.zeros(steps.shape[1], dtype=np.int64)
    lag[:inputs] = np.where((steps[first, :inputs] == period) & (behind > 0), -(-behind // period), 0)
    for count in range(1, min(room, MAXIMUM_LAG) + 1):
        irregular = steps[first - count : first] != steps[first]
        # The last irregular step of each input, counted from the new first trip.
        last = np.where(irregular.any(axis=0), count - np.argmax(irregular[::-1], axis=0), 0)
        if (last > np.minimum(lag, MAXIMUM_LAG)).any():
            return count - 1
    return min(room, MAXIMUM_LAG)


def _best_rotation(columns: Columns, span: Span) -> int:
    """The row at which to cut the period so that the least crosses the cut, in elements and in values."""
    period = span.period
    if span.trips < 3 or period == 1:
        return 0
    base = span.start + (span.trips - 1) * period
    first, last = int(columns.bounds[base]), int(columns.bounds[base + period])
    reach = [0] * period
    for place, reader in zip(columns.reads[first:last].tolist(), columns.readers[first:last].tolist(), strict=True):
        if place >= max(span.start, base - MAXIMUM_LAG * period):
            source = (place - span.start) % period
            reach[source] = max(reach[source], reader - place)
    crossing = [0] * (period + 1)
    for row, distance in enumerate(reach):
        # The value made at ``row`` crosses the cuts row+1 … row+distance (around the end of the period); whole turns
        # cross every cut alike.
        low, high = row + 1, row + distance % period
        if low > high:
            continue
        type_ = columns.sequence[base + row].type
        if not isinstance(type_, TensorType):
            weight = _NEVER
        else:
            weight = _VALUE_COST + (type_.static_size if type_.is_static else 0)
        for a, c in ((low, min(high, period - 1)), (0, high - period)):
            if 0 <= a <= c:
                crossing[a] += weight
                crossing[c + 1] -= weight
    return int(np.argmin(np.cumsum(crossing[:period])))
