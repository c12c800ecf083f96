"""Rewriting: a new graph from an old one, reusing what is untouched and keeping creation order and notes.

A pass gives one function that looks at a node with its already rewritten inputs and returns a node (possibly new), or
None to leave it as it is.  The walk is iterative, in the graph's own order, so that a rewritten node stands where the
old one stood.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from graphc.ir.attrs import EMPTY, Attrs, AttrValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.op import OpDef
from graphc.ir.traverse import reachable

Rule = Callable[[Builder, Node, Sequence[Node]], Node | None]
"""(builder, old node, its rewritten inputs) → replacement, or None for "the same op on these inputs"."""


class RecordingBuilder(Builder):
    """A builder that knows a graph's nodes and records the order in which the nodes of the new graph are first placed.

    Attributes:
        order: the nodes placed so far; a dict for its order.
        subject: the old node being rewritten: new nodes take its note.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.order: dict[Node, None] = {}
        self.subject: Node | None = None
        self._graph = graph
        self._knows_graph = False

    def make(
        self, op: OpDef | str, inputs: Sequence[Node] = (), attrs: Mapping[str, AttrValue] | Attrs = EMPTY
    ) -> Node:
        """As :meth:`Builder.make`; the node also takes its place in ``order``."""
        if not self._knows_graph:
            # Entering every node in the table is what a rewrite costs: it waits until a pass really makes something.
            self._knows_graph = True
            for known in self._graph.nodes:
                self._remember((known.op, known.attrs.key, known.inputs), known)
        node = super().make(op, inputs, attrs)
        if node not in self.order:
            self.place(node)
        if self.subject is not None and node.serial not in self._notes and node not in self._graph.notes:
            self.set_note(node, self._graph.note(self.subject))
        return node

    def place(self, node: Node) -> None:
        """Give ``node`` the next place in ``order`` if it has none, after inputs of it that have none."""
        order = self.order
        stack = [] if node in order else [node]
        while stack:
            top = stack[-1]
            waiting = [operand for operand in top.inputs if operand not in order]
            if waiting and top not in order:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            order.setdefault(top)

    def note(self, node: Node) -> Note:
        """The note of the old graph, or of a node made since."""
        found = self._graph.notes.get(node)
        return found if found is not None else super().note(node)


def rewrite(graph: Graph, rule: Rule, wanted: Container[str] | None = None) -> Graph:
    """Apply ``rule`` to every node, inputs first; the same graph object where nothing changes.

    Args:
        wanted: names of the ops that the rule looks at; None for all.
    """
    builder = RecordingBuilder(graph)
    changed: dict[Node, Node] = {}
    for position, node in enumerate(graph.nodes):
        operands: Sequence[Node] = node.inputs
        if changed and any(operand in changed for operand in operands):
            operands = [changed.get(operand, operand) for operand in operands]
        builder.subject = node
        made = rule(builder, node, operands) if wanted is None or node.op.name in wanted else None
        if made is None:
            made = node if operands is node.inputs else builder.make(node.op, operands, node.attrs)
        if made is not node:
            if not changed:
                # The first change: everything before it stands as it stood.
                builder.order = {**dict.fromkeys(graph.nodes[:position]), **builder.order}
            changed[node] = made
            builder.set_note(made, graph.notes.get(node, NO_NOTE))
        if changed:
            builder.place(made)
    if not changed:
        return graph
    return rebuilt(graph, changed, builder)


def rebuilt(graph: Graph, table: Mapping[Node, Node], builder: RecordingBuilder) -> Graph:
    """The graph with its roots replaced by what ``table`` says (themselves where it says nothing); ``graph`` itself
    where no root changed.
    """
    outputs = tuple((name, table.get(node, node)) for name, node in graph.outputs)
    updates = tuple((table.get(variable, variable), table.get(value, value)) for variable, value in graph.updates)
    if outputs == graph.outputs and updates == graph.updates:
        return graph
    inputs = tuple(table.get(node, node) for node in graph.inputs)
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
