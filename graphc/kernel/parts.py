"""The part of a kernel that some of its stores need, over as few axes as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphc.kernel.loopir import Apply, Gather, Index, Kernel, Load, Map, Reduce, Scan, Store, Value, ValueId, operands


@dataclass(frozen=True)
class Part:
    """A kernel made of some stores of another one; parameters keep their numbers.

    Attributes:
        kernel: the part.
        values: for each of its values the number it had.
        axes: for each of its axes those it is made of, outermost first.
    """

    kernel: Kernel
    values: tuple[ValueId, ...]
    axes: tuple[tuple[int, ...], ...]


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


def roots_of(stores: Sequence[Store]) -> list[ValueId]:
    """The values that stores need."""
    return [store.value for store in stores] + [store.scatter.index for store in stores if store.scatter is not None]


def with_operands(value: Value, renamed: Sequence[ValueId] | dict[ValueId, ValueId]) -> Value:
    """The value computed from others of new numbers."""
    match value:
        case Apply():
            return replace(value, args=tuple(renamed[arg] for arg in value.args))
        case Gather():
            return replace(value, index=renamed[value.index])
        case Reduce() | Scan():
            return replace(value, arg=renamed[value.arg])
        case _:
            return value


def part_of(kernel: Kernel, stores: Sequence[Store]) -> Part:
    """What ``stores`` need: their values, and axes, of which those are merged that all maps walk as one."""
    numbers = closure(kernel, roots_of(stores))
    renamed = {number: position for position, number in enumerate(numbers)}
    values = [with_operands(kernel.values[number], renamed) for number in numbers]
    groups = _merged_axes(kernel.extents, values, stores)
    axis_of = {axis: position for position, group in enumerate(groups) for axis in group}

    def walked(map_: Map) -> Map:
        return Map(tuple(map_.coefficients[group[-1]] for group in groups), map_.offset)

    def renumbered(axes: Iterable[int]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(axis_of[axis] for axis in axes if axis in axis_of))

    def value_over(value: Value) -> Value:
        match value:
            case Load() | Gather() | Index():
                return replace(value, map=walked(value.map))
            case Reduce():
                return replace(value, axes=renumbered(value.axes))
            case Scan():
                return replace(value, axis=axis_of[value.axis])
            case _:
                return value

    def store_over(store: Store) -> Store:
        scatter = store.scatter
        if scatter is not None:
            scatter = replace(scatter, index=renamed[scatter.index])
        axes = renumbered(store.axes)
        return replace(store, map=walked(store.map), value=renamed[store.value], axes=axes, scatter=scatter)

    extents = tuple(math.prod(kernel.extents[axis] for axis in group) for group in groups)
    made = Kernel(kernel.params, extents, tuple(map(value_over, values)), tuple(map(store_over, stores)), kernel.name)
    return Part(made, tuple(numbers), tuple(map(tuple, groups)))


def _merged_axes(extents: Sequence[int], values: Sequence[Value], stores: Sequence[Store]) -> list[list[int]]:
    """The axes in use, in order, in groups of neighbours that are one axis to every map and every reduction."""
    maps = [store.map for store in stores]
    named = [frozenset(store.axes) for store in stores]
    alone: set[int] = set()
    for value in values:
        match value:
            case Load(map=map_) | Gather(map=map_) | Index(map=map_):
                maps.append(map_)
            case Reduce(combine=combine, axes=axes):
                named.append(frozenset(axes))
                if combine in ("argmax", "argmin"):
                    alone.update(axes)
            case Scan(axis=axis):
                alone.add(axis)
    used = set(alone).union(*named) | {axis for map_ in maps for axis, c in enumerate(map_.coefficients) if c}
    groups: list[list[int]] = []
    for axis in sorted(used):
        if (
            groups
            and axis not in alone
            and groups[-1][-1] not in alone
            and _joins(groups[-1][-1], axis, extents[axis], maps, named)
        ):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _joins(outer: int, inner: int, extent: int, maps: Sequence[Map], named: Sequence[frozenset[int]]) -> bool:
    if any((outer in axes) is not (inner in axes) for axes in named):
        return False
    return all(map_.coefficients[outer] == map_.coefficients[inner] * extent for map_ in maps)
