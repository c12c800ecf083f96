"""What the parts of ``fuse`` share: the groups that become kernels."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir.node import Node
from graphc.ir.types import Shape

REDUCTIONS = frozenset({"sum", "prod", "max", "min", "any", "all"})
ANCHORS = REDUCTIONS | {"matmul", "einsum"}


@dataclass(eq=False, slots=True)
class Group:
    """A kernel being formed."""

    level: int
    shape: Shape
    members: list[Node] = field(default_factory=list)
    anchored: bool = False
