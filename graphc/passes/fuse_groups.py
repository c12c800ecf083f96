"""What the parts of ``fuse`` share: the groups that become kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.node import Node
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
