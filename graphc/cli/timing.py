"""Timing a call: warm-up, as many runs as a time allows, and what is typical of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

_WARM_SHARE = 0.2
_LEAST_RUNS = 5
_SAMPLE_S = 1e-5
"""A sample is at least so long: reading the clock takes a hundredth of it."""

_SAMPLES_BETWEEN_RESETS = 32
_MOST_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Timing:
    """How long a call took.

    Attributes:
        samples: seconds of a call, sorted; calls of a few microseconds are timed several at once.
        calls: how many were timed.
    """

    samples: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        """Seconds: half of the calls took longer."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """Seconds: so many of the calls took no longer."""
        place = share * (len(self.samples) - 1)
        low = int(place)
        high = min(low + 1, len(self.samples) - 1)
        return self.samples[low] + (place - low) * (self.samples[high] - self.samples[low])


def time_call(call: Callable[[], object], seconds: float, reset: Callable[[], object] | None = None) -> Timing:
    """Time a call.

    Args:
        call: what to time.
        seconds: to spend on it, the warm-up included; a slow call is run five times whatever it takes.
        reset: called now and then between two samples, e.g. to take a model that trains back to where it began.
    """
    start = time.perf_counter()
    warm_runs = 0
    while warm_runs < 2 or time.perf_counter() - start < _WARM_SHARE * seconds:
        call()
        warm_runs += 1
    one = (time.perf_counter() - start) / warm_runs
    runs = max(1, round(_SAMPLE_S / one)) if one < _SAMPLE_S else 1
    samples: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        while len(samples) < _LEAST_RUNS or (time.perf_counter() - start < seconds and len(samples) < _MOST_SAMPLES):
            if reset is not None and len(samples) % _SAMPLES_BETWEEN_RESETS == 0:
                reset()
                call()
            begin = time.perf_counter()
            for _ in range(runs):
                call()
            samples.append((time.perf_counter() - begin) / runs)
    finally:
        if collecting:
            gc.enable()
    return Timing(tuple(sorted(samples)), len(samples) * runs)
