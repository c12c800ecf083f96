"""scatter: few rows that are added to a tensor of zeros, which is then added to another, go there at once.

The gradient of an embedding is a table of zeros with some rows added; stochastic gradient descent subtracts it from the
table.  The gradient of a cross-entropy is a softmax and, for each row, one number more.  Only what is not zero is
written:

    x + scatter_add(0, i, u) = scatter_add(x, i, u)        c · scatter_add(0, i, u) = scatter_add(0, i, c · u)
    Σ scatter_add_along_axis(0, i, u) = Σ u

The last one only where the scatter stays for another reader, and checks its indices.  Not exact to the last bit where
an index occurs twice, since the rows are added to ``x`` one after the other, and where scatters are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.ir.traverse import users
from graphc.ops.indexing import SCATTERS
from graphc.passes.base import Pass, map_regions
from graphc.passes.simplify import uniform_value


@dataclass(frozen=True)
class Scatter(Pass):
    """Scatter into what is added."""

    name: ClassVar[str] = "scatter"

    def run(self, graph: Graph) -> Graph:
        """The graph with fewer tensors of zeros."""
        return map_regions(graph, _scatter)


def _scatter(graph: Graph) -> Graph:
    if not any(node.op.name in SCATTERS for node in graph.nodes):
        return graph
    graph = _without_sums(graph)
    readers, roots = users(graph.nodes), set(graph.roots)

    def rule(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        for place, (old, new) in enumerate(zip(node.inputs, inputs, strict=True)):
            # What somebody else reads has to be there anyway.
            if _is_sparse(new) and new.type is node.type and len(readers[old]) == 1 and old not in roots:
                made = _moved(b, node, new, inputs[1 - place], place)
                if made is not None:
                    return made
        return None

    return rewrite(graph, rule, ("add", "subtract", "multiply"))


def _without_sums(graph: Graph) -> Graph:
    """The graph in which no tensor is summed along the axis that its rows were scattered along."""
    readers, roots = users(graph.nodes), set(graph.roots)

    def rule(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        (old,), (new,) = node.inputs, inputs
        stays = old in roots or any(reader.op.name != "sum" for reader in readers[old])
        return _sum_of_rows(b, node, new) if stays and _is_sparse(new) else None

    return rewrite(graph, rule, ("sum",))


def _sum_of_rows(b: Builder, node: Node, sparse: Node) -> Node | None:
    axes, chain = node.attrs["axes"], _chain(sparse)
    if any(scatter.op.name != "scatter_add_along_axis" or scatter.attrs["axis"] not in axes for scatter in chain):
        return None
    total: Node | None = None
    for scatter in reversed(chain):
        rows = scatter.inputs[2]
        if all(rows.shape[place] == 1 for place in axes):
            part = rows if node.attrs["keepdims"] else b.op("reshape", rows, shape=node.shape)
        else:
            part = b.make(node.op, [rows], node.attrs)
        total = part if total is None else b.op("add", total, part)
    return total


def _is_sparse(node: Node) -> bool:
    """Is it zeros, to which rows are added?"""
    return node.op.name in SCATTERS and uniform_value(_chain(node)[-1].inputs[0]) == 0


def _chain(node: Node) -> list[Node]:
    """Scatters, one into the other, the last one first."""
    chain = [node]
    while chain[-1].inputs[0].op.name in SCATTERS:
        chain.append(chain[-1].inputs[0])
    return chain


def _moved(b: Builder, node: Node, sparse: Node, other: Node, place: int) -> Node | None:
    """The sum, difference or product of a sparse tensor, the operand at ``place``, with another one."""
    chain = _chain(sparse)
    base = chain[-1].inputs[0]
    if node.op.name == "multiply":
        if other.rank:
            return None
    elif other.type is not node.type or (node.op.name == "subtract" and place == 0):
        return None
    else:
        base = other
    for scatter in reversed(chain):
        _, indices, rows = scatter.inputs
        if node.op.name == "multiply":
            rows = b.op("multiply", rows, other)
        elif node.op.name == "subtract":
            rows = b.op("negative", rows)
        base = b.make(scatter.op, [base, indices, rows], scatter.attrs)
    return base
