"""What the rules of many ops share: checks with one wording, zeros, and the jvp of linear ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.op import JvpRule
from graphc.ir.types import DType, TensorType


def check_dtype(op: str, type_: TensorType, allowed: Sequence[DType], hint: str | None = None) -> None:
    """Raise E213 unless the element type of ``type_`` is one of ``allowed``."""
    if type_.dtype not in allowed:
        names = ", ".join(map(str, allowed))
        raise GraphcTypeError("E213", f"{op} does not take {type_!r}", hint=hint or f"it takes {names}")


def check_same_dtype(op: str, types: Sequence[TensorType]) -> None:
    """Raise E213 unless all of ``types`` have one element type."""
    for type_ in types[1:]:
        if type_.dtype is not types[0].dtype:
            raise GraphcTypeError(
                "E213", f"{op} takes operands of one dtype, got {types[0]!r} and {type_!r}", hint="cast one of them"
            )


def check_axis(op: str, axis: object, rank: int) -> int:
    """``axis`` as an integer with 0 ≤ axis < rank; E217 otherwise."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not 0 <= axis < rank:
        raise GraphcValueError("E217", f"{op}: axis {axis!r} is out of range for {rank} dimensions")
    return axis


def check_axes(op: str, axes: Sequence[Any], rank: int) -> tuple[int, ...]:
    """``axes`` as integers with 0 ≤ axis < rank, each at most once; E217 otherwise."""
    checked = tuple(check_axis(op, axis, rank) for axis in axes)
    for position, axis in enumerate(checked):
        if axis in checked[:position]:
            raise GraphcValueError("E217", f"{op}: axis {axis} stands twice in {checked}")
    return checked


def check_length(op: str, what: str, values: Sequence[Any], expected: int) -> None:
    """Raise E211 unless ``values`` has one entry for each of ``expected`` axes."""
    if len(values) != expected:
        raise GraphcValueError("E211", f"{op}: {what} {tuple(values)} has {len(values)} entries, {expected} are needed")


def check_positive(op: str, what: str, values: Sequence[Any]) -> None:
    """Raise E218 unless every one of ``values`` is an integer of at least 1."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise GraphcValueError("E218", f"{op}: {what} must be integers of at least 1, got {tuple(values)}")


def is_below(left: Dim, right: Dim) -> bool:
    """True where ``left < right`` for certain: their difference is a negative integer."""
    difference = left - right
    return isinstance(difference, int) and difference < 0


def zeros(b: Builder, type_: TensorType) -> Node:
    """A tensor of zeros: a scalar constant, broadcast."""
    zero = b.constant(0, type_.dtype)
    return zero if not type_.shape else b.op("broadcast_to", zero, shape=type_.shape)


def linear_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The jvp of an op that is linear in all inputs together: the op on the tangents, zeros for missing ones."""
    if all(tangent is None for tangent in tangents):
        return [None]
    operands = [
        zeros(b, operand.tensor) if tangent is None else tangent
        for operand, tangent in zip(node.inputs, tangents, strict=True)
    ]
    return [b.make(node.op, operands, node.attrs)]


def linear_in_first_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The jvp of an op that is linear in its first input and has no derivative in the others."""
    tangent = tangents[0]
    return [None if tangent is None else b.make(node.op, [tangent, *node.inputs[1:]], node.attrs)]


def bilinear_jvp(multiply: Callable[[Builder, Node, Node, Node], Node]) -> JvpRule:
    """The product rule for an op of two inputs; ``multiply(b, node, left, right)`` applies it to other operands."""

    def rule(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
        left, right = node.inputs
        terms = []
        if tangents[0] is not None:
            terms.append(multiply(b, node, tangents[0], right))
        if tangents[1] is not None:
            terms.append(multiply(b, node, left, tangents[1]))
        if not terms:
            return [None]
        return [terms[0] if len(terms) == 1 else b.op("add", *terms)]

    return rule
