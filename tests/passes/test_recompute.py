"""recompute: values that cost less to compute again than to load are not stored; the results are the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

import graphc as G
import graphc.passes.pipeline as pipeline
from graphc import optim
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import float32, tensor_type
from graphc.ir.verify import verify
from graphc.passes.pipeline import run_pipeline
from graphc.passes.recompute import Recompute
from tests.differential.test_random_rows import SHAPES, random_rows

ROWS, CHANNELS = 24, 16
ALL = Recompute(smallest=1)
Write = Callable[..., dict[str, G.Tensor]]


def recomputed(model: G.Model, smallest: int = ROWS * CHANNELS * 4) -> tuple[Graph, Graph]:
    """A graph before and after the pass, which gives the same bits."""
    graph = run_pipeline(next(iter(model.module.entries.values())), until="recompute")
    changed = Recompute(smallest=smallest).run(graph)
    verify(changed)
    rng = np.random.default_rng(0)
    given = [
        rng.normal(size=node.tensor.static_shape).astype("float32")
        if node.dtype.is_float
        else rng.integers(0, 2, node.tensor.static_shape)
        for node in graph.inputs
    ]
    for wanted, made in zip(evaluate(graph, given), evaluate(changed, given), strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(made[name], value, err_msg=str(name))
    return graph, changed


def stored(graph: Graph, shape: Sequence[int]) -> list[str]:
    """The ops of the values of one shape that kernels store, in order."""
    found: list[str] = []
    for node in graph.nodes:
        if node.op.name == "fused":
            found += [value.op.name for _, value in node.attrs["body"].outputs if value.shape == tuple(shape)]
        elif node.op.kind is not OpKind.SOURCE and node.op.name != "result" and node.shape == tuple(shape):
            found.append(node.op.name)
    return found


def kernels(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op.name == "fused"]


def normalized(axes: int | tuple[int, ...]) -> tuple[Graph, Graph]:
    """A training step through a normalization, whose gradient needs what it centred and what it scaled."""
    shape = (ROWS, CHANNELS)
    x, target = G.input("x", shape), G.input("target", shape)
    w = G.parameter("w", np.eye(CHANNELS, dtype="float32"))
    gamma, beta = (
        G.parameter(name, np.full(CHANNELS, value, "float32")) for name, value in (("gamma", 1), ("beta", 0))
    )
    h = x @ w
    centred = h - G.mean(h, axis=axes, keepdims=True)
    scale = G.sqrt(G.mean(G.square(centred), axis=axes, keepdims=True) + 1e-5)
    loss = G.mean(G.square(G.relu(centred / scale * gamma + beta) - target))
    return recomputed(G.Model(train=optim.SGD(0.1).minimize(loss)))


def test_batch_normalization_stores_the_product_and_its_gradient() -> None:
    before, after = normalized(0)
    kept = ["matmul", "subtract", "divide", "subtract", "select", "divide", "multiply", "add", "add"]
    assert stored(before, (ROWS, CHANNELS)) == kept
    assert stored(after, (ROWS, CHANNELS)) == ["matmul", "select", "add", "add"]


def test_sums_that_read_the_same_arrays_are_one_kernel() -> None:
    before, after = normalized(0)

    def sums(graph: Graph) -> list[int]:
        bodies = [node.attrs["body"].nodes for node in kernels(graph)]
        return sorted(sum(node.op.name == "sum" and len(node.inputs[0].shape) == 2 for node in body) for body in bodies)

    assert max(sums(before)) == 1
    assert max(sums(after)) == 3


def test_layer_normalization_of_short_rows_stores_as_little() -> None:
    _, after = normalized(1)
    assert stored(after, (ROWS, CHANNELS)) == ["matmul", "select", "add", "add"]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda x, r: {"y": x / r, "z": G.sum(x / r, axis=0)}, id="an output"),
        pytest.param(lambda x, r: {"z": (x / r) @ G.ones((CHANNELS, 3)), "s": G.exp(x).sum(axis=0)}, id="a product"),
        pytest.param(lambda x, r: {"z": G.sum(G.tanh(x), axis=0) / (1 + G.max(G.tanh(x), axis=0))}, id="a function"),
    ],
)
def test_what_others_read_or_what_costs_more_is_left(write: Write) -> None:
    x, r = G.input("x", (ROWS, CHANNELS)), G.input("r", (ROWS, 1))
    graph, changed = recomputed(G.Model(f=write(x, r)))
    assert stored(changed, (ROWS, CHANNELS)) == stored(graph, (ROWS, CHANNELS))


def test_small_values_are_left() -> None:
    model = random_rows(np.random.default_rng(3), (70, 70))
    graph = run_pipeline(model.module.entries["f"], until="recompute")
    assert Recompute().run(graph) is graph


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_keep_their_bits(seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    shape = SHAPES[seed % len(SHAPES)]
    recomputed(random_rows(rng, shape), smallest=int(rng.choice([1, 4 * shape[0] * shape[1]])))


@pytest.mark.parametrize("seed", range(12))
def test_native_code_agrees(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([seed, 6])
    shape = SHAPES[seed % len(SHAPES)]
    model = random_rows(rng, shape)
    given = [rng.normal(size=shape).astype("float32") for _ in range(2)]
    given.append(rng.integers(0, shape[1], (shape[0], 2)))
    expected, _ = evaluate(model.module.entries["f"], given)
    steps = tuple((ALL if isinstance(step, Recompute) else step, reason) for step, reason in pipeline.PIPELINE)
    monkeypatch.setattr(pipeline, "PIPELINE", steps)
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    found = G.compile(model).f(*given)
    for name, value in expected.items():
        scale = max(1.0, float(np.abs(value).max()))
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


def test_the_most_members_of_a_kernel() -> None:
    model = random_rows(np.random.default_rng(1), (70, 70))
    graph = run_pipeline(model.module.entries["f"], until="recompute")
    changed = replace(ALL, cap=6).run(graph)
    largest = max((len(node.attrs["body"].nodes) for node in kernels(graph)), default=0)
    assert max((len(node.attrs["body"].nodes) for node in kernels(changed)), default=0) <= max(largest, 16)


def test_a_result_that_stands_behind_another_kernel() -> None:
    """Its kernel is there before, but what stands for the result is not: the sums cannot be one."""
    b = Builder()
    square = tensor_type(float32, (8, 8))
    a, x = b.input("a", square), b.input("x", square)

    def fused(names: Sequence[str], write: Callable[[Builder, list[Node]], list[Node]], *operands: Node) -> Node:
        body = Builder()
        inputs = [body.input(name, square) for name in names]
        outputs = [(f"y{index}", node) for index, node in enumerate(write(body, inputs))]
        return b.make("fused", operands, {"body": Graph.make("fused", inputs, outputs, builder=body)})

    def two(body: Builder, inputs: list[Node]) -> list[Node]:
        return [body.op("exp", inputs[0]), body.op("tanh", inputs[0])]

    def added(body: Builder, inputs: list[Node]) -> list[Node]:
        return [body.op("sum", body.op("multiply", *inputs), axes=(0,), keepdims=False)]

    both = fused(["x0"], two, a)
    first = b.make("result", [both], {"index": 0})
    one = fused(["x0", "x1"], added, x, first)
    second = b.make("result", [both], {"index": 1})
    other = fused(["x0", "x1"], added, x, second)
    outputs = [("one", one), ("other", other)]
    graph = Graph.make("g", [a, x], outputs, builder=b, order=[a, x, both, first, one, second, other])
    assert ALL.run(graph) is graph
    moved = Graph.make("g", [a, x], outputs, builder=b, order=[a, x, both, first, second, one, other])
    verify(ALL.run(moved))
    assert len(kernels(ALL.run(moved))) == 2


def test_a_mask_is_kept_rather_than_what_it_is_of() -> None:
    """A byte an element, where its source is four and nobody else reads it so late."""
    x = G.input("x", (ROWS, CHANNELS)) @ G.ones((CHANNELS, CHANNELS))
    total = G.where(x > 0.5, 1.0 + G.sum(x, axis=0, keepdims=True), 0.0)
    _, changed = recomputed(G.Model(f=total), ROWS * CHANNELS)
    assert stored(changed, (ROWS, CHANNELS)) == ["matmul", "greater", "select"]


def test_what_is_spread_over_something_larger_is_not_computed_again() -> None:
    x, v = G.input("x", (ROWS, 4 * CHANNELS)), G.input("v", (4 * CHANNELS,))
    root = G.sqrt(v @ G.ones((4 * CHANNELS, 4 * CHANNELS)))
    model = G.Model(f=G.exp(x) * root + G.sum(G.exp(x * root), axis=1, keepdims=True))
    _, changed = recomputed(model, smallest=16)
    assert "sqrt" in stored(changed, (1, 4 * CHANNELS))


def test_a_state_is_not_read_behind_its_update() -> None:
    """The square is stored: its kernel reads the state before the new value takes its place."""
    p = G.state("p", np.ones((ROWS, CHANNELS), "float32"))
    x = G.input("x", (CHANNELS, CHANNELS))
    square, following = p * p, p - G.exp(p @ x)
    sums = {"early": G.sum(square, axis=1), "late": G.sum(square * G.sum(following), axis=0)}
    _, changed = recomputed(G.Model(f=G.Step(sums, [(p, following)])))
    assert "multiply" in stored(changed, (ROWS, CHANNELS))
