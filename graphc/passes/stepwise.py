"""stepwise: a graph over a size that only the call says becomes loops over it; everything inside them has fixed sizes.

Kernels, layouts and the arena stay static that way: of a symbolic dimension ``time`` only the number of trips of loops,
and the places where some of them begin, depend on what a call brings (decision 6 in ``docs/adr``).

Each value over ``time`` is a *series*: for each step what the graph would compute with ``time`` = 1.  A series that
comes from outside or from a loop lies in memory as a *stack*, (time, …the step's value…).  The others are computed in
the bodies of loops, one loop for each *phase*: a sum over time is known only after all of its steps, so what reads it
belongs to the next phase; so does what reads a loop of the model's own, such as a recurrent layer.

What must be so for this to be possible is checked by :mod:`graphc.passes.stepwise_plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphc.ir.attrs import make_attrs
from graphc.ir.bind import bound
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.types import TensorType, float32, int64, tensor_type
from graphc.ops.loop_parts import LoopParts, Slice, make_loop
from graphc.ops.random import STREAMS_OF_A_STEP
from graphc.ops.rules import zeros
from graphc.passes.series import FOLDS, neutral
from graphc.passes.stepwise_plan import Plan


def stepwise(graph: Graph, name: str) -> Graph:
    """The graph with everything over the dimension ``name`` in loops, which have the attribute ``size`` = ``name``.

    Inputs and outputs over it come steps first, as (name, …their shape with 1 in its place…).

    Args:
        graph: of ops that kernels exist for, static but for this dimension.
        name: of the dimension.

    Raises:
        UnsupportedOp: what cannot be done step by step (E334), with the user's line.
    """
    return _Stepwise(Plan.of(graph, name)).run()


@dataclass(frozen=True)
class _Stack:
    """A series in memory; where ``backwards``, its last step comes first."""

    node: Node
    backwards: bool = False


class _Stepwise:
    """Builds the new graph.

    Attributes:
        plain: old node of fixed size → new node.
        stacks: series → where it lies.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.name = plan.name
        self.time = symbol(plan.name)
        self.b = Builder()
        self.plain: dict[Node, Node] = {}
        self.stacks: dict[Node, _Stack] = {}

    def run(self) -> Graph:
        """One phase after the other."""
        graph, plan = self.graph, self.plan
        phases = plan.phases
        for phase in range(max(phases.values(), default=0) + 1):
            self._phase(
                phase,
                [node for node in graph.nodes if phases[node] == phase and node not in plan.folded],
                [node for node in graph.nodes if phases[node] == phase + 1 and node in plan.folded],
            )
        inputs = [self.stacks[node].node if node in self.stacks else self.plain[node] for node in graph.inputs]
        outputs = [(label, self._output(node)) for label, node in graph.outputs]
        updates = [(self.plain[variable], self.plain[value]) for variable, value in graph.updates]
        return Graph.make(graph.name, inputs, outputs, updates, builder=self.b)

    def _output(self, node: Node) -> Node:
        if node not in self.plan.layouts:
            return self.plain[node]
        stack = self.stacks[node]
        if not stack.backwards and stack.node.op.name != "input":
            return stack.node
        # A loop that does nothing else turns what lies backwards, and copies what is given back.
        return self._loop(self.plan.phases[node], [node], [])[0]

    def _phase(self, phase: int, members: Sequence[Node], folded: Sequence[Node]) -> None:
        """First what has no value a step of its own, or a loop of its own; then the loop over the steps."""
        plan = self.plan
        for node in members:
            if plan.is_computed(node):
                continue
            note = self.graph.note(node)
            with self.b.noted(note, note.role):
                self._outside(node)
        wanted = [node for node in members if node in plan.wanted]
        if wanted or folded:
            results = self._loop(phase, wanted, folded)
            self.stacks.update((node, _Stack(stack)) for node, stack in zip(wanted, results, strict=False))
            self.plain.update(zip(folded, results[len(wanted) :], strict=True))

    def _outside(self, node: Node) -> None:
        """A node that is no part of a loop over the steps."""
        name = node.op.name
        if name == "loop" and node.attrs["trips"] is self.time:
            self.plain[node] = self._own_loop(node)
        elif node not in self.plan.layouts:
            self.plain[node] = self.b.make(node.op, [self.plain[one] for one in node.inputs], node.attrs)
        elif name == "input":
            type_ = tensor_type(node.dtype, (self.time, *self._step_type(node).shape))
            self.stacks[node] = _Stack(self.b.new_input(str(node.attrs["name"]), type_))
        elif name == "result":
            rows = self.b.make(node.op, [self.plain[node.inputs[0]]], node.attrs)
            self.stacks[node] = _Stack(self.b.op("reshape", rows, shape=(self.time, *self._step_type(node).shape)))
        else:
            source = self.stacks[node.inputs[0]]
            self.stacks[node] = _Stack(source.node, not source.backwards)

    def _own_loop(self, node: Node) -> Node:
        """A loop of the graph's own, over stacks."""
        loop = LoopParts.of(node)
        sequences, slices = [], []
        for one, (axis, _, step) in zip(loop.sequences, loop.slices, strict=True):
            stack = self.stacks[one]
            shape = self._step_type(one).shape
            sequences.append(self.b.op("reshape", stack.node, shape=(self.time, *shape[:axis], *shape[axis + 1 :])))
            slices.append(self._place(stack.backwards != (step < 0)))
        results = make_loop(
            self.b,
            self.time,
            loop.body,
            [self.plain[one] for one in loop.carries],
            [self.plain[one] for one in loop.invariants],
            sequences,
            slices,
            size=self.name,
        )
        return results[0].inputs[0]

    def _place(self, backwards: bool) -> Slice:
        return (0, self.time - 1, -1) if backwards else (0, 0, 1)

    def _step_type(self, node: Node) -> TensorType:
        """The type of one step's value."""
        return node.tensor.substitute({self.name: 1})

    # -- loops over the steps --------------------------------------------------------------------------------------

    def _loop(self, phase: int, wanted: Sequence[Node], folded: Sequence[Node]) -> list[Node]:
        """The stacks of ``wanted``, then the values of ``folded``, by one loop."""
        body = _Body(self, phase)
        body.build([*wanted, *(one for node in folded for one in node.inputs if one in self.plan.layouts)])
        carries = [body.fold(node) for node in folded]
        values = [following for _, following in carries] + [body.steps[node] for node in wanted]
        names = [f"c{place}" for place in range(len(carries))] + [f"y{place}" for place in range(len(wanted))]
        inputs = [body.counter, *body.carried, *body.invariants.values(), *body.elements.values()]
        region = Graph.make("steps", inputs, zip(names, values, strict=True), builder=body.b, notes=body.notes)
        note = self.graph.note([*wanted, *folded][0])
        with self.b.noted(note, note.role):
            results = make_loop(
                self.b,
                self.time,
                region,
                [initial for initial, _ in carries],
                list(body.invariants),
                [self.stacks[node].node for node in body.elements],
                [self._place(self.stacks[node].backwards) for node in body.elements],
                size=self.name,
            )
            totals = [
                total if total.type is node.type else self.b.op("cast", total, dtype=node.dtype)
                for node, total in zip(folded, results, strict=False)
            ]
        return [*results[len(folded) :], *totals]


