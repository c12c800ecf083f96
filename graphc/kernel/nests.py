"""Plans one loop nest: the order of its loops, where its reductions run, and which axis lies in vector lanes.

The loops of a nest stand in such an order that the axes of every reduction's result are the outermost ones; the
reduction then runs once for each of their positions, before the loops inside start.  A reduction for which no such
order exists is materialised.  The lane axis is chosen by a count of instructions: neighbours in memory cost one
access a vector, anything else one an element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from graphc.kernel.loopir import (
    Apply,
    Const,
    Gather,
    Index,
    Kernel,
    Load,
    Map,
    Reduce,
    Scan,
    Store,
    ValueId,
    operands,
    value_axes,
)
from graphc.kernel.nest import Nest
from graphc.kernel.target import COLLIDING_BYTES, Target
from graphc.ops.simple import SIMPLE_OPS

_EXPENSIVE = 12.0
"""Cost of an elementary function, in simple instructions."""

_WIDEST = 4
"""Most hardware vectors that one vector of a nest spans; twice as many where columns are reduced and lie badly."""


def plan_nest(kernel: Kernel, stores: Sequence[Store], target: Target) -> Nest | set[ValueId]:
    """The nest for stores, or the reductions that must be materialised first.

    Args:
        kernel: what is computed.
        stores: over the same axes; those over some of them must run over the outermost loops (:func:`is_nested`).
        target: the machine.
    """
    planner = _Planner(kernel, target)
    roots = [store.value for store in stores] + [store.scatter.index for store in stores if store.scatter is not None]
    axes = tuple(sorted(max(stores, key=lambda store: len(store.axes)).axes))
    _, nest = planner.plan(roots, axes, frozenset(), None, frozenset(), stores=tuple(stores))
    return planner.misplaced or nest


def is_nested(nest: Nest) -> bool:
    """Does every store run over whole loops, and none again over those inside of them?"""
    return all(nest.depth_of(store) == len(set(store.axes)) for store in nest.stores)


def plan_scan(kernel: Kernel, stores: Sequence[Store], target: Target) -> Nest:
    """The nest of a scan that is stored: its axis innermost, the lanes along another axis where that pays."""
    planner = _Planner(kernel, target)
    number = stores[0].value
    scan = kernel.values[number]
    assert isinstance(scan, Scan)
    others = tuple(axis for axis in sorted(stores[0].axes) if axis != scan.axis)
    best: tuple[float, Nest] | None = None
    for vector in (None, *others):
        order = tuple(axis for axis in others if axis != vector)
        order = (*order, *(() if vector is None else (vector,)), scan.axis)
        lanes = planner.lane_count([number], vector, 1)
        stages = ((),) * (len(order) + 1)
        nest = Nest(order, vector, lanes, stages, stores=tuple(stores), scan=number)
        cost = planner.cost(nest, planner.body([scan.arg], frozenset()), frozenset(), vector, [])
        if best is None or cost < best[0]:
            best = (cost, nest)
    assert best is not None
    return best[1]


class _Planner:
    """Plans the nests of one step; ``misplaced`` collects reductions that have no place in it."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel = kernel
        self.target = target
        self.axes = value_axes(kernel)
        self.misplaced: set[ValueId] = set()

    # -- placing reductions ----------------------------------------------------------------------------------------

    def plan(
        self,
        roots: Sequence[ValueId],
        free: tuple[int, ...],
        bound: frozenset[int],
        inherited: int | None,
        done: frozenset[ValueId],
        *,
        reduces: tuple[ValueId, ...] = (),
        stores: tuple[Store, ...] = (),
    ) -> tuple[float, Nest]:
        """The cheapest nest over ``free`` inside loops over ``bound``, and its cost."""
        body = self.body(roots, done)
        here = [
            number
            for number in body
            if isinstance(self.kernel.values[number], Reduce) and self.axes[number] <= bound | set(free)
        ]
        ordered = any(store.accumulate or store.scatter is not None for store in stores)
        fixed = any(store.scatter is not None for store in stores)
        free = free if fixed else self._by_distance(free, stores, body)
        groups = self._order(here, free, bound, ordered)
        position: dict[int, int] = {}
        for axes in groups:
            for axis in axes:
                position[axis] = len(position)
        depths = {number: len(self.axes[number] - bound) for number in here}
        self._check_dependencies(here, depths)
        direct = self.body(roots, done | set(here))
        best: tuple[float, Nest] | None = None
        for vector in self._candidates(free, inherited, here, stores, ordered):
            order = tuple(
                axis
                for axes in groups
                for axis in (*(a for a in axes if a != vector), *(a for a in axes if a == vector))
            )
            stages: list[tuple[Nest, ...]] = []
            stage_costs: list[float] = []
            known = done
            for depth in range(len(order) + 1):
                lane_axis = inherited if inherited is not None else vector if vector in order[:depth] else None
                made: list[Nest] = []
                cost = 0.0
                for batch in self._batches([number for number in here if depths[number] == depth]):
                    spent, stage = self._stage(batch, bound | set(order[:depth]), lane_axis, known)
                    known |= set(batch)
                    cost += spent
                    made.append(stage)
                stages.append(tuple(made))
                stage_costs.append(cost)
            # The lanes of columns that are reduced are the lanes of those reductions as well.
            inherits = vector is not None and any(depths[number] > order.index(vector) for number in here)
            # What runs for each row decides, not what is done once with the sums or is the same for all rows.
            inner = [number for number in body if not self.axes[number] <= bound | set(free)] if inherits else direct
            width = self._spanned(inner, vector)
            if inherits and vector is not None and width == _WIDEST and self._lies_badly(body, vector):
                width *= 2
            lanes = self.lane_count([*direct, *roots], vector, width)
            if vector is not None and lanes == 1:
                continue
            nest = Nest(order, vector, lanes, tuple(stages), reduces, stores)
            cost = self.cost(nest, direct, bound, inherited if inherited is not None else vector, stage_costs)
            if best is None or cost < best[0]:
                best = (cost, nest)
        assert best is not None
        return best

    def _stage(
        self, batch: Sequence[ValueId], bound: frozenset[int], lane_axis: int | None, done: frozenset[ValueId]
    ) -> tuple[float, Nest]:
        values = [self.kernel.values[number] for number in batch]
        first = values[0]
        assert isinstance(first, Reduce)
        roots = [value.arg for value in values if isinstance(value, Reduce)]
        return self.plan(roots, tuple(sorted(first.axes)), bound, lane_axis, done, reduces=tuple(batch))

    def body(self, roots: Sequence[ValueId], done: frozenset[ValueId]) -> list[ValueId]:
        """Everything ``roots`` need that is not ``done``."""
        reached: set[ValueId] = set()
        pending = list(roots)
        while pending:
            number = pending.pop()
            if number not in reached and number not in done:
                reached.add(number)
                pending.extend(operands(self.kernel.values[number]))
        return sorted(reached)

    def _by_distance(self, free: tuple[int, ...], stores: Sequence[Store], body: Sequence[ValueId]) -> tuple[int, ...]:
        """The axes with the one that moves furthest in memory outermost: by what is stored, else by what is loaded."""
        maps = [store.map for store in stores]
        if not maps:
            values = (self.kernel.values[number] for number in body)
            maps = [value.map for value in values if isinstance(value, (Load, Gather))]
        return tuple(sorted(free, key=lambda axis: -max((abs(map_.coefficients[axis]) for map_ in maps), default=0)))

    def _order(
        self, here: Sequence[ValueId], free: tuple[int, ...], bound: frozenset[int], ordered: bool
    ) -> list[list[int]]:
        """The loops in groups, outermost first, such that each reduction's axes are whole groups."""
        chain: list[frozenset[int]] = [frozenset()]
        for number in sorted(here, key=lambda n: (len(self.axes[n]), n)):
            mine = self.axes[number] - bound
            fits = bound <= self.axes[number] and mine >= chain[-1]
            if ordered and set(free[: len(mine)]) != mine:
                fits = False
            if not fits:
                self.misplaced.add(number)
            elif mine != chain[-1]:
                chain.append(mine)
        groups = [[axis for axis in free if axis in axes - before] for before, axes in pairwise(chain)]
        groups.append([axis for axis in free if axis not in chain[-1]])
        return groups if not ordered else [[axis] for axis in free]

    def _check_dependencies(self, here: Sequence[ValueId], depths: dict[ValueId, int]) -> None:
        """A reduction used by another one must have been computed when that one runs."""
        for number in here:
            value = self.kernel.values[number]
            assert isinstance(value, Reduce)
            for inner in self.body([value.arg], frozenset()):
                if inner in depths and depths[inner] > depths[number]:
                    self.misplaced.add(inner)

    def _batches(self, numbers: Sequence[ValueId]) -> list[list[ValueId]]:
        """Reductions that run together: over the same axes, none needing another."""
        batches: list[list[ValueId]] = []
        for number in sorted(numbers):
            value = self.kernel.values[number]
            assert isinstance(value, Reduce)
            needs = set(self.body([value.arg], frozenset()))
            last = batches[-1] if batches else None
            if last is not None and not needs & set(last):
                other = self.kernel.values[last[0]]
                if isinstance(other, Reduce) and other.axes == value.axes:
                    last.append(number)
                    continue
            batches.append([number])
        return batches

    # -- lanes -----------------------------------------------------------------------------------------------------

    def _candidates(
        self,
        free: tuple[int, ...],
        inherited: int | None,
        here: Sequence[ValueId],
        stores: Sequence[Store],
        ordered: bool,
    ) -> list[int | None]:
        if inherited is not None:
            return [None]
        found: list[int | None] = [None]
        for axis in free:
            if self.kernel.extents[axis] < 2:
                continue
            if ordered and not all(self._lanes_apart(store, axis) for store in stores):
                continue
            found.append(axis)
        return found

    def _lanes_apart(self, store: Store, axis: int) -> bool:
        """No two lanes along ``axis`` write the same place, and their loop may stand innermost."""
        if store.scatter is not None and axis in self.axes[store.scatter.index]:
            return False
        return store.map.coefficients[axis] == 1

    def lane_count(self, values: Sequence[ValueId], vector: int | None, width: int) -> int:
        """Elements of a vector: hardware lanes of the floats (or of the widest integer), times ``width``."""
        if vector is None:
            return 1
        floats, others = [32], [8]
        for number in values:
            dtype = self.kernel.values[number].dtype
            (floats if dtype.is_float else others).append(dtype.bits)
        bits = max(floats) if len(floats) > 1 else max(others)
        lanes = self.target.lanes(bits)
        extent = self.kernel.extents[vector]
        if extent < lanes:
            return 1 << (extent - 1).bit_length()
        while width > 1 and extent < lanes * width:
            width //= 2
        return lanes * width

    def _spanned(self, body: Sequence[ValueId], vector: int | None) -> int:
        """Hardware vectors a nest works on at once: more for short bodies, so that their latencies overlap."""
        if vector is None:
            return 1
        weight = 0.0
        for number in body:
            value = self.kernel.values[number]
            if vector in self.axes[number]:
                if isinstance(value, (Load, Gather)) and value.map.coefficients[vector] not in (0, 1):
                    return 1
                weight += self._weight(number)
        if weight <= 8:
            return _WIDEST
        return 2 if weight <= 16 else 1

    def _lies_badly(self, body: Sequence[ValueId], vector: int) -> bool:
        """Would wider vectors of columns that are reduced read whole rows, or more of rows that share their places in
        a cache?
        """
        for number in body:
            value = self.kernel.values[number]
            if isinstance(value, Load) and value.map.coefficients[vector] == 1:
                lanes, size = self.target.lanes(value.dtype.bits), value.dtype.itemsize
                rows = [c * size for axis, c in enumerate(value.map.coefficients) if c and axis != vector]
                is_narrow = self.kernel.extents[vector] <= 2 * _WIDEST * lanes
                if is_narrow or any(row % COLLIDING_BYTES == 0 for row in rows):
                    return True
        return False

    # -- cost ------------------------------------------------------------------------------------------------------

    def _weight(self, number: ValueId) -> float:
        value = self.kernel.values[number]
        if isinstance(value, Apply):
            return 1.0 if value.op in SIMPLE_OPS else _EXPENSIVE
        return 0.0 if isinstance(value, (Const, Index)) else 1.0

    def cost(
        self,
        nest: Nest,
        direct: Sequence[ValueId],
        bound: frozenset[int],
        lane_axis: int | None,
        stage_costs: Sequence[float],
    ) -> float:
        """Instructions of a nest: each value once a trip of the loops it depends on, plus the stages."""
        trips = [1.0]
        for axis in nest.order:
            extent = self.kernel.extents[axis]
            trips.append(trips[-1] * (math.ceil(extent / nest.lanes) if axis == nest.vector else extent))
        hardware = self.target.lanes(32)
        pieces = max(1.0, nest.lanes / hardware)
        total = 2.0 * trips[-1]
        for number in direct:
            needed = self.axes[number] - bound
            depth = next(d for d in range(len(nest.order) + 1) if needed <= set(nest.order[:d]) or d == len(nest.order))
            weight = self._weight(number)
            value = self.kernel.values[number]
            if lane_axis is not None and lane_axis in self.axes[number]:
                weight *= pieces
                if isinstance(value, Load):
                    weight *= self._spread(value.map, lane_axis)
                elif isinstance(value, Gather):
                    apart = lane_axis in self.axes[value.index]
                    weight *= hardware if apart else self._spread(value.map, lane_axis)
            total += weight * trips[depth]
        for store in nest.stores:
            apart = store.scatter is not None and lane_axis in self.axes[store.scatter.index]
            spread = hardware if apart else self._spread(store.map, lane_axis)
            total += trips[nest.depth_of(store)] * (1.5 * pieces * spread if lane_axis is not None else 1.5)
        total += sum(cost * trips[depth] for depth, cost in enumerate(stage_costs))
        if nest.reduces:
            total += len(nest.reduces) * trips[-1] * pieces
            if nest.vector is not None:
                total += len(nest.reduces) * 3.0 * math.log2(nest.lanes)
        return total

    def _spread(self, map_: Map, lane_axis: int | None) -> float:
        """Accesses a hardware vector takes."""
        if lane_axis is None or map_.coefficients[lane_axis] in (0, 1):
            return 1.0
        return 1.5 if map_.coefficients[lane_axis] == -1 else float(self.target.lanes(32))
