"""The table that ``summary()`` prints: layers, shapes, parameters, work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.layer import Layer
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, Poly, product, to_sympy
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.state import State
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType
from graphc.ops.linalg import split_subscripts

_FREE = (OpKind.SOURCE, OpKind.MOVEMENT, OpKind.INDEXING)
"""Ops that compute no number."""


@dataclass(frozen=True)
class Row:
    """A layer in the table.

    Attributes:
        name: the layer's.
        kind: its class.
        shapes: of its outputs.
        states: its weights.
        flops: floating-point operations of a forward call.
        bytes: what a forward call reads and writes: the layer's inputs, weights and outputs, each once; of a table only
            the rows that are looked up.
    """

    name: str
    kind: str
    shapes: tuple[tuple[Dim, ...], ...]
    states: tuple[State, ...]
    flops: Dim
    bytes: Dim


@dataclass(frozen=True)
class Block:
    """A layer as it was applied.

    Attributes:
        name: the layer's.
        kind: its class.
        inputs: what went in.
        outputs: what came out.
        states: its weights.
        scopes: the names under which its nodes are known: its own, and where it opens no scope, those of the layers
            inside.
    """

    name: str
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...] = ()
    scopes: tuple[str, ...] = ()

    @classmethod
    def of(cls, layer: Layer, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Block:
        """A layer that is known as an object."""
        scopes = [layer.name]
        pending = list(layer.sublayers())
        while pending:
            top = pending.pop()
            scopes.append(top.name)
            pending.extend(top.sublayers())
        return cls(layer.name, type(layer).__name__, tuple(inputs), tuple(outputs), tuple(layer.states), tuple(scopes))


def rows(blocks: Iterable[Block], forward: Graph) -> list[Row]:
    """The rows of a table.

    Args:
        blocks: the layers in order.
        forward: the graph of a prediction, in which the work is counted by the layers' names.
    """
    work, looked_up = _work(forward), _looked_up(forward)
    seen: set[State] = set()
    made = []
    for block in blocks:
        states = tuple(state for state in block.states if state not in seen)
        seen.update(states)
        flops: Dim = 0
        for name in dict.fromkeys(block.scopes):
            flops = flops + work.get(name, 0)
        traffic: Dim = 0
        for state in states:
            traffic = traffic + looked_up.get(state, state.type.nbytes)
        for tensor in dict.fromkeys((*block.inputs, *block.outputs)) if block.inputs else ():
            traffic = traffic + _nbytes(tensor.node.tensor)
        shapes = tuple(tensor.shape for tensor in block.outputs)
        made.append(Row(block.name, block.kind, shapes, states, flops, traffic))
    return made


def _nbytes(type_: TensorType) -> Dim:
    return type_.size * type_.dtype.storage.itemsize


def _looked_up(forward: Graph) -> dict[State, Dim]:
    """The bytes that are read of each state variable of which nothing but rows at given indices is read."""
    readers: dict[State, list[Node]] = {}
    for node in forward.nodes:
        for operand in dict.fromkeys(node.inputs):
            if operand.op.name == "state":
                readers.setdefault(operand.attrs["state"], []).append(node)
    found: dict[State, Dim] = {}
    for state, nodes in readers.items():
        if all(node.op.name == "take" and node.inputs[1].op.name != "state" for node in nodes):
            found[state] = sum(_nbytes(node.tensor) for node in nodes)
    return found


def _work(forward: Graph) -> dict[str, Dim]:
    """Outermost scope → floating-point operations; what no data reach is known before a call."""
    total: dict[str, Dim] = {}
    reached: set[Node] = set()
    for node in forward.nodes:
        if node.op.name not in ("input", "state") and reached.isdisjoint(node.inputs):
            continue
        reached.add(node)
        scope = forward.note(node).scope
        if scope:
            total[scope[0]] = total.get(scope[0], 0) + flops(node)
    return total


def flops(node: Node) -> Dim:
    """Floating-point operations of a node.

    A product of matrices counts a multiplication and an addition for each of its terms, a function of elements one
    operation for each, a reduction one for each element that goes in.
    """
    total: Dim = 0
    pending = [node]
    while pending:
        top = pending.pop()
        if top.op.kind is OpKind.COMPOSITE and top.op.decompose is not None:
            pending.extend(_inside(top))
        elif isinstance(top.type, TensorType):
            total = total + _own_flops(top)
    return total


def _inside(node: Node) -> list[Node]:
    """The nodes that a composite stands for."""
    builder = Builder()
    arguments = [builder.new_input(f"x{position}", operand.tensor) for position, operand in enumerate(node.inputs)]
    assert node.op.decompose is not None
    made = node.op.decompose(builder, node, arguments)
    return [inner for inner in creation_order([made]) if inner not in arguments]


def _own_flops(node: Node) -> Dim:
    if node.op.kind in _FREE or not node.dtype.is_float:
        return 0
    if node.op.kind is OpKind.CONTRACTION:
        return 2 * _terms(node)
    if node.op.kind is OpKind.REDUCTION:
        return node.inputs[0].tensor.size
    return node.tensor.size


def _terms(node: Node) -> Dim:
    """The products that a contraction adds up."""
    if node.op.name != "einsum":
        terms: Dim = node.tensor.size * node.inputs[0].shape[-1]
        return terms
    left, right, _ = split_subscripts(str(node.attrs["subscripts"]))
    sizes: dict[str, Dim] = {}
    for letters, operand in zip((left, right), node.inputs, strict=True):
        sizes |= zip(letters, operand.shape, strict=True)
    return product(sizes.values())


# -- printing ----------------------------------------------------------------------------------------------------------


def table(
    title: str, lines: Sequence[Row], *, width: int | None = None, optimizer: Iterable[State] | None = None
) -> str:
    """The table as text.

    Args:
        title: the model's name.
        lines: the layers.
        width: of the table; by default as wide as it needs.
        optimizer: its variables, which count as parameters in total.
    """
    header = ("Layer (type)", "Output Shape", "Param #", "FLOPs", "Bytes")
    cells = [
        (
            f"{row.name} ({row.kind})",
            ", ".join(map(shape_text, row.shapes)) or "?",
            f"{_count(row.states):,}",
            formula(row.flops),
            formula(row.bytes),
        )
        for row in lines
    ]
    widths = [max(len(line[column]) for line in (header, *cells)) for column in range(len(header))]
    if width is not None:
        widths[0] += max(0, width - sum(widths) - 3 * len(widths) - 1)
    text = [f'Model: "{title}"', _rule(widths, "┏┳┓", "━"), _line(widths, header, "┃"), _rule(widths, "┡╇┩", "━")]
    for position, line in enumerate(cells):
        text += [_rule(widths, "├┼┤", "─")] * (position > 0) + [_line(widths, line, "│")]
    text.append(_rule(widths, "└┴┘", "─"))
    states = [state for row in lines for state in row.states]
    trained = [state for state in states if state.trainable and state.role == "parameter"]
    frozen = [state for state in states if not (state.trainable and state.role == "parameter")]
    extra = () if optimizer is None else tuple(optimizer)
    for label, group in (("Total", [*states, *extra]), ("Trainable", trained), ("Non-trainable", frozen)):
        text.append(_counted(label, group))
    if extra:
        text.append(_counted("Optimizer", extra))
    flops_total: Dim = 0
    for row in lines:
        flops_total = flops_total + row.flops
    text.append(f" Forward FLOPs: {formula(flops_total)}")
    return "\n".join(text)


def _counted(label: str, states: Iterable[State]) -> str:
    states = tuple(states)
    return f" {label} params: {_count(states):,} ({size_text(sum(state.type.nbytes for state in states))})"


def _count(states: Iterable[State]) -> int:
    return sum(state.type.static_size for state in states)


def shape_text(shape: Sequence[Dim]) -> str:
    """A shape as Keras prints it, with None where a size is not known."""
    inside = ", ".join("None" if isinstance(dim, Poly) else str(dim) for dim in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


def formula(count: Dim) -> str:
    """A number, or a formula in the symbolic dimensions, as short as may be."""
    if isinstance(count, int):
        return f"{count:,}"
    import sympy

    expanded = to_sympy(count)
    return min(str(expanded), str(sympy.factor(expanded)), key=len)


def size_text(count: float) -> str:
    """Bytes for people, in Keras' units of 1024."""
    exponent = min(int(math.log(count, 1024)), 4) if count >= 1 else 0
    return f"{count / 1024**exponent:.2f} {('B', 'KB', 'MB', 'GB', 'TB')[exponent]}"


def _rule(widths: Sequence[int], joints: str, dash: str) -> str:
    left, middle, right = tuple(joints)
    return left + middle.join(dash * (width + 2) for width in widths) + right


def _line(widths: Sequence[int], cells: Sequence[Any], bar: str) -> str:
    inside = f" {bar} ".join(
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{bar} {inside} {bar}"
