"""Rewriting: a new graph from an old one, reusing what is untouched and keeping creation order and notes.

A pass gives one function that looks at a node with its already rewritten inputs and returns a node (possibly new), or None to
leave it as it is.  The walk is iterative, in the graph's own order, so that a rewritten node stands where the old one stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.traverse import reachable

Rule = Callable[[Builder, Node, Sequence[Node]], Node | None]
"""(builder, old node, its rewritten inputs) → replacement, or None for "the same op on these inputs"."""


class RecordingBuilder(Builder):
    """A builder that starts with a graph's nodes and remembers the order in which nodes are first asked for."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.order: dict[Node, None] = {}
        self._graph = graph
        for node in graph.nodes:
            self._remember((node.op, node.attrs.key, node.inputs), node)

    def make(self, *args: object, **kwargs: object) -> Node:  # type: ignore[override]
        """As :meth:`Builder.make`; the node also takes its place in ``order``."""
        node = super().make(*args, **kwargs)  # type: ignore[arg-type]
        if node not in self.order:
            self.place(node)
        return node

    def place(self, node: Node) -> None:
        """Give ``node`` the next place in ``order`` if it has none, after inputs of it that have none."""
        stack = [] if node in self.order else [node]
        while stack:
            top = stack[-1]
            waiting = [operand for operand in top.inputs if operand not in self.order]
            if waiting and top not in self.order:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            self.order.setdefault(top)

    def note(self, node: Node) -> Note:
        """The note of the old graph, or of a node made since."""
        found = self._graph.notes.get(node)
        return found if found is not None else super().note(node)


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Apply ``rule`` to every node, inputs first; the same graph object where nothing changes."""
    builder = RecordingBuilder(graph)
    table: dict[Node, Node] = {}
    for node in graph.nodes:
        operands = [table[operand] for operand in node.inputs]
        note = graph.notes.get(node, NO_NOTE)
        with builder.noted(note, note.role):
            made = rule(builder, node, operands)
            if made is None:
                made = node if all(a is b for a, b in zip(operands, node.inputs)) else builder.make(node.op, operands, node.attrs)
        builder.place(made)
        if made is not node:
            builder.set_note(made, note)
        table[node] = made
    return rebuilt(graph, table, builder)


def rebuilt(graph: Graph, table: Mapping[Node, Node], builder: RecordingBuilder) -> Graph:
    """The graph with its roots replaced by what ``table`` says; ``graph`` itself where no root changed."""
    outputs = tuple((name, table[node]) for name, node in graph.outputs)
    updates = tuple((table[variable], table[value]) for variable, value in graph.updates)
    if outputs == graph.outputs and updates == graph.updates:
        return graph
    inputs = tuple(table[node] for node in graph.inputs)
    roots = [*inputs, *(node for _, node in outputs), *(node for pair in updates for node in pair)]
    keep = reachable(roots)
    order = tuple(node for node in builder.order if node in keep)
    notes = {node: note for node in order if (note := builder.note(node)) is not NO_NOTE}
    return Graph(graph.name, inputs, outputs, updates, order, notes)


def substitute(graph: Graph, replacements: Mapping[Node, Node]) -> Graph:
    """The graph with some nodes replaced by others of the same type (whose inputs must not depend on the replaced)."""
    return rewrite(graph, lambda _builder, node, _inputs: replacements.get(node))


def inline(builder: Builder, region: Graph, arguments: Sequence[Node]) -> list[Node]:
    """Build the outputs of ``region`` in ``builder`` with its inputs replaced by ``arguments``."""
    table: dict[Node, Node] = dict(zip(region.inputs, arguments, strict=True))
    for node in region.nodes:
        if node not in table:
            table[node] = builder.make(node.op, [table[operand] for operand in node.inputs], node.attrs)
            builder.set_note(table[node], region.note(node))
    return [table[node] for _, node in region.outputs]
