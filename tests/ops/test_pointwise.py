"""Pointwise ops: inference, and the reference evaluation at the corners of each dtype."""

import numpy as np
import pytest
import sympy

import graphc.ops  # noqa: F401
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.interp import evaluate_node
from graphc.ir.op import OpKind, get_op, registered_ops
from graphc.ir.types import (
    ALL_DTYPES,
    DTYPES,
    FLOATS,
    INTEGERS,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    tensor_type,
    uint8,
)
from graphc.ops.derive import parse
from graphc.ops.shapes import broadcast_axes, broadcast_shapes

POINTWISE = [op for op in registered_ops() if op.kind is OpKind.POINTWISE]
UNIFORM = [op for op in POINTWISE if op.name not in ("cast", "select")]
NAN, INF = np.nan, np.inf


def run(name, *values, dtype=float64, **attrs):
    """The reference value of one op on arrays of one dtype, in carrier form."""
    b = Builder()
    arrays = [np.asarray(value, dtype=dtype.carrier) for value in values]
    nodes = [b.input(f"x{i}", tensor_type(dtype, array.shape)) for i, array in enumerate(arrays)]
    return evaluate_node(b.op(name, *nodes, **attrs), arrays)


def same(actual, expected):
    """Equal element by element, NaN and the sign of zero included."""
    expected = np.asarray(expected, dtype=actual.dtype)
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        solid = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual)[solid], np.signbit(expected)[solid])


# -- inference ---------------------------------------------------------------------------------------------------------


def test_the_table_of_ops_is_complete():
    names = (
        "sqrt exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf "
        "sigmoid softplus divide atan2 hypot logaddexp copysign negative abs sign square reciprocal floor ceil "
        "trunc round relu add subtract multiply floor_divide remainder pow maximum minimum equal not_equal less "
        "less_equal greater greater_equal isnan isinf isfinite logical_not logical_and logical_or logical_xor "
        "bitwise_invert bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift select cast "
        "stop_gradient"
    )
    assert sorted(op.name for op in POINTWISE) == sorted(names.split())


@pytest.mark.parametrize("op", UNIFORM, ids=lambda op: op.name)
def test_each_op_on_each_dtype(op):
    for element in ALL_DTYPES:
        b = Builder()
        nodes = [b.input(f"x{i}", tensor_type(element, (*(3, 1)[i % 2 :], 2))) for i in range(op.arity)]
        if element not in op.dtypes:
            with pytest.raises(GraphcTypeError) as caught:
                b.make(op, nodes)
            assert caught.value.code == "E212" and op.name in caught.value.message
            continue
        node = b.make(op, nodes)
        # The carrier form of half values is on their grid; small integers always are.
        arrays = [
            np.arange(i, i + np.prod(n.shape)).reshape(n.shape).astype(element.carrier) for i, n in enumerate(nodes)
        ]
        value = evaluate_node(node, arrays)
        assert value.dtype == node.dtype.carrier and value.shape == node.shape
        empty = [np.zeros((0, *n.shape[1:]), element.carrier) for n in nodes]
        assert node.op.evaluate(node.attrs, *empty, result=node.type).shape[0] == 0


def test_broadcasting():
    n, m = symbol("n"), symbol("m")
    assert broadcast_shapes([(3, 1), (2,)]) == (3, 2)
    assert broadcast_shapes([(), (2,), (5, 1)]) == (5, 2)
    assert broadcast_shapes([(n, 3), (1, 3), (3,)]) == (n, 3)
    assert broadcast_shapes([(1,), (n,)]) == (n,)
    assert broadcast_shapes([(0,), (1,)]) == (0,)
    for left, right in [((2,), (3,)), ((n,), (m,)), ((n,), (3,)), ((0,), (2,))]:
        with pytest.raises(GraphcValueError) as caught:
            broadcast_shapes([left, right])
        assert caught.value.code == "E211"
    assert broadcast_axes((1, 3), (2, n, 3)) == (0, 1)


def test_errors_name_shapes_and_dtypes():
    b = Builder()
    x = b.input("x", tensor_type(float32, (2, 3)))
    with pytest.raises(GraphcValueError, match=r"add: the shapes \(2, 3\) and \(4,\)") as caught:
        b.op("add", x, b.input("y", tensor_type(float32, (4,))))
    assert caught.value.code == "E211"
    with pytest.raises(GraphcTypeError, match="float32 and int32") as caught:
        b.op("add", x, b.input("i", tensor_type(int32, (3,))))
    assert caught.value.code == "E213"
    with pytest.raises(GraphcTypeError, match="condition of select") as caught:
        b.op("select", x, x, x)
    assert caught.value.code == "E212"
    with pytest.raises(GraphcTypeError, match="takes 2 inputs, got 1"):
        b.op("add", x)


# -- values ------------------------------------------------------------------------------------------------------------

