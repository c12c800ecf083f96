"""fuse, hoist, accumulate, and the pipeline as a whole."""

import numpy as np
import pytest

from graphc.errors import GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.printer import print_graph
from graphc.ir.types import float32, tensor_type
from graphc.ir.verify import verify
from graphc.passes.accumulate import Accumulate
from graphc.passes.fuse import Fuse
from graphc.passes.hoist import Hoist
from graphc.passes.pipeline import PIPELINE, PassReport, pass_names, run_pipeline
from tests.cells import CELLS, Maker, lstm


def inputs_of(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal(n.shape).astype(n.dtype.storage) for n in graph.inputs]


def assert_equal_meaning(before: Graph, after: Graph, rtol: float = 0.0) -> None:
    verify(after)
    expected, found = (evaluate(g, inputs_of(before))[0] for g in (before, after))
    for name, value in expected.items():
        scale = np.abs(value).max() if value.size else 0.0
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=rtol * float(scale))


def fused(graph: Graph) -> list[list[str]]:
    """The ops of each fused group."""
    return [
        [n.op.name for n in node.attrs["body"].nodes if n.op.name not in ("input", "constant")]
        for node in graph.nodes
        if node.op.name == "fused"
    ]


def chain(*names: str) -> Graph:
    b = Builder()
    x = y = b.input("x", tensor_type(float32, (4, 5)))
    for name in names:
        y = b.op(name, y)
    return Graph.make("f", [x], [("y", y)], builder=b)


def test_a_pointwise_chain_is_one_kernel() -> None:
    graph = chain("tanh", "exp", "negative")
    assert fused(Fuse().run(graph)) == [["tanh", "exp", "negative"]]
    assert_equal_meaning(graph, Fuse().run(graph))


def test_groups_are_capped() -> None:
    graph = Fuse(cap=8).run(chain(*["tanh"] * 20))
    assert [len(group) for group in fused(graph)] == [8, 8, 4]


def test_prologue_reduction_and_epilogue_share_a_kernel() -> None:
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 5)))
    y = b.op("sqrt", b.op("sum", b.op("square", x), axes=(1,), keepdims=False))
    graph = Graph.make("norm", [x], [("y", y)], builder=b)
    assert fused(Fuse().run(graph)) == [["square", "sum", "sqrt"]]
    assert_equal_meaning(graph, Fuse().run(graph))


def test_a_prologue_that_others_read_stays_outside() -> None:
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 5)))
    squared = b.op("square", b.op("tanh", x))
    total = b.op("sum", squared, axes=(1,), keepdims=False)
    graph = Graph.make("f", [x], [("y", total), ("z", squared)], builder=b)
    assert fused(Fuse().run(graph)) == [["tanh", "square"]]


def test_a_reduction_computes_what_only_it_reads() -> None:
    """The mask is stored for its other reader; its cast to numbers, which would be four times as large, is not."""
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (4, 5))), b.input("y", tensor_type(float32, (4, 5)))
    mask = b.op("greater", b.op("tanh", x), y)
    count = b.op("sum", b.op("cast", mask, dtype=float32), axes=(1,), keepdims=False)
    graph = Graph.make("f", [x, y], [("count", count), ("mask", mask)], builder=b)
    assert sorted(fused(Fuse().run(graph))) == [["cast", "sum"], ["tanh", "greater"]]
    assert_equal_meaning(graph, Fuse().run(graph))


def test_a_reduction_does_not_have_its_operands_stored() -> None:
    """The tanh is read inside the group only: to split the group there would store it."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 5)))
    t = b.op("tanh", x)
    other, squared = b.op("exp", t), b.op("square", t)
    total = b.op("sum", squared, axes=(1,), keepdims=False)
    graph = Graph.make("f", [x], [("total", total), ("other", other)], builder=b)
    (group,) = fused(Fuse().run(graph))
    assert sorted(group) == ["exp", "square", "tanh"]
    assert_equal_meaning(graph, Fuse().run(graph))


def test_a_count_is_taken_where_it_divides() -> None:
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (4, 5))), b.input("y", tensor_type(float32, (4,)))
    count = b.op("sum", b.op("square", x), axes=(1,), keepdims=False)
    later = b.op("cumsum", b.op("cumsum", y, axis=0, reverse=False), axis=0, reverse=False)
    graph = Graph.make("f", [x, y], [("z", b.op("divide", later, count))], builder=b)
    assert ["square", "sum", "divide"] in fused(Fuse().run(graph))
    assert_equal_meaning(graph, Fuse().run(graph))


def test_matmul_takes_its_epilogue() -> None:
    m = Maker()
    x, w, bias = m.input("x", 3, 4), m.parameter("w", 4, 5), m.parameter("b", 5)
    y = (x @ w + bias).tanh()
    graph = Graph.make("dense", [x.node], [("y", y.node)], builder=m.b)
    assert fused(Fuse().run(graph)) == [["matmul", "add", "tanh"]]


def test_groups_never_depend_on_each_other_in_a_circle() -> None:
    """a → sum → c with a → c: c must not join a's group, because the sum stands between."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 5)))
    a = b.op("tanh", b.op("exp", x))
    middle = b.op("broadcast_to", b.op("sum", a, axes=(0, 1), keepdims=False), shape=(4, 5))
    c = b.op("multiply", a, middle)
    graph = Graph.make("f", [x], [("y", b.op("negative", c))], builder=b)
    result = Fuse().run(graph)
    assert_equal_meaning(graph, result)
    assert ["multiply", "negative"] in fused(result)


