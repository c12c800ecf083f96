"""What every node of a sequence reads, as arrays of integers: what ``roll`` proves its loops on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from graphc.ir.node import Node
from graphc.ir.types import TensorType
from graphc.passes.roll_search import AFFINE_OPS, Candidate, IntArray, affine_value, cut_axis

FAR = np.int64(1) << np.int64(40)
"""Positions of what lies outside of the sequence are multiples of this: no step between two of them looks like a step
in the sequence."""

NOWHERE = -1

_SERIAL, _INPUTS = attrgetter("serial"), attrgetter("inputs")

_DENSE = 64
"""Serial numbers are looked up in an array where they span at most so many times the nodes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sequence of values comes from: a tensor along an axis, or a row of a loop, stacked."""

    source: Node | tuple[int, int]
    axis: int


class Columns:
    """For every node of the sequence what it reads, as numbers.

    A node outside of the sequence has a place that stands for itself alone; single numbers share one for all of a type,
    and so do the arguments of an entry point, so that a step may read another one than the step before.

    Attributes:
        sequence: the nodes.
        in_body: whether they are the body of a loop, whose inputs are no arguments: of its invariants each is itself.
        reads: places of the inputs of all nodes, one after the other: positions, or negative outside of the sequence.
        serials: the serial numbers of the same nodes.
        readers: positions of the nodes that read them.
        bounds: where the inputs of each node begin in these; one entry more than there are nodes.
        affine: the affine attribute of each node, 0 where it has none.
        width: of a node that takes a window of its input (1 for ``index``), 0 for all others.
        last_reader: position of the last node that reads each node, −1 where there is none.
        origin: for a node that is an element of a tensor or of a loop's stack an index into ``places``, else −1.
        element: which element.
        places: see ``origin``.
    """

    def __init__(self, sequence: Sequence[Node], in_body: bool = False) -> None:
        self.sequence = sequence
        self.in_body = in_body
        count = len(sequence)
        self._positions = _Positions(np.fromiter(map(_SERIAL, sequence), np.int64, count))
        inputs = list(map(_INPUTS, sequence))
        counts = np.fromiter(map(len, inputs), np.int64, count)
        self.bounds: IntArray = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        self.serials: IntArray = np.fromiter(map(_SERIAL, chain.from_iterable(inputs)), np.int64, int(self.bounds[-1]))
        self.reads = self._positions.find(self.serials)
        readers = np.repeat(np.arange(count), counts)
        inside = self.reads >= 0
        self.last_reader: IntArray = np.full(count, NOWHERE, dtype=np.int64)
        # (Readers stand in order, and of several assignments to one place the last holds.)
        self.last_reader[self.reads[inside]] = readers[inside]
        self.readers = readers
        self._place_outside(np.flatnonzero(~inside))
        self.affine: IntArray = np.zeros(count, dtype=np.int64)
        self.width: IntArray = np.zeros(count, dtype=np.int64)
        self.origin: IntArray = np.full(count, NOWHERE, dtype=np.int64)
        self.element: IntArray = np.zeros(count, dtype=np.int64)
        self.places: list[Place] = []
        self._enter_affine()

    def _place_outside(self, edges: IntArray) -> None:
        """Give every node outside of the sequence its place."""
        found, first, inverse = np.unique(self.serials[edges], return_index=True, return_inverse=True)
        numbers: dict[Hashable, int] = {}
        ordinals = np.empty(len(found), dtype=np.int64)
        for position, edge in enumerate(edges[first].tolist()):
            node = self.operand(edge)
            key: Hashable = (node.op, node.type) if self.shares_place(node) else node
            ordinals[position] = numbers.setdefault(key, len(numbers)) + 1
        self.reads[edges] = -FAR * ordinals[inverse]

    def _enter_affine(self) -> None:
        places: dict[tuple[Node, int], int] = {}
        moving = [(position, node) for position, node in enumerate(self.sequence) if node.op.name in AFFINE_OPS]
        for position, node in moving:
            value = affine_value(node)
            if value is None:
                continue
            self.affine[position] = value
            if node.op.name == "index":
                where = (node.inputs[0], node.attrs["axis"])
                self.width[position] = 1
                self.origin[position] = places.setdefault(where, len(places))
                self.element[position] = value
            elif node.op.name == "slice":
                axis = cut_axis(node)
                assert axis is not None
                self.width[position] = node.shape[axis]
        self.places = [Place(source, axis) for source, axis in places]

    def operand(self, edge: int) -> Node:
        """The node that an entry of ``reads`` stands for."""
        reader = int(np.searchsorted(self.bounds, edge, side="right")) - 1
        return self.sequence[reader].inputs[edge - int(self.bounds[reader])]

    def position(self, node: Node) -> int:
        """Where a node stands in the sequence, −1 for nowhere."""
        return self._positions.one(node.serial)

    def table(self, start: int, period: int, trips: int) -> IntArray:
        """One row a trip, one column an input."""
        part = self.reads[self.bounds[start] : self.bounds[start + period * trips]]
        return part.reshape(trips, -1)

    def affine_table(self, start: int, period: int, trips: int) -> IntArray:
        """One row a trip, one column a node."""
        return self.affine[start : start + period * trips].reshape(trips, period)

    def steps(self, candidate: Candidate) -> tuple[IntArray, np.ndarray[Any, np.dtype[np.bool_]]]:
        """By how much each input and each affine attribute moves from one iteration of a candidate to the next, and
        whether a loop could do that.
        """
        start, period = candidate.start, candidate.period
        trips = (candidate.stop - start) // period
        steps = np.diff(self.table(start, period, trips), axis=0)
        legal = np.all(np.abs(steps) < FAR // 2, axis=1)
        affine = np.diff(self.affine_table(start, period, trips), axis=0)
        moving = np.flatnonzero(affine.any(axis=0))
        if not len(moving):
            return steps, legal
        for row in moving.tolist():
            width = int(self.width[start + row])
            if width:
                # A window moves along one and the same tensor, and by its own width where it is wider than 1.
                column = int(self.bounds[start + row] - self.bounds[start])
                amount = affine[:, row]
                stays = amount == 0
                fits = np.abs(amount) == width if width > 1 else np.ones_like(stays)
                legal &= stays | (fits & (steps[:, column] == 0))
        return np.concatenate((steps, affine[:, moving]), axis=1), legal

    def enter_loop(self, number: int, start: int, period: int, trips: int, skipped: Sequence[int]) -> None:
        """Let the rows of a loop be elements of its stacks, but for ``skipped`` ones."""
        first = len(self.places)
        self.places.extend(Place((number, row), 0) for row in range(period))
        rows = np.arange(first, first + period)
        kept = np.ones(period, dtype=bool)
        kept[list(skipped)] = False
        span = slice(start, start + period * trips)
        self.origin[span] = np.where(np.tile(kept, trips), np.tile(rows, trips), self.origin[span])
        self.element[span] = np.where(np.tile(kept, trips), np.repeat(np.arange(trips), period), self.element[span])

    def is_tensor(self, position: int) -> bool:
        """Whether the node there has one result."""
        return isinstance(self.sequence[position].type, TensorType)

    def shares_place(self, node: Node) -> bool:
        """Whether a node outside of the sequence has its place in common with others of its type."""
        return (node.op.name == "input" and not self.in_body) or (node.op.name == "constant" and node.rank == 0)


class _Positions:
    """From serial numbers to positions."""

    def __init__(self, serials: IntArray) -> None:
        self._low = int(serials.min())
        span = int(serials.max()) - self._low + 1
        self._order: IntArray | None = None
        if span <= _DENSE * len(serials):
            self._table: IntArray = np.full(span, NOWHERE, dtype=np.int64)
            self._table[serials - self._low] = np.arange(len(serials))
        else:
            self._order = np.argsort(serials, kind="stable")
            self._table = serials[self._order]
        assert (self.find(serials) == np.arange(len(serials))).all(), "two nodes have one serial number"

    def find(self, serials: IntArray) -> IntArray:
        """The positions, −1 for serial numbers that are none of the sequence's."""
        if self._order is not None:
            places = np.minimum(np.searchsorted(self._table, serials), len(self._table) - 1)
            return np.where(self._table[places] == serials, self._order[places], NOWHERE)
        shifted = serials - self._low
        known = (shifted >= 0) & (shifted < len(self._table))
        return np.where(known, self._table[np.where(known, shifted, 0)], NOWHERE)

    def one(self, serial: int) -> int:
        """The position of one."""
        if self._order is not None:
            return int(self.find(np.array([serial], dtype=np.int64))[0])
        shifted = serial - self._low
        return int(self._table[shifted]) if 0 <= shifted < len(self._table) else NOWHERE
