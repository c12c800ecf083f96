"""Plans products of one row with a matrix, whose time is that of reading the matrix once.

Rows of the matrix are read as they lie, several at a time: each vector of running sums is loaded, takes a term of
every row of the group, and is stored again. A column at a time would jump a whole row from term to term, which no
prefetcher follows, and a row at a time would load and store the running sums for every term. The sums of a narrow
matrix stay in registers, so that it is read from its beginning to its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.kernel.loopir import Apply, Kernel, Load, Reduce, Store, ValueId, value_axes
from graphc.kernel.target import Target
from graphc.kernel.tiling import is_plain, source_load

GROUP = 4
"""Rows of the matrix that are read side by side. Eight, 4 KB apart, would share the ways of one set of the cache."""

_CHUNK_BYTES = 16 * 1024
"""Of running sums, which stay in the first-level cache."""

_SMALLEST_DEPTH = 16
"""Shorter sums are as well done in registers."""


@dataclass(frozen=True)
class Streaming:
    """How a product with one row runs.

    Attributes:
        reduce: the sum.
        left: the factor that is the same in all columns.
        right: the matrix: a load, or a cast of one, with unit step along ``column``.
        stores: what is done with the sums.
        outer: axes with a loop of their own around everything.
        column: the axis of the lanes.
        depth: axes summed over, outermost first; rows of the last one are grouped.
        lanes: elements a vector.
        chunk: columns whose sums are kept at a time.
        held: vectors of sums that stay in registers while all rows run, where there are no more.
    """

    reduce: ValueId
    left: ValueId
    right: ValueId
    stores: tuple[Store, ...]
    outer: tuple[int, ...]
    column: int
    depth: tuple[int, ...]
    lanes: int
    chunk: int
    held: int


def plan_streaming(kernel: Kernel, number: ValueId, stores: Sequence[Store], target: Target) -> Streaming | None:
    """The plan for stores of (functions of) a sum of products with one row, or None where it is no such thing.

    Args:
        kernel: what is computed.
        number: its only reduction.
        stores: all over the axes of the sum's result.
        target: the machine.
    """
    value = kernel.values[number]
    if not isinstance(value, Reduce) or value.combine != "sum" or value.dtype.is_half:
        return None
    product = kernel.values[value.arg]
    if not isinstance(product, Apply) or product.op != "multiply" or product.dtype is not value.dtype:
        return None
    axes = value_axes(kernel)
    lanes, size = target.lanes(value.dtype.bits), value.dtype.itemsize
    depth = tuple(sorted(value.axes))
    if lanes < 2 or math.prod(kernel.extents[axis] for axis in depth) < _SMALLEST_DEPTH:
        return None
    for left, right in (product.args, product.args[::-1]):
        if not is_plain(kernel, right) or not axes[right] >= set(depth):
            continue
        load: Load = source_load(kernel, right)
        for column in sorted(axes[right] - axes[left] - set(depth)):
            if load.map.coefficients[column] != 1 or kernel.extents[column] < 2 * lanes:
                continue
            outer = tuple(sorted(axes[number] - {column}))
            chunk = min(kernel.extents[column], _CHUNK_BYTES // size)
            return Streaming(
                number, left, right, tuple(stores), outer, column, depth, lanes, chunk, target.vector_registers // 2
            )
    return None
