"""Rewriting: a new graph from an old one, reusing what is untouched and keeping creation order and notes.

A pass gives one function that looks at a node with its already rewritten inputs and returns a node (possibly new), or
None to leave it as it is.  The walk is iterative, in the graph's own order, so that a rewritten node stands where the
old one stood.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

from graphc.ir.attrs import EMPTY, Attrs, AttrValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.op import OpDef
from graphc.ir.traverse import reachable
from graphc.ir.types import ValueType

Rule = Callable[[Builder, Node, Sequence[Node]], Node | None]
"""(builder, old node, its rewritten inputs) → replacement, or None for "the same op on these inputs"."""


class RecordingBuilder(Builder):
    """A builder that knows a graph's nodes and records the order in which the nodes of the new graph are first placed.

    Args:
        graph: that is rewritten.
        kept: the nodes of it that may be made again; all of them by default.

    Attributes:
        order: the nodes placed so far; a dict for its order.
        subject: the old node being rewritten: new nodes take its note.
    """

    def __init__(self, graph: Graph, kept: Collection[Node] | None = None) -> None:
        super().__init__()
        self.order: dict[Node, None] = {}
        self.subject: Node | None = None
        self._graph = graph
        # Entering nodes in the table is what a rewrite costs: it waits until a pass really makes something.
        self._unknown: Collection[Node] = graph.nodes if kept is None else kept

    def make(
        self,
        op: OpDef | str,
        inputs: Sequence[Node] = (),
        attrs: Mapping[str, AttrValue] | Attrs = EMPTY,
        known_type: ValueType | None = None,
    ) -> Node:
        """As :meth:`Builder.make`; the node also takes its place in ``order``."""
        if self._unknown:
            for known in self._unknown:
                self.remember(known)
            self._unknown = ()
        node = super().make(op, inputs, attrs, known_type)
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

    def notes_of(self, nodes: Iterable[Node]) -> dict[Node, Note]:
        """The notes of the old graph, and of nodes made since."""
        return {node: note for node in nodes if (note := self.note(node)) is not NO_NOTE}


def rewrite(graph: Graph, rule: Rule, wanted: Container[str] | None = None) -> Graph:
    """Apply ``rule`` to every node, inputs first; the same graph object where nothing changes.

    Args:
        wanted: names of the ops that the rule looks at; None for all.
    """
    builder = RecordingBuilder(graph)
    nodes = graph.nodes
    # Until something changes, only the nodes that the rule looks at matter.
    for node in nodes if wanted is None else [node for node in nodes if node.op.name in wanted]:
        builder.subject = node
        made = rule(builder, node, node.inputs)
        if made is not None and made is not node:
            break
    else:
        return graph
    position = nodes.index(node)
    # Everything before the first change stands as it stood.
    builder.order = {**dict.fromkeys(nodes[:position]), **builder.order}
    changed = {node: made}
    builder.set_note(made, graph.notes.get(node, NO_NOTE))
    builder.place(made)
    for node in nodes[position + 1 :]:
        operands: Sequence[Node] = node.inputs
        if any(operand in changed for operand in operands):
            operands = [changed.get(operand, operand) for operand in operands]
        builder.subject = node
        replacement = rule(builder, node, operands) if wanted is None or node.op.name in wanted else None
        if replacement is None:
            replacement = node if operands is node.inputs else builder.make(node.op, operands, node.attrs)
        if replacement is not node:
            changed[node] = replacement
            builder.set_note(replacement, graph.notes.get(node, NO_NOTE))
        builder.place(replacement)
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
    for root in roots:
        builder.place(root)
    keep = reachable(roots)
    order = tuple(node for node in builder.order if node in keep)
    return Graph.of_order(graph.name, inputs, outputs, updates, order, builder)


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
