"""Finds two loops of which one feeds the other step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ops.loop_parts import LoopParts
from graphc.passes.checkpoint_plan import is_divisible, trips_of

Span = tuple[int, int]
"""Steps from the first up to, but not with, the second."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two loops: step t of ``second`` reads what ``first`` stacks at step ``early + t``.

    Attributes:
        fed: operand of ``second`` → output of the body of ``first``.
    """

    first: Node
    second: Node
    early: int
    fed: Mapping[int, int]

    @property
    def together(self) -> Span:
        """The steps of the first loop that are made together with one of the second."""
        return self.early, self.early + trips_of(LoopParts.of(self.second))


ALONE = 4
"""Steps that the first loop may make alone: they are written out."""


def find_pair(graph: Graph, least: int) -> Pair | None:
    """Two loops of which one feeds the other for ``least`` steps, if there are any."""
    for second in graph.nodes:
        if second.op.name != "loop" or "size" in second.attrs or not is_divisible(LoopParts.of(second)):
            continue
        for first in dict.fromkeys(node.inputs[0] for node in second.inputs if node.op.name == "result"):
            pair = None if "size" in first.attrs else _pair(first, second)
            if pair is not None and 0 <= _alone(pair) <= ALONE and least <= trips_of(LoopParts.of(second)):
                return pair
    return None


def _alone(pair: Pair) -> int:
    """Steps that only the first loop makes; negative where it makes too few for the second."""
    trips, last = trips_of(LoopParts.of(pair.first)), pair.together[1]
    return trips - last + pair.early if trips >= last else -1


def _pair(first: Node, second: Node) -> Pair | None:
    source, loop = LoopParts.of(first), LoopParts.of(second)
    if not is_divisible(source):
        return None
    before = len(loop.carries) + len(loop.invariants)
    fed: dict[int, int] = {}
    starts: set[int] = set()
    for operand, (node, (axis, start, step)) in enumerate(zip(loop.sequences, loop.slices, strict=True), before):
        if is_stack_of(node, first) and (axis, step) == (0, 1) and isinstance(start, int):
            fed[operand] = node.attrs["index"]
            starts.add(start)
    if len(starts) != 1:
        return None
    (early,) = starts
    others = [node for operand, node in enumerate(second.inputs) if operand not in fed]
    return None if _depends(others, first, early) else Pair(first, second, early, fed)


def is_stack_of(node: Node, loop: Node) -> bool:
    """Is a node what a loop has stacked?"""
    return node.op.name == "result" and node.inputs[0] is loop and node.attrs["index"] >= loop.attrs["carries"]


def is_early(node: Node, first: Node, early: int) -> bool:
    """Is a node what the first loop stacks in a step that it makes before the second one begins?"""
    taken = node.op.name == "index" and node.attrs["axis"] == 0 and node.attrs["index"] < early
    return taken and is_stack_of(node.inputs[0], first)


def _depends(nodes: Sequence[Node], first: Node, early: int) -> bool:
    """Does any of the nodes need more of the first loop than its early steps?"""
    pending, seen = list(nodes), set(nodes)
    while pending:
        node = pending.pop()
        if node is first:
            return True
        if not is_early(node, first, early):
            more = [operand for operand in node.inputs if operand not in seen]
            seen.update(more)
            pending.extend(more)
    return False
