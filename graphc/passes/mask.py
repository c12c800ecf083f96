"""mask: a graph over a dimension of which only the first elements count; how many, an input says.

A batch of 23 rows can be worked off by code for 32: the rows behind the last hold whatever they hold, NaN and infinity
included, and nothing that counts may depend on them.  Two things see to that.  Ops that keep the rows apart
(:mod:`graphc.passes.series`) leave what they make of such a row in such a row.  Ops that fold all rows into a value of
fixed size read, in the place of such a row, what changes nothing: 0 for a sum, minus infinity for a maximum.  The value
is *selected*, never multiplied by 0.  A mean divides by a sum of ones over the rows, which so becomes their number.

Indices from the data are 0 in such rows, so that no check of an index fails there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TensorType, int64, tensor_type
from graphc.ops.loop_parts import LoopParts, make_loop
from graphc.passes.series import FOLDS, Layout, Series, neutral

_INDEXED = ("take", "take_along_axis", "scatter_add", "scatter_add_along_axis")
"""Ops whose second operand is indices."""


def mask(graph: Graph, name: str) -> Graph:
    """The graph with one input more, an int64 number that says how many elements of the dimension ``name`` count.

    Args:
        graph: of ops that kernels exist for.  Its outputs over the dimension hold anything behind those elements.
        name: of the dimension.

    Raises:
        UnsupportedOp: what neither keeps the elements apart nor folds them (E334), with the user's line.
    """
    work = _Mask(graph, name)
    work.run()
    return work.entry()


class _Mask:
    """Builds a graph, or the body of a loop, anew.

    Attributes:
        table: old node → new node.
        count: the input that says how many elements count.
        is_counted: does anything read it?
        results: loop → where the dimension stands in each of its results.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.series = Series(graph, name)
        self.b = Builder()
        taken = {node.attrs["name"] for node in graph.inputs}
        self.count = self.b.new_input(_unused(name, taken), tensor_type(int64))
        self.is_counted = False
        self.table: dict[Node, Node] = {}
        self.results: dict[Node, list[Layout | None]] = {}

    def run(self, given: Sequence[Layout | None] = ()) -> None:
        """Build all nodes; ``given`` says where the dimension stands in the inputs of a body."""
        layouts = self.series.layouts
        known = dict(zip(self.graph.inputs, given, strict=False))
        for node in self.graph.nodes:
            if node.op.name == "result":
                known[node] = self.results[node.inputs[0]][node.attrs["index"]]
            if node in known:
                layout = known[node]
                if layout is not None:
                    layouts[node] = layout
            elif isinstance(node.type, TensorType):
                self.series.find_layout(node)
            note = self.graph.note(node)
            with self.b.noted(note, note.role):
                self.table[node] = self._made(node)
            self.b.set_note(self.table[node], note)

    def entry(self) -> Graph:
        """The whole graph, the number behind its other inputs."""
        graph, table = self.graph, self.table
        return Graph.make(
            graph.name,
            [*(table[node] for node in graph.inputs), self.count],
            [(label, table[node]) for label, node in graph.outputs],
            [(table[variable], table[value]) for variable, value in graph.updates],
            builder=self.b,
        )

    def body(self, position: int) -> Graph:
        """The body of a loop; where anything reads the number, it is the input at ``position``."""
        inputs = [self.table[node] for node in self.graph.inputs]
        if self.is_counted:
            inputs.insert(position, self.count)
        outputs = [(label, self.table[node]) for label, node in self.graph.outputs]
        return Graph.make(self.graph.name, inputs, outputs, builder=self.b)

    def _made(self, node: Node) -> Node:
        """The new node for an old one whose operands are made."""
        series, name = self.series, node.op.name
        if name == "loop":
            return self._loop(node)
        operands = [self.table[one] for one in node.inputs]
        if name not in ("input", "result"):
            if node in series.layouts:
                series.check_step(node)
            elif any(one in series.layouts for one in node.inputs):
                series.check_fold(node)
                operands = self._folded(node, operands)
            if name in _INDEXED and node.inputs[1] in series.layouts:
                operands[1] = self._masked(node.inputs[1], "add")
        return self.b.make(node.op, operands, node.attrs)

    def _folded(self, node: Node, operands: Sequence[Node]) -> list[Node]:
        """The operands of a node that folds all elements, with what changes nothing behind the last that counts."""
        if node.op.name == "index":
            if node.attrs["index"] != 0:
                raise self.series.fail(node, "it reads the last of its elements")
            return list(operands)
        combine, layouts = FOLDS.get(node.op.name, "add"), self.series.layouts
        return [
            self._masked(one, combine) if one in layouts else operand
            for one, operand in zip(node.inputs, operands, strict=True)
        ]

    def _masked(self, old: Node, combine: str) -> Node:
        """The new node for ``old`` with a neutral value behind the last element that counts."""
        self.is_counted = True
        b, layout, size = self.b, self.series.layouts[old], symbol(self.series.name)
        counts = b.op("less", b.op("iota", shape=(size,), axis=0, dtype=int64), self.count)
        if not layout.is_plain:
            counts = b.op("reshape", counts, shape=(1, size, 1))
            counts = b.op("broadcast_to", counts, shape=(layout.outer, size, layout.inner))
        behind = (1,) * (old.rank - layout.axis - 1)
        if behind or not layout.is_plain:
            counts = b.op("reshape", counts, shape=(old.shape[layout.axis], *behind))
        return b.op("select", counts, self.table[old], neutral(b, combine, old.dtype))

    # -- loops -----------------------------------------------------------------------------------------------------

    def _loop(self, node: Node) -> Node:
        """A loop whose body is masked, too."""
        series, loop = self.series, LoopParts.of(node)
        layouts = series.layouts
        if series.is_over(loop.trips):
            raise series.fail(node, f"its {loop.trips} steps come one after the other")
        for one in node.inputs:
            if one in layouts:
                series.settle([one])
        given: list[Layout | None] = [None]
        given += [layouts.get(one) for one in (*loop.carries, *loop.invariants)]
        for one, (axis, _, _) in zip(loop.sequences, loop.slices, strict=True):
            layout = layouts.get(one)
            if layout is not None and layout.axis == axis:
                raise series.fail(node, f"its steps read {one.type!r} along {series.name}")
            given.append(_without(layout, axis))
        inner = _Mask(loop.body, series.name)
        inner.run(given)
        made = [inner.series.layouts.get(one) for one in loop.body.output_nodes]
        count = len(loop.carries)
        if made[:count] != given[1 : count + 1]:
            raise series.fail(node, "a step leaves its values in another order than it found them")
        self.results[node] = [*made[:count], *map(_stacked, made[count:])]
        invariants = [self.table[one] for one in loop.invariants]
        body = inner.body(1 + count + len(invariants))
        if inner.is_counted:
            self.is_counted = True
            invariants.append(self.count)
        results = make_loop(
            self.b,
            loop.trips,
            body,
            [self.table[one] for one in loop.carries],
            invariants,
            [self.table[one] for one in loop.sequences],
            loop.slices,
        )
        return results[0].inputs[0]


def _unused(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _without(layout: Layout | None, axis: int) -> Layout | None:
    """Where a dimension stands in what is left when ``axis``, another one, is indexed."""
    if layout is None or layout.axis < axis:
        return layout
    return replace(layout, axis=layout.axis - 1)


def _stacked(layout: Layout | None) -> Layout | None:
    """Where a dimension stands in a stack of values."""
    return None if layout is None else replace(layout, axis=layout.axis + 1)
