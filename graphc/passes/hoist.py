"""hoist: what does not depend on a carry leaves the loop.

Work on invariants alone is done once.  Work on sequences and invariants is done for all steps at once, as one op with
the steps as leading axis, where that makes a
contraction larger: all ``x_t @ W`` of a recurrent layer become one product with T·B rows.  Pointwise work alone stays
inside: there it is fused and in cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import reachable, users
from graphc.ir.types import TensorType
from graphc.passes.base import Pass, map_regions
from graphc.passes.lift import Lifter, can_lift
from graphc.passes.loops import LoopParts, edit_loops


@dataclass(frozen=True)
class Hoist(Pass):
    """Move work out of loops.

    Attributes:
        byte_limit: size up to which the values of all steps may be kept at once.
    """

    name: ClassVar[str] = "hoist"
    byte_limit: int = 1 << 27

    def run(self, graph: Graph) -> Graph:
        """The graph with lighter loop bodies."""
        return map_regions(graph, lambda region: edit_loops(region, self._edit))

    def _edit(self, b: Builder, parts: LoopParts) -> bool:
        hoisted = _Hoister(b, parts, self.byte_limit).find()
        if not hoisted:
            return False
        parts.substitute(hoisted)
        return True


class _Hoister:
    """Finds what can leave one loop and builds it outside."""

    def __init__(self, b: Builder, parts: LoopParts, byte_limit: int) -> None:
        self.parts = parts
        self.byte_limit = byte_limit
        self.b = b

    def find(self) -> dict[Node, Node]:
        """Body node → body input that now holds its value."""
        region = self.parts.region
        fixed = self.parts.fixed_nodes()
        sequences = {part.inner: part for part in self.parts.sequences}
        stepwise: set[Node] = set(sequences)
        heavy: set[Node] = set()
        for node in region.nodes:
            if node in fixed or not node.inputs:
                continue
            if all(operand in fixed or operand in stepwise for operand in node.inputs) and can_lift(
                self.parts, node, self.byte_limit
            ):
                stepwise.add(node)
                if node.op.kind is OpKind.CONTRACTION or any(operand in heavy for operand in node.inputs):
                    heavy.add(node)
        # Where all that is lifted is read from its end, its values are kept in the order of what they are made of.
        read = [sequences[node] for node in reachable(heavy) if node in sequences]
        backward = bool(read) and all(part.step < 0 for part in read)
        lifter = Lifter(self.b, self.parts, backward=backward)
        readers = users(region.nodes)
        roots = set(region.output_nodes)
        replaced: dict[Node, Node] = {}
        for node in region.nodes:
            leaves = node in roots or any(reader not in fixed and reader not in heavy for reader in readers[node])
            if not leaves:
                continue
            if node in fixed and node.inputs and isinstance(node.type, TensorType) and self._is_work(node):
                replaced[node] = self.parts.new_invariant(lifter.fixed(node))
            elif node in heavy:
                whole = lifter.lift(node)
                replaced[node] = self.parts.new_sequence(whole, node.tensor, backward=backward)
        return replaced

    def _is_work(self, node: Node) -> bool:
        """Movement of an invariant is a view and may as well stay; so is what only moves."""
        pending = [node]
        while pending:
            top = pending.pop()
            if top.op.kind is not OpKind.MOVEMENT and top.inputs:
                return True
            pending.extend(top.inputs)
        return False
