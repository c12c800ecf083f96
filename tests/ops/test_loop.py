"""Loops, results and fused regions: evaluation, derivatives, symbolic trips, errors."""

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_region
from graphc.ir.types import bfloat16, float64, int64, tensor_type
from graphc.ir.verify import verify
from graphc.ops.composite import vjp_region
from graphc.ops.loop import make_loop

from .helpers import check_derivatives, f64, region, run, run_half

RNG = np.random.default_rng(0)


def body(build, types):
    """A body over the step number and inputs of ``types``."""
    b = Builder()
    inputs = [b.input("t", tensor_type(int64)), *(b.input(f"x{k}", type_) for k, type_ in enumerate(types))]
    outputs = build(b, *inputs)
    return Graph.make("step", inputs, [(f"y{k}", node) for k, node in enumerate(outputs)])


def recurrence(trips, start=0, step=1, batch=2, width=3, axis=0):
    """h = tanh(x[t] + h @ W), all h stacked, and a count of the steps."""

    def cell(b, t, h, total, weight, x):
        after = b.op("tanh", b.op("add", x, b.op("matmul", h, weight)))
        return [after, b.op("add", total, t), after]

    graph = body(cell, [f64(batch, width), tensor_type(int64), f64(width, width), f64(batch, width)])

    def build(b, x, h, weight):
        count = b.constant(0, int64)
        return make_loop(b, trips, graph, [h, count], [weight], [x], [(axis, start, step)])

    return build


def unrolled(x, h, weight, positions, axis=0):
    states = []
    for position in positions:
        h = np.tanh(np.take(x, position, axis) + h @ weight)
        states.append(h)
    return h, np.array(states)


X, H, W = RNG.standard_normal((7, 2, 3)), RNG.standard_normal((2, 3)), RNG.standard_normal((3, 3))


