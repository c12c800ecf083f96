"""A part of the graph made again with some nodes replaced: other inputs, ``training`` known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphc.frontends.dsl.session import Session
from graphc.ir.attrs import AttrValue, make_attrs
from graphc.ir.bind import bind_graph
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, Poly, substitute
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType
from graphc.ops.specialize import decide, specialize_loop


@dataclass(frozen=True)
class Replay:
    """How nodes are made again; the updates that layers make go along.

    Attributes:
        session: of the nodes.
        table: node → what takes its place; grows with what is made.
        dims: symbolic dimension → what takes its place.
        statistics: False leaves out the updates that only training makes.
        redraw: True lets random numbers be drawn anew, as another application of the same layers does.
    """

    session: Session
    table: dict[Node, Node]
    dims: Mapping[str, Dim] = field(default_factory=dict)
    statistics: bool = True
    redraw: bool = False

    def run(self, roots: Sequence[Node]) -> list[Node]:
        """What takes the place of ``roots``."""
        session, table = self.session, self.table
        given = set(table)
        pending, companions = list(roots), []
        while pending:
            fresh = [node for node in creation_order(pending) if node not in table]
            pending = []
            for node in fresh:
                table[node] = self._remade(node)
                found = session.companions(node) if table[node] is not node and node not in given else []
                for companion in found:
                    # Without statistics, what only training updates stays as it is, but for random numbers.
                    if self.statistics or companion.always or companion.variable.attrs["state"].role == "counter":
                        companions.append((node, companion))
                        pending.append(companion.value)
        for node, companion in companions:
            session.add_companion(
                table[node],
                companion.variable,
                table[companion.value],
                always=companion.always,
                momentum=companion.momentum,
            )
        return [table[root] for root in roots]

    def _remade(self, node: Node) -> Node:
        """``node`` over the operands that the table gives; itself where they are the same."""
        operands = [self.table[operand] for operand in node.inputs]
        attrs = node.attrs
        if self.redraw and node.op.name == "random_uniform":
            attrs = attrs.replace(stream=self.session.next_stream())
        elif all(new is old for new, old in zip(operands, node.inputs, strict=True)):
            return node
        resized = {key: _resized(value, self.dims) for key, value in attrs.items()} if self.dims else attrs
        with self.session.noted(self.session.note(node), "forward"):
            if node.op.name == "loop":
                resolved = Node(node.op, node.inputs, make_attrs(resized), node.type, node.serial)
                return specialize_loop(self.session, resolved, operands, self._in_body)
            return decide(self.session, node, operands) or self.session.make(node.op, operands, resized)

    def _in_body(self, b: Builder, node: Node, operands: Sequence[Node]) -> Node | None:
        """What a node in the body of a loop becomes."""
        if self.redraw and node.op.name == "random_uniform":
            return b.make(node.op, operands, node.attrs.replace(stream=self.session.next_stream()))
        if node.op.name == "loop":
            return specialize_loop(b, node, operands, self._in_body)
        return decide(b, node, operands)


def _resized(value: AttrValue, dims: Mapping[str, Dim]) -> AttrValue:
    """An attribute with its symbolic dimensions replaced."""
    if isinstance(value, Poly):
        return substitute(value, dims)
    if isinstance(value, tuple):
        return tuple(_resized(part, dims) for part in value)
    if isinstance(value, Graph):
        return bind_graph(value, dims)
    return value.substitute(dims) if isinstance(value, TensorType) else value
