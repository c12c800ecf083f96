"""How a kernel is executed on a target: the order of loops, the axis in vector lanes, what is kept in scratch memory.

A schedule is a list of *steps*, each one loop nest.  A :class:`Nest` runs loops over ``order``; before the loops
deeper than some depth start, the reductions that belong there are computed by nests of their own (its ``stages``), so
that a softmax reads its row three times inside one loop over rows.  What cannot be placed without computing it again
and again (a scan, a reduction over other axes than those of the loops around it) is *materialised*: computed by an
earlier step into scratch memory and loaded from there.  Contractions are steps of their own kind, see
:mod:`graphc.kernel.tiling`, and so are products of one row, see :mod:`graphc.kernel.streaming`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from graphc.kernel.column_sums import with_rows
from graphc.kernel.kept import with_kept
from graphc.kernel.loopir import (
    Gather,
    Kernel,
    Load,
    Map,
    Param,
    Reduce,
    Scan,
    Store,
    Value,
    ValueId,
    operands,
    value_axes,
)
from graphc.kernel.nest import Nest
from graphc.kernel.nests import is_nested, plan_nest, plan_scan
from graphc.kernel.parts import Part, closure, part_of, roots_of, with_operands
from graphc.kernel.streaming import Streaming, plan_streaming
from graphc.kernel.target import Target
from graphc.kernel.tiling import Contraction, aligned, contraction_operands, plan_contraction

Plan = Nest | Contraction | Streaming
Missing = dict[ValueId, tuple[int, ...] | None]
"""Values to materialise, and the order of axes in scratch memory where it matters."""


@dataclass(frozen=True)
class Step:
    """The part of the kernel that is computed by one nest, and how."""

    kernel: Kernel
    plan: Plan


@dataclass(frozen=True)
class Schedule:
    """A kernel made ready for a target.

    Attributes:
        own_params: how many parameters the caller passes; the steps have one more for each materialised value.
        offsets: byte offset in scratch of each further parameter.
        steps: what runs, in order.
        working_offset: byte offset in scratch of the working memory that the steps share.
        scratch_bytes: scratch memory a call needs, not counting panels that its caller keeps.
    """

    own_params: int
    offsets: tuple[int, ...]
    steps: tuple[Step, ...]
    working_offset: int
    scratch_bytes: int

    @property
    def packed_bytes(self) -> tuple[int, ...]:
        """Bytes of the panels of each contraction whose caller keeps them, in step order."""
        plans = [step.plan for step in self.steps if isinstance(step.plan, Contraction)]
        return tuple(aligned(plan.panel_bytes) for plan in plans if plan.packing == "once")


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """All memory beside its arguments that a call of ``kernel`` needs: materialised values and packed operands."""
    schedule = schedule_kernel(kernel, target)
    return schedule.scratch_bytes + sum(schedule.packed_bytes)


def schedule_kernel(kernel: Kernel, target: Target, invariant: frozenset[int] = frozenset()) -> Schedule:
    """Choose loops, lanes and scratch; ``invariant`` are parameters that stay the same over many calls."""
    wanted: Missing = dict.fromkeys(_scans_with_users(kernel))
    while True:
        view = _materialise(kernel, wanted)
        steps: list[Step] = []
        missing: Missing = {}
        written: set[int] = set()
        for group in _joined_groups(view.kernel, view.scratch_stores, target):
            missing |= dict.fromkeys(view.origin[value] for value in _overwritten(view.kernel, group, written))
            written.update(store.param for store in group if store.param < len(kernel.params))
            part = part_of(view.kernel, group)
            plan = _plan_group(part, target, invariant)
            if isinstance(plan, dict):
                for value, order in plan.items():
                    axes = None if order is None else tuple(old for axis in order for old in part.axes[axis])
                    missing[view.origin[part.values[value]]] = axes
            else:
                steps.append(Step(part.kernel, plan))
        if not missing:
            break
        if missing.keys() <= wanted.keys():
            raise AssertionError(f"kernel {kernel.name} cannot be scheduled: {sorted(missing)}")
        wanted |= missing
    offsets, total = [], 0
    for param, size in zip(view.kernel.params[len(kernel.params) :], view.sizes, strict=True):
        offsets.append(total)
        total += aligned(size * param.dtype.itemsize)
    # Steps run one after another and share their working memory.
    working = max((step.plan.working_bytes for step in steps if not isinstance(step.plan, Streaming)), default=0)
    return Schedule(len(kernel.params), tuple(offsets), tuple(steps), total, total + working)


# -- materialised values ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _View:
    """The kernel with some values stored to and loaded from scratch parameters."""

    kernel: Kernel
    scratch_stores: int
    origin: list[ValueId] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def _scans_with_users(kernel: Kernel) -> set[ValueId]:
    """Scans that are more than the value of one store."""
    used: set[ValueId] = set()
    stored: list[ValueId] = [store.value for store in kernel.stores]
    for value in kernel.values:
        used.update(operands(value))
    used.update(store.scatter.index for store in kernel.stores if store.scatter is not None)
    return {
        number
        for number, value in enumerate(kernel.values)
        if isinstance(value, Scan) and (number in used or stored.count(number) != 1)
    }


def _materialise(kernel: Kernel, wanted: Missing) -> _View:
    axes_of = value_axes(kernel)
    params, values, stores = list(kernel.params), list[Value](), list[Store]()
    view = _View(kernel, len(wanted))
    renamed: list[ValueId] = []
    for number, value in enumerate(kernel.values):
        values.append(with_operands(value, renamed))
        view.origin.append(number)
        if number in wanted:
            order = wanted[number]
            axes = sorted(axes_of[number]) if order is None else order
            coefficients, size = [0] * len(kernel.extents), 1
            for axis in reversed(axes):
                coefficients[axis] = size
                size *= kernel.extents[axis]
            place = Map(tuple(coefficients))
            stores.append(Store(len(params), place, len(values) - 1, tuple(sorted(axes))))
            values.append(Load(len(params), place, value.dtype))
            view.origin.append(number)
            params.append(Param(value.dtype, "inout"))
            view.sizes.append(max(size, 1))
        renamed.append(len(values) - 1)
    for store in kernel.stores:
        scatter = store.scatter
        if scatter is not None:
            scatter = replace(scatter, index=renamed[scatter.index])
        stores.append(replace(store, value=renamed[store.value], scatter=scatter))
    view.kernel = replace(kernel, params=tuple(params), values=tuple(values), stores=tuple(stores))
    return view


# -- steps -----------------------------------------------------------------------------------------------------------


def _store_groups(kernel: Kernel, alone: int) -> Iterable[list[Store]]:
    """Stores that share a nest: neighbours over the same axes; the first ``alone`` ones fill scratch by themselves."""
    group: list[Store] = []
    for number, store in enumerate(kernel.stores):
        ordered = store.accumulate or store.scatter is not None or isinstance(kernel.values[store.value], Scan)
        if group and (number <= alone or ordered or store.axes != group[-1].axes or _is_ordered(group[-1])):
            yield group
            group = []
        group.append(store)
    if group:
        yield group


def _joined_groups(kernel: Kernel, alone: int, target: Target) -> list[list[Store]]:
    """Groups of stores, those joined that share reductions of the rows which their loops walk.

    What is stored once a row (a mean, say) and what is stored at every element (the row less its mean) need the same
    reduction, which would otherwise run twice.
    """
    groups: list[list[Store]] = []
    for number, group in enumerate(_store_groups(kernel, alone)):
        joined = next((other for other in groups[alone:] if _share_rows(kernel, other, group, target)), None)
        if number < alone or joined is None:
            groups.append(group)
        else:
            joined.extend(group)
    return groups


def _share_rows(kernel: Kernel, one: list[Store], other: list[Store], target: Target) -> bool:
    """Can one nest store both groups, some once a row and some at every element, with a reduction that both need?"""
    both = [*one, *other]
    over = sorted({frozenset(store.axes) for store in both}, key=len)
    if len(over) != 2 or not over[0] < over[1]:
        return False
    if any(_is_ordered(store) or isinstance(kernel.values[store.value], Scan) for store in both):
        return False
    axes = value_axes(kernel)
    needed = set(closure(kernel, roots_of(one))) & set(closure(kernel, roots_of(other)))
    if not any(isinstance(kernel.values[number], Reduce) and axes[number] == over[0] for number in needed):
        return False
    # What is stored once a row must not be read again behind that, where the elements of the row are computed.
    if _overwritten(kernel, both, {store.param for store in both if len(store.axes) == len(over[0])}):
        return False
    part = part_of(kernel, both).kernel
    if any(contraction_operands(part, number) for number in range(len(part.values))):
        return False
    planned = plan_nest(part, part.stores, target)
    return isinstance(planned, Nest) and is_nested(planned)


def _is_ordered(store: Store) -> bool:
    return store.accumulate or store.scatter is not None


def _plan_group(part: Part, target: Target, invariant: frozenset[int]) -> Plan | Missing:
    """The plan of a group of stores, or the values of its part that must be materialised first."""
    kernel, stores = part.kernel, list(part.kernel.stores)
    reached = range(len(kernel.values))
    reductions = {number for number in reached if isinstance(kernel.values[number], (Reduce, Scan))}
    if isinstance(kernel.values[stores[0].value], Scan):
        inner = reductions - {stores[0].value}
        return dict.fromkeys(sorted(inner)) if inner else plan_scan(kernel, stores, target)
    factors = {number: contraction_operands(kernel, number) for number in sorted(reductions)}
    contractions = {number: pair for number, pair in factors.items() if pair is not None}
    if not contractions:
        streamed = _plan_row(kernel, stores, reductions, target)
        if streamed is not None:
            return streamed
        planned = plan_nest(kernel, stores, target)
        if isinstance(planned, set):
            return dict.fromkeys(sorted(planned))
        return with_rows(kernel, with_kept(kernel, planned))
    inner = reductions & set(closure(kernel, (number for pair in contractions.values() for number in pair)))
    if inner:
        return dict.fromkeys(sorted(inner))
    (first, *others) = contractions
    pure = len(reductions) == 1 and value_axes(kernel)[first] == set(stores[0].axes) and not _is_ordered(stores[0])
    if others or not pure:
        return dict.fromkeys(contractions)
    return plan_contraction(kernel, first, stores, target, invariant)


def _plan_row(kernel: Kernel, stores: list[Store], reductions: set[ValueId], target: Target) -> Streaming | None:
    if len(reductions) != 1 or _is_ordered(stores[0]) or len({store.axes for store in stores}) > 1:
        return None
    (number,) = reductions
    if value_axes(kernel)[number] != set(stores[0].axes):
        return None
    return plan_streaming(kernel, number, stores, target)


def _overwritten(kernel: Kernel, stores: list[Store], written: set[int]) -> set[ValueId]:
    """Loads of a later step from memory that an earlier one has written: they must come first."""
    return {
        number
        for number in closure(kernel, roots_of(stores))
        for value in (kernel.values[number],)
        if isinstance(value, (Load, Gather)) and value.param in written
    }
