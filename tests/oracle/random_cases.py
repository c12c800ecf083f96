"""Random configurations of layers: a function from random draws to a case, for each layer."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.oracle.nn_parity import Array, Case, Reference


class Draw:
    """Random choices, the same in every run for the same layer and number."""

    def __init__(self, name: str, number: int) -> None:
        self.rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        self.number = number

    def size(self, low: int = 2, high: int = 5) -> int:
        """An integer between the two, both included."""
        return int(self.rng.integers(low, high + 1))

    def sizes(self, count: int, low: int = 2, high: int = 5) -> tuple[int, ...]:
        """Several of them."""
        return tuple(self.size(low, high) for _ in range(count))

    def number_in(self, low: float, high: float) -> float:
        """A number with few digits, so that labels stay short."""
        return round(float(self.rng.uniform(low, high)), 2)

    def flag(self) -> bool:
        """True or False."""
        return bool(self.rng.integers(2))

    def one_of(self, *options: Any) -> Any:
        """One of the options; each comes in turn over the numbers."""
        return options[int(self.rng.integers(len(options)))]

    def array(self, *shape: int, scale: float = 1.0) -> Array:
        """Normal numbers."""
        return self.rng.normal(size=shape) * scale

    def mask(self, *shape: int) -> Array:
        """Bools, of which the first along the last axis is True."""
        made = self.rng.random(shape) > 0.4
        made[..., 0] = True
        return made


Maker = Callable[[Draw], Case]
REGISTRY: dict[str, tuple[Maker, int]] = {}


def random_cases(*names: str, count: int = 4) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Let a function make ``count`` cases for each of some layers; it takes the draws, and the name where several."""

    def register(function: Callable[..., Case]) -> Callable[..., Case]:
        for name in names:
            REGISTRY[name] = (function if len(names) == 1 else lambda d, n=name: function(d, n), count)
        return function

    return register


def cases_of(names: Sequence[str]) -> list[Case]:
    """All cases of some layers, labelled."""
    made = []
    for name in names:
        maker, count = REGISTRY[name]
        for number in range(count):
            case = maker(Draw(name, number))
            made.append(replace(case, label=f"{name} {number}: {case.label}"))
    return made


def layer(
    kind: str,
    arguments: dict[str, Any],
    reference: Reference,
    *inputs: Array,
    **options: Any,
) -> Case:
    """A case of the layer ``kind`` with these arguments."""
    return Case(
        ", ".join(f"{name}={value}" for name, value in arguments.items()),
        lambda namespace: getattr(namespace, kind)(**arguments),
        reference,
        inputs,
        **options,
    )
