"""The last step of ``fuse``: groups that walk the same rows become one, however many reductions of a row they hold.

Layer normalization is five groups: a mean, what is left without it, a mean of squares, a quotient, and its derivative
is five more.  Each of them reads and writes all rows; as one kernel they finish a row while it lies in the first-level
cache, and what passes between them is computed again rather than stored, where it is a few simple instructions.
Exponentials of a row are kept in memory of one row (:mod:`graphc.kernel.kept`): a softmax is one kernel, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ops.simple import MOST_KEPT_BYTES, SIMPLE_OPS, SLOW_OPS
from graphc.passes.fuse_groups import REDUCTIONS, Group

_SHORTEST, _LONGEST = 64, 1 << 16
"""Elements of a row: a shorter one is less than a few vectors, of a longer one little stays in the cache."""

_SLOW_WEIGHT = 4
_MOST_AGAIN = 20
"""Instructions an element that may be computed again in place of a store and a load."""

_FURTHEST = 500
"""Nodes that are looked at for a way around two groups: beyond them there might be one."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """How a group walks memory: the shape of what it walks, and how many trailing axes make a row (0: any)."""

    shape: tuple[int, ...]
    trailing: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a value of which each row has one."""
        return (*self.shape[: len(self.shape) - self.trailing], *(1,) * self.trailing)

    @property
    def row_size(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape[len(self.shape) - self.trailing :])


def join_rows(graph: Graph, groups: dict[Node, Group], readers: Mapping[Node, Sequence[Node]], cap: int) -> None:
    """Join groups of ``graph`` in place; ``readers`` are those of each node, ``cap`` is the most members of a group."""
    joiner = _Joiner(graph, groups, readers, cap)
    distinct = {id(group): group for group in groups.values()}
    before = [(group, group.members, group.anchored) for group in distinct.values()]
    for group in sorted(distinct.values(), key=lambda group: group.level):
        if group.members:
            joiner.absorb(group)
    if joiner.joined and not _is_acyclic(graph, groups, readers):
        # A way around two groups led through one that reaches beyond both: such a graph keeps the groups it had.
        for group, members, anchored in before:
            group.members, group.anchored = members, anchored
            groups.update(dict.fromkeys(members, group))


def _is_acyclic(graph: Graph, groups: Mapping[Node, Group], readers: Mapping[Node, Sequence[Node]]) -> bool:
    """Can the groups run one after the other?"""
    unit_of: dict[Node, Hashable] = {node: groups.get(node, node) for node in graph.nodes}
    followers: dict[Hashable, set[Hashable]] = {unit: set() for unit in unit_of.values()}
    for node, unit in unit_of.items():
        followers[unit].update(unit_of[reader] for reader in readers[node] if unit_of[reader] is not unit)
    waiting = Counter(follower for found in followers.values() for follower in found)
    ready = [unit for unit in followers if not waiting[unit]]
    placed = 0
    while ready:
        placed += 1
        for follower in followers[ready.pop()]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return placed == len(followers)


