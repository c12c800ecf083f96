"""split and merge: cells written with a product a gate, or on [x, h], get the products of a library's cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import graphc as G
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify
from graphc.passes.merge import Merge
from graphc.passes.pipeline import run_pipeline
from graphc.passes.split import Split

T, B, F, H = 12, 3, 5, 4

Cell = Callable[[G.Tensor, Sequence[G.Tensor]], list[G.Tensor]]
Weights = dict[str, G.Tensor]


def weights(*names: str, rows: int, columns: int = H) -> Weights:
    """Parameters whose values depend on their names."""
    made = {}
    for name in names:
        values = np.random.default_rng([ord(letter) for letter in name]).standard_normal((rows, columns))
        made[name] = G.parameter(name, 0.3 * values, dtype="float64")
    return made


def lstm(z: dict[str, G.Tensor], c: G.Tensor) -> list[G.Tensor]:
    c = G.sigmoid(z["f"]) * c + G.sigmoid(z["i"]) * G.tanh(z["g"])
    return [G.sigmoid(z["o"]) * G.tanh(c), c]


def gate_by_gate() -> tuple[Cell, Weights]:
    """LSTM with eight matrices."""
    w, u = weights("wi", "wf", "wg", "wo", rows=F), weights("ui", "uf", "ug", "uo", rows=H)
    return lambda x, s: lstm({g: x @ w["w" + g] + s[0] @ u["u" + g] for g in "ifgo"}, s[1]), w | u


def on_both() -> tuple[Cell, Weights]:
    """LSTM on [x, h], a matrix a gate."""
    w = weights("i", "f", "g", "o", rows=F + H)
    return lambda x, s: lstm({g: G.concat([x, s[0]], axis=1) @ w[g] for g in "ifgo"}, s[1]), w


def gated_twice() -> tuple[Cell, Weights]:
    """Minimal gated unit: the second product reads what the first one has gated."""
    w = weights("forget", "candidate", rows=F + H)

    def cell(x: G.Tensor, states: Sequence[G.Tensor]) -> list[G.Tensor]:
        (h,) = states
        gate = G.sigmoid(G.concat([x, h], axis=1) @ w["forget"])
        new = G.tanh(G.concat([x, gate * h], axis=1) @ w["candidate"])
        return [(1 - gate) * h + gate * new]

    return cell, w


def between() -> tuple[Cell, Weights]:
    """The state stands between two parts of the input, and the bias is a row of the matrix."""
    w = weights("w", rows=F + H + 1)

    def cell(x: G.Tensor, states: Sequence[G.Tensor]) -> list[G.Tensor]:
        parts = [x[:, :2], states[0], x[:, 2:], G.ones((B, 1), dtype="float64")]
        return [G.tanh(G.concat(parts, axis=1) @ w["w"])]

    return cell, w


CELLS: dict[str, tuple[Callable[[], tuple[Cell, Weights]], int]] = {
    "gate by gate": (gate_by_gate, 2),
    "on both": (on_both, 2),
    "gated twice": (gated_twice, 1),
    "between": (between, 1),
}


def graphs(name: str, steps: int = T, every_step: bool = False, of_input: bool = False) -> tuple[Graph, Graph]:
    """Forward, and the gradient by every weight (and by the input)."""
    make, count = CELLS[name]
    cell, by = make()
    x = G.input("x", (steps, B, F), dtype="float64")
    states = [G.zeros((B, H), dtype="float64")] * count
    outputs = []
    for step in range(steps):
        states = cell(x[step], states)
        outputs.append(states[0])
    result = G.stack(outputs) if every_step else states[0]
    slopes = G.grad(G.sum(result * result), by | ({"x": x} if of_input else {}))
    model = G.Model(forward=result, gradient={f"d_{key}": slope for key, slope in slopes.items()})
    return model.module.entry("forward"), model.module.entry("gradient")


def values(graph: Graph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    found, _ = evaluate(graph, [random.standard_normal(node.shape) for node in graph.inputs])
    return found


def products(graph: Graph) -> Counter[tuple[int, int, int, int]]:
    """(trips, rows, columns, terms) of each product, of trips 1 where it is in no loop."""
    found: Counter[tuple[int, int, int, int]] = Counter()
    pending = [(graph, 1)]
    while pending:
        region, trips = pending.pop()
        for node in region.nodes:
            if node.op.name == "matmul":
                found[trips, int(node.shape[0]), int(node.shape[1]), int(node.inputs[0].shape[1])] += 1
            elif node.op.name in ("loop", "fused"):
                pending.append((node.attrs["body"], trips * node.attrs.get("trips", 1)))
    return found


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("of_input", [False, True])
def test_the_meaning_stays(name: str, every_step: bool, of_input: bool) -> None:
    for graph in graphs(name, every_step=every_step, of_input=of_input):
        expected = values(graph)
        rolled = run_pipeline(graph, until="split")
        split = Split().run(rolled)
        merged = Merge().run(split)
        assert merged is not rolled
        for changed in (split, Merge().run(rolled), merged, Split().run(merged), run_pipeline(graph)):
            verify(changed)
            for key, value in values(changed).items():
                np.testing.assert_allclose(value, expected[key], rtol=1e-12, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", ["gate by gate", "on both"])
def test_four_gates_are_one_product_a_step_and_one_outside(name: str) -> None:
    forward, _ = graphs(name)
    assert products(run_pipeline(forward)) == {(1, T * B, 4 * H, F): 1, (T, B, 4 * H, H): 1}


def test_two_gates_of_which_one_reads_the_other() -> None:
    """What depends on x alone leaves the loop as one product; the two others cannot be one."""
    forward, _ = graphs("gated twice")
    assert products(run_pipeline(forward)) == {(1, T * B, 2 * H, F): 1, (T, B, H, H): 2}


def test_gradients_by_the_gates_are_one_product_a_step() -> None:
    _, gradient = graphs("gate by gate")
    inside = {key: count for key, count in products(run_pipeline(gradient)).items() if key[0] > 1}
    back = [key for key in inside if key[0] < T]
    assert sorted(inside) == sorted([(T, B, 4 * H, H), *back])
    assert back == [(T - 2, B, H, 4 * H)], "of the first and last steps, which stand outside, no more is asked"


@pytest.mark.parametrize("of_input", [False, True])
def test_the_gradient_by_the_state_is_computed_without_that_by_the_input(of_input: bool) -> None:
    _, gradient = graphs("on both", of_input=of_input)
    inside = [key for key in products(run_pipeline(gradient, until="accumulate")) if 1 < key[0] < T]
    columns = {key[2] for key in inside if key[1] == B}
    assert columns == ({H, F} if of_input else {H})


def test_short_loops_and_products_alone_are_left_alone() -> None:
    forward, _ = graphs("gate by gate", steps=6)
    rolled = run_pipeline(forward, until="split")
    assert Merge().run(rolled) is rolled
    assert Merge(minimum_trips=6).run(rolled) is not rolled
    x = G.input("x", (T, B, H), dtype="float64")
    u = weights("alone", rows=H)["alone"]
    h = G.zeros((B, H), dtype="float64")
    for step in range(T):
        h = G.tanh(x[step] + h @ u)
    alone = run_pipeline(G.Model(forward=h).module.entry("forward"), until="split")
    assert Split().run(alone) is alone and Merge().run(alone) is alone


def test_a_long_product_is_not_merged_into_a_sum() -> None:
    """Its operand would be copied beside the other one at every step."""
    wide = 512
    x = G.input("x", (T, B, wide))
    u, v = G.parameter("u", np.full((wide, H), 1e-3), dtype="float32"), G.parameter("v", np.eye(H), dtype="float32")
    back = G.parameter("back", np.full((H, wide), 1e-3), dtype="float32")
    h = G.zeros((B, H))
    for step in range(T):
        h = G.tanh(G.tanh(x[step] + h @ back) @ u + h @ v)
    forward = run_pipeline(G.Model(forward=h).module.entry("forward"))
    inside = [key for key in products(forward) if key[0] > 1]
    assert sorted(key[3] for key in inside) == [H, wide], "no product has the terms of both"


def test_transposed_matrices_are_put_together_as_they_lie() -> None:
    _, gradient = graphs("gate by gate")
    graph = run_pipeline(gradient)
    joined = [node for node in graph.nodes if node.op.name == "concat"]
    assert joined and not any(operand.op.name == "transpose" for node in joined for operand in node.inputs)


def test_a_product_that_is_wanted_itself_is_not_lost_in_a_sum() -> None:
    """h @ a is an output of every step, and a term of the next state; the third term is broadcast."""
    x = G.input("x", (T, B, H), dtype="float64")
    w = weights("a", "b", "c", rows=H)
    h = k = G.zeros((B, H), dtype="float64")
    wanted = []
    for step in range(T):
        first = h @ w["a"]
        wanted.append(first)
        h, k = G.tanh(first + k @ w["b"] + (h * k) @ w["c"] + x[step]), G.tanh(k + h)
    graph = G.Model(forward={"h": h, "first": G.stack(wanted)}).module.entry("forward")
    expected = values(graph)
    merged = Merge().run(run_pipeline(graph, until="split"))
    inside = [key[1:] for key in products(merged) if key[0] > 1]
    assert sorted(inside) == [(B, H, H), (B, H, 2 * H)]
    for changed in (merged, run_pipeline(graph)):
        for key, value in values(changed).items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-12, atol=1e-13)


def test_a_merged_product_knows_the_lines_of_all() -> None:
    """So that ``graphc profile`` says where its time belongs."""
    with G.graph():
        x, h = G.input("x", (T, B, F), "float64"), G.zeros((B, H), dtype="float64")
        w = weights("a", "b", rows=H)
        for step in range(T):
            first = h @ w["a"] + x[step, :, :H]
            second = h @ w["b"]
            h = G.tanh(first) * G.sigmoid(second)
        graph = run_pipeline(G.Model(f=h).module.entries["f"])
    (loop,) = (node for node in graph.nodes if node.op.name == "loop")
    body = loop.attrs["body"]
    (product,) = (node for node in body.nodes if node.op.name == "matmul")
    lines = [place.line for place in body.note(product).locations]
    assert len(lines) == 2 and lines[1] == lines[0] + 1
