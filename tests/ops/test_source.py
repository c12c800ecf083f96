"""Ops without inputs."""

import numpy as np
import pytest

import graphc.ops  # noqa: F401  (fills the registry)
from graphc.errors import GraphcError
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.interp import evaluate_node
from graphc.ir.types import bfloat16, bool_, float32, int8, int64, uint8


def value(op, **attrs):
    return evaluate_node(Builder().op(op, **attrs), [])


def test_iota():
    np.testing.assert_array_equal(value("iota", shape=(2, 3), axis=1, dtype=int64), [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(value("iota", shape=(2, 3), axis=0, dtype=float32), [[0] * 3, [1] * 3])
    assert value("iota", shape=(300,), axis=0, dtype=uint8)[257] == 1
    assert value("iota", shape=(300,), axis=0, dtype=int8)[200] == -56
    assert value("iota", shape=(0, 2), axis=0, dtype=int64).shape == (0, 2)
    # 257 lies between two bfloat16 numbers and rounds to the even one.
    assert value("iota", shape=(300,), axis=0, dtype=bfloat16)[257] == 256


def test_iota_is_typed_by_its_symbols():
    b = Builder()
    assert str(b.op("iota", shape=(symbol("time"), 2), axis=0, dtype=int64).type) == "int64[time,2]"


@pytest.mark.parametrize(
    ("attrs", "code"),
    [({"shape": (2,), "axis": 1, "dtype": int64}, "E217"), ({"shape": (2,), "axis": 0, "dtype": bool_}, "E213")],
)
def test_iota_errors(attrs, code):
    with pytest.raises(GraphcError) as caught:
        value("iota", **attrs)
    assert caught.value.code == code


def test_constants_of_half_dtypes_are_rounded():
    b = Builder()
    node = b.constant([1.0, 1.00390625], bfloat16)
    assert evaluate_node(node, []).tolist() == [1.0, 1.0]


def test_what_a_call_binds_has_no_value_of_its_own():
    with pytest.raises(GraphcError) as caught:
        value("training")
    assert caught.value.code == "E902"