def loop_of(graph: Graph, position: int) -> Node:
    return [n for n in graph.nodes if n.op.name == "loop"][position]


def test_weight_gradients_leave_the_loop_as_one_product() -> None:
    rolled = run_pipeline(lstm(20), until="accumulate")
    summed = Accumulate().run(rolled)
    assert loop_of(summed, 1).attrs["carries"] < loop_of(rolled, 1).attrs["carries"]
    products = [n for n in summed.nodes if n.op.name == "matmul" and n.inputs[0].shape[1] > 20]
    assert len(products) == 2, "one contraction over all steps for each weight"
    assert_equal_meaning(rolled, summed, rtol=2e-5)


def test_large_sums_are_added_up_in_the_loop() -> None:
    """A bias gradient is a carry again where all steps together are more than a cache holds."""
    rolled = run_pipeline(lstm(20), until="accumulate")
    small, large = Accumulate().run(rolled), Accumulate(sum_limit=100).run(rolled)
    assert loop_of(large, 1).attrs["carries"] == loop_of(small, 1).attrs["carries"] + 1
    assert_equal_meaning(rolled, large, rtol=2e-5)


def test_input_products_leave_the_loop_as_one() -> None:
    rolled = run_pipeline(lstm(20), until="accumulate")
    hoisted = Hoist().run(rolled)
    body = loop_of(hoisted, 0).attrs["body"]
    assert sum(n.op.name == "matmul" for n in body.nodes) == 1
    assert_equal_meaning(rolled, hoisted, rtol=1e-5)


def test_hoisting_keeps_to_its_memory_limit() -> None:
    rolled = run_pipeline(lstm(20), until="accumulate")
    assert Hoist(byte_limit=100).run(rolled) is rolled
    assert Accumulate(byte_limit=100).run(rolled) is rolled


@pytest.mark.parametrize("cell", CELLS)
def test_every_pass_keeps_the_meaning(cell: str) -> None:
    graph = CELLS[cell](13)
    stages: list[PassReport] = []
    final = run_pipeline(graph, observer=stages.append, check=True)
    assert_equal_meaning(graph, final, rtol=2e-5)
    for stage in stages:
        assert_equal_meaning(graph, stage.graph, rtol=2e-5)


@pytest.mark.parametrize("name", pass_names())
def test_each_pass_alone_and_each_left_out(name: str) -> None:
    graph = lstm(10, peephole=True, all_outputs=True, to_inputs=True)
    assert_equal_meaning(graph, run_pipeline(graph, only=[name], check=True), rtol=2e-5)
    assert_equal_meaning(graph, run_pipeline(graph, disable=[name], check=True), rtol=2e-5)


def test_a_pass_that_does_not_exist_is_named() -> None:
    with pytest.raises(GraphcValueError, match="did you mean roll"):
        run_pipeline(lstm(4), disable=["rol"])


def test_reports_say_what_changed() -> None:
    reports: list[PassReport] = []
    run_pipeline(lstm(16), observer=reports.append)
    assert [r.name for r in reports] == [step.name for step, _ in PIPELINE]
    roll = next(r for r in reports if r.name == "roll")
    assert roll.changed and roll.after < roll.before / 2
    assert str(roll).startswith("roll: ")


def test_golden_text_of_the_optimized_step(golden) -> None:
    golden("passes/optimized-lstm.gir", print_graph(run_pipeline(lstm(8, 2, 2, 3))))


def test_what_is_read_from_its_end_is_hoisted_as_it_lies() -> None:
    """The input products of a layer that runs backward: no flip before the product, the loop reads it from its end."""
    b = Builder()
    x, w = b.input("x", tensor_type(float32, (12, 2, 3))), b.input("w", tensor_type(float32, (3, 4)))
    u, h = b.input("u", tensor_type(float32, (4, 4))), b.input("h", tensor_type(float32, (2, 4)))
    inputs = [x, w, u, h]
    for t in reversed(range(12)):
        h = b.op("tanh", b.op("add", b.op("matmul", b.op("index", x, axis=0, index=t), w), b.op("matmul", h, u)))
    graph = Graph.make("f", inputs, [("h", h)], builder=b)
    rolled = run_pipeline(graph, until="hoist")
    hoisted = Hoist().run(rolled)
    assert not any(node.op.name == "flip" for node in hoisted.nodes)
    (slices,) = (node.attrs["slices"] for node in hoisted.nodes if node.op.name == "loop")
    assert all(step == -1 for _, _, step in slices)
    assert_equal_meaning(graph, hoisted, rtol=2e-5)
