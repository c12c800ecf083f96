"""Constraints on weights under their Keras names: where a step of the optimizer puts a weight back.

A norm is taken over ``axis``: for the kernel of a ``Dense`` layer, (inputs × units), 0 constrains the weights of each
unit; for that of a ``Conv2D``, (rows × columns × inputs × filters), (0, 1, 2) those of each filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl.elementwise import clip, maximum, sqrt, square
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.optim.optimizer import check_number

__all__ = [
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "unit_norm",
]

Constraint = Callable[[Tensor], Tensor]
Axes = int | tuple[int, ...] | list[int]

_EPSILON = 1e-7
"""What Keras adds to a norm that may be 0."""


def _norms(w: Tensor, axis: Axes) -> Tensor:
    return sqrt(sum(square(w), axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=True))


@dataclass(init=False)
class MinMaxNorm:
    """Norms between ``min_value`` and ``max_value``; ``rate`` below 1 goes only so far of the way in each step."""

    min_value: float
    max_value: float
    rate: float
    axis: Axes

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axes = 0) -> None:
        self.min_value = check_number("min_value", min_value, 0.0)
        self.max_value = check_number("max_value", max_value, self.min_value)
        self.rate, self.axis = check_number("rate", rate, 0.0, 1.0), axis

    def __call__(self, w: Tensor) -> Tensor:
        """The weight with its norms in the interval, or on their way there."""
        norms = _norms(w, self.axis)
        wanted = clip(norms, self.min_value, self.max_value)
        if self.rate != 1.0:
            wanted = self.rate * wanted + (1.0 - self.rate) * norms
        return w * (wanted / (norms + _EPSILON))


@dataclass(init=False)
class MaxNorm:
    """Norms up to ``max_value``."""

    max_value: float
    axis: Axes

    def __init__(self, max_value: float = 2.0, axis: Axes = 0) -> None:
        self.max_value, self.axis = check_number("max_value", max_value, 0.0), axis

    def __call__(self, w: Tensor) -> Tensor:
        """The weight, scaled down where a norm is larger."""
        return MinMaxNorm(0.0, self.max_value, 1.0, self.axis)(w)


@dataclass(frozen=True)
class UnitNorm:
    """Norms of 1."""

    axis: Axes = 0

    def __call__(self, w: Tensor) -> Tensor:
        """The weight divided by its norms."""
        return w / (_norms(w, self.axis) + _EPSILON)


@dataclass(frozen=True)
class NonNeg:
    """No element below 0."""

    def __call__(self, w: Tensor) -> Tensor:
        """The weight, with 0 in place of what is negative."""
        return maximum(w, 0.0)


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_BY_NAME: Mapping[str, Callable[[], Constraint]] = {
    "max_norm": MaxNorm,
    "min_max_norm": MinMaxNorm,
    "non_neg": NonNeg,
    "unit_norm": UnitNorm,
    "MaxNorm": MaxNorm,
    "MinMaxNorm": MinMaxNorm,
    "NonNeg": NonNeg,
    "UnitNorm": UnitNorm,
}


def get(identifier: Any) -> Constraint | None:
    """The constraint meant by a name, a class, a function of a tensor, or None for none.

    Raises:
        GraphcTypeError, GraphcValueError: E213 for what is none.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        return by_name(identifier, _BY_NAME, "constraint")()
    if isinstance(identifier, type):
        identifier = identifier()
    if not callable(identifier):
        raise fail(GraphcTypeError, "E213", f"a constraint is a name or a function, got {identifier!r}")
    constraint: Constraint = identifier
    return constraint
