"""What Graphviz draws, made into a good SVG: titles that say what a box is, colours that follow the reader's theme."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from graphc.errors import GraphcRuntimeError
from graphc.render.picture import Box, Picture
from graphc.render.style import FONT_FAMILY, theme_css

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def polish(drawn: bytes, picture: Picture) -> str:
    """Graphviz's SVG with readable titles, as a document of its own.

    Raises:
        GraphcRuntimeError: E134, what Graphviz wrote is no SVG.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    try:
        root = ElementTree.fromstring(drawn)
    except ElementTree.ParseError as error:
        raise GraphcRuntimeError("E134", f"Graphviz wrote an SVG that cannot be read: {error}") from None
    titles = {box.key: hover_text(box) for box in picture.boxes}
    named = {box.key: box.title for box in picture.boxes}
    for text in root.iter(f"{{{_SVG}}}text"):
        text.set("font-family", FONT_FAMILY)
    for group in root.iter(f"{{{_SVG}}}g"):
        title = group.find(f"{{{_SVG}}}title")
        if title is None or title.text is None:
            continue
        kind = group.get("class")
        if kind == "node":
            _centre_texts(group)
            title.text = titles.get(title.text, "")
        elif kind == "edge" and "->" in title.text:
            source, _, target = title.text.partition("->")
            group.set("data-from", source)
            group.set("data-to", target)
            title.text = f"{named.get(source, '')} → {named.get(target, '')}" if source in named else ""
        else:
            group.remove(title)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _centre_texts(group: ElementTree.Element) -> None:
    """Centre the lines of a box: Graphviz starts them where its own font would, and the reader's is another."""
    across: list[float] = []
    for shape in group.iter():
        if shape.tag == f"{{{_SVG}}}ellipse":
            across.append(float(shape.get("cx", "0")))
        else:
            # Points and paths are pairs of coordinates.
            across += [float(x) for x in _NUMBER.findall(shape.get("points", shape.get("d", "")))[::2]]
    if not across:
        return
    for text in group.iter(f"{{{_SVG}}}text"):
        text.set("text-anchor", "middle")
        text.set("x", f"{(min(across) + max(across)) / 2:.2f}")


def with_theme(document: str) -> str:
    """The document with rules for readers who prefer dark."""
    head, close, rest = document.partition(">")
    # A prolog may stand before the root: the rules go inside the root element.
    while not head.rstrip().rpartition("<")[2].startswith("svg"):
        more, close, rest = rest.partition(">")
        head += ">" + more
    return f"{head}{close}<style>{theme_css('svg')}</style>{rest}"


def hover_text(box: Box) -> str:
    """A few lines about a box."""
    lines = [" ".join([box.title, *box.lines])]
    for key in ("type", "layer", "source", "computes", "arguments"):
        value = box.details.get(key)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = "; ".join(value[:3])
        if value:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)
