"""The arena over time: a chart of our own, for no graph layout can draw it.

x is the order of steps, y the bytes, a rectangle a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from graphc.kernel.program import Call, Entry, Loop, Program
from graphc.render.kernels import count_text, walk
from graphc.render.label import clipped
from graphc.render.picture import Box
from graphc.render.style import EDGE, FAINT_INK, FONT_FAMILY, LOOKS, NODE_INK, PAGE_INK, PAPER

_WIDTH, _HEIGHT = 1120.0, 560.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 84.0, 84.0, 28.0, 62.0
_NAMED_WIDTH, _NAMED_HEIGHT = 34.0, 12.0
_CHARACTER = 5.4
_PALETTE = ("forward", "backward", "update", "parameter", "output", "element")
_SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True, slots=True)
class _Block:
    """A temporary in the arena: bytes ``low … high`` from step ``first`` to ``last``."""

    number: int
    name: str
    low: int
    high: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as an SVG document, and what a page shows of each of its rectangles."""

    title: str
    svg: str
    boxes: tuple[Box, ...]
    remarks: tuple[str, ...]


def memory_chart(program: Program, entry: Entry, title: str) -> Chart:
    """The chart of an entry point.

    Args:
        title: its heading.
    """
    blocks = _blocks(entry)
    names, spans = _steps(program, entry)
    chart = _Drawing(len(names), max(entry.memory.arena_bytes, 1))
    total = sum(block.high - block.low for block in blocks)
    arena = entry.memory.arena_bytes
    saved = f", {1 - arena / total:.0%} less than the buffers' {count_text(total)}" if total > arena else ""
    remark = f"{len(blocks)} buffers in an arena of {count_text(arena)}{saved}. Steps in order, loop bodies once."
    chart.heading(title, remark)
    for first, last, trips in spans:
        chart.loop(first, last, trips)
    chart.axes()
    for block in blocks:
        chart.block(block, names)
    return Chart(title, chart.text(), tuple(_box(block, names) for block in blocks), (remark,))


def _box(block: _Block, names: Sequence[str]) -> Box:
    details = {
        "bytes": f"{block.high - block.low:,}",
        "place": f"{block.low:,} … {block.high:,}",
        "first step": f"{block.first} {_name(names, block.first)}",
        "last step": f"{block.last} {_name(names, block.last)}",
    }
    return Box(f"b{block.number}", "temporary", clipped(block.name, 80), (), None, details)


def _blocks(entry: Entry) -> list[_Block]:
    blocks = []
    for number, buffer in enumerate(entry.buffers):
        offset = entry.memory.offsets.get(number)
        if offset is not None:
            first, last = entry.memory.lifetimes[number]
            blocks.append(_Block(number, buffer.name, offset, offset + buffer.nbytes, first, last))
    return blocks


