"""gather: what is picked is picked before it is computed, wherever that computes and stores less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as G
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify
from graphc.passes.gather import Gather
from graphc.passes.pipeline import run_pipeline

ROWS, CLASSES = 6, 9
Write = Callable[[G.Tensor, G.Tensor, G.Tensor], G.Tensor | tuple[G.Tensor, ...]]


def gathered(write: Write, axis: int = 1, count: int = 1) -> tuple[Graph, Graph]:
    """A graph before and after the pass, which gives the same bits."""
    shape = (ROWS, count) if axis == 1 else (count, CLASSES)
    with G.graph():
        x, r = G.input("x", (ROWS, CLASSES)), G.input("r", (ROWS, 1) if axis == 1 else (CLASSES,))
        i = G.input("i", shape, "int64")
        graph = run_pipeline(G.Model(f=write(x, r, i)).module.entries["f"], until="gather")
    changed = Gather().run(graph)
    verify(changed)
    rng = np.random.default_rng(0)
    given = [
        rng.normal(size=node.tensor.static_shape).astype("float32")
        if node.dtype.is_float
        else rng.integers(0, min(ROWS, CLASSES), shape)
        for node in graph.inputs
    ]
    for wanted, made in zip(evaluate(graph, given), evaluate(changed, given), strict=True):
        for name, value in wanted.items():
            np.testing.assert_array_equal(made[name], value, err_msg=name)
    return graph, changed


def picked_from(graph: Graph) -> list[str]:
    return [node.inputs[0].op.name for node in graph.nodes if node.op.name == "take_along_axis"]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_it_goes_past_what_has_one_value_a_row(axis: int, count: int) -> None:
    _, changed = gathered(lambda x, r, i: G.take_along_axis(G.exp(x - r) * 2.0 / r, i, axis), axis, count)
    assert picked_from(changed) == ["input"]


def test_log_softmax_is_computed_where_it_is_read() -> None:
    _, changed = gathered(lambda x, r, i: G.take_along_axis(G.log_softmax(x @ G.ones((CLASSES, CLASSES))), i, 1))
    assert picked_from(changed) == ["matmul"]


def test_it_goes_as_far_as_nobody_else_reads() -> None:
    """The exponential is there anyway, and so is what it is of: neither is computed again."""

    def write(x: G.Tensor, r: G.Tensor, i: G.Tensor) -> tuple[G.Tensor, ...]:
        e = G.exp(x + G.take_along_axis(x, i, 1)[:, :1] * x)
        return G.take_along_axis(e / r, i, 1), e

    _, changed = gathered(write)
    assert sorted(picked_from(changed)) == ["exp", "input"]


def test_simple_work_on_what_is_stored_is_done_again() -> None:
    def write(x: G.Tensor, r: G.Tensor, i: G.Tensor) -> tuple[G.Tensor, ...]:
        z = x - r
        return G.take_along_axis(z * 3.0, i, 1), G.exp(z).sum(axis=1)

    _, changed = gathered(write)
    assert picked_from(changed) == ["input"]


@pytest.mark.parametrize(
    "write",
    [
        lambda x, r, i: G.take_along_axis(x * G.tanh(x), i, 1),
        lambda x, r, i: G.take_along_axis(x - x[:1], i, 1),
        lambda x, r, i: (z := G.exp(x - r), G.take_along_axis(z, i, 1)),
    ],
    ids=["two of the shape", "one that differs along the axis", "a result"],
)
def test_what_would_have_to_be_picked_twice_or_is_there_stays(write: Write) -> None:
    graph, changed = gathered(write)
    assert changed is graph


def test_as_many_as_there_are_stay() -> None:
    graph, changed = gathered(lambda x, r, i: G.take_along_axis(G.exp(x), i, 1), count=CLASSES)
    assert changed is graph
