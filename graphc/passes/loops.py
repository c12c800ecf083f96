"""Taking a loop apart, changing it, and putting it together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.ir.attrs import AttrValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import get_op
from graphc.ir.rewrite import RecordingBuilder, rebuilt
from graphc.ir.traverse import post_order, reachable, users
from graphc.ir.types import TensorType

AfterLoop = Callable[[Mapping[Node, Node]], None]
"""Called once the new loop stands, with the table value in the body → its stacked result."""

BodyRule = Callable[[Node, Mapping[Node, Node]], Node | None]
"""Called with a node of the body and what has become of those before it: what takes its place, or None to keep it."""


@dataclass(slots=True)
class CarryPart:
    """A carry: the body's input, its value before the first trip, and the body's value for the next trip."""

    inner: Node
    initial: Node
    following: Node
    result: int | None


@dataclass(slots=True)
class SequencePart:
    """A sequence: the body's input, the whole tensor, and which element a trip reads."""

    inner: Node
    outer: Node
    axis: int
    start: int
    step: int

    def mirrored(self, trips: int) -> SequencePart:
        """The same elements in the opposite order."""
        return replace(self, start=self.start + self.step * (trips - 1), step=-self.step)


@dataclass(slots=True)
class StackPart:
    """A stacked value of the body; ``result`` is its index among the old loop's results, None for a new one."""

    value: Node
    result: int | None


