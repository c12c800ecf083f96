"""Which iterations of a candidate form a loop: the proof, input by input.

For every input of every row, the position of what it reads moves by a constant from one iteration to the next.  A step
of 0 is an invariant, a step of one period is the same or an earlier iteration (a carry), any other step is a value of
an earlier loop at an index that moves with the trips.  The longest run of iterations with one constant vector of steps
is the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.node import Node
from graphc.ir.types import TensorType
from graphc.passes.roll_columns import FAR, Columns
from graphc.passes.roll_search import Candidate, IntArray, find_candidates, fingerprints

_MAXIMUM_LAG = 4
_VALUE_COST = 16
"""What a carry costs beside its elements, in elements."""

_NEVER = 1 << 50
"""Cost of cutting between a node with several results and those who take them: a carry is one tensor."""

_MAXIMUM_LOOPS = 256
_TRIALS = 64


@dataclass(frozen=True, slots=True)
class Carry:
    """A value of an earlier trip: ``row``'s from ``lag`` trips ago, ``initial`` before that.

    A lag above 1 is a chain: each trip hands ``previous`` on.
    """

    row: int
    lag: int
    initial: Node
    previous: Carry | None = None


@dataclass(frozen=True, slots=True)
class Sequenced:
    """Element ``start + step·t`` along ``axis`` of a tensor, or of what another loop stacks: (loop number, row)."""

    source: Node | tuple[int, int]
    axis: int
    start: int
    step: int


Element = int | Carry | Sequenced | Node
"""What an input of a row reads: a row of the same trip, a carry, a sequence, or an invariant."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """A proved loop.

    Attributes:
        start: position of its first node in the sequence.
        period: rows of the body.
        trips: iterations.
        elements: for each row what its inputs read.
        sequenced: rows that are themselves an ``index`` moving with the trips.
        carries: in the order of the loop's operands.
    """

    start: int
    period: int
    trips: int
    elements: tuple[tuple[Element, ...], ...]
    sequenced: Mapping[int, Sequenced]
    carries: tuple[Carry, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """Iterations of a candidate with constant steps."""

    start: int
    period: int
    trips: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.trips


def plan_loops(sequence: Sequence[Node], minimum_trips: int, minimum_nodes: int) -> list[LoopPlan]:
    """The loops of a sequence of nodes, in order; they do not overlap."""
    prints = fingerprints(sequence)
    candidates = find_candidates(prints, minimum_trips, minimum_nodes)
    if not candidates:
        return []
    columns = Columns(sequence)
    spans = _choose(columns, candidates, minimum_trips, minimum_nodes)
    plans: list[LoopPlan] = []
    members: dict[int, tuple[int, int, int]] = {}
    for span in spans:
        plan = _Planner(columns, span, members).plan(minimum_trips)
        if plan is None or plan.period * plan.trips < minimum_nodes:
            continue
        for offset in range(plan.period * plan.trips):
            members[plan.start + offset] = (len(plans), *divmod(offset, plan.period))
        plans.append(plan)
    return plans


def _choose(columns: Columns, candidates: Sequence[Candidate], minimum_trips: int, minimum_nodes: int) -> list[_Span]:
    """Spans that do not overlap, greatest coverage first, in order of position."""
    waiting: list[_Span] = []
    for candidate in candidates[:_TRIALS]:
        waiting.extend(_spans(columns, candidate, minimum_trips, minimum_nodes))
    chosen: list[_Span] = []
    while waiting and len(chosen) < _MAXIMUM_LOOPS:
        # A period and its double cover about the same; two bodies' worth of nodes speak for the shorter.
        best = min(waiting, key=lambda span: (-(span.period * (span.trips - 2)), span.period, span.start))
        chosen.append(best)
        rest: list[_Span] = []
        for span in waiting:
            if span.stop <= best.start or span.start >= best.stop:
                rest.append(span)
                continue
            for low, high in ((span.start, best.start), (best.stop, span.stop)):
                if high - low >= max(minimum_trips * span.period, minimum_nodes):
                    rest.extend(_spans(columns, Candidate(low, high, span.period), minimum_trips, minimum_nodes))
        waiting = list(dict.fromkeys(rest))
    return sorted(chosen, key=lambda span: span.start)


def _spans(columns: Columns, candidate: Candidate, minimum_trips: int, minimum_nodes: int) -> list[_Span]:
    """The stretches of a candidate whose steps are constant, cut where the fewest values cross from trip to trip."""
    result = []
    for first in _constant_stretches(columns, candidate, minimum_trips):
        rotation = _best_rotation(columns, first)
        span = first
        if rotation:
            low = max(candidate.start, first.start - first.period)
            shift = (first.start + rotation - low) % first.period
            turned = Candidate(low + shift, candidate.stop, first.period)
            options = [
                s
                for s in _constant_stretches(columns, turned, minimum_trips)
                if s.start < first.stop and s.stop > first.start
            ]
            span = max(options, key=lambda s: s.trips, default=first)
        if span.period * span.trips >= minimum_nodes:
            result.append(span)
    return result


def _constant_stretches(columns: Columns, candidate: Candidate, minimum_trips: int) -> list[_Span]:
    trips = (candidate.stop - candidate.start) // candidate.period
    if trips < max(minimum_trips, 2):
        return []
    period = candidate.period
    table = columns.table(candidate.start, period, trips)
    steps = np.diff(table, axis=0)
    legal = np.all(np.abs(steps) < FAR // 2, axis=1)
    same = np.all(steps[:-1] == steps[1:], axis=1) & legal[:-1] & legal[1:]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same.view(np.int8), [0]))))
    result = []
    taken = 0
    for low, high in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        # Steps low … high are equal: trips low … high+1.
        first = low - _earlier_trips(table, steps, low, low - taken, candidate.start, period)
        count = high + 2 - first
        if count >= minimum_trips:
            result.append(_Span(candidate.start + first * period, period, count))
            taken = high + 2
    return result


def _earlier_trips(table: IntArray, steps: IntArray, first: int, room: int, start: int, period: int) -> int:
    """How many trips before ``first`` differ only in what their carries read: initial values.

    A carry of lag L reads values from before the loop in its first L trips.
    """
    behind = (start + first * period) - table[first]
    lag = np.where((steps[first] == period) & (behind > 0), -(-behind // period), 0)
    for count in range(1, min(room, _MAXIMUM_LAG) + 1):
        irregular = steps[first - count : first] != steps[first]
        # The last irregular step of each input, counted from the new first trip.
        last = np.where(irregular.any(axis=0), count - np.argmax(irregular[::-1], axis=0), 0)
        if (last > np.minimum(lag, _MAXIMUM_LAG)).any():
            return count - 1
    return min(room, _MAXIMUM_LAG)


def _best_rotation(columns: Columns, span: _Span) -> int:
    """The row at which to cut the period so that the least crosses the cut, in elements and in values."""
    period = span.period
    if span.trips < 3 or period == 1:
        return 0
    trip = span.trips - 1
    base = span.start + trip * period
    reach = [0] * period
    for row in range(period):
        node = columns.sequence[base + row]
        for operand in node.inputs:
            place = columns.position.get(operand)
            if place is None or place < base - _MAXIMUM_LAG * period:
                continue
            if place >= span.start:
                source = (place - span.start) % period
                reach[source] = max(reach[source], base + row - place)
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
    counts = np.cumsum(crossing[:period])
    return int(np.argmin(counts))


class _Planner:
    """Classifies what the rows of one span read."""

    def __init__(self, columns: Columns, span: _Span, members: Mapping[int, tuple[int, int, int]]) -> None:
        self.columns = columns
        self.members = members
        self.span = span

    def plan(self, minimum_trips: int) -> LoopPlan | None:
        """The loop, its trips trimmed to those whose sequences another loop provides; None where too few are left."""
        span = self._trim(self.span)
        if span is None or span.trips < max(minimum_trips, 2):
            return None
        period, columns = span.period, self.columns
        table = columns.table(span.start, period, span.trips)
        carries: dict[Carry, None] = {}
        elements: list[tuple[Element, ...]] = []
        sequenced: dict[int, Sequenced] = {}
        column = 0
        for row in range(period):
            node = columns.sequence[span.start + row]
            read: list[Element] = []
            for slot in range(len(node.inputs)):
                element = self._element(span, table, row, slot, column)
                if element is None:
                    return None
                if isinstance(element, Carry):
                    chain: Carry | None = element
                    links = []
                    while chain is not None:
                        links.append(chain)
                        chain = chain.previous
                    carries.update(dict.fromkeys(reversed(links)))
                read.append(element)
                column += 1
            if node.op.name == "index":
                step = int(table[1, column] - table[0, column])
                if step:
                    if not isinstance(read[0], Node):
                        return None
                    sequenced[row] = Sequenced(read[0], node.attrs["axis"], node.attrs["index"], step)
                column += 1
            elements.append(tuple(read))
        if len(sequenced) == period:
            # Nothing but x[t]: a loop that only moves data is worse than the views it replaces.
            return None
        return LoopPlan(span.start, period, span.trips, tuple(elements), sequenced, tuple(carries))

    def _trim(self, span: _Span) -> _Span | None:
        """Drop trips at either end that read, at a moving position, what no loop provides, or whose nodes with several
        results are read in another trip (only tensors enter and leave a loop).
        """
        table = self.columns.table(span.start, span.period, span.trips)
        fine = np.ones(span.trips, dtype=bool)
        column = 0
        for row in range(span.period):
            node = self.columns.sequence[span.start + row]
            for _ in node.inputs:
                if self._is_moving_outside(span, table[:, column]):
                    fine &= self._provided(table[:, column])
                column += 1
            if node.op.name == "index":
                column += 1
            if not isinstance(node.type, TensorType):
                fine &= self._read_at_once(span, row)
        if fine.all():
            return span
        edges = np.flatnonzero(np.diff(np.concatenate(([0], fine.view(np.int8), [0]))))
        stretches = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        if not stretches:
            return None
        low, high = max(stretches, key=lambda pair: pair[1] - pair[0])
        return _Span(span.start + low * span.period, span.period, high - low)

    def _read_at_once(self, span: _Span, row: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Per trip, whether all readers of ``row`` are in that trip."""
        last_reader = self.columns.last_reader
        ends = [span.start + (trip + 1) * span.period for trip in range(span.trips)]
        return np.array([last_reader.get(end - span.period + row, 0) < end for end in ends], dtype=bool)

    def _is_moving_outside(self, span: _Span, places: IntArray) -> bool:
        if places[-1] == places[-2]:
            return False
        return bool((places < span.start).all())

    def _provided(self, places: IntArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Per trip, whether the value read comes from where the middle trip's comes from."""
        found = [self._origin(int(place)) for place in places]
        middle = found[len(found) // 2]
        return np.array([m is not None and middle is not None and m[:2] == middle[:2] for m in found], dtype=bool)

    def _origin(self, place: int) -> tuple[Node | tuple[int, int], int, int] | None:
        """What stands at a position outside, as (tensor or (loop, row), axis, index along it)."""
        member = self.members.get(place)
        if member is not None:
            return (member[0], member[2]), 0, member[1]
        node = self.columns.sequence[place] if place >= 0 else None
        if node is None or node.op.name != "index":
            return None
        return node.inputs[0], node.attrs["axis"], node.attrs["index"]

    def _element(self, span: _Span, table: IntArray, row: int, slot: int, column: int) -> Element | None:
        places = table[:, column]
        sequence = self.columns.sequence
        first = sequence[span.start + row].inputs[slot]
        if (places == places[0]).all():
            # An invariant must lie before the loop, or be the same source in every trip.
            return first if places[0] < span.start else None
        if places[-1] >= span.start:
            relative = int(places[-1]) - (span.start + (span.trips - 1) * span.period)
            if relative >= 0:
                return relative if self._is_regular(span, places, 0) else None
            lag = -(relative // span.period)
            return self._carry(span, places, row, slot, relative + lag * span.period, lag)
        return self._sequence(places) if (places < span.start).all() else None

    def _is_regular(self, span: _Span, places: IntArray, lag: int) -> bool:
        rest = places[lag:]
        return len(rest) < 2 or bool((np.diff(rest) == span.period).all())

    def _carry(self, span: _Span, places: IntArray, row: int, slot: int, source: int, lag: int) -> Carry | None:
        if lag > _MAXIMUM_LAG or lag >= span.trips or not self._is_regular(span, places, lag):
            return None
        if int(places[lag]) != span.start + source or bool((places[:lag] >= span.start).any()):
            return None
        sequence = self.columns.sequence
        like = sequence[span.start + source]
        chain: Carry | None = None
        for link in range(1, lag + 1):
            # Link k holds the value of k trips ago; before the first trip that is what trip lag−k read.
            initial = sequence[span.start + (lag - link) * span.period + row].inputs[slot]
            if initial.type is not like.type:
                return None
            chain = Carry(source, link, initial, chain)
        return chain

    def _sequence(self, places: IntArray) -> Sequenced | None:
        """Values of an earlier loop, or ``index`` nodes outside, whose index moves by a constant."""
        found = [self._origin(int(place)) for place in places]
        if found[0] is None or found[1] is None:
            return None
        source, axis, start = found[0]
        step = found[1][2] - start
        for trip, origin in enumerate(found):
            if origin is None or origin[0] != source or origin[1:] != (axis, start + trip * step):
                return None
        return Sequenced(source, axis, start, step)
