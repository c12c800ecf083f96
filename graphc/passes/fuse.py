"""fuse: draws the borders of kernels.

A group is a set of pointwise nodes over one shape with at most one *anchor* (a reduction or a contraction) in it:
pointwise work before a reduction is its prologue, pointwise work on the anchor's result its epilogue.  A group becomes
one ``fused`` node whose body is one kernel.

Groups must not depend on each other in a circle.  Every group has a level, one more than the highest level among the
groups it reads when it is opened, and a node may join a group only if all it reads from outside has a lower level: then
every edge between groups goes up.  Groups of one level that read the same values are joined,
and in the end those that walk the same rows, with all their reductions (:mod:`graphc.passes.fuse_rows`).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import users
from graphc.ir.types import TensorType
from graphc.passes.base import Pass, map_regions
from graphc.passes.fuse_groups import ANCHORS, REDUCTIONS, Group, join_siblings, place_kernel
from graphc.passes.fuse_order import unit_keys
from graphc.passes.fuse_rows import join_rows


@dataclass(frozen=True)
class Fuse(Pass):
    """Group pointwise nodes with each other and with one reduction or contraction.

    Attributes:
        cap: members a group may have: LLVM's cost grows faster than the size of a function.
        budget: nodes that all *different* groups may have together.  A graph of 100,000 nodes without a loop would
            otherwise become thousands of kernels that each run once; beyond the budget nodes stay single, and single
            nodes share a few dozen kernels.
    """

    name: ClassVar[str] = "fuse"
    cap: int = 200
    budget: int = 6000

    def run(self, graph: Graph) -> Graph:
        """The graph with groups of two or more nodes as ``fused`` nodes."""
        budget = _Budget(self.budget)
        return map_regions(graph, lambda region: self._run_region(region, budget))

    def _run_region(self, graph: Graph, budget: _Budget) -> Graph:
        # A finished group is one node of one level: what its parts kept apart may now fit together. The later walks are
        # short.
        while True:
            groups = _Grouper(graph, self.cap).run()
            if all(len(group.members) < 2 for group in groups.values()):
                return graph
            emitted = _Emitter(graph, groups, budget).emit()
            if emitted is graph:
                return graph
            graph = emitted


class _Budget:
    """Counts the nodes of different groups."""

    def __init__(self, nodes: int) -> None:
        self.left = nodes
        self.seen: set[Hashable] = set()

    def allows(self, nodes: Sequence[Node]) -> bool:
        """Whether a group of these nodes may become a kernel: one like it did, or there is room for another."""
        position: dict[Node, int] = {}
        rows = []
        for node in nodes:
            operands = tuple(position.get(operand, operand.type) for operand in node.inputs)
            rows.append((node.op, node.attrs.key, operands))
            position[node] = len(position)
        signature = tuple(rows)
        if signature in self.seen:
            return True
        if self.left < len(nodes):
            return False
        self.left -= len(nodes)
        self.seen.add(signature)
        return True


class _Grouper:
    """Forms the groups of one graph in one walk."""

    def __init__(self, graph: Graph, cap: int) -> None:
        self.graph = graph
        self.cap = cap
        self.readers = users(graph.nodes)
        self.roots = set(graph.roots)
        self.position = {node: index for index, node in enumerate(graph.nodes)}
        self.level: dict[Node, int] = {}
        self.groups: dict[Node, Group] = {}

    def run(self) -> dict[Node, Group]:
        """Node → its group; nodes that are no part of any kernel's body have none."""
        level, groups = self.level, self.groups
        for node in self.graph.nodes:
            below = max((level[operand] for operand in node.inputs), default=0)
            if not isinstance(node.type, TensorType) or not node.type.is_static:
                level[node] = below + 1
                continue
            if node.op.kind is OpKind.POINTWISE:
                group = self._group_for(node, below)
            elif node.op.name in ANCHORS:
                group = self._group_for_anchor(node)
            else:
                # Sources are there from the start; views cost nothing and add no level of their own.
                level[node] = below if node.op.kind in (OpKind.SOURCE, OpKind.MOVEMENT) else below + 1
                continue
            if group is None:
                group = Group(below + 1, node.type.shape)
            group.members.append(node)
            if node.op.name in ANCHORS:
                group.anchored, group.shape = True, node.type.shape
            groups[node] = group
            level[node] = group.level
        join_siblings(groups, self.readers, self.position, self.cap)
        self._sink()
        join_rows(self.graph, groups, self.readers, self.cap)
        return groups

    def _sink(self) -> None:
        """Move groups whose values go to one later group of their shape into that group.

        A product that waits for a matrix product, say, becomes part of that product's epilogue instead of a kernel of
        its own, and a count by which something later is divided is taken where that is divided.  Everything such a
        group reads is there before it, so it is there before the later group too.
        """
        distinct = {id(group): group for group in self.groups.values()}
        for group in sorted(distinct.values(), key=lambda group: -group.level):
            is_product = any(member.op.kind is OpKind.CONTRACTION for member in group.members)
            target = None if is_product else self._only_reader(group)
            if target is None or target.shape != group.shape or len(target.members) + len(group.members) > self.cap:
                continue
            if group.anchored and target.anchored:
                continue
            target.anchored |= group.anchored
            target.members.extend(group.members)
            target.members.sort(key=self.position.__getitem__)
            self.groups.update(dict.fromkeys(group.members, target))
            group.members = []

    def _only_reader(self, group: Group) -> Group | None:
        """The one group that reads a group's values; None where there are several, or other readers."""
        found: Group | None = None
        for member in group.members:
            if member in self.roots:
                return None
            for reader in self.readers[member]:
                other = self.groups.get(reader)
                if other is group:
                    continue
                if other is None or (found is not None and other is not found):
                    return None
                found = other
        return found

    def _group_for(self, node: Node, top: int) -> Group | None:
        """The group that a pointwise node joins: of level ``top``, the highest among its inputs, merged from all of
        that level.

        Two groups of one level cannot depend on each other, so a node that reads both makes them one (the gates of a
        cell, say).
        """
        joined: dict[int, Group] = {}
        for operand in node.inputs:
            if self.level[operand] < top:
                continue
            group = self.groups.get(operand)
            if group is None or group.level != top or group.shape != node.shape:
                return None
            joined[id(group)] = group
        if sum(group.anchored for group in joined.values()) > 1:
            return None
        if not joined or sum(len(group.members) for group in joined.values()) >= self.cap:
            return None
        largest = max(joined.values(), key=lambda group: len(group.members))
        for group in joined.values():
            if group is not largest:
                largest.members.extend(group.members)
                largest.anchored |= group.anchored
                self.groups.update(dict.fromkeys(group.members, largest))
        if len(joined) > 1:
            largest.members.sort(key=self.position.__getitem__)
        return largest

    def _group_for_anchor(self, node: Node) -> Group | None:
        """A reduction takes the pointwise group it reads as prologue if nobody else reads that group."""
        if node.op.name not in REDUCTIONS:
            return None
        group = self.groups.get(node.inputs[0])
        if group is None or group.anchored or group.shape != node.inputs[0].shape or len(group.members) >= self.cap:
            return None
        own: set[Node] = {node}
        for member in reversed(group.members):
            if member not in self.roots and all(reader in own for reader in self.readers[member]):
                own.add(member)
        own.remove(node)
        if len(own) == len(group.members):
            return group
        return self._split(group, own) if node.inputs[0] in own and self._are_kept(group, own) else None

    def _are_kept(self, group: Group, own: set[Node]) -> bool:
        """Is all that the members ``own`` read of the rest of their group stored anyway, for readers elsewhere?"""
        read = {operand for member in own for operand in member.inputs} - own
        return all(
            member in self.roots or any(self.groups.get(reader) is not group for reader in self.readers[member])
            for member in group.members
            if member in read
        )

    def _split(self, group: Group, own: set[Node]) -> Group:
        """The members ``own``, which only a reduction reads, as a group of their own above the rest."""
        made = Group(group.level + 1, group.shape, [member for member in group.members if member in own])
        group.members = [member for member in group.members if member not in own]
        self.groups.update(dict.fromkeys(own, made))
        self.level.update(dict.fromkeys(own, made.level))
        return made


