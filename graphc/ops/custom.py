"""``custom_gradient``: a value with a derivative of the user's own.

Both are closed regions, so the op prints, verifies and differentiates to any order like the ops it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcValueError, UnsupportedOp
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_region
from graphc.ir.node import Node
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.rewrite import inline
from graphc.ir.types import TensorType


def _infer(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    forward: Graph = attrs["forward"]
    expected = [node.type for node in forward.inputs]
    if list(inputs) != expected:
        raise GraphcValueError("E211", f"{attrs['name']} takes {expected}, got {list(inputs)}")
    return forward.output_nodes[0].tensor


def _evaluate(attrs: Attrs, *arrays: Array, result: TensorType) -> Array:
    value: Array = evaluate_region(attrs["forward"], arrays)[0]
    return value


def _vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    """The region's outputs are named by the position of the input they belong to.

    An input without one has no derivative.
    """
    (cotangent,) = cotangents
    found: list[Node | None] = [None] * len(node.inputs)
    if cotangent is None:
        return found
    backward: Graph = node.attrs["backward"]
    values = inline(b, backward, [*node.inputs, node, cotangent])
    for (position, _), value in zip(backward.outputs, values, strict=True):
        found[int(position)] = value
    return found


def _jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    tangent: Graph | None = node.attrs["tangent"]
    if tangent is None:
        raise UnsupportedOp(
            "E225",
            f"{node.attrs['name']} has no forward derivative: its gradient is not linear in the cotangent",
            hint="use grad or vjp",
        )
    if all(given is None for given in tangents):
        return [None]
    # The region takes tangents of the inputs that have a derivative, after the inputs and the value.
    positions = [int(name) for name, _ in node.attrs["backward"].outputs]
    given = [tangents[position] or _zeros(b, node.inputs[position].tensor) for position in positions]
    return list(inline(b, tangent, [*node.inputs, node, *given]))


def _zeros(b: Builder, type_: TensorType) -> Node:
    zero = b.constant(0, type_.dtype)
    return b.op("broadcast_to", zero, shape=type_.shape) if type_.shape else zero


def _decompose(b: Builder, node: Node, operands: Sequence[Node]) -> Node:
    return inline(b, node.attrs["forward"], operands)[0]


register(
    OpDef(
        "custom_gradient",
        OpKind.COMPOSITE,
        _infer,
        _evaluate,
        _vjp,
        _jvp,
        attributes=("name", "forward", "backward", "tangent"),
        decompose=_decompose,
        summary="a value whose derivative the user gives",
    )
)
