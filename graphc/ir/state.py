"""State variables: what an entry point reads and updates between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.ir.types import TensorType

Initial = np.ndarray[Any, Any] | Callable[[TensorType, int], np.ndarray[Any, Any]]
"""An array, or a function of (type, seed) that makes one."""


class State:
    """One state variable: a parameter, an optimizer slot, a running statistic, a random counter, a recurrent state.

    Compared by identity inside a builder (two variables may start with equal values) and by ``name`` and ``type``
    between graphs.

    Attributes:
        name: unique in a model; ``/`` separates layers, as in ``lstm/kernel``.
        type: dtype and static shape.
        initial: starting value, or a function of (type, seed).
        role: ``parameter``, ``slot`` (of an optimizer), ``statistic``, ``counter`` or ``recurrent``.
        trainable: False for a frozen parameter.
    """

    __slots__ = ("__weakref__", "initial", "name", "role", "trainable", "type")

    def __init__(
        self, name: str, type: TensorType, initial: Initial, role: str = "parameter", trainable: bool = True
    ) -> None:
        self.name = name
        self.type = type
        self.initial = initial
        self.role = role
        self.trainable = trainable

    def __repr__(self) -> str:
        return f"State({self.name!r}, {self.type!r})"

    def initial_value(self, seed: int = 0) -> np.ndarray[Any, Any]:
        """The starting value as a fresh boundary array; the same for the same seed."""
        made = self.initial(self.type, seed) if callable(self.initial) else self.initial
        value = np.array(made, dtype=self.type.dtype.storage, order="C", copy=True)
        if value.shape != self.type.static_shape:
            raise GraphcValueError(
                "E211", f"state {self.name!r} has shape {self.type.shape}, its initial value {value.shape}"
            )
        return value
