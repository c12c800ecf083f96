"""What ``stepwise`` knows of a graph before it builds anything: where time stands in each tensor, and when each value
can be computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TensorType
from graphc.ops.loop_parts import LoopParts
from graphc.passes.series import Layout, Series


@dataclass
class Plan(Series):
    """The plan for one graph.

    Attributes:
        phases: for each node when it is there: before the loop over the steps of this phase, or in it.
        stacked: series that lie in memory from their phase on: inputs, results of loops, and stacks read backwards.
        folded: nodes of fixed size that combine all steps; the loop of the phase before makes them.
        wanted: other series that their phase's loop must leave in memory.
    """

    phases: dict[Node, int] = field(default_factory=dict)
    stacked: set[Node] = field(default_factory=set)
    folded: set[Node] = field(default_factory=set)
    wanted: set[Node] = field(default_factory=set)

    @classmethod
    def of(cls, graph: Graph, name: str) -> Plan:
        """The plan of a graph.

        Raises:
            UnsupportedOp: what cannot be done step by step (E334), with the user's line.
        """
        plan = cls(graph, name)
        for node in graph.nodes:
            if isinstance(node.type, TensorType):
                plan.find_layout(node)
            plan._find_phase(node)
        for node in graph.output_nodes:
            plan._want(node)
        return plan

    def is_free(self, node: Node) -> bool:
        """Is the series the same at every step, or the step's number, so that each phase makes it anew?"""
        return node.op.name in ("iota", "broadcast_to") and not any(one in self.layouts for one in node.inputs)

    def is_computed(self, node: Node) -> bool:
        """Is it a series that lies in no memory of its own?"""
        return node in self.layouts and node not in self.stacked

    def _want(self, node: Node) -> None:
        if self.is_computed(node):
            self.wanted.add(node)

    # -- phases ----------------------------------------------------------------------------------------------------

    def _find_phase(self, node: Node) -> None:
        """When the node is there, and which of its operands must lie in memory by then."""
        name = node.op.name
        series = [one for one in node.inputs if one in self.layouts]
        ready = max((self.phases[one] for one in node.inputs), default=0)
        phase = reads = ready
        if name == "loop":
            self._check_loop(node)
            phase = reads = self._in_memory(node, ready)
        elif name == "flip" and node in self.layouts and self.layouts[node].axis in node.attrs["axes"]:
            if len(node.attrs["axes"]) > 1 or not self.layouts[node].is_plain:
                raise self.fail(node, "it turns several dimensions")
            self.stacked.add(node)
            phase = reads = self._in_memory(node, ready)
        elif name in ("input", "result"):
            if node in self.layouts:
                self.stacked.add(node)
                if not self.layouts[node].is_plain:
                    raise self.fail(node, f"its shape is {node.shape}")
        elif series and node not in self.layouts:
            self.check_fold(node)
            self.folded.add(node)
            phase = ready + 1
        elif node in self.layouts:
            self.check_step(node)
        self.phases[node] = phase
        # A later phase reads what an earlier one leaves in memory.
        late = (one for one in series if self.is_computed(one) and reads > self.phases[one])
        self.wanted.update(one for one in late if not self.is_free(one))

    def _in_memory(self, node: Node, ready: int) -> int:
        """The phase of what reads its operands in memory; a series comes there at the end of its own phase."""
        for one in node.inputs:
            if self.is_computed(one):
                self.wanted.add(one)
                ready = max(ready, self.phases[one] + 1)
        return ready

    # -- what can be done step by step -----------------------------------------------------------------------------

    def _check_loop(self, node: Node) -> None:
        loop = LoopParts.of(node)
        time = symbol(self.name)
        if loop.trips is not time:
            if any(one in self.layouts for one in node.inputs) or not isinstance(loop.trips, int):
                raise self.fail(node, f"a loop of {loop.trips} steps works on all of {self.name}")
            return
        for one in (*loop.carries, *loop.invariants):
            if one in self.layouts:
                raise self.fail(node, f"each step reads all of {one.type!r}")
        for one, (axis, start, step) in zip(loop.sequences, loop.slices, strict=True):
            places = ((0, 1), (time - 1, -1))
            if self.layouts.get(one) != Layout(axis) or (start, step) not in places:
                raise self.fail(node, f"steps read {one.type!r} from {start} by {step}")
        pending = [loop.body]
        while pending:
            region = pending.pop()
            for inner in region.nodes:
                if isinstance(inner.type, TensorType) and not inner.type.is_static:
                    raise self.fail(node, f"each step works on all of {inner.type!r}")
                pending.extend(value for value in inner.attrs.values() if isinstance(value, Graph))
