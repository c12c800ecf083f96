"""simplify: small one-directional rules, each with its equation, until nothing changes.

Every rule is exact, bit for bit, signed zeros included and NaNs up to their sign; that is why ``x + 0`` stays for
floats (−0 + 0 is +0) while ``x − 0`` and ``x · 1`` go.  Only a few powers become products with errors of their own.
A rule never makes a graph larger, but for views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType
from graphc.passes.base import Pass, rewrite_with_regions
from graphc.passes.simplify_movement import MOVEMENT_RULES

SimplifyRule = Callable[[Builder, Node, Sequence[Node]], Node | None]


@dataclass(frozen=True)
class Simplify(Pass):
    """Apply the rules below at every node, inputs first, and at what they give.

    Attributes:
        rounds: times the graph is walked at most.
        movement_only: apply only the rules for ops that move elements.  Before ``roll`` a first step on a zero state
            would otherwise be simplified, and look different from the others.
    """

    name: ClassVar[str] = "simplify"
    rounds: int = 8
    movement_only: bool = False

    def run(self, graph: Graph) -> Graph:
        """The simplified graph."""
        for _ in range(self.rounds):
            changed = rewrite_with_regions(graph, self._apply, MOVEMENT_RULES if self.movement_only else None)
            if changed is graph:
                break
            graph = changed
        return graph

    def _apply(self, b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        """The result of the first rule that applies at a node with these inputs, and of the rules that apply to
        that.
        """
        result: Node | None = None
        subject: Node | None = node if inputs is node.inputs else None
        for _ in range(4):
            rule = RULES.get(result.op.name if result is not None else node.op.name)
            if rule is None:
                break
            subject = result or subject or b.make(node.op, inputs, node.attrs)
            found = rule(b, subject, subject.inputs)
            if found is None or found is subject:
                break
            result = found
        if result is None and not self.movement_only and node.op.kind is OpKind.POINTWISE:
            return _drop_broadcasts(b, node, inputs) or _below_reshape(b, node, inputs)
        return result if result is not None or subject is node else subject


def uniform_value(node: Node) -> float | int | bool | None:
    """The number that a uniform constant holds, looking through broadcasts; else None."""
    while node.op.name in ("broadcast_to", "reshape"):
        node = node.inputs[0]
    if node.op.name != "constant":
        return None
    value = node.attrs["value"]
    return value.scalar() if value.is_uniform else None


def _is_number(node: Node, number: float) -> bool:
    value = uniform_value(node)
    # −0.0 == 0 in Python; the rules below that ask for 0 mean +0 only.
    return value is not None and value == number and not (number == 0 and str(value).startswith("-"))


def _as(b: Builder, node: Node, type_: TensorType) -> Node:
    """``node`` broadcast to ``type_`` where it is smaller."""
    return node if node.type is type_ else b.op("broadcast_to", node, shape=type_.shape)


def _drop_broadcasts(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    """f(broadcast(x), y) = f(x, y) where the result keeps its shape: pointwise ops broadcast by themselves."""
    if not any(operand.op.name == "broadcast_to" for operand in inputs):
        return None
    slim = list(inputs)
    for position, operand in enumerate(inputs):
        if operand.op.name != "broadcast_to":
            continue
        trial = [*slim]
        trial[position] = operand.inputs[0]
        if node.op.infer(node.attrs, [part.type for part in trial]) is node.type:
            slim = trial
    return None if slim == list(inputs) else b.make(node.op, slim, node.attrs)


def _below_reshape(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    """f(reshape(x), y) = reshape(f(x, y)) where y lies along the last axis: so a bias stays beside its product."""
    shaped = {o for o in inputs if o.op.name == "reshape" and o.inputs[0].op.kind is OpKind.CONTRACTION}
    if len(shaped) != 1 or any(operand.rank > 1 for operand in inputs if operand not in shaped):
        return None
    (reshape,) = shaped
    (x,) = reshape.inputs
    if reshape.shape != node.shape or not x.rank or not node.rank or x.shape[-1] != node.shape[-1]:
        return None
    made = b.make(node.op, [x if operand is reshape else operand for operand in inputs], node.attrs)
    return b.make(reshape.op, [made], reshape.attrs)


def _add(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x + 0 = x for integers.
    x, y = inputs
    if node.dtype.is_float:
        return None
    if _is_number(y, 0):
        return _as(b, x, node.tensor)
    return _as(b, y, node.tensor) if _is_number(x, 0) else None


def _subtract(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x − 0 = x, also for x = −0.
    x, y = inputs
    return _as(b, x, node.tensor) if _is_number(y, 0) else None


def _multiply(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x · 1 = x;  x · −1 = −x.
    for x, y in (inputs, tuple(reversed(inputs))):
        if _is_number(y, 1):
            return _as(b, x, node.tensor)
        if _is_number(y, -1) and node.dtype.kind != "uint":
            return _as(b, b.op("negative", x), node.tensor)
    return None


def _divide(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x / 1 = x;  x / 2ᵏ = x · 2⁻ᵏ, both exact (k small enough that neither side is subnormal).
    x, y = inputs
    if _is_number(y, 1):
        return _as(b, x, node.tensor)
    divisor = uniform_value(y)
    if isinstance(divisor, float) and divisor in _POWERS_OF_TWO:
        return _as(b, b.op("multiply", x, b.constant(1.0 / divisor, node.dtype)), node.tensor)
    return None


_POWERS_OF_TWO = frozenset(float(2**k) for k in range(1, 12))


def _pow(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x¹ = x;  x² = x · x;  x³ = x² · x;  x⁴ = (x²)²;  x⁻¹ = 1 / x;  x⁻² = (1 / x)².
    x, y = inputs
    exponent = next((number for number in _POWERS if _is_number(y, number)), None)
    if exponent is None or (node.dtype.is_half and exponent not in _POWERS_ROUNDED_ONCE):
        return None
    if exponent < 0 and not node.dtype.is_float:
        return None
    base = b.op("reciprocal", x) if exponent < 0 else x
    return _as(b, _POWERS[exponent](b, base), node.tensor)


_POWERS: dict[int, Callable[[Builder, Node], Node]] = {
    1: lambda b, x: x,
    2: lambda b, x: b.op("square", x),
    3: lambda b, x: b.op("multiply", b.op("square", x), x),
    4: lambda b, x: b.op("square", b.op("square", x)),
    -1: lambda b, x: x,
    -2: lambda b, x: b.op("square", x),
}
"""Exponent → the power of x, or of 1/x for a negative one.