class _Joiner:
    """Joins each group with those it reads."""

    def __init__(
        self, graph: Graph, groups: dict[Node, Group], readers: Mapping[Node, Sequence[Node]], cap: int
    ) -> None:
        self.groups = groups
        self.readers = readers
        self.cap = cap
        self.joined = False
        self.roots = set(graph.roots)
        self.position = {node: index for index, node in enumerate(graph.nodes)}

    def absorb(self, group: Group) -> None:
        """Join a group with those it reads, as long as there is one that fits."""
        while True:
            walk = _walk(group.members)
            source = (
                None if walk is None else next((s for s in self._sources(group) if self._fits(s, group, walk)), None)
            )
            if source is None:
                return
            group.members = sorted((*source.members, *group.members), key=self.position.__getitem__)
            group.anchored = self.joined = True
            self.groups.update(dict.fromkeys(source.members, group))
            source.members = []

    def _sources(self, group: Group) -> list[Group]:
        """The groups that a group reads, the last one first."""
        read = {operand for member in group.members for operand in member.inputs}
        found = {id(other): other for node in read if (other := self.groups.get(node)) not in (None, group)}
        return sorted(found.values(), key=lambda other: -self.position[other.members[-1]])

    def _fits(self, source: Group, group: Group, walk: _Walk) -> bool:
        other = _walk(source.members)
        if other is None or len(source.members) + len(group.members) > self.cap:
            return False
        joined = _common(walk, other)
        if joined is None:
            return False
        if not _SHORTEST <= joined.row_size <= _LONGEST:
            return False
        members = sorted((*source.members, *group.members), key=self.position.__getitem__)
        return self._is_cheap(members, joined) and not self._is_way_around(source, group)

    def _is_cheap(self, members: Sequence[Node], walk: _Walk) -> bool:
        """Is what several walks over a row need no more than a few instructions, or loads of what fits a cache?

        A walk reduces, or it stores: each reduction stands behind those that its operand depends on.
        """
        inside = set(members)
        after: dict[Node, int] = {}
        walks: dict[Node, set[int]] = {member: set() for member in members}
        for member in members:
            after[member] = max((after[operand] for operand in member.inputs if operand in inside), default=0)
            after[member] += member.op.name in REDUCTIONS
        last = max(after.values()) + 1
        again, kept = 0, 0
        for member in reversed(members):
            if member in self.roots or any(reader not in inside for reader in self.readers[member]):
                walks[member].add(last)
            is_again = member.shape == walk.shape and member.op.name not in REDUCTIONS and len(walks[member]) > 1
            if is_again and member.op.name not in SIMPLE_OPS:
                # The first of its walks keeps it for the others.
                kept += walk.row_size * member.dtype.itemsize
                again += len(walks[member])
                walks[member] = {min(walks[member])}
            elif is_again:
                again += (len(walks[member]) - 1) * (_SLOW_WEIGHT if member.op.name in SLOW_OPS else 1)
            for operand in member.inputs:
                if operand in inside:
                    walks[operand] |= {after[member]} if member.op.name in REDUCTIONS else walks[member]
        return again <= _MOST_AGAIN and kept <= MOST_KEPT_BYTES

    def _is_way_around(self, source: Group, group: Group) -> bool:
        """Does the group depend on its source by way of other nodes as well?  They would form a circle."""
        end = self.position[group.members[-1]]
        inside = {*source.members, *group.members}
        goal = set(group.members)
        seen: set[Node] = set()
        pending = self._beyond(source.members, inside, end)
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            unit = self.groups.get(node)
            members = [node] if unit is None else unit.members
            seen.update(members)
            if len(seen) > _FURTHEST:
                return True
            if any(reader in goal for member in members for reader in self.readers[member]):
                return True
            pending += self._beyond(members, seen, end)
        return False

    def _beyond(self, members: Iterable[Node], known: set[Node], end: int) -> list[Node]:
        """Readers of ``members`` that are not known yet and stand before ``end``."""
        return [
            reader
            for member in members
            for reader in self.readers[member]
            if reader not in known and self.position[reader] < end
        ]


def _walk(members: Sequence[Node]) -> _Walk | None:
    """How a group walks memory; None where it is no walk by rows."""
    shape, trailing = members[0].tensor.static_shape, 0
    for member in members:
        if member.op.kind is OpKind.CONTRACTION:
            return None
        if member.op.name in REDUCTIONS:
            operand, axes = member.inputs[0], member.attrs["axes"]
            own = operand.rank - axes[0] if axes else 0
            if (
                not axes
                or tuple(axes) != tuple(range(operand.rank - own, operand.rank))
                or not member.attrs["keepdims"]
            ):
                return None
            if trailing and (own, operand.shape) != (trailing, shape):
                return None
            shape, trailing = operand.tensor.static_shape, own
    walk = _Walk(shape, trailing)
    allowed = {walk.shape, walk.row_shape}
    if any(member.shape not in allowed for member in members):
        return None
    if any(o.op.name == "transpose" and o.shape == walk.shape for member in members for o in member.inputs):
        return None
    return walk


def _common(one: _Walk, other: _Walk) -> _Walk | None:
    """The walk of two groups as one."""
    if one.trailing and other.trailing:
        return one if one == other else None
    by_rows, pointwise = (one, other) if one.trailing else (other, one)
    if not by_rows.trailing or pointwise.shape not in (by_rows.shape, by_rows.row_shape):
        return None
    return by_rows
