"""Counter-based random numbers: Philox 4×32-10, so that a value depends on its key and position alone.

The generator is that of Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3* (SC 2011).  There
is no state to carry through a graph: the key is (seed, step), and every random op has its own ``stream``.  Loops may
therefore be rolled, reordered and run in parallel without changing one number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, register
from graphc.ir.types import DType, Shape, TensorType, bfloat16, float16, float32, float64, int64, tensor_type

Array = np.ndarray[Any, Any]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""Added to the two key words after every round."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: Sequence[Array | int], key: Sequence[int]) -> tuple[Array, Array, Array, Array]:
    """Philox 4×32-10 of four counter words (arrays that broadcast together) under two key words.

    Returns:
        Four arrays of ``uint64`` that hold 32-bit words.
    """
    words = [np.asarray(word, dtype=np.uint64) & _LOW for word in counter]
    key_words = [int(word) & 0xFFFFFFFF for word in key]
    for _ in range(ROUNDS):
        first = words[0] * np.uint64(MULTIPLIERS[0])
        second = words[2] * np.uint64(MULTIPLIERS[1])
        words = [
            (second >> _HALF) ^ words[1] ^ np.uint64(key_words[0]),
            second & _LOW,
            (first >> _HALF) ^ words[3] ^ np.uint64(key_words[1]),
            first & _LOW,
        ]
        key_words = [(word + step) & 0xFFFFFFFF for word, step in zip(key_words, WEYL, strict=True)]
    a, b, c, d = np.broadcast_arrays(*words)
    return a, b, c, d


def uniform_values(key: Array, count: int, stream: int, element: DType) -> Array:
    """``count`` numbers in [0, 1): float32 with 24 random bits, four a block; float64 with 53, two a block.

    Args:
        key: int64 (seed, step).
        count: how many, from flat index 0.
        stream: which of the op's own sequences.
        element: float32 or float64.
    """
    seed, step = (int(word) & 0xFFFFFFFFFFFFFFFF for word in key)
    per_block = 4 if element is float32 else 2
    block = np.arange(-(-count // per_block), dtype=np.uint64)
    words = philox((block & _LOW, block >> _HALF, stream, step & 0xFFFFFFFF), (seed & 0xFFFFFFFF, seed >> 32))
    if element is float32:
        columns = [(word >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24) for word in words]
    else:
        pairs = ((words[0], words[1]), (words[2], words[3]))
        columns = [(((high << _HALF) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53 for high, low in pairs]
    return np.stack(columns, axis=-1).reshape(-1)[:count]


def _infer_uniform(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    if len(inputs) not in (1, 2):
        raise GraphcTypeError("E213", f"random_uniform takes a key and perhaps an offset, got {len(inputs)} inputs")
    key = inputs[0]
    if len(inputs) == 2 and inputs[1] is not tensor_type(int64):
        raise GraphcTypeError("E212", f"random_uniform needs an int64 scalar as offset, got {inputs[1]!r}")
    if key.dtype is not int64:
        raise GraphcTypeError("E212", f"random_uniform needs an int64 key (seed, step), got {key!r}")
    if key.shape != (2,):
        raise GraphcValueError("E211", f"random_uniform needs a key of shape (2,), got {key!r}")
    element: DType = attrs["dtype"]
    if element is not float32 and element is not float64:
        raise GraphcTypeError("E212", f"random_uniform makes float32 or float64, not {element}", hint="cast the result")
    stream = attrs["stream"]
    if not isinstance(stream, int) or isinstance(stream, bool) or not 0 <= stream < 2**32:
        raise GraphcValueError("E212", f"a random stream is an integer from 0 to 2**32 - 1, got {stream!r}")
    return tensor_type(element, attrs["shape"])


def _evaluate_uniform(attrs: Attrs, key: Array, offset: Array | int = 0, *, result: TensorType) -> Array:
    shape = result.static_shape
    stream = (attrs["stream"] + int(offset)) & 0xFFFFFFFF
    return uniform_values(key, math.prod(shape), stream, result.dtype).reshape(shape)


register(
    OpDef(
        "random_uniform",
        OpKind.RANDOM,
        _infer_uniform,
        _evaluate_uniform,
        attributes=("shape", "stream", "dtype"),
        dtypes=(int64,),
        summary="uniform random numbers in [0, 1) from Philox 4x32-10; an offset is added to the stream",
        differentiable=False,
    )
)


STREAMS_OF_A_STEP = 1 << 16
"""Random streams between one step and the next of a loop that was never unrolled: more than a model draws outside."""

_HALF_PRECISION = {float16: 11, bfloat16: 8}
"""Significant bits of the half dtypes."""


def uniform(b: Builder, key: Node, shape: Shape, stream: int, element: DType = float32) -> Node:
    """Uniform numbers in [0, 1) of any float dtype."""
    if element in (float32, float64):
        return b.op("random_uniform", key, shape=tuple(shape), stream=stream, dtype=element)
    # Rounding could reach 1: bits beyond the half dtype's are cut off instead.
    steps = 2.0 ** _HALF_PRECISION[element]
    drawn = b.op("random_uniform", key, shape=tuple(shape), stream=stream, dtype=float32)
    whole = b.op("floor", b.op("multiply", drawn, b.full_like(drawn, steps)))
    return b.op("cast", b.op("multiply", whole, b.full_like(whole, 1.0 / steps)), dtype=element)


def normal(b: Builder, key: Node, shape: Shape, stream: int, element: DType = float32) -> Node:
    """Standard normal numbers by the Box–Muller transform of two uniforms.

    Takes the streams ``stream`` and ``stream + 1``.
    """
    drawn = element if element in (float32, float64) else float32
    radius_draw = uniform(b, key, shape, stream, drawn)
    angle_draw = uniform(b, key, shape, stream + 1, drawn)
    # log1p(-u) and not log(u): u may be 0 but never 1, so the logarithm stays finite.
    logarithm = b.op("log1p", b.op("negative", radius_draw))
    radius = b.op("sqrt", b.op("multiply", b.full_like(logarithm, -2.0), logarithm))
    angle = b.op("multiply", b.full_like(angle_draw, 2.0 * math.pi), angle_draw)
    value = b.op("multiply", radius, b.op("cos", angle))
    return value if drawn is element else b.op("cast", value, dtype=element)


def bernoulli(b: Builder, key: Node, shape: Shape, stream: int, probability: Node | float) -> Node:
    """Booleans that are true with ``probability``.

    Args:
        b: the builder.
        key: int64 (seed, step).
        shape: of the result.
        stream: one that no other random op of the model has.
        probability: a number, or a float32 or float64 tensor that broadcasts to ``shape``.
    """
    threshold = probability if isinstance(probability, Node) else b.constant(probability, float32)
    return b.op("less", uniform(b, key, shape, stream, threshold.dtype), threshold)