The last bit of x³, x⁴ and x⁻² may differ from ``pow``'s, but not the special values: at most 1.3 units in the last
place, 1.92 and 1.92 (a rounding's error beside the unit depends on the mantissa; the largest sum over all mantissas).
1/x before squaring, since x² overflows where x⁻² does not vanish.  x⁵ could be off by 3 units, x⁻³ by 2.5.
"""

_POWERS_ROUNDED_ONCE = frozenset((1, 2, -1))
"""What powers of 16-bit floats become too: one op, rounded once, as ``pow`` is; of two each would round to 16 bits."""


def _negative(_b: Builder, _node: Node, inputs: Sequence[Node]) -> Node | None:
    # −(−x) = x.
    return inputs[0].inputs[0] if inputs[0].op.name == "negative" else None


def _logical_not(_b: Builder, _node: Node, inputs: Sequence[Node]) -> Node | None:
    # ¬¬x = x.
    return inputs[0].inputs[0] if inputs[0].op.name == "logical_not" else None


def _select(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # select(true, x, y) = x;  select(false, x, y) = y;  select(c, x, x) = x;
    # select(c, reshape(x), scalar) = reshape(select(reshape(c), x, scalar)): beside what x is computed from.
    condition, x, y = inputs
    if x is y and x.type is node.type:
        return x
    inner = x.inputs[0] if x.op.name == "reshape" and x.shape == node.shape else None
    if inner is not None and inner.op.kind is OpKind.POINTWISE and y.rank == 0 and condition.shape == node.shape:
        flat = b.op("reshape", condition, shape=inner.shape)
        return b.op("reshape", b.op("select", flat, inner, y), shape=node.shape)
    value = uniform_value(condition)
    if value is None:
        return None
    return _as(b, x if value else y, node.tensor)


def _logical_and(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x ∧ true = x;  x ∧ false = false.
    for x, y in (inputs, tuple(reversed(inputs))):
        value = uniform_value(y)
        if value is not None:
            return _as(b, x if value else b.constant(False, node.dtype), node.tensor)
    return None


def _logical_or(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # x ∨ false = x;  x ∨ true = true.
    for x, y in (inputs, tuple(reversed(inputs))):
        value = uniform_value(y)
        if value is not None:
            return _as(b, b.constant(True, node.dtype) if value else x, node.tensor)
    return None


def _cast(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # cast(x, its own dtype) = x;  cast(cast(x, wider), d) = cast(x, d) where wider holds every x.
    (x,) = inputs
    if x.dtype is node.dtype:
        return x
    if (
        x.op.name == "cast"
        and x.dtype.is_float
        and x.inputs[0].dtype.is_float
        and x.dtype.bits > x.inputs[0].dtype.bits
    ):
        return b.op("cast", x.inputs[0], dtype=node.dtype)
    return None


def _stop_gradient(_b: Builder, _node: Node, inputs: Sequence[Node]) -> Node | None:
    # The identity, once differentiation is done.
    return inputs[0]


def _reduction(_b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # A reduction over no axes, or over axes of size 1 that are kept, is the identity.  (A float sum starts from +0 and
    # turns −0 into it.)
    if node.op.name == "sum" and node.dtype.is_float:
        return None
    if node.op.name in ("argmax", "argmin") or inputs[0].type is not node.type:
        return None
    shape = inputs[0].shape
    return inputs[0] if all(shape[axis] == 1 and isinstance(shape[axis], int) for axis in node.attrs["axes"]) else None


def _fold_patches(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    # The gradient of a convolution by its patches, with the channels innermost, where they are read and added up.
    (x,) = inputs
    rank, last = node.rank, max(node.attrs["axes"])
    if x.op.name != "einsum" or last == rank - 1:
        return None
    order = (*range(last + 1), *range(rank, x.rank), *range(last + 1, rank))
    operands, result = x.attrs["subscripts"].split("->")
    made = b.op("einsum", *x.inputs, subscripts=f"{operands}->{''.join(result[axis] for axis in order)}")
    back = b.op("transpose", made, permutation=tuple(order.index(axis) for axis in range(x.rank)))
    return b.make(node.op, [back], node.attrs)


RULES: dict[str, SimplifyRule] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "pow": _pow,
    "negative": _negative,
    "logical_not": _logical_not,
    "logical_and": _logical_and,
    "logical_or": _logical_or,
    "select": _select,
    "cast": _cast,
    "stop_gradient": _stop_gradient,
    "sum": _reduction,
    "prod": _reduction,
    "max": _reduction,
    "min": _reduction,
    "any": _reduction,
    "all": _reduction,
    "fold_patches": _fold_patches,
    **MOVEMENT_RULES,
}
