"""ends: what is padded to an open size stands where its number is compared with that of the first or the last element.

The gradient of ``h[:, -1]`` is ``pad``: zeros up to the last step.  How many there are only the call says; each step on
its own can tell whether it is the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.ir.types import int64


def at_the_ends(graph: Graph, name: str) -> Graph:
    """The graph with no ``pad`` of one element to the whole dimension ``name``, as its first or its last."""
    size = symbol(name)

    def rule(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op.name != "pad" or size not in node.shape:
            return None
        axis = node.shape.index(size)
        low, high = node.attrs["low"], node.attrs["high"]
        rest = [*low[:axis], *low[axis + 1 :], *high[:axis], *high[axis + 1 :]]
        if (low[axis], high[axis]) not in ((0, size - 1), (size - 1, 0)) or any(rest):
            return None
        place = b.constant(0, int64) if low[axis] == 0 else _last(b, size)
        here = b.op("equal", b.op("iota", shape=(size,), axis=0, dtype=int64), place)
        here = b.op("reshape", here, shape=(size, *(1,) * (node.rank - axis - 1)))
        return b.op("select", here, *inputs)

    return rewrite(graph, rule, ("pad",))


def _last(b: Builder, size: Dim) -> Node:
    """The number of the last element."""
    one = b.constant(1, int64)
    return b.op("subtract", b.op("sum", b.op("broadcast_to", one, shape=(size,)), axes=(0,), keepdims=False), one)
