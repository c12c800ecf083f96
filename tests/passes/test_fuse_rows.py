"""fuse, its last step: groups that walk the same rows are one kernel, with several reductions of a row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as G
from graphc.autodiff.reverse import vjp
from graphc.driver import schedule
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.types import float32, tensor_type
from graphc.passes.fuse import Fuse
from tests.kernel.checks import check_graph
from tests.passes.test_fuse import assert_equal_meaning, fused

Body = Callable[[Builder, Node, Node], Node]


def graph_of(body: Body, shape: tuple[int, ...] = (6, 80), other: tuple[int, ...] = (80,)) -> Graph:
    b = Builder()
    x, y = b.input("x", tensor_type(float32, shape)), b.input("y", tensor_type(float32, other))
    return Graph.make("f", [x, y], [("z", body(b, x, y))], builder=b)


def mean(b: Builder, x: Node) -> Node:
    return b.op("multiply", b.op("sum", x, axes=(1,), keepdims=True), b.full_like(x, 1 / 80))


def layer_norm(b: Builder, x: Node, y: Node) -> Node:
    centred = b.op("subtract", x, mean(b, x))
    deviation = b.op("sqrt", mean(b, b.op("square", centred)))
    return b.op("multiply", b.op("divide", centred, deviation), y)


def softmax(b: Builder, x: Node, y: Node) -> Node:
    e = b.op("exp", b.op("subtract", x, b.op("max", x, axes=(1,), keepdims=True)))
    return b.op("divide", e, b.op("sum", e, axes=(1,), keepdims=True))


def groups(graph: Graph) -> list[list[str]]:
    """The ops of each group; what came out means the same, natively lowered as well."""
    made = Fuse().run(graph)
    assert_equal_meaning(graph, made)
    check_graph(made)
    return fused(made)


def test_layer_normalization_is_one_kernel() -> None:
    (group,) = groups(graph_of(layer_norm))
    assert group == ["sum", "multiply", "subtract", "square", "sum", "multiply", "sqrt", "divide", "multiply"]


def test_softmax_is_one_kernel_with_one_exponential() -> None:
    (group,) = groups(graph_of(softmax))
    assert group.count("exp") == 1 and "divide" in group


def test_as_many_values_of_a_row_are_kept_as_fit_a_cache() -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        waves = [b.op(name, x) for name in ("sin", "cos", "tanh")]
        sums = [b.op("sum", wave, axes=(1,), keepdims=True) for wave in waves]
        parts = [b.op("divide", wave, total) for wave, total in zip(waves, sums, strict=True)]
        return b.op("add", b.op("add", parts[0], parts[1]), parts[2])

    for width, most in ((80, 3), (50_000, 0)):
        found = [group for group in groups(graph_of(body, (2, width), (width,))) if "divide" in group]
        assert max(sum(name in ("sin", "cos", "tanh") for name in group) for group in found) == most


@pytest.mark.parametrize("shape", [(6, 40), (2, 70_000)], ids=["short", "long"])
def test_rows_that_are_too_short_or_too_long_are_left_alone(shape: tuple[int, int]) -> None:
    found = groups(graph_of(layer_norm, shape, shape[1:]))
    assert all(group.count("sum") <= 1 for group in found) and len(found) > 1


def test_reductions_along_columns_are_left_alone() -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        centred = b.op("subtract", x, b.op("sum", x, axes=(0,), keepdims=True))
        return b.op("subtract", centred, b.op("sum", centred, axes=(0,), keepdims=True))

    assert all(group.count("sum") <= 1 for group in groups(graph_of(body)))


def test_what_depends_on_a_group_another_way_round_stays_apart() -> None:
    """The second reduction needs the first by way of a running sum, which is no part of any group."""

    def body(b: Builder, x: Node, y: Node) -> Node:
        centred = b.op("subtract", x, b.op("sum", x, axes=(1,), keepdims=True))
        running = b.op("cumsum", centred, axis=1, reverse=False)
        return b.op("subtract", centred, b.op("sum", b.op("multiply", running, centred), axes=(1,), keepdims=True))

    assert groups(graph_of(body)) == [["sum", "subtract"], ["multiply", "sum", "subtract"]]


def test_a_way_round_through_another_group_leaves_the_others_fused() -> None:
    """Rows, their product and its other factor would be one group, which the running sum between them needs."""
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (4, 128))), b.input("y", tensor_type(float32, (4, 1)))

    def running(value: Node) -> Node:
        return b.op("cumsum", value, axis=0, reverse=False)

    total = b.op("sum", x, axes=(1,), keepdims=True)
    factor = b.op("tanh", running(running(y)))
    rows = b.op("multiply", b.op("subtract", x, total), factor)
    other = b.op("multiply", b.op("tanh", running(total)), factor)
    graph = Graph.make("f", [x, y], [("rows", rows), ("other", other)], builder=b)
    changed = Fuse().run(graph)
    assert groups(changed)
    assert_equal_meaning(graph, changed)


def test_a_long_chain_is_not_computed_again() -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        chain = x
        for _ in range(25):
            chain = b.op("add", b.op("square", chain), y)
        return b.op("subtract", chain, b.op("sum", chain, axes=(1,), keepdims=True))

    assert sorted(group.count("sum") for group in groups(graph_of(body))) == [0, 1]


def cell(steps: int, width: int) -> G.Model:
    """A recurrent cell with layer normalization, and its training."""
    rng = np.random.default_rng(7)
    x = G.input("x", (steps, 5, width))
    u = G.parameter("u", 0.1 * rng.standard_normal((width, width)), dtype="float32")
    gamma = G.parameter("gamma", rng.uniform(0.5, 1.5, width), dtype="float32")
    h = G.zeros((5, width))
    for t in range(steps):
        z = x[t] + h @ u
        centred = z - G.mean(z, axis=-1, keepdims=True)
        h = G.tanh(centred / G.sqrt(G.mean(G.square(centred), axis=-1, keepdims=True) + 1e-3) * gamma)
    loss = G.mean(G.square(h))
    return G.Model(loss=loss, gradient=tuple(G.grad(loss, [u, gamma])))


def test_forward_and_backward_of_a_cell_walk_their_rows_once() -> None:
    """In each loop one kernel has all reductions of a row: two of the forward step, two of its derivative."""
    model = cell(10, 96)
    graph = schedule(model.module).entry("gradient")
    loops = [node.attrs["body"] for node in graph.nodes if node.op.name == "loop"]
    assert len(loops) == 2
    for body in loops:
        counts = [
            sum(inner.op.name == "sum" and inner.attrs["axes"] == (1,) for inner in node.attrs["body"].nodes)
            for node in body.nodes
            if node.op.name == "fused"
        ]
        assert sum(counts) == max(counts) == 2


def test_the_gradient_by_a_denominator_divides_once_a_row() -> None:
    b = Builder()
    x, s = b.input("x", tensor_type(float32, (6, 80))), b.input("s", tensor_type(float32, (6, 1)))
    quotient = b.op("divide", x, s)
    (by_x, by_s) = vjp(b, [quotient], [b.op("sin", quotient)], [x, s])
    graph = Graph.make("f", [x, s], [("by_x", by_x), ("by_s", by_s)], builder=b)
    assert [node.shape for node in graph.nodes if node.op.name == "divide"] == [(6, 80), (6, 80), (6, 1)]
    values = np.random.default_rng(2).uniform(0.5, 1.5, (6, 80)), np.arange(1.0, 7.0)[:, None]
    found, _ = evaluate(graph, [value.astype(np.float32) for value in values])
    q = values[0] / values[1]
    np.testing.assert_allclose(found["by_s"], -(np.sin(q) * q / values[1]).sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("width", [64, 70, 96, 128])
def test_native_code_agrees_with_the_reference(width: int) -> None:
    model = cell(9, width)
    native, reference = G.compile(model), G.compile(model, backend="numpy")
    x = np.random.default_rng(1).standard_normal((9, 5, width)).astype(np.float32)
    np.testing.assert_allclose(native.loss(x), reference.loss(x), rtol=2e-5)
    got, expected = native.gradient(x), reference.gradient(x)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=2e-5 * float(np.abs(value).max()))
