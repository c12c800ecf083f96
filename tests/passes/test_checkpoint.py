"""checkpoint: forward loops run a second time, segment by segment, and nothing but the memory changes."""

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.types import float32, float64, int64, tensor_type
from graphc.ir.verify import verify
from graphc.kernel.lower import lower_module
from graphc.ops.loop_parts import make_loop
from graphc.passes.checkpoint import Checkpoint
from graphc.passes.checkpoint_jam import jammed
from graphc.passes.pipeline import run_pipeline
from tests.backends_under_test import BACKENDS, compiled
from tests.cells import CELLS, lstm
from tests.generators import random_loop_graph
from tests.shadow import allowed_errors, disagreement


def rolled(graph: Graph) -> Graph:
    return run_pipeline(graph, until="checkpoint")


def x_for(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(n.shape).astype(n.dtype.storage) for n in graph.inputs]


def nested(graph: Graph) -> list[Graph]:
    """Bodies that hold loops themselves."""
    bodies = [node.attrs["body"] for node in graph.nodes if node.op.name == "loop"]
    return [body for body in bodies if any(node.op.name == "loop" for node in body.nodes)]


def assert_same(graph: Graph, changed: Graph) -> None:
    expected, _ = evaluate(graph, x_for(graph))
    found, _ = evaluate(changed, x_for(graph))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("steps", "segment"), [(17, 3), (17, 5), (22, 2), (29, 8)])
def test_recomputed_equals_kept(cell: str, steps: int, segment: int) -> None:
    graph = rolled(CELLS[cell](steps))
    changed = Checkpoint(segment).run(graph)
    assert len(nested(changed)) == 2, "one loop of loops forward and one backward"
    verify(changed)
    assert_same(graph, changed)


def test_nothing_to_recompute_leaves_the_graph_alone() -> None:
    graph = rolled(lstm(12))
    assert Checkpoint(0).run(graph) is graph
    assert Checkpoint(11).run(graph) is graph, "two segments are the fewest that save anything"
    forward = Graph.make("forward", graph.inputs, graph.outputs[:1])
    assert Checkpoint(3).run(forward) is forward


def counted(trips: int) -> Graph:
    """A forward loop whose body reads the number of its trip, and a loop that walks back through what it stacked."""
    vector = tensor_type(float32, (4,))

    def body_of(make: object) -> Graph:
        b = Builder()
        t = b.input("t", tensor_type(int64))
        c = b.input("c0", vector)
        s = b.input("s0", vector)
        at = b.op("cast", t, dtype=vector.dtype)
        scaled = b.op("multiply", s, at)
        following = b.op("tanh", b.op("add", b.op("multiply", c, b.constant(0.5, vector.dtype)), scaled))
        outputs: list[tuple[str, Node]] = [("c0", following)]
        if make == "forward":
            outputs += [("y0", b.op("square", scaled)), ("y1", following)]
        else:
            outputs = [("c0", b.op("add", c, scaled)), ("y0", b.op("multiply", scaled, c))]
        return Graph.make("body", [t, c, s], outputs, builder=b)

    b = Builder()
    x = b.input("x", tensor_type(float32, (trips, 4)))
    start = b.op("broadcast_to", b.constant(0.25, vector.dtype), shape=(4,))
    last, squares, _ = make_loop(b, trips, body_of("forward"), [start], [], [x], [(0, 0, 1)])
    total, rows = make_loop(b, trips - 2, body_of("backward"), [last], [], [squares], [(0, trips - 2, -1)])
    edge = b.op("index", squares, axis=0, index=trips - 1)
    return Graph.make("counted", [x], [("total", b.op("add", total, edge)), ("rows", rows)], builder=b)


@pytest.mark.parametrize("trips", [11, 12, 16])
@pytest.mark.parametrize("segment", [2, 3, 4])
def test_bodies_that_count_their_trips(trips: int, segment: int) -> None:
    graph = counted(trips)
    changed = Checkpoint(segment).run(graph)
    assert len(nested(changed)) == 2
    verify(changed)
    assert_same(graph, changed)


def lagging(trips: int, lags: tuple[int, ...], *, upwards: bool) -> Graph:
    """A loop that walks back through what another one has stacked, at several steps at once, and both their edges."""
    vector = tensor_type(float64, (3,))
    b = Builder()
    x, y = (b.input(name, tensor_type(float64, (trips, 3))) for name in "xy")

    def cell() -> Graph:
        inner = Builder()
        t, c, s = inner.input("t", tensor_type(int64)), inner.input("c0", vector), inner.input("s0", vector)
        moved = inner.op("multiply", s, inner.op("cast", t, dtype=float64))
        following = inner.op("tanh", inner.op("add", inner.op("multiply", c, inner.constant(0.5, float64)), moved))
        outputs = [("c0", following), ("y0", following), ("y1", inner.op("square", following))]
        return Graph.make("body", [t, c, s], outputs, builder=inner)

    def back() -> Graph:
        inner = Builder()
        t, c = inner.input("t", tensor_type(int64)), inner.input("c0", vector)
        rows = [inner.input(f"s{k}", vector) for k in range(2 * len(lags) + 1)]
        total = inner.op("multiply", c, inner.constant(0.75, float64))
        for k, row in enumerate(rows):
            total = inner.op("add", total, inner.op("multiply", row, inner.constant(0.25 + k, float64)))
        outputs = [("c0", total), ("y0", inner.op("square", total)), ("y1", total)]
        return Graph.make("body", [t, c, *rows], outputs, builder=inner)

    slices = [(0, 0, 1) if upwards else (0, trips - 1, -1)]
    start = b.op("index", y, axis=0, index=0)
    last, states, squares = make_loop(b, trips, cell(), [start], [], [x], slices)
    deepest = max(lags)
    steps = trips - 2 - deepest
    places = [(0, trips - 2 - lag, -1) for lag in lags]
    rows = [*(states for _ in lags), *(squares for _ in lags), y]
    total, kept, brief = make_loop(b, steps, back(), [last], [], rows, [*places, *places, (0, steps - 1, -1)])
    outputs = {
        "total": total,
        "kept": kept,
        "brief": b.op("index", brief, axis=0, index=steps - 2),
        "first": b.op("index", squares, axis=0, index=0),
        "last": b.op("index", states, axis=0, index=trips - 1),
    }
    return Graph.make("lagging", [x, y], outputs.items(), builder=b)


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("lags", [(0,), (1,), (0, 1), (2, 0), (3, 1)])
@pytest.mark.parametrize(("trips", "segment"), [(23, 4), (24, 4), (31, 5), (40, 9)])
def test_loops_that_read_several_steps_at_once(trips: int, segment: int, lags: tuple[int, ...], upwards: bool) -> None:
    graph = lagging(trips, lags, upwards=upwards)
    changed = Checkpoint(segment).run(graph)
    assert len(nested(changed)) == 2
    verify(changed)
    expected, _ = evaluate(graph, x_for(graph))
    found, _ = evaluate(changed, x_for(graph))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-13)


