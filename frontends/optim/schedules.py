"""Learning-rate schedules under their Keras names: functions of the step, a tensor that is 0 at the first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.elementwise import cos, floor, minimum, where
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail

__all__ = ["CosineDecay", "ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay", "PolynomialDecay"]


def _fraction(step: Tensor, decay_steps: float) -> Tensor:
    if decay_steps <= 0:
        raise fail(GraphcValueError, "E213", f"decay_steps must be positive, got {decay_steps}")
    return step.astype("float32") / decay_steps


@dataclass(frozen=True)
class ExponentialDecay:
    """initial_learning_rate · decay_rate^(step / decay_steps), in whole powers where ``staircase``."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at ``step``."""
        power = _fraction(step, self.decay_steps)
        return self.initial_learning_rate * self.decay_rate ** (floor(power) if self.staircase else power)


@dataclass(frozen=True)
class InverseTimeDecay:
    """initial_learning_rate / (1 + decay_rate · step / decay_steps)."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at ``step``."""
        passed = _fraction(step, self.decay_steps)
        return self.initial_learning_rate / (1.0 + self.decay_rate * (floor(passed) if self.staircase else passed))


@dataclass(frozen=True)
class PolynomialDecay:
    """From the initial to the end rate over ``decay_steps`` steps, by a polynomial of degree ``power``."""

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at ``step``."""
        left = 1.0 - minimum(_fraction(step, self.decay_steps), 1.0)
        return (self.initial_learning_rate - self.end_learning_rate) * left**self.power + self.end_learning_rate


@dataclass(frozen=True)
class CosineDecay:
    """Half a cosine from the initial rate to ``alpha`` times it (Loshchilov and Hutter, 2016), after a linear warm-up.

    Attributes:
        initial_learning_rate: where the warm-up, or without one the decay, begins.
        decay_steps: length of the decay.
        alpha: the last rate, as a share of the rate that the decay begins with.
        warmup_target: the rate that the decay begins with; None is no warm-up.
        warmup_steps: length of the warm-up.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: float = 0

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at ``step``."""
        warm = self.warmup_target is not None
        top = self.warmup_target if self.warmup_target is not None else self.initial_learning_rate
        passed = step.astype("float32") - (self.warmup_steps if warm else 0.0)
        share = minimum(_fraction(passed, self.decay_steps), 1.0)
        decayed = top * ((1.0 - self.alpha) * (0.5 * (1.0 + cos(math.pi * share))) + self.alpha)
        if not warm or not self.warmup_steps:
            return decayed
        rising = self.initial_learning_rate + (top - self.initial_learning_rate) * _fraction(step, self.warmup_steps)
        return where(step < int(self.warmup_steps), rising, decayed)


@dataclass(frozen=True)
class PiecewiseConstantDecay:
    """``values[0]`` up to step ``boundaries[0]``, then ``values[1]``, and so on: one value more than boundaries."""

    boundaries: Sequence[int]
    values: Sequence[float]

    def __call__(self, step: Tensor) -> Tensor:
        """The learning rate at ``step``."""
        if len(self.values) != len(self.boundaries) + 1:
            message = (
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, got {len(self.values)}"
            )
            raise fail(GraphcValueError, "E213", message)
        rate = as_tensor(float(self.values[-1]), None, step.builder)
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            rate = where(step <= int(boundary), float(value), rate)
        return rate
