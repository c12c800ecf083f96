"""scatter: few rows that are added to a tensor of zeros, which is then added to another, go there at once.

The gradient of an embedding is a table of zeros with some rows added; stochastic gradient descent subtracts it from the
table.  The gradient of a cross-entropy is a softmax and, for each row, one number more.  Only what is not zero is
written:

    x + scatter_add(0, i, u) = scatter_add(x, i, u)        c · scatter_add(0, i, u) = scatter_add(0, i, c · u)
    Σ scatter_add_along_axis(0, i, u) = Σ u

Not exact to the last bit where an index occurs twice: the rows are added to ``x`` one after the other.
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
from graphc.passes.base import Pass, map_regions
from graphc.passes.simplify import uniform_value

_SCATTERS = frozenset({"scatter_add", "scatter_add_along_axis"})


@dataclass(frozen=True)
class Scatter(Pass):
    """Scatter into what is added."""

    name: ClassVar[str] = "scatter"

    def run(self, graph: Graph) -> Graph:
        """The graph with fewer tensors of zeros."""
        return map_regions(graph, _scatter)


def _scatter(graph: Graph) -> Graph:
    if not any(node.op.name in _SCATTERS for node in graph.nodes):
        return graph
    graph = rewrite(graph, _sum, ("sum",))
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


def _sum(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    """The sum, along the axis that was scattered along, of what was scattered."""
    (sparse,) = inputs
    if not _is_sparse(sparse):
        return None
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
    return node.op.name in _SCATTERS and uniform_value(_chain(node)[-1].inputs[0]) == 0


def _chain(node: Node) -> list[Node]:
    """Scatters, one into the other, the last one first."""
    chain = [node]
    while chain[-1].inputs[0].op.name in _SCATTERS:
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
