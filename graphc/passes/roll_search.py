"""Where loops may be: runs of nodes whose fingerprints repeat with a period.

A fingerprint is the op, the type of the result, and the attributes but for an *affine* one, which may move by a
constant from step to step: the position of an ``index``, the start of a ``slice``, the stream of a random op.
Everything here works on one array of integers, one entry a node, so that 100,000 nodes take milliseconds; what is
proposed is verified elsewhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.ir.attrs import Attrs
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.op import registered_ops

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_WINDOWS = (12, 6, 3)
_PERIODS = 48

AFFINE_OPS = frozenset({"index", "slice", "random_uniform"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """Positions ``start … stop−1`` of the sequence, where node k+period looks like node k."""

    start: int
    stop: int
    period: int


def cut_axis(node: Node) -> int | None:
    """The one axis that a ``slice`` cuts, with step 1 and integer bounds; None where there is no such axis."""
    return _cut_axis(node.attrs, node.inputs[0].shape)


@lru_cache(maxsize=4096)
def _cut_axis(attrs: Attrs, shape: tuple[Dim, ...]) -> int | None:
    starts, stops, steps = (attrs[name] for name in ("starts", "stops", "steps"))
    cut = [axis for axis, size in enumerate(shape) if (starts[axis], stops[axis], steps[axis]) != (0, size, 1)]
    if len(cut) != 1:
        return None
    (axis,) = cut
    return axis if steps[axis] == 1 and isinstance(starts[axis], int) and isinstance(stops[axis], int) else None


def affine_value(node: Node) -> int | None:
    """The affine attribute of a node of ``AFFINE_OPS``; None where it has none after all."""
    match node.op.name:
        case "index":
            value = node.attrs["index"]
            return value if isinstance(value, int) else None
        case "slice":
            axis = cut_axis(node)
            return None if axis is None else int(node.attrs["starts"][axis])
        case _:
            return int(node.attrs["stream"])


def fingerprint(node: Node) -> Hashable:
    """What must be equal for two nodes to be the same row of a loop's body."""
    op, attrs = node.op, node.attrs
    if op.name in AFFINE_OPS and affine_value(node) is not None:
        match op.name:
            case "index":
                return (op, node.type, attrs["axis"])
            case "slice":
                return (op, node.type, cut_axis(node))
            case _:
                return (op, node.type)
    rows = len(node.inputs) if op.arity is None else 0
    return (op, node.type, attrs if attrs.is_light else attrs.key, rows)


class _Numbering(dict[Hashable, int]):
    """Numbers keys in the order in which they are first asked for."""

    def __missing__(self, key: Hashable) -> int:
        number = self[key] = len(self)
        return number


def fingerprints(sequence: Sequence[Node]) -> IntArray:
    """A small integer a node, equal for equal fingerprints."""
    plain = {op for op in registered_ops() if op.arity is not None and op.name not in AFFINE_OPS}
    numbers = _Numbering()
    prints = [
        # (Written out for the many: a call each would take longer than all the rest.)
        numbers[node.op, node.type, node.attrs, 0]
        if node.op in plain and node.attrs.is_light
        else numbers[fingerprint(node)]
        for node in sequence
    ]
    return np.array(prints, dtype=np.int64)


def find_candidates(prints: IntArray, minimum_trips: int, minimum_nodes: int) -> list[Candidate]:
    """Runs that repeat, longest coverage first; runs may overlap."""
    found: dict[Candidate, None] = {}
    small = prints.astype(np.int32)
    for period in _likely_periods(prints):
        # The stretches in which every node equals the one a period later.
        for start, stop in stretches(small[:-period] == small[period:]):
            length = stop - start + period
            if length >= minimum_trips * period and length >= minimum_nodes:
                found[Candidate(start, stop + period, period)] = None
    return sorted(found, key=lambda c: (-(c.stop - c.start), c.period, c.start))


def stretches(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """The runs of true entries as (start, stop)."""
    if not len(mask):
        return []
    edges = (np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist()
    if mask[0]:
        edges.insert(0, 0)
    if mask[-1]:
        edges.append(len(mask))
    return list(zip(edges[::2], edges[1::2], strict=True))


def _likely_periods(prints: IntArray) -> list[int]:
    """Distances at which windows of fingerprints come back, the most frequent first."""
    counts: dict[int, int] = {}
    for width in _WINDOWS:
        if len(prints) <= width:
            continue
        distances = _return_distances(prints, width)
        values, frequency = np.unique(distances[distances > 0], return_counts=True)
        for value, count in zip(values.tolist(), frequency.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
    frequent = sorted(counts, key=lambda period: (-counts[period] * min(period, 64), period))[:_PERIODS]
    return [period for period in frequent if 2 * period <= len(prints)]


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
