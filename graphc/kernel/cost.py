"""What a kernel has to do at least: arithmetic, instructions, memory traffic; and the least time that takes.

Counts follow from the meaning (:mod:`graphc.kernel.loopir`) and not from a schedule: they are what no schedule can
save.  The least time is the roofline of Williams, Waterman and Patterson (*Roofline: an insightful visual performance
model*, 2009), with a roof for reading and one for writing at each level of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from graphc.kernel.loopir import (
    AnyKernel,
    Apply,
    Gather,
    Intrinsic,
    Kernel,
    Load,
    Map,
    Reduce,
    Scan,
    ValueId,
    operands,
    value_axes,
)
from graphc.kernel.program import Call, Copy, Entry, Loop, Program, Ref, Step

Counts = Mapping[str, float]
"""Op → instructions that its code takes for one element."""

_PRODUCTS: Counts = {"multiply": 1.0, "square": 1.0}

_NO_ARITHMETIC = frozenset({"cast", "select"})
"""Pointwise ops that give floats and compute none."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a kernel takes at least.

    Attributes:
        flops: additions, multiplications, ... of floats; an elementary function counts as one.
        slots: instructions, each on one element of 32 bits; an element of 64 bits takes two.
        products: those of them that multiply, which fewer units can do.
        read, written: bytes, each element once however often it is needed.
    """

    flops: int = 0
    slots: float = 0.0
    products: float = 0.0
    read: int = 0
    written: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def times(self, runs: int) -> Cost:
        """The cost of several runs."""
        return Cost(*(part * runs for part in astuple(self)))


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the memory: how many bytes it holds, and bytes a second."""

    nbytes: float
    read: float
    write: float


@dataclass(frozen=True)
class Machine:
    """What one core can do at most, as measured.

    Attributes:
        flops: float32 operations a second with fused multiply-add, which does two at once.
        slots: instructions a second, each on one float32, where half of them only add.
        levels: of the memory, the smallest first; the last one holds everything.
        instructions: op → instructions, where they are not one.
        products: op → those of them that multiply, where there are any; but for multiplications themselves.
    """

    flops: float
    slots: float
    levels: tuple[Level, ...]
    instructions: Counts
    products: Counts

    def level(self, working_set: int) -> Level:
        """The smallest level that holds so many bytes."""
        return next((level for level in self.levels if working_set <= level.nbytes), self.levels[-1])

    def least_seconds(self, cost: Cost, working_set: int) -> tuple[float, str]:
        """The least time for a cost, and what takes it: ``arithmetic``, ``reading`` or ``writing``."""
        level = self.level(working_set)
        times = {
            "arithmetic": max(2 * cost.products / self.flops, cost.slots / self.slots),
            "reading": cost.read / level.read,
            "writing": cost.written / level.write,
        }
        slowest = max(times, key=lambda what: times[what])
        return times[slowest], slowest


def kernel_cost(kernel: AnyKernel, instructions: Counts | None = None, products: Counts | None = None) -> Cost:
    """What one run of a kernel takes at least.

    Args:
        kernel: a kernel.
        instructions: as in :class:`Machine`; one an op where it is not known better.
        products: as in :class:`Machine`.
    """
    traffic = kernel_traffic(kernel)
    if isinstance(kernel, Intrinsic):
        arithmetic = (0, _intrinsic_slots(kernel), 0.0)
    else:
        arithmetic = _arithmetic(kernel, instructions or {}, {**(products or {}), **_PRODUCTS})
    return Cost(*arithmetic, sum(read for read, _ in traffic), sum(written for _, written in traffic))


def entry_cost(program: Program, entry: Entry) -> Cost:
    """What one run of an entry point takes at least, in the kernels that it is made of; an op is one instruction."""
    costs = [kernel_cost(kernel) for kernel in program.kernels]
    total = Cost()
    for step, runs, _ in calls_with_working_sets(program, entry):
        total += (costs[step.kernel] if isinstance(step, Call) else copy_cost(entry, step)).times(runs)
    return total


def copy_cost(entry: Entry, step: Copy) -> Cost:
    """What a copy takes."""
    nbytes = step.size * entry.buffers[step.source.buffer].dtype.itemsize
    return Cost(read=nbytes, written=nbytes)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _arithmetic(kernel: Kernel, instructions: Counts, products: Counts) -> tuple[int, float, float]:
    """Operations, slots and products of a kernel; a product and the sum it goes into are one instruction."""
    axes = value_axes(kernel)
    fused = _fused_products(kernel)
    flops, slots, multiplying = 0, 0.0, 0.0
    for number, value in enumerate(kernel.values):
        if isinstance(value, Apply):
            count = _points(kernel, axes[number])
            is_arithmetic = value.dtype.is_float and value.op not in _NO_ARITHMETIC
            taken = 0.0 if number in fused else instructions.get(value.op, 1.0)
            of_products = products.get(value.op, 0.0)
        elif isinstance(value, (Reduce, Scan)):
            count = _points(kernel, axes[value.arg])
            is_arithmetic = value.dtype.is_float
            taken, of_products = 1.0, 0.0
        else:
            continue
        flops += count * is_arithmetic
        width = max(value.dtype.bits, 32) / 32
        slots += count * taken * width
        multiplying += count * of_products * width
    return flops, slots, multiplying


