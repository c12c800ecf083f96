"""What a drawing of a graph is asked to do, and how values reach their readers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.render.fold import Repeat
from graphc.render.picture import ClusterPath
from graphc.render.words import op_counts


@dataclass(frozen=True, slots=True)
class Value:
    """How a node's value reaches its readers: from a box, as text in them (constants), or as a copy of a source."""

    label: str
    box: str | None = None
    text: str | None = None
    source: Node | None = None
    role: str = "forward"


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Nodes that are drawn as one box."""

    kind: str
    title: str
    lines: tuple[str, ...]
    path: ClusterPath


@dataclass(frozen=True)
class Plan:
    """What to draw of a graph and how.

    Attributes:
        repeats: drawn once.
        shown: the nodes to draw; None for all.
        merged: nodes drawn as one box together: node → its group.
        frames: put a frame around each role.
    """

    repeats: Sequence[Repeat] = ()
    shown: Collection[Node] | None = None
    merged: Mapping[Node, Group] = field(default_factory=dict)
    frames: bool = False


def layer_group(nodes: Sequence[Node], kind: str, title: str, path: ClusterPath) -> Group:
    """A whole layer as one box that lists its ops."""
    body = Graph("layer", (), (), (), tuple(nodes), {})
    return Group(kind, title, (f"{len(nodes)} nodes", *op_counts(body)), path)
