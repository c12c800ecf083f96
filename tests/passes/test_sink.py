"""sink: products that no carry needs leave the loop behind it."""

from collections.abc import Callable

import numpy as np
import pytest

import graphc as G
import graphc.nn
import graphc.optim
from graphc.driver import lower
from graphc.frontends.dsl.tensor import Tensor
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.verify import verify
from graphc.passes.pipeline import run_pipeline
from graphc.passes.sink import Sink

STEPS, BATCH, HIDDEN, FEATURES = 12, 3, 4, 5


def weight(name: str, *shape: int) -> Tensor:
    rng = np.random.default_rng(sum(map(ord, name)))
    return G.parameter(name, (rng.standard_normal(shape) * 0.4).astype(np.float32))


def unrolled(output: Callable[[Tensor, Tensor], Tensor], feeds_back: bool = False) -> Graph:
    """y[t] = output(h[t], x[t]) of a plain recurrent layer; with ``feeds_back`` the next step reads y[t]."""
    x = G.input("x", (STEPS, BATCH, FEATURES))
    u, back = weight("u", HIDDEN, HIDDEN), weight("back", FEATURES, HIDDEN)
    h, y, outputs = G.zeros((BATCH, HIDDEN)), G.zeros((BATCH, FEATURES)), []
    for t in range(STEPS):
        h = G.tanh(x[t, :, :HIDDEN] + h @ u + (y @ back if feeds_back else 0.0))
        y = output(h, x[t])
        outputs.append(y)
    graph: Graph = G.Model(predict=G.stack(outputs)).module.entry("predict")
    return graph


def loop_of(graph: Graph) -> Node:
    (loop,) = (node for node in graph.nodes if node.op.name == "loop")
    return loop


def products(graph: Graph) -> list[tuple[int, ...]]:
    """Shapes of the results of a graph's own products."""
    return [node.shape for node in graph.nodes if node.op.name == "matmul"]


def sunk(graph: Graph, **options: int) -> tuple[Graph, Graph]:
    """The rolled graph and what ``sink`` makes of it, which means the same."""
    rolled = run_pipeline(graph, until="sink")
    result = Sink(**options).run(rolled)
    verify(result)
    x = np.random.default_rng(3).standard_normal((STEPS, BATCH, FEATURES)).astype(np.float32)
    for changed in (result, run_pipeline(graph, check=True)):
        (expected,), (found,) = (evaluate(g, [x])[0].values() for g in (graph, changed))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    return rolled, result


def test_products_of_all_steps_become_one() -> None:
    w = weight("w", HIDDEN, FEATURES)
    _, result = sunk(unrolled(lambda h, _x: h @ w))
    assert products(loop_of(result).attrs["body"]) == [(BATCH, HIDDEN)], "only h @ u stays"
    assert products(result) == [(STEPS * BATCH, FEATURES)]


def test_pointwise_work_and_sequences_follow_the_product() -> None:
    w, b, w2 = weight("w", HIDDEN, FEATURES), weight("b", FEATURES), weight("w2", FEATURES, FEATURES)
    _, result = sunk(unrolled(lambda h, x: G.relu(h @ w + b) @ w2 * x))
    assert products(loop_of(result).attrs["body"]) == [(BATCH, HIDDEN)]
    assert products(result) == [(STEPS * BATCH, FEATURES)] * 2


def test_what_the_next_step_needs_stays() -> None:
    w = weight("w", HIDDEN, FEATURES)
    rolled, result = sunk(unrolled(lambda h, _x: h @ w, feeds_back=True))
    assert result is rolled


def test_pointwise_work_alone_stays() -> None:
    rolled, result = sunk(unrolled(lambda h, x: h * x[:, :HIDDEN]))
    assert result is rolled


def test_a_product_of_two_things_that_change_stays() -> None:
    rolled, result = sunk(unrolled(lambda h, x: G.transpose(h) @ x))
    assert result is rolled


def test_memory_limit() -> None:
    w = weight("w", HIDDEN, FEATURES)
    rolled, result = sunk(unrolled(lambda h, _x: h @ w), byte_limit=100)
    assert result is rolled


