"""Forward mode: Jacobian–vector products as a graph (J·v), pushed through the nodes in creation order."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.autodiff.reverse import active_nodes, zeros
from graphc.clock import timed
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType


@timed("differentiate")
def jvp(b: Builder, outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node]) -> list[Node]:
    """The tangents of ``outputs`` for given tangents of ``wrt``.

    Returns:
        One node an output, of its type; zeros where it does not depend on ``wrt`` or is not floating-point.
    """
    for node, tangent in zip(wrt, tangents, strict=True):
        if not node.dtype.is_float:
            raise GraphcTypeError("E225", f"cannot differentiate with respect to a tensor of {node.dtype}")
        if tangent.type is not node.type:
            raise GraphcValueError("E211", f"the tangent has type {tangent.type!r}, its input {node.type!r}")
    order = creation_order(outputs)
    active = active_nodes(order, wrt)
    pushed: dict[Node, Node] = {}
    parts: dict[Node, Sequence[Node | None]] = {}
    seeds = dict(zip(wrt, tangents, strict=True))
    for node in order:
        if node in seeds:
            pushed[node] = seeds[node]
            continue
        if node not in active:
            continue
        if node.op.name == "result":
            part = parts.get(node.inputs[0], ())
            taken = part[node.attrs["index"]] if part else None
            if taken is not None:
                pushed[node] = taken
            continue
        if node.op.jvp is None:
            continue
        with b.noted(b.note(node), "backward"):
            results = node.op.jvp(b, node, [pushed.get(operand) for operand in node.inputs])
        if isinstance(node.type, TensorType):
            if results[0] is not None:
                pushed[node] = results[0]
        else:
            parts[node] = results
    return [pushed.get(output) or zeros(b, output.tensor) for output in outputs]
