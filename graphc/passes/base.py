"""What a pass is, and how one reaches the bodies of loops."""

from __future__ import annotations

import abc
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import RecordingBuilder, Rule, rebuilt, rewrite

GraphFunction = Callable[[Graph], Graph]

LoopMaker = Callable[[Builder, Node, Sequence[Node]], Mapping[int, Node] | None]
"""Called with a loop and its new operands: index of a result → what takes its place, or None to keep the loop."""


@dataclass(frozen=True)
class Pass(abc.ABC):
    """A rewrite of one graph.  Subclasses are frozen dataclasses whose fields are the pass's options.

    A pass takes valid IR to valid IR with the same inputs, outputs and updates, and returns the very same object where
    it changes nothing.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def run(self, graph: Graph) -> Graph:
        """The rewritten graph."""


def rewrite_with_regions(graph: Graph, rule: Rule, wanted: Container[str] | None = None) -> Graph:
    """Apply ``rule`` to a graph and, innermost first, to the bodies of its regions."""
    return map_regions(graph, lambda region: rewrite(region, rule, wanted))


def map_regions(graph: Graph, transform: GraphFunction) -> Graph:
    """Transform the bodies of loops, then the graph itself.

    Loops nest as deep as a user's Python nests, so recursion over *regions* is bounded; nothing recurses over nodes.
    """
    return transform(map_bodies(graph, lambda body: map_regions(body, transform)))


def map_bodies(graph: Graph, transform: GraphFunction) -> Graph:
    """Transform the bodies of the loops of a graph, but not what loops there are inside of those."""

    def enter(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        body = node.attrs["body"]
        changed = transform(body)
        return None if changed is body else b.make(node.op, inputs, node.attrs.replace(body=changed))

    if any(node.op.name == "loop" for node in graph.nodes):
        return rewrite(graph, enter, ("loop",))
    return graph


def replace_loops(graph: Graph, make: LoopMaker) -> Graph:
    """The graph with what ``make`` gives in the place of its loops' results; loops that it gives None for stay."""
    b = RecordingBuilder(graph)
    table: dict[Node, Node] = {}
    results: dict[Node, Mapping[int, Node]] = {}
    for node in graph.nodes:
        if node.op.name == "result" and node.inputs[0] in results:
            table[node] = results[node.inputs[0]][node.attrs["index"]]
            continue
        operands = tuple(table[operand] for operand in node.inputs)
        found = make(b, node, operands) if node.op.name == "loop" else None
        if found is not None:
            results[node] = found
            continue
        made = node if operands == node.inputs else b.make(node.op, operands, node.attrs)
        b.place(made)
        if made is not node:
            b.set_note(made, graph.note(node))
        table[node] = made
    return rebuilt(graph, table, b)


def node_count(graph: Graph) -> int:
    """Nodes of a graph and of the bodies of its regions."""
    total, pending = 0, [graph]
    while pending:
        region = pending.pop()
        total += len(region)
        heavy = [node.attrs for node in region.nodes if not node.attrs.is_light]
        pending.extend(value for attrs in heavy for value in attrs.values() if isinstance(value, Graph))
    return total
