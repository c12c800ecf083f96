"""Taking a loop node apart and putting one together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.ir.attrs import AttrValue
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TupleType

Slice = tuple[int, Dim, int]
"""(axis, start, step): step t reads position ``start + step·t`` along ``axis``."""


@dataclass(frozen=True)
class LoopParts:
    """The operands of a loop by their role.

    Attributes:
        trips: number of steps.
        body: of one step.
        carries: initial values.
        invariants: values that every step reads.
        sequences: values of which each step reads one element.
        slices: where, for each of ``sequences``.
    """

    trips: Dim
    body: Graph
    carries: tuple[Node, ...]
    invariants: tuple[Node, ...]
    sequences: tuple[Node, ...]
    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, node: Node) -> LoopParts:
        """The parts of a ``loop`` node."""
        attrs, inputs = node.attrs, node.inputs
        carries, sequences = attrs["carries"], len(inputs) - len(attrs["slices"])
        return cls(
            attrs["trips"],
            attrs["body"],
            inputs[:carries],
            inputs[carries:sequences],
            inputs[sequences:],
            attrs["slices"],
        )

    def with_operands(self, operands: Sequence[Node]) -> LoopParts:
        """The same with other operands, in the order of the node's."""
        count, before = len(self.carries), len(self.carries) + len(self.invariants)
        return replace(
            self,
            carries=tuple(operands[:count]),
            invariants=tuple(operands[count:before]),
            sequences=tuple(operands[before:]),
        )


def make_loop(
    b: Builder,
    trips: Dim,
    body: Graph,
    carries: Sequence[Node],
    invariants: Sequence[Node] = (),
    sequences: Sequence[Node] = (),
    slices: Sequence[Slice] = (),
    *,
    size: str | None = None,
) -> list[Node]:
    """A ``loop`` node, as its ``result`` nodes: the final carries, then the stacked values.

    Where there is a ``size``, the call says how many steps there are, in the dimension of this name, and ``trips`` is
    the most of them, once it has a value; backward slices then begin at the last of the steps that there are.
    """
    attrs: dict[str, AttrValue] = {
        "trips": trips,
        "body": body,
        "carries": len(carries),
        "invariants": len(invariants),
        "slices": tuple(tuple(place) for place in slices),
    }
    if size is not None:
        attrs["size"] = size
    loop = b.make("loop", (*carries, *invariants, *sequences), attrs)
    assert isinstance(loop.type, TupleType)
    return [b.op("result", loop, index=index) for index in range(len(loop.type.elements))]
