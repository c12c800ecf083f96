"""roll on models that users write: what is left over does not grow with the steps, and no value changes."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphc.driver import compile as compile_model
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.printer import print_graph
from graphc.passes.pipeline import run_pipeline
from graphc.passes.roll import Roll
from graphc.passes.unroll import Unroll
from tests.loop_programs import reordered
from tests.unrolled import MODELS, training_graph

GROWING = {"inputs apart": 2, "loops in a loop": 0, "both ways in one loop": 0, "any order": 0}
"""Models with an argument and a result more for every step; and some that are rolled otherwise where steps are few."""


def rolled(graph: Graph) -> Graph:
    """The graph after roll."""
    return run_pipeline(graph, until="checkpoint", check=True)


def arguments(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        rng.standard_normal(node.shape).astype(np.float32) if node.dtype.is_float else rng.integers(1, 9, node.shape)
        for node in graph.inputs
    ]


def assert_same_values(graph: Graph, changed: Graph, tolerance: float) -> None:
    expected, _ = evaluate(graph, arguments(graph))
    found, _ = evaluate(changed, arguments(graph))
    for name, value in expected.items():
        scale = float(np.max(np.abs(value), initial=1e-3))
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_rolled_models_keep_their_values(name: str) -> None:
    graph = training_graph(name, 9)
    changed = rolled(graph)
    assert any(node.op.name == "loop" for node in changed.nodes)
    # Bit for bit but for sums over a transposed stack, which may run in another order.
    assert_same_values(graph, changed, 3e-6)
    assert_same_values(graph, Unroll().run(changed), 3e-6)
    assert_same_values(graph, run_pipeline(graph, check=True), 3e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in GROWING])
def test_what_is_left_over_does_not_grow(name: str) -> None:
    few, many = (len(rolled(training_graph(name, steps))) for steps in (16, 64))
    assert few == many


@pytest.mark.parametrize("name", GROWING)
def test_what_is_left_over_of_the_others(name: str) -> None:
    few, many = (len(rolled(training_graph(name, steps))) for steps in (40, 72))
    assert many == few + 32 * GROWING[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in GROWING])
def test_what_is_left_over_of_many_steps(name: str) -> None:
    few, many = (len(rolled(training_graph(name, steps))) for steps in (16, 256))
    assert few == many


@pytest.mark.parametrize("order", ["breadth first", "random"])
@pytest.mark.parametrize("name", ["bidirectional", "stacked layers", "encoder-decoder"])
def test_other_orders_of_the_nodes(name: str, order: str) -> None:
    """Breadth first, both directions of a bidirectional layer run in step; at random, nothing is periodic."""
    rng = np.random.default_rng(5)
    sizes = []
    for steps in (18, 34):
        graph = reordered(training_graph(name, steps), (lambda _: 0.0) if order != "random" else lambda _: rng.random())
        changed = rolled(graph)
        sizes.append(len(changed))
        assert sum(node.op.name == "loop" for node in changed.nodes) >= 2
    assert_same_values(graph, changed, 3e-6)
    # (A single node may stand in a loop in one and beside it in the other.)
    assert abs(sizes[0] - sizes[1]) <= 4


def test_layers_with_weights_of_their_own_are_no_loop() -> None:
    """It would copy all weights side by side at every call."""
    b = Builder()
    from graphc.ir.state import State
    from graphc.ir.types import float32, tensor_type

    x = y = b.input("x", tensor_type(float32, (2, 6)))
    for layer in range(20):
        w = b.state(State(f"w{layer}", tensor_type(float32, (6, 6)), np.eye(6, dtype=np.float32)))
        y = b.op("tanh", b.op("sin", b.op("matmul", y, w)))
    graph = Graph.make("f", [x], [("y", y)], builder=b)
    assert Roll().run(graph) is graph


def streams(count: int) -> Graph:
    """``count`` steps of a cell with two random draws each, whose sum is given out too."""
    import graphc as G

    with G.graph():
        x, h, drawn = G.input("x", (count, 3, 4)), G.zeros((3, 4)), []
        u = G.parameter("u", np.eye(4, dtype=np.float32))
        for t in range(count):
            keep = (G.random_uniform((3, 4)) < 0.5).astype("float32")
            noise = G.random_uniform((3, 4), -1.0, 1.0)
            drawn.append(keep + noise)
            h = G.tanh(x[t] + (h * keep) @ u + noise)
        return G.Model(run={"h": h, "drawn": G.stack(drawn)}).entries["run"]


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_stream_a_step_draws_the_same_bits(backend: str) -> None:
    graph = streams(11)
    changed = rolled(graph)
    loop = next(node for node in changed.nodes if node.op.name == "loop")
    assert loop.attrs["trips"] == 11
    expected, _ = evaluate(graph, arguments(graph))
    found, _ = evaluate(changed, arguments(graph))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    model = compile_model(Module("model", {"run": graph}), backend=backend)
    np.testing.assert_array_equal(model.run(*arguments(graph))["drawn"], expected["drawn"])


@pytest.mark.parametrize("name", ["dropout", "windows", "bidirectional"])
def test_golden_texts(golden: Callable[[str, str], None], name: str) -> None:
    text = print_graph(rolled(training_graph(name, 6)))
    golden(f"passes/roll-{name}.gir", text)


def loops_of(graph: Graph) -> Sequence[Node]:
    return [node for node in graph.nodes if node.op.name == "loop"]


def test_numbers_that_differ_are_a_sequence() -> None:
    loop = loops_of(rolled(training_graph("numbers", 12)))[0]
    constants = [node for node in loop.inputs if node.op.name == "constant" and node.shape == (11,)]
    assert len(constants) == 1
    np.testing.assert_allclose(constants[0].attrs["value"].array, [1 - 0.5 / (t + 2) for t in range(1, 12)], rtol=1e-6)
