"""Which iterations form a loop: the proof, input by input.

For every input of every row, the position of what it reads moves by a constant from one iteration to the next.  A step
of 0 is an invariant, a step of one period is the same or an earlier iteration (a carry), any other step is a value of
an earlier loop, or an element of a tensor, at an index that moves with the trips.  Single numbers that differ are
elements of a tensor that holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType
from graphc.passes.roll_choose import MAXIMUM_LAG, Span, choose_spans
from graphc.passes.roll_columns import Columns
from graphc.passes.roll_search import IntArray, cut_axis, find_candidates, fingerprints, stretches

_MOST_CANDIDATES = 4096
_MOST_LEFT_OUT = 2
"""Iterations at the beginning, which may start with values of their own, that are left out where that helps."""

_RAGGED_TRIPS = 4
"""Trips that are rather left out than gathered for."""


@dataclass(frozen=True, slots=True)
class Carry:
    """A value of an earlier trip: ``row``'s from ``lag`` trips ago, ``initial`` before that.

    A lag above 1 is a chain: each trip hands ``previous`` on.  Where ``initial`` has a smaller shape, it is broadcast.
    """

    row: int
    lag: int
    initial: Node
    previous: Carry | None = None


@dataclass(frozen=True, slots=True)
class Sequenced:
    """Element ``start + step·t`` along ``axis`` of a tensor, or of what another loop stacks: (loop number, row).

    Where ``width`` is not 0 the element keeps the axis: a window of that width; a ``step`` then counts windows.
    """

    source: Node | tuple[int, int]
    axis: int
    start: int
    step: int
    width: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """A single number of its own for each trip, from the nodes ``constants``."""

    constants: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """A tensor of its own for each trip: what stands outside in no tensor of which it could be an element."""

    nodes: tuple[Node, ...]


Element = int | Carry | Sequenced | Numbers | Gathered | Node
"""What an input of a row reads: a row of the same trip, a carry, a sequence in one form or another, or an invariant."""


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """A proved loop.

    Attributes:
        start: position of its first node in the sequence.
        period: rows of the body.
        trips: iterations.
        elements: for each row what its inputs read.
        sequenced: rows that are themselves an element or a window that moves with the trips.
        streams: rows that draw random numbers from a stream that moves with the trips → by how much.
        carries: in the order of the loop's operands.
    """

    start: int
    period: int
    trips: int
    elements: tuple[tuple[Element, ...], ...]
    sequenced: Mapping[int, Sequenced]
    streams: Mapping[int, int]
    carries: tuple[Carry, ...]

    @property
    def stop(self) -> int:
        """The position after its last node."""
        return self.start + self.period * self.trips


def plan_loops(sequence: Sequence[Node], minimum_trips: int, minimum_nodes: int) -> list[LoopPlan]:
    """The loops of a sequence of nodes, in order; they do not overlap."""
    return Plans(sequence, minimum_trips, minimum_nodes).plans


class Plans:
    """The loops of a sequence of nodes.

    Attributes:
        plans: in order; they do not overlap.
        columns: of the sequence; None where nothing repeats.
    """

    def __init__(self, sequence: Sequence[Node], minimum_trips: int, minimum_nodes: int, in_body: bool = False) -> None:
        self.plans: list[LoopPlan] = []
        self.columns: Columns | None = None
        self._count = len(sequence)
        candidates = find_candidates(fingerprints(sequence), minimum_trips, minimum_nodes)
        if not candidates:
            return
        self.columns = Columns(sequence, in_body)
        for span in choose_spans(self.columns, candidates[:_MOST_CANDIDATES], minimum_trips, minimum_nodes):
            plan = self._plan(span, minimum_trips)
            if plan is None or plan.period * plan.trips < minimum_nodes:
                continue
            self.columns.enter_loop(len(self.plans), plan.start, plan.period, plan.trips, tuple(plan.sequenced))
            self.plans.append(plan)

    def _plan(self, span: Span, minimum_trips: int) -> LoopPlan | None:
        """The loop of a span's iterations, without the first ones where those are what cannot be proved."""
        assert self.columns is not None
        for left_out in range(min(_MOST_LEFT_OUT, span.trips - minimum_trips) + 1):
            rest = Span(span.start + left_out * span.period, span.period, span.trips - left_out, span.candidate)
            plan = _Planner(self.columns, rest).plan(minimum_trips)
            if plan is not None:
                return plan
        return None

    @property
    def loose(self) -> int:
        """How many nodes are in no loop; elements and windows of tensors do not count."""
        if self.columns is None:
            return self._count
        loose = self.columns.width == 0
        for plan in self.plans:
            loose[plan.start : plan.stop] = False
        return int(loose.sum())


