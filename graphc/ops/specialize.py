"""Parts of a graph for values that have become known: branches are decided, in the bodies of loops too."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import Rule
from graphc.ir.traverse import reachable
from graphc.ir.types import bool_
from graphc.ops.loop_parts import LoopParts


def decide(b: Builder, node: Node, operands: Sequence[Node]) -> Node | None:
    """What ``select`` or ``logical_not`` gives where its condition is a constant, so that the other branch is no part
    of the graph; None for anything else.
    """
    if node.op.name not in ("select", "logical_not") or operands[0].op.name != "constant" or operands[0].rank != 0:
        return None
    chosen = bool(operands[0].attrs["value"].scalar())
    if node.op.name == "logical_not":
        return b.constant(not chosen, bool_)
    branch = operands[1] if chosen else operands[2]
    return branch if branch.type is node.type else b.op("broadcast_to", branch, shape=node.shape)


def specialize_loop(b: Builder, node: Node, operands: Sequence[Node], rule: Rule = decide) -> Node:
    """The loop ``node`` on other operands: those that are numbers now move into its body, and those that nobody reads
    any more are dropped.

    Args:
        b: makes the loop.
        node: a ``loop``.
        operands: of the types of its inputs.
        rule: what a node of the body becomes on the operands it has now, None for the same op on them.
    """
    loop = LoopParts.of(node)
    carried = len(loop.carries)
    first_sequence = carried + len(loop.invariants)
    inner = Builder()
    table: dict[Node, Node] = {}
    for position, given in enumerate(loop.body.inputs):
        outer = operands[position - 1] if carried < position <= first_sequence else None
        number = outer is not None and outer.op.name == "constant" and outer.rank == 0
        table[given] = (
            inner.make(outer.op, (), outer.attrs)
            if outer is not None and number
            else inner.input(str(given.attrs["name"]), given.tensor)
        )
    for old in loop.body.nodes:
        if old in table:
            continue
        inputs = [table[operand] for operand in old.inputs]
        made = rule(inner, old, inputs)
        table[old] = inner.make(old.op, inputs, old.attrs) if made is None else made
        inner.set_note(table[old], loop.body.note(old))
    outputs = [(name, table[value]) for name, value in loop.body.outputs]
    read = reachable([value for _, value in outputs])
    kept = [
        position
        for position, given in enumerate(loop.body.inputs)
        if position <= carried or (table[given].op.name == "input" and table[given] in read)
    ]
    body = Graph.make(loop.body.name, [table[loop.body.inputs[position]] for position in kept], outputs, builder=inner)
    invariants = sum(carried < position <= first_sequence for position in kept)
    slices = tuple(loop.slices[position - 1 - first_sequence] for position in kept if position > first_sequence)
    return b.make(
        node.op,
        [operands[position - 1] for position in kept if position],
        node.attrs.replace(body=body, invariants=invariants, slices=slices),
    )