class _Emitter:
    """Builds the graph in which every group is one node, in a topological order close to the old one."""

    def __init__(self, graph: Graph, groups: dict[Node, Group], budget: _Budget) -> None:
        self.budget = budget
        self.graph = graph
        self.groups = groups
        self.builder = RecordingBuilder(graph)
        self.table: dict[Node, Node] = {}
        self.readers = users(graph.nodes)
        self.roots = set(graph.roots)

    def emit(self) -> Graph:
        """The fused graph."""
        unit_of: dict[Node, Hashable] = {}
        members: dict[Hashable, list[Node]] = {}
        for node in self.graph.nodes:
            group = self.groups.get(node)
            unit: Hashable = group if group is not None and len(group.members) > 1 else node
            unit_of[node] = unit
            members.setdefault(unit, []).append(node)
        waiting: dict[Hashable, int] = {}
        followers: dict[Hashable, list[Hashable]] = {unit: [] for unit in members}
        for unit, nodes in members.items():
            sources = dict.fromkeys(unit_of[operand] for node in nodes for operand in node.inputs)
            sources.pop(unit, None)
            waiting[unit] = len(sources)
            for source in sources:
                followers[source].append(unit)
        keys = unit_keys(self.graph, members, unit_of, followers, waiting)
        ready = [(keys[unit], unit) for unit in members if waiting[unit] == 0]
        heap = [(key, index, unit) for index, (key, unit) in enumerate(ready)]
        heapq.heapify(heap)
        counter = len(heap)
        while heap:
            _, _, unit = heapq.heappop(heap)
            self._place(members[unit])
            for follower in followers[unit]:
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    counter += 1
                    heapq.heappush(heap, (keys[follower], counter, follower))
        return rebuilt(self.graph, self.table, self.builder)

    def _place(self, nodes: list[Node]) -> None:
        b = self.builder
        if len(nodes) == 1 or not self.budget.allows(nodes):
            for node in nodes:
                self._place_single(node)
            return
        inside = set(nodes)
        results = [n for n in nodes if n in self.roots or any(reader not in inside for reader in self.readers[n])]
        self.table.update(zip(results, place_kernel(b, self.graph, nodes, results, self.table), strict=True))

    def _place_single(self, node: Node) -> None:
        operands = tuple(self.table[operand] for operand in node.inputs)
        made = node if operands == node.inputs else self.builder.make(node.op, operands, node.attrs)
        self.builder.place(made)
        if made is not node:
            self.builder.set_note(made, self.graph.note(node))
        self.table[node] = made