def _steps(program: Program, entry: Entry) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Names of the flattened steps, and (first, last, trips) of each loop."""
    names: list[str] = []
    spans: list[tuple[int, int, int]] = []
    open_: list[int] = []
    for step, is_end, _ in walk(entry.steps):
        if isinstance(step, Loop):
            if is_end:
                spans.append((open_.pop(), len(names) - 1, step.trips))
            else:
                open_.append(len(names))
        elif isinstance(step, Call):
            note = f" ({clipped(step.note, 60)})" if step.note else ""
            names.append(f"{clipped(program.kernels[step.kernel].name, 60)}{note}")
        else:
            names.append("copy")
    return names, [span for span in reversed(spans) if span[0] <= span[1]]


class _Drawing:
    """Draws in chart coordinates: step positions and bytes."""

    def __init__(self, steps: int, size: int) -> None:
        self.steps = max(steps, 1)
        self.size = size
        ElementTree.register_namespace("", _SVG)
        self.root = ElementTree.Element(
            f"{{{_SVG}}}svg",
            {
                "width": f"{_WIDTH:g}",
                "height": f"{_HEIGHT:g}",
                "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}",
                "font-family": FONT_FAMILY,
            },
        )
        self._rect(self.root, 0, 0, _WIDTH, _HEIGHT, PAPER, "none")

    def x(self, step: float) -> float:
        """Left edge of a step."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.steps

    def y(self, position: float) -> float:
        """Height of a byte; low addresses are at the bottom."""
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * position / self.size

    def heading(self, title: str, remark: str) -> None:
        """Title and summary."""
        self._text(self.root, _LEFT, 30, clipped(title, 90), PAGE_INK, 15, weight="bold")
        self._text(self.root, _LEFT, 50, remark, FAINT_INK, 11)

    def loop(self, first: int, last: int, trips: int) -> None:
        """A band behind the steps of a loop."""
        look = LOOKS["carry"]
        left, right = self.x(first), self.x(last + 1)
        self._rect(
            self.root, left, _TOP - 16, right - left, _HEIGHT - _TOP - _BOTTOM + 16, look.fill, "none", opacity="0.6"
        )
        self._text(self.root, left + 4, _TOP - 5, f"loop × {trips}", look.line, 10, weight="bold")

    def axes(self) -> None:
        """Gridlines with bytes and step numbers."""
        for position in _ticks(self.size, 6, binary=True):
            self._line(self.x(0), self.y(position), self.x(self.steps), self.y(position))
            self._text(self.root, _LEFT - 8, self.y(position) + 3.5, count_text(position), FAINT_INK, 10, anchor="end")
        for step in _ticks(self.steps, 12):
            self._text(self.root, self.x(step), _HEIGHT - _BOTTOM + 16, str(step), FAINT_INK, 10, anchor="middle")
        self._text(self.root, self.x(self.steps / 2), _HEIGHT - 20, "step", PAGE_INK, 11, anchor="middle")

    def block(self, block: _Block, names: Sequence[str]) -> None:
        """One buffer with its name where there is room, and all about it on hovering."""
        look = LOOKS[_PALETTE[block.number % len(_PALETTE)]]
        left, right = self.x(block.first), self.x(block.last + 1)
        top, bottom = self.y(block.high), self.y(block.low)
        group = ElementTree.SubElement(self.root, f"{{{_SVG}}}g", {"id": f"b{block.number}", "class": "node"})
        ElementTree.SubElement(group, f"{{{_SVG}}}title").text = (
            f"{clipped(block.name, 80)}: {block.high - block.low:,} bytes at {block.low:,}, "
            f"step {block.first} {_name(names, block.first)} to step {block.last} {_name(names, block.last)}"
        )
        self._rect(group, left, top, right - left, max(bottom - top, 0.75), look.fill, look.line)
        if right - left >= _NAMED_WIDTH and bottom - top >= _NAMED_HEIGHT:
            room = int((right - left - 6) / _CHARACTER)
            self._text(group, left + 3, (top + bottom) / 2 + 3.5, clipped(block.name, max(room, 3)), NODE_INK, 10)

    def text(self) -> str:
        """The document."""
        ElementTree.indent(self.root)
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"

    def _rect(
        self,
        parent: ElementTree.Element,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        line: str,
        *,
        opacity: str = "1",
    ) -> None:
        place = {"x": f"{x:.2f}", "y": f"{y:.2f}", "width": f"{max(width, 0.5):.2f}", "height": f"{height:.2f}"}
        look = {"fill": fill, "stroke": line, "stroke-width": "0.8"} | (
            {"fill-opacity": opacity} if opacity != "1" else {}
        )
        ElementTree.SubElement(parent, f"{{{_SVG}}}rect", place | look)

    def _line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        ends = {"x1": f"{x1:.2f}", "y1": f"{y1:.2f}", "x2": f"{x2:.2f}", "y2": f"{y2:.2f}"}
        ElementTree.SubElement(
            self.root, f"{{{_SVG}}}line", ends | {"stroke": EDGE, "stroke-width": "0.4", "stroke-dasharray": "2 3"}
        )

    def _text(
        self,
        parent: ElementTree.Element,
        x: float,
        y: float,
        text: str,
        fill: str,
        size: int,
        *,
        anchor: str = "start",
        weight: str = "normal",
    ) -> None:
        place = {
            "x": f"{x:.2f}",
            "y": f"{y:.2f}",
            "font-size": str(size),
            "fill": fill,
            "text-anchor": anchor,
            "font-weight": weight,
        }
        ElementTree.SubElement(parent, f"{{{_SVG}}}text", place).text = text


def _name(names: Sequence[str], step: int) -> str:
    return names[step] if step < len(names) else ""


def _ticks(size: int, count: int, *, binary: bool = False) -> list[int]:
    """Round positions from 0 to ``size``: at 1, 2, 5 times a power of ten, or at powers of two for bytes."""
    step = 1
    factors = (2,) if binary else (2, 2.5, 2)
    turn = 0
    while size / step > count:
        step = int(step * factors[turn % len(factors)])
        turn += 1
    return list(range(0, size + 1, step))
