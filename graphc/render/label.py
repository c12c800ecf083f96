"""Words for nodes: shapes, types, attributes and places, short enough for a picture.

All of it is text: :mod:`graphc.render.dot` escapes it for DOT, :mod:`graphc.render.html` for a page.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from graphc.errors import Location
from graphc.ir.attrs import ArrayValue
from graphc.ir.dim import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Note
from graphc.ir.printer import format_value
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, ValueType, float32

_LINE = 34
DETAIL = 400
"""Characters of a detail on a page."""


def clipped(text: str, length: int = _LINE) -> str:
    """``text`` without control characters, its middle left out where it is too long."""
    plain = "".join(character if _is_visible(character) else "\N{WHITE SQUARE}" for character in text)
    if len(plain) <= length:
        return plain
    head = (length - 1) * 2 // 3
    return f"{plain[:head]}…{plain[len(plain) - (length - 1 - head) :]}"


def _is_visible(character: str) -> bool:
    # Control, private, surrogate and unassigned characters, and those that turn the direction of the text around them.
    return character == " " or (unicodedata.category(character)[0] not in "CZ" or character == "\N{NO-BREAK SPACE}")


def shape_text(shape: Sequence[Dim]) -> str:
    """``2×8``; ``scalar`` for no dimensions."""
    return "×".join(str(dim) if isinstance(dim, int) else clipped(str(dim), 16) for dim in shape) or "scalar"


def type_text(type_: ValueType) -> str:
    """Shape, with the dtype where it is not float32."""
    if not isinstance(type_, TensorType):
        return f"{len(type_.elements)} values"
    shape = shape_text(type_.shape)
    return shape if type_.dtype is float32 else f"{shape} {type_.dtype.name}"


def number_text(value: float | int | bool) -> str:
    """A number as a person writes it."""
    if isinstance(value, bool | int):
        return str(value)
    return f"{value:g}" if math.isfinite(value) and float(f"{value:g}") == value else f"{value:.4g}"


def value_text(value: object) -> str:
    """One attribute value, short."""
    match value:
        case DType():
            return value.name
        case Graph():
            return f"{len(value)} nodes"
        case State():
            return value.name
        case ArrayValue():
            return constant_text(value)
        case float():
            return number_text(value)
        case tuple() if all(isinstance(item, int | float | str) for item in value):
            return f"({','.join(map(str, value))})"
        case str():
            return value
        case _:
            return format_value(value)


def constant_text(value: ArrayValue) -> str:
    """A constant: its number where all elements are equal."""
    if value.is_uniform:
        return number_text(value.scalar())
    return f"constant {shape_text(value.type.shape)}"


def _subscript(starts: Sequence[int], stops: Sequence[int], steps: Sequence[int], shape: Sequence[Dim]) -> str:
    parts = []
    for start, stop, step, dim in zip(starts, stops, steps, shape, strict=True):
        if (start, stop, step) == (0, dim, 1):
            parts.append(":")
            continue
        parts.append(f"{start or ''}:{'' if stop == dim else stop}" + (f":{step}" if step != 1 else ""))
    return f"[{', '.join(parts)}]"


def attribute_lines(node: Node, index: str | None = None) -> list[str]:
    """The main attributes of a node, a line or two.

    Args:
        index: what to write for the position of an ``index`` node that stands for many steps.
    """
    attrs, name = node.attrs, node.op.name
    match name:
        case "input":
            return [clipped(attrs["name"])]
        case "state":
            return [clipped(attrs["state"].name)]
        case "index":
            place = index if index is not None else str(attrs["index"])
            return [f"[{', '.join([*(':' for _ in range(attrs['axis'])), place])}]"]
        case "slice":
            return [clipped(_subscript(attrs["starts"], attrs["stops"], attrs["steps"], node.inputs[0].shape))]
        case "einsum":
            return [clipped(attrs["subscripts"])]
        case "broadcast_to" | "reshape":
            return []
        case "random_uniform":
            return [f"stream {attrs['stream']}"]
        case _:
            return _general_lines(attrs)


_SILENT = frozenset({"keepdims", "shape", "body", "value", "forward", "backward", "tangent"})
_DEFAULTS: Mapping[str, object] = {"groups": 1, "reverse": False, "descending": False}


def _general_lines(attrs: Mapping[str, object]) -> list[str]:
    parts = []
    for key, value in attrs.items():
        if key in _SILENT or _DEFAULTS.get(key) == value or (key == "dilation" and set(_flat(value)) == {1}):
            continue
        text = value_text(value)
        parts.append(text if isinstance(value, DType) else f"{key} {text}")
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= _LINE:
            lines[-1] += f", {part}"
        elif len(lines) < 3:
            lines.append(clipped(part))
        else:
            lines[-1] = clipped(lines[-1] + ", …")
            break
    return lines


def _flat(value: object) -> Iterable[object]:
    return value if isinstance(value, tuple) else (value,)


def place_text(location: Location) -> str:
    """``model.py:12`` with the function, for a page."""
    return f"{location.file}:{location.line}" + (f" in {location.function}" if location.function else "")


def attribute_details(node: Node) -> list[str]:
    """Every attribute on a line of its own, for the page."""
    lines = []
    for key, value in node.attrs.items():
        text = value_text(value) if isinstance(value, Graph | ArrayValue | State) else format_value(value)
        lines.append(f"{key} = {clipped(text, DETAIL)}")
    return lines


def node_details(node: Node, note: Note) -> dict[str, str | list[str]]:
    """What the page shows of a node besides its neighbours; empty entries are left out."""
    details: dict[str, str | list[str]] = {
        "op": node.op.name,
        "name": clipped(note.name or "", DETAIL),
        "type": clipped(repr(node.type), DETAIL),
        "attributes": attribute_details(node),
        "layer": clipped(" / ".join(note.scope), DETAIL),
        "role": note.role if node.inputs else "",
        "source": [clipped(place_text(place), DETAIL) for place in note.locations[:8]],
        "meaning": node.op.summary,
    }
    return {key: value for key, value in details.items() if value}
