"""What ``fuse``, its parts and ``recompute`` share: the groups that become kernels, and how a kernel is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.notes import joined_note
from graphc.ir.rewrite import RecordingBuilder
from graphc.ir.types import Shape

REDUCTIONS = frozenset({"sum", "prod", "max", "min", "any", "all"})
ANCHORS = REDUCTIONS | {"matmul", "einsum"}


_MOST_STORED = 4
"""Results that groups which share operands may store together: more streams that are written collide in the cache."""


@dataclass(eq=False, slots=True)
class Group:
    """A kernel being formed."""

    level: int
    shape: Shape
    members: list[Node] = field(default_factory=list)
    anchored: bool = False


def join_siblings(
    groups: dict[Node, Group], readers: Mapping[Node, Sequence[Node]], position: Mapping[Node, int], cap: int
) -> None:
    """Join groups of one level and shape that read the same values, in place: one walk then reads them once.

    Two groups of one level cannot depend on each other.  Half of the values of this shape that one of them reads must
    be the other's, too.

    Args:
        readers: of each node.
        position: of each node in its graph.
        cap: the most members of a group.
    """
    first: dict[tuple[int, Node], Group] = {}
    for group in list({id(group): group for group in groups.values()}.values()):
        if group.anchored:
            continue
        inside = set(group.members)
        read = dict.fromkeys(o for member in group.members for o in member.inputs if o.shape == group.shape)
        keys = [(group.level, operand) for operand in read if operand not in inside]
        others = Counter(first[key] for key in keys if key in first)
        target = next((other for other, shared in others.items() if 2 * shared >= len(keys)), None)
        if target is not None and _fit(target, group, readers, cap):
            target.members = sorted((*target.members, *group.members), key=position.__getitem__)
            groups.update(dict.fromkeys(group.members, target))
            group.members, group = [], target
        for key in keys:
            first.setdefault(key, group)


def _fit(one: Group, other: Group, readers: Mapping[Node, Sequence[Node]], cap: int) -> bool:
    """Do two groups make a kernel that is not too large and stores no more than a few results?"""
    members = {*one.members, *other.members}
    stored = sum(any(reader not in members for reader in readers[member]) for member in members)
    return len(members) <= cap and stored <= _MOST_STORED


def place_kernel(
    b: RecordingBuilder,
    source: Graph | Builder,
    nodes: Sequence[Node],
    results: Sequence[Node],
    table: Mapping[Node, Node],
) -> list[Node]:
    """Make one ``fused`` node of some nodes.

    Args:
        source: where the notes of the nodes are found.
        nodes: what the kernel computes, operands first.
        results: those of them that it stores.
        table: what else they read → what stands for that in ``b``.

    Returns:
        What stands for each of ``results``.
    """
    inside = set(nodes)
    outer: dict[Node, None] = {}
    for node in nodes:
        outer.update(dict.fromkeys(o for o in node.inputs if o not in inside and not is_scalar_constant(o)))
    body = _body(source, nodes, list(outer), results)
    fused = b.make("fused", [table[operand] for operand in outer], {"body": body})
    b.replace_note(fused, joined_note([source.note(node) for node in nodes]))
    if len(results) == 1:
        return [fused]
    parts = [b.make("result", [fused], {"index": index}) for index in range(len(results))]
    for part, node in zip(parts, results, strict=True):
        b.set_note(part, source.note(node))
    return parts


def is_scalar_constant(node: Node) -> bool:
    """Is a node a number, which every kernel holds for itself?"""
    return node.op.name == "constant" and node.rank == 0


def _body(source: Graph | Builder, nodes: Sequence[Node], outer: Sequence[Node], results: Sequence[Node]) -> Graph:
    b = Builder()
    table: dict[Node, Node] = {operand: b.input(f"x{index}", operand.tensor) for index, operand in enumerate(outer)}
    notes: dict[Node, Note] = {}
    inputs = list(table.values())
    for node in nodes:
        operands = [table[o] if o in table else table.setdefault(o, b.make(o.op, (), o.attrs)) for o in node.inputs]
        table[node] = b.make(node.op, operands, node.attrs)
        note = source.note(node)
        if note is not NO_NOTE:
            notes[table[node]] = note
    return Graph.make("fused", inputs, [(f"y{i}", table[n]) for i, n in enumerate(results)], builder=b, notes=notes)
