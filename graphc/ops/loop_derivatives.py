"""The derivatives of ``loop``: loops again."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import inline
from graphc.ir.traverse import post_order
from graphc.ir.types import TensorType, int64, tensor_type
from graphc.ops.composite import jvp_region, value_or_zeros, vjp_region
from graphc.ops.loop_parts import LoopParts, Slice, make_loop
from graphc.ops.movement import scatter_index, scatter_slice
from graphc.ops.rules import zeros

# -- reverse -----------------------------------------------------------------------------------------------------------


def loop_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    """One cotangent a result in (None for zero), one an operand out."""
    loop = LoopParts.of(node)
    carried = len(loop.carries)
    if loop.trips == 0:
        return [*cotangents[:carried], *[None] * (len(node.inputs) - carried)]
    return _Backward(loop, cotangents).build(b)


class _Backward:
    """The backward loop of one loop.

    What the backward steps read of the forward steps is stacked by a second forward loop, which does all that the first
    one does: the pass ``share`` makes one of the two.

    Attributes:
        live: the carries whose cotangent may differ from zero at some step; the others are left out.
        step: the reverse derivative of the body: its inputs, then the cotangents of ``live`` and of
            ``stacked`` → ``reached``.
        stacked: the stacked results that have a cotangent.
        reached: the inputs of the body that get a cotangent.
        saved: nodes of ``step`` that the forward loop stacks, and the backward steps read.
        again: the other nodes of ``step`` that the backward steps compute, in order.
        used: the inputs of the body that those read, but for carries, which are among ``saved``.
    """

    def __init__(self, loop: LoopParts, cotangents: Sequence[Node | None]) -> None:
        self.loop = loop
        self.cotangents = cotangents
        count = len(loop.carries)
        self.stacked = [position for position in range(count, len(cotangents)) if cotangents[position] is not None]
        live = [position for position in range(count) if cotangents[position] is not None]
        while True:
            step, reached = vjp_region(loop.body, [*live, *self.stacked])
            grown = sorted({*live, *(position - 1 for position in reached if 1 <= position <= count)})
            if grown == live:
                break
            live = grown
        self.live, self.step, self.reached = live, step, reached
        self.saved, self.again = _split(step, loop)
        read = {operand for inner in self.again for operand in inner.inputs} | set(step.output_nodes)
        given = enumerate(step.inputs[: len(loop.body.inputs)])
        self.used = [position for position, node in given if node in read and not 1 <= position <= count]

    def build(self, b: Builder) -> list[Node | None]:
        """The backward loop's results as cotangents of the operands."""
        loop = self.loop
        first_invariant = 1 + len(loop.carries)
        first_sequence = first_invariant + len(loop.invariants)
        operands = (*loop.carries, *loop.invariants, *loop.sequences)
        summed = [position for position in self.reached if first_invariant <= position < first_sequence]
        placed = [position for position in self.reached if position >= first_sequence]
        sequences, slices = self._sequences(b, first_sequence)
        carries = [
            value_or_zeros(b, self.cotangents[position], loop.carries[position].tensor) for position in self.live
        ]
        carries += [zeros(b, operands[position - 1].tensor) for position in summed]
        invariants = [operands[position - 1] for position in self.used if first_invariant <= position < first_sequence]
        body = self._body(summed, placed, first_invariant, first_sequence)
        results = make_loop(b, loop.trips, body, carries, invariants, sequences, slices)
        table: dict[int, Node] = {1 + position: value for position, value in zip(self.live, results, strict=False)}
        table.update(zip(summed, results[len(self.live) :], strict=False))
        for position, rows in zip(placed, results[len(carries) :], strict=True):
            sequence = position - first_sequence
            table[position] = self._place(b, rows, loop.sequences[sequence].tensor, loop.slices[sequence])
        return [table.get(1 + position) for position in range(len(operands))]

    def _sequences(self, b: Builder, first_sequence: int) -> tuple[list[Node], list[Slice]]:
        """What the backward steps read, last step first, in the order of ``used``, ``saved`` and ``stacked``."""
        loop = self.loop
        sequences: list[Node] = []
        slices: list[Slice] = []
        backwards: Slice = (0, loop.trips - 1, -1)
        for position in self.used:
            if position == 0:
                sequences.append(b.op("iota", shape=(loop.trips,), axis=0, dtype=int64))
                slices.append(backwards)
            elif position >= first_sequence:
                axis, start, step = loop.slices[position - first_sequence]
                sequences.append(loop.sequences[position - first_sequence])
                slices.append((axis, start + step * (loop.trips - 1), -step))
        cotangents = [cotangent for position in self.stacked if (cotangent := self.cotangents[position]) is not None]
        for rows in (*self._stack_saved(b), *cotangents):
            sequences.append(rows)
            slices.append(backwards)
        return sequences, slices

    def _stack_saved(self, b: Builder) -> list[Node]:
        """``saved`` at all steps: by the forward loop, which stacks them besides what it does."""
        loop = self.loop
        if not self.saved:
            return []
        count = len(loop.carries)
        inner = Builder()
        inputs = [inner.input(str(node.attrs["name"]), node.tensor) for node in loop.body.inputs]
        values = inline(inner, loop.body, inputs)[:count]
        table: dict[Node, Node] = dict(zip(self.step.inputs, inputs, strict=False))
        for node in post_order(self.saved):
            if node not in table:
                table[node] = inner.make(node.op, [table[operand] for operand in node.inputs], node.attrs)
                inner.set_note(table[node], self.step.note(node))
        values += [table[node] for node in self.saved]
        outputs = [(f"y{position}", value) for position, value in enumerate(values)]
        body = Graph.make(loop.body.name, inputs, outputs, builder=inner)
        return make_loop(b, loop.trips, body, loop.carries, loop.invariants, loop.sequences, loop.slices)[count:]

    def _body(self, summed: list[int], placed: list[int], first_invariant: int, first_sequence: int) -> Graph:
        b = Builder()
        body, step = self.loop.body, self.step
        step_number = b.input("t", tensor_type(int64))
        carried = [b.input(f"dc{position}", body.inputs[1 + position].tensor) for position in self.live]
        sums = [b.input(f"sum{position}", body.inputs[position].tensor) for position in summed]
        values = {position: b.input(f"x{position}", body.inputs[position].tensor) for position in self.used}
        invariants = [values[position] for position in self.used if first_invariant <= position < first_sequence]
        elements = [values[position] for position in self.used if not first_invariant <= position < first_sequence]
        kept = [b.input(f"r{place}", node.tensor) for place, node in enumerate(self.saved)]
        rows = [b.input(f"g{position}", body.output_nodes[position].tensor) for position in self.stacked]
        table: dict[Node, Node] = {step.inputs[position]: value for position, value in values.items()}
        table.update(zip(self.saved, kept, strict=True))
        table.update(zip(step.inputs[len(body.inputs) :], [*carried, *rows], strict=True))
        for node in self.again:
            table[node] = b.make(node.op, [table[operand] for operand in node.inputs], node.attrs)
            b.set_note(table[node], step.note(node))
        found = dict(zip(self.reached, (table[node] for node in step.output_nodes), strict=True))
        outputs = [
            value_or_zeros(b, found.get(1 + position), body.inputs[1 + position].tensor) for position in self.live
        ]
        outputs += [b.op("add", total, found[position]) for total, position in zip(sums, summed, strict=True)]
        outputs += [found[position] for position in placed]
        return Graph.make(
            f"{body.name}_backward",
            [step_number, *carried, *sums, *invariants, *elements, *kept, *rows],
            [(f"y{position}", value) for position, value in enumerate(outputs)],
            builder=b,
        )

    def _place(self, b: Builder, rows: Node, type_: TensorType, place: Slice) -> Node:
        """The cotangents of a sequence's elements, last step first, put where the elements stand."""
        axis, start, step = place
        if step == 0:
            return scatter_index(b, b.op("sum", rows, axes=(0,), keepdims=False), type_, axis, start)
        # In rising order of position: a loop that reads backwards has them in that order already.
        first = start if step > 0 else start + step * (self.loop.trips - 1)
        ordered = b.op("flip", rows, axes=(0,)) if step > 0 else rows
        if axis:
            ordered = b.op("transpose", ordered, permutation=(*range(1, axis + 1), 0, *range(axis + 1, rows.rank)))
        starts = tuple(first if other == axis else 0 for other in range(type_.rank))
        last = first + abs(step) * (self.loop.trips - 1)
        stops = tuple(last + 1 if other == axis else dim for other, dim in enumerate(type_.shape))
        steps = tuple(abs(step) if other == axis else 1 for other in range(type_.rank))
        return scatter_slice(b, ordered, type_, starts, stops, steps)


