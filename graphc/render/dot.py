"""DOT text of a picture.

Everything from outside stands in HTML-like labels, as escaped text; keys and colours are our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from graphc.render.label import clipped
from graphc.render.picture import Box, Cluster, Edge, Picture
from graphc.render.style import CARRY, EDGE, FAINT_INK, FONT, LOOKS, NODE_INK, PAGE_INK, PAPER, cluster_colours

_TITLE_LENGTH = 60
_LINE_LENGTH = 44
_MANY = 600
"""Boxes from which the layout takes less pains, to stay within seconds."""


def to_dot_text(picture: Picture, *, bare: bool = False) -> str:
    """The picture in the DOT language; the same text for the same picture.

    Args:
        bare: without heading and legend, for a page that has its own.
    """
    return "\n".join(_lines(picture, bare)) + "\n"


def _lines(picture: Picture, bare: bool) -> Iterator[str]:
    yield "digraph graphc {"
    label = "&#160;" if bare else _heading(picture)
    yield f'  graph [charset="UTF-8", bgcolor="{PAPER}", rankdir=TB, nodesep=0.22, ranksep=0.32, pad=0.25,'
    yield f'    fontname="{FONT}", fontsize=11, fontcolor="{PAGE_INK}", labelloc=t, labeljust=l, {_effort(picture)}'
    yield f"    label=<{label}>];"
    yield f'  node [fontname="{FONT}", fontsize=11, fontcolor="{NODE_INK}", margin="0.10,0.045", height=0.26,'
    yield "    width=0.3, penwidth=1.1];"
    yield f'  edge [fontname="{FONT}", fontsize=9, color="{EDGE}", fontcolor="{FAINT_INK}", arrowsize=0.6,'
    yield "    penwidth=0.9];"
    if not bare:
        yield from _legend_lines(picture)
    yield from _cluster_lines(picture)
    for edge in picture.edges:
        yield f"  {edge.source} -> {edge.target}{_edge_attributes(edge)};"
    yield "}"


def _legend_lines(picture: Picture) -> Iterator[str]:
    """A column of sample boxes, held in line by invisible edges."""
    fill, line = cluster_colours("role")
    yield "  subgraph cluster_legend {"
    yield f'    graph [style="rounded,filled", fillcolor="{fill}", color="{line}", fontsize=10, margin=8,'
    yield "      label=<<B>legend</B>>];"
    kinds = legend_kinds(picture)
    for number, kind in enumerate(kinds):
        yield f"    legend{number} [{_box_attributes(Box(f'legend{number}', kind, LOOKS[kind].meaning))}];"
    keys = [f"legend{number}" for number in range(len(kinds))]
    if len(keys) > 1:
        yield f"    {' -> '.join(keys)} [style=invis, minlen=1];"
    yield "  }"


def _effort(picture: Picture) -> str:
    return "nslimit=2, nslimit1=2, mclimit=0.3, splines=polyline, " if len(picture.boxes) > _MANY else ""


def _cluster_lines(picture: Picture) -> Iterator[str]:
    """Clusters inside each other with their boxes; an explicit stack, for scopes nest as deep as a user's names do."""
    children: dict[int | None, list[int]] = {}
    members: dict[int | None, list[Box]] = {}
    for position, cluster in enumerate(picture.clusters):
        children.setdefault(cluster.parent, []).append(position)
    for box in picture.boxes:
        members.setdefault(box.cluster, []).append(box)
    stack: list[tuple[int | None, bool]] = [(None, False)]
    depth = 0
    while stack:
        number, closing = stack.pop()
        indent = "  " * (depth + 1)
        if closing:
            depth -= 1
            yield f"{'  ' * (depth + 1)}}}"
            continue
        if number is not None:
            yield f"{indent}subgraph cluster_{number} {{"
            yield f"{indent}  {_cluster_attributes(picture.clusters[number])};"
            depth += 1
            indent += "  "
            stack.append((number, True))
        for box in members.get(number, ()):
            yield f"{indent}{box.key} [{_box_attributes(box)}];"
        stack.extend((child, False) for child in reversed(children.get(number, ())))


def _cluster_attributes(cluster: Cluster) -> str:
    fill, line = cluster_colours(cluster.kind)
    look = {"role": "rounded,dashed", "repeat": "rounded,bold"}.get(cluster.kind, "rounded")
    label = f"<B>{_text(cluster.label, _TITLE_LENGTH)}</B>"
    if cluster.kind == "repeat":
        label = f'<FONT COLOR="{line}">{label}</FONT>'
    return (
        f'graph [style="{look},filled", fillcolor="{fill}", color="{line}", fontsize=10, margin=9, labeljust=l, '
        f"label=<{label}>]"
    )


def _box_attributes(box: Box) -> str:
    look = LOOKS[box.kind]
    extra = f", peripheries={look.peripheries}" if look.peripheries != 1 else ""
    # Graphviz fits an octagon around the text's own frame: margins come on top of its corners.
    extra += ', margin="0.02,0.0"' if look.shape in ("octagon",) else ""
    return (
        f'id="{box.key}", shape={look.shape}, style="{look.style}", fillcolor="{look.fill}", '
        f'color="{look.line}"{extra}, label=<{_box_label(box)}>'
    )


def _box_label(box: Box) -> str:
    small = "".join(
        f'<BR/><FONT POINT-SIZE="9" COLOR="{FAINT_INK}">{_text(line, _LINE_LENGTH)}</FONT>' for line in box.lines
    )
    return f"<B>{_text(box.title, _TITLE_LENGTH)}</B>{small}"


def _edge_attributes(edge: Edge) -> str:
    parts = []
    if edge.kind == "carry":
        parts.append(f'style=dashed, color="{CARRY}", fontcolor="{CARRY}"')
    elif edge.kind == "order":
        parts.append("style=invis")
    if edge.back:
        parts.append("constraint=false")
    if edge.label:
        parts.append(f"label=<&#160;{_text(edge.label, _LINE_LENGTH)}>")
    return f" [{', '.join(parts)}]" if parts else ""


def _heading(picture: Picture) -> str:
    """Title and remarks, above the drawing."""
    rows = [f'<FONT POINT-SIZE="15"><B>{_text(picture.title, 90)}</B></FONT>']
    rows += [f'<FONT COLOR="{FAINT_INK}">{_text(remark, 150)}</FONT>' for remark in picture.remarks]
    cells = "".join(f'<TR><TD ALIGN="LEFT">{row}</TD></TR>' for row in rows)
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="3">{cells}</TABLE>'


def legend_kinds(picture: Picture) -> Sequence[str]:
    """The kinds of box that occur, in the legend's order."""
    present = {box.kind for box in picture.boxes}
    return [kind for kind in LOOKS if kind in present]


def _text(text: str, length: int) -> str:
    """Escaped for an HTML-like label; an empty text would be a syntax error there."""
    return escape(clipped(text, length), quote=True) or "&#160;"
