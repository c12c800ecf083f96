"""scatter: rows that are added to zeros go where they belong, and no dense tensor is made for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify
from graphc.passes.pipeline import run_pipeline
from graphc.passes.scatter import Scatter

WORDS, WIDTH = 50, 4


def before(model: G.Model, entry: str) -> Graph:
    return run_pipeline(model.module.entries[entry], until="scatter")


def bases(graph: Graph) -> list[str]:
    """The ops of what is scattered into."""
    found = []
    for node in graph.nodes:
        if node.op.name == "loop":
            found += bases(node.attrs["body"])
        elif node.op.name.startswith("scatter_add"):
            base = node.inputs[0]
            found.append(base.inputs[0].op.name if base.op.name == "broadcast_to" else base.op.name)
    return found


def lookup(optimizer: Any, *, twice: bool = False) -> G.Model:
    """Rows of a table, fitted; some of them are read more than once."""
    rng = np.random.default_rng(0)
    with G.graph():
        ids, y = G.input("ids", (3, 5), "int64"), G.input("y", (3, 5, WIDTH), "float64")
        table = G.parameter("table", rng.normal(size=(WORDS, WIDTH)), dtype="float64")
        found = G.take(table, ids, axis=0)
        if twice:
            found = found * G.take(table, ids[:, ::-1], axis=0)
        return G.Model(train=optimizer.minimize(((found - y) ** 2).mean()))


def check(model: G.Model, entry: str, given: list[Any]) -> Graph:
    graph = before(model, entry)
    changed = Scatter().run(graph)
    verify(changed)
    expected, found = evaluate(graph, given), evaluate(changed, given)
    for wanted, made in zip(expected, found, strict=True):
        for name, value in wanted.items():
            np.testing.assert_allclose(made[name], value, rtol=1e-12, atol=1e-13, err_msg=name)
    return changed


def words(shape: tuple[int, ...] = (3, 5)) -> Any:
    return np.random.default_rng(1).integers(0, 9, shape)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "into"),
    [
        (lambda: optim.SGD(0.5), "state"),
        (lambda: optim.SGD(0.5, momentum=0.9), "multiply"),
        (lambda: optim.Adam(0.5), "constant"),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_tables(optimizer: Callable[[], Any], into: str, twice: bool) -> None:
    """Momentum decays every row; Adam reads the gradient twice, which therefore is made."""
    changed = check(lookup(optimizer(), twice=twice), "train", [words(), np.ones((3, 5, WIDTH))])
    found = bases(changed)
    assert into in found
    assert ("constant" in found) is (into == "constant")


def test_a_step_touches_only_the_rows_that_it_reads() -> None:
    with G.graph():
        ids = G.input("ids", (8,), "int64")
        table = G.parameter("table", np.zeros((200_000, 16), "float32"))
        model = G.compile(G.Model(train=optim.SGD(1.0).minimize((G.take(table, ids, axis=0) - 1.0).sum())))
    assert model.build.arena_bytes < 64 * 1024
    model.train(np.array([5, 5, 7, 199_999, 5, 7, 0, 1]))
    rows = model.parameters["table"]
    assert {row: -rows[row, 0] for row in np.flatnonzero(rows[:, 0])} == {0: 1, 1: 1, 5: 3, 7: 2, 199_999: 1}


def test_cross_entropy() -> None:
    with G.graph():
        x, y = G.input("x", (6, 9), "float64"), G.input("y", (6,), "int64")
        loss = nn.losses.sparse_categorical_crossentropy(y, x, from_logits=True).mean()
        model = G.Model(f=G.grad(loss, x))
    changed = check(model, "f", [np.random.default_rng(0).normal(size=(6, 9)), np.arange(6)])
    assert bases(changed) == ["multiply"]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_sum_over_what_was_scattered_is_that_of_the_rows(count: int, keepdims: bool) -> None:
    with G.graph():
        i, rows, x = (
            G.input("i", (6, count), "int64"),
            G.input("rows", (6, count), "float64"),
            G.input("x", (6, 9), "float64"),
        )
        dense = G.grad(G.sum(G.take_along_axis(x, i, 1) * rows), x)
        total = G.sum(dense, axis=1, keepdims=keepdims)
        shown, alone = G.Model(f=(total * total, dense)), G.Model(f=total * total)
        other_axis = G.Model(f=(G.sum(dense, axis=0), dense))
    rng = np.random.default_rng(0)
    changed = check(shown, "f", [rng.integers(0, 9, (6, count)), rng.normal(size=(6, count))])
    summed = [node.inputs[0].op.name for node in changed.nodes if node.op.name == "sum"]
    assert summed == ["input"] * (count > 1)
    for model in (alone, other_axis):
        graph = before(model, "f")
        assert Scatter().run(graph) is graph


def test_indices_are_checked_where_only_a_sum_reads_what_was_scattered() -> None:
    with G.graph():
        i, rows, x = G.input("i", (4, 1), "int64"), G.input("rows", (4, 1)), G.input("x", (4, 6))
        gradient = G.grad(G.sum(G.take_along_axis(x, i, 1) * rows), x)
        model = G.compile(G.Model(f=G.sum(gradient, axis=1)))
    np.testing.assert_array_equal(model.f(np.full((4, 1), 5), np.ones((4, 1), np.float32)), np.ones(4))
    with pytest.raises(G.GraphcIndexError, match="E456"):
        model.f(np.full((4, 1), 6), np.ones((4, 1), np.float32))


def test_what_others_read_of_what_is_added_to_stays_as_it_is() -> None:
    """By way of a view, of a part of it, of the state, or of the next step: none of them sees the sums."""
    with G.graph():
        x, i, s = G.input("x", (4, 6)), G.input("i", (3,), "int64"), G.state("s", np.zeros((4, 6), "float32"))
        h, rows = G.tanh(x), G.ones((3, 6))
        joined = G.concat([h, G.exp(x)], 0)
        state = G.tanh(x + s)
        carry = h
        for _ in range(5):
            wide = G.scatter_add(G.reshape(carry, (24,)), i, G.ones((3,)))
            carry = G.tanh(carry * 0.5 + x)
        model = G.Model(
            view=(G.scatter_add(G.reshape(h, (24,)), i, G.ones((3,))), h @ h.T),
            part=G.scatter_add(joined, i, h[:3]),
            padded=(G.scatter_add(G.pad(h, ((1, 1), (0, 0))), i, rows), h @ h.T),
            state=G.Step(G.scatter_add(state, i, rows), [(s, state)]),
            steps=(wide, carry),
        )
    given = np.linspace(-1, 1, 24, dtype="float32").reshape(4, 6), np.array([1, 2, 1])
    native, plain = G.compile(model), G.compile(model, backend="numpy")
    for entry in ("view", "part", "padded", "state", "state", "steps"):
        found, expected = getattr(native, entry)(*given), getattr(plain, entry)(*given)
        pairs = (
            [(found, expected)] if not isinstance(found, dict) else [(found[name], expected[name]) for name in found]
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=entry)


def test_what_is_added_to_is_computed_where_the_sums_go() -> None:
    with G.graph():
        x, i = G.input("x", (6, 90)), G.input("i", (6, 1), "int64")
        build = G.compile(G.Model(f=G.tanh(x) + G.grad(G.sum(G.take_along_axis(x, i, 1)), x))).build
    assert build.arena_bytes == 0


def test_a_table_that_every_step_of_a_loop_reads() -> None:
    """The gradient is added up row by row, in the loop or behind it, and never a table a step."""
    with G.graph():
        ids = G.input("ids", (12, 3), "int64")
        table = G.parameter("table", np.ones((WORDS, WIDTH)), dtype="float64")
        u = G.parameter("u", np.eye(WIDTH), dtype="float64")
        h = G.zeros((3, WIDTH), dtype="float64")
        for step in range(12):
            h = G.tanh(G.take(table, ids[step], axis=0) + h @ u)
        model = G.Model(train=optim.SGD(0.1).minimize((h * h).sum()))
    changed = check(model, "train", [words((12, 3))])
    (loop,) = (node for node in changed.nodes if node.op.name == "loop" and "scatter_add" in str(node.attrs["body"]))
    (scatter,) = (node for node in loop.attrs["body"].nodes if node.op.name == "scatter_add")
    assert scatter.inputs[0].op.name == "input"


def test_what_somebody_else_reads_stays() -> None:
    with G.graph():
        ids, rows, x = G.input("ids", (4,), "int64"), G.input("rows", (4, 3)), G.input("x", (8, 3))
        dense = G.scatter_add(G.zeros((8, 3)), ids, rows)
        shown = G.Model(f={"sum": x + dense, "dense": dense})
        wider = G.Model(f=G.input("z", (2, 8, 3)) - G.scatter_add(G.zeros((8, 3)), ids, rows))
        left = G.Model(f=G.scatter_add(G.zeros((8, 3)), ids, rows) - x)
        ones = G.Model(f=x - G.scatter_add(G.ones((8, 3)), ids, rows))
    for model in (shown, wider, left, ones):
        graph = before(model, "f")
        assert Scatter().run(graph) is graph