_MOVED = frozenset({"broadcast_to", "reshape", "transpose"})
"""Ops that a backward step does again: what they move is stacked once, as it is."""

_CHEAP = _MOVED | {
    "abs",
    "add",
    "cast",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "multiply",
    "negative",
    "not_equal",
    "select",
    "sign",
    "square",
    "subtract",
}
"""Ops that a backward step does again where no forward step does them."""


def _split(step: Graph, loop: LoopParts) -> tuple[list[Node], list[Node]]:
    """Which forward values the backward steps read from stacks, and all that they compute.

    A value is computed again where that is for nothing: where it only moves elements, or depends on
    what is the same at every step (which later leaves the loop), or is cheap and the forward step has no use for it, as
    the 1 - y of a sigmoid's derivative.

    Args:
        step: the reverse derivative of the loop's body: the body's inputs, then cotangents.
        loop: the loop.
    """
    given = step.inputs[: len(loop.body.inputs)]
    cotangents = step.inputs[len(given) :]
    first_invariant = 1 + len(loop.carries)
    entering = given[1:first_invariant]
    own = Builder()
    for node in step.nodes:
        own.remember(node)
    # (The nodes of the body within the derivative: the builder finds them, as long as they are held.)
    forward = set(post_order(inline(own, loop.body, given)))
    backward: set[Node] = set(cotangents)
    fixed: set[Node] = set(given[first_invariant : first_invariant + len(loop.invariants)])
    for node in step.nodes:
        if not backward.isdisjoint(node.inputs):
            backward.add(node)
        elif node.op.name != "input" and fixed.issuperset(node.inputs):
            fixed.add(node)
    saved: dict[Node, None] = {}
    again: set[Node] = set()
    pending = list(reversed(step.output_nodes))
    while pending:
        node = pending.pop()
        if node in again or node.op.name == "input":
            if node in entering:
                saved[node] = None
        elif node in backward or node in fixed or node.op.name in (_MOVED if node in forward else _CHEAP):
            again.add(node)
            pending.extend(reversed(node.inputs))
        else:
            saved[node] = None
    return list(saved), [node for node in step.nodes if node in again]


