"""Dtypes, shapes, promotion, symbolic dimensions."""

import pickle

import numpy as np
import pytest

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.dim import divide_exact, parse_dim, product, symbol, to_sympy
from graphc.ir.types import (
    ALL_DTYPES,
    bfloat16,
    bool_,
    dtype,
    float16,
    float32,
    float64,
    from_carrier,
    int8,
    int32,
    int64,
    promote,
    round_to,
    tensor_type,
    to_carrier,
    uint8,
)


def test_types_are_interned() -> None:
    assert tensor_type(float32, (2, 3)) is tensor_type(float32, [2, np.int64(3)])
    assert tensor_type(float32, (2,)) is not tensor_type(float64, (2,))


@pytest.mark.parametrize("value", [float32, tensor_type(int8, (3,)), symbol("batch") * 2 + 1])
def test_types_pickle_to_themselves(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float32", float32),
        (np.float64, float64),
        (float, float32),
        (int, int64),
        (bool, bool_),
        (np.dtype("uint8"), uint8),
    ],
)
def test_dtype_by_any_name(given: object, expected: object) -> None:
    assert dtype(given) is expected  # type: ignore[arg-type]


def test_unknown_dtype_suggests_a_name() -> None:
    with pytest.raises(GraphcTypeError, match="did you mean float32"):
        dtype("flaot32")


@pytest.mark.parametrize("left", ALL_DTYPES)
@pytest.mark.parametrize("right", ALL_DTYPES)
def test_promotion_is_symmetric_and_holds_both(left, right) -> None:
    try:
        result = promote(left, right)
    except GraphcTypeError:
        assert (left.is_float, left is bool_) != (right.is_float, right is bool_)
        return
    assert promote(right, left) is result
    assert promote(result, left) is result
    if not (left.is_half or right.is_half) and {left, right} != {int8, uint8}:
        assert result.storage == np.promote_types(left.storage, right.storage)


def test_promotion_by_cases() -> None:
    assert promote(int8, uint8) is int32, "graphc has no int16"
    assert promote(int64, uint8) is int64
    assert promote(float16, bfloat16) is float32
    with pytest.raises(GraphcTypeError, match="cannot mix int32 and float32"):
        promote(int32, float32)


@pytest.mark.parametrize("shape", [(-1,), (2, -3)])
def test_negative_dimension(shape: tuple[int, ...]) -> None:
    with pytest.raises(GraphcValueError, match="must not be negative"):
        tensor_type(float32, shape)


@pytest.mark.parametrize("shape", [(True,), (2.0,), (None,)])
def test_dimension_that_is_no_integer(shape: tuple[object, ...]) -> None:
    with pytest.raises(GraphcTypeError, match="must be an integer or a symbol"):
        tensor_type(float32, shape)  # type: ignore[arg-type]


def test_a_bool_dimension_is_refused_even_where_its_integer_is_known() -> None:
    tensor_type(float32, (1, 1))
    with pytest.raises(GraphcTypeError):
        tensor_type(float32, (True, True))


def test_too_many_elements_is_an_error_before_anything_is_allocated() -> None:
    with pytest.raises(GraphcValueError, match="2\\*\\*40"):
        tensor_type(float32, (2**31, 2**32))


def test_symbols_form_polynomials() -> None:
    b, t = symbol("batch"), symbol("time")
    assert (b + 1) * (b - 1) is b * b - 1
    assert b - b == 0
    assert 2 * t + 1 is t + t + 1
    assert str(2 * t * b + 1 - b) == "2*batch*time - batch + 1"
    assert parse_dim("2*time + 1") is 2 * t + 1
    assert product([b, 3, t]) is 3 * b * t
    assert (2 * t + 1).substitute({"time": 5}) == 11  # type: ignore[union-attr]
    assert to_sympy(2 * t + 1).subs("time", 4).is_integer


@pytest.mark.parametrize(
    ("dim", "divisor", "expected"),
    [("6*b*t", "2*b", "3*t"), ("b + 1", "2", None), ("b*t + t", "t", "b + 1"), ("b", "t", None)],
)
def test_exact_division(dim: str, divisor: str, expected: str | None) -> None:
    found = divide_exact(parse_dim(dim), parse_dim(divisor))
    assert found is (None if expected is None else parse_dim(expected))


@pytest.mark.parametrize("text", ["", "2 *", "a b", "1 +", "a**", "(a)"])
def test_text_that_is_no_dimension(text: str) -> None:
    with pytest.raises(GraphcValueError, match="not a dimension"):
        parse_dim(text)


def test_bfloat16_rounds_to_nearest_even_and_keeps_nan() -> None:
    import ml_dtypes

    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    ours = from_carrier(round_to(values, bfloat16), bfloat16).view(ml_dtypes.bfloat16).astype(np.float32)
    theirs = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(to_carrier(from_carrier(ours, bfloat16), bfloat16), ours)
