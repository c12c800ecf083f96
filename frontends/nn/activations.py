"""Activation functions under their Keras names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl.activations import (
    elu,
    gelu,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu6,
    selu,
    silu,
    softmax,
    softsign,
)
from graphc.frontends.dsl.elementwise import exp, relu, sigmoid, softplus, step, tanh
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail

Function = Callable[[Tensor], Tensor]


def linear(x: Any) -> Tensor:
    """The identity."""
    return as_tensor(x)


exponential = exp
identity = linear
swish = silu


def hard_silu(x: Any) -> Tensor:
    """X hard_sigmoid(x)."""
    tensor = as_tensor(x)
    return tensor * hard_sigmoid(tensor)


hard_swish = hard_silu


_BY_NAME: dict[str, Function] = {
    "elu": elu,
    "exponential": exp,
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "identity": linear,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "step": step,
    "swish": silu,
    "tanh": tanh,
}

__all__ = ["exponential", "get", *sorted(_BY_NAME)]  # noqa: PLE0604  (the table holds strings)


def get(identifier: Any) -> Function:
    """The activation meant by a name, a function of tensors, or None for the identity.

    Raises:
        GraphcValueError: E213 for a name that is none, with the nearest.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        return by_name(identifier, _BY_NAME, "activation")
    if not callable(identifier):
        raise fail(GraphcTypeError, "E213", f"an activation is a name or a function, got {identifier!r}")
    function: Function = identifier
    return function
