"""Projections: what a step ends with, so that a parameter stays in its set."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from graphc.frontends.dsl.tensor import Tensor
from graphc.ir.state import State

Projection = Callable[[Tensor], Tensor]
"""A function from what a step makes of a parameter to what the parameter becomes."""

_projections: weakref.WeakKeyDictionary[State, Projection] = weakref.WeakKeyDictionary()


def constrain(parameter: Tensor, projection: Projection) -> None:
    """Let every optimizer step of ``parameter`` end with ``projection``."""
    assert parameter.state is not None, parameter
    _projections[parameter.state] = projection


def projected(parameter: Tensor, value: Tensor) -> Tensor:
    """The new ``value`` of ``parameter`` as its projection leaves it; as it is where it has none."""
    projection = None if parameter.state is None else _projections.get(parameter.state)
    return value if projection is None else projection(value)