class _Body:
    """The body of a loop over the steps of a phase.

    Attributes:
        steps: series → its value at this step.
        elements: stacks that are read → the body's input for an element.
        invariants: nodes outside → the body's input for it.
    """

    def __init__(self, owner: _Stepwise, phase: int) -> None:
        self.owner = owner
        self.plan = owner.plan
        self.phase = phase
        self.b = Builder()
        self.counter = self.b.input("t", tensor_type(int64))
        self.carried: list[Node] = []
        self.invariants: dict[Node, Node] = {}
        self.elements: dict[Node, Node] = {}
        self.steps: dict[Node, Node] = {}
        self.notes: dict[Node, Note] = {}

    def build(self, roots: Iterable[Node]) -> None:
        """Compute one step of ``roots``."""
        needed: set[Node] = set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node in needed:
                continue
            needed.add(node)
            if not self._is_read(node):
                pending.extend(one for one in node.inputs if one in self.plan.layouts)
        for node in self.owner.graph.nodes:
            if node not in needed:
                continue
            if self._is_read(node):
                name = f"s{len(self.elements)}"
                self.steps[node] = self.elements[node] = self.b.input(name, self.owner._step_type(node))
                continue
            made = self.steps[node] = self._step(node)
            note = self.owner.graph.note(node)
            if note is not NO_NOTE:
                self.notes.setdefault(made, note)

    def _is_read(self, node: Node) -> bool:
        """Is it read from memory?"""
        plan = self.plan
        return node in self.owner.stacks and not (plan.is_computed(node) and plan.phases[node] == self.phase)

    def _step(self, node: Node) -> Node:
        if node.op.name == "iota" and node.attrs["axis"] == self.plan.layouts[node].axis:
            number = self.counter if node.dtype is int64 else self.b.op("cast", self.counter, dtype=node.dtype)
            return self.b.op("broadcast_to", number, shape=self.owner._step_type(node).shape)
        attrs = {key: bound(value, {self.owner.name: 1}) for key, value in node.attrs.items()}
        operands = [self._operand(one) for one in node.inputs]
        if node.op.name == "random_uniform":
            # Each step draws from streams of its own.
            move = self.b.op("multiply", self.counter, self.b.constant(STREAMS_OF_A_STEP, int64))
            operands = [operands[0], move if len(operands) == 1 else self.b.op("add", operands[1], move)]
        return self.b.make(node.op, operands, make_attrs(attrs))

    def _operand(self, node: Node) -> Node:
        return self.steps[node] if node in self.plan.layouts else self._fixed(self.owner.plain[node])

    def _fixed(self, node: Node) -> Node:
        """What the body reads in the place of a node of fixed size: numbers are part of it."""
        if node.op.name == "constant" and node.rank == 0:
            return self.b.make(node.op, (), node.attrs)
        if (
            node.op.name in ("broadcast_to", "reshape")
            and node.inputs[0].op.name == "constant"
            and not node.inputs[0].rank
        ):
            return self.b.make(node.op, [self._fixed(node.inputs[0])], node.attrs)
        if node not in self.invariants:
            self.invariants[node] = self.b.input(f"v{len(self.invariants)}", node.tensor)
        return self.invariants[node]

    # -- what combines all steps -----------------------------------------------------------------------------------

    def fold(self, node: Node) -> tuple[Node, Node]:
        """A carry for ``node``: its initial value outside, and what a step makes of it."""
        b, outer = self.b, self.owner.b
        # Sums of half precision are rounded once, at the end.
        wide = node.dtype.is_half and node.op.name in ("sum", "matmul", "prod")
        type_ = tensor_type(float32, node.shape) if wide else node.tensor
        before = b.input(f"c{len(self.carried)}", type_)
        self.carried.append(before)
        if node.op.name == "scatter_add":
            updated = b.make(node.op, [before, *(self.steps[one] for one in node.inputs[1:])], node.attrs)
            return self.owner.plain[node.inputs[0]], updated
        if node.op.name == "index":
            (series,) = node.inputs
            here = b.op("index", self.steps[series], axis=node.attrs["axis"], index=0)
            if node.attrs["index"] == 0:
                here = b.op("select", b.op("equal", self.counter, b.constant(0, int64)), here, before)
            return zeros(outer, type_), here
        attrs = {key: bound(value, {self.owner.name: 1}) for key, value in node.attrs.items()}
        here = b.make(node.op, [self.steps[one] for one in node.inputs], make_attrs(attrs))
        if wide:
            here = b.op("cast", here, dtype=float32)
        combine = FOLDS.get(node.op.name, "add")
        value = neutral(outer, combine, type_.dtype)
        if type_.shape:
            value = outer.op("broadcast_to", value, shape=type_.shape)
        return value, b.op(combine, before, here)
