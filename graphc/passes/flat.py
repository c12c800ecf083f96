"""The kernels that ``fuse`` has drawn, over the graph without them: what each computes, and what of it is stored.

In the *flat* graph no node is hidden in the body of a kernel.  A kernel is the values that it stores; what it computes
and what it reads follow from that, walking back to what is stored already.  So a node may be computed by several
kernels, which a graph in which every structure is made once has no other way to say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import RecordingBuilder, inline, rebuilt
from graphc.ir.types import TensorType
from graphc.passes.fuse_groups import REDUCTIONS, is_scalar_constant, place_kernel


def nbytes(node: Node) -> int:
    """Bytes of a value; 0 where it has no static shape."""
    type_ = node.type
    if not isinstance(type_, TensorType) or not type_.is_static:
        return 0
    return math.prod(type_.static_shape) * type_.dtype.itemsize


def is_kernel(node: Node) -> bool:
    """Is a node a kernel with a body that can be written anew?"""
    if not all(isinstance(operand.type, TensorType) and operand.type.is_static for operand in node.inputs):
        return False
    return node.op.name == "fused" or node.op.name in REDUCTIONS or node.op.kind is OpKind.POINTWISE


def largest_result(kernel: Node) -> int:
    """Bytes of the largest value that a kernel stores."""
    if kernel.op.name == "fused":
        return max(nbytes(value) for _, value in kernel.attrs["body"].outputs)
    return nbytes(kernel)


@dataclass(eq=False, slots=True)
class Kernel:
    """A kernel, in nodes of the flat graph.

    Attributes:
        node: of the graph.
        position: in the graph.
        results: what it computes for others, by the place of its result.
        reads: what it reads from memory.
        steps: what it computes, operands first.
        is_changed: whether it no longer is what the graph says.
    """

    node: Node
    position: int
    results: list[Node]
    reads: set[Node]
    steps: list[Node]
    is_changed: bool = False


class FlatGraph:
    """A graph and its kernels.

    Attributes:
        kernels: the kernels, by their nodes, in order.
        stored: flat node → the value of the graph that it is, in order.
        maker: flat node → the kernel that stores it.
        readers: flat node → the kernels that read it.
        last: flat node → the position of its last reader.
        fixed: flat nodes that others than kernels read.
        updated: the states that the graph gives new values.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kernels: dict[Node, Kernel] = {}
        self.stored: dict[Node, Node] = {}
        self.maker: dict[Node, Kernel] = {}
        self._flat = Builder()
        self._of: dict[Node, Node] = {}
        self._positions = {node: position for position, node in enumerate(graph.nodes)}
        for position, node in enumerate(graph.nodes):
            self._enter(position, node)
        self.readers: dict[Node, list[Kernel]] = {value: [] for value in self.stored}
        self.last: dict[Node, int] = dict.fromkeys(self.stored, 0)
        self.fixed: set[Node] = set()
        self.updated = {variable for variable, _ in graph.updates}
        for kernel in self.kernels.values():
            kernel.steps, kernel.reads = self.walk(kernel.results)
            for value in kernel.reads:
                self.readers[value].append(kernel)
        for position, node in enumerate(graph.nodes):
            for value in (self._of[operand] for operand in node.inputs if operand in self._of):
                self.last[value] = position
                if node not in self.kernels:
                    self.fixed.add(value)
        for node in (*(node for _, node in graph.outputs), *(node for _, node in graph.updates)):
            self.last[self._of[node]] = len(graph)
            self.fixed.add(self._of[node])

    def _enter(self, position: int, node: Node) -> None:
        if node.op.name == "result" and node.inputs[0] in self.kernels:
            value = self.kernels[node.inputs[0]].results[node.attrs["index"]]
        elif is_kernel(node):
            results = self._flattened(node)
            self.kernels[node] = kernel = Kernel(node, position, results, set(), [])
            for result in results:
                self.maker.setdefault(result, kernel)
            if not isinstance(node.type, TensorType):
                return
            (value,) = results
        elif isinstance(node.type, TensorType):
            is_number = is_scalar_constant(node)
            name = f"v{position}"
            value = self._flat.make(node.op, (), node.attrs) if is_number else self._flat.input(name, node.type)
        else:
            return
        self._of[node] = value
        self.stored.setdefault(value, node)

    def _flattened(self, node: Node) -> list[Node]:
        operands = [self._of[operand] for operand in node.inputs]
        if node.op.name == "fused":
            return inline(self._flat, node.attrs["body"], operands)
        made = self._flat.make(node.op, operands, node.attrs)
        self._flat.set_note(made, self.graph.note(node))
        return [made]

    def walk(self, wanted: Collection[Node]) -> tuple[list[Node], set[Node]]:
        """What it takes to compute some nodes: nodes to compute, operands first, and stored ones to read."""
        steps: set[Node] = set()
        reads: set[Node] = set()
        pending = list(wanted)
        while pending:
            node = pending.pop()
            if is_scalar_constant(node) or node in steps:
                continue
            if node in self.stored and node not in wanted:
                reads.add(node)
            else:
                steps.add(node)
                pending.extend(node.inputs)
        return sorted(steps, key=attrgetter("serial")), reads

    def position(self, value: Node) -> int:
        """From where on a stored value is there."""
        maker = self.maker.get(value)
        # The results of a kernel that is placed anew stand right behind it, those of others where they stood.
        return maker.position if maker is not None and maker.is_changed else self._positions[self.stored[value]]

    # -- changes ---------------------------------------------------------------------------------------------------

    def drop(self, value: Node) -> None:
        """Store a value no longer: its readers compute it."""
        maker, readers = self.maker[value], self.readers.pop(value)
        del self.stored[value]
        self._update(maker)
        for kernel in readers:
            self._update(kernel)

    def join(self, kernel: Kernel, other: Kernel) -> None:
        """Let a kernel do what a later one does; all that it reads must be there before."""
        moved = self.kept(other)
        kernel.results += moved
        self.maker.update(dict.fromkeys(moved, kernel))
        other.results = []
        self._update(other)
        self._update(kernel)

    def kept(self, kernel: Kernel) -> list[Node]:
        """The results of a kernel that it stores for others."""
        return [result for result in kernel.results if result in self.stored and self.maker[result] is kernel]

    def _update(self, kernel: Kernel) -> None:
        kernel.is_changed = True
        before = kernel.reads
        kernel.steps, kernel.reads = self.walk(self.kept(kernel))
        for value in before - kernel.reads:
            if value in self.readers:
                self.readers[value].remove(kernel)
        for value in kernel.reads - before:
            self.readers[value].append(kernel)
            self.last[value] = max(self.last[value], kernel.position)

    # -- the graph -------------------------------------------------------------------------------------------------

    def emit(self) -> Graph:
        """The graph with its kernels as they are now."""
        b = RecordingBuilder(self.graph)
        table: dict[Node, Node] = {}
        for node in self.graph.nodes:
            kernel = self.kernels.get(node.inputs[0] if node.op.name == "result" else node)
            if kernel is None or not kernel.is_changed:
                operands = tuple(table[self._standing_for(operand)] for operand in node.inputs)
                table[node] = node if operands == node.inputs else b.make(node.op, operands, node.attrs)
                b.place(table[node])
                if table[node] is not node:
                    b.set_note(table[node], self.graph.note(node))
            elif kernel.node is node:
                self._place(b, kernel, table)
        return rebuilt(self.graph, {node: table[self._standing_for(node)] for node in self.graph.roots}, b)

    def _standing_for(self, node: Node) -> Node:
        """The value of the graph in which a value is stored."""
        flat = self._of.get(node)
        return node if flat is None else self.stored[flat]

    def _place(self, b: RecordingBuilder, kernel: Kernel, table: dict[Node, Node]) -> None:
        results: Sequence[Node] = self.kept(kernel)
        if results:
            read: Mapping[Node, Node] = {value: table[self.stored[value]] for value in kernel.reads}
            parts = place_kernel(b, self._flat, kernel.steps, results, read)
            table.update(zip((self.stored[result] for result in results), parts, strict=True))
