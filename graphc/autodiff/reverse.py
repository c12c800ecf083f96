"""Reverse mode: vector–Jacobian products as a graph.

The walk goes through the forward nodes in reverse creation order (Griewank and Walther, *Evaluating Derivatives*, 2008,
chapter 3), so the backward graph of an unrolled loop has the same nodes for every step, in the same order, and ``roll``
finds it.  For the same reason a value that many steps read collects its cotangents as one running sum, and pieces of
one tensor (``x[t]`` for every t) are put back together by one ``stack`` or ``concat`` instead of a sum of T arrays that
are zero almost everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.autodiff.pieces import Accumulator
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType, TupleType


def zeros(b: Builder, type_: TensorType) -> Node:
    """A tensor of zeros: a scalar constant, broadcast."""
    zero = b.constant(0, type_.dtype)
    return zero if not type_.shape else b.op("broadcast_to", zero, shape=type_.shape)


def ones(b: Builder, type_: TensorType) -> Node:
    """A tensor of ones."""
    one = b.constant(1, type_.dtype)
    return one if not type_.shape else b.op("broadcast_to", one, shape=type_.shape)


def active_nodes(order: Sequence[Node], wrt: Sequence[Node]) -> set[Node]:
    """The nodes of ``order`` that a differentiable path connects to ``wrt``."""
    active: set[Node] = set(wrt)
    for node in order:
        if (
            node not in active
            and node.op.differentiable
            and _carries_derivative(node)
            and any(i in active for i in node.inputs)
        ):
            active.add(node)
    return active


def _carries_derivative(node: Node) -> bool:
    if isinstance(node.type, TupleType):
        return any(element.dtype.is_float for element in node.type.elements)
    return node.dtype.is_float


def vjp(b: Builder, outputs: Sequence[Node], cotangents: Sequence[Node | None], wrt: Sequence[Node]) -> list[Node]:
    """The cotangents of ``wrt`` for given cotangents of ``outputs``: vᵀ·J.

    Args:
        b: the builder that holds the graph; derivative nodes are made in it.
        outputs: floating-point nodes.
        cotangents: one an output, of its type; None stands for zero.
        wrt: floating-point nodes.

    Returns:
        One node for each of ``wrt``, of its type; zeros where the outputs do not depend on it.
    """
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and cotangent.type is not output.type:
            raise GraphcValueError("E211", f"the cotangent has type {cotangent.type!r}, its output {output.type!r}")
    for node in wrt:
        if not node.dtype.is_float:
            raise GraphcTypeError(
                "E225",
                f"cannot differentiate with respect to a tensor of {node.dtype}",
                hint="cast it to a float dtype first",
            )
    order = creation_order(outputs)
    active = active_nodes(order, wrt)
    collected: dict[Node, Accumulator] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in active:
            collected.setdefault(output, Accumulator()).add(b, cotangent)
    tuples: dict[Node, dict[int, Node]] = {}
    wanted = set(wrt)
    for node in reversed(order):
        if node not in active:
            continue
        accumulator = collected.get(node)
        if isinstance(node.type, TensorType):
            if accumulator is None:
                continue
            with b.noted(b.note(node), "backward"):
                cotangent = accumulator.total(b, node.tensor)
                if node in wanted:
                    # Nodes asked for keep their sum; a wrt node may also lie on the way to another.
                    collected[node] = Accumulator.of(cotangent)
                else:
                    del collected[node]
                if node.op.name == "result":
                    tuples.setdefault(node.inputs[0], {})[node.attrs["index"]] = cotangent
                    active.add(node.inputs[0])
                    continue
                _spread(b, node, [cotangent], active, collected)
            continue
        parts = tuples.pop(node, None)
        if parts:
            with b.noted(b.note(node), "backward"):
                _spread(b, node, [parts.get(index) for index in range(len(node.type.elements))], active, collected)
    return [collected[node].total(b, node.tensor) if node in collected else zeros(b, node.tensor) for node in wrt]


def _spread(
    b: Builder, node: Node, cotangents: Sequence[Node | None], active: set[Node], collected: dict[Node, Accumulator]
) -> None:
    """Pass a node's cotangents on to its active inputs."""
    if node.op.vjp is None or not any(operand in active for operand in node.inputs):
        return
    first = cotangents[0]
    if node.op.name in ("index", "slice") and first is not None:
        # Held back as a piece until all pieces of the input are known.
        collected.setdefault(node.inputs[0], Accumulator()).add_piece(node, first)
        return
    for operand, cotangent in zip(node.inputs, node.op.vjp(b, node, cotangents), strict=True):
        if cotangent is not None and operand in active:
            collected.setdefault(operand, Accumulator()).add(b, cotangent)


def gradient(b: Builder, output: Node, wrt: Sequence[Node]) -> list[Node]:
    """∂output/∂wrt for a scalar floating-point ``output``.

    Raises:
        GraphcValueError: ``output`` is not a scalar (E225).
        GraphcTypeError: ``output`` is not floating-point, or no differentiable op leads to it (E225).
    """
    if output.rank != 0:
        raise GraphcValueError(
            "E225",
            f"a gradient needs a scalar, got shape {output.shape}",
            hint="reduce it first, e.g. with .sum() or .mean(), or use vjp",
        )
    if not output.dtype.is_float:
        raise GraphcTypeError(
            "E225",
            f"cannot differentiate a result of dtype {output.dtype}",
            hint="cast it to a float dtype, or differentiate before the comparison",
        )
    return vjp(b, [output], [ones(b, output.tensor)], wrt)
