"""Loops and fused kernels."""

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.types import bfloat16, float16, float32, int64, tensor_type
from graphc.ops.loop import make_loop
from graphc.passes.pipeline import run_pipeline

T, B, H = 6, 3, 4
ROW = tensor_type(float32, (B, H))


def _array(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _rnn_body():
    """h ← tanh(x_t + h @ w), stacked."""
    b = Builder()
    t, h = b.input("t", tensor_type(int64)), b.input("c0", ROW)
    w, x = b.input("v0", tensor_type(float32, (H, H))), b.input("s0", ROW)
    following = b.op("tanh", b.op("add", x, b.op("matmul", h, w)))
    return Graph.make("body", [t, h, w, x], [("c0", following), ("y0", following)], builder=b)


def _sequence(b, steps=T, name="x"):
    return b.input(name, tensor_type(float32, (steps, B, H)))


@pytest.mark.parametrize("place", [(0, 0, 1), (0, T - 1, -1), (0, 2, 0)])
def test_recurrence(place, agree):
    b = Builder()
    x, w, h = _sequence(b), b.input("w", tensor_type(float32, (H, H))), b.input("h", ROW)
    final, steps = make_loop(b, T, _rnn_body(), [h], [w], [x], [place])
    source = agree(
        Graph.make("entry", [x, w, h], [("final", final), ("steps", steps)]),
        [_array(T, B, H), _array(H, H), _array(B, H)],
    )
    assert f"range({T})" in source


@pytest.mark.parametrize(
    ("trips", "place", "steps"), [(3, (0, 1, 2), 6), (2, (0, 5, -3), 6), (0, (0, 0, 1), 6), (1, (0, 3, 1), 6)]
)
def test_strides_and_trip_counts(trips, place, steps, agree):
    b = Builder()
    x, w = _sequence(b, steps=steps), b.input("w", tensor_type(float32, (H, H)))
    zeros = b.op("broadcast_to", b.constant(0.0, float32), shape=(B, H))
    final, stacked = make_loop(b, trips, _rnn_body(), [zeros], [w], [x], [place])
    after = b.op("negative", final)
    agree(
        Graph.make("entry", [x, w], [("final", final), ("after", after), ("stacked", stacked)]),
        [_array(steps, B, H), _array(H, H)],
    )


def test_a_sequence_along_another_axis(agree):
    b = Builder()
    x, w = b.input("x", tensor_type(float32, (B, T, H))), b.input("w", tensor_type(float32, (H, H)))
    zeros = b.op("broadcast_to", b.constant(0.0, float32), shape=(B, H))
    final, _ = make_loop(b, T, _rnn_body(), [zeros], [w], [x], [(1, 0, 1)])
    source = agree(Graph.make("entry", [x, w], [("final", final)]), [_array(B, T, H), _array(H, H)])
    assert "x[:, t]" in source


def _loop_over(carries, make_outputs, stacks=0, invariants=0, sequences=0, type_=ROW):
    """A body over carries, invariants and sequence elements of one type."""
    b = Builder()
    t = b.input("t", tensor_type(int64))
    inputs = [
        b.input(f"{kind}{i}", type_)
        for kind, n in (("c", carries), ("v", invariants), ("s", sequences))
        for i in range(n)
    ]
    outputs = make_outputs(b, t, *inputs)
    assert len(outputs) == carries + stacks
    return Graph.make("body", [t, *inputs], [(f"o{i}", node) for i, node in enumerate(outputs)], builder=b)


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize(
    "following",
    [
        lambda b, t, p, q: [q, p],  # swapped
        lambda b, t, p, q: [b.op("add", p, q), p],  # Fibonacci: a shift register
        lambda b, t, p, q: [b.op("flip", q, axes=(0,)), b.op("add", p, q)],  # one shows the other's memory
        lambda b, t, p, q: [b.op("add", p, q), b.op("flip", b.op("add", p, q), axes=(1,))],  # both show the same memory
        lambda b, t, p, q: [b.op("multiply", p, q)] * 2,  # both are the same value
        lambda b, t, p, q: [p, q],  # nothing changes
        lambda b, t, p, q: [b.op("negative", p), b.op("negative", b.op("negative", q))],  # in place
        lambda b, t, p, q: [b.op("add", b.op("sin", p), b.op("cos", p)), b.op("exp", b.op("negative", q))],
        lambda b, t, p, q: [b.op("broadcast_to", b.op("cast", t, dtype=float32), shape=(B, H)), q],
        lambda b, t, p, q: [q, b.op("broadcast_to", b.constant(3.0, float32), shape=(B, H))],
    ],
)
def test_carries(following, owned, agree):
    b = Builder()
    x, y = b.input("x", ROW), b.input("y", ROW)
    starts = [b.op("sin", x), b.op("sin", y)] if owned else [x, y]
    body = _loop_over(2, following)
    p, q = make_loop(b, 5, body, starts)
    outputs = [("p", p), ("q", q), ("more", b.op("negative", b.op("negative", p))), ("sum", b.op("add", p, q))]
    agree(Graph.make("entry", [x, y], outputs), [_array(B, H), _array(B, H, seed=1)])


def test_results_that_are_a_start_unchanged(agree):
    b = Builder()
    x = b.input("x", ROW)
    start, other = b.op("sin", x), b.op("cos", x)
    body = _loop_over(2, lambda b, t, p, q, v: [p, b.op("flip", v, axes=(0,))], invariants=1)
    p, q = make_loop(b, 3, body, [start, start], [other])
    outputs = [("start", b.op("negative", start)), ("other", b.op("negative", other)), ("p", p), ("q", q)]
    agree(Graph.make("entry", [x], outputs), [_array(B, H)])


def test_starts_that_are_read_again(agree):
    b = Builder()
    x = b.input("x", ROW)
    start = b.op("sin", x)
    body = _loop_over(2, lambda b, t, p, q: [b.op("negative", p), b.op("cos", q)])
    p, q = make_loop(b, 3, body, [start, start])
    agree(Graph.make("entry", [x], [("p", p), ("q", q), ("start", b.op("cos", start))]), [_array(B, H)])


def test_everything_may_be_stacked(agree):
    b = Builder()
    x, v, s = b.input("x", ROW), b.input("v", ROW), _sequence(b, name="s")

    def following(b, t, c, v, s):
        grown = b.op("add", c, b.op("multiply", v, s))
        half = b.constant(0.5, float32)
        count = b.op("multiply", b.op("cast", t, dtype=float32), half)
        return [
            grown,
            c,
            v,
            s,
            t,
            half,
            count,
            b.op("flip", grown, axes=(0,)),
            grown,
            b.op("exp", grown),
            b.op("exp", grown),
        ]

    body = _loop_over(1, following, stacks=10, invariants=1, sequences=1)
    results = make_loop(b, T, body, [x], [v], [b.op("sin", s)], [(0, 0, 1)])
    graph = Graph.make("entry", [x, v, s], [(f"r{i}", node) for i, node in enumerate(results)])
    agree(graph, [_array(B, H), _array(B, H, seed=1), _array(T, B, H)])


def test_scalar_carries_and_numbers_from_outside(agree):
    scalar = tensor_type(int64)
    b = Builder()
    x = b.input("x", scalar)

    def following(b, t, p, q, v):
        return [b.op("add", q, b.op("multiply", t, v)), b.op("subtract", p, t), b.op("multiply", p, q)]

    body = _loop_over(2, following, stacks=1, invariants=1, type_=scalar)
    results = make_loop(b, 40, body, [x, b.constant(3, int64)], [b.constant(5, int64)])
    agree(Graph.make("entry", [x], [(f"r{i}", node) for i, node in enumerate(results)]), [np.array(2**62)])


def test_a_loop_in_a_loop(agree):
    b = Builder()
    x, s = b.input("x", ROW), _sequence(b, name="s")

    def outer(b, t, c, v, s):
        inner = _loop_over(
            1,
            lambda b, t, c, v, s: [b.op("sin", b.op("add", c, s)), b.op("multiply", c, v)],
            stacks=1,
            invariants=1,
            sequences=1,
            type_=tensor_type(float32, (H,)),
        )
        first = b.op("index", c, axis=0, index=0)
        row, rows = make_loop(b, B, inner, [first], [b.op("index", v, axis=0, index=1)], [s], [(0, B - 1, -1)])
        return [b.op("add", c, row), rows]

    body = _loop_over(1, outer, stacks=1, invariants=1, sequences=1)
    results = make_loop(b, T, body, [b.op("negative", x)], [x], [s], [(0, 0, 1)])
    graph = Graph.make("entry", [x, s], [(f"r{i}", node) for i, node in enumerate(results)])
    agree(graph, [_array(B, H), _array(T, B, H)])


@pytest.mark.parametrize("element", [float16, bfloat16], ids=str)
def test_half_dtypes_in_a_loop(element, agree, values):
    b = Builder()
    row = tensor_type(element, (B, H))
    x, s = b.input("x", row), b.input("s", tensor_type(element, (T, B, H)))
    body = _loop_over(1, lambda b, t, c, s: [b.op("tanh", b.op("add", c, s)), c], stacks=1, sequences=1, type_=row)
    final, stacked = make_loop(b, T, body, [x], (), [s], [(0, 0, 1)])
    arrays = [values(element, (B, H), special=False), values(element, (T, B, H), special=False)]
    agree(Graph.make("entry", [x, s], [("final", final), ("stacked", stacked)]), arrays)


def test_the_same_body_twice(agree):
    b = Builder()
    x, w = _sequence(b), b.input("w", tensor_type(float32, (H, H)))
    zeros = b.op("broadcast_to", b.constant(0.0, float32), shape=(B, H))
    body = _rnn_body()
    first, steps = make_loop(b, T, body, [zeros], [w], [x], [(0, 0, 1)])
    second, _ = make_loop(b, T, body, [first], [w], [steps], [(0, T - 1, -1)])
    agree(Graph.make("entry", [x, w], [("second", second), ("first", first)]), [_array(T, B, H), _array(H, H)])


def test_fused_kernels_are_written_out(agree):
    b = Builder()
    x, y = b.input("x", ROW), b.input("y", ROW)
    total = b.op("add", x, y)
    outputs = [
        ("a", b.op("tanh", b.op("multiply", total, x))),
        ("b", b.op("sum", b.op("exp", total), axes=(0,), keepdims=False)),
    ]
    graph = Graph.make("entry", [x, y], outputs, builder=b)
    fused = run_pipeline(graph, only=["fuse"], check=True)
    assert any(node.op.name == "fused" for node in fused.nodes)
    assert agree(fused, [_array(B, H), _array(B, H, seed=1)]) == agree(graph, [_array(B, H), _array(B, H, seed=1)])


def test_an_unrolled_lstm_through_the_pipeline(agree):
    b = Builder()
    steps = 12
    x = b.input("x", tensor_type(float32, (steps, B, H)))
    w, u = (b.input(name, tensor_type(float32, (H, 4 * H))) for name in "wu")
    h = c = b.op("broadcast_to", b.constant(0.0, float32), shape=(B, H))
    outputs = []
    for step in range(steps):
        gates = b.op("add", b.op("matmul", b.op("index", x, axis=0, index=step), w), b.op("matmul", h, u))
        i, f, g, o = (b.op("slice", gates, starts=(0, k * H), stops=(B, (k + 1) * H), steps=(1, 1)) for k in range(4))
        c = b.op("add", b.op("multiply", b.op("sigmoid", f), c), b.op("multiply", b.op("sigmoid", i), b.op("tanh", g)))
        h = b.op("multiply", b.op("sigmoid", o), b.op("tanh", c))
        outputs.append(h)
    graph = Graph.make("entry", [x, w, u], [("y", b.op("stack", *outputs, axis=0)), ("h", h)], builder=b)
    arrays = [_array(steps, B, H), _array(H, 4 * H), _array(H, 4 * H, seed=1)]
    agree(graph, arrays)
    source = agree(run_pipeline(graph, check=True), arrays)
    assert "for t in range(" in source
