"""Activation functions, and the stable compositions around ``exp`` and ``log``."""

from __future__ import annotations

import math
from typing import Any

from graphc.frontends.dsl.axes import normalize_axes
from graphc.frontends.dsl.elementwise import (
    abs,
    erf,
    exp,
    expm1,
    isfinite,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    softplus,
    stop_gradient,
    where,
)
from graphc.frontends.dsl.methods import Axis
from graphc.frontends.dsl.movement import squeeze
from graphc.frontends.dsl.reductions import max, sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805
"""The constants of Klambauer et al., *Self-Normalizing Neural Networks* (2017)."""


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, without overflow.

    The largest element is subtracted first; where it is infinite, 0 takes its place, so a row of -inf gives -inf and a
    row with +inf gives +inf rather than NaN.
    """
    tensor = as_tensor(x)
    axes = normalize_axes(tensor, axis)
    top = _finite_maximum(tensor, axes)
    total = log(sum(exp(tensor - top), axis=axes, keepdims=True)) + top
    return total if keepdims else squeeze(total, axes)


def _finite_maximum(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    # The result does not depend on what is subtracted, so no derivative of any order goes through it.
    top = stop_gradient(max(x, axis=axes, keepdims=True))
    return where(isfinite(top), top, 0)


def softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along ``axis``, without overflow.

    An element of -inf gets probability 0; a row of nothing but -inf, or one with +inf or NaN, is NaN.
    """
    tensor = as_tensor(x)
    axes = normalize_axes(tensor, axis)
    powers = exp(tensor - _finite_maximum(tensor, axes))
    return powers / sum(powers, axis=axes, keepdims=True)


def log_softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Tensor:
    """log(softmax(x)), exact where softmax underflows."""
    tensor = as_tensor(x)
    axes = normalize_axes(tensor, axis)
    shifted = tensor - _finite_maximum(tensor, axes)
    return shifted - log(sum(exp(shifted), axis=axes, keepdims=True))


def log_sigmoid(x: Any) -> Tensor:
    """log(sigmoid(x)), exact where sigmoid underflows."""
    return -softplus(-as_tensor(x))


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """X Φ(x) with the normal distribution's Φ; ``approximate`` takes the tanh form of Hendrycks and Gimpel (2016)."""
    tensor = as_tensor(x)
    if approximate:
        from graphc.frontends.dsl.elementwise import tanh

        inner = math.sqrt(2.0 / math.pi) * (tensor + 0.044715 * tensor * tensor * tensor)
        return 0.5 * tensor * (1.0 + tanh(inner))
    return 0.5 * tensor * (1.0 + erf(tensor * math.sqrt(0.5)))


def silu(x: Any) -> Tensor:
    """X sigmoid(x), also called swish."""
    tensor = as_tensor(x)
    return tensor * sigmoid(tensor)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """X where positive, else alpha (exp(x) - 1)."""
    tensor = as_tensor(x)
    # The branch not taken stays finite, so that its derivative does too.
    return where(tensor > 0, tensor, alpha * expm1(minimum(tensor, 0)))


def selu(x: Any) -> Tensor:
    """The self-normalizing elu."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """X where positive, else negative_slope x (0.2 as in Keras' activations)."""
    tensor = as_tensor(x)
    return where(tensor > 0, tensor, negative_slope * tensor)


def softsign(x: Any) -> Tensor:
    """X / (1 + |x|)."""
    tensor = as_tensor(x)
    return tensor / (1.0 + abs(tensor))


def hard_sigmoid(x: Any) -> Tensor:
    """X / 6 + 1/2, kept between 0 and 1."""
    return minimum(maximum(as_tensor(x) / 6.0 + 0.5, 0), 1)


def hard_tanh(x: Any) -> Tensor:
    """X, kept between -1 and 1."""
    return minimum(maximum(x, -1), 1)


def relu6(x: Any) -> Tensor:
    """X, kept between 0 and 6."""
    return minimum(relu(x), 6)


def softmin(x: Any, axis: int | tuple[int, ...] = -1) -> Tensor:
    """softmax(-x)."""
    return softmax(-as_tensor(x), axis)
