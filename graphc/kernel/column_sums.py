"""Which sums of columns are better added up row by row.

A column by itself reads a line of the cache of every row.  Where rows are long and all of them more than a cache
holds, that is a page of memory for each: they are read as they lie instead, and the sums are kept in memory.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphc.kernel.loopir import Gather, Kernel, Load, Reduce, value_axes
from graphc.kernel.nest import Nest
from graphc.kernel.parts import closure
from graphc.kernel.target import COLLIDING_BYTES

_LEAST_BYTES = 1 << 22
"""What is read of a smaller matrix comes from a cache as fast in any order."""

_SHORTEST_ROW = 512
"""Bytes; a shorter row is read whole by the vectors of a nest."""

_SIDE_BY_SIDE = 8
"""Rows of a page and more; several streams within one page confuse prefetchers."""


def with_rows(kernel: Kernel, nest: Nest) -> Nest:
    """The nest, whose columns are summed row by row where that is faster."""
    if nest.scan is not None or not nest.order or nest.order[-1] != nest.vector or any(nest.stages[:-1]):
        return nest
    if len(nest.stages[-1]) != 1 or nest.stores_at(len(nest.order)) != nest.stores:
        return nest
    (stage,) = nest.stages[-1]
    if len(stage.order) != 1 or any(stage.stages) or stage.keeps or not _are_sums(kernel, stage):
        return nest
    longest = _longest_row(kernel, nest, stage)
    if longest <= _SHORTEST_ROW:
        return nest
    return replace(nest, by_rows=_SIDE_BY_SIDE if longest >= COLLIDING_BYTES else 1)


def _are_sums(kernel: Kernel, stage: Nest) -> bool:
    values = [kernel.values[number] for number in stage.reduces]
    return all(
        isinstance(v, Reduce) and v.combine == "sum" and v.dtype.is_float and not v.dtype.is_half for v in values
    )


def _longest_row(kernel: Kernel, nest: Nest, stage: Nest) -> int:
    """Bytes from row to row of the largest matrix that is read, 0 where none is large or one lies another way."""
    (row,) = stage.order
    axes = value_axes(kernel)
    longest = 0
    for number in closure(kernel, stage.reduces):
        value = kernel.values[number]
        if isinstance(value, Gather):
            return 0
        if not isinstance(value, Load) or not {nest.vector, row} <= axes[number]:
            continue
        if value.map.coefficients[nest.order[-1]] != 1:
            return 0
        size = value.dtype.itemsize
        if math.prod(kernel.extents[axis] for axis in axes[number]) * size >= _LEAST_BYTES:
            longest = max(longest, abs(value.map.coefficients[row]) * size)
    return longest