ELEMENTARY = [op for op in POINTWISE if op.dtypes == FLOATS and op.expression and op.name != "atan2"]


@pytest.mark.parametrize("op", ELEMENTARY, ids=lambda op: op.name)
def test_float64_reference_against_high_precision(op):
    low, high = op.extra.get("domain", (-6.0, 6.0))
    low, high = max(low, -6.0), min(high, 6.0)
    points = [low + (high - low) * t for t in (0.015625, 0.21875, 0.5078125, 0.53125, 0.78125, 0.984375)]
    expression = parse(op)
    names = sympy.symbols("x y", real=True)[: op.arity]
    for point in points:
        values = (point, 1.375)[: op.arity]
        exact = expression.subs({s: sympy.Rational(v) for s, v in zip(names, values, strict=True)}).evalf(30)
        assert float(run(op.name, *values)) == pytest.approx(float(exact), rel=2e-15, abs=1e-300)


def test_elementary_at_the_corners():
    same(run("sigmoid", [-INF, -1000, 0, 1000, NAN]), [0, 0, 0.5, 1, NAN])
    same(run("softplus", [-INF, -1000, 1000, INF, NAN]), [0, 0, 1000, INF, NAN])
    same(run("logaddexp", [-INF, INF, INF, 1000], [-INF, INF, 0, 1000]), [-INF, INF, INF, 1000 + np.log(2)])
    same(run("erf", [-INF, 0, INF, NAN]), [-1, 0, 1, NAN])
    same(run("atan2", [0.0, -0.0, 0.0, 1], [-1, -1, 1, 0]), [np.pi, -np.pi, 0, np.pi / 2])
    same(run("copysign", [1, -0.0, NAN, 2], [-0.0, 1, 1, -INF]), [-1, 0.0, NAN, -2])
    same(run("hypot", [3e300, INF, 0], [4e300, NAN, 0]), [5e300, INF, 0])


def test_numbers_at_the_corners():
    same(run("sign", [-2, -0.0, 0, 3, NAN, -INF]), [-1, 0, 0, 1, NAN, -1])
    same(run("relu", [-1, -0.0, 0, 2, NAN, INF]), [0, 0, 0, 2, NAN, INF])
    same(run("round", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, NAN]), [-2, -2, -0.0, 0, 2, 2, NAN])
    same(run("trunc", [-1.7, 1.7, -0.2, INF]), [-1, 1, -0.0, INF])
    same(run("maximum", [1, NAN, 1, -INF], [2, 1, NAN, -1]), [2, NAN, NAN, -1])
    same(run("minimum", [1, NAN, 1, -INF], [2, 1, NAN, -1]), [1, NAN, NAN, -INF])
    same(run("floor_divide", [1.0, -1, 7, INF, 1, -1, 0], [0.1, INF, -2, 1, 0, 0, 0]), [9, -1, -4, NAN, INF, -INF, NAN])
    same(run("remainder", [5, -5, 5, -1, 1, 4], [3, 3, -3, INF, 0, -2]), [2, 1, -1, INF, NAN, -0.0])
    same(run("pow", [0, NAN, 1, -8], [0, 0, NAN, 3]), [1, 1, 1, -512])
    for exponent in (0.5, [0.5] * 5):  # NumPy takes the square root for one of them
        same(run("pow", [-0.0, -INF, INF, 4, -4], exponent), [0.0, INF, INF, 2, NAN])