def _fused_products(kernel: Kernel) -> set[ValueId]:
    """Products that a fused multiply-add computes together with the one sum that they are part of."""
    readers: dict[ValueId, list[int]] = {}
    for number, value in enumerate(kernel.values):
        for operand in operands(value):
            readers.setdefault(operand, []).append(number)
    stored = {store.value for store in kernel.stores}
    found: set[ValueId] = set()
    taken: set[int] = set()
    for number, value in enumerate(kernel.values):
        if not (isinstance(value, Apply) and value.op == "multiply" and value.dtype.is_float) or number in stored:
            continue
        reading = readers.get(number, [])
        if len(reading) != 1 or reading[0] in taken:
            continue
        user = kernel.values[reading[0]]
        adds = isinstance(user, Apply) and user.op in ("add", "subtract")
        if adds or (isinstance(user, Reduce) and user.combine == "sum"):
            found.add(number)
            taken.add(reading[0])
    return found


def _points(kernel: Kernel, axes: frozenset[int]) -> int:
    return math.prod(kernel.extents[axis] for axis in axes)


# -- traffic -----------------------------------------------------------------------------------------------------------


def kernel_traffic(kernel: AnyKernel) -> tuple[tuple[int, int], ...]:
    """For each parameter the bytes that are read and written."""
    if isinstance(kernel, Intrinsic):
        count = math.prod(kernel.sizes[:3]) if kernel.intrinsic == "argsort" else kernel.sizes[0]
        sizes = [count * param.dtype.itemsize for param in kernel.params]
        return tuple((n * (p.mode == "in"), n * (p.mode != "in")) for n, p in zip(sizes, kernel.params, strict=True))
    axes = value_axes(kernel)
    reads: list[dict[Map, float]] = [{} for _ in kernel.params]
    writes = [0] * len(kernel.params)
    for number, value in enumerate(kernel.values):
        if isinstance(value, Load):
            reads[value.param][value.map] = _elements(kernel, value.map)
        elif isinstance(value, Gather):
            reads[value.param][value.map] = _points(kernel, axes[number])
    gathered = {value.param for value in kernel.values if isinstance(value, Gather)}
    for store in kernel.stores:
        scattered = store.scatter is not None
        count = _points(kernel, frozenset(store.axes)) if scattered else _elements(kernel, store.map)
        writes[store.param] += count
        if store.accumulate:
            reads[store.param][store.map] = count
            gathered.update({store.param} if scattered else ())
    found = []
    for number, (param, maps) in enumerate(zip(kernel.params, reads, strict=True)):
        # Loads at several places may overlap; only of gathered elements it is not known where they lie.
        count = int(sum(maps.values()))
        if maps and number not in gathered:
            count = min(count, _span(kernel, maps))
        found.append((count * param.dtype.itemsize, writes[number] * param.dtype.itemsize))
    return tuple(found)


def _elements(kernel: Kernel, map_: Map) -> int:
    """Most different elements that a map reaches."""
    moving = [extent for factor, extent in zip(map_.coefficients, kernel.extents, strict=True) if factor]
    return min(math.prod(moving), _span(kernel, [map_]))


def _span(kernel: Kernel, maps: Iterable[Map]) -> int:
    """Elements between the first and the last one that some maps reach."""
    lows, highs = [], []
    for map_ in maps:
        steps = [factor * (extent - 1) for factor, extent in zip(map_.coefficients, kernel.extents, strict=True)]
        lows.append(map_.offset + sum(step for step in steps if step < 0))
        highs.append(map_.offset + sum(step for step in steps if step > 0))
    return max(highs) - min(lows) + 1


def _intrinsic_slots(kernel: Intrinsic) -> float:
    """Two instructions a comparison: one for each index, one for each element and level of a merge sort."""
    if kernel.intrinsic == "check_index":
        return 2.0 * kernel.sizes[0]
    outer, length, inner, _ = kernel.sizes
    return 2.0 * outer * length * inner * max(1, math.ceil(math.log2(max(length, 2))))


# -- working sets ------------------------------------------------------------------------------------------------------


def calls_with_working_sets(program: Program, entry: Entry) -> Iterator[tuple[Call | Copy, int, int]]:
    """Every call and copy of an entry, how often it runs, and the bytes touched between one run of it and the next."""
    traffic = [kernel_traffic(kernel) for kernel in program.kernels]
    pending: list[tuple[Sequence[Step], int, int]] = [(entry.steps, 1, 0)]
    while pending:
        steps, runs, depth = pending.pop()
        working_set = _touched(entry, steps, traffic, depth)
        for step in steps:
            if isinstance(step, Loop):
                pending.append((step.body, runs * step.trips, depth + 1))
            else:
                yield step, runs, working_set


def _touched(entry: Entry, steps: Sequence[Step], traffic: Sequence[Sequence[tuple[int, int]]], depth: int) -> int:
    """Bytes that one run of ``steps``, which stand inside of ``depth`` loops, touches."""
    touched: dict[int, int] = {}

    def touch(ref: Ref, nbytes: int, trips: Sequence[int]) -> None:
        # What moves along with a loop touches another place each trip.
        strides = ref.strides[depth : depth + len(trips)]
        places = math.prod(count for count, stride in zip(trips, strides, strict=False) if stride)
        touched[ref.buffer] = min(touched.get(ref.buffer, 0) + nbytes * places, entry.buffers[ref.buffer].nbytes)

    pending: list[tuple[Sequence[Step], tuple[int, ...]]] = [(steps, ())]
    while pending:
        inner, trips = pending.pop()
        for step in inner:
            if isinstance(step, Loop):
                pending.append((step.body, (*trips, step.trips)))
            elif isinstance(step, Copy):
                nbytes = step.size * entry.buffers[step.source.buffer].dtype.itemsize
                touch(step.target, nbytes, trips)
                touch(step.source, nbytes, trips)
            else:
                for ref, (read, written) in zip(step.args, traffic[step.kernel], strict=True):
                    touch(ref, max(read, written), trips)
    return sum(touched.values())
