"""What generated source says to people: the names of variables, and comments."""

from __future__ import annotations

import os
from collections.abc import Mapping

from graphc.backends.numpy.lowering.movement import is_filled
from graphc.backends.numpy.names import noun
from graphc.backends.numpy.plan import LoopPlan, RegionPlan, Variable
from graphc.ir.node import Node, Note
from graphc.ir.op import OpKind


def hints_of(plan: RegionPlan, named: Mapping[Node, str]) -> dict[Variable, str]:
    """The names that variables should have: of outputs, or as the user called them."""
    hints: dict[Variable, str] = {}
    for node, held in plan.variables.items():
        name = named.get(node) or plan.graph.note(node).name
        if name and held not in hints:
            hints[held] = name
    for loop in plan.loops.values():
        inner = hints_of(loop.body, {})
        for index, held in enumerate(loop.carries):
            hints.setdefault(held, carry_hint(loop, index, inner))
    return hints


def carry_hint(loop: LoopPlan, index: int, inner: Mapping[Variable, str]) -> str:
    """What a carry is called: as its next value is, as the body's input is, or ``carry``."""
    body = loop.parts.body
    following = loop.body.variables.get(body.output_nodes[index])
    if following is not None and following in inner:
        return inner[following]
    name: str = body.inputs[1 + index].attrs["name"]
    return "carry" if name[:1] == "c" and name[1:].isdigit() else name


def base_name(node: Node, note: Note) -> str:
    """What a value without a name is called: a layer's product after the layer, others after what they are."""
    layers = [part for part in note.scope if not part.startswith("step ")]
    if is_filled(node):
        return {0: "zeros", 1: "ones"}.get(node.inputs[0].attrs["value"].scalar(), "filled")
    is_product = node.op.kind is OpKind.CONTRACTION and note.role == "forward"
    return layers[-1] if layers and is_product else noun(node.op.name)


def plural(base: str) -> str:
    """A name for all steps' values of what is called ``base`` in one."""
    return f"{base}_steps" if base.endswith("s") or base[-1:].isdigit() else f"{base}s"


def describe(note: Note) -> str:
    """The user's line, and in brackets the layer and the role where it is not the forward one."""
    scope = "/".join(part for part in note.scope if not part.startswith("step "))
    role = "" if note.role == "forward" else note.role
    about = ", ".join(part for part in (scope, role) if part)
    if not note.locations:
        return f"({about})" if about else ""
    first = note.locations[0]
    place = f"{os.path.basename(first.file)}:{first.line}"
    return f"{place} ({about})" if about else place
