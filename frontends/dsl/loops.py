"""Loops of a symbolic number of steps: one step is traced, and becomes the body of a ``loop``.

A Python ``for`` is unrolled step by step, so it needs an integer.  Where the number of steps is a symbol, a recurrent
layer builds its step once, over placeholders; what the step reads from outside is found afterwards: a node that no
placeholder reaches is the same at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.session import Session
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType, int64, tensor_type
from graphc.ops.loop_parts import Slice, make_loop
from graphc.ops.random import STREAMS_OF_A_STEP


@dataclass(frozen=True)
class Elements:
    """A tensor of which each step reads one element: at ``start + step·t`` along ``axis``."""

    node: Node
    axis: int
    start: Dim
    step: int

    @property
    def element(self) -> TensorType:
        """The type of one step's element."""
        type_ = self.node.tensor
        return type_.with_shape((*type_.shape[: self.axis], *type_.shape[self.axis + 1 :]))


@dataclass(frozen=True)
class Carry:
    """A value that goes from step to step.

    Attributes:
        inner: the placeholder that the step reads.
        initial: before the first step.
        following: what the step makes of it.
    """

    inner: Node
    initial: Node
    following: Node


class StepTrace:
    """The trace of one step: hands out placeholders, then turns what was built over them into a loop."""

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.name = name
        self._first_stream = session.next_stream(0)
        self._elements: list[tuple[Node, Elements]] = []

    def element(self, sequence: Elements) -> Node:
        """The placeholder for one step's element of a sequence."""
        inner = self.session.new_input(f"s{len(self._elements)}", sequence.element)
        self._elements.append((inner, sequence))
        return inner

    def carried(self, initial: TensorType) -> Node:
        """The placeholder for a value that goes from step to step."""
        return self.session.new_input("c", initial)

    def loop(self, steps: Dim, carries: Sequence[Carry], stacked: Sequence[Node]) -> list[Node]:
        """The loop's results: the last value of each carry, then each of ``stacked`` at all steps, steps first.

        Raises:
            GraphcValueError: a carry changes its type from one step to the next (E211).
            GraphcTypeError: the step does what belongs to a step alone (E228).
        """
        for carry in carries:
            if carry.following.type is not carry.initial.type:
                message = (
                    f"{self.name}: a part of the state enters a step as {carry.initial.type!r} and leaves it as "
                    f"{carry.following.type!r}"
                )
                raise self.session.locate(GraphcValueError("E211", message), [carry.initial, carry.following])
        roots = [*(carry.following for carry in carries), *stacked]
        body = _Body(self, [carry.inner for carry in carries])
        values = body.build(roots)
        names = [f"c{place}" for place in range(len(carries))] + [f"y{place}" for place in range(len(stacked))]
        inputs = [body.counter, *body.carries, *body.invariants.values(), *body.elements]
        region = Graph.make("body", inputs, zip(names, values, strict=True), builder=body.b, notes=body.notes)
        places: list[Slice] = [(one.axis, one.start, one.step) for _, one in self._elements]
        return make_loop(
            self.session,
            steps,
            region,
            [carry.initial for carry in carries],
            list(body.invariants),
            [one.node for _, one in self._elements],
            places,
        )

    @property
    def placeholders(self) -> list[Node]:
        """Those for elements, in order."""
        return [inner for inner, _ in self._elements]

    def draws(self, node: Node) -> bool:
        """Whether ``node`` draws random numbers for this step alone."""
        return node.op.name == "random_uniform" and node.attrs["stream"] >= self._first_stream


class _Body:
    """The nodes of a step, built again as a region.

    Attributes:
        invariants: nodes that the step reads from outside → the region's inputs for them.
    """

    def __init__(self, trace: StepTrace, carries: Sequence[Node]) -> None:
        self.trace = trace
        self.b = Builder()
        self.counter = self.b.input("t", tensor_type(int64))
        self.carries = [self.b.input(f"c{place}", node.tensor) for place, node in enumerate(carries)]
        self.elements = [self.b.input(f"s{place}", node.tensor) for place, node in enumerate(trace.placeholders)]
        self.invariants: dict[Node, Node] = {}
        self.notes: dict[Node, Note] = {}
        self.table: dict[Node, Node] = {
            **dict(zip(carries, self.carries, strict=True)),
            **dict(zip(trace.placeholders, self.elements, strict=True)),
        }

    def build(self, roots: Sequence[Node]) -> list[Node]:
        """What the region has in the place of ``roots``."""
        session = self.trace.session
        for node in creation_order(roots):
            if node in self.table or not (
                self.trace.draws(node) or any(operand in self.table for operand in node.inputs)
            ):
                continue
            self._check(node)
            operands = [self._operand(operand) for operand in node.inputs]
            if self.trace.draws(node):
                move = self.b.constant(STREAMS_OF_A_STEP, int64)
                operands.append(self.b.op("multiply", self.counter, move))
            made = self.table[node] = self.b.make(node.op, operands, node.attrs)
            note = session.note(node)
            if note is not NO_NOTE:
                self.notes.setdefault(made, note)
        return [self._operand(root) for root in roots]

    def _operand(self, node: Node) -> Node:
        """What a node of the region reads in the place of ``node``."""
        found = self.table.get(node)
        if found is not None:
            return found
        # Numbers, and numbers repeated, are part of the body, where fusion and folding see them.  They don't enter the
        # table, which holds what changes from step to step.
        if node.op.name == "constant" and node.rank == 0:
            return self.b.make(node.op, (), node.attrs)
        if node.op.name == "broadcast_to" and node.inputs[0].op.name == "constant" and node.inputs[0].rank == 0:
            return self.b.make(node.op, [self._operand(node.inputs[0])], node.attrs)
        if node not in self.invariants:
            self.invariants[node] = self.b.input(f"v{len(self.invariants)}", node.tensor)
        return self.invariants[node]

    def _check(self, node: Node) -> None:
        """Complain about what a loop cannot do for each of its steps."""
        session = self.trace.session
        fault = None
        if session.companions(node):
            fault = "updates statistics at every step"
        elif session.has_penalty(node):
            fault = "adds to the loss at every step"
        elif node.op.name == "loop" and any(inner.op.name == "random_uniform" for inner in node.attrs["body"].nodes):
            fault = "draws random numbers in a loop of its own"
        if fault is not None:
            message = f"{self.trace.name}: the cell {fault}, which needs a number of steps that is no symbol"
            raise session.locate(GraphcTypeError("E228", message, hint="give the time dimension a size"), [node])
