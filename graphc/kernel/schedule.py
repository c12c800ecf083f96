"""How a kernel is executed on a target: the order of loops, the axis in vector lanes, what is kept in scratch memory.

A schedule is a list of *steps*, each one loop nest.  A :class:`Nest` runs loops over ``order``; before the loops
deeper than some depth start, the reductions that belong there are computed by nests of their own (its ``stages``), so
that a softmax reads its row three times inside one loop over rows.  What cannot be placed without computing it again
and again (a scan, a reduction over other axes than those of the loops around it) is *materialised*: computed by an
earlier step into scratch memory and loaded from there.  Contractions are steps of their own kind, see
:mod:`graphc.kernel.tiling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from graphc.kernel.loopir import (
    Apply,
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
from graphc.kernel.nests import Nest, plan_nest, plan_scan
from graphc.kernel.target import Target
from graphc.kernel.tiling import Contraction, aligned, contraction_operands, plan_contraction

Step = Nest | Contraction


@dataclass(frozen=True)
class Schedule:
    """A kernel made ready for a target.

    Attributes:
        kernel: the kernel with one more parameter for each materialised value, after its own parameters.
        own_params: how many parameters the caller passes.
        offsets: byte offset in scratch of each further parameter.
        steps: what runs, in order.
        working_offset: byte offset in scratch of the working memory that the steps share.
        scratch_bytes: scratch memory a call needs, not counting panels that its caller keeps.
    """

    kernel: Kernel
    own_params: int
    offsets: tuple[int, ...]
    steps: tuple[Step, ...]
    working_offset: int
    scratch_bytes: int

    @property
    def packed_bytes(self) -> tuple[int, ...]:
        """Bytes of the panels of each contraction whose caller keeps them, in step order."""
        steps = [step for step in self.steps if isinstance(step, Contraction) and step.packing == "once"]
        return tuple(aligned(step.panel_bytes) for step in steps)


def scratch_bytes(kernel: Kernel, target: Target) -> int:
    """All memory beside its arguments that a call of ``kernel`` needs: materialised values and packed operands."""
    schedule = schedule_kernel(kernel, target)
    return schedule.scratch_bytes + sum(schedule.packed_bytes)


def schedule_kernel(kernel: Kernel, target: Target, invariant: frozenset[int] = frozenset()) -> Schedule:
    """Choose loops, lanes and scratch; ``invariant`` are parameters that stay the same over many calls."""
    wanted: set[ValueId] = _scans_with_users(kernel)
    while True:
        view = _materialise(kernel, wanted)
        steps: list[Step] = []
        missing: set[ValueId] = set()
        written: set[int] = set()
        for group in _store_groups(view.kernel, view.scratch_stores):
            missing |= _overwritten(view.kernel, group, written)
            written.update(store.param for store in group if store.param < len(kernel.params))
            step = _plan_group(view.kernel, group, target, invariant)
            if isinstance(step, set):
                missing |= step
            else:
                steps.append(step)
        if not missing:
            break
        new = {view.origin[value] for value in missing} - wanted
        if not new:
            raise AssertionError(f"kernel {kernel.name} cannot be scheduled: {sorted(missing)}")
        wanted |= new
    offsets, total = [], 0
    for param, size in zip(view.kernel.params[len(kernel.params) :], view.sizes, strict=True):
        offsets.append(total)
        total += aligned(size * param.dtype.itemsize)
    # Steps run one after another and share their working memory.
    working = max((step.working_bytes for step in steps if isinstance(step, Contraction)), default=0)
    return Schedule(view.kernel, len(kernel.params), tuple(offsets), tuple(steps), total, total + working)


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


def _materialise(kernel: Kernel, wanted: set[ValueId]) -> _View:
    axes_of = value_axes(kernel)
    params, values, stores = list(kernel.params), list[Value](), list[Store]()
    view = _View(kernel, len(wanted))
    renamed: list[ValueId] = []
    for number, value in enumerate(kernel.values):
        values.append(_with_operands(value, renamed))
        view.origin.append(number)
        if number in wanted:
            axes = sorted(axes_of[number])
            coefficients, size = [0] * len(kernel.extents), 1
            for axis in reversed(axes):
                coefficients[axis] = size
                size *= kernel.extents[axis]
            place = Map(tuple(coefficients))
            stores.append(Store(len(params), place, len(values) - 1, tuple(axes)))
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


def _with_operands(value: Value, renamed: Sequence[ValueId]) -> Value:
    match value:
        case Apply():
            return replace(value, args=tuple(renamed[arg] for arg in value.args))
        case Gather():
            return replace(value, index=renamed[value.index])
        case Reduce() | Scan():
            return replace(value, arg=renamed[value.arg])
        case _:
            return value


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


def _is_ordered(store: Store) -> bool:
    return store.accumulate or store.scatter is not None


def _plan_group(kernel: Kernel, stores: list[Store], target: Target, invariant: frozenset[int]) -> Step | set[ValueId]:
    """The step for a group of stores, or the values that must be materialised first."""
    roots = _roots(stores)
    reached = closure(kernel, roots)
    reductions = [number for number in reached if isinstance(kernel.values[number], (Reduce, Scan))]
    if isinstance(kernel.values[stores[0].value], Scan):
        inner = {number for number in reductions if number != stores[0].value}
        return inner or plan_scan(kernel, stores, target)
    contractions = [number for number in reductions if contraction_operands(kernel, number) is not None]
    if contractions:
        axes = value_axes(kernel)
        pure = len(reductions) == 1 and axes[contractions[0]] == set(stores[0].axes) and not _is_ordered(stores[0])
        if not pure:
            return set(contractions)
        return plan_contraction(kernel, contractions[0], stores, target, invariant)
    return plan_nest(kernel, stores, target)


def _overwritten(kernel: Kernel, stores: list[Store], written: set[int]) -> set[ValueId]:
    """Loads of a later step from memory that an earlier one has written: they must come first."""
    return {
        number
        for number in closure(kernel, _roots(stores))
        for value in (kernel.values[number],)
        if isinstance(value, (Load, Gather)) and value.param in written
    }


def _roots(stores: Sequence[Store]) -> list[ValueId]:
    return [store.value for store in stores] + [store.scatter.index for store in stores if store.scatter is not None]


def closure(kernel: Kernel, roots: Iterable[ValueId]) -> list[ValueId]:
    """All values that ``roots`` are computed from, themselves included, in order."""
    reached: set[ValueId] = set()
    pending = list(roots)
    while pending:
        number = pending.pop()
        if number not in reached:
            reached.add(number)
            pending.extend(operands(kernel.values[number]))
    return sorted(reached)
