"""merge: products inside a loop that share an operand become one.

Four gates written as ``h @ U_i``, ``h @ U_f``, … are one product with the matrices side by side, which is put together
once and not once a step; their gradients ``dz_i @ U_iᵀ + dz_f @ U_fᵀ + …`` are one product whose contraction is longer.
A wide product keeps the registers of the processor busy, and reads its left operand once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Note
from graphc.ir.notes import joined_note
from graphc.ir.traverse import users
from graphc.passes.base import Pass, map_regions
from graphc.passes.loops import LoopParts, edit_loops, outside_value
from graphc.passes.split import is_matrix_product

_LONG = 512
"""Terms of a product that needs no company in a sum."""


@dataclass(frozen=True)
class Merge(Pass):
    """Merge products of one left operand, and sums of products.

    Attributes:
        minimum_trips: steps that are worth putting the matrices side by side for.
    """

    name: ClassVar[str] = "merge"
    minimum_trips: int = 8

    def run(self, graph: Graph) -> Graph:
        """The graph with fewer and larger products in its loops."""
        return map_regions(graph, lambda region: edit_loops(region, self._edit))

    def _edit(self, b: Builder, parts: LoopParts) -> bool:
        # (Of a loop whose trips each call says, they may be a symbol here.)
        if parts.holds_loops or (isinstance(parts.trips, int) and parts.trips < self.minimum_trips):
            return False
        products = _Products(b, parts)
        if not products.side_by_side and not products.sums:
            return False
        parts.rebuild(products.rule)
        return True


class _Products:
    """What can be merged in one loop.

    Attributes:
        side_by_side: product → those with the same left operand.
        sums: root of a sum → its terms, the products among them first.
    """

    def __init__(self, b: Builder, parts: LoopParts) -> None:
        self.b = b
        self.parts = parts
        self.outside: dict[Node, Node] = {}
        self.merged: dict[Node, Node] = {}
        nodes = parts.region.nodes
        fixed, self.carried = parts.fixed_nodes(), parts.carried_nodes()
        self.products = {node for node in nodes if is_matrix_product(node) and node.inputs[1] in fixed}
        self.sums: dict[Node, tuple[list[Node], list[Node]]] = {}
        self._find_sums(users(nodes), set(parts.region.output_nodes))
        summed = {product for products, _ in self.sums.values() for product in products}
        groups: dict[Node, list[Node]] = {}
        for node in nodes:
            if node in self.products and node not in summed and node.inputs[0] not in fixed:
                groups.setdefault(node.inputs[0], []).append(node)
        self.side_by_side = {node: group for group in groups.values() if len(group) > 1 for node in group}

    def _find_sums(self, readers: Mapping[Node, Sequence[Node]], outputs: set[Node]) -> None:
        """Sums, as large as can be, in which two products or more are added that depend on a carry."""

        def is_inner(node: Node) -> bool:
            return len(readers[node]) == 1 and node not in outputs

        for node in self.parts.region.nodes:
            if node.op.name != "add" or (is_inner(node) and _adds_whole(readers[node][0], node)):
                continue  # part of a larger sum
            products: list[Node] = []
            others: list[Node] = []
            pending = [node]
            while pending:
                top = pending.pop()
                if top.type is not node.type:
                    others.append(top)
                elif top.op.name == "add" and (top is node or is_inner(top)):
                    pending.extend(reversed(top.inputs))
                elif top in self.products and top.inputs[0] in self.carried and is_inner(top) and not _is_long(top):
                    products.append(top)
                else:
                    others.append(top)
            if len(products) > 1:
                self.sums[node] = products, others

    def rule(self, node: Node, table: Mapping[Node, Node]) -> Node | None:
        """What takes the place of a node of the body; ``table`` has what those before it have become."""
        if node in self.side_by_side:
            return self._part(node, table)
        return self._total(node, table) if node in self.sums else None

    def _part(self, node: Node, table: Mapping[Node, Node]) -> Node:
        """A product, as columns of the one that it is merged into."""
        body, group = self.parts.body, self.side_by_side[node]
        whole = self.merged.get(group[0])
        if whole is None:
            right = self._joined([product.inputs[1] for product in group], 1)
            whole = self.merged[group[0]] = body.op("matmul", table[node.inputs[0]], right)
            body.replace_note(whole, self._note(group))
        offsets = [0, *accumulate(int(product.shape[1]) for product in group)]
        low, high = list(pairwise(offsets))[group.index(node)]
        return body.op("slice", whole, starts=(0, low), stops=(int(node.shape[0]), high), steps=(1, 1))

    def _total(self, root: Node, table: Mapping[Node, Node]) -> Node:
        """A sum with its products as one."""
        body = self.parts.body
        products, others = self.sums[root]
        left = body.op("concat", *(table[product.inputs[0]] for product in products), axis=1)
        right = self._joined([product.inputs[1] for product in products], 0)
        total = body.op("matmul", left, right)
        body.replace_note(total, self._note(products))
        for other in others:
            total = body.op("add", total, table[other])
        return total

    def _note(self, products: Sequence[Node]) -> Note:
        return joined_note([self.parts.region.note(product) for product in products])

    def _joined(self, matrices: Sequence[Node], axis: int) -> Node:
        """Matrices that are the same in every trip, put together outside of the loop."""
        outer = [outside_value(self.b, matrix, self.outside, self.parts.invariants) for matrix in matrices]
        if all(matrix.op.name == "transpose" for matrix in outer):
            # Rows are copied as they lie; the product packs its operand from columns as well as from rows.
            rows = self.b.op("concat", *(matrix.inputs[0] for matrix in outer), axis=1 - axis)
            return self.parts.new_invariant(self.b.op("transpose", rows, permutation=(1, 0)))
        return self.parts.new_invariant(self.b.op("concat", *outer, axis=axis))


def _is_long(product: Node) -> bool:
    """Does a product take so long by itself that to add its result costs less than to copy its operand?"""
    inner = product.inputs[0].shape[-1]
    return isinstance(inner, int) and inner >= _LONG


def _adds_whole(node: Node, operand: Node) -> bool:
    """Whether a node adds an operand to something, without broadcasting it."""
    return node.op.name == "add" and operand.type is node.type
