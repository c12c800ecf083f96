"""A picture before it has a layout: boxes, edges and nested clusters.

Every stage but the memory is turned into one; DOT, SVG and HTML are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.render.label import DETAIL, clipped

_LINE = 120

ClusterPath = tuple[tuple[str, str, object], ...]
"""(kind, label, identity) of every cluster around a box, outermost first; the identity keeps apart equal labels."""

Details = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Box:
    """One thing drawn.

    Attributes:
        key: its name in DOT and in the page, ``n0``, ``n1``, …; nothing from outside.
        kind: a key of :data:`graphc.render.style.LOOKS`.
        title: first line, usually the op.
        lines: small print below.
        cluster: number of the innermost cluster around it, None for none.
        details: what the page shows on a click, in order.
    """

    key: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    cluster: int | None = None
    details: Details = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edge:
    """A value on its way.

    Attributes:
        source, target: keys of boxes.
        label: shape or size.
        kind: ``data``, ``carry`` (into a later step), or ``order``: not seen, it only puts the target below the source.
        back: it may point upwards.
    """

    source: str
    target: str
    label: str = ""
    kind: str = "data"
    back: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """A frame around boxes; ``parent`` is its position in :attr:`Picture.clusters`."""

    label: str
    kind: str
    parent: int | None


@dataclass(frozen=True)
class Picture:
    """What is drawn at a stage.

    Attributes:
        title: model and entry point.
        stage: its name.
        boxes, edges, clusters: in a deterministic order.
        remarks: what the reader must know, such as what was left out.
    """

    title: str
    stage: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]
    remarks: tuple[str, ...] = ()


def _cleaned(value: str | Sequence[str]) -> str | list[str]:
    return clipped(value, DETAIL) if isinstance(value, str) else [clipped(line, DETAIL) for line in value]


class Canvas:
    """Collects a picture."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.remarks: list[str] = []
        self._edges: dict[Edge, None] = {}
        self._clusters: list[Cluster] = []
        self._cluster_numbers: dict[ClusterPath, int] = {}
        self._tags: dict[str, str] = {}

    def cluster(self, path: ClusterPath) -> int | None:
        """The cluster at ``path``, made where it is new."""
        number: int | None = None
        for depth, (kind, label, _) in enumerate(path):
            key = path[: depth + 1]
            found = self._cluster_numbers.get(key)
            if found is None:
                found = self._cluster_numbers[key] = len(self._clusters)
                self._clusters.append(Cluster(label, kind, number))
            number = found
        return number

    def box(
        self,
        kind: str,
        title: str,
        lines: Sequence[str] = (),
        cluster: int | None = None,
        details: Details | None = None,
    ) -> str:
        """Add a box; gives its key.  Control characters in its texts are replaced here, once for all formats."""
        key = f"n{len(self.boxes)}"
        small = tuple(clipped(line, _LINE) for line in lines if line)
        shown = {name: _cleaned(value) for name, value in (details or {}).items()}
        self.boxes.append(Box(key, kind, clipped(title, _LINE), small, cluster, shown))
        return key

    def tag(self, key: str) -> str:
        """``#3``: a number by which other boxes refer to this one without an edge; it is added to the box's title."""
        return self._tags.setdefault(key, f"#{len(self._tags) + 1}")

    def cluster_of(self, key: str) -> int | None:
        """The cluster that a box stands in."""
        return self.boxes[int(key[1:])].cluster

    def is_repeated(self, key: str) -> bool:
        """Does the box stand in a repeat?"""
        number = self.cluster_of(key)
        while number is not None:
            if self._clusters[number].kind == "repeat":
                return True
            number = self._clusters[number].parent
        return False

    def edge(self, source: str, target: str, label: str = "", kind: str = "data", *, back: bool = False) -> None:
        """Add an edge; an equal one is drawn once."""
        self._edges.setdefault(Edge(source, target, label, kind, back))

    def picture(self, title: str, stage: str) -> Picture:
        """What has been collected."""
        boxes = (
            replace(box, title=f"{box.title} {self._tags[box.key]}") if box.key in self._tags else box
            for box in self.boxes
        )
        return Picture(title, stage, tuple(boxes), tuple(self._edges), tuple(self._clusters), tuple(self.remarks))
