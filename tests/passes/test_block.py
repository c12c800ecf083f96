"""block: loops over blocks of steps compute what the loop over all of them does, and keep no more than a block."""

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.types import float32, int64, tensor_type
from graphc.ir.verify import verify
from graphc.kernel.lower import lower_module
from graphc.ops.loop_parts import make_loop
from graphc.passes.block import Block
from graphc.passes.pipeline import run_pipeline
from tests.backends_under_test import BACKENDS, compiled, in_small_blocks
from tests.cells import CELLS, gru, lstm

SMALL = Block(least_bytes=0, cache_bytes=4096, least=2)


def loops(graph: Graph) -> list[tuple[int, list[int]]]:
    """Trips of each loop, and of those in its body."""
    made = [node for node in graph.nodes if node.op.name == "loop"]
    return [(n.attrs["trips"], [m.attrs["trips"] for m in n.attrs["body"].nodes if m.op.name == "loop"]) for n in made]


def inputs_of(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(node.shape).astype(node.dtype.storage) for node in graph.inputs]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [16, 23, 30])
def test_blocks_compute_the_same(cell: str, steps: int) -> None:
    graph = run_pipeline(CELLS[cell](steps), until="block")
    changed = SMALL.run(graph)
    verify(changed)
    assert any(inner for _, inner in loops(changed))
    expected, states = evaluate(graph, inputs_of(graph))
    found, new_states = evaluate(changed, inputs_of(graph))
    for name, value in (expected | states).items():
        np.testing.assert_allclose((found | new_states)[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_backend_runs_blocks(cell: str, backend: str) -> None:
    module = Module("m", {"train": CELLS[cell](19)})
    expected, _ = evaluate(module.entries["train"], inputs_of(module.entries["train"]))
    found, _ = compiled(backend, in_small_blocks(module))("train", inputs_of(module.entries["train"]), None)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-5)


def test_products_with_the_input_are_made_block_by_block() -> None:
    """Four gates of five units for three rows: 240 bytes a step, of which a block holds a dozen beside the weights."""
    graph = run_pipeline(lstm(31), until="block")
    blocks = [found for found in loops(SMALL.run(graph)) if found[1]]
    assert blocks and all(len(inner) == 1 for _, inner in blocks)
    rows = {inner[0] * 3 for _, inner in blocks}
    module = in_small_blocks(Module("m", {"train": lstm(31)}))
    (forward, *_) = [node for node in module.entries["train"].nodes if node.op.name == "loop"]
    products = [node for node in forward.attrs["body"].nodes if node.op.name == "matmul"]
    assert {node.shape[0] for node in products} <= rows, "one product for the rows of a whole block"
    assert products


def test_it_takes_less_memory() -> None:
    module = Module("m", {"train": lstm(200, all_outputs=True)})
    plain = Module("m", {"train": run_pipeline(module.entries["train"], disable=["block"])})
    assert lower_module(in_small_blocks(module)).arena_bytes < 0.8 * lower_module(plain).arena_bytes


def test_small_loops_and_loops_with_large_weights_stay_whole() -> None:
    graph = run_pipeline(gru(30), until="block")
    assert Block().run(graph) is graph, "all of it stays in the cache"
    assert Block(least_bytes=0, cache_bytes=100, least=2).run(graph) is graph, "a block would be all weights"
    assert Block(least_bytes=0, least=16).run(graph) is graph, "there is only one block of so many steps"


def test_the_length_of_a_block_leaves_few_steps_over() -> None:
    graph = run_pipeline(lstm(31), until="block")
    for trips, inner in loops(SMALL.run(graph)):
        if inner:
            assert trips * inner[0] >= 26


def test_a_step_number_that_is_stacked_counts_on() -> None:
    def numbers(graph: Graph) -> np.ndarray:
        values, _ = evaluate(graph, [np.ones((8, 2, 3), np.float32), np.ones((3, 3), np.float32)])
        return values["t"]

    b, inner = Builder(), Builder()
    x, w = b.input("x", tensor_type(float32, (8, 2, 3))), b.input("w", tensor_type(float32, (3, 3)))
    shapes = {"c": (2, 3), "v": (3, 3), "s": (2, 3)}
    t, (c, v, s) = (
        inner.input("t", tensor_type(int64)),
        (inner.input(n, tensor_type(float32, d)) for n, d in shapes.items()),
    )
    h = inner.op("tanh", inner.op("add", c, inner.op("matmul", s, v)))
    body = Graph.make("body", [t, c, v, s], [("c", h), ("t", t)], builder=inner)
    state, steps = make_loop(b, 8, body, [b.constant(np.zeros((2, 3)), float32)], [w], [x], [(0, 0, 1)])
    graph = Graph.make("f", [x, w], [("h", state), ("t", steps)], builder=b)
    changed = Block(least_bytes=0, cache_bytes=500, least=2).run(graph)
    assert changed is not graph
    assert list(numbers(changed)) == list(numbers(graph)) == list(range(8))
