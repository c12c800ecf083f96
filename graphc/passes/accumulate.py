"""accumulate: a carry that only adds up products becomes one product outside the loop.

Every weight gradient of a recurrent layer is such a carry, c ← c + aₜᵀ·gₜ.  Summed inside, it reads and writes a matrix
the size of the weights at every step; outside it is one contraction of length T·B over the stacked aₜ and gₜ:

    c₀ + Σₜ aₜᵀ·gₜ  =  c₀ + [a₀; a₁; …]ᵀ·[g₀; g₁; …]

The sum is re-associated, which contractions may be.  A carry c ← c + sum(gₜ) becomes one sum in the same way where
the gₜ are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.traverse import users
from graphc.passes.base import Pass, map_regions
from graphc.passes.loops import AfterLoop, CarryPart, LoopParts, edit_loops, whole_sequence


@dataclass(frozen=True, slots=True)
class _Sum:
    """A carry that can be summed outside: what is added, as factors that are stacked.

    ``turned``: the first factor of the product is a sequence of matrices that are transposed already.
    """

    carry: CarryPart
    added: Node
    factors: tuple[Node, ...]
    turned: bool = False


@dataclass(frozen=True)
class Accumulate(Pass):
    """Take summing carries out of loops.

    Attributes:
        byte_limit: size up to which the stacked factors of one sum of products may be kept.
        sum_limit: size up to which that pays for a plain sum: what is larger has left the cache when the loop ends, and
            to read it again takes longer than to add up a step's values where they have just been made.
    """

    name: ClassVar[str] = "accumulate"
    byte_limit: int = 1 << 28
    sum_limit: int = 1 << 19

    def run(self, graph: Graph) -> Graph:
        """The graph with weight gradients as single contractions."""
        return map_regions(graph, lambda region: edit_loops(region, self._edit))

    def _edit(self, b: Builder, parts: LoopParts) -> AfterLoop | bool:
        if parts.holds_loops or parts.size is not None:
            # (Outside of a loop whose trips each call says nothing may depend on their number.)
            # Its products are over the steps of an inner loop already; stacking their factors would cost the memory
            # that loops of loops save.
            return False
        readers = users(parts.region.nodes)
        outputs = parts.region.output_nodes
        sums = [found for carry in parts.carries if (found := self._sum(parts, carry, readers, outputs)) is not None]
        if not sums:
            return False
        for found in sums:
            parts.carries.remove(found.carry)
            for factor in found.factors:
                if factor not in {part.inner for part in parts.sequences}:
                    parts.stack_result(factor)

        def after(stacked: Mapping[Node, Node]) -> None:
            for found in sums:
                assert found.carry.result is not None
                parts.replaced[found.carry.result] = _total(b, parts, found, stacked)

        return after

    def _sum(
        self, parts: LoopParts, carry: CarryPart, readers: Mapping[Node, list[Node]], outputs: tuple[Node, ...]
    ) -> _Sum | None:
        step = carry.following
        if (
            carry.result is None
            or step.op.name != "add"
            or carry.inner not in step.inputs
            or len(readers[carry.inner]) != 1
        ):
            return None
        if readers[step] or outputs.count(step) != 1 or carry.inner in outputs or not step.dtype.is_float:
            return None
        added = step.inputs[1] if step.inputs[0] is carry.inner else step.inputs[0]
        if added is carry.inner or added.type is not step.type or added in outputs:
            return None
        if added.op.name == "matmul" and all(operand.rank == 2 for operand in added.inputs):
            left, right = added.inputs
            turned = any(part.inner is left for part in parts.sequences)
            if not turned and (left.op.name != "transpose" or left.attrs["permutation"] != (1, 0)):
                return None
            # The rows that are contracted are what is stacked: aᵀ·g contracts the rows of a and of g.
            factors: tuple[Node, ...] = (left if turned else left.inputs[0], right)
        elif added.op.name == "sum" and 0 in added.attrs["axes"]:
            factors, turned = (added.inputs[0],), False
        else:
            return None
        invariants = parts.invariants
        if any(factor.op.name == "constant" or factor in invariants for factor in factors):
            return None
        limit = self.byte_limit if added.op.name == "matmul" else min(self.byte_limit, self.sum_limit)
        if sum(factor.tensor.nbytes for factor in factors) * parts.trips > limit:
            return None
        return _Sum(carry, added, factors, turned)


def _total(b: Builder, parts: LoopParts, found: _Sum, stacked: Mapping[Node, Node]) -> Node:
    """c₀ plus the contraction over all steps.

    Its terms may come in any order.  Where the loop reads its sequences from their end, as backward loops do, they come
    in that of the sequences, which then are read as they lie; what the loop itself stacks is written from the end.
    """
    backward = parts.reads_backward
    wholes = [_whole(b, parts, factor, stacked, backward=backward) for factor in found.factors]
    if found.added.op.name == "matmul":
        if found.turned:
            wholes[0] = b.op("transpose", wholes[0], permutation=(0, 2, 1))
        flat = [b.op("reshape", w, shape=(w.shape[0] * w.shape[1], w.shape[2])) for w in wholes]
        product = b.op("matmul", b.op("transpose", flat[0], permutation=(1, 0)), flat[1])
    else:
        axes = (0, *(axis + 1 for axis in found.added.attrs["axes"]))
        product = b.op("sum", wholes[0], axes=axes, keepdims=False)
        if found.added.attrs["keepdims"]:
            product = b.op("reshape", product, shape=found.added.shape)
    return b.op("add", found.carry.initial, product)


def _whole(b: Builder, parts: LoopParts, factor: Node, stacked: Mapping[Node, Node], *, backward: bool) -> Node:
    """A factor of all steps, the last one first where ``backward``."""
    for part in parts.sequences:
        if part.inner is factor:
            return whole_sequence(b, part.mirrored(parts.trips) if backward else part, parts.trips)
    return b.op("flip", stacked[factor], axes=(0,)) if backward else stacked[factor]
