"""Derivatives of whole regions: how composites, loops and fused kernels differentiate what is inside them.

A region (the decomposition of a composite, the body of a loop) is differentiated on its own, over placeholder
inputs, and the result is a region again; :func:`graphc.ir.rewrite.inline` puts it where it is needed.  So a
caller's nodes and the inside of a region never mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_region
from graphc.ir.node import Node
from graphc.ir.op import Array, DecomposeRule, InferRule, OpDef, OpKind, get_op
from graphc.ir.rewrite import inline
from graphc.ir.types import DTYPES, NUMERIC, DType, TensorType, TupleType, tensor_type
from graphc.ops.pieces import Piece, assemble
from graphc.ops.rules import zeros

# -- walks -------------------------------------------------------------------------------------------------------------


def _active(order: Sequence[Node], sources: Sequence[Node]) -> set[Node]:
    """``sources`` and the nodes of ``order`` that a differentiable path leads to from them."""
    active = set(sources)
    for node in order:
        if node not in active and node.op.differentiable and any(operand in active for operand in node.inputs):
            active.add(node)
    return active


def backpropagate(
    b: Builder, order: Sequence[Node], seeds: Mapping[Node, Node], wrt: Sequence[Node]
) -> dict[Node, Node]:
    """Cotangents of ``wrt`` by a reverse walk over ``order``.

    Args:
        b: derivative nodes are made in it.
        order: topological; the walk does not leave it, and does not go past ``wrt``.
        seeds: output → its cotangent; floating-point nodes.
        wrt: floating-point nodes.

    Returns:
        A cotangent for each of ``wrt`` that the seeds reach.
    """
    active = _active(order, wrt)
    stops = set(wrt)
    collected: dict[Node, Node] = {}
    parts: dict[Node, dict[int, Node]] = {}
    pieces: dict[Node, list[Piece]] = {}

    def add(node: Node, cotangent: Node) -> None:
        before = collected.get(node)
        collected[node] = cotangent if before is None else b.op("add", before, cotangent)

    for node, seed in seeds.items():
        if node in active:
            add(node, seed)
    for node in reversed(order):
        if node in stops or node not in active:
            continue
        if isinstance(node.type, TupleType):
            given = parts.pop(node, {})
            cotangents: list[Node | None] = [given.get(index) for index in range(len(node.type.elements))]
        else:
            for assembled in assemble(b, pieces.pop(node, ()), node.tensor):
                add(node, assembled)
            cotangents = [collected.pop(node, None)]
        if all(cotangent is None for cotangent in cotangents):
            continue
        first = cotangents[0]
        if first is not None and node.op.name == "result":
            parts.setdefault(node.inputs[0], {})[node.attrs["index"]] = first
        elif first is not None and node.op.name in ("index", "slice"):
            # Held back until all pieces of the input are known: gates side by side come back as one ``concat``.
            pieces.setdefault(node.inputs[0], []).append((node, first))
        elif node.op.vjp is not None:
            for operand, cotangent in zip(node.inputs, node.op.vjp(b, node, cotangents), strict=True):
                if cotangent is not None and operand in active:
                    add(operand, cotangent)
    for node, held in pieces.items():
        if node in stops:
            for assembled in assemble(b, held, node.tensor):
                add(node, assembled)
    return {node: collected[node] for node in wrt if node in collected}


def push_forward(b: Builder, order: Sequence[Node], tangents: Mapping[Node, Node]) -> dict[Node, Node]:
    """Tangents of the nodes of ``order`` that those in ``tangents`` reach."""
    pushed = dict(tangents)
    parts: dict[Node, Sequence[Node | None]] = {}
    for node in order:
        if node in tangents:
            continue
        if node.op.name == "result":
            results: Sequence[Node | None] = (
                [parts[node.inputs[0]][node.attrs["index"]]] if node.inputs[0] in parts else [None]
            )
        elif node.op.jvp is None or not any(operand in pushed for operand in node.inputs):
            continue
        else:
            results = node.op.jvp(b, node, [pushed.get(operand) for operand in node.inputs])
        if isinstance(node.type, TupleType):
            parts[node] = results
        elif results[0] is not None:
            pushed[node] = results[0]
    return pushed


# -- regions -----------------------------------------------------------------------------------------------------------


def _enter(b: Builder, region: Graph) -> tuple[list[Node], list[Node], list[Node]]:
    """``region`` rebuilt in ``b`` over inputs of its own: inputs, outputs, all nodes in order."""
    inputs = [b.input(f"x{position}", node.tensor) for position, node in enumerate(region.inputs)]
    outputs = inline(b, region, inputs)
    inside = Graph.make(region.name, inputs, [(f"y{position}", node) for position, node in enumerate(outputs)])
    return inputs, outputs, list(inside.nodes)


def vjp_region(region: Graph, seeded: Sequence[int]) -> tuple[Graph, list[int]]:
    """The reverse derivative of a region.

    Args:
        region: without free variables.
        seeded: the positions of the outputs that have a cotangent.

    Returns:
        A region whose inputs are those of ``region`` and then one cotangent for each of ``seeded``, and whose
        outputs are the cotangents of the inputs at the positions returned with it; all others are zero.
    """
    b = Builder()
    inputs, outputs, order = _enter(b, region)
    cotangents = [b.input(f"g{position}", outputs[position].tensor) for position in seeded]
    seeds: dict[Node, Node] = {}
    for position, cotangent in zip(seeded, cotangents, strict=True):
        output = outputs[position]
        seeds[output] = b.op("add", seeds[output], cotangent) if output in seeds else cotangent
    table = backpropagate(b, order, seeds, [node for node in inputs if node.dtype.is_float])
    reached = [position for position, node in enumerate(inputs) if node in table]
    results = [(f"d{position}", table[inputs[position]]) for position in reached]
    return Graph.make(f"{region.name}_vjp", [*inputs, *cotangents], results), reached


def jvp_region(region: Graph, moving: Sequence[int]) -> tuple[Graph, list[int]]:
    """The forward derivative of a region.

    Args:
        region: without free variables.
        moving: the positions of the inputs that have a tangent.

    Returns:
        A region whose inputs are those of ``region`` and then one tangent for each of ``moving``, and whose
        outputs are the tangents of the outputs at the positions returned with it; all others are zero.
    """
    b = Builder()
    inputs, outputs, order = _enter(b, region)
    tangents = [b.input(f"t{position}", inputs[position].tensor) for position in moving]
    table = push_forward(
        b, order, {inputs[position]: tangent for position, tangent in zip(moving, tangents, strict=True)}
    )
    reached = [position for position, node in enumerate(outputs) if node in table and node.dtype.is_float]
    results = [(f"d{position}", table[outputs[position]]) for position in reached]
    return Graph.make(f"{region.name}_jvp", [*inputs, *tangents], results), reached


def region_vjp(b: Builder, region: Graph, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    """The vjp rule of ``node``, whose value is that of ``region`` on its inputs."""
    seeded = [position for position, cotangent in enumerate(cotangents) if cotangent is not None]
    table = _inlined(b, vjp_region(region, seeded), [*node.inputs, *cotangents])
    return [table.get(position) for position in range(len(node.inputs))]


def region_jvp(b: Builder, region: Graph, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The jvp rule of ``node``, whose value is that of ``region`` on its inputs."""
    moving = [position for position, tangent in enumerate(tangents) if tangent is not None]
    table = _inlined(b, jvp_region(region, moving), [*node.inputs, *tangents])
    return [table.get(position) for position in range(len(region.outputs))]


