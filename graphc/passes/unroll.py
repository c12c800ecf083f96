"""unroll: the inverse of ``roll``, and its oracle in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.errors import UnsupportedOp
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import inline, rewrite
from graphc.ir.types import int64
from graphc.passes.base import Pass, replace_loops
from graphc.passes.simplify import Simplify


@dataclass(frozen=True)
class Unroll(Pass):
    """Replace every loop by its steps, written out; then let ``simplify`` take the stacks apart again."""

    name: ClassVar[str] = "unroll"

    def run(self, graph: Graph) -> Graph:
        """The graph without loops."""
        while any(node.op.name == "loop" for node in graph.nodes):
            graph = _unroll_once(graph)
        while True:
            changed = rewrite(Simplify(movement_only=True).run(graph), _gather_stacks)
            if changed is graph:
                return graph
            graph = changed


def _unroll_once(graph: Graph) -> Graph:
    return replace_loops(graph, lambda b, node, operands: dict(enumerate(unrolled(b, node, operands))))


def unrolled(b: Builder, loop: Node, operands: Sequence[Node]) -> list[Node]:
    """The results of a loop, built step by step.

    Raises:
        UnsupportedOp: the number of trips is symbolic, or each call says it.
    """
    trips, body = loop.attrs["trips"], loop.attrs["body"]
    if not isinstance(trips, int) or "size" in loop.attrs:
        raise UnsupportedOp("E228", f"cannot unroll a loop with a symbolic number of trips ({trips})")
    carries, invariants = loop.attrs["carries"], loop.attrs["invariants"]
    current = list(operands[:carries])
    fixed = list(operands[carries : carries + invariants])
    sequences = operands[carries + invariants :]
    stacked: list[list[Node]] = [[] for _ in body.outputs[carries:]]
    for trip in range(trips):
        elements = [
            b.op("index", sequence, axis=axis, index=start + step * trip)
            for sequence, (axis, start, step) in zip(sequences, loop.attrs["slices"], strict=True)
        ]
        outputs = inline(b, body, [b.constant(trip, int64), *current, *fixed, *elements])
        current = outputs[:carries]
        for rows, value in zip(stacked, outputs[carries:], strict=True):
            rows.append(value)
    if trips == 0:
        return [*current, *_empty_stacks(b, loop, carries)]
    return [*current, *(b.op("stack", *rows, axis=0) for rows in stacked)]


def _empty_stacks(b: Builder, loop: Node, carries: int) -> list[Node]:
    return [
        b.op("broadcast_to", b.constant(0, element.dtype), shape=element.shape)
        for element in loop.type.elements[carries:]  # type: ignore[union-attr]
    ]


def _gather_stacks(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    """Parts of stacks become stacks of parts: what ``roll`` took from a loop's stack goes back to the single steps."""
    if not inputs or any(operand.op.name != "stack" for operand in inputs):
        return None
    axis = inputs[0].attrs["axis"]
    match node.op.name:
        case "concat" if all(operand.attrs["axis"] == node.attrs["axis"] for operand in inputs):
            return b.op("stack", *(row for operand in inputs for row in operand.inputs), axis=axis)
        case "flip" if node.attrs["axes"] == (axis,):
            return b.op("stack", *reversed(inputs[0].inputs), axis=axis)
        case "slice":
            starts, stops, steps = (node.attrs[name] for name in ("starts", "stops", "steps"))
            rest = [d for d in range(node.rank) if d != axis]
            if all((starts[d], stops[d], steps[d]) == (0, inputs[0].shape[d], 1) for d in rest):
                rows = inputs[0].inputs[starts[axis] : stops[axis] : steps[axis]]
                return b.op("stack", *rows, axis=axis) if rows else None
        case "transpose":
            permutation = node.attrs["permutation"]
            moved = permutation.index(axis)
            others = [d for d in permutation if d != axis]
            if others == sorted(others):
                return b.op("stack", *inputs[0].inputs, axis=moved)
    return None
