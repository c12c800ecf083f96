"""roll: finds the loop that a Python ``for`` unrolled.

A Python loop makes a periodic sequence of nodes: per step the same ops, whose inputs lie in the same step, in a step
before (a carry), outside and the same for every step (an invariant), or outside at an index that moves by a constant (a
sequence: ``x[t]``, or a value of another loop, as when backward steps read forward ones in reverse).  Reverse-mode
differentiation walks in reverse creation order, so its steps are periodic too.

The search (:mod:`graphc.passes.roll_search`) proposes runs of equal fingerprints; :mod:`graphc.passes.roll_verify`
proves, input by input, which of their iterations form a loop; here the proved loops are built.  What cannot be proved
stays straight-line: a wrong proposal costs time, never meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.op import OpKind, get_op
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import users
from graphc.ir.types import int64, tensor_type
from graphc.passes.base import Pass
from graphc.passes.roll_verify import Carry, Element, LoopPlan, Sequenced, plan_loops

_SCALAR_INT64 = tensor_type(int64)


@dataclass(frozen=True)
class Roll(Pass):
    """Replace periodic runs of nodes by ``loop`` nodes.

    Attributes:
        minimum_trips: shortest loop worth having.
        minimum_nodes: nodes that a loop must replace.
    """

    name: ClassVar[str] = "roll"
    minimum_trips: int = 4
    minimum_nodes: int = 24

    def run(self, graph: Graph) -> Graph:
        """The graph with its loops found."""
        fixed = _fixed_nodes(graph)
        sequence = [node for node in graph.nodes if node not in fixed]
        if len(sequence) < self.minimum_nodes:
            return graph
        plans = plan_loops(sequence, self.minimum_trips, self.minimum_nodes)
        return _Roller(graph, sequence, plans, fixed).run() if plans else graph


class _Roller:
    """Rebuilds a graph with some stretches of its nodes as loops."""

    def __init__(self, graph: Graph, sequence: Sequence[Node], plans: Sequence[LoopPlan], fixed: set[Node]) -> None:
        self.graph = graph
        self.sequence = sequence
        self.plans = plans
        self.builder = RecordingBuilder(graph)
        # Fixed nodes stand for themselves, wherever in the order they first appear.
        self.fixed = fixed
        self.table: dict[Node, Node] = dict(zip(fixed, fixed, strict=True))
        self.member: dict[Node, tuple[int, int, int]] = {}
        for number, plan in enumerate(plans):
            for offset in range(plan.period * plan.trips):
                trip, row = divmod(offset, plan.period)
                self.member[sequence[plan.start + offset]] = (number, trip, row)
        # What each loop must give out: row → stacked result; and rows whose last value alone is wanted.
        self.stacked: list[dict[int, Node]] = [{} for _ in plans]
        self.final: list[dict[int, Node]] = [{} for _ in plans]

    def run(self) -> Graph:
        """The rolled graph."""
        needs = self._needs()
        starts = {self.sequence[plan.start]: number for number, plan in enumerate(self.plans)}
        for node in self.graph.nodes:
            if node in starts:
                number = starts[node]
                self._build_loop(number, *needs[number])
            if node in self.member:
                continue
            if node in self.fixed:
                self.builder.place(node)
                continue
            note = self.graph.note(node)
            with self.builder.noted(note, note.role):
                made = self._rebuilt(node)
            self.builder.place(made)
            if made is not node:
                self.builder.set_note(made, note)
            self.table[node] = made
        for root in self.graph.roots:
            self.table[root] = self._outside_value(root)
        return rebuilt(self.graph, self.table, self.builder)

    # -- what must leave each loop -----------------------------------------------------------------------------------

    def _needs(self) -> list[tuple[set[int], set[int]]]:
        """For each loop the rows wanted at every trip (to stack), and those wanted after the last trip only."""
        readers = users(self.graph.nodes)
        roots = set(self.graph.roots)
        stacked: list[set[int]] = [set() for _ in self.plans]
        final: list[set[int]] = [set() for _ in self.plans]
        for node, (number, trip, row) in self.member.items():
            outside = node in roots or any(self.member.get(reader, (-1,))[0] != number for reader in readers[node])
            if outside:
                (final if trip == self.plans[number].trips - 1 else stacked)[number].add(row)
        for number in range(len(self.plans)):
            final[number] -= stacked[number]
        return list(zip(stacked, final, strict=True))

    # -- values of old nodes in the new graph ------------------------------------------------------------------------

    def _outside_value(self, node: Node) -> Node:
        """The new node for an old one, as straight-line code sees it."""
        found = self.table.get(node)
        if found is not None:
            return found
        number, trip, row = self.member[node]
        if trip == self.plans[number].trips - 1 and row in self.final[number]:
            made = self.final[number][row]
        else:
            made = self.builder.op("index", self.stacked[number][row], axis=0, index=trip)
        self.table[node] = made
        return made

    def _rebuilt(self, node: Node) -> Node:
        """A straight-line node on its new inputs."""
        if node.op.name == "stack" and any(operand in self.member for operand in node.inputs):
            return self._stacked_runs(node)
        operands = tuple(self._outside_value(operand) for operand in node.inputs)
        return node if operands == node.inputs else self.builder.make(node.op, operands, node.attrs)

    def _stacked_runs(self, node: Node) -> Node:
        """A stack in which consecutive trips of a loop stand side by side: it takes them as slices of the loop's own
        stack.
        """
        b = self.builder
        axis = node.attrs["axis"]
        parts: list[Node] = []
        loose: list[Node] = []
        for first, length, step in _runs([self.member.get(operand) for operand in node.inputs]):
            if length == 1:
                loose.append(self._outside_value(node.inputs[first]))
                continue
            if loose:
                parts.append(b.op("stack", *loose, axis=axis))
                loose = []
            parts.append(self._run_of_trips(node.inputs[first], length, step, axis))
        if loose:
            parts.append(b.op("stack", *loose, axis=axis))
        return parts[0] if len(parts) == 1 else b.op("concat", *parts, axis=axis)

    def _run_of_trips(self, first: Node, length: int, step: int, axis: int) -> Node:
        """Trips ``t, t+step, …`` of one row of a loop, stacked along ``axis``."""
        b = self.builder
        number, trip, row = self.member[first]
        whole = self.stacked[number][row]
        low = trip if step > 0 else trip - (length - 1)
        if (low, length) != (0, self.plans[number].trips):
            shape = whole.shape
            whole = b.op(
                "slice",
                whole,
                starts=(low, *(0 for _ in shape[1:])),
                stops=(low + length, *shape[1:]),
                steps=(1,) * len(shape),
            )
        if step < 0:
            whole = b.op("flip", whole, axes=(0,))
        if axis:
            others = list(range(1, whole.rank))
            whole = b.op("transpose", whole, permutation=(*others[:axis], 0, *others[axis:]))
        return whole

    # -- building a loop ---------------------------------------------------------------------------------------------

    def _build_loop(self, number: int, stacked: set[int], final: set[int]) -> None:
        plan = self.plans[number]
        body = Builder()
        operands: list[list[Node]] = [[], [], []]
        inputs: list[list[Node]] = [[], [], []]
        slices: list[tuple[int, int, int]] = []
        trip_input = body.input("t", _SCALAR_INT64)
        table: dict[object, Node] = {}

        def body_input(group: int, key: object, outer: Node, type_: Node) -> Node:
            if key not in table:
                letter = ("c", "v", "s")[group]
                table[key] = body.input(f"{letter}{len(inputs[group])}", type_.tensor)
                inputs[group].append(table[key])
                operands[group].append(outer)
            return table[key]

        rows = [self.sequence[plan.start + row] for row in range(plan.period)]
        for carry in plan.carries:
            body_input(0, carry, self._outside_value(carry.initial), carry.initial)
        values: dict[int, Node] = {}
        notes: dict[Node, Note] = {}

        def resolve(element: Element, like: Node) -> Node:
            match element:
                case int():
                    return values[element]
                case Carry():
                    return table[element]
                case Sequenced():
                    if element not in table:
                        body_input(2, element, self._sequence_operand(element), like)
                        slices.append((element.axis, element.start, element.step))
                    return table[element]
                case Node() if element.op.name == "constant" and element.rank == 0:
                    # Scalars are part of the body: fusion and folding want to see them.
                    return body.make(element.op, (), element.attrs)
                case Node():
                    return body_input(1, element, self._outside_value(element), element)

        for row, node in enumerate(rows):
            if row in plan.sequenced:
                values[row] = resolve(plan.sequenced[row], node)
                continue
            arguments = [
                resolve(element, operand) for element, operand in zip(plan.elements[row], node.inputs, strict=True)
            ]
            values[row] = body.make(node.op, arguments, node.attrs)
            note = self.graph.note(node)
            if note is not NO_NOTE:
                notes[values[row]] = _step_note(note)
        next_values = [table[c.previous] if c.previous is not None else values[c.row] for c in plan.carries]
        finals = sorted(final)
        extra = [row for row in finals if not any(c.row == row and c.previous is None for c in plan.carries)]
        for row in extra:
            # Only the last trip's value is wanted: a carry that nobody reads, cheaper than a stack.
            filler = self.builder.constant(0, rows[row].dtype)
            if rows[row].rank:
                filler = self.builder.op("broadcast_to", filler, shape=rows[row].shape)
            body_input(0, ("final", row), filler, rows[row])
            next_values.append(values[row])
        stacks = sorted(stacked)
        outputs = [(f"c{i}", v) for i, v in enumerate(next_values)] + [
            (f"y{i}", values[row]) for i, row in enumerate(stacks)
        ]
        region = Graph.make(
            "body", [trip_input, *inputs[0], *inputs[1], *inputs[2]], outputs, builder=body, notes=notes
        )
        b = self.builder
        with b.noted(_step_note(self.graph.note(rows[0])), self.graph.note(rows[0]).role):
            loop = b.make(
                get_op("loop"),
                [*operands[0], *operands[1], *operands[2]],
                {
                    "trips": plan.trips,
                    "body": region,
                    "carries": len(operands[0]),
                    "invariants": len(operands[1]),
                    "slices": tuple(slices),
                },
            )
            carries = len(operands[0])
            for row in finals:
                if row in extra:
                    index = len(plan.carries) + extra.index(row)
                else:
                    index = next(i for i, c in enumerate(plan.carries) if c.row == row and c.previous is None)
                self.final[number][row] = b.op("result", loop, index=index)
            for position, row in enumerate(stacks):
                self.stacked[number][row] = b.op("result", loop, index=carries + position)

    def _sequence_operand(self, element: Sequenced) -> Node:
        if isinstance(element.source, Node):
            return self._outside_value(element.source)
        number, row = element.source
        return self.stacked[number][row]


def _fixed_nodes(graph: Graph) -> set[Node]:
    """Sources, and sources moved as a whole (a zero state, a transposed weight): made once, in whichever step first
    needs them.

    In the sequence of nodes they would make that step look different from the others.
    """
    fixed: set[Node] = set()
    for node in graph.nodes:
        moved = node.op.name in ("broadcast_to", "transpose", "reshape") and node.inputs[0] in fixed
        if moved or node.op.kind is OpKind.SOURCE:
            fixed.add(node)
    return fixed


def _runs(members: Sequence[tuple[int, int, int] | None]) -> list[tuple[int, int, int]]:
    """Split a list of (loop, trip, row) into (first position, length, step of the trip): step ±1 within a run, single
    entries otherwise.
    """
    runs: list[tuple[int, int, int]] = []
    position = 0
    while position < len(members):
        here = members[position]
        length, step = 1, 1
        if here is not None:
            for direction in (1, -1):
                count = 1
                while position + count < len(members) and members[position + count] == (
                    here[0],
                    here[1] + direction * count,
                    here[2],
                ):
                    count += 1
                if count > length:
                    length, step = count, direction
        runs.append((position, length, step))
        position += length
    return runs


def _step_note(note: Note) -> Note:
    """A note for what happens at every step: without the layer's ``step t`` part."""
    return Note(
        note.locations, tuple(part for part in note.scope if not part.startswith("step ")), note.role, note.name
    )
