"""The text form of graphs; :mod:`graphc.ir.parser` reads it back.

    graph "predict" {
      %0 = input(name="x", dtype=float32, shape=(32, 28)) : float32[32,28]
      %1 = state(state=state("dense/kernel", float32, (28, 10), "parameter", true)) : float32[28,10]
      %2 = matmul(%0, %1) : float32[32,10]
      output "logits" = %2
    }

Every node stands on its own line in creation order.  The type after the colon is for people and is checked when the
text is read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from graphc.ir.attrs import ArrayValue, AttrValue
from graphc.ir.dim import Poly
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType


def print_module(module: Module) -> str:
    """The text form of every entry point."""
    return "\n".join(print_graph(graph) for graph in module.entries.values())


def print_graph(graph: Graph, *, locations: bool = False) -> str:
    """The text form of a graph.

    Args:
        locations: append each node's source line and layer as a comment.
    """
    return "\n".join(_lines(graph, "", locations)) + "\n"


def _lines(graph: Graph, indent: str, locations: bool) -> Iterator[str]:
    names = {node: f"%{index}" for index, node in enumerate(graph.nodes)}
    yield f"{indent}graph {json.dumps(graph.name)} {{"
    inner = indent + "  "
    for node in graph.nodes:
        operands = [names[operand] for operand in node.inputs]
        regions = [(key, value) for key, value in node.attrs.items() if isinstance(value, Graph)]
        attributes = [
            f"{key}={format_value(value)}" for key, value in node.attrs.items() if not isinstance(value, Graph)
        ]
        head = f"{inner}{names[node]} = {node.op.name}({', '.join(operands + attributes)})"
        for key, region in regions:
            yield f"{head} {key} {{"
            yield from _lines(region, inner + "  ", locations)
            head = f"{inner}}}"
        yield f"{head} : {node.type!r}{_comment(graph, node) if locations else ''}"
    if graph.inputs:
        yield f"{inner}inputs {', '.join(names[node] for node in graph.inputs)}"
    for name, node in graph.outputs:
        yield f"{inner}output {json.dumps(name)} = {names[node]}"
    for variable, value in graph.updates:
        yield f"{inner}update {names[variable]} = {names[value]}"
    yield f"{indent}}}"


def _comment(graph: Graph, node: Node) -> str:
    note = graph.note(node)
    parts = [
        *(str(line) for line in note.locations[:1]),
        "/".join(note.scope),
        note.role if note.role != "forward" else "",
    ]
    text = "  ".join(part for part in parts if part)
    return f"  # {text}" if text else ""


def format_value(value: AttrValue) -> str:
    """One attribute value as text."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _format_float(value)
        case str():
            return json.dumps(value)
        case DType():
            return value.name
        case Poly():
            return f"dim({json.dumps(str(value))})"
        case tuple():
            return "(" + ", ".join(map(format_value, value)) + ("," if len(value) == 1 else "") + ")"
        case ArrayValue():
            return _format_array(value)
        case State():
            shape = format_value(value.type.shape)
            return (
                f"state({json.dumps(value.name)}, {value.type.dtype.name}, {shape}, "
                f"{json.dumps(value.role)}, {format_value(value.trainable)})"
            )
        case _:
            raise TypeError(f"not an attribute value: {value!r}")


def _format_float(value: float) -> str:
    text = repr(value)
    # inf and nan are no numbers in the text form, and a NaN has a payload: they are written as bits.
    return text if text[-1].isdigit() else f"bits({struct.pack('<d', value).hex()!r})".replace("'", '"')


def _format_array(value: ArrayValue) -> str:
    element, shape = value.type.dtype, value.type.shape
    if value.array.ndim == 0 and (not element.is_float or element.bits >= 32):
        number = value.array.item()
        text = format_value(number)
        if not text.startswith("bits"):
            return f"scalar({element.name}, {text})"
    return f'array({element.name}, {format_value(shape)}, "{value.array.tobytes().hex()}")'
