"""Ops that move elements: values against NumPy, derivatives, symbolic shapes, errors."""

import numpy as np
import pytest

from graphc.errors import GraphcError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.types import float32, float64, int64, tensor_type
from graphc.ops.movement import reshape_target, scatter_slice

from .helpers import check_derivatives, f64, infer, region, run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))
Y = RNG.standard_normal((3, 2, 5))


def op(name, **attrs):
    return lambda b, *inputs: b.op(name, *inputs, **attrs)


def padded(low, high):
    return lambda b, x, v: b.op("pad", x, v, low=low, high=high)


CASES = {
    "reshape": (op("reshape", shape=(5, 12)), (X,), lambda x: x.reshape(5, 12)),
    "reshape to scalar": (op("reshape", shape=()), (X[:1, :1, :1],), lambda x: x.reshape(())),
    "transpose": (op("transpose", permutation=(2, 0, 1)), (X,), lambda x: x.transpose(2, 0, 1)),
    "broadcast_to": (op("broadcast_to", shape=(2, 3, 4, 5)), (X[:, :1],), lambda x: np.broadcast_to(x, (2, 3, 4, 5))),
    "flip": (op("flip", axes=(0, 2)), (X,), lambda x: np.flip(x, (0, 2))),
    "slice": (
        op("slice", starts=(1, 0, 2), stops=(3, 4, 5), steps=(1, 1, 1)),
        (X,),
        lambda x: x[1:3, :, 2:5],
    ),
    "slice with steps": (
        op("slice", starts=(0, 1, 0), stops=(3, 4, 5), steps=(2, 2, 3)),
        (X,),
        lambda x: x[0:3:2, 1:4:2, ::3],
    ),
    "slice of one with a step": (
        op("slice", starts=(1, 0, 0), stops=(2, 4, 5), steps=(7, 1, 1)),
        (X,),
        lambda x: x[1:2],
    ),
    "slice of nothing": (op("slice", starts=(2, 0, 0), stops=(2, 4, 5), steps=(2, 3, 1)), (X,), lambda x: x[2:2, ::3]),
    "index": (op("index", axis=1, index=2), (X,), lambda x: x[:, 2]),
    "index of one": (op("index", axis=0, index=0), (X[:1],), lambda x: x[0]),
    "concat": (op("concat", axis=1), (X, Y, X), lambda *xs: np.concatenate(xs, 1)),
    "stack": (op("stack", axis=2), (X, X + 1), lambda *xs: np.stack(xs, 2)),
    "stack last": (op("stack", axis=3), (X,), lambda x: x[..., None]),
    "pad": (
        padded((1, 0, 2), (0, 3, 1)),
        (X, np.float64(0.5)),
        lambda x, v: np.pad(x, ((1, 0), (0, 3), (2, 1)), constant_values=v),
    ),
    "pad scalar": (padded((), ()), (np.float64(2.0), np.float64(0.5)), lambda x, v: x),
    "patches": (
        op("patches", axes=(1,), window=(2,), strides=(1,), dilation=(2,)),
        (X,),
        lambda x: np.stack([x[:, 0:2], x[:, 2:4]], axis=-1),
    ),
    "patches of two axes": (
        op("patches", axes=(2, 1), window=(2, 3), strides=(2, 1), dilation=(1, 1)),
        (X,),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 3), (2, 1))[:, :, ::2],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_derivatives(case):
    build, arrays, expected = CASES[case]
    np.testing.assert_array_equal(run(build, *arrays), expected(*arrays))
    check_derivatives(build, *arrays)


@pytest.mark.parametrize(
    ("window", "strides", "dilation"), [((2, 2), (1, 1), (1, 1)), ((3, 1), (2, 1), (2, 1)), ((2, 3), (3, 2), (3, 1))]
)
def test_fold_patches_is_the_transpose_of_patches(window, strides, dilation):
    attrs = {"axes": (0, 2), "window": window, "strides": strides, "dilation": dilation}
    x = RNG.standard_normal((7, 2, 6))
    seen = run(op("patches", **attrs), x)
    g = RNG.standard_normal(seen.shape)
    folded = run(op("fold_patches", shape=x.shape, **attrs), g)
    np.testing.assert_allclose(np.sum(seen * g), np.sum(x * folded))
    check_derivatives(op("fold_patches", shape=x.shape, **attrs), g)


def test_scatter_slice_without_padding_is_the_value_itself():
    b = Builder()
    g = b.input("g", f64("time", 3))
    assert scatter_slice(b, g, g.tensor, (0, 0), (symbol("time"), 3), (1, 1)) is g


def test_cotangent_of_a_constant_pad_value_is_not_built():
    b = Builder()
    x = b.input("x", f64(2))
    node = b.op("pad", x, b.constant(0, float64), low=(1,), high=(1,))
    assert node.op.vjp(b, node, [node])[1] is None


def test_symbolic_shapes():
    time = symbol("time")
    assert str(infer("reshape", f64("batch", "time", 4), shape=(symbol("batch") * time, 4))) == "float64[batch*time,4]"
    assert str(infer("slice", f64("time"), starts=(1,), stops=(time,), steps=(1,))) == "float64[time - 1]"
    assert str(infer("slice", f64("2*time"), starts=(0,), stops=(2 * time,), steps=(2,))) == "float64[time]"
    assert str(infer("slice", f64("2*time"), starts=(1,), stops=(2 * time,), steps=(2,))) == "float64[time]"
    assert str(infer("index", f64("time", 3), axis=0, index=time - 1)) == "float64[3]"
    assert str(infer("concat", f64("time", 3), f64(2, 3), axis=0)) == "float64[time + 2,3]"
    assert str(infer("pad", f64("time"), f64(), low=(1,), high=(time,))) == "float64[2*time + 1]"
    assert str(infer("broadcast_to", f64(1, 3), shape=(time, 3))) == "float64[time,3]"
    patched = infer("patches", f64("time", 3), axes=(0,), window=(3,), strides=(1,), dilation=(2,))
    assert str(patched) == "float64[time - 4,3,3]"
    halved = infer("patches", f64("2*time"), axes=(0,), window=(3,), strides=(2,), dilation=(1,))
    assert str(halved) == "float64[time - 1,3]"


