"""Philox 4x32-10 and the ops built on it."""

import math

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.types import bfloat16, float16, float32, float64, int32, int64, tensor_type
from graphc.ops import random

# Random123's kat_vectors, the lines `philox4x32 10`: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(counter, key, expected):
    assert [int(word) for word in random.philox(words(counter), words(key))] == words(expected)


def draw(make, key=(0, 0)):
    b = Builder()
    node = b.input("key", tensor_type(int64, (2,)))
    graph = Graph.make("draw", [node], [("y", make(b, node))])
    return evaluate(graph, {"key": np.array(key, np.int64)})[0]["y"]


def test_float32_takes_the_words_of_a_block_in_order():
    first = words(KNOWN_ANSWERS[0][2])
    values = draw(lambda b, key: random.uniform(b, key, (2, 3), 0))
    assert values.dtype == np.float32 and values.shape == (2, 3)
    assert values.reshape(-1)[:4].tolist() == [(word >> 8) * 2.0**-24 for word in first]
    block_one = [int(word) for word in random.philox((1, 0, 0, 0), (0, 0))]
    assert values.reshape(-1)[4:].tolist() == [(word >> 8) * 2.0**-24 for word in block_one[:2]]


def test_float64_takes_two_words_each():
    first = words(KNOWN_ANSWERS[0][2])
    values = draw(lambda b, key: random.uniform(b, key, (3,), 0, float64))
    expected = [((first[i] << 32 | first[i + 1]) >> 11) * 2.0**-53 for i in (0, 2)]
    assert values[:2].tolist() == expected


def test_key_and_stream_place():
    seed, step, stream = -2, 2**32 + 7, 9
    values = draw(lambda b, key: random.uniform(b, key, (4,), stream), (seed, step))
    block = random.philox((0, 0, stream, 7), (0xFFFFFFFE, 0xFFFFFFFF))
    assert values.tolist() == [(int(word) >> 8) * 2.0**-24 for word in block]


def test_streams_and_steps_differ():
    a = draw(lambda b, key: random.uniform(b, key, (64,), 0))
    assert not np.any(a == draw(lambda b, key: random.uniform(b, key, (64,), 1)))
    assert not np.any(a == draw(lambda b, key: random.uniform(b, key, (64,), 0), (0, 1)))


@pytest.mark.parametrize("element", [float16, bfloat16])
def test_half_dtypes_stay_below_one(element):
    values = draw(lambda b, key: random.uniform(b, key, (1 << 16,), 3, element))
    if element is bfloat16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    assert values.min() >= 0 and values.max() < 1
    assert abs(float(values.astype(np.float64).mean()) - 0.5) < 0.01


def test_normal_moments():
    values = draw(lambda b, key: random.normal(b, key, (50_000,), 4, float64), (7, 0))
    assert np.isfinite(values).all()
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    assert abs(np.mean(values < 1) - 0.5 * (1 + math.erf(1 / math.sqrt(2)))) < 0.01


def test_bernoulli():
    values = draw(lambda b, key: random.bernoulli(b, key, (50_000,), 4, 0.3), (7, 0))
    assert values.dtype == bool and abs(values.mean() - 0.3) < 0.01
    assert draw(lambda b, key: random.bernoulli(b, key, (100,), 4, 1.0)).all()
    assert not draw(lambda b, key: random.bernoulli(b, key, (100,), 4, 0.0)).any()


def test_empty():
    assert draw(lambda b, key: random.uniform(b, key, (0, 3), 0)).shape == (0, 3)


def test_errors():
    b = Builder()
    key = b.input("key", tensor_type(int64, (2,)))
    with pytest.raises(GraphcTypeError, match="float32 or float64"):
        b.op("random_uniform", key, shape=(2,), stream=0, dtype=int32)
    with pytest.raises(GraphcTypeError, match="int64 key"):
        b.op("random_uniform", b.op("cast", key, dtype=int32), shape=(2,), stream=0, dtype=float32)
    with pytest.raises(GraphcValueError, match="stream"):
        b.op("random_uniform", key, shape=(2,), stream=-1, dtype=float32)
    with pytest.raises(GraphcValueError, match=r"shape \(2,\)"):
        b.op("random_uniform", b.input("other", tensor_type(int64, (3,))), shape=(2,), stream=0, dtype=float32)


def test_symbolic_shape_infers():
    b = Builder()
    key = b.input("key", tensor_type(int64, (2,)))
    assert random.uniform(b, key, (symbol("n"), 2), 0).type is tensor_type(float32, (symbol("n"), 2))
