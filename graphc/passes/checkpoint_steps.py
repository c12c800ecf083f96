"""What is computed of all steps between two loops is computed step by step in the loop that reads it.

The layers between two recurrent ones, dropout for example, and a loss at every step are ops over all steps at once:
whatever they read and make lies in memory whole.  Inside of the next loop they are ops of a step, and a sum over the
steps, which is what losses and weight gradients are, is a loop with one carry.  Loops that feed one another can become
one then (:mod:`graphc.passes.checkpoint_jam`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import RecordingBuilder, inline, rebuilt
from graphc.ir.types import TensorType, int64, tensor_type
from graphc.ops.loop_parts import LoopParts, make_loop
from graphc.ops.rules import zeros
from graphc.passes.checkpoint_pairs import ALONE
from graphc.passes.checkpoint_plan import is_divisible, trips_of
from graphc.passes.checkpoint_series import Place, apply_step, moved, moving

Leaf = Callable[[Place], Node]
"""The element of a value in memory, at a place."""

Fixed = Callable[[Node], Node]
"""A value that is the same at every step."""


def stepped(graph: Graph, least: int) -> Graph:
    """The graph with ops over ``least`` steps or more inside of the loops that read them."""
    return _Steps(graph, least).run()


class _Steps:
    """Rewrites a graph.

    Attributes:
        series: new nodes of which each step's element is known to come from a loop: what that stacks, and ops on it.
        results: old loop → its new results.
    """

    def __init__(self, graph: Graph, least: int) -> None:
        self.graph, self.least = graph, least
        self.b = RecordingBuilder(graph)
        self.table: dict[Node, Node] = {}
        self.series: set[Node] = set()
        self.results: dict[Node, list[Node]] = {}

    def run(self) -> Graph:
        """The new graph."""
        for node in self.graph.nodes:
            note = self.graph.note(node)
            with self.b.noted(note, note.role):
                made = self._made(node)
            if made is not None:
                self.table[node] = made
                self.b.place(made)
        return rebuilt(self.graph, self.table, self.b)

    def _made(self, node: Node) -> Node | None:
        operands = tuple(self.table[operand] for operand in node.inputs if operand in self.table)
        if node.op.name == "result":
            made = self.results[node.inputs[0]][node.attrs["index"]]
            stacked = node.attrs["index"] >= node.inputs[0].attrs["carries"] and "size" not in node.inputs[0].attrs
            if stacked and made.tensor.is_static and made.shape[0] >= self.least:
                self.series.add(made)
            return made
        if node.op.name == "loop":
            self.results[node] = self._loop(node, operands)
            return None
        if node.op.name == "index" and node.attrs["axis"] == 0 and operands[0] in self.series:
            return self._element((operands[0], node.attrs["index"], 1), 1, self._index)
        if (total := self._fold(node, operands)) is not None:
            return total
        made = node if operands == node.inputs else self.b.make(node.op, operands, node.attrs)
        if made is not node:
            self.b.set_note(made, self.graph.note(node))
        if isinstance(made.type, TensorType) and made.type.is_static:
            flags = moving(made)
            sources = made.inputs if flags is None and moved((made, 0, 1), 1) else []
            sources = [o for o, moves in zip(made.inputs, flags, strict=True) if moves] if flags else sources
            if any(operand in self.series for operand in sources):
                self.series.add(made)
        return made

    # -- an element of a value -----------------------------------------------------------------------------------------

    def _index(self, place: Place) -> Node:
        return self.b.op("index", place[0], axis=0, index=place[1])

    def _parts(self, place: Place, trips: int) -> list[Place | Node] | None:
        """What the element at a place is made of: elements, and values that are the same at every step; None where it
        is read from memory.
        """
        node, start, step = place
        if node not in self.series or node.op.name == "result":
            return None
        flags = moving(node)
        if flags is None:
            inner = moved(place, trips)
            return None if inner is None else [inner]
        return [(o, start, step) if moves else o for o, moves in zip(node.inputs, flags, strict=True)]

    def _leaves(self, place: Place, trips: int) -> list[Place]:
        """What is read from memory for the elements at a place."""
        pending, seen, leaves = [place], {place}, []
        while pending:
            top = pending.pop()
            parts = self._parts(top, trips)
            if parts is None:
                leaves.append(top)
            for part in parts or ():
                if isinstance(part, tuple) and part not in seen:
                    seen.add(part)
                    pending.append(part)
        return leaves

    def _element(
        self, root: Place, trips: int, leaf: Leaf, b: Builder | None = None, fixed: Fixed | None = None
    ) -> Node:
        """Build the element at a place in ``b``, where ``fixed`` gives what is the same at every step."""
        builder, known = b or self.b, dict[Place, Node]()
        pending = [root]
        while pending:
            place = pending[-1]
            parts = None if place in known else self._parts(place, trips)
            waiting = [part for part in parts or () if isinstance(part, tuple) and part not in known]
            if waiting:
                pending.extend(reversed(waiting))
                continue
            pending.pop()
            if place in known:
                continue
            if parts is None:
                known[place] = leaf(place)
            elif moving(place[0]) is None:
                (inner,) = parts
                assert isinstance(inner, tuple)
                known[place] = known[inner]
            else:
                given = [
                    known[part] if isinstance(part, tuple) else self._fixed(place[0], part, fixed) for part in parts
                ]
                known[place] = apply_step(builder, place[0], given)
        return known[root]

    def _fixed(self, reader: Node, node: Node, fixed: Fixed | None) -> Node:
        if node.rank == reader.rank and reader.op.name != "matmul":
            node = self.b.op("index", node, axis=0, index=0)
        return node if fixed is None else fixed(node)

    # -- loops ---------------------------------------------------------------------------------------------------------

    def _loop(self, node: Node, operands: Sequence[Node]) -> list[Node]:
        """The results of a loop which computes what it can of its sequences by itself."""
        loop = LoopParts.of(node).with_operands(operands)
        if is_divisible(loop) and "size" not in node.attrs and trips_of(loop) >= self.least:
            made = self._fed(loop)
            if made is not None:
                return made
        same = node if tuple(operands) == node.inputs else self.b.make(node.op, operands, node.attrs)
        self.b.place(same)
        return [self.b.op("result", same, index=index) for index in range(len(node.attrs["body"].outputs))]

    def _fed(self, loop: LoopParts) -> list[Node] | None:
        trips = trips_of(loop)
        places = [
            (sequence, start, step)
            for sequence, (axis, start, step) in zip(loop.sequences, loop.slices, strict=True)
            if axis == 0 and isinstance(start, int) and sequence in self.series
        ]
        if all(place[0].op.name == "result" for place in places):
            return None
        # Where a concatenation ends near an end of the loop, the steps beyond are written out.
        edges = sorted(product(range(ALONE + 1), repeat=2), key=sum)
        for front, back in edges:
            if trips - front - back >= self.least and not any(
                leaf[0] in self.series and leaf[0].op.name == "concat"
                for node, start, step in places
                for leaf in self._leaves((node, start + step * front, step), trips - front - back)
            ):
                break
        else:
            front = back = 0
        carries, early = self._written(loop, 0, front, list(loop.carries))
        made = self._inside(loop, front, trips - front - back, carries)
        carries, middle = made[: len(carries)], made[len(carries) :]
        carries, late = self._written(loop, trips - back, back, carries)
        self.series.update(middle)
        stacks = []
        for k, rows in enumerate(middle):
            parts = [*early[k : k + 1], rows, *late[k : k + 1]]
            stacks.append(self.b.op("concat", *parts, axis=0) if len(parts) > 1 else rows)
        return [*carries, *stacks]

    def _written(self, loop: LoopParts, first: int, trips: int, carries: list[Node]) -> tuple[list[Node], list[Node]]:
        """Some trips of a loop, written out: the carries after them, and their stacks."""
        b, rows = self.b, list[list[Node]]()
        for trip in range(first, first + trips):
            elements = []
            for sequence, (axis, start, step) in zip(loop.sequences, loop.slices, strict=True):
                assert isinstance(start, int)
                position = start + step * trip
                if axis == 0:
                    elements.append(self._element((sequence, position, 1), 1, self._index))
                else:
                    elements.append(b.op("index", sequence, axis=axis, index=position))
            outputs = inline(b, loop.body, [b.constant(trip, int64), *carries, *loop.invariants, *elements])
            carries, made = outputs[: len(carries)], outputs[len(carries) :]
            rows.append(made)
        return carries, [b.op("stack", *column, axis=0) for column in zip(*rows, strict=True)]

    def _inside(self, loop: LoopParts, first: int, trips: int, carries: Sequence[Node]) -> list[Node]:
        """Some trips of a loop whose body makes the elements of its sequences."""
        inner, body = Builder(), loop.body
        t = inner.input("t", tensor_type(int64))
        carried = [inner.input(f"c{k}", node.tensor) for k, node in enumerate(carries)]
        invariants: dict[Node, Node] = {}
        read: dict[tuple[Node, int, int, int], Node] = {}

        def fixed(node: Node) -> Node:
            if node.op.name == "constant" and not node.rank:
                return inner.make(node.op, (), node.attrs)
            if node.op.name == "broadcast_to" and node.inputs[0].op.name == "constant" and not node.inputs[0].rank:
                return inner.make(node.op, [fixed(node.inputs[0])], node.attrs)
            if node not in invariants:
                invariants[node] = inner.input(f"v{len(invariants)}", node.tensor)
            return invariants[node]

        def sequence(node: Node, axis: int, start: int, step: int) -> Node:
            key = (node, axis, start, step)
            if key not in read:
                shape = node.shape[:axis] + node.shape[axis + 1 :]
                read[key] = inner.input(f"s{len(read)}", node.tensor.with_shape(shape))
            return read[key]

        given = [fixed(node) for node in loop.invariants]
        elements = []
        for node, (axis, start, step) in zip(loop.sequences, loop.slices, strict=True):
            assert isinstance(start, int)
            begin = start + step * first
            if axis:
                elements.append(sequence(node, axis, begin, step))
            else:
                place = (node, begin, step)
                elements.append(
                    self._element(place, trips, lambda one: sequence(one[0], 0, one[1], one[2]), inner, fixed)
                )
        counter = inner.op("add", t, inner.constant(first, int64)) if first else t
        outputs = inline(inner, body, [counter, *carried, *given, *elements])
        made = Graph.make(
            "body",
            [t, *carried, *invariants.values(), *read.values()],
            [(f"o{k}", node) for k, node in enumerate(outputs)],
            builder=inner,
        )
        slices = [(key[1], key[2], key[3]) for key in read]
        return make_loop(self.b, trips, made, carries, list(invariants), [key[0] for key in read], slices)

    # -- sums over the steps -------------------------------------------------------------------------------------------

    def _fold(self, node: Node, operands: Sequence[Node]) -> Node | None:
        """A sum over the steps, by a loop."""
        if not isinstance(node.type, TensorType) or not node.type.is_static or node.dtype.is_half:
            return None
        b = Builder()
        t, before = b.input("t", tensor_type(int64)), b.input("c0", node.tensor)
        if node.op.name == "sum" and 0 in node.attrs["axes"] and not node.attrs["keepdims"]:
            sources = [operands[0]]
        elif node.op.name == "matmul" and all(operand.rank == 2 for operand in operands):
            left, right = operands
            flat = left.inputs[0] if left.op.name == "transpose" and left.attrs["permutation"] == (1, 0) else left
            if flat is left or any(one.op.name != "reshape" or one.inputs[0].rank != 3 for one in (flat, right)):
                return None
            sources = [flat.inputs[0], right.inputs[0]]
            if sources[0].shape[:2] != sources[1].shape[:2]:
                return None
        else:
            return None
        if not any(source in self.series for source in sources) or int(sources[0].shape[0]) < self.least:
            return None
        trips = int(sources[0].shape[0])
        elements = [b.input(f"s{k}", one.tensor.with_shape(one.shape[1:])) for k, one in enumerate(sources)]
        if node.op.name == "matmul":
            added = b.op("matmul", b.op("transpose", elements[0], permutation=(1, 0)), elements[1])
        else:
            axes = tuple(axis - 1 for axis in node.attrs["axes"] if axis)
            added = b.op("sum", elements[0], axes=axes, keepdims=False) if axes else elements[0]
        if added.type is not node.type:
            return None
        body = Graph.make("sum", [t, before, *elements], [("c0", b.op("add", before, added))], builder=b)
        # Along with the loop that made what is summed, in the order in which that was made.
        leaves = [leaf for source in sources for leaf in self._leaves((source, 0, 1), trips)]
        down = any(leaf[2] < 0 and leaf[0].op.name == "result" for leaf in leaves)
        place = (0, trips - 1, -1) if down else (0, 0, 1)
        slices = tuple(place for _ in sources)
        loop = LoopParts(trips, body, (zeros(self.b, node.tensor),), (), tuple(sources), slices)
        made = self._fed(loop)
        if made is None:
            made = make_loop(self.b, trips, body, loop.carries, (), sources, slices)
        return made[0]