class _Planner:
    """Classifies what the rows of one span read."""

    def __init__(self, columns: Columns, span: Span) -> None:
        self.columns = columns
        self.span = span

    def plan(self, minimum_trips: int) -> LoopPlan | None:
        """The loop, its trips trimmed to those whose sequences another loop provides; None where too few are left."""
        low, high = self._trimmed()
        span = Span(self.span.start + low * self.span.period, self.span.period, high - low, self.span.candidate)
        if span.trips < max(minimum_trips, 2):
            return None
        self.span = span
        columns, start = self.columns, span.start
        table = np.ascontiguousarray(columns.table(start, span.period, span.trips).T)
        moves = np.diff(columns.affine_table(start, span.period, 2), axis=0)[0].tolist()
        carries: dict[Carry, None] = {}
        elements: list[tuple[Element, ...]] = []
        sequenced: dict[int, Sequenced] = {}
        streams: dict[int, int] = {}
        column = 0
        for row, move in enumerate(moves):
            node = columns.sequence[start + row]
            read: list[Element] = []
            for slot in range(len(node.inputs)):
                element = self._element(table[column], row, slot)
                if element is None:
                    return None
                if isinstance(element, Carry):
                    carries.update(dict.fromkeys(_links(element)))
                read.append(element)
                column += 1
            elements.append(tuple(read))
            if not move:
                continue
            if columns.width[start + row]:
                moving = self._moving(node, read[0], move)
                if moving is None:
                    return None
                sequenced[row] = moving
            else:
                streams[row] = move
        if len(sequenced) == span.period:
            # Nothing but x[t]: a loop that only moves data is worse than the views it replaces.
            return None
        return LoopPlan(start, span.period, span.trips, tuple(elements), sequenced, streams, tuple(carries))

    def _trimmed(self) -> tuple[int, int]:
        """The longest run of trips that read, at moving positions, what one loop or tensor provides, and whose nodes
        with several results are read in the same trip (only tensors enter and leave a loop).

        Where hardly a trip would be left, what they read is gathered instead.
        """
        span, columns = self.span, self.columns
        table = np.ascontiguousarray(columns.table(span.start, span.period, span.trips).T)
        fine = np.ones(span.trips, dtype=bool)
        moving_outside = (table[:, -1] != table[:, -2]) & (table < span.start).all(axis=1)
        for column in np.flatnonzero(moving_outside).tolist():
            places = table[column]
            inside = np.maximum(places, 0)
            origins, elements = np.where(places >= 0, columns.origin[inside], -1), columns.element[inside]
            middle = len(places) // 2
            line = elements - (elements[middle] - elements[middle - 1]) * np.arange(len(places))
            provided = (origins >= 0) & (origins == origins[middle]) & (line == line[middle])
            if len(places) - int(provided.sum()) <= _RAGGED_TRIPS or not self._can_gather(places):
                fine &= provided
        ends = span.start + np.arange(1, span.trips + 1) * span.period
        for row in range(span.period):
            if not columns.is_tensor(span.start + row):
                fine &= columns.last_reader[span.start + row : span.stop : span.period] < ends
        return max(stretches(fine), key=lambda pair: pair[1] - pair[0], default=(0, 0))

    def _element(self, places: IntArray, row: int, slot: int) -> Element | None:
        span, sequence = self.span, self.columns.sequence
        first = sequence[span.start + row].inputs[slot]
        if (places == places[0]).all():
            # An invariant must lie before the loop, or be the same source in every trip.
            return self._same_or_gathered(first, row, slot) if places[0] < span.start else None
        if places[-1] >= span.start:
            relative = int(places[-1]) - (span.stop - span.period)
            if relative >= 0:
                return relative if self._is_regular(places, 0) else None
            lag = -(relative // span.period)
            return self._carry(places, row, slot, relative + lag * span.period, lag)
        if (places >= span.start).any():
            return None
        return self._sequence(places) or (self._gathered(row, slot) if self._can_gather(places) else None)

    def _can_gather(self, places: IntArray) -> bool:
        """Whether what is read are tensors of one type that the graph computes.

        (Not parameters: layers with weights of their own would copy them at every call, to be a loop.)
        """
        if places.min() < 0:
            return False
        types = {self.columns.sequence[place].type for place in places.tolist()}
        return len(types) == 1 and isinstance(types.pop(), TensorType)

    def _gathered(self, row: int, slot: int) -> Gathered:
        span, sequence = self.span, self.columns.sequence
        rows = range(span.start + row, span.stop, span.period)
        return Gathered(tuple(sequence[place].inputs[slot] for place in rows))

    def _same_or_gathered(self, first: Node, row: int, slot: int) -> Element:
        if not self.columns.shares_place(first):
            return first
        span, columns = self.span, self.columns
        here = int(columns.bounds[span.start + row] - columns.bounds[span.start]) + slot
        width = int(columns.bounds[span.start + span.period] - columns.bounds[span.start])
        serials = columns.serials[columns.bounds[span.start] : columns.bounds[span.stop]].reshape(-1, width)[:, here]
        if (serials == serials[0]).all():
            return first
        nodes = self._gathered(row, slot)
        return Numbers(nodes.nodes) if first.op.name == "constant" else nodes

    def _is_regular(self, places: IntArray, lag: int) -> bool:
        rest = places[lag:]
        return len(rest) < 2 or bool((np.diff(rest) == self.span.period).all())

    def _carry(self, places: IntArray, row: int, slot: int, source: int, lag: int) -> Carry | None:
        span, sequence = self.span, self.columns.sequence
        if lag > MAXIMUM_LAG or lag >= span.trips or not self._is_regular(places, lag):
            return None
        if int(places[lag]) != span.start + source or bool((places[:lag] >= span.start).any()):
            return None
        like = sequence[span.start + source]
        chain: Carry | None = None
        for link in range(1, lag + 1):
            # Link k holds the value of k trips ago; before the first trip that is what trip lag−k read.
            reader = sequence[span.start + (lag - link) * span.period + row]
            initial = reader.inputs[slot]
            if initial.type is not like.type and not _is_broadcast(reader, initial, like):
                return None
            chain = Carry(source, link, initial, chain)
        return chain

    def _sequence(self, places: IntArray) -> Sequenced | None:
        """Values of an earlier loop, or ``index`` nodes outside, whose index moves by a constant."""
        columns = self.columns
        if places.min() < 0:
            return None
        origins, elements = columns.origin[places], columns.element[places]
        steps = np.diff(elements)
        if origins[0] < 0 or (origins != origins[0]).any() or (steps != steps[0]).any():
            return None
        place = columns.places[int(origins[0])]
        return Sequenced(place.source, place.axis, int(elements[0]), int(steps[0]))

    def _moving(self, node: Node, source: Element, move: int) -> Sequenced | None:
        """The element or window that a row takes of what every trip reads alike."""
        if not isinstance(source, Node):
            return None
        if node.op.name == "index":
            return Sequenced(source, node.attrs["axis"], node.attrs["index"], move)
        axis = cut_axis(node)
        assert axis is not None
        start, width = node.attrs["starts"][axis], node.shape[axis]
        if width == 1:
            return Sequenced(source, axis, start, move, 1)
        return Sequenced(source, axis, start, move // width, width) if abs(move) == width else None


def _is_broadcast(reader: Node, initial: Node, like: Node) -> bool:
    """Is ``initial`` a value that ``reader`` broadcasts to the type of ``like``, as in ``total = 0`` before a loop that
    adds rows up?
    """
    if reader.op.kind is not OpKind.POINTWISE or initial.dtype is not like.dtype:
        return False
    ahead = len(like.shape) - len(initial.shape)
    return ahead >= 0 and all(a in (1, b) for a, b in zip(initial.shape, like.shape[ahead:], strict=True))


def _links(carry: Carry) -> list[Carry]:
    """A chain of carries, the one of lag 1 first."""
    links = [carry]
    while links[-1].previous is not None:
        links.append(links[-1].previous)
    return links[::-1]