@pytest.mark.parametrize("element", INTEGERS)
def test_integer_division_and_remainder(element):
    limits = np.iinfo(element.storage)
    x = np.array([limits.min, limits.max, 0, 1, 7, 100], element.storage)
    x, y = np.repeat(x, len(x)), np.tile(np.array([0, 1, 3, 7, limits.max, limits.min or 2], element.storage), len(x))
    quotient, remainder = run("floor_divide", x, y, dtype=element), run("remainder", x, y, dtype=element)
    for a, b, q, r in zip(x.tolist(), y.tolist(), quotient.tolist(), remainder.tolist(), strict=True):
        assert (q, r) == ((a // b, a % b) if b else (0, 0))


def test_integer_division_of_the_smallest_by_minus_one():
    for element in (int8, int32, int64):
        low = np.iinfo(element.storage).min
        assert run("floor_divide", low, -1, dtype=element) == low
        assert run("remainder", low, -1, dtype=element) == 0


def test_integers_wrap():
    assert run("add", 127, 1, dtype=int8) == -128
    assert run("multiply", 100, 100, dtype=int8) == 16
    assert run("negative", -128, dtype=int8) == -128
    assert run("abs", -128, dtype=int8) == -128
    assert run("square", 16, dtype=uint8) == 0
    assert run("subtract", 0, 1, dtype=uint8) == 255


def test_integer_pow():
    same(
        run("pow", [2, -1, -1, 1, 0, 0, 5, 3], [-1, -3, -2, -9, -1, 0, -2, 5], dtype=int32), [0, -1, 1, 1, 0, 1, 0, 243]
    )
    assert run("pow", 3, 200, dtype=int64) == (pow(3, 200, 2**64) ^ 2**63) - 2**63
    assert run("pow", 3, 200, dtype=uint8) == pow(3, 200, 256)


@pytest.mark.parametrize("element", INTEGERS)
def test_shifts(element):
    limits = np.iinfo(element.storage)
    for x in (limits.min, -1 if limits.min else 0, 1, 77, limits.max):
        for amount in (0, 1, element.bits - 1, element.bits, 100, *([-1] if limits.min else [])):
            usable = 0 <= amount < element.bits
            left = (x << amount) % 2**element.bits if usable else 0
            left -= 2**element.bits if left > limits.max else 0
            right = x >> amount if usable else (-1 if x < 0 else 0)
            assert run("bitwise_left_shift", x, amount, dtype=element) == left
            assert run("bitwise_right_shift", x, amount, dtype=element) == right


def test_bits_of_bools():
    same(run("bitwise_invert", [True, False], dtype=bool_), [False, True])
    same(run("bitwise_xor", [True, True], [True, False], dtype=bool_), [False, True])


def test_comparisons_with_nan():
    same(run("equal", [NAN, 1, 0.0], [NAN, 1, -0.0]), [False, True, True])
    same(run("not_equal", [NAN, 1], [NAN, 1]), [True, False])
    same(run("less_equal", [NAN, 1], [1, 1]), [False, True])
    same(run("isnan", [1, 2], dtype=int32), [False, False])


# -- cast --------------------------------------------------------------------------------------------------------------


def cast(values, source, target):
    b = Builder()
    array = np.asarray(values, dtype=source.carrier)
    return evaluate_node(b.op("cast", b.input("x", tensor_type(source, array.shape)), dtype=target), [array])


def test_cast_float_to_integer_saturates():
    values = [NAN, INF, -INF, 1e30, -1e30, 2.9, -2.9, -0.5, 127.9, 128, -128.9, -129, 255.5, 256]
    same(cast(values, float64, int8), [0, 127, -128, 127, -128, 2, -2, 0, 127, 127, -128, -128, 127, 127])
    same(cast(values, float64, uint8), [0, 255, 0, 255, 0, 2, 0, 0, 127, 128, 0, 0, 255, 255])
    high = 2.0**63
    same(
        cast([high, np.nextafter(high, 0), -high, -2 * high], float64, int64),
        [2**63 - 1, 2**63 - 1024, -(2**63), -(2**63)],
    )
    same(cast([2.0**31, np.nextafter(np.float32(2.0**31), np.float32(0))], float32, int32), [2**31 - 1, 2**31 - 128])


def test_cast_integer_wraps_and_bool():
    same(cast([300, -1, 128], int32, int8), [44, -1, -128])
    same(cast([300, -1], int32, uint8), [44, 255])
    same(cast([0.0, -0.0, NAN, 0.1], float32, bool_), [False, False, True, True])
    same(cast([True, False], bool_, float16), [1, 0])


def test_cast_to_half_rounds_to_even():
    same(cast([1 + 2.0**-11, 1 + 3 * 2.0**-11, 1e6], float32, float16), [1, 1 + 2.0**-9, INF])
    same(cast([1 + 2.0**-8, 1 + 3 * 2.0**-8, 3e38], float32, bfloat16), [1, 1 + 2.0**-6, 226 * 2.0**120])


def test_every_cast_infers():
    b = Builder()
    for source in ALL_DTYPES:
        x = b.input(f"x_{source}", tensor_type(source, (2, symbol("n"))))
        for target in DTYPES.values():
            assert b.op("cast", x, dtype=target).type is tensor_type(target, (2, symbol("n")))


def test_half_computes_in_float32():
    # 1 + 2^-11 + 2^-11 is a tie that float16 arithmetic would round away twice; the op rounds once.
    assert run("add", 1.0, 2.0**-11, dtype=float16) == 1.0
    assert run("multiply", 300.0, 300.0, dtype=float16) == INF
    assert run("hypot", 300.0, 400.0, dtype=float16) == 500.0


def test_stop_gradient_and_select():
    same(run("stop_gradient", [1, -0.0, NAN]), [1, -0.0, NAN])
    assert not get_op("stop_gradient").differentiable
    b = Builder()
    condition = b.input("c", tensor_type(bool_, (2, 1)))
    x = b.input("x", tensor_type(float32, (3,)))
    node = b.op("select", condition, x, b.constant(0, float32))
    value = evaluate_node(node, [np.array([[True], [False]]), np.arange(3, dtype=np.float32), np.float32(0)])
    same(value, [[0, 1, 2], [0, 0, 0]])