@pytest.mark.parametrize(
    ("trips", "start", "step"), [(7, 0, 1), (7, 6, -1), (3, 1, 2), (3, 5, -2), (4, 2, 0), (1, 6, 5), (2, 4, 1)]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_recurrence(trips, start, step, axis):
    x = np.moveaxis(X, 0, axis)
    build = recurrence(trips, start, step, axis=axis)
    final, count, states = run(build, x, H, W)
    expected = unrolled(x, H, W, [start + step * t for t in range(trips)], axis)
    np.testing.assert_allclose(final, expected[0])
    np.testing.assert_allclose(states, expected[1])
    assert count == sum(range(trips))
    check_derivatives(build, x, H, W, order=2 if axis == 0 and trips == 3 else 1)


def test_zero_trips():
    build = recurrence(0)
    final, count, states = run(build, X, H, W)
    np.testing.assert_array_equal(final, H)
    assert count == 0
    assert states.shape == (0, 2, 3)
    check_derivatives(build, X, H, W, order=1)


def test_the_step_number_reaches_the_backward_body():
    def cell(b, t, h):
        return [b.op("multiply", b.op("square", h), b.op("cast", b.op("add", t, b.constant(1, int64)), dtype=float64))]

    graph = body(cell, [f64(2)])
    build = lambda b, h: make_loop(b, 3, graph, [h])  # noqa: E731
    h = np.array([0.5, -0.3])
    np.testing.assert_allclose(run(build, h), 3 * (2 * h**4) ** 2)
    check_derivatives(build, h, order=2)


def test_only_what_moves_is_carried_backward():
    def cell(b, t, h, other, scale, offset):
        return [b.op("multiply", h, scale), b.op("add", other, offset), b.op("multiply", other, offset)]

    graph = body(cell, [f64(2), f64(2), f64(2), f64(2)])

    def build(b, h, other, scale, offset):
        return make_loop(b, 3, graph, [h, other], [scale, offset])

    derivative, reached = vjp_region(region(build, [f64(2)] * 4), [0])
    verify(derivative)
    assert reached == [0, 2]
    (backward,) = [
        node for node in derivative.nodes if node.op.name == "loop" and "backward" in node.attrs["body"].name
    ]
    # The cotangent of h and the sum for scale; the second carry and offset play no part.
    assert backward.attrs["carries"] == 2
    assert backward.attrs["invariants"] == 1
    check_derivatives(build, *RNG.standard_normal((4, 2)))


def test_nested_loops():
    inner = body(lambda b, t, h, w: [b.op("sin", b.op("multiply", h, w))], [f64(2), f64(2)])

    def cell(b, t, h, w, x):
        (after,) = make_loop(b, 2, inner, [b.op("add", h, x)], [w])
        return [after, after]

    outer = body(cell, [f64(2), f64(2), f64(2)])
    build = lambda b, h, w, x: make_loop(b, 3, outer, [h], [w], [x], [(0, 0, 1)])  # noqa: E731
    h, w, x = RNG.standard_normal(2), RNG.standard_normal(2), RNG.standard_normal((3, 2))
    state = h
    for row in x:
        state = np.sin(np.sin((state + row) * w) * w)
    np.testing.assert_allclose(run(build, h, w, x)[0], state)
    check_derivatives(build, h, w, x, order=1)


def test_symbolic_trips_and_their_derivative():
    time = symbol("time")
    for start, step in [(0, 1), (time - 1, -1)]:
        graph = region(recurrence(time, start, step), [f64("time", 2, 3), f64(2, 3), f64(3, 3)])
        assert [str(node.type) for node in graph.output_nodes] == ["float64[2,3]", "int64[]", "float64[time,2,3]"]
        derivative, reached = vjp_region(graph, [0, 2])
        verify(derivative)
        assert reached == [0, 1, 2]
        assert [node.type for node in derivative.output_nodes] == [node.type for node in graph.inputs]


def test_halves_stay_on_their_grid():
    def cell(b, t, h, x):
        return [b.op("add", h, x), h]

    graph = body(cell, [tensor_type(bfloat16, (1,)), tensor_type(bfloat16, (1,))])
    build = lambda b, h, x: make_loop(b, 3, graph, [h], [], [x], [(0, 0, 1)])  # noqa: E731
    final, entering = run_half(build, bfloat16, np.array([256.0]), np.full((3, 1), 1.0))
    # 256 + 1 rounds back to 256 in bfloat16 at every step.
    assert final.tolist() == [256.0]
    assert entering.ravel().tolist() == [256.0] * 3


def fused(build, types):
    graph = region(build, types)
    return lambda b, *inputs: b.op("fused", *inputs, body=graph)


def test_fused_single_and_several_results():
    single = fused(lambda b, x, y: b.op("tanh", b.op("multiply", x, y)), [f64(3), f64(3)])
    x, y = RNG.standard_normal((2, 3))
    np.testing.assert_allclose(run(single, x, y), np.tanh(x * y))
    check_derivatives(single, x, y)
    double = fused(lambda b, x, y: [b.op("sin", x), b.op("multiply", x, y)], [f64(3), f64(3)])

    def build(b, x, y):
        node = double(b, x, y)
        return [b.op("result", node, index=1), b.op("result", node, index=0)]

    product, sine = run(build, x, y)
    np.testing.assert_allclose(product, x * y)
    np.testing.assert_allclose(sine, np.sin(x))
    check_derivatives(build, x, y)


def test_a_region_may_return_its_input_and_one_value_twice():
    build = fused(lambda b, x: [x, b.op("square", x), b.op("square", x)], [f64(3)])

    def total(b, x):
        node = build(b, x)
        return b.op(
            "add", b.op("result", node, index=0), b.op("multiply", *(b.op("result", node, index=k) for k in (1, 2)))
        )

    x = RNG.standard_normal(3)
    np.testing.assert_allclose(run(total, x), x + x**4)
    check_derivatives(total, x)


STEP = body(lambda b, t, h, w, x: [b.op("add", h, b.op("multiply", w, x)), x], [f64(2), f64(2), f64(2)])


@pytest.mark.parametrize(
    ("types", "trips", "slices", "code"),
    [
        ((f64(3), f64(2), f64(4, 2)), 4, ((0, 0, 1),), "E211"),
        ((f64(2), f64(3), f64(4, 2)), 4, ((0, 0, 1),), "E211"),
        ((f64(2), f64(2), f64(4, 3)), 4, ((0, 0, 1),), "E211"),
        ((f64(2), f64(2), f64(4, 2)), 5, ((0, 0, 1),), "E220"),
        ((f64(2), f64(2), f64(4, 2)), 4, ((0, 2, -1),), "E220"),
        ((f64(2), f64(2), f64(4, 2)), 4, ((2, 0, 1),), "E217"),
        ((f64(2), f64(2), f64(4, 2)), -1, ((0, 0, 1),), "E211"),
        ((f64(2), f64(2), f64(4, 2)), 4, (), "E211"),
        ((f64(2), f64(2), f64("time", 2)), symbol("time") + 1, ((0, 0, 1),), "E220"),
    ],
)
def test_loop_errors(types, trips, slices, code):
    b = Builder()
    h, w, x = (b.input(f"x{k}", type_) for k, type_ in enumerate(types))
    with pytest.raises(GraphcError) as caught:
        make_loop(b, trips, STEP, [h], [w], [x], slices)
    assert caught.value.code == code


def test_more_errors():
    b = Builder()
    h = b.input("h", f64(2))
    changing = body(lambda b, t, h: [b.op("sum", h, axes=(0,), keepdims=False)], [f64(2)])
    cases = [
        (lambda: make_loop(b, 2, changing, [h]), "E211"),
        (lambda: b.op("result", h, index=0), "E213"),
        (lambda: b.op("result", make_loop(b, 2, STEP, [h], [h], [h]), index=0), "E211"),
        (lambda: b.op("fused", h, h, body=changing), "E211"),
        (lambda: b.op("fused", h, h, body=STEP), "E211"),
    ]
    for build, code in cases:
        with pytest.raises(GraphcError) as caught:
            build()
        assert caught.value.code == code
    loop = b.make(
        "loop",
        (h,),
        {"trips": 1, "body": body(lambda b, t, h: [h], [f64(2)]), "carries": 1, "invariants": 0, "slices": ()},
    )
    with pytest.raises(GraphcError) as caught:
        b.op("result", loop, index=1)
    assert caught.value.code == "E220"


def test_symbolic_trips_cannot_be_evaluated():
    graph = region(recurrence(symbol("time")), [f64("time", 2, 3), f64(2, 3), f64(3, 3)])
    with pytest.raises(GraphcError) as caught:
        evaluate_region(graph, [X, H, W])
    assert caught.value.code == "E340"
