"""One page that holds everything: the drawing, its data, and a small viewer; it asks the network for nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from xml.etree import ElementTree

from graphc.render.label import clipped
from graphc.render.picture import Box, Edge
from graphc.render.style import LOOKS, theme_css

_ASSETS = "graphc.render"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_DETAIL_LIMIT = 64


def page(
    title: str, stage: str, svg: str, boxes: Sequence[Box], edges: Sequence[Edge] = (), remarks: Sequence[str] = ()
) -> str:
    """The page of a drawing.

    Args:
        title: its heading.
        stage: shown beside it.
        svg: the drawing; its ``g`` elements of class ``node`` carry the keys of the boxes as ids.
        boxes, edges: what a click shows.
        remarks: lines under the heading.
    """
    remark = f"<p>{'<br>'.join(escape(line) for line in remarks)}</p>" if remarks else ""
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(clipped(title, 120))}</title>",
            f"<style>{_asset('viewer.css')}{_theme_rules()}</style>",
            "</head>",
            "<body>",
            f'<header><h1>{escape(clipped(title, 120))}</h1><span class="stage">{escape(stage)}</span>',
            f"{_TOOLS}{remark}</header>",
            f'<main id="view" aria-label="drawing">{inline_svg(svg)}</main>',
            f'<aside id="side"><section id="details" aria-live="polite"></section>{_legend(boxes)}{_KEYS}</aside>',
            f'<script type="application/json" id="data">{embedded_json(_data(boxes, edges))}</script>',
            f"<script>{_asset('viewer.js')}</script>",
            "</body>",
            "</html>",
            "",
        )
    )


_TOOLS = (
    '<div class="tools"><span id="found" role="status"></span>'
    '<input id="search" type="search" placeholder="op, name, layer …  ( / )" aria-label="search the drawing">'
    '<button type="button" data-action="out" aria-label="zoom out">&minus;</button>'
    '<button type="button" data-action="in" aria-label="zoom in">+</button>'
    '<button type="button" data-action="fit">fit</button>'
    '<button type="button" data-action="theme" aria-label="light or dark">&#9680;</button></div>'
)
_KEYS = (
    '<p id="keys">Drag to move, wheel or pinch to zoom. <kbd>+</kbd> <kbd>&minus;</kbd> zoom, <kbd>0</kbd> fit, '
    "arrows move, <kbd>/</kbd> search, <kbd>Enter</kbd> next, <kbd>Esc</kbd> clear.</p>"
)


def _asset(name: str) -> str:
    return resources.files(_ASSETS).joinpath("assets", name).read_text(encoding="utf-8")


def _theme_rules() -> str:
    dark = theme_css(":root:not([data-theme=light]) svg")
    return dark + theme_css(":root[data-theme=dark] svg", media=False) + _swatches()


def _swatches() -> str:
    return "".join(
        f"#legend i.kind{number}{{background:{look.fill};border-color:{look.line};border-radius:{_radius(look.shape)}}}"
        for number, look in enumerate(LOOKS.values())
    )


def _radius(shape: str) -> str:
    return {"ellipse": "50%", "box": "4px", "cylinder": "11px/4px", "octagon": "6px 0"}.get(shape, "0")


def _legend(boxes: Sequence[Box]) -> str:
    present = {box.kind for box in boxes}
    items = "".join(
        f'<li><i class="kind{number}"></i>{escape(look.meaning)}</li>'
        for number, (kind, look) in enumerate(LOOKS.items())
        if kind in present
    )
    return f'<ul id="legend">{items}</ul>'


def _data(boxes: Sequence[Box], edges: Sequence[Edge]) -> dict[str, object]:
    inputs: dict[str, dict[str, None]] = {box.key: {} for box in boxes}
    outputs: dict[str, dict[str, None]] = {box.key: {} for box in boxes}
    for edge in edges:
        if edge.kind != "order":
            inputs[edge.target].setdefault(edge.source)
            outputs[edge.source].setdefault(edge.target)
    nodes = {
        box.key: {
            "title": clipped(box.title, 120),
            "kind": LOOKS[box.kind].meaning,
            "details": [
                [name, [value] if isinstance(value, str) else list(value)[:_DETAIL_LIMIT]]
                for name, value in box.details.items()
            ],
            "inputs": list(inputs[box.key])[:_DETAIL_LIMIT],
            "outputs": list(outputs[box.key])[:_DETAIL_LIMIT],
        }
        for box in boxes
    }
    return {"nodes": nodes}


def embedded_json(value: object) -> str:
    """JSON that may stand in a ``script`` element: no ``<``, ``>`` or ``&``, and ASCII only."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def inline_svg(document: str) -> str:
    """An SVG document as it stands in HTML: no prolog, no namespaces, no comments, as wide as its place."""
    root = ElementTree.fromstring(document)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            del element.attrib[name]
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("preserveAspectRatio", "xMidYMid meet")
    # Void forms such as <title/> are not HTML.
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
