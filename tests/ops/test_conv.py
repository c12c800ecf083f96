"""Convolution and pooling against ONNX's reference implementation, a naive one, and finite differences."""

import numpy as np
import onnx.helper
import onnx.reference
import pytest

from graphc.errors import GraphcError
from graphc.ir.builder import Builder
from graphc.ir.types import bfloat16, float16, float32, float64, int64, tensor_type
from graphc.ops.composite import decomposition
from graphc.ops.layout import kernel_layout

from .helpers import check_derivatives, f64, infer, run, run_half

RNG = np.random.default_rng(0)


def onnx_run(op, *arrays, **attrs):
    names = [f"x{k}" for k in range(len(arrays))]
    node = onnx.helper.make_node(op, names, ["y"], **attrs)
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.DOUBLE, a.shape)
        for n, a in zip(names, arrays, strict=True)
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", inputs, [output]))
    return onnx.reference.ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))[0]


def flat(padding):
    return [low for low, _ in padding] + [high for _, high in padding]


def composite(op, **attrs):
    return lambda b, *inputs: b.op(op, *inputs, **attrs)


CONVOLUTIONS = [
    # spatial shape, kernel window, strides, padding, dilation, groups
    ((7,), (3,), (2,), ((1, 0),), (2,), 1),
    ((6, 5), (3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((6, 5), (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 2), 1),
    ((6, 5), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
    ((5, 4), (2, 2), (1, 1), ((0, 1), (0, 1)), (1, 1), 4),
    ((4, 3, 5), (2, 2, 3), (1, 1, 2), ((1, 0), (0, 0), (1, 1)), (1, 1, 1), 2),
]


def conv_attrs(layout, strides, padding, dilation, groups):
    return {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "layout": layout,
        "kernel_layout": kernel_layout(layout),
    }


def layouts(count):
    letters = {1: "W", 2: "HW", 3: "DHW"}[count]
    return f"NC{letters}", f"N{letters}C"


def last(x):
    """Channels first to channels last."""
    return np.moveaxis(x, 1, -1)


def kernel_last(k):
    """OI... to ...IO."""
    return np.moveaxis(k, (1, 0), (-2, -1))


@pytest.mark.parametrize(("spatial", "window", "strides", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_conv(spatial, window, strides, padding, dilation, groups):
    x = RNG.standard_normal((2, 4, *spatial))
    k = RNG.standard_normal((8, 4 // groups, *window))
    expected = onnx_run("Conv", x, k, strides=strides, pads=flat(padding), dilations=dilation, group=groups)
    first, channels_last = layouts(len(spatial))
    build = composite("conv", **conv_attrs(first, strides, padding, dilation, groups))
    np.testing.assert_allclose(run(build, x, k), expected, rtol=1e-10, atol=1e-10)
    build = composite("conv", **conv_attrs(channels_last, strides, padding, dilation, groups))
    np.testing.assert_allclose(run(build, last(x), kernel_last(k)), last(expected), rtol=1e-10, atol=1e-10)


def naive_conv_transpose(x, k, strides, padding, dilation, groups, output_padding):
    """Every input element stamps its kernel onto the output (channels first, kernel O/groups of conv first)."""
    batch, channels, *spatial = x.shape
    inner, window = k.shape[1], k.shape[2:]
    count = range(len(spatial))
    full = [(spatial[a] - 1) * strides[a] + (window[a] - 1) * dilation[a] + 1 + output_padding[a] for a in count]
    y = np.zeros((batch, inner * groups, *full))
    for c in range(channels):
        group = c // (channels // groups)
        for place in np.ndindex(*spatial):
            where = tuple(
                slice(place[a] * strides[a], place[a] * strides[a] + (window[a] - 1) * dilation[a] + 1, dilation[a])
                for a in count
            )
            target = (slice(None), slice(group * inner, (group + 1) * inner), *where)
            y[target] += x[(slice(None), c, *place)].reshape(batch, *[1] * k[c].ndim) * k[c]
    crop = tuple(slice(low, y.shape[2 + a] - high) for a, (low, high) in enumerate(padding))
    return y[(slice(None), slice(None), *crop)]


@pytest.mark.parametrize("output_padding", [0, 1])
@pytest.mark.parametrize(("spatial", "window", "strides", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_conv_transpose(spatial, window, strides, padding, dilation, groups, output_padding):
    extra = (output_padding,) * len(spatial)
    x = RNG.standard_normal((2, 8, *spatial))
    k = RNG.standard_normal((8, 4 // groups, *window))
    expected = naive_conv_transpose(x, k, strides, padding, dilation, groups, extra)
    first, channels_last = layouts(len(spatial))
    attrs = conv_attrs(first, strides, padding, dilation, groups)
    build = composite("conv_transpose", output_padding=extra, **attrs)
    np.testing.assert_allclose(run(build, x, k), expected, rtol=1e-10, atol=1e-10)
    attrs = conv_attrs(channels_last, strides, padding, dilation, groups)
    build = composite("conv_transpose", output_padding=extra, **attrs)
    np.testing.assert_allclose(run(build, last(x), kernel_last(k)), last(expected), rtol=1e-10, atol=1e-10)


def test_conv_transpose_matches_onnx():
    x, k = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((3, 2, 3, 2))
    expected = onnx_run("ConvTranspose", x, k, strides=[2, 1], pads=[1, 0, 0, 1], output_padding=[1, 0])
    attrs = conv_attrs("NCHW", (2, 1), ((1, 0), (0, 1)), (1, 1), 1)
    np.testing.assert_allclose(
        run(composite("conv_transpose", output_padding=(1, 0), **attrs), x, k), expected, atol=1e-10
    )


def test_conv_transpose_is_the_transpose_of_conv():
    attrs = conv_attrs("NHWC", (2, 1), ((1, 1), (0, 1)), (1, 2), 2)
    x, k = RNG.standard_normal((2, 7, 6, 4)), RNG.standard_normal((3, 2, 2, 6))
    y = run(composite("conv", **attrs), x, k)
    g = RNG.standard_normal(y.shape)
    back = run(composite("conv_transpose", output_padding=(0, 0), **attrs), g, k)
    np.testing.assert_allclose(np.sum(y * g), np.sum(x * back))


POOLS = [
    # spatial shape, window, strides, padding
    ((7,), (3,), (2,), ((1, 1),)),
    ((6, 5), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((6, 5), (3, 2), (1, 2), ((1, 1), (0, 1))),
    ((4, 3, 5), (2, 2, 3), (2, 1, 2), ((1, 0), (0, 0), (1, 1))),
]


@pytest.mark.parametrize(("spatial", "window", "strides", "padding"), POOLS)
def test_pooling(spatial, window, strides, padding):
    x = RNG.standard_normal((2, 3, *spatial))
    first, channels_last = layouts(len(spatial))
    attrs = {"window": window, "strides": strides, "padding": padding, "dilation": (1,) * len(spatial)}
    onnx_attrs = {"kernel_shape": window, "strides": strides, "pads": flat(padding)}
    expected = onnx_run("MaxPool", x, **onnx_attrs)
    np.testing.assert_array_equal(run(composite("max_pool", layout=first, **attrs), x), expected)
    np.testing.assert_array_equal(run(composite("max_pool", layout=channels_last, **attrs), last(x)), last(expected))
    for include in (False, True):
        expected = onnx_run("AveragePool", x, count_include_pad=int(include), **onnx_attrs)
        build = composite("average_pool", layout=channels_last, count_include_pad=include, **attrs)
        np.testing.assert_allclose(run(build, last(x)), last(expected), atol=1e-12)
        build = composite("average_pool", layout=first, count_include_pad=include, **attrs)
        np.testing.assert_allclose(run(build, x), expected, atol=1e-12)


def test_max_pool_of_integers_pads_with_the_smallest():
    x = np.array([[[-5], [-7], [-3]]], np.int8)
    attrs = {"window": (2,), "strides": (1,), "padding": ((1, 1),), "dilation": (1,), "layout": "NWC"}
    assert run(composite("max_pool", **attrs), x).ravel().tolist() == [-5, -5, -3, -3]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_derivatives(layout):
    shape = (2, 5, 4, 4) if layout == "NHWC" else (2, 4, 5, 4)
    kernel = (3, 2, 2, 6) if layout == "NHWC" else (6, 2, 3, 2)
    x, k = RNG.standard_normal(shape), RNG.standard_normal(kernel)
    attrs = conv_attrs(layout, (2, 1), ((1, 1), (0, 1)), (1, 2), 2)
    check_derivatives(composite("conv", **attrs), x, k)
    g = RNG.standard_normal((2, 3, 3, 6) if layout == "NHWC" else (2, 6, 3, 3))
    check_derivatives(composite("conv_transpose", output_padding=(1, 0), **attrs), g, k)
    pool = {"window": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 1), "layout": layout}
    check_derivatives(composite("max_pool", **pool), x, order=1)
    check_derivatives(composite("average_pool", count_include_pad=False, **pool), x)


@pytest.mark.parametrize("element", [float16, bfloat16])
def test_halves_round_once(element):
    x = RNG.standard_normal((1, 40, 3)).astype(np.float32)
    attrs = {"window": (33,), "strides": (1,), "padding": ((0, 0),), "dilation": (1,), "layout": "NWC"}
    from graphc.ir.types import round_to

    found = run_half(composite("average_pool", count_include_pad=True, **attrs), element, x)
    held = round_to(x, element).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(held, 33, 1)
    expected = round_to(windows.sum(-1, dtype=np.float32) / np.float32(33), element).astype(np.float32)
    np.testing.assert_allclose(found, expected, rtol=2e-7 if element is float16 else 1e-2)


def test_the_decomposition_has_the_inferred_type_and_no_composite_left():
    b = Builder()
    x, k = b.input("x", f64("batch", 9, 8, 4)), b.input("k", f64(3, 3, 2, 6))
    node = b.op("conv", x, k, **conv_attrs("NHWC", (2, 1), ((1, 1), (1, 1)), (1, 1), 2))
    graph = decomposition(node.op, node.attrs, [x.tensor, k.tensor])
    assert graph.output_nodes[0].type is node.type
    assert [n.op.name for n in graph.nodes if n.op.decompose is not None] == []
    assert "patches" in [n.op.name for n in graph.nodes]


def test_symbolic_shapes():
    attrs = conv_attrs("NWC", (1,), ((2, 0),), (1,), 1)
    assert str(infer("conv", f64("batch", "time", 4), f64(3, 4, 6), **attrs)) == "float64[batch,time,6]"
    attrs = conv_attrs("NWC", (2,), ((0, 0),), (1,), 1)
    shape = infer("conv_transpose", f64("batch", "time", 6), f64(2, 4, 6), output_padding=(0,), **attrs)
    assert str(shape) == "float64[batch,2*time,4]"
    pool = {"window": (2,), "strides": (2,), "padding": ((0, 0),), "dilation": (1,), "layout": "NWC"}
    assert str(infer("max_pool", f64("batch", "2*time", 4), **pool)) == "float64[batch,time,4]"


def broken(**changes):
    return {**conv_attrs("NHWC", (1, 1), ((0, 0), (0, 0)), (1, 1), 1), **changes}


X, K = f64(2, 5, 5, 4), f64(3, 3, 4, 6)


@pytest.mark.parametrize(
    ("types", "attrs", "code"),
    [
        ((X, K), broken(strides=(0, 1)), "E218"),
        ((X, K), broken(dilation=(1, 0)), "E218"),
        ((X, K), broken(groups=0), "E218"),
        ((X, K), broken(groups=3), "E211"),
        ((X, K), broken(groups=4), "E211"),
        ((X, K), broken(strides=(1,)), "E211"),
        ((X, K), broken(padding=((0, 0), (0, -1))), "E211"),
        ((X, K), broken(layout="NHCW"), "E211"),
        ((X, K), broken(kernel_layout="OIHW"), "E211"),
        ((X, K), broken(dilation=(3, 1)), "E219"),
        ((X, f64(6, 3, 4, 6)), broken(), "E219"),
        ((X, f64(3, 3, 5, 6)), broken(), "E211"),
        ((X, f64(3, 3, 4)), broken(), "E211"),
        ((f64(2, 5, 4), K), broken(), "E211"),
        ((X, tensor_type(float32, (3, 3, 4, 6))), broken(), "E213"),
    ],
)
def test_conv_errors(types, attrs, code):
    with pytest.raises(GraphcError) as caught:
        infer("conv", *types, **attrs)
    assert caught.value.code == code


def test_other_errors():
    with pytest.raises(GraphcError) as caught:
        infer(
            "conv_transpose",
            f64(2, 1, 1, 6),
            f64(2, 2, 4, 6),
            output_padding=(0, 0),
            **broken(padding=((2, 1), (0, 0))),
        )
    assert caught.value.code == "E219"
    pool = {"window": (2,), "strides": (1,), "padding": ((0, 0),), "dilation": (1,), "layout": "NWC"}
    for op, type_, changes, code in [
        ("max_pool", f64(1, 1, 1), {}, "E219"),
        ("max_pool", f64(1, 3, 1), {"window": (0,)}, "E218"),
        ("average_pool", tensor_type(int64, (1, 3, 1)), {"count_include_pad": True}, "E213"),
    ]:
        with pytest.raises(GraphcError) as caught:
            infer(op, type_, **{**pool, **changes})
        assert caught.value.code == code
    assert infer("max_pool", tensor_type(float64, (1, 3, 1)), **pool).shape == (1, 2, 1)
