"""block: a long loop becomes a loop over blocks of steps, so that what leaves it stays in the cache.

``hoist`` makes the products with the input of all steps at once, ``accumulate`` keeps the factors of every weight
gradient until the loop ends.  For 1,500 steps, 32 rows and 64 units that is 49 MB each: written to memory and read
from there.  Of a loop over blocks it is the steps of one block, which are still in the cache when they are read:

    loop over T steps  =  loop over ⌊T/K⌋ blocks { loop over K steps }, then a loop over the T mod K steps left

(strip-mining: Wolfe, *More iteration space tiling*, 1989).  Passes behind this one work on the inner loops as on any.
It pays where the weights, which every block reads again, are small beside a block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import users
from graphc.ir.types import TensorType
from graphc.ops.loop_parts import LoopParts, make_loop
from graphc.passes.base import Pass, replace_loops
from graphc.passes.segments import OuterBody, Pieces, chunked, flat


@dataclass(frozen=True)
class Block(Pass):
    """Cut loops into blocks of steps.

    Attributes:
        least_bytes: what leaves a loop of less than this stays in a cache that is near enough: all at once its products
            are larger, and faster for it.
        cache_bytes: what a block may take, about as much as the cache of one core holds.
        least: steps of the shortest block.
    """

    name: ClassVar[str] = "block"
    least_bytes: int = 1 << 22
    cache_bytes: int = 1 << 20
    least: int = 4

    def run(self, graph: Graph) -> Graph:
        """The graph with loops of loops."""
        if not any(node.op.name == "loop" for node in graph.nodes):
            return graph
        readers = users(graph.nodes)
        plans = {node: steps for node in graph.nodes if node.op.name == "loop" and (steps := self._steps(node))}

        def blocks(b: Builder, node: Node, operands: Sequence[Node]) -> dict[int, Node] | None:
            if node not in plans:
                return None
            note = graph.note(node)
            with b.noted(note, note.role):
                return _blocks(b, node, operands, plans[node], {reader.attrs["index"] for reader in readers[node]})

        return replace_loops(graph, blocks) if plans else graph

    def _steps(self, node: Node) -> int:
        """The steps of a block; 0 where the loop stays as it is."""
        loop = LoopParts.of(node)
        body, trips = loop.body, loop.trips
        # (The number of blocks must be known; a loop of loops is in pieces already.)
        if "size" in node.attrs or not isinstance(trips, int) or any(n.op.name == "loop" for n in body.nodes):
            return 0
        if any(not isinstance(start, int) or not step for _, start, step in loop.slices):
            return 0
        leaving, weights = _traffic(loop)
        if not leaving or leaving * trips < self.least_bytes or weights > self.cache_bytes // 2:
            return 0
        most = min((self.cache_bytes - weights) // leaving, trips // 2)
        if most < self.least:
            return 0
        # Of the lengths down to half of that the one that leaves the fewest steps over.
        return min(range(most, max(self.least, most // 2) - 1, -1), key=lambda steps: trips % steps)


def _traffic(loop: LoopParts) -> tuple[int, int]:
    """Bytes a step that leave the loop as rows of all steps, and bytes that every block reads again: weights, and the
    sums of their gradients.
    """
    body = loop.body
    count = len(loop.carries)
    carries, fixed = body.inputs[: 1 + count], set(body.inputs[1 + count : 1 + count + len(loop.invariants)])
    sequences = set(body.inputs[1 + count + len(loop.invariants) :])
    carried = set(carries)
    for node in body.nodes:
        if any(operand in carried for operand in node.inputs):
            carried.add(node)
        elif node.op.name == "constant" or (node.inputs and all(operand in fixed for operand in node.inputs)):
            fixed.add(node)
    leaving: set[Node] = set()
    weights: set[Node] = set()
    for node in body.nodes:
        if node.op.kind is not OpKind.CONTRACTION:
            continue
        weights |= fixed & set(node.inputs)
        if node not in carried and node not in fixed:
            leaving.add(node)
    for carry, following in zip(carries[1:], body.output_nodes, strict=False):
        if following.op.name == "add" and carry in following.inputs:
            weights.add(following)
            for added in following.inputs:
                if added.op.kind is OpKind.CONTRACTION:
                    leaving.discard(added)
                    leaving |= {source for o in added.inputs if (source := _source(o)) not in sequences}
    return sum(map(_nbytes, leaving)), sum(map(_nbytes, weights))


def _source(node: Node) -> Node:
    """What a transpose is a view of."""
    return node.inputs[0] if node.op.name == "transpose" else node


def _nbytes(node: Node) -> int:
    return math.prod(node.tensor.static_shape) * node.dtype.itemsize if isinstance(node.type, TensorType) else 0


def _blocks(b: Builder, node: Node, operands: Sequence[Node], steps: int, used: set[int]) -> dict[int, Node]:
    """Index of a result of the loop → what takes its place, for those that are used."""
    loop = LoopParts.of(node).with_operands(operands)
    assert isinstance(loop.trips, int)
    pieces, n = Pieces(loop), len(loop.carries)
    outputs = loop.body.output_nodes
    kept = [index for index in range(n, len(outputs)) if index in used]
    stacked = [outputs[index] for index in kept]
    count, left = divmod(loop.trips, steps)
    chunks = [chunked(b, *pair, 0, count, steps) for pair in zip(loop.sequences, loop.slices, strict=True)]
    wholes = [part.whole for part in chunks]
    outer = OuterBody(loop.carries, loop.invariants, wholes)
    inner = pieces.run(
        outer.b,
        steps,
        outer.step(steps, 0),
        outer.carries,
        outer.invariants,
        outer.sequences,
        [part.inner(steps) for part in chunks],
        stacked,
    )
    body = outer.close(inner)
    made = make_loop(b, count, body, loop.carries, loop.invariants, wholes, [part.outer(count) for part in chunks])
    carries, stacks = made[:n], [flat(b, stack) for stack in made[n:]]
    if left:
        rest = pieces.plain(b, count * steps, left, carries, stacked)
        carries = rest[:n]
        stacks = [b.op("concat", *pair, axis=0) for pair in zip(stacks, rest[n:], strict=True)]
    return dict(enumerate(carries)) | dict(zip(kept, stacks, strict=True))