class LoopParts:
    """An editable loop.

    Attributes:
        body: builder in which nodes of the body are made; it knows the old body's nodes.
        carries, invariants, sequences, stacks: the parts; passes add, change and remove them.
        replaced: results of the old loop that are computed outside now: index → outer node.
    """

    def __init__(self, loop: Node, operands: Sequence[Node], used: set[int]) -> None:
        region: Graph = loop.attrs["body"]
        self.region = region
        self.trips: int = loop.attrs["trips"]
        # (Of a loop whose trips each call says, ``trips`` are the most of them.)
        self.size: str | None = loop.attrs.get("size")
        self.body = RecordingBuilder(region)
        self.counter = region.inputs[0]
        self.used = used
        carries, invariants = loop.attrs["carries"], loop.attrs["invariants"]
        values = region.output_nodes
        inner = region.inputs[1:]
        self.carries = [CarryPart(inner[i], operands[i], values[i], i) for i in range(carries)]
        self.invariants: dict[Node, Node] = dict(
            zip(inner[carries : carries + invariants], operands[carries : carries + invariants], strict=True)
        )
        self.sequences = [
            SequencePart(node, outer, *where)
            for node, outer, where in zip(
                inner[carries + invariants :], operands[carries + invariants :], loop.attrs["slices"], strict=True
            )
        ]
        self.stacks = [StackPart(value, carries + i) for i, value in enumerate(values[carries:])]
        self.replaced: dict[int, Node] = {}
        self.made: list[Node] = []

    @property
    def holds_loops(self) -> bool:
        """Is the body itself made of loops?"""
        return any(node.op.name == "loop" for node in self.region.nodes)

    def new_sequence(self, outer: Node, like: TensorType, *, backward: bool = False) -> Node:
        """A new body input that reads ``outer[t]``, or ``outer[trips - 1 - t]``."""
        inner = self.body.new_input(f"n{len(self.sequences)}", like)
        part = SequencePart(inner, outer, 0, 0, 1)
        self.sequences.append(part.mirrored(self.trips) if backward else part)
        return inner

    @property
    def reads_backward(self) -> bool:
        """Does the loop read most of its sequences (by their size) from the end, as backward loops do?

        What is computed of them outside is best kept in the order in which they lie.
        """
        return sum(part.inner.tensor.nbytes * (1 if part.step < 0 else -1) for part in self.sequences) > 0

    def new_invariant(self, outer: Node) -> Node:
        """A body input with the value of ``outer`` in every trip."""
        for inner, other in self.invariants.items():
            if other is outer:
                return inner
        inner = self.body.new_input(f"w{len(self.invariants)}", outer.tensor)
        self.invariants[inner] = outer
        return inner

    def substitute(self, replacements: Mapping[Node, Node]) -> None:
        """Rebuild the body with some nodes replaced."""
        self.rebuild(lambda node, _: replacements.get(node))

    def rebuild(self, rule: BodyRule) -> None:
        """Rebuild the body, with what ``rule`` gives for a node in place of it."""
        table: dict[Node, Node] = {}
        for node in self.region.nodes:
            self.body.subject = node
            made = rule(node, table)
            if made is None:
                operands = tuple(table[operand] for operand in node.inputs)
                made = node if operands == node.inputs else self.body.make(node.op, operands, node.attrs)
                if made is not node:
                    self.body.set_note(made, self.region.note(node))
            table[node] = made
        self.body.subject = None
        for carry in self.carries:
            carry.following = table.get(carry.following, carry.following)
        for stack in self.stacks:
            stack.value = table.get(stack.value, stack.value)

    def fixed_nodes(self) -> set[Node]:
        """The nodes of the body that are the same in every trip: made of invariants and constants alone."""
        fixed = set(self.invariants)
        for node in self.region.nodes:
            if node.op.name == "constant" or (node.inputs and all(operand in fixed for operand in node.inputs)):
                fixed.add(node)
        return fixed

    def carried_nodes(self) -> set[Node]:
        """The nodes of the body that depend on a carry or on the step number: no op of all steps at once makes them."""
        carried = {self.counter, *(carry.inner for carry in self.carries)}
        for node in self.region.nodes:
            if any(operand in carried for operand in node.inputs):
                carried.add(node)
        return carried

    def prune(self) -> None:
        """Drop stacks that nobody reads, and carries that feed only themselves."""
        self.stacks = [
            s for s in self.stacks if s.result is None or (s.result in self.used and s.result not in self.replaced)
        ]
        needed = {
            c.inner
            for c in self.carries
            if c.result is None or (c.result in self.used and c.result not in self.replaced)
        }
        while True:
            roots = [s.value for s in self.stacks] + [c.following for c in self.carries if c.inner in needed]
            live = reachable(roots)
            more = {c.inner for c in self.carries if c.inner in live} - needed
            if not more:
                break
            needed |= more
        self.carries = [c for c in self.carries if c.inner in needed]

    def build(self, b: Builder) -> dict[int, Node]:
        """Make the loop in ``b``; index among the old results → new node."""
        self.prune()
        outputs = [c.following for c in self.carries] + [s.value for s in self.stacks]
        if not outputs:
            return dict(self.replaced)
        live = reachable(outputs)
        invariants = [(inner, outer) for inner, outer in self.invariants.items() if inner in live]
        sequences = [s for s in self.sequences if s.inner in live]
        region = self._region([i for i, _ in invariants], [s.inner for s in sequences], outputs)
        attrs: dict[str, AttrValue] = {} if self.size is None else {"size": self.size}
        loop = b.make(
            get_op("loop"),
            [*(c.initial for c in self.carries), *(outer for _, outer in invariants), *(s.outer for s in sequences)],
            {
                "trips": self.trips,
                "body": region,
                "carries": len(self.carries),
                "invariants": len(invariants),
                "slices": tuple((s.axis, s.start, s.step) for s in sequences),
                **attrs,
            },
        )
        results = dict(self.replaced)
        kept: list[int | None] = [*(c.result for c in self.carries), *(s.result for s in self.stacks)]
        self.made = [b.op("result", loop, index=index) for index in range(len(kept))]
        for index, old in enumerate(kept):
            if old is not None:
                results.setdefault(old, self.made[index])
        return results

    def _region(self, invariants: Sequence[Node], sequences: Sequence[Node], outputs: Sequence[Node]) -> Graph:
        """The body with its inputs renamed in order."""
        fresh = Builder()
        table = {self.counter: fresh.input("t", self.counter.tensor)}
        for letter, group in (("c", [c.inner for c in self.carries]), ("v", invariants), ("s", sequences)):
            for index, inner in enumerate(group):
                table[inner] = fresh.input(f"{letter}{index}", inner.tensor)
        inputs = list(table.values())
        for node in post_order(outputs):
            if node not in table:
                table[node] = fresh.make(node.op, [table[operand] for operand in node.inputs], node.attrs)
                fresh.set_note(table[node], self.body.note(node))
        names = [f"c{i}" for i in range(len(self.carries))] + [f"y{i}" for i in range(len(self.stacks))]
        return Graph.make("body", inputs, zip(names, (table[v] for v in outputs), strict=True), builder=fresh)

    def stack_result(self, value: Node) -> int:
        """Stack ``value`` over the trips; the position of the new stack among ``stacks``."""
        for position, stack in enumerate(self.stacks):
            if stack.value is value:
                if stack.result is not None and stack.result not in self.used:
                    self.used.add(stack.result)
                return position
        self.stacks.append(StackPart(value, None))
        return len(self.stacks) - 1


