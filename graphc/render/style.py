"""Colours, shapes and the legend: one place for how each kind of thing looks.

The hues are those of Okabe and Ito (*Color Universal Design*, 2008), which people with any of the common colour
blindnesses can tell apart; every kind has a shape of its own as well.  A picture is drawn in light colours.
:func:`theme_css` maps each of them to its dark counterpart by the exact value that stands in the SVG, so a page or a
standalone file follows the reader's theme.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FONT = "Arial"
"""A name that Graphviz has metrics for and that most systems know."""
FONT_FAMILY = "Helvetica,Arial,sans-serif"
"""What a reader of an SVG or a page gets: fonts of the same widths."""

PAPER = "#fdfdfe"
"""Background of the picture."""
PAGE_INK = "#2b3036"
"""Text on the background."""
NODE_INK = "#101418"
"""Text on a filled shape."""
FAINT_INK = "#5c6670"
"""Small print: attributes, shapes on edges."""
EDGE = "#78828d"
CARRY = "#7a4fb5"
"""Edges that go from one step of a loop to the next."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of box is drawn.

    Attributes:
        shape: Graphviz shape.
        style: Graphviz style.
        fill, line: light colours.
        dark_fill, dark_line: their dark counterparts.
        meaning: the legend's word.
        peripheries: outlines.
    """

    shape: str
    style: str
    fill: str
    line: str
    dark_fill: str
    dark_line: str
    meaning: str
    peripheries: int = 1


LOOKS: Mapping[str, Look] = {
    "input": Look("ellipse", "filled", "#eef0f2", "#4a525b", "#353c44", "#aab4be", "input"),
    "parameter": Look("cylinder", "filled", "#fbf3c4", "#857300", "#473f0b", "#d9c840", "parameter, state"),
    "constant": Look("plaintext", "filled", "#f1f2f4", "#858d96", "#2a3037", "#858e97", "constant"),
    "forward": Look("box", "rounded,filled", "#d9eaf7", "#0069a6", "#123a57", "#5ab0ea", "forward"),
    "saved": Look(
        "box", "rounded,filled,dashed", "#eef5fb", "#0069a8", "#17293a", "#5ab0ec", "#n: value drawn elsewhere"
    ),
    "backward": Look("octagon", "filled", "#fce5d4", "#c25400", "#54300f", "#f0924a", "backward"),
    "update": Look("note", "filled", "#d5f1e7", "#00805d", "#0d4234", "#35c79c", "update"),
    "output": Look("ellipse", "filled", "#f8e4ef", "#a8457f", "#4d2440", "#e08fbd", "output", 2),
    "store": Look("cylinder", "filled,dashed", "#d5f1e6", "#00805e", "#0d4235", "#35c79d", "new value of state"),
    "element": Look("tab", "filled", "#e9e2f5", "#7a4fb4", "#352752", "#b795ea", "this step's element"),
    "carry": Look(
        "box", "filled,diagonals", "#e9e2f6", "#7a4fb3", "#352753", "#b795eb", "carried from the step before"
    ),
    "kernel": Look("box", "rounded,filled", "#d9eaf8", "#0069a7", "#123a58", "#5ab0eb", "kernel call"),
    "buffer": Look(
        "box", "rounded,filled,dashed", "#eef5fc", "#0069a9", "#17293b", "#5ab0ed", "#n: written further up"
    ),
    "temporary": Look("box", "filled", "#dceaf5", "#2f6f9f", "#1b3d57", "#6fb4e4", "temporary buffer"),
    "copy": Look("box", "filled,dashed", "#edeff1", "#5c6671", "#30373f", "#98a2ac", "copy"),
    "layer": Look("folder", "filled", "#d9eaf6", "#0069a5", "#123a56", "#5ab0e9", "whole layer, not drawn inside"),
    "left out": Look("plaintext", "filled", "#fdf0f0", "#a33a3a", "#4a2626", "#e08d8d", "left out"),
}
"""Kind of box → look.  The legend lists the kinds that occur in this order."""

_CLUSTERS: Mapping[str, tuple[str, str, str, str]] = {
    "layer": ("#f4f6f8", "#b3bcc6", "#20262d", "#4d5863"),
    "step": ("#eef1f4", "#a3aeb9", "#262d35", "#57636f"),
    "repeat": ("#f4f0fa", "#8a63c0", "#251f30", "#8f6cc4"),
    "role": ("#fbfcfd", "#c6cdd4", "#191e23", "#414b55"),
    "fused": ("#e9f3fb", "#5f9cc6", "#16293a", "#3d7aa5"),
}
"""Kind of cluster → (fill, line, dark fill, dark line)."""


def cluster_colours(kind: str) -> tuple[str, str]:
    """Fill and line of a cluster."""
    fill, line, _, _ = _CLUSTERS[kind]
    return fill, line


def _dark_values() -> dict[str, str]:
    table = {
        PAPER: "#14181c",
        PAGE_INK: "#dfe4e9",
        NODE_INK: "#f2f5f8",
        FAINT_INK: "#a3adb7",
        EDGE: "#8d97a2",
        CARRY: "#b48cf0",
    }
    for look in LOOKS.values():
        table[look.fill] = look.dark_fill
        table[look.line] = look.dark_line
    for fill, line, dark_fill, dark_line in _CLUSTERS.values():
        table[fill] = dark_fill
        table[line] = dark_line
    return table


DARK: Mapping[str, str] = _dark_values()
"""Light colour → dark colour."""


def theme_css(scope: str = "", *, media: bool = True) -> str:
    """Style rules that turn a picture dark.

    Args:
        scope: selector that the rules stand under, such as ``:root[data-theme=dark]``.
        media: apply them where the reader prefers dark, not always.
    """
    prefix = f"{scope} " if scope else ""
    rules = "".join(
        f'{prefix}[{attribute}="{light}"]{{{attribute}:{dark}}}'
        for light, dark in DARK.items()
        for attribute in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme:dark){{{rules}}}" if media else rules
