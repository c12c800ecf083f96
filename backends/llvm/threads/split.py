"""The ways in which a team can share a step of a kernel: along which axis, whether that is safe, and what it costs.

A step is cut along an axis of its results, never along one that is summed over, and in units that do not depend on the
number of threads.  A cut is safe where no two positions along the axis write to one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from graphc.backends.llvm.math.functions import LIBRARY_FUNCTIONS, LIMITED_FUNCTIONS, VECTOR_FUNCTIONS
from graphc.kernel.cost import kernel_cost
from graphc.kernel.loopir import Apply, Gather, Kernel, Load, Map, Store, value_axes
from graphc.kernel.nest import Nest
from graphc.kernel.schedule import Plan, Step
from graphc.kernel.streaming import Streaming
from graphc.kernel.target import Target
from graphc.kernel.tiling import Contraction, aligned, block_terms

BARRIER_CYCLES = 1000.0
"""What waiting for each other costs (0.05 µs on two cores that share a cache, 0.25 µs on others, and some patience)."""

_FUNCTIONS = {
    **dict.fromkeys((*VECTOR_FUNCTIONS, *LIMITED_FUNCTIONS), 20.0),
    **dict.fromkeys(LIBRARY_FUNCTIONS, 600.0),
    "atan2": 60.0,
    "pow": 80.0,
}
"""Instructions a vector of an elementary function."""

_BORDER_CYCLES = 250.0
"""What it costs where one member's places end and another's begin in memory that is written: prefetching runs on, into
lines that the other one has just written (measured on rank-one updates: a matrix cut by columns took 2.6 times as long
on two cores as on one)."""

_BYTES_A_CYCLE = 32.0

_TEAMS = ((2, 3.0), (3, 1.0), (4, 2.0), (8, 1.0))
"""Sizes of teams to divide well for, and how much each counts."""


@dataclass(frozen=True, slots=True)
class Split:
    """How a step is shared.

    Attributes:
        by: ``loop`` of a nest; of a contraction its ``rows`` (in tiles), its ``columns`` (in panels), or its ``outer``
            axis.
        depth: which loop of the nest.
    """

    by: Literal["loop", "outer", "rows", "columns"]
    depth: int = 0


EVERYONE = 0
"""Period of what every member touches."""

ALONE = -1
"""Period of what the first member alone touches."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a step.

    Attributes:
        split: how it is shared; None where the first member runs it alone.
        cycles: estimated time of the busiest member, over teams of several sizes.
        periods: for each parameter, after how many bytes it is the first member's turn again: of a period, member i of
            n has the i-th of n parts.  ``EVERYONE`` and ``ALONE`` are no periods.
    """

    split: Split | None
    cycles: float
    periods: tuple[int, ...]


def ways(step: Step, target: Target) -> tuple[Way, ...]:
    """All ways to run a step; the first one is that of the first member alone."""
    cycles = step_cycles(step, target)
    kernel, plan = step.kernel, step.plan
    found = [Way(None, cycles, (ALONE,) * len(kernel.params))]
    if _writes_its_own(kernel, plan.stores):
        if isinstance(plan, Contraction):
            found += _contraction_ways(kernel, plan, cycles)
        elif isinstance(plan, Streaming):
            found += _streaming_ways(kernel, plan, cycles)
        else:
            found += _nest_ways(kernel, plan, cycles)
    return tuple(found)


def private_bytes(plan: Plan, split: Split | None) -> int:
    """Working memory that each member needs for itself."""
    if split is None or isinstance(plan, Streaming):
        return 0
    if isinstance(plan, Contraction) and split.by != "outer":
        return aligned(plan.left_bytes)
    return plan.working_bytes


# -- cost ------------------------------------------------------------------------------------------------------------


def step_cycles(step: Step, target: Target) -> float:
    """Estimated cycles of a step: its instructions or its memory traffic, whichever takes longer."""
    cost = kernel_cost(step.kernel)
    lanes = 1 if isinstance(step.plan, Nest) and not _is_vectorised(step.plan) else target.lanes(32)
    return max((cost.slots + _function_slots(step.kernel)) / lanes, (cost.read + cost.written) / _BYTES_A_CYCLE)


def pack_cycles(nbytes: int) -> float:
    """Estimated cycles to pack an operand."""
    return 2.0 * nbytes / _BYTES_A_CYCLE


def _function_slots(kernel: Kernel) -> float:
    """What elementary functions take, in instructions on one element."""
    axes = value_axes(kernel)
    return sum(
        _FUNCTIONS.get(value.op, 0.0) * math.prod(kernel.extents[axis] for axis in axes[number])
        for number, value in enumerate(kernel.values)
        if isinstance(value, Apply)
    )


def _is_vectorised(nest: Nest) -> bool:
    pending = [nest]
    while pending:
        inner = pending.pop()
        if inner.vector is not None:
            return True
        pending += [stage for stages in inner.stages for stage in stages]
    return False


def _shared(cycles: float, count: int, size: int) -> float:
    """Estimated time of two members for ``count`` positions in units of ``size``, a barrier included.

    How much longer the busiest member works than it would if all had equal parts counts over teams of several sizes.
    """
    units = -(-count // size)
    total = 0.0
    for members, weight in _TEAMS:
        borders = [min(count, units * member // members * size) for member in range(members + 1)]
        total += weight * members * max(after - before for before, after in pairwise(borders)) / count
    return cycles / 2 * total / sum(weight for _, weight in _TEAMS) + BARRIER_CYCLES


# -- ways ------------------------------------------------------------------------------------------------------------


def _nest_ways(kernel: Kernel, nest: Nest, cycles: float) -> Iterator[Way]:
    """Its loops outside of all reductions."""
    for depth, axis in enumerate(nest.order):
        if nest.stages[depth] or (nest.scan is not None and depth == len(nest.order) - 1):
            return
        if all(_is_apart(kernel, store, axis) for store in nest.stores):
            time = _shared(cycles, kernel.extents[axis], nest.lanes if axis == nest.vector else 1)
            time += _borders(kernel, nest.stores, axis) * _BORDER_CYCLES
            yield Way(Split("loop", depth), time, _periods(kernel, (axis,)))


def _contraction_ways(kernel: Kernel, plan: Contraction, cycles: float) -> Iterator[Way]:
    if not all(_is_injective(kernel, store) for store in plan.stores):
        return
    extents = kernel.extents
    rows = math.prod(extents[axis] for axis in plan.rows)
    repeats = math.prod(extents[axis] for axis in plan.outer)
    depth_blocks = -(-extents[plan.depth[0]] // plan.depth_block) if plan.depth_block else 1
    time = _shared(cycles, rows, plan.tile_rows)
    # Panels that all members need are packed together, with a barrier before and one behind.
    time += 2 * repeats * depth_blocks * BARRIER_CYCLES * (plan.packing == "block")
    time += depth_blocks * _borders(kernel, plan.stores, plan.rows[0]) * _BORDER_CYCLES
    yield Way(Split("rows"), time, _periods(kernel, plan.rows))
    time = _shared(cycles, extents[plan.column], plan.tile_vectors * plan.lanes)
    time += depth_blocks * _borders(kernel, plan.stores, plan.column) * _BORDER_CYCLES
    if plan.left_bytes:
        # Each member packs all rows for itself, an element a cycle.
        time += repeats * rows * depth_blocks * block_terms(plan, extents) / 2
    yield Way(Split("columns"), time, _periods(kernel, (plan.column,)))
    if plan.outer:
        yield Way(Split("outer"), _shared(cycles, extents[plan.outer[0]], 1), _periods(kernel, plan.outer[:1]))


def _streaming_ways(kernel: Kernel, plan: Streaming, cycles: float) -> Iterator[Way]:
    """Its columns, in vectors; whoever has a column adds up all of it."""
    if all(_is_injective(kernel, store) for store in plan.stores):
        time = _shared(cycles, min(plan.chunk, kernel.extents[plan.column]), plan.lanes)
        time += _borders(kernel, plan.stores, plan.column) * _BORDER_CYCLES
        yield Way(Split("columns"), time, _periods(kernel, (plan.column,)))


def _borders(kernel: Kernel, stores: Iterable[Store], axis: int) -> int:
    """How often two members' places meet in what is written: once for each position along axes of larger steps."""
    return sum(
        math.prod(
            kernel.extents[other]
            for other in store.axes
            if abs(store.map.coefficients[other]) > abs(store.map.coefficients[axis])
        )
        for store in stores
    )