def _inlined(b: Builder, derivative: tuple[Graph, list[int]], operands: Sequence[Node | None]) -> dict[int, Node]:
    """The outputs of a derivative region on the operands that there are, by the positions that go with them."""
    region, reached = derivative
    return dict(zip(reached, inline(b, region, [one for one in operands if one is not None]), strict=True))


# -- composites --------------------------------------------------------------------------------------------------------


def decomposition(op: OpDef, attrs: Attrs, types: Sequence[TensorType]) -> Graph:
    """What a composite op is made of, as a region over inputs of ``types``."""
    assert op.decompose is not None, op
    b = Builder()
    inputs = [b.input(f"x{position}", type_) for position, type_ in enumerate(types)]
    value = op.decompose(b, b.make(op, inputs, attrs), inputs)
    return Graph.make(op.name, inputs, [("y", value)])


def _meaning(node: Node) -> Graph:
    return decomposition(node.op, node.attrs, [operand.tensor for operand in node.inputs])


def composite_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    """The vjp rule of every composite: that of its decomposition."""
    return region_vjp(b, _meaning(node), node, cotangents)


def composite_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The jvp rule of every composite: that of its decomposition."""
    return region_jvp(b, _meaning(node), node, tangents)


def _carrier_type(array: Array) -> TensorType:
    """The type of an operand as evaluate rules see it: half dtypes are float32 there and round once, at the end."""
    return tensor_type(DTYPES[np.dtype(array.dtype).name], array.shape)


def define_composite(
    name: str,
    infer: InferRule,
    decompose: DecomposeRule,
    attributes: tuple[str, ...],
    summary: str,
    *,
    arity: int,
    dtypes: tuple[DType, ...] = NUMERIC,
) -> OpDef:
    """An op that is named for people and means what its decomposition means."""

    def evaluate(attrs: Attrs, *arrays: Array, result: TensorType) -> Any:
        region = decomposition(get_op(name), attrs, [_carrier_type(array) for array in arrays])
        return evaluate_region(region, arrays)[0]

    return OpDef(
        name,
        OpKind.COMPOSITE,
        infer,
        evaluate,
        composite_vjp,
        composite_jvp,
        attributes=attributes,
        dtypes=dtypes,
        decompose=decompose,
        summary=summary,
        arity=arity,
    )


def value_or_zeros(b: Builder, value: Node | None, type_: TensorType) -> Node:
    """``value``, or zeros of ``type_`` where there is none."""
    return zeros(b, type_) if value is None else value
