"""Reverse and forward mode as graph functions: against finite differences, of any order, and the shape of what they
build.
"""

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.autodiff.forward import jvp
from graphc.autodiff.reverse import gradient, vjp
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.types import float32, float64, int64, tensor_type
from graphc.passes.pipeline import run_pipeline
from tests.cells import CELLS, lstm


def value(b: Builder, inputs: list[Node], output: Node, arrays: list[np.ndarray]) -> np.ndarray:
    return evaluate(Graph.make("f", inputs, [("y", output)], builder=b), arrays)[0]["y"]


def scalar(dtype=float64, shape: tuple[int, ...] = (3,)) -> tuple[Builder, Node]:
    b = Builder()
    return b, b.input("x", tensor_type(dtype, shape))


def test_derivatives_of_any_order() -> None:
    """dⁿ/dxⁿ sin(x)·x at n = 0…4, by repeated application."""
    b, x = scalar(shape=())
    y = b.op("multiply", b.op("sin", x), x)
    at = np.float64(0.7)
    s, c = np.sin(at), np.cos(at)
    expected = [s * at, c * at + s, -s * at + 2 * c, -c * at - 3 * s, s * at - 4 * c]
    for n in range(5):
        np.testing.assert_allclose(value(b, [x], y, [at]), expected[n], rtol=1e-13)
        (y,) = gradient(b, y, [x])


def test_tanh_derivative_reuses_the_output() -> None:
    b, x = scalar()
    y = b.op("tanh", x)
    (g,) = gradient(b, b.op("sum", y, axes=(0,), keepdims=False), [x])
    graph = Graph.make("f", [x], [("y", y), ("g", g)], builder=b)
    assert sum(n.op.name == "tanh" for n in graph.nodes) == 1


def test_unused_variables_have_a_zero_gradient() -> None:
    b, x = scalar()
    z = b.input("z", tensor_type(float64, (2, 2)))
    _, g = gradient(b, b.op("sum", x, axes=(0,), keepdims=False), [x, z])
    assert g.type is z.type
    assert not value(b, [x, z], g, [np.ones(3), np.ones((2, 2))]).any()


@pytest.mark.parametrize("dtype", [float32, float64])
def test_a_gradient_needs_a_scalar(dtype) -> None:
    b, x = scalar(dtype)
    with pytest.raises(GraphcValueError, match="scalar") as caught:
        gradient(b, b.op("tanh", x), [x])
    assert caught.value.code == "E225"


def test_integers_have_no_derivative() -> None:
    b, x = scalar()
    k = b.input("k", tensor_type(int64, ()))
    with pytest.raises(GraphcTypeError) as caught:
        gradient(b, b.op("sum", x, axes=(0,), keepdims=False), [k])
    assert caught.value.code == "E225"
    with pytest.raises(GraphcTypeError):
        gradient(b, k, [x])


def test_stop_gradient_and_comparisons_stop_it() -> None:
    b, x = scalar()
    y = b.op("multiply", x, b.op("stop_gradient", x))
    (g,) = gradient(b, b.op("sum", y, axes=(0,), keepdims=False), [x])
    at = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(value(b, [x], g, [at]), at)
    floor = b.op("sum", b.op("floor", x), axes=(0,), keepdims=False)
    assert not value(b, [x], gradient(b, floor, [x])[0], [at]).any()


def test_jvp_and_vjp_agree() -> None:
    """⟨u, J·v⟩ = ⟨Jᵀ·u, v⟩."""
    b, x = scalar(shape=(3, 4))
    w = b.input("w", tensor_type(float64, (4, 2)))
    u, dx, dw = (b.input(n, tensor_type(float64, s)) for n, s in (("u", (3, 2)), ("dx", (3, 4)), ("dw", (4, 2))))
    y = b.op("tanh", b.op("matmul", b.op("exp", x), w))
    (forward,) = jvp(b, [y], [x, w], [dx, dw])
    gx, gw = vjp(b, [y], [u], [x, w])
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape) for n in (x, w, u, dx, dw)]
    names = [x, w, u, dx, dw]
    left = (value(b, names, forward, arrays) * arrays[2]).sum()
    right = (value(b, names, gx, arrays) * arrays[3]).sum() + (value(b, names, gw, arrays) * arrays[4]).sum()
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_rows_read_one_by_one_are_stacked_not_summed() -> None:
    """T reads of x[t] give one stack of T rows: nodes, and work, linear in T."""
    sizes = [len(lstm(steps, to_inputs=True)) - len(lstm(steps)) for steps in (8, 16, 32)]
    assert sizes[1] - sizes[0] == 8 * 1 and sizes[2] - sizes[1] == 16 * 1
    ops = {n.op.name for n in lstm(8, to_inputs=True).nodes}
    assert "pad" not in ops


def test_overlapping_and_missing_pieces() -> None:
    b, x = scalar(shape=(6,))
    whole = b.op("slice", x, starts=(1,), stops=(5,), steps=(1,))
    part = b.op("slice", x, starts=(3,), stops=(6,), steps=(1,))
    row = b.op("index", x, axis=0, index=4)
    strided = b.op("slice", x, starts=(0,), stops=(6,), steps=(2,))
    total = None
    for k, piece in enumerate((whole, part, row, strided), start=1):
        term = b.op("multiply", piece, b.constant(float(10**k), float64))
        term = term if term.rank == 0 else b.op("sum", term, axes=(0,), keepdims=False)
        total = term if total is None else b.op("add", total, term)
    assert total is not None
    (g,) = gradient(b, total, [x])
    np.testing.assert_array_equal(value(b, [x], g, [np.zeros(6)]), [10000, 10, 10010, 110, 11110, 100])


@pytest.mark.parametrize("cell", [name for name in CELLS if "gradient to x" in name])
def test_cells_against_finite_differences(cell: str) -> None:
    """The joint graph in float64: directional derivative of the loss along a random direction of x."""
    graph = CELLS[cell](5)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(graph.inputs[0].shape).astype(np.float32)
    direction = rng.standard_normal(x.shape).astype(np.float32)
    gradient_to_x = evaluate(graph, [x])[0][graph.outputs[-1][0]]
    step = np.float32(1e-2)
    high, low = (evaluate(graph, [x + s * direction])[0]["loss"].astype(np.float64) for s in (step, -step))
    measured = (high - low) / (2 * step)
    expected = float((gradient_to_x.astype(np.float64) * direction).sum())
    assert abs(measured - expected) < 5e-3 * max(1.0, abs(expected))


def test_notes_tell_backward_from_forward() -> None:
    graph = lstm(4)
    roles = {graph.note(n).role for n in graph.nodes}
    assert roles == {"forward", "backward"}
    assert all(graph.note(n).role == "backward" for n in graph.nodes if n is dict(graph.outputs)["g0"])


def test_a_long_chain_differentiates_without_recursion() -> None:
    b, x = scalar()
    y = x
    for _ in range(30_000):
        y = b.op("sin", y)
    (g,) = gradient(b, b.op("sum", y, axes=(0,), keepdims=False), [x])
    graph = Graph.make("f", [x], [("g", g)], builder=b)
    assert len(run_pipeline(graph)) < 100
