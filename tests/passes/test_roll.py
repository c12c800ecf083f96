"""roll: finds the loops, never changes the meaning, and has unroll as its inverse."""

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.printer import print_graph
from graphc.ir.rewrite import inline
from graphc.ir.verify import verify
from graphc.passes.pipeline import run_pipeline
from graphc.passes.roll import Roll
from graphc.passes.simplify import Simplify
from graphc.passes.unroll import Unroll
from tests.cells import CELLS, Maker, lstm


def prepared(graph: Graph) -> Graph:
    """What roll sees: the pipeline up to it."""
    return run_pipeline(graph, until="roll")


def loops(graph: Graph) -> list[tuple[int, int]]:
    """(trips, nodes of the body) of each loop."""
    return [(n.attrs["trips"], len(n.attrs["body"])) for n in graph.nodes if n.op.name == "loop"]


def x_for(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(n.shape).astype(n.dtype.storage) for n in graph.inputs]


def same_structure(left: Graph, right: Graph) -> bool:
    """Whether two graphs compute the same expressions, in whatever order their nodes stand."""
    b = Builder()
    inputs = [b.input(n.attrs["name"], n.tensor) for n in left.inputs]
    return inline(b, left, inputs) == inline(b, right, inputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [10, 17])
def test_rolled_equals_unrolled(cell: str, steps: int) -> None:
    graph = prepared(CELLS[cell](steps))
    rolled = Roll().run(graph)
    verify(rolled)
    assert len(loops(rolled)) == 2, "one loop forward and one backward"
    expected, _ = evaluate(graph, x_for(graph))
    found, _ = evaluate(rolled, x_for(graph))
    for name, value in expected.items():
        # Bit for bit: a rolled step computes what the step computed.  (A sum over a transposed stack may run in another
        # order.)
        np.testing.assert_allclose(found[name], value, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_unroll_is_the_inverse(cell: str) -> None:
    graph = prepared(CELLS[cell](9))
    rolled = Roll().run(graph)
    assert rolled is not graph
    unrolled = Unroll().run(rolled)
    verify(unrolled)
    assert not loops(unrolled)
    assert same_structure(unrolled, graph)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_left_does_not_grow_with_the_steps(cell: str) -> None:
    sizes = [len(Roll().run(prepared(CELLS[cell](steps)))) for steps in (12, 40)]
    assert sizes[0] == sizes[1]


def test_first_step_is_part_of_the_loop() -> None:
    rolled = Roll().run(prepared(lstm(32)))
    assert loops(rolled)[0][0] == 32


def test_loops_that_do_not_pay_stay_straight() -> None:
    graph = prepared(lstm(3))
    assert Roll().run(graph) is graph


def test_alternating_weights_are_no_loop_of_one_step() -> None:
    """Layers of equal shape with different weights look alike; only their inputs tell them apart."""
    m = Maker()
    x = m.input("x", 2, 6)
    weights = [m.parameter(f"w{k}", 6, 6) for k in range(12)]
    h = x
    for w in weights:
        h = (h @ w).tanh()
    graph = prepared(m.training([x], m.total(h)))
    rolled = Roll().run(graph)
    expected, found = evaluate(graph, x_for(graph))[0], evaluate(rolled, x_for(graph))[0]
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_state_two_steps_back_is_a_chain_of_carries() -> None:
    rolled = Roll().run(prepared(CELLS["minimal gated unit"](20)))
    forward = next(n for n in rolled.nodes if n.op.name == "loop")
    assert forward.attrs["carries"] == 2


def test_two_layers_in_one_python_loop() -> None:
    def model(steps: int) -> Graph:
        m = Maker()
        x = m.input("x", steps, 3, 4)
        w0, w1, u0, u1 = (m.parameter(n, 4, 4) for n in ("w0", "w1", "u0", "u1"))
        h0 = h1 = m.zeros(3, 4)
        for t in range(steps):
            h0 = (x.at(t) @ w0 + h0 @ u0).tanh()
            h1 = (h0 @ w1 + h1 @ u1).tanh()
        return m.training([x], m.total(h1))

    rolled = [Roll().run(prepared(model(steps))) for steps in (12, 30)]
    assert len(rolled[0]) == len(rolled[1])
    graph = prepared(model(12))
    expected, found = evaluate(graph, x_for(graph))[0], evaluate(rolled[0], x_for(graph))[0]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, atol=1e-7)


def test_golden_text(golden) -> None:
    golden("passes/roll-lstm.gir", print_graph(Roll().run(prepared(lstm(8, 2, 2, 3)))))


def test_rolling_is_deterministic() -> None:
    texts = {print_graph(Roll().run(prepared(lstm(16, all_outputs=True)))) for _ in range(2)}
    assert len(texts) == 1


def test_simplify_before_roll_keeps_the_first_step_alike() -> None:
    graph = lstm(16)
    late = Roll().run(Simplify(movement_only=True).run(graph))
    assert loops(late)[0][0] == 16