LoopEdit = Callable[[Builder, LoopParts], AfterLoop | bool]


def edit_loops(graph: Graph, edit: LoopEdit) -> Graph:
    """Apply ``edit`` to every loop of a graph.

    ``edit(b, parts)`` changes ``parts`` and may make nodes before the loop in ``b``.  It returns False where it changes
    nothing, True where it did, or a function that is called once the loop is built, to fill ``parts.replaced`` with
    nodes made after it.
    """
    if not any(node.op.name == "loop" for node in graph.nodes):
        return graph
    b = RecordingBuilder(graph)
    table: dict[Node, Node] = {}
    results: dict[Node, dict[int, Node]] = {}
    readers = users(graph.nodes)
    for node in graph.nodes:
        if node.op.name == "result" and node.inputs[0] in results:
            table[node] = results[node.inputs[0]][node.attrs["index"]]
            continue
        operands = tuple(table[operand] for operand in node.inputs)
        note = graph.note(node)
        if node.op.name == "loop" and node.attrs["trips"] != 0:
            # (A loop that never runs may name elements that its sequences lack, and is best left to itself.)
            used = {reader.attrs["index"] for reader in readers[node]}
            parts = LoopParts(node, operands, used)
            with b.noted(note, note.role):
                after = edit(b, parts)
                if after is not False:
                    results[node] = finished = parts.build(b)
                    if callable(after):
                        stacked = {s.value: parts.made[len(parts.carries) + i] for i, s in enumerate(parts.stacks)}
                        after(stacked)
                        finished.update(parts.replaced)
                    continue
        made = node if operands == node.inputs else b.make(node.op, operands, node.attrs)
        b.place(made)
        if made is not node:
            b.set_note(made, note)
        table[node] = made
    return rebuilt(graph, table, b)


def outside_value(b: Builder, node: Node, table: dict[Node, Node], inputs: Mapping[Node, Node]) -> Node:
    """Build an expression of a body's ``inputs`` outside of it; ``table`` has what was built before."""
    stack = [(node, False)]
    while stack:
        top, ready = stack.pop()
        if top in table:
            continue
        if top in inputs:
            table[top] = inputs[top]
        elif ready:
            table[top] = b.make(top.op, [table[operand] for operand in top.inputs], top.attrs)
        else:
            stack.append((top, True))
            stack.extend((operand, False) for operand in reversed(top.inputs))
    return table[node]


def whole_sequence(b: Builder, part: SequencePart, trips: int) -> Node:
    """The elements that the trips read, in the order of the trips, along a first axis."""
    whole = part.outer
    if part.axis:
        others = [axis for axis in range(whole.rank) if axis != part.axis]
        whole = b.op("transpose", whole, permutation=(part.axis, *others))
    if part.step == 0:
        row = b.op("index", whole, axis=0, index=part.start)
        return b.op("broadcast_to", row, shape=(trips, *row.shape))
    low = part.start if part.step > 0 else part.start + part.step * (trips - 1)
    stride = abs(part.step)
    if (low, stride, trips) != (0, 1, whole.shape[0]):
        rest = whole.shape[1:]
        stop = low + (trips - 1) * stride + 1
        whole = b.op(
            "slice", whole, starts=(low, *(0,) * len(rest)), stops=(stop, *rest), steps=(stride, *(1,) * len(rest))
        )
    return b.op("flip", whole, axes=(0,)) if part.step < 0 else whole
