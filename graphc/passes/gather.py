"""gather: what is picked is picked before it is computed.

A cross-entropy reads one number of each row of a log-softmax: only that number is computed,

    take_along_axis(f(x, r), i) = f(take_along_axis(x, i), r)        where r has one value for each row,

and the log-softmax of all classes is never stored.  Exact: the same operations on the same numbers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import rewrite
from graphc.ir.traverse import users
from graphc.ir.types import TensorType
from graphc.ops.simple import SIMPLE_OPS
from graphc.passes.base import Pass, map_regions

_PICK = "take_along_axis"

_EPILOGUE = 8
"""Pointwise ops behind a product that are looked through."""


@dataclass(frozen=True)
class Gather(Pass):
    """Move gathers in front of pointwise work."""

    name: ClassVar[str] = "gather"

    def run(self, graph: Graph) -> Graph:
        """The graph in which less is computed to be thrown away."""
        return map_regions(graph, _gather)


def _gather(graph: Graph) -> Graph:
    if not any(node.op.name == _PICK for node in graph.nodes):
        return graph
    # Of the graph as it was: a gather from what an earlier one has changed stays as it is.
    readers, roots = users(graph.nodes), set(graph.roots)

    def rule(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        source, indices = inputs
        axis = node.attrs["axis"]
        if source in roots or not _is_less(source, indices, axis):
            return None
        chain = _chain(source, axis, readers, roots)
        if not chain:
            return None
        picked = b.op(_PICK, chain[-1][1], indices, axis=axis)
        for member, operand in reversed(chain):
            picked = b.make(member.op, [picked if o is operand else o for o in member.inputs], member.attrs)
        return picked

    return rewrite(graph, rule, (_PICK,))


def _is_less(source: Node, indices: Node, axis: int) -> bool:
    """Are fewer elements picked than there are?"""
    types = (source.type, indices.type)
    if not all(isinstance(type_, TensorType) and type_.is_static for type_ in types):
        return False
    return indices.tensor.static_shape[axis] < source.tensor.static_shape[axis]


def _chain(
    source: Node, axis: int, readers: Mapping[Node, Sequence[Node]], roots: Container[Node]
) -> list[tuple[Node, Node]]:
    """The pointwise nodes that a gather goes past, the last one first, each with the operand it goes on to.

    Where other nodes read one of them, too, it may never be stored; the gather then goes on to something that is.
    """
    chain: list[tuple[Node, Node]] = []
    far = 0
    node, is_free = source, True
    passed: Node | None = None
    while node.op.kind is OpKind.POINTWISE:
        known = () if node in roots else readers.get(node, ())
        is_free = is_free and bool(known) and all(reader.op.name == _PICK or reader is passed for reader in known)
        operand = _full_operand(node, axis)
        if operand is None or not (is_free or (chain and node.op.name in SIMPLE_OPS)):
            break
        chain.append((node, operand))
        if is_free or _is_stored(operand):
            far = len(chain)
        passed, node = node, operand
    return chain[:far]


def _full_operand(node: Node, axis: int) -> Node | None:
    """The one operand that has the node's shape, where all others have one value along ``axis``."""
    full = [operand for operand in node.inputs if operand.shape == node.shape]
    others = [operand for operand in node.inputs if operand.shape != node.shape]
    place = axis - node.rank
    if not full or any(operand is not full[0] for operand in full) or "random" in node.op.name:
        return None
    if any(operand.rank >= -place and operand.shape[place] != 1 for operand in others):
        return None
    return full[0]


def _is_stored(node: Node) -> bool:
    """Does a node lie in memory in any case: no pointwise work, or the epilogue of a product?"""
    for _ in range(_EPILOGUE):
        if node.op.kind is not OpKind.POINTWISE or any(o.op.kind is OpKind.CONTRACTION for o in node.inputs):
            return True
        if not node.inputs:
            return False
        node = max(node.inputs, key=lambda operand: operand.rank)
    return False