def test_a_stacked_view_of_a_sequence_is_a_view_of_the_whole() -> None:
    w, u = weight("w", HIDDEN, FEATURES), weight("u", HIDDEN, HIDDEN)
    x = G.input("x", (STEPS, BATCH, FEATURES))
    h, outputs, views = G.zeros((BATCH, HIDDEN)), [], []
    for t in range(STEPS):
        h = G.tanh(x[t, :, :HIDDEN] + h @ u)
        outputs.append(h @ w)
        views.append(G.transpose(x[t]))
    graph = G.Model(predict=G.concat([G.stack(outputs), G.transpose(G.stack(views), (0, 2, 1))], axis=1))
    _, result = sunk(graph.module.entry("predict"))
    body = loop_of(result).attrs["body"]
    assert all(node.op.name != "transpose" for node in body.nodes)


def test_a_stacked_part_of_what_is_stacked_is_a_part_of_the_whole() -> None:
    """The gates of a cell, which its gradient reads one by one."""
    x, u = G.input("x", (STEPS, BATCH, FEATURES)), weight("u", HIDDEN, HIDDEN)
    h, gates, halves = G.zeros((BATCH, HIDDEN)), [], []
    for t in range(STEPS):
        h = G.tanh(x[t, :, :HIDDEN] + h @ u)
        gates.append(h)
        halves.append(h[:, 1:3])
    graph = G.Model(predict=G.concat([G.stack(gates), G.stack(halves)], axis=2)).module.entry("predict")
    rolled, result = sunk(graph)
    assert len(loop_of(rolled).attrs["body"].outputs) == len(loop_of(result).attrs["body"].outputs) + 1


@pytest.mark.parametrize("train", [False, True])
def test_both_directions_have_single_products(train: bool) -> None:
    """The backward loops of a bidirectional layer: no product with the inputs' width is left in any loop."""
    x = G.input("x", (STEPS, BATCH, 7))
    layer = G.nn.Bidirectional(G.nn.LSTM(HIDDEN, time_major=True))
    y = G.sum(layer(x) ** 2)
    model = G.Model(predict=G.grad(y, [x]) if train else y)
    graph = run_pipeline(model.module.entry("predict"), until="fuse", check=True)
    bodies = [node.attrs["body"] for node in graph.nodes if node.op.name == "loop"]
    assert len(bodies) == (4 if train else 2)
    inside = [node for body in bodies for node in body.nodes if node.op.name == "matmul"]
    assert len(inside) == len(bodies) and all(7 not in node.shape for node in inside)


@pytest.mark.parametrize("layers", [1, 2])
def test_nothing_is_copied_before_the_products_of_all_steps(layers: int) -> None:
    """Backward loops read states from their end: their products take the steps in the order of the states, and what
    the loops stack is written in that order."""
    h = G.input("x", (STEPS, BATCH, FEATURES))
    for _ in range(layers):
        h = G.nn.LSTM(HIDDEN, return_sequences=True, time_major=True)(h)
    module = G.Model(train=G.optim.SGD(0.1).minimize(G.mean(G.square(h)))).module
    names = [kernel.name for kernel in lower(module).kernels]
    assert sum(name.startswith("matmul") for name in names) >= 4 * layers
    assert not [name for name in names if name.startswith("copy")]


def test_of_two_directions_each_reads_as_most_of_its_sequences_lie() -> None:
    """Only the input, which one of the layers reads the other way round, is copied before a product."""
    x = G.input("x", (STEPS, BATCH, FEATURES))
    layer = G.nn.LSTM(HIDDEN, return_sequences=True, time_major=True, go_backwards=True)
    module = G.Model(train=G.optim.SGD(0.1).minimize(G.mean(G.square(layer(x))))).module
    sizes = [kernel.extents for kernel in lower(module).kernels if kernel.name.startswith("copy")]
    assert all(extents[-1] <= BATCH * FEATURES for extents in sizes) and len(sizes) <= 1
