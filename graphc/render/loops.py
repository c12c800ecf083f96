"""Draws a loop.

It is a frame with the body inside, boxes for what a step takes from the step before, and for its element of each
sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ir.node import Node
from graphc.ir.traverse import users
from graphc.ir.types import TupleType
from graphc.ops.loop_parts import LoopParts
from graphc.render.label import type_text
from graphc.render.plan import Plan, Value
from graphc.render.words import step_text

if TYPE_CHECKING:
    from graphc.render.drawing import Region


def draw_loop(region: Region, node: Node) -> list[Value]:
    """Draw the loop ``node`` of ``region``; gives its results."""
    parts = LoopParts.of(node)
    body = parts.body
    canvas = region.canvas
    outer = (*region.path(node), ("repeat", f"loop × {parts.trips}", node))
    home = canvas.cluster(outer)
    readers = users(body.nodes)
    values: dict[Node, Value] = {body.inputs[0]: Value("scalar int64", text="t")}
    carries: list[Value] = []
    for position, initial in enumerate(parts.carries):
        place = body.inputs[1 + position]
        value = region.value(initial)
        if readers[place] or place in body.output_nodes:
            start = [f"starts at {value.text}"] if value.text is not None else []
            details = {
                "carried": f"{place.type!r} from the step before",
                "starts at": value.text or "the value of the solid edge",
            }
            box = canvas.box("carry", "step before", start, home, details)
            region.enter(value, box, f"{value.label}, start")
            values[place] = Value(type_text(place.type), box, role=region.role(node))
        carries.append(values.get(place, Value("")))
    entered = 1 + len(parts.carries)
    for position, invariant in enumerate(parts.invariants):
        values[body.inputs[entered + position]] = region.value(invariant)
    entered += len(parts.invariants)
    for position, (sequence, (axis, start_at, step)) in enumerate(zip(parts.sequences, parts.slices, strict=True)):
        place = body.inputs[entered + position]
        value = region.value(sequence)
        where = f"[{', '.join([*(':' for _ in range(axis)), step_text(start_at, step)])}]"
        if value.text is not None:
            values[place] = Value(type_text(place.type), text=value.text)
            continue
        details = {"element": where, "type": repr(place.type), "of": repr(sequence.type)}
        title = where
        if value.box is not None and region.is_saved(value, node):
            title = f"{canvas.tag(value.box)} {where}"
            details["refers to"] = value.box
        box = canvas.box("element", title, [], home, details)
        if "refers to" not in details:
            region.enter(value, box, value.label)
        values[place] = Value(type_text(place.type), box, role=region.role(node))
    inner = type(region)(canvas, body, Plan(), outer=outer, values=values, around=region, loop=node)
    inner.draw()
    assert isinstance(node.type, TupleType)
    results = []
    for position, output in enumerate(body.output_nodes):
        value = inner.value(output)
        if position < len(carries):
            before = carries[position]
            if before.box is not None and value.box is not None and before.box != value.box:
                canvas.edge(value.box, before.box, f"{value.label}, next step", "carry", back=True)
            label = f"{value.label}, last step"
        else:
            label = type_text(node.type.elements[position])
        results.append(Value(label, value.box, value.text, value.source, region.role(node)))
    return results
