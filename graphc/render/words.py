"""How a node reads in a picture: its title and small print, with constant operands written into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Note
from graphc.ir.op import OpKind
from graphc.ir.printer import print_graph
from graphc.render.label import attribute_lines, clipped, constant_text

HOLE = "·"
"""Stands for an operand that an edge brings."""

_INFIX = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "/",
    "pow": "^",
    "less": "<",
    "less_equal": "≤",
    "greater": ">",
    "greater_equal": "≥",
    "equal": "=",
    "not_equal": "≠",
}
_BODY_LINES = 60
_FUSED_LINES = 6
_WIDTH = 32
_SHORT_NAME = 16


def title_of(node: Node, note: Note) -> str:
    """``logits = add``: the user's name where there is one, and the op."""
    op = clipped(node.op.name, 28)
    return f"{clipped(note.name, 24)} = {op}" if note.name else op


def small_print(node: Node, operands: Sequence[str | None], index: str | None = None) -> list[str]:
    """The lines under the title.

    Args:
        operands: for each input its text where it is a constant, None where an edge brings it.
        index: position of an ``index`` node that stands for many steps.
    """
    if node.op.name == "fused":
        return op_counts(node.attrs["body"])
    lines = attribute_lines(node, index)
    if any(text is not None for text in operands):
        lines.insert(0, applied(node.op.name, operands))
    return lines


def constant_operand(node: Node) -> str | None:
    """The text of a constant, or of one broadcast; None for what is computed."""
    while node.op.name == "broadcast_to":
        node = node.inputs[0]
    if node.op.name == "training":
        return "training"
    return constant_text(node.attrs["value"]) if node.op.name == "constant" else None


def applied(op: str, operands: Sequence[str | None]) -> str:
    """``· × 0.5``: an op with its constant operands."""
    texts = [HOLE if text is None else text for text in operands]
    if op in _INFIX and len(texts) == 2:
        return clipped(f"{texts[0]} {_INFIX[op]} {texts[1]}", _WIDTH)
    return clipped(f"({', '.join(texts)})", _WIDTH)


def state_words(name: str) -> tuple[str, list[str]]:
    """Title and small print of a state variable: of a long name the last part, with the layers below."""
    layers, _, last = name.rpartition("/")
    return (name, []) if len(name) <= _SHORT_NAME or not layers or not last else (last, [layers])


def op_counts(body: Graph) -> list[str]:
    """``multiply ×3, add ×2, tanh``: the ops of a fused group, in the order of their first use, in a few lines."""
    counts = Counter(node.op.name for node in body.nodes if node.op.kind is not OpKind.SOURCE)
    words = [clipped(name, 24) + (f" ×{count}" if count > 1 else "") for name, count in counts.items()]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= _WIDTH:
            lines[-1] += f", {word}"
        elif len(lines) == _FUSED_LINES:
            lines[-1] += ", …"
            break
        else:
            lines.append(word)
    return lines


def body_text(body: Graph) -> list[str]:
    """A region in the text form, for the page, its end left out where it is long."""
    lines = [clipped(line, 160) for line in print_graph(body).splitlines()]
    return lines if len(lines) <= _BODY_LINES else [*lines[:_BODY_LINES], f"… {len(lines) - _BODY_LINES} more lines"]


def step_text(start: object, step: int) -> str:
    """``t``, ``t+1``, ``63−t``: the position that step t reads."""
    if step == 0:
        return str(start)
    moving = "t" if abs(step) == 1 else f"{abs(step)}·t"
    if step < 0:
        return f"{start}−{moving}"
    return moving if start == 0 else f"{moving}+{start}"