def test_symbolic_derivatives_keep_their_types():
    time = symbol("time")
    builds = [
        lambda b, x: b.op("slice", x, starts=(1, 0), stops=(time, 6), steps=(1, 2)),
        lambda b, x: b.op("index", x, axis=0, index=time - 1),
        lambda b, x: b.op("patches", x, axes=(0,), window=(3,), strides=(1,), dilation=(1,)),
        lambda b, x: b.op("concat", x, x, axis=0),
        lambda b, x: b.op("pad", x, b.constant(0, float64), low=(2, 0), high=(time, 0)),
    ]
    from graphc.ir.verify import verify
    from graphc.ops.composite import vjp_region

    for build in builds:
        graph = region(build, [f64("time", 6)])
        derivative, reached = vjp_region(graph, [0])
        verify(derivative)
        assert reached == [0]
        assert derivative.output_nodes[0].type is graph.inputs[0].type


def test_reshape_target():
    batch = symbol("batch")
    assert reshape_target((4, 6), (-1, 8)) == (3, 8)
    assert reshape_target((batch, 6), (2, -1)) == (2, 3 * batch)
    assert reshape_target((batch, 6), (batch, 6)) == (batch, 6)
    for wanted in [(5, -1), (-1, -1)]:
        with pytest.raises(GraphcValueError):
            reshape_target((4, 6), wanted)


F = f64(3, 4)
INTEGERS = tensor_type(int64, (3, 4))


@pytest.mark.parametrize(
    ("name", "types", "attrs", "code"),
    [
        ("reshape", (F,), {"shape": (5, 2)}, "E211"),
        ("transpose", (F,), {"permutation": (0,)}, "E211"),
        ("transpose", (F,), {"permutation": (0, 0)}, "E217"),
        ("transpose", (F,), {"permutation": (0, 2)}, "E217"),
        ("broadcast_to", (F,), {"shape": (3, 5)}, "E211"),
        ("broadcast_to", (F,), {"shape": (4,)}, "E211"),
        ("broadcast_to", (f64("batch"),), {"shape": (7,)}, "E211"),
        ("flip", (F,), {"axes": (2,)}, "E217"),
        ("slice", (F,), {"starts": (0, 0), "stops": (4, 4), "steps": (1, 1)}, "E220"),
        ("slice", (F,), {"starts": (2, 0), "stops": (1, 4), "steps": (1, 1)}, "E220"),
        ("slice", (F,), {"starts": (-1, 0), "stops": (1, 4), "steps": (1, 1)}, "E220"),
        ("slice", (F,), {"starts": (0, 0), "stops": (3, 4), "steps": (0, 1)}, "E218"),
        ("slice", (F,), {"starts": (0,), "stops": (3, 4), "steps": (1, 1)}, "E211"),
        ("slice", (f64("time"),), {"starts": (0,), "stops": (symbol("time") * symbol("time"),), "steps": (2,)}, "E214"),
        ("index", (F,), {"axis": 1, "index": 4}, "E220"),
        ("index", (F,), {"axis": 1, "index": -1}, "E220"),
        ("index", (f64("time"),), {"axis": 0, "index": symbol("time")}, "E220"),
        ("index", (F,), {"axis": 2, "index": 0}, "E217"),
        ("concat", (F, f64(3, 5)), {"axis": 0}, "E211"),
        ("concat", (F, INTEGERS), {"axis": 0}, "E213"),
        ("concat", (), {"axis": 0}, "E211"),
        ("stack", (F, f64(3, 5)), {"axis": 0}, "E211"),
        ("stack", (F, F), {"axis": 3}, "E217"),
        ("pad", (F, f64(1)), {"low": (0, 0), "high": (0, 0)}, "E211"),
        ("pad", (F, tensor_type(float32)), {"low": (0, 0), "high": (0, 0)}, "E213"),
        ("pad", (F, f64()), {"low": (0, -1), "high": (0, 0)}, "E211"),
        ("patches", (F,), {"axes": (0,), "window": (4,), "strides": (1,), "dilation": (1,)}, "E219"),
        ("patches", (F,), {"axes": (0,), "window": (2,), "strides": (1,), "dilation": (3,)}, "E219"),
        ("patches", (F,), {"axes": (0,), "window": (2,), "strides": (0,), "dilation": (1,)}, "E218"),
        ("patches", (F,), {"axes": (0,), "window": (2,), "strides": (1,), "dilation": (0,)}, "E218"),
        ("patches", (f64("time"),), {"axes": (0,), "window": (2,), "strides": (2,), "dilation": (1,)}, "E214"),
        (
            "fold_patches",
            (F,),
            {"axes": (0,), "window": (2,), "strides": (1,), "dilation": (1,), "shape": (3, 4)},
            "E211",
        ),
    ],
)
def test_errors(name, types, attrs, code):
    with pytest.raises(GraphcError) as caught:
        infer(name, *types, **attrs)
    assert caught.value.code == code
