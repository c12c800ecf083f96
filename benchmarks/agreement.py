"""Whether the peers computed the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.peers import OURS, PEERS
from benchmarks.peers.base import Outputs
from benchmarks.peers.numpy import reference
from benchmarks.results import DIFFERENT, Row
from benchmarks.spec import TRAIN, Workload

OUTPUT_TOLERANCE = 1e-3
"""Largest difference of an output or a loss, relative to the largest value of the reference."""

UPDATE_TOLERANCE = 1e-2
"""Largest difference of what training changed in a weight, relative to the largest change; plus rounding."""

_REFERENCES = ("torch", "jax", "pytensor", OURS)
"""Whose trained weights the others are compared with: the first that is there."""


def compare(workload: Workload, mode: str, row: Row, results: Mapping[str, Outputs]) -> None:
    """Every peer with NumPy in float64, trained weights with the first of the peers that train."""
    known = reference(workload, mode)
    judge = next((name for name in _REFERENCES if name in results), None)
    initial = workload.parameter_values() if mode == TRAIN else {}
    for name, found in results.items():
        measurement = row.peers[name]
        limits: dict[str, float] = {}
        for what, value in known.items():
            measurement.errors[what] = _difference(found[what], value)
            limits[what] = OUTPUT_TOLERANCE
        if mode == TRAIN and judge is not None and name != judge:
            for what, value in results[judge].items():
                measurement.errors[what], limits[what] = _trained_difference(what, found[what], value, initial)
        wrong = [what for what, bound in limits.items() if not measurement.errors[what] <= bound]
        if wrong:
            measurement.status = DIFFERENT
            whom = "NumPy in float64" if wrong[0] in known else PEERS[str(judge)].title
            share = measurement.errors[wrong[0]]
            measurement.reason = f"{', '.join(wrong)} differ from {whom}'s: {wrong[0]} by {share:.2g} of the largest"


def _difference(value: Any, wanted: Any) -> float:
    value, wanted = np.asarray(value, np.float64), np.asarray(wanted, np.float64)
    if value.shape != wanted.shape:
        return float("inf")
    scale = float(np.abs(wanted).max()) or 1.0
    return float(np.abs(value - wanted).max()) / scale


def _trained_difference(
    what: str, value: np.ndarray, wanted: np.ndarray, initial: Mapping[str, np.ndarray]
) -> tuple[float, float]:
    """How far the changes of a weight are apart, and how far they may be: a weight's rounding hides small ones."""
    if not what.startswith("weight "):
        return _difference(value, wanted), OUTPUT_TOLERANCE
    start = initial[what.removeprefix("weight ")]
    change = np.asarray(wanted, np.float64) - start
    largest = float(np.abs(change).max()) or 1.0
    rounding = 4 * float(np.finfo(np.float32).eps) * float(np.abs(start).max()) / largest
    return _difference(np.asarray(value, np.float64) - start, change), UPDATE_TOLERANCE + rounding
