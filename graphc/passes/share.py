"""share: loops that carry the same values become one.

Reverse mode leaves a loop as it is and adds another, which does the same and stacks what the backward loop reads.  Both
make the same carries from the same operands, so one of them can stack for both.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import RecordingBuilder, inline, rebuilt
from graphc.ops.loop_parts import LoopParts, Slice, make_loop
from graphc.passes.base import Pass, map_regions

Role = str | int | Node | tuple[Node, Slice]


@dataclass(frozen=True)
class Share(Pass):
    """Replace loops with equal carries by the first of them, which stacks for all."""

    name: ClassVar[str] = "share"

    def run(self, graph: Graph) -> Graph:
        """The graph with fewer loops."""
        return map_regions(graph, _share)


def _share(graph: Graph) -> Graph:
    groups: dict[Hashable, list[_Group]] = {}
    for node in graph.nodes:
        if node.op.name != "loop" or not node.attrs["carries"] or "size" in node.attrs:
            continue
        loop = LoopParts.of(node)
        known = groups.setdefault((loop.trips, loop.carries), [])
        if not any(group.take(node, loop) for group in known):
            known.append(_Group(node, loop))
    shared = [group for known in groups.values() for group in known if len(group.results) > 1]
    return _rebuild(graph, shared) if shared else graph


class _Group:
    """Loops that make the same carries, their bodies built over the inputs of the first.

    Attributes:
        results: for each loop, which results of the loop for all are its own.
    """

    def __init__(self, first: Node, loop: LoopParts) -> None:
        self.first, self.loop = first, loop
        self.b = Builder()
        self.inputs = {
            key: self.b.input(str(given.attrs["name"]), given.tensor)
            for key, given in zip(_roles(loop), loop.body.inputs, strict=True)
        }
        values = inline(self.b, loop.body, [self.inputs[role] for role in _roles(loop)])
        count = len(loop.carries)
        self.carried = values[:count]
        self.stacks = {value: count + place for place, value in enumerate(dict.fromkeys(values[count:]))}
        self.results: dict[Node, list[int]] = {first: self._results_of(values)}

    def take(self, node: Node, loop: LoopParts) -> bool:
        """Add a loop, where it makes the same carries and reads nothing else."""
        roles = _roles(loop)
        if any(role not in self.inputs for role in roles):
            return False
        values = inline(self.b, loop.body, [self.inputs[role] for role in roles])
        if values[: len(self.carried)] != self.carried:
            return False
        self.results[node] = self._results_of(values)
        return True

    def _results_of(self, values: list[Node]) -> list[int]:
        count = len(self.carried)
        return [*range(count), *(self.stacks.setdefault(value, count + len(self.stacks)) for value in values[count:])]

    def build(self, b: Builder, table: Mapping[Node, Node]) -> list[Node]:
        """The results of one loop for all, whose operands are what ``table`` says."""
        outputs = [(f"c{place}", value) for place, value in enumerate(self.carried)]
        outputs += [(f"y{place}", value) for place, value in enumerate(self.stacks)]
        loop = self.loop
        body = Graph.make(loop.body.name, self.inputs.values(), outputs, builder=self.b)
        invariants = [table[role] for role in self.inputs if isinstance(role, Node)]
        sliced = [role for role in self.inputs if isinstance(role, tuple)]
        return make_loop(
            b,
            loop.trips,
            body,
            [table[carry] for carry in loop.carries],
            invariants,
            [table[outer] for outer, _ in sliced],
            [place for _, place in sliced],
        )


def _roles(loop: LoopParts) -> list[Role]:
    """What each input of a loop's body stands for.

    That is the step number, the place of a carry, an invariant, or a sequence with the elements that are read.  (Where
    an operand stands twice, its first input is as good as the second.)
    """
    return ["t", *range(len(loop.carries)), *loop.invariants, *zip(loop.sequences, loop.slices, strict=True)]


def _rebuild(graph: Graph, groups: list[_Group]) -> Graph:
    b = RecordingBuilder(graph)
    table: dict[Node, Node] = {}
    group_of = {node: group for group in groups for node in group.results}
    made: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        group = group_of.get(node.inputs[0] if node.op.name == "result" else node)
        if group is None:
            operands = tuple(table[operand] for operand in node.inputs)
            table[node] = node if operands == node.inputs else b.make(node.op, operands, node.attrs)
            b.place(table[node])
            if table[node] is not node:
                b.set_note(table[node], graph.note(node))
        elif node.op.name == "result":
            place = group.results[node.inputs[0]][node.attrs["index"]]
            table[node] = made[group.first][place]
        elif group.first is node:
            note = graph.note(node)
            with b.noted(note, note.role):
                made[node] = group.build(b, table)
    return rebuilt(graph, table, b)