def _periods(kernel: Kernel, axes: Sequence[int]) -> tuple[int, ...]:
    """The period of each parameter where a step is cut along axes that are walked as one."""
    found: list[set[int]] = [set() for _ in kernel.params]
    for param, map_ in _accesses(kernel):
        outer = next((axis for axis in axes if map_.coefficients[axis]), None)
        size = kernel.params[param].dtype.itemsize
        found[param].add(0 if outer is None else abs(map_.coefficients[outer]) * kernel.extents[outer] * size)
    return tuple(min(periods) if len(periods) == 1 else EVERYONE for periods in found)


def _accesses(kernel: Kernel) -> Iterator[tuple[int, Map]]:
    for value in kernel.values:
        if isinstance(value, (Load, Gather)):
            yield value.param, value.map
    for store in kernel.stores:
        yield store.param, store.map


# -- safety ----------------------------------------------------------------------------------------------------------


def _is_apart(kernel: Kernel, store: Store, axis: int) -> bool:
    """No two positions along ``axis`` write to one place, wherever they are along the other axes.

    With c the coefficient of the axis, let the axes of smaller coefficients reach r < c elements far, and let all
    larger coefficients (and the stride of an index from the data) be multiples of g > c·(extent-1) + r: then the place
    modulo g tells the position.
    """
    coefficients = store.map.coefficients
    own = abs(coefficients[axis])
    if not own or axis not in store.axes:
        return False
    reach, common = 0, 0
    for other in store.axes:
        factor = abs(coefficients[other])
        if other == axis or not factor:
            continue
        if factor > own:
            common = math.gcd(common, factor)
        else:
            reach += factor * (kernel.extents[other] - 1)
    if store.scatter is not None:
        if axis in value_axes(kernel)[store.scatter.index] or store.scatter.stride <= own:
            return False
        common = math.gcd(common, store.scatter.stride)
    return reach < own and (not common or own * (kernel.extents[axis] - 1) + reach < common)


def _is_injective(kernel: Kernel, store: Store) -> bool:
    """No two positions of the domain write to one place."""
    if store.scatter is not None or store.accumulate:
        return False
    reach = 0
    for factor, extent in sorted((abs(store.map.coefficients[axis]), kernel.extents[axis]) for axis in store.axes):
        if factor <= reach:
            return False
        reach += factor * (extent - 1)
    return True


def _writes_its_own(kernel: Kernel, stores: Iterable[Store]) -> bool:
    """Each store has a parameter of its own, of which nothing is read but at the very place that is written."""
    stores = tuple(stores)
    places = {store.param: store.map for store in stores}
    reads = [value for value in kernel.values if isinstance(value, (Load, Gather)) and value.param in places]
    return len(places) == len(stores) and all(
        isinstance(value, Load) and value.map == places[value.param] for value in reads
    )
