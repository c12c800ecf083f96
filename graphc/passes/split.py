"""split: a product of a concatenation, part of which no carry reaches, becomes a sum of products.

``concat([x_t, h]) @ W`` is ``x_t @ W[:F] + h @ W[F:]``, of which ``hoist`` takes the first out of the loop.  The mirror
image is the gradient of that concatenation: of ``dz @ Wᵀ`` only some columns may be wanted, or some by a carry and the
others behind the loop.  The sum of one contraction is re-associated, which contractions may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.traverse import reachable, users
from graphc.passes.base import Pass, map_regions
from graphc.passes.loops import LoopParts, edit_loops


@dataclass(frozen=True)
class Split(Pass):
    """Split products inside of loops where a part can leave."""

    name: ClassVar[str] = "split"

    def run(self, graph: Graph) -> Graph:
        """The graph with products that depend on a carry apart from those that do not."""
        return map_regions(graph, lambda region: edit_loops(region, _edit))


def _edit(_: Builder, parts: LoopParts) -> bool:
    if parts.holds_loops:
        return False
    fixed, carried = parts.fixed_nodes(), parts.carried_nodes()
    products = [node for node in parts.region.nodes if is_matrix_product(node) and node.inputs[1] in fixed]
    joined = {node: pieces for node in products if (pieces := _pieces(node.inputs[0], carried)) is not None}
    cut = _cut_products([node for node in products if node not in joined], parts)
    if not joined and not cut:
        return False
    body = parts.body

    def rule(node: Node, table: Mapping[Node, Node]) -> Node | None:
        if node in joined:
            left, right = node.inputs
            return _sum_of_products(body, [table[piece] for piece in left.inputs], table[right], joined[node])
        if node in cut:
            left, right = cut[node].inputs
            return body.op("matmul", table[left], _columns(body, table[right], node))
        return None

    parts.rebuild(rule)
    return True


def is_matrix_product(node: Node) -> bool:
    """Whether a node is a product of two matrices of floats, of known sizes."""
    return (
        node.op.name == "matmul"
        and node.tensor.is_static
        and node.dtype.is_float
        and all(operand.rank == 2 for operand in node.inputs)
    )


def _pieces(left: Node, carried: set[Node]) -> tuple[tuple[int, int], ...] | None:
    """Stretches of the operands of a concatenation along the columns, in turns carried and not; None for one alone."""
    if left.op.name != "concat" or left.attrs["axis"] != 1:
        return None
    kinds = [operand in carried for operand in left.inputs]
    borders = [0, *(place for place in range(1, len(kinds)) if kinds[place] != kinds[place - 1]), len(kinds)]
    return tuple(pairwise(borders)) if len(borders) > 2 else None


def _sum_of_products(body: Builder, lefts: Sequence[Node], right: Node, pieces: Sequence[tuple[int, int]]) -> Node:
    """Σ over the pieces: the joined operands of each, times the rows of the right operand that belong to them."""
    offsets = [0, *accumulate(int(left.shape[1]) for left in lefts)]
    columns = int(right.shape[1])
    total: Node | None = None
    for low, high in pieces:
        left = lefts[low] if high - low == 1 else body.op("concat", *lefts[low:high], axis=1)
        rows = body.op("slice", right, starts=(offsets[low], 0), stops=(offsets[high], columns), steps=(1, 1))
        product = body.op("matmul", left, rows)
        total = product if total is None else body.op("add", total, product)
    assert total is not None
    return total


def _cut_products(products: Sequence[Node], parts: LoopParts) -> dict[Node, Node]:
    """Slices of columns of products that are read in no other way → the product.

    One that takes all columns together with others is left alone, unless a carry needs some and not the others.
    """
    nodes = parts.region.nodes
    readers: Mapping[Node, Sequence[Node]] = users(nodes)
    outputs = set(parts.region.output_nodes)
    needed = reachable([carry.following for carry in parts.carries])
    found: dict[Node, Node] = {}
    for product in products:
        slices = readers[product]
        if not slices or product in outputs or not all(_takes_columns(node) for node in slices):
            continue
        covered = sum(int(node.shape[1]) for node in slices)
        if covered < int(product.shape[1]) or len({node in needed for node in slices}) > 1:
            found.update(dict.fromkeys(slices, product))
    return found


def _takes_columns(node: Node) -> bool:
    if node.op.name != "slice" or node.attrs["steps"] != (1, 1):
        return False
    return (node.attrs["starts"][0], node.attrs["stops"][0]) == (0, node.inputs[0].shape[0])


def _columns(body: Builder, right: Node, taken: Node) -> Node:
    """The columns of a right operand that a slice of the product takes."""
    rows = int(right.shape[0])
    starts, stops = taken.attrs["starts"], taken.attrs["stops"]
    return body.op("slice", right, starts=(0, starts[1]), stops=(rows, stops[1]), steps=(1, 1))
