"""Where loops may be: runs of nodes whose fingerprints repeat with a period.

A fingerprint is the op, the types of its inputs and result, and its attributes but for the affine ones (the position of
an ``index``).  Everything here works on one array of integers, one entry a node, so that 100,000 nodes take
milliseconds; what is proposed is verified elsewhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.node import Node

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_WINDOWS = (12, 6, 3)
_PERIODS = 48
_MULTIPLES = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Positions ``start … stop−1`` of the sequence, where node k+period looks like node k."""

    start: int
    stop: int
    period: int


def fingerprint(node: Node) -> Hashable:
    """What must be equal for two nodes to be the same row of a loop's body."""
    attrs = node.attrs.replace(index=0).key if node.op.name == "index" else node.attrs.key
    return (node.op, attrs, node.type, tuple(operand.type for operand in node.inputs))


def fingerprints(sequence: Sequence[Node]) -> IntArray:
    """A small integer a node, equal for equal fingerprints."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(fingerprint(node), len(numbers)) for node in sequence], dtype=np.int64)


def find_candidates(prints: IntArray, minimum_trips: int, minimum_nodes: int) -> list[Candidate]:
    """Runs that repeat, longest coverage first; runs may overlap."""
    found: dict[Candidate, None] = {}
    for period in _likely_periods(prints):
        equal = prints[:-period] == prints[period:]
        # Boundaries of the stretches in which every node equals the one a period later.
        edges = np.flatnonzero(np.diff(np.concatenate(([0], equal.view(np.int8), [0]))))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            length = stop - start + period
            if length >= minimum_trips * period and length >= minimum_nodes:
                found[Candidate(start, stop + period, period)] = None
    return sorted(found, key=lambda c: (-(c.stop - c.start), c.period, c.start))


def _likely_periods(prints: IntArray) -> list[int]:
    """Distances at which windows of fingerprints come back, the most frequent first, with their small multiples."""
    counts: dict[int, int] = {}
    for width in _WINDOWS:
        if len(prints) <= width:
            continue
        distances = _return_distances(prints, width)
        values, frequency = np.unique(distances[distances > 0], return_counts=True)
        for value, count in zip(values.tolist(), frequency.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    frequent = sorted(counts, key=lambda period: (-counts[period] * min(period, 64), period))[:_PERIODS]
    periods = dict.fromkeys(period * factor for factor in _MULTIPLES for period in frequent)
    return [period for period in periods if 2 * period <= len(prints)]


def _return_distances(prints: IntArray, width: int) -> IntArray:
    """For each position the distance to the next equal window of ``width`` fingerprints, 0 where there is none."""
    with np.errstate(over="ignore"):
        hashes = np.zeros(len(prints) - width + 1, dtype=np.uint64)
        for offset in range(width):
            part = prints[offset : offset + len(hashes)].astype(np.uint64) + np.uint64(1)
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + part * np.uint64(0xD6E8FEB86659FD93)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    distances = np.zeros(len(hashes), dtype=np.int64)
    same = ordered[:-1] == ordered[1:]
    distances[order[:-1][same]] = (order[1:] - order[:-1])[same]
    return distances