# -- forward -----------------------------------------------------------------------------------------------------------


def loop_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """One tangent an operand in (None for zero), one a result out: a loop whose carries are doubled."""
    loop = LoopParts.of(node)
    count = len(loop.carries)
    first_invariant, first_sequence = count, count + len(loop.invariants)
    given = [position for position, tangent in enumerate(tangents) if tangent is not None]
    others = [position for position in given if position >= count]
    live = [position for position in given if position < count]
    while True:
        moving = [*live, *others]
        step, reached = jvp_region(loop.body, [1 + position for position in moving])
        grown = sorted({*live, *(position for position in reached if position < count)})
        if grown == live:
            break
        live = grown
    stacked = [position for position in reached if position >= count]
    invariants = [position for position in others if first_invariant <= position < first_sequence]
    sequences = [position for position in others if position >= first_sequence]

    inner = Builder()
    body = loop.body
    values = [inner.input(f"x{position}", value.tensor) for position, value in enumerate(body.inputs)]
    moved = {position: inner.input(f"t{position}", body.inputs[1 + position].tensor) for position in moving}
    primal = inline(inner, body, values)
    found = dict(zip(reached, inline(inner, step, [*values, *(moved[position] for position in moving)]), strict=True))
    outputs = primal[:count]
    outputs += [value_or_zeros(inner, found.get(position), loop.carries[position].tensor) for position in live]
    outputs += [found[position] for position in stacked]
    inputs = [
        *values[: 1 + count],
        *(moved[position] for position in live),
        *values[1 + first_invariant : 1 + first_sequence],
        *(moved[position] for position in invariants),
        *values[1 + first_sequence :],
        *(moved[position] for position in sequences),
    ]
    doubled = Graph.make(
        f"{body.name}_jvp", inputs, [(f"y{position}", value) for position, value in enumerate(outputs)]
    )
    results = make_loop(
        b,
        loop.trips,
        doubled,
        [*loop.carries, *(value_or_zeros(b, tangents[position], loop.carries[position].tensor) for position in live)],
        [*loop.invariants, *_present(tangents, invariants)],
        [*loop.sequences, *_present(tangents, sequences)],
        [*loop.slices, *(loop.slices[position - first_sequence] for position in sequences)],
    )
    table = dict(zip([*live, *stacked], results[count:], strict=True))
    return [table.get(position) for position in range(len(body.outputs))]


def _present(values: Sequence[Node | None], positions: Sequence[int]) -> list[Node]:
    return [value for position in positions if (value := values[position]) is not None]
