"""sink: products that no later step needs leave the loop behind it.

The mirror of ``hoist``.  A decoder's y_t = h_t @ W, or the gradient of a layer's inputs dx_t = dz_t @ Wᵀ, depends on
the carries, but no carry depends on it: it is only stacked.  Then h_t is stacked in its place, and one product of T·B
rows behind the loop makes all y_t, together with the pointwise work on them.  What is stacked although it is but a
view of a sequence is that view of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import users
from graphc.passes.base import Pass, map_regions
from graphc.passes.lift import Lifter, can_lift
from graphc.passes.loops import AfterLoop, LoopParts, StackPart, edit_loops


@dataclass(frozen=True)
class Sink(Pass):
    """Move stacked products behind their loops.

    Attributes:
        byte_limit: size up to which the values of all steps may be kept at once.
    """

    name: ClassVar[str] = "sink"
    byte_limit: int = 1 << 27

    def run(self, graph: Graph) -> Graph:
        """The graph with lighter loop bodies."""
        return map_regions(graph, lambda region: edit_loops(region, self._edit))

    def _edit(self, b: Builder, parts: LoopParts) -> AfterLoop | bool:
        if parts.holds_loops:
            return False
        found = _Sinker(parts, self.byte_limit)
        sunk = [part for part in parts.stacks if part.result in parts.used and found.can_leave(part)]
        if not sunk:
            return False
        backward = parts.reads_backward

        def turned(node: Node) -> Node:
            return b.op("flip", node, axes=(0,)) if backward else node

        border = dict.fromkeys(node for part in sunk for node in found.border(part.value))
        for node in border:
            parts.stack_result(node)

        def after(stacked: Mapping[Node, Node]) -> None:
            # The steps come in the order in which what the loop reads lies: see ``accumulate``.
            lifter = Lifter(b, parts, backward=backward)
            lifter.lifted.update((node, turned(stacked[node])) for node in border)
            for part in sunk:
                assert part.result is not None
                parts.replaced[part.result] = turned(lifter.lift(part.value))

        for part in sunk:
            parts.stacks.remove(part)
        return after


class _Sinker:
    """What may leave one loop behind it."""

    def __init__(self, parts: LoopParts, byte_limit: int) -> None:
        region = parts.region
        readers = users(region.nodes)
        following = {carry.following for carry in parts.carries}
        self.inputs = set(region.inputs)
        self.fixed = parts.fixed_nodes()
        self.sequences = {part.inner for part in parts.sequences}
        stacked = {part.value for part in parts.stacks if part.result in parts.used} - self.inputs
        # Other views of what is there for all trips, or will be.
        self.views: set[Node] = set()
        for node in region.nodes:
            if (
                node not in self.fixed
                and node.op.kind is OpKind.MOVEMENT
                and all(o in self.views or o in self.sequences or o in stacked for o in node.inputs)
                and can_lift(parts, node, byte_limit)
            ):
                self.views.add(node)
        # Products of a step's rows with an invariant matrix, and what is made of them, as far as no carry needs them
        # and their other operands can be kept.
        self.heavy = {node for node in region.nodes if can_lift(parts, node, byte_limit)}
        before = -1
        while len(self.heavy) != before:
            before = len(self.heavy)
            made: set[Node] = set()
            for node in region.nodes:
                if node in self.heavy and (self._is_product(node) or any(o in made for o in node.inputs)):
                    made.add(node)
            self.heavy = made
            for node in reversed(region.nodes):
                free = node not in following and all(reader in self.heavy for reader in readers[node])
                if not free or not all(self._is_kept(operand, parts, byte_limit) for operand in node.inputs):
                    self.heavy.discard(node)

    def _is_product(self, node: Node) -> bool:
        if node.op.name != "matmul":
            return False
        left, right = node.inputs
        return left.rank == right.rank == 2 and right in self.fixed and left not in self.fixed

    def _is_kept(self, operand: Node, parts: LoopParts, byte_limit: int) -> bool:
        """Can the operand be had for all trips: is it lifted itself, outside already, or a value that is stacked?"""
        if any(operand in known for known in (self.heavy, self.fixed, self.sequences, self.views)):
            return True
        return operand not in self.inputs and operand.tensor.nbytes * parts.trips <= byte_limit

    def can_leave(self, part: StackPart) -> bool:
        """Is a stacked value a product that nobody needs earlier, or a view of what is there for all trips?"""
        return part.value in self.heavy or part.value in self.views

    def border(self, root: Node) -> list[Node]:
        """The values of the loop that ``root`` is computed from."""
        found: dict[Node, None] = {}
        pending, seen = [root], {root}
        while pending:
            node = pending.pop()
            for operand in reversed(node.inputs):
                if operand in seen or operand in self.fixed or operand in self.sequences:
                    continue
                seen.add(operand)
                if operand in self.heavy or operand in self.views:
                    pending.append(operand)
                else:
                    found[operand] = None
        return list(found)
