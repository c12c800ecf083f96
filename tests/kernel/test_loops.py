"""Loops of calls: carries, slices, stacked results, nesting."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TensorType, float32, int64
from graphc.kernel.program import Call, Copy, Entry, Loop, Program
from tests.kernel.checks import check_graph, graph_of, typed

F = float32
Types = Sequence[TensorType]


def loop(
    b: Builder,
    step: Callable[..., tuple[Sequence[Node], Sequence[Node]]],
    trips: int,
    carries: Sequence[Node],
    invariants: Sequence[Node] = (),
    sequences: Sequence[tuple[Node, int, int, int]] = (),
) -> list[Node]:
    """A loop node whose body is ``step(builder, t, *carries, *invariants, *elements) -> (next carries, stacked)``;
    its results.
    """
    inner = Builder()
    elements = [typed(node.dtype, *node.shape[:axis], *node.shape[axis + 1 :]) for node, axis, _, _ in sequences]
    types = [node.tensor for node in (*carries, *invariants)] + elements
    t = inner.input("t", typed(int64))
    inputs = [inner.input(f"p{i}", type_) for i, type_ in enumerate(types)]
    following, stacked = step(inner, t, *inputs)
    body = graph_of(inner, [t, *inputs], *following, *stacked)
    node = b.op(
        "loop",
        *carries,
        *invariants,
        *(sequence for sequence, _, _, _ in sequences),
        trips=trips,
        body=body,
        carries=len(carries),
        invariants=len(invariants),
        slices=tuple((axis, start, stride) for _, axis, start, stride in sequences),
    )
    return [b.op("result", node, index=i) for i in range(len(following) + len(stacked))]


def body_of(program: Program) -> tuple[Call | Copy | Loop, ...]:
    """The steps of the one loop."""
    (found,) = [step for step in program.entries["f"].steps if isinstance(step, Loop)]
    return found.body


def copies(entry: Entry) -> int:
    return sum(isinstance(step, Copy) for step in entry.steps)


def test_a_recurrent_cell() -> None:
    b = Builder()
    x, h, w = b.input("x", typed(F, 6, 2, 3)), b.input("h", typed(F, 2, 3)), b.input("w", typed(F, 3, 3))

    def step(b: Builder, t: Node, h: Node, w: Node, x: Node) -> tuple[list[Node], list[Node]]:
        y = b.op("tanh", b.op("add", b.op("matmul", h, w), x))
        return [y], [y]

    last, stacked = loop(b, step, 6, [h], [w], [(x, 0, 0, 1)])
    program = check_graph(graph_of(b, [x, h, w], last, b.op("exp", stacked)))
    # The carry lives in the stacked buffer: no copies inside the loop.
    assert all(isinstance(inner, Call) for inner in body_of(program))


def test_a_reversed_sequence_along_another_axis() -> None:
    b = Builder()
    x, s = b.input("x", typed(F, 3, 7)), b.input("s", typed(F, 3))

    def step(b: Builder, t: Node, s: Node, x: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", b.op("multiply", s, s), x)], [b.op("negative", s), x]

    check_graph(graph_of(b, [x, s], *loop(b, step, 3, [s], [], [(x, 1, 6, -2)])))


def test_an_accumulator_is_updated_in_place() -> None:
    b = Builder()
    x, s = b.input("x", typed(F, 5, 4)), b.input("s", typed(F, 4))

    def step(b: Builder, t: Node, s: Node, x: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", s, x)], []

    program = check_graph(graph_of(b, [x, s], *loop(b, step, 5, [s], [], [(x, 0, 0, 1)])))
    (call,) = body_of(program)
    assert isinstance(call, Call)
    assert program.kernels[call.kernel].params[-1].mode == "inout"
    assert call.args[-1].buffer == next(
        i for i, buffer in enumerate(program.entries["f"].buffers) if buffer.kind == "output"
    )


def test_a_carry_read_at_other_positions_is_not_overwritten() -> None:
    b = Builder()
    s, w = b.input("s", typed(F, 4, 4)), b.input("w", typed(F, 4, 4))

    def step(b: Builder, t: Node, s: Node, w: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", s, b.op("transpose", s, permutation=(1, 0)))], []

    check_graph(graph_of(b, [s, w], *loop(b, step, 3, [s], [w])))

    def product(b: Builder, t: Node, s: Node, w: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("matmul", s, w)], []

    b = Builder()
    s, w = b.input("s", typed(F, 4, 4)), b.input("w", typed(F, 4, 4))
    check_graph(graph_of(b, [s, w], *loop(b, product, 3, [s], [w])))


def test_a_carry_read_after_its_next_value_is_made() -> None:
    b = Builder()
    p, q = b.input("p", typed(F, 4)), b.input("q", typed(F, 4))

    def step(b: Builder, t: Node, p: Node, q: Node) -> tuple[list[Node], list[Node]]:
        following = b.op("add", p, q)
        return [following, b.op("subtract", b.op("exp", following), p)], []

    check_graph(graph_of(b, [p, q], *loop(b, step, 4, [p, q])))


@pytest.mark.parametrize("order", [(1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2), (1, 1, 0), (0, 0, 1), (1, 2, 3, 3)])
def test_carries_that_change_places(order: tuple[int, ...]) -> None:
    b = Builder()
    inputs = [b.input(f"x{i}", typed(F, 3)) for i in range(len(order))]

    def step(b: Builder, t: Node, *carries: Node) -> tuple[list[Node], list[Node]]:
        return [carries[i] for i in order], []

    check_graph(graph_of(b, inputs, *loop(b, step, 5, inputs)))


def test_a_shift_register() -> None:
    b = Builder()
    x = b.input("x", typed(F, 6, 2))
    registers = [b.constant(0, F) for _ in range(3)]
    registers = [b.op("broadcast_to", r, shape=(2,)) for r in registers]

    def step(b: Builder, t: Node, p: Node, q: Node, r: Node, x: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", x, r), p, q], [q]

    check_graph(graph_of(b, [x], *loop(b, step, 6, registers, [], [(x, 0, 0, 1)])))


def test_a_carry_turned_by_a_view_of_itself() -> None:
    b = Builder()
    s = b.input("s", typed(F, 3, 3))

    def step(b: Builder, t: Node, s: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("transpose", s, permutation=(1, 0))], [b.op("flip", s, axes=(0,))]

    check_graph(graph_of(b, [s], *loop(b, step, 3, [s])))


def test_the_old_carry_is_stacked() -> None:
    b = Builder()
    s = b.input("s", typed(F, 3))

    def step(b: Builder, t: Node, s: Node) -> tuple[list[Node], list[Node]]:
        y = b.op("sin", s)
        return [y], [s, y]

    program = check_graph(graph_of(b, [s], *loop(b, step, 4, [s])))
    assert len(body_of(program)) == 1


def test_two_carries_with_one_next_value_and_one_that_stays() -> None:
    b = Builder()
    p, q, r = (b.input(name, typed(F, 3)) for name in "pqr")

    def step(b: Builder, t: Node, p: Node, q: Node, r: Node) -> tuple[list[Node], list[Node]]:
        y = b.op("add", b.op("add", p, q), r)
        return [y, y, r], [y, r]

    check_graph(graph_of(b, [p, q, r], *loop(b, step, 4, [p, q, r])))


def test_the_step_number() -> None:
    b = Builder()
    table, s = b.input("table", typed(F, 5, 2)), b.input("s", typed(F, 2))

    def step(b: Builder, t: Node, s: Node, table: Node) -> tuple[list[Node], list[Node]]:
        row = b.op("take", table, t, axis=0)
        return [b.op("add", s, b.op("multiply", row, b.op("cast", t, dtype=F)))], [t]

    for trips in (1, 2, 5):
        check_graph(graph_of(b, [table, s], *loop(b, step, trips, [s], [table])))


def test_no_trips() -> None:
    b = Builder()
    s = b.input("s", typed(F, 2))

    def step(b: Builder, t: Node, s: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("exp", s)], [s]

    check_graph(graph_of(b, [s], *loop(b, step, 0, [s])))


def test_a_loop_in_a_loop() -> None:
    b = Builder()
    x, s, w = b.input("x", typed(F, 3, 4, 2)), b.input("s", typed(F, 2)), b.input("w", typed(F, 2))

    def outer(b: Builder, t: Node, s: Node, w: Node, x: Node) -> tuple[list[Node], list[Node]]:
        def inner(b: Builder, t: Node, s: Node, w: Node, x: Node) -> tuple[list[Node], list[Node]]:
            y = b.op("tanh", b.op("add", b.op("multiply", s, w), x))
            return [y], [y, b.op("exp", s)]

        last, stacked, others = loop(b, inner, 4, [s], [w], [(x, 0, 3, -1)])
        return [b.op("add", last, w)], [stacked, b.op("flip", others, axes=(0,)), last]

    results = loop(b, outer, 3, [s], [w], [(x, 0, 0, 1)])
    check_graph(graph_of(b, [x, s, w], *results))


def test_work_that_is_the_same_every_trip_runs_once() -> None:
    b = Builder()
    s, w = b.input("s", typed(F, 3)), b.input("w", typed(F, 3))

    def step(b: Builder, t: Node, s: Node, w: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("multiply", s, b.op("exp", b.op("sin", w)))], []

    program = check_graph(graph_of(b, [s, w], *loop(b, step, 4, [s], [w])))
    assert len(body_of(program)) == 1


def test_constants_and_constant_sequences() -> None:
    b = Builder()
    table = b.constant(np.arange(12.0).reshape(4, 3), F)
    zeros = b.op("broadcast_to", b.constant(0, F), shape=(4, 3))

    def step(b: Builder, t: Node, s: Node, x: Node, z: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", b.op("add", s, x), z)], [z, b.op("add", x, b.constant([1.0, 2, 3], F))]

    start = b.constant([0.0, 0.0, 0.0], F)
    check_graph(graph_of(b, [], *loop(b, step, 4, [start], [], [(table, 0, 0, 1), (zeros, 0, 0, 1)])))


def test_results_land_where_they_are_wanted() -> None:
    b = Builder()
    x, s = b.input("x", typed(F, 4, 3)), b.input("s", typed(F, 3))

    def step(b: Builder, t: Node, s: Node, x: Node) -> tuple[list[Node], list[Node]]:
        return [b.op("add", s, x)], [b.op("exp", x)]

    last, stacked = loop(b, step, 4, [s], [], [(x, 0, 0, 1)])
    graph = graph_of(b, [x, s], b.op("concat", stacked, x, axis=1), b.op("stack", last, s, axis=1))
    check_graph(graph)
    graph: Graph = graph_of(b, [x, s], b.op("transpose", stacked, permutation=(1, 0)), last)
    program = check_graph(graph)
    assert not [buffer for buffer in program.entries["f"].buffers if buffer.kind == "temporary"]
