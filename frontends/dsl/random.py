"""Random tensors: functions of a key (seed, step) and of a stream of their own.

The key is the state variable ``random/seed_step``.  Entry points made by ``minimize`` advance its step, so every
training step draws anew; the others leave it, and repeat their numbers until it changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_shape
from graphc.frontends.dsl.creation import constant
from graphc.frontends.dsl.movement import concat
from graphc.frontends.dsl.session import Session, current_session, session_of
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail, to_dtype
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, float32, int64, tensor_type
from graphc.ops import random as random_ops

STATE_NAME = "random/seed_step"


def _initial_key(_type: TensorType, seed: int) -> np.ndarray[Any, Any]:
    return np.array([seed, 0], dtype=np.int64)


def _key_node(session: Session) -> Node:
    """The key of this graph, and the promise that training advances it."""
    if session.random_state is None:
        session.random_state = State(STATE_NAME, tensor_type(int64, (2,)), _initial_key, "counter", trainable=False)
    node = session.state(session.random_state)
    if not session.companions(node):
        advance = session.constant(np.array([0, 1]), int64)
        session.add_companion(node, node, session.op("add", node, advance))
    return node


def _key(seed: int | None, key: Any) -> Tensor:
    if key is not None:
        return as_tensor(key, int64)
    session = current_session()
    shared = Tensor(_key_node(session), session)
    if seed is None:
        return shared
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise fail(GraphcTypeError, "E213", f"a seed must be an integer, got {seed!r}")
    # The user's seed with the running step: the same sequence in every process, new numbers in every training step.
    return concat([constant(np.array([seed])), shared[1:]])


def _float_type(dtype: Any) -> DType:
    element = to_dtype(dtype)
    if not element.is_float:
        raise fail(GraphcTypeError, "E213", f"random numbers are floats, got {element}", "cast them: .astype('int64')")
    return element


def random_uniform(
    shape: Any,
    low: float = 0.0,
    high: float = 1.0,
    dtype: DType | str = "float32",
    *,
    seed: int | None = None,
    key: Any = None,
) -> Tensor:
    """Uniform numbers in [low, high).

    Args:
        shape: of the result.
        low: where the range begins.
        high: where it ends.
        dtype: a float dtype.
        seed: takes the place of the model's seed; the step still advances.
        key: an int64 tensor (seed, step) that takes the place of both.
    """
    chosen, element = _key(seed, key), _float_type(dtype)
    builder = chosen.builder
    stream = session_of(builder).next_stream()
    drawn = Tensor(random_ops.uniform(builder, chosen.node, checked_shape(shape), stream, element), builder)
    return drawn if (low, high) == (0.0, 1.0) else drawn * (high - low) + low


def random_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DType | str = "float32",
    *,
    seed: int | None = None,
    key: Any = None,
) -> Tensor:
    """Normal numbers, by the Box–Muller transform of two uniform draws; arguments as in :func:`random_uniform`."""
    chosen, element = _key(seed, key), _float_type(dtype)
    builder = chosen.builder
    stream = session_of(builder).next_stream(2)
    drawn = Tensor(random_ops.normal(builder, chosen.node, checked_shape(shape), stream, element), builder)
    return drawn if (mean, stddev) == (0.0, 1.0) else drawn * stddev + mean


def random_bernoulli(shape: Any, p: float | Tensor = 0.5, *, seed: int | None = None, key: Any = None) -> Tensor:
    """Bools that are true with probability ``p``, a number or a tensor that broadcasts to ``shape``."""
    chosen = _key(seed, key)
    if not isinstance(p, Tensor) and not 0.0 <= p <= 1.0:
        raise fail(GraphcValueError, "E213", f"a probability lies between 0 and 1, got {p}")
    builder = chosen.builder
    probability = as_tensor(p, float32, builder)
    stream = session_of(builder).next_stream()
    return Tensor(random_ops.bernoulli(builder, chosen.node, checked_shape(shape), stream, probability.node), builder)
