"""Finding the first node that differs: the entry point is compiled again with nodes on the way as its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.artifact.runtime.model import Model
from graphc.cli.comparison import Difference, Expectation, compare
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import reachable
from graphc.ir.types import TensorType

_PROBES = 32
"""Nodes looked at in one build."""

Compile = Callable[[Module], Model]


@dataclass(frozen=True)
class Divergence:
    """A node that a backend computes wrongly from operands on which it agrees with the reference."""

    node: Node
    difference: Difference


def first_divergence(
    graph: Graph, expectation: Expectation, failing: Sequence[Node], compile: Compile
) -> Divergence | None:
    """The node where a backend leaves the reference, or None where it agrees on every node that is looked at alone.

    Args:
        graph: the entry point.
        expectation: what it must give.
        failing: the results that differ.
        compile: makes a model of a module with the backend in question.
    """
    needed = reachable(failing)
    nodes = [node for node in graph.nodes if node in needed and _is_computed(node)]
    place = {node: position for position, node in enumerate(nodes)}
    search = _Search(graph, expectation, nodes, compile)
    suspect = max((place[node] for node in failing if node in place), default=None)
    found: Divergence | None = None
    while suspect is not None:
        first = search.first_up_to(suspect)
        if first is None:
            break
        position, found = first
        # What stands between two probes was not looked at: an operand may differ already.
        operands = sorted({place[operand] for operand in _tensors_read(found.node) if operand in place})
        differing = search.differences(operands)
        suspect = next((operand for operand in operands if differing[operand] is not None and operand < position), None)
    return found


@dataclass(frozen=True)
class _Search:
    """An entry point, what it must give, its computed nodes in order, and the backend."""

    graph: Graph
    expectation: Expectation
    nodes: Sequence[Node]
    compile: Compile

    def first_up_to(self, high: int) -> tuple[int, Divergence] | None:
        """A node at or before ``high`` that differs while the probe before it agrees."""
        low = 0
        found = None
        while True:
            step = max(1, (high - low + 1) // _PROBES)
            positions = sorted({*range(low, high + 1, step), high})
            differences = self.differences(positions)
            wrong = next(
                (number for number, position in enumerate(positions) if differences[position] is not None), None
            )
            if wrong is None:
                return found
            high = positions[wrong]
            difference = differences[high]
            assert difference is not None
            found = high, Divergence(self.nodes[high], difference)
            if step == 1 or wrong == 0:
                return found
            low = positions[wrong - 1] + 1

    def differences(self, positions: Sequence[int]) -> dict[int, Difference | None]:
        """Position of a node → how the backend's value of it differs from the reference's."""
        if not positions:
            return {}
        named = [(f"n{position}", self.nodes[position]) for position in positions]
        name = self.graph.name
        probe = Graph.make(name, self.graph.inputs, named, order=self.graph.nodes, notes=self.graph.notes)
        wanted = self.expectation
        expected, _ = evaluate(probe, wanted.inputs, wanted.states)
        near, _ = evaluate(probe, wanted.near_inputs, wanted.near_states)
        model = self.compile(Module(name, {name: probe}))
        for state, array in model.parameters.items():
            array[...] = wanted.states[state]
        made = getattr(model, name)(**wanted.inputs)
        got = made if isinstance(made, dict) else {named[0][0]: made}
        return {
            position: compare(describe(self.graph, node), got[key], expected[key], near[key], node.dtype)[1]
            for position, (key, node) in zip(positions, named, strict=True)
        }


def _is_computed(node: Node) -> bool:
    return isinstance(node.type, TensorType) and node.op.kind is not OpKind.SOURCE


def _tensors_read(node: Node) -> list[Node]:
    """The operands of a node; in the place of a loop, which has no value of its own, what the loop reads."""
    return [part for operand in node.inputs for part in ((operand,) if _is_computed(operand) else operand.inputs)]


def describe(graph: Graph, node: Node) -> str:
    """A node for people: op, type, the user's line, and the layer it belongs to."""
    note = graph.note(node)
    place = f" at {note.locations[0]}" if note.locations else ""
    layer = f" in {'/'.join(note.scope)}" if note.scope else ""
    return f"{node.op.name} {node.type!r}{place}{layer}"
