"""roll: finds the loop that a Python ``for`` unrolled.

A Python loop makes a periodic sequence of nodes: per step the same ops, whose inputs lie in the same step, in a step
before (a carry), outside and the same for every step (an invariant), or outside at an index that moves by a constant (a
sequence: ``x[t]``, or a value of another loop, as when backward steps read forward ones in reverse).  Reverse-mode
differentiation walks in reverse creation order, so its steps are periodic too.

The search (:mod:`graphc.passes.roll_search`) proposes runs of equal fingerprints; :mod:`graphc.passes.roll_choose`
takes the largest, and :mod:`graphc.passes.roll_verify` proves, input by input, that they are loops;
:mod:`graphc.passes.roll_body` builds them, and here they take the place of their nodes.  What cannot be proved stays
straight-line: a wrong proposal costs time, never meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import level_order, post_order
from graphc.passes.base import Pass, map_bodies
from graphc.passes.roll_body import build_loop
from graphc.passes.roll_columns import Columns
from graphc.passes.roll_join import Joiner, Member
from graphc.passes.roll_search import IntArray
from graphc.passes.roll_verify import LoopPlan, Plans

_LOOSE_NODES = 64
_LOOSE_BODIES = 4
"""Where more nodes than these are in no loop, and more than so many steps of all loops together, other orders of the
nodes are tried; one that leaves half as many is taken.  The first and last steps of a loop are often left over.
"""


@dataclass(frozen=True)
class Roll(Pass):
    """Replace periodic runs of nodes by ``loop`` nodes.

    Attributes:
        minimum_trips: shortest loop worth having.
        minimum_nodes: nodes that a loop must replace.
        rounds: times that loops are looked for: loops may themselves repeat.
        in_body: whether the graph is the body of a loop.
    """

    name: ClassVar[str] = "roll"
    minimum_trips: int = 4
    minimum_nodes: int = 16
    rounds: int = 3
    in_body: bool = False

    def run(self, graph: Graph) -> Graph:
        """The graph with its loops found, and those inside of their bodies."""
        for _ in range(self.rounds):
            changed = self._once(graph)
            if changed is graph:
                break
            graph = changed
        return map_bodies(graph, replace(self, in_body=True).run)

    def _once(self, graph: Graph) -> Graph:
        fixed = _fixed_nodes(graph)
        best: Plans | None = None
        for order in _orders(graph):
            sequence = [node for node in order if node not in fixed]
            if len(sequence) < self.minimum_nodes:
                return graph
            plans = Plans(sequence, self.minimum_trips, self.minimum_nodes, self.in_body)
            if best is None or 2 * plans.loose < best.loose:
                best = plans
            if best.loose <= max(_LOOSE_NODES, _LOOSE_BODIES * sum(plan.period for plan in best.plans)):
                break
        if best is None or best.columns is None or not best.plans:
            return graph
        return _Roller(graph, best.columns, best.plans, fixed).run()


def _orders(graph: Graph) -> Iterator[Sequence[Node]]:
    """The order in which the nodes were made, which a Python loop makes periodic; then others, in which the nodes of an
    imported graph may be, whatever order it came in.
    """
    yield graph.nodes
    roots = [*graph.inputs, *graph.roots, *(variable for variable, _ in graph.updates)]
    yield post_order(roots)
    yield level_order(graph.nodes)


def _fixed_nodes(graph: Graph) -> dict[Node, Node]:
    """Sources, and sources moved as a whole (a zero state, a transposed weight): made once, in whichever step first
    needs them.

    In the sequence of nodes they would make that step look different from the others.  (Not so what moves one of many
    arguments of a type: each step may have its own.)  Each is given as its own replacement.
    """
    kinds = Counter(node.type for node in graph.inputs)
    fixed = {node: node for node in graph.nodes if not node.inputs and node.op.kind is OpKind.SOURCE}
    for node in [node for node in graph.nodes if node.op.name in _WHOLE_MOVES]:
        source = node.inputs[0]
        if source in fixed and not (source.op.name == "input" and kinds[source.type] >= _MANY_ARGUMENTS):
            fixed[node] = node
    return fixed


_MANY_ARGUMENTS = 4
_WHOLE_MOVES = frozenset({"broadcast_to", "transpose", "reshape"})


class _Roller:
    """Rebuilds a graph with some stretches of its nodes as loops.

    Attributes:
        builder: makes the new graph.
        stacked, final: for each loop row → its stacked result, or its last value.
    """

    def __init__(self, graph: Graph, columns: Columns, plans: Sequence[LoopPlan], fixed: dict[Node, Node]) -> None:
        self.graph = graph
        self.columns = columns
        self.plans = plans
        # Fixed nodes stand for themselves, wherever in the order they first appear.
        self.table = dict(fixed)
        self.loop_of: IntArray = np.full(len(columns.sequence), -1, dtype=np.int64)
        for number, plan in enumerate(plans):
            self.loop_of[plan.start : plan.stop] = number
        self.stacked: list[dict[int, Node]] = [{} for _ in plans]
        self.final: list[dict[int, Node]] = [{} for _ in plans]
        self.builder = RecordingBuilder(graph, [*fixed, *(node for part in self._straight() for node in part)])
        self.joiner = Joiner(self)

    def _straight(self) -> list[Sequence[Node]]:
        """The nodes before each loop and after the last.

        Elements of tensors are not among them: those are taken where they are wanted, which mostly is inside of a loop.
        """
        cuts = [0, *(cut for plan in self.plans for cut in (plan.start, plan.stop)), len(self.columns.sequence)]
        return [
            [node for node in self.columns.sequence[low:high] if node.op.name != "index"]
            for low, high in zip(cuts[::2], cuts[1::2], strict=True)
        ]

    def run(self) -> Graph:
        """The rolled graph."""
        needs = self._needs()
        for node in self.graph.inputs:
            self.builder.place(node)
        for number, part in enumerate(self._straight()):
            for node in part:
                self._keep(node)
            if number < len(self.plans):
                self.stacked[number], self.final[number] = build_loop(
                    self.builder, self.graph, self.columns, self.plans[number], *needs[number], self
                )
        for root in self.graph.roots:
            self.table[root] = self.outside_value(root)
        return rebuilt(self.graph, self.table, self.builder)

    # -- what must leave each loop -----------------------------------------------------------------------------------

    def _needs(self) -> list[tuple[list[int], list[int]]]:
        """For each loop the rows wanted at every trip (to stack), and those wanted after the last trip only."""
        columns, loop_of = self.columns, self.loop_of
        read = columns.reads >= 0
        places, readers = columns.reads[read], columns.readers[read]
        wanted = places[(loop_of[places] >= 0) & (loop_of[readers] != loop_of[places])]
        roots = np.array([place for root in self.graph.roots if (place := columns.position(root)) >= 0], dtype=np.int64)
        wanted = np.unique(np.concatenate((wanted, roots[loop_of[roots] >= 0])))
        result = []
        for number, plan in enumerate(self.plans):
            offsets = wanted[loop_of[wanted] == number] - plan.start
            rows, last = offsets % plan.period, offsets // plan.period == plan.trips - 1
            # An element of a tensor is taken from the tensor, inside of the loop and outside.
            stacked = set(rows[~last].tolist()) - set(plan.sequenced)
            final = set(rows[last].tolist()) - set(plan.sequenced) - stacked
            result.append((sorted(stacked), sorted(final)))
        return result

    # -- values of old nodes in the new graph ------------------------------------------------------------------------

    def outside_value(self, node: Node) -> Node:
        """The new node for an old one, as straight-line code sees it."""
        found = self.table.get(node)
        if found is not None:
            return found
        member = self.member(node)
        if member is None:
            return self._keep(node)
        number, trip, row = member
        plan = self.plans[number]
        if row in plan.sequenced:
            made = self.builder.make(node.op, [self.outside_value(operand) for operand in node.inputs], node.attrs)
        elif trip == plan.trips - 1 and row in self.final[number]:
            made = self.final[number][row]
        else:
            made = self.builder.op("index", self.stacked[number][row], axis=0, index=trip)
        self.table[node] = made
        return made

    def member(self, node: Node) -> Member | None:
        """(loop, trip, row) of a node that is in a loop."""
        place = self.columns.position(node)
        number = int(self.loop_of[place]) if place >= 0 else -1
        if number < 0:
            return None
        plan = self.plans[number]
        return (number, *divmod(place - plan.start, plan.period))

    def _keep(self, node: Node) -> Node:
        """The new node for one that is in no loop."""
        note = self.graph.note(node)
        with self.builder.noted(note, note.role):
            made = self._rebuilt(node)
        self.builder.place(made)
        if made is not node:
            self.builder.set_note(made, note)
        self.table[node] = made
        return made

    def _rebuilt(self, node: Node) -> Node:
        """A straight-line node on its new inputs."""
        if node.op.name in ("stack", "concat"):
            return self.joiner.join(node.op.name, node.inputs, node.attrs["axis"])
        return self.builder.make(node.op, [self.outside_value(operand) for operand in node.inputs], node.attrs)
