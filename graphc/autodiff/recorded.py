"""Derivative rules, recorded once and played back.

An unrolled loop asks the same rule for the derivative of the same op on the same types ten thousand times.  Where a
rule looks at nothing but its node's op, attributes and types, the first answer is kept as a list of rows, and the
others are read off it: without the rule's own work, without inference, and without the cotangents that nobody wants.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType, ValueType

_KINDS = frozenset({OpKind.POINTWISE, OpKind.CONTRACTION, OpKind.REDUCTION})
_MOVEMENT = frozenset({"reshape", "transpose", "broadcast_to", "flip"})
_MOST_INPUTS = 4
_REMEMBERED = 10_000

_recordings: dict[Hashable, Recording] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One node to make.

    Attributes:
        op, attrs, type: of the node.
        operands: takes its operands out of all there is: the inputs, the node, its cotangent, the rows before.
    """

    op: OpDef
    attrs: Attrs
    type: ValueType
    operands: Callable[[list[Node]], Sequence[Node]]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a rule makes.

    Attributes:
        rows: in the order in which the rule makes them.
        cotangents: for each input the position of its cotangent, None for zero or unwanted.
    """

    rows: tuple[Row, ...]
    cotangents: tuple[int | None, ...]


def reverse_rule(b: Builder, node: Node, cotangent: Node, wanted: Sequence[bool]) -> list[Node | None]:
    """The cotangents of the ``wanted`` inputs of a node with one result; None for the others and for zero."""
    op = node.op
    rule = op.vjp
    assert rule is not None
    if op.user_defined or not (node.attrs.is_light and len(node.inputs) <= _MOST_INPUTS and _asks_types_only(op)):
        found = rule(b, node, [cotangent])
        return [value if want else None for value, want in zip(found, wanted, strict=True)]
    key = (op, node.attrs, tuple([operand.type for operand in node.inputs]), tuple(wanted))
    recording = _recordings.get(key)
    if recording is None:
        if len(_recordings) >= _REMEMBERED:
            _recordings.clear()
        recording = _recordings[key] = _record(node, wanted)
    values = [*node.inputs, node, cotangent]
    make = b.make
    for row in recording.rows:
        values.append(make(row.op, row.operands(values), row.attrs, row.type))
    return [None if place is None else values[place] for place in recording.cotangents]


@cache
def _asks_types_only(op: OpDef) -> bool:
    """Whether the rule of one of graphc's own ops looks at nothing but attributes and types."""
    return op.kind in _KINDS or op.name in _MOVEMENT


def _picker(places: Sequence[int]) -> Callable[[list[Node]], Sequence[Node]]:
    """What takes the values at ``places`` out of a list; in C, because it is called for every node of a derivative."""
    if len(places) > 1:
        return itemgetter(*places)
    start = places[0] if places else 0
    return itemgetter(slice(start, start + len(places)))


def _record(node: Node, wanted: Sequence[bool]) -> Recording:
    b = Builder()
    assert isinstance(node.type, TensorType) and node.op.vjp is not None
    inputs = [b.new_input(f"x{place}", operand.tensor) for place, operand in enumerate(node.inputs)]
    here = b.make(node.op, inputs, node.attrs)
    sources = [*inputs, here, b.new_input("g", node.type)]
    found = [value if want else None for value, want in zip(node.op.vjp(b, here, sources[-1:]), wanted, strict=True)]
    places = {source: place for place, source in enumerate(sources)}
    rows = []
    for made in creation_order(value for value in found if value is not None):
        if made not in places:
            rows.append(Row(made.op, made.attrs, made.type, _picker([places[operand] for operand in made.inputs])))
            places[made] = len(places)
    return Recording(tuple(rows), tuple(None if value is None else places[value] for value in found))