def test_values_that_other_steps_need_are_kept() -> None:
    graph = lagging(40, (0,), upwards=True)
    b = Builder()
    squares = next(node for node in graph.nodes if node.op.name == "result" and node.attrs["index"] == 2)
    for node in graph.nodes:
        b.remember(node)
    middle = b.op("index", squares, axis=0, index=20)
    whole = Graph.make("m", graph.inputs, [*graph.outputs, ("middle", middle)], builder=b)
    changed = Checkpoint(6).run(whole)
    verify(changed)
    assert_same(whole, changed)
    # Of the forward loop: its carry, that at the beginning of each segment, and the squares.
    assert sum(len(body.outputs) == 3 for body in nested(changed)) == 1


def chained(trips: int, early: int, behind: int) -> Graph:
    """A loop that reads, ``early`` steps on, what another one stacks; of that other readers want parts."""
    vector = tensor_type(float64, (3,))

    def cell(scale: float) -> Graph:
        b = Builder()
        t, c, s = b.input("t", tensor_type(int64)), b.input("c0", vector), b.input("s0", vector)
        moved = b.op("add", s, b.op("multiply", b.op("cast", t, dtype=float64), b.constant(scale, float64)))
        following = b.op("tanh", b.op("add", b.op("multiply", c, b.constant(0.5, float64)), moved))
        return Graph.make("body", [t, c, s], [("c0", following), ("y0", b.op("square", following))], builder=b)

    b = Builder()
    x = b.input("x", tensor_type(float64, (trips, 3)))
    zero = b.op("broadcast_to", b.constant(0, float64), shape=(3,))
    first, rows = make_loop(b, trips, cell(0.01), [zero], [], [x], [(0, 0, 1)])
    between = b.op("sum", rows, axes=(0,), keepdims=False)
    start = b.op("index", rows, axis=0, index=0) if early else zero
    steps = trips - early - behind
    second, seen = make_loop(b, steps, cell(0.02), [start], [], [rows], [(0, early, 1)])
    back, _ = make_loop(b, steps - 1, cell(0.03), [second], [], [rows], [(0, trips - 2 - behind, -1)])
    outputs = {
        "first": first,
        "between": between,
        "second": second,
        "seen": seen,
        "back": back,
        "edge": b.op("index", rows, axis=0, index=trips - 1),
    }
    return Graph.make("chained", [x], outputs.items(), builder=b)


@pytest.mark.parametrize(("early", "behind"), [(0, 0), (1, 0), (0, 1), (2, 2)])
def test_loops_that_feed_one_another_become_one(early: int, behind: int) -> None:
    graph = chained(20, early, behind)
    changed = jammed(graph, 8)
    verify(changed)
    assert [node.attrs["carries"] for node in changed.nodes if node.op.name == "loop"] == [2, 1]
    expected, _ = evaluate(graph, x_for(graph))
    found, _ = evaluate(changed, x_for(graph))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13)


def test_loops_that_wait_for_one_another_stay_apart() -> None:
    for graph in (chained(20, 5, 0), chained(9, 0, 0)):
        assert jammed(graph, 10) is graph, "too many steps alone, or too few together"
    graph = counted(12)
    assert jammed(graph, 4) is graph, "what is read backwards is not there yet"


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_run_loops_of_loops(backend: str) -> None:
    for graph in (lstm(19), CELLS["gru, gradient to x"](14), counted(13)):
        module = Module("m", {graph.name: run_pipeline(graph, check=True, segment=3)})
        expected, _ = evaluate(graph, x_for(graph))
        found, _ = compiled(backend, module)(graph.name, x_for(graph), None)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_random_loops(seed: int) -> None:
    graph, inputs = random_loop_graph(seed)
    allowed = allowed_errors(graph, inputs)
    assert allowed is not None
    expected = evaluate(graph, inputs)
    for segment in (2, 3):
        found = evaluate(run_pipeline(graph, check=True, segment=segment), inputs)
        assert disagreement(graph, found, expected, allowed) is None


def test_memory_grows_with_the_root_of_the_steps() -> None:
    def arena(steps: int, segment: int) -> int:
        graph = run_pipeline(lstm(steps, batch=8, hidden=16), segment=segment)
        return lower_module(Module("m", {"train": graph})).arena_bytes

    assert arena(400, 20) < 0.12 * arena(400, 0)
    assert arena(1600, 40) < 2.5 * arena(400, 20)
