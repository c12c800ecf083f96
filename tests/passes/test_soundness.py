"""Graphs made to mislead the passes: what looks like a loop and is none, and loops at the edge of what loops are."""

from collections.abc import Callable

import numpy as np
import pytest

import graphc.ops  # noqa: F401  (fills the op registry)
from graphc.autodiff.reverse import zeros
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import get_op
from graphc.ir.types import float32, int64, tensor_type
from graphc.passes.pipeline import run_pipeline

SQUARE = tensor_type(float32, (4, 4))


def assert_meaning_kept(graph: Graph, disable: tuple[str, ...] = ()) -> Graph:
    """Evaluate before and after roll, and after all passes; returns the rolled graph."""
    rng = np.random.default_rng(7)
    arguments = [rng.standard_normal(node.shape).astype(np.float32) for node in graph.inputs]
    rolled = run_pipeline(graph, until="accumulate", check=True)
    expected, _ = evaluate(graph, arguments)
    for changed in (rolled, run_pipeline(graph, check=True, disable=disable)):
        found, _ = evaluate(changed, arguments)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    return rolled


def trips(graph: Graph) -> list[int]:
    """Trips of each loop."""
    return [node.attrs["trips"] for node in graph.nodes if node.op.name == "loop"]


def one_carry_loop(
    b: Builder,
    count: int,
    step: Callable[[Builder, Node, Node], Node],
    sequence: Node,
    carry: Node,
    place: tuple[int, int, int],
) -> Node:
    """A loop ``carry ← step(carry, element)`` that also stacks a function of its elements."""
    body = Builder()
    inputs = [body.input("t", tensor_type(int64)), body.input("c0", SQUARE), body.input("s0", SQUARE)]
    following = step(body, inputs[1], inputs[2])
    region = Graph.make("body", inputs, [("c0", following), ("y0", body.op("exp", inputs[2]))], builder=body)
    attrs = {"trips": count, "body": region, "carries": 1, "invariants": 0, "slices": (place,)}
    return b.make(get_op("loop"), [carry, sequence], attrs)


def test_first_index_off_the_line_where_the_index_moves_by_the_period() -> None:
    """Six nodes a step read x[6·t + 3], but for the first: an index is no carry whose first value may differ."""
    b = Builder()
    x, z = b.input("x", tensor_type(float32, (200, 4))), b.input("z", tensor_type(float32, (4,)))
    before = z
    for op in ("sin", "cos", "erf", "abs", "sigmoid", "relu", "atan", "asinh", "exp", "square", "tanh", "negative"):
        before = b.op(op, before)
    state = zeros(b, z.tensor)
    for step in range(12):
        part = b.op("sin", b.op("index", x, axis=0, index=6 * step + 3 if step else 11))
        part = b.op("tanh", b.op("add", part, state))
        state = b.op("exp", b.op("multiply", part, part))
    graph = Graph.make("g", [x, z], [("state", state), ("before", before)], builder=b)
    assert trips(assert_meaning_kept(graph)) == [11]


def loops_in_steps(outside: bool) -> Graph:
    """Twelve steps of a Python loop, each with a loop inside; ``outside``: the inner stacks are outputs."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (12, 4, 4)))
    rows = b.input("rows", tensor_type(float32, (3, 4, 4)))
    state = zeros(b, SQUARE)
    outputs: list[tuple[str, Node]] = []
    for step in range(12):
        mixed = b.op("add", b.op("sin", b.op("index", x, axis=0, index=step)), state)
        loop = one_carry_loop(b, 3, lambda body, c, s: body.op("tanh", body.op("add", c, s)), rows, mixed, (0, 0, 1))
        state = b.op("exp", b.op("negative", b.op("result", loop, index=0)))
        if outside:
            outputs.append((f"stack {step}", b.op("result", loop, index=1)))
    return Graph.make("g", [x, rows], [("state", state), *outputs], builder=b)


def test_a_loop_inside_a_step_is_rolled_with_it() -> None:
    assert trips(assert_meaning_kept(loops_in_steps(False))) == [12]


def test_several_results_read_beyond_the_step_stay_straight() -> None:
    assert_meaning_kept(loops_in_steps(True))


def test_results_taken_in_the_next_step_are_carried_as_tensors() -> None:
    """The cut between two steps must not part a loop from those who take its results."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (14, 4, 4)))
    rows = b.input("rows", tensor_type(float32, (3, 4, 4)))

    def inner(carry: Node) -> Node:
        return one_carry_loop(b, 3, lambda body, c, s: body.op("tanh", body.op("add", c, s)), rows, carry, (0, 2, -1))

    loop = inner(zeros(b, SQUARE))
    for step in range(14):
        taken = b.op("result", loop, index=0)
        loop = inner(b.op("multiply", b.op("cos", b.op("index", x, axis=0, index=step)), taken))
    assert_meaning_kept(Graph.make("g", [x, rows], [("y", b.op("result", loop, index=1))], builder=b))


def product_sum(permutation: tuple[int, int]) -> Callable[[Builder, Node, Node], Node]:
    """The step ``c + transpose(s)·tanh(s)``."""

    def step(body: Builder, carry: Node, element: Node) -> Node:
        left = body.op("transpose", element, permutation=permutation)
        return body.op("add", carry, body.op("matmul", left, body.op("tanh", element)))

    return step


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("place", [(0, 0, 2), (0, 8, -2), (0, 11, -3), (0, 5, 0), (1, 0, 1)])
def test_few_trips_over_any_slices(count: int, place: tuple[int, int, int]) -> None:
    b = Builder()
    x = b.input("x", tensor_type(float32, (12, 4, 4) if place[0] == 0 else (4, 12, 4)))
    w = b.input("w", SQUARE)
    loop = one_carry_loop(b, count, product_sum((1, 0)), x, w, place)
    outputs = [(f"y{index}", b.op("result", loop, index=index)) for index in range(2)]
    assert_meaning_kept(Graph.make("g", [x, w], outputs, builder=b))
    assert_meaning_kept(Graph.make("g", [x, w], outputs[:1], builder=b))


def test_a_transpose_that_moves_nothing_is_no_contraction_of_rows() -> None:
    b = Builder()
    x, w = b.input("x", tensor_type(float32, (12, 4, 4))), b.input("w", SQUARE)
    loop = one_carry_loop(b, 5, product_sum((0, 1)), x, w, (0, 0, 1))
    graph = Graph.make("g", [x, w], [("y", b.op("result", loop, index=0))], builder=b)
    assert_meaning_kept(graph, disable=("simplify",))


def test_a_tensor_grown_part_by_part_stays_linear_in_its_steps() -> None:
    steps = 1000
    b = Builder()
    x = b.input("x", tensor_type(float32, (steps, 2)))
    parts = [b.op("slice", x, starts=(t, 0), stops=(t + 1, 2), steps=(1, 1)) for t in range(steps)]
    grown = parts[0]
    totals = []
    for part in parts[1:]:
        grown = b.op("concat", grown, b.op("sin", part), axis=0)
        totals.append(b.op("max", grown, axes=(0,), keepdims=False))
    graph = Graph.make("g", [x], [("y", b.op("stack", *totals, axis=0))], builder=b)
    rolled = assert_meaning_kept(graph)
    assert sum(len(node.inputs) for node in rolled.nodes) < 300 * steps
