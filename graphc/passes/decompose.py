"""decompose: composite ops (conv, pooling, a user's pointwise op) become the ops they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.passes.base import Pass, rewrite_with_regions


@dataclass(frozen=True)
class Decompose(Pass):
    """Replace every node whose op has a decomposition, until none is left."""

    name: ClassVar[str] = "decompose"

    def run(self, graph: Graph) -> Graph:
        """The graph without composite ops."""
        while _has_composites(graph):
            changed = rewrite_with_regions(graph, _decompose)
            if changed is graph:
                break
            graph = changed
        return graph


def _has_composites(graph: Graph) -> bool:
    return any(
        node.op.decompose is not None or (node.op.name == "loop" and _has_composites(node.attrs["body"]))
        for node in graph.nodes
    )


def _decompose(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    if node.op.decompose is None:
        return None
    # The rule reads attributes from a node that stands on the rewritten inputs.
    rewritten = (
        node if tuple(inputs) == node.inputs else Node(node.op, tuple(inputs), node.attrs, node.type, node.serial)
    )
    return node.op.decompose(b, rewritten, inputs)
