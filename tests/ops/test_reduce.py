"""Reductions and cumsum: values, dtypes, NaN, derivatives, errors."""

import numpy as np
import pytest

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.types import bfloat16, bool_, float16, float64, int8, int64, tensor_type

from .helpers import check_derivatives, f64, infer, run, run_half

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))


def reduction(op, axes, keepdims=False):
    return lambda b, x: b.op(op, x, axes=axes, keepdims=keepdims)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1, 2), (2, 0), (), (0, 1, 2)])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_values_match_numpy(op, axes, keepdims):
    expected = getattr(np, op)(X, axis=axes, keepdims=keepdims)
    np.testing.assert_array_equal(run(reduction(op, axes, keepdims), X), expected)


@pytest.mark.parametrize("op", ["any", "all"])
def test_boolean_reductions(op):
    flags = X > 0
    np.testing.assert_array_equal(run(reduction(op, (1,)), flags), getattr(np, op)(flags, axis=1))


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_positions_are_the_first_and_nan_wins(op):
    x = np.array([[1.0, 3.0, 3.0, -2.0, -2.0], [0.0, np.nan, 5.0, np.nan, -9.0]])
    found = run(reduction(op, (1,)), x)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [1 if op == "argmax" else 3, 1])
    assert run(reduction(op, (1,), True), x).shape == (2, 1)


def test_nan_wins_in_max_and_min():
    x = np.array([[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(run(reduction("max", (1,)), x), [np.nan, 3.0])
    np.testing.assert_array_equal(run(reduction("min", (1,)), x), [np.nan, 2.0])


def test_integers_keep_their_dtype_and_wrap():
    x = np.array([100, 100, 100], np.int8)
    assert run(reduction("sum", (0,)), x) == np.int8(300 - 256)
    assert run(reduction("sum", (0,)), x).dtype == np.int8
    assert run(reduction("prod", (0,)), np.array([16, 17], np.uint8)) == np.uint8(16 * 17 - 256)
    assert run(lambda b, x: b.op("cumsum", x, axis=0, reverse=False), x).tolist() == [100, -56, 44]


@pytest.mark.parametrize("element", [float16, bfloat16])
def test_halves_accumulate_in_float32(element):
    # 4096 ones of which each step would be lost in a half accumulator past 2048 (float16) or 256 (bfloat16).
    assert run_half(reduction("sum", (0,)), element, np.ones(4096)) == 4096.0


def test_of_nothing():
    empty = np.zeros((0, 2))
    np.testing.assert_array_equal(run(reduction("sum", (0,)), empty), [0, 0])
    np.testing.assert_array_equal(run(reduction("prod", (0,)), empty), [1, 1])
    for op in ("max", "min", "argmax", "argmin"):
        with pytest.raises(GraphcValueError) as caught:
            run(reduction(op, (0,)), empty)
        assert caught.value.code == "E215"
    assert run(reduction("max", (1,)), empty).shape == (0,)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (2, 0)])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_derivatives(op, axes):
    check_derivatives(reduction(op, axes), X, order=1 if op in ("max", "min") else 2)
    check_derivatives(reduction(op, axes, True), X, order=1)


@pytest.mark.parametrize("zeros", [(), (1,), (1, 3), (0, 1, 2)])
def test_derivatives_of_a_product_with_zeros(zeros):
    x = RNG.standard_normal((2, 5))
    x[:, list(zeros)] = 0.0
    check_derivatives(reduction("prod", (1,)), x, order=3, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8])
def test_product_derivative_at_every_length(length):
    check_derivatives(reduction("prod", (0,)), RNG.standard_normal((length, 2)), order=1)


def test_product_derivative_with_a_symbolic_length():
    from graphc.ir.builder import Builder
    from graphc.ops.reduce import exclusive_products

    b = Builder()
    x = b.input("x", f64("batch", "time", 3))
    assert exclusive_products(b, x, (1,)).type is x.type
    rows = np.array([[2.0, 0.0, 3.0], [1.0, 4.0, 5.0]])

    def by_pairs(b, x):
        from graphc.ops.reduce import _others_by_pairs

        return _others_by_pairs(b, x)

    np.testing.assert_array_equal(run(by_pairs, rows), [[0, 6, 0], [20, 5, 4]])


def test_ties_share_the_cotangent():
    from graphc.ops.composite import vjp_region

    from .helpers import evaluate_region, of_arrays

    x = np.array([[2.0, 5.0, 5.0], [1.0, 1.0, 1.0]])
    derivative, reached = vjp_region(of_arrays(reduction("max", (1,)), [x]), [0])
    assert reached == [0]
    (pulled,) = evaluate_region(derivative, [x, np.array([1.0, 3.0])])
    np.testing.assert_array_equal(pulled, [[0, 0.5, 0.5], [1, 1, 1]])


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(reverse):
    def build(b, x):
        return b.op("cumsum", x, axis=1, reverse=reverse)

    expected = np.flip(np.cumsum(np.flip(X, 1), 1), 1) if reverse else np.cumsum(X, 1)
    np.testing.assert_array_equal(run(build, X), expected)
    check_derivatives(build, X)


def test_symbolic_shapes():
    assert str(infer("sum", f64("batch", 3, "time"), axes=(0, 1), keepdims=False)) == "float64[time]"
    assert str(infer("max", f64("batch", 3), axes=(0,), keepdims=True)) == "float64[1,3]"
    assert str(infer("argmax", f64("batch", 3), axes=(1,), keepdims=False)) == "int64[batch]"


@pytest.mark.parametrize(
    ("op", "type_", "attrs", "error", "code"),
    [
        ("sum", tensor_type(bool_, (2,)), {"axes": (0,), "keepdims": False}, GraphcTypeError, "E213"),
        ("cumsum", tensor_type(bool_, (2,)), {"axis": 0, "reverse": False}, GraphcTypeError, "E213"),
        ("any", tensor_type(int8, (2,)), {"axes": (0,), "keepdims": False}, GraphcTypeError, "E213"),
        ("max", tensor_type(float64, (2,)), {"axes": (1,), "keepdims": False}, GraphcValueError, "E217"),
        ("max", tensor_type(float64, (2,)), {"axes": (-1,), "keepdims": False}, GraphcValueError, "E217"),
        ("sum", tensor_type(float64, (2, 2)), {"axes": (0, 0), "keepdims": False}, GraphcValueError, "E217"),
        ("argmax", tensor_type(int64, (2, 2)), {"axes": (0, 1), "keepdims": False}, GraphcValueError, "E217"),
        ("cumsum", tensor_type(float64, ()), {"axis": 0, "reverse": False}, GraphcValueError, "E217"),
    ],
)
def test_errors(op, type_, attrs, error, code):
    with pytest.raises(error) as caught:
        infer(op, type_, **attrs)
    assert caught.value.code == code
