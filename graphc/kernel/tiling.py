"""Plans contractions: sums of products of two operands that share only some axes, such as matmul and convolution.

A tile of ``tile_rows`` × ``tile_vectors`` accumulators stays in registers while the sum runs; the *left* operand is
read one element at a time and spread over the lanes, the *right* one in vectors along ``column``.  Where the right
operand does not lie in that order, or is read by many rows, it is first *packed*: copied into panels as wide as a
tile, in the order of the sum.  The shape of the tile is the one with the least estimated time, ragged edges included
(after Goto and van de Geijn, *Anatomy of high-performance matrix multiplication*, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from graphc.kernel.loopir import Apply, Gather, Index, Kernel, Load, Map, Reduce, Store, ValueId, value_axes
from graphc.kernel.parts import closure
from graphc.kernel.register_tile import register_tile, tile_cycles
from graphc.kernel.target import COLLIDING_BYTES, Target

_SMALLEST_DEPTH = 4
"""Shorter sums than this are memory traffic: a plain nest does them as well."""

_PACKING_ROWS = 48
"""A right operand whose rows collide in the cache is packed where at least so many rows of the result read it."""

_MANY_ROWS = 512
_LONG_SUM = 256
"""A right operand is packed where so many rows of the result read it and the sums are so long that its columns do not
stay in the first-level cache: it is then read from one end to the other."""

_HALF_COLLIDING_ROWS = 256
"""Fewer rows are enough where those of the operand share every other place of the cache."""

_DEPTH_BLOCK = {"none": 256, "once": 1024, "block": 512}
"""Terms of a sum between two visits of a tile, by how the right operand is read: the panel then stays in the cache."""

_TALLEST = 16
"""Rows of a tile at most."""

_COLLIDING_ROWS = 8
"""Rows of a tile at most where those of the result share their places: as many as such a place has lines."""

_FAR_BYTES = 256
"""Elements further apart than this are copied side by side before many tiles read them."""

ALIGNMENT = 64
"""Of scratch memory, in bytes."""

Packing = Literal["none", "once", "block"]
"""Where the right operand is read: in place; from panels that the caller keeps; from panels made a block at a time."""


@dataclass(frozen=True)
class Contraction:
    """How a contraction runs.

    Attributes:
        reduce: the sum.
        left: the operand read element by element; a load, or a cast of one.
        right: the operand read in vectors; any expression where it is packed.
        stores: what is done with the result (its epilogue).
        outer: axes with a loop of their own around everything: batches, and columns beside ``column``.
        rows: axes that only ``left`` and the result have, walked as one.
        column: the axis of the lanes, which only ``right`` and the result have.
        depth: axes summed over, outermost loop first.
        tile_rows: rows of the register tile.
        tile_vectors: vectors a row of it.
        lanes: elements a vector.
        packing: how ``right`` is read.
        depth_block: positions of the outermost depth axis between two visits of a tile; 0 for all.
        row_block: rows for which all columns are done before the next rows; 0 for all.
        panel_bytes: size of the panels: of all of them, or of a block's.
        left_bytes: scratch memory for packed rows of ``left``, a block at a time; 0 where it is read in place.
    """

    reduce: ValueId
    left: ValueId
    right: ValueId
    stores: tuple[Store, ...]
    outer: tuple[int, ...]
    rows: tuple[int, ...]
    column: int
    depth: tuple[int, ...]
    tile_rows: int
    tile_vectors: int
    lanes: int
    packing: Packing
    depth_block: int
    row_block: int
    panel_bytes: int
    left_bytes: int

    @property
    def working_bytes(self) -> int:
        """Scratch memory used while it runs."""
        return aligned(self.left_bytes) + (aligned(self.panel_bytes) if self.packing == "block" else 0)


def aligned(size: int) -> int:
    """``size`` rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def block_terms(plan: Contraction, extents: Sequence[int]) -> int:
    """Terms of the sum between two visits of a tile, which is what packed rows hold."""
    inner = math.prod(extents[axis] for axis in plan.depth[1:])
    return inner * (plan.depth_block or extents[plan.depth[0]])


def panel_terms(plan: Contraction, extents: Sequence[int]) -> int:
    """Terms of the sum that a panel holds: a block's, or all where the caller keeps it."""
    return math.prod(extents[axis] for axis in plan.depth) if plan.packing == "once" else block_terms(plan, extents)


def tiles_are_whole(plan: Contraction, extents: Sequence[int]) -> bool:
    """Does a tile's rows never go on from one position of the outer axes of the rows to the next?"""
    return extents[plan.rows[-1]] % plan.tile_rows == 0


def contraction_operands(kernel: Kernel, number: ValueId) -> tuple[ValueId, ValueId] | None:
    """The two factors of a sum of products worth tiling, or None where the value is no such thing."""
    value = kernel.values[number]
    if not isinstance(value, Reduce) or value.combine != "sum":
        return None
    product = kernel.values[value.arg]
    if (
        not isinstance(product, Apply)
        or product.op != "multiply"
        or product.dtype is not value.dtype
        or value.dtype.is_half
    ):
        return None
    x, y = product.args
    axes = value_axes(kernel)
    kept = axes[number]
    if axes[x] | axes[y] != kept | set(value.axes):
        return None
    only_x, only_y = kept & axes[x] - axes[y], kept & axes[y] - axes[x]
    extents = kernel.extents
    rows, columns = (math.prod(extents[axis] for axis in side) for side in (only_x, only_y))
    depth = math.prod(extents[axis] for axis in value.axes)
    if min(rows, columns) < 2 or max(rows, columns) < 4 or depth < _SMALLEST_DEPTH:
        return None
    return x, y


def is_plain(kernel: Kernel, number: ValueId) -> bool:
    """A load, or a cast of one."""
    value = kernel.values[number]
    if isinstance(value, Apply) and value.op == "cast":
        value = kernel.values[value.args[0]]
    return isinstance(value, Load)


def source_load(kernel: Kernel, number: ValueId) -> Load:
    """The load of a plain operand."""
    value = kernel.values[number]
    if isinstance(value, Apply):
        value = kernel.values[value.args[0]]
    assert isinstance(value, Load)
    return value


def plan_contraction(
    kernel: Kernel, number: ValueId, stores: Sequence[Store], target: Target, invariant: frozenset[int]
) -> Contraction | dict[ValueId, tuple[int, ...] | None]:
    """The contraction step for stores of (functions of) a sum, or the values to materialise first.

    Args:
        kernel: what is computed.
        number: the sum.
        stores: all over the axes of the sum's result.
        target: the machine.
        invariant: parameters that stay the same over many calls, so that packing them costs nothing.
    """
    factors = contraction_operands(kernel, number)
    assert factors is not None
    if not (is_plain(kernel, factors[0]) or is_plain(kernel, factors[1])):
        return {factors[0]: None}
    ways = [(left, right) for left, right in (factors, factors[::-1]) if is_plain(kernel, left)]
    plans = [
        plan for way in ways for plan in _plans(kernel, number, way, tuple(stores), target, invariant, blocked=True)
    ]
    plan = min(plans, key=lambda plan: _cost(kernel, plan))
    scattered = any(store.map.coefficients[plan.column] != 1 for store in plan.stores)
    if scattered and not is_plain(kernel, plan.right):
        # In memory it could be the left operand as well, which puts the lanes along the other side of the result.
        return {plan.right: None}
    order = _better_order(kernel, plan)
    if order is not None:
        return {plan.right: order}
    if not plan.depth_block or _stores_sum(kernel, plan):
        return plan
    if len(stores) > 1 or stores[0].value != number:
        return {number: None}
    # The sum alone is stored: along another axis than this plan's, where one fits, else without blocks of its depth.
    fitting = [other for other in plans if not other.depth_block or _stores_sum(kernel, other)]
    if not fitting:
        fitting = [
            plan
            for way in ways
            for plan in _plans(kernel, number, way, tuple(stores), target, invariant, blocked=False)
        ]
    return min(fitting, key=lambda plan: _cost(kernel, plan))


def _better_order(kernel: Kernel, plan: Contraction) -> tuple[int, ...] | None:
    """An order of the right operand's axes by which all columns are one axis; None where a copy does not pay."""
    axes, extents = value_axes(kernel), kernel.extents
    columns = sorted(axes[plan.reduce] - axes[plan.left])
    if len(columns) < 2 or plan.packing != "block" or math.prod(extents[axis] for axis in plan.rows) < _PACKING_ROWS:
        return None
    copied = set(closure(kernel, [plan.right]))
    maps = [store.map for store in plan.stores]
    for number, value in enumerate(kernel.values):
        if isinstance(value, (Load, Gather, Index)) and number not in copied:
            maps.append(value.map)
    for outer, inner in pairwise(columns):
        if any(map_.coefficients[outer] != map_.coefficients[inner] * extents[inner] for map_ in maps):
            return None
    return (*plan.depth, *columns)


def _stores_sum(kernel: Kernel, plan: Contraction) -> bool:
    """True where all that is done with the sum is one store along the lanes: partial sums can wait there."""
    (first, *others) = plan.stores
    return not others and first.value == plan.reduce and first.map.coefficients[plan.column] == 1


def _plans(
    kernel: Kernel,
    number: ValueId,
    factors: tuple[ValueId, ValueId],
    stores: tuple[Store, ...],
    target: Target,
    invariant: frozenset[int],
    *,
    blocked: bool,
) -> Iterator[Contraction]:
    """One plan for each axis that could hold the lanes; ``blocked`` allows blocks of the sum."""
    axes, extents = value_axes(kernel), kernel.extents
    left, right = factors
    value = kernel.values[number]
    assert isinstance(value, Reduce)
    kept = axes[number]
    columns = sorted(kept & axes[right] - axes[left])
    rows = tuple(sorted(kept & axes[left] - axes[right]))
    depth = _depth_order(kernel, value.axes)
    terms = math.prod(extents[axis] for axis in depth)
    size = value.dtype.itemsize
    row_count = math.prod(extents[axis] for axis in rows)
    for column in columns:
        lanes = target.lanes(value.dtype.bits)
        if extents[column] < lanes:
            lanes = 1 << (extents[column] - 1).bit_length()
        if lanes < 2:
            continue
        tallest = min(row_count, _COLLIDING_ROWS if _collide(stores, rows[-1], size) else _TALLEST)
        apart = _apart(source_load(kernel, left).map, rows, extents)
        tile_rows, tile_vectors = register_tile(tallest, apart, row_count, extents[column], terms, lanes, target)
        outer = tuple(sorted(kept - set(rows) - {column}))
        packing = _packing(kernel, right, column, depth, row_count, invariant)
        block = _depth_block(terms, extents[depth[0]], _DEPTH_BLOCK[packing]) if blocked else 0
        plan = Contraction(
            number,
            left,
            right,
            stores,
            outer,
            rows,
            column,
            depth,
            tile_rows,
            tile_vectors,
            lanes,
            packing,
            block,
            0,
            0,
            0,
        )
        held = block_terms(plan, extents)
        panels = -(-extents[column] // (tile_vectors * lanes))
        if packing != "none":
            copies = math.prod(extents[axis] for axis in outer) if packing == "once" else 1
            plan = replace(plan, panel_bytes=copies * panels * panel_terms(plan, extents) * tile_vectors * lanes * size)
        row_block = max(_PACKING_ROWS * 2, target.l2_bytes // 2 // (held * size)) // tile_rows * tile_rows
        if 0 < row_block < row_count:
            plan = replace(plan, row_block=row_block)
        if panels >= 4 and held >= 32 and _lies_badly(source_load(kernel, left), rows, depth, tile_rows):
            plan = replace(plan, left_bytes=(plan.row_block or row_count) * held * size)
        yield plan


def _packing(
    kernel: Kernel, right: ValueId, column: int, depth: tuple[int, ...], rows: int, invariant: frozenset[int]
) -> Packing:
    """How to read the right operand: in place where it lies well, packed once where it stays the same."""
    if not is_plain(kernel, right):
        return "block"
    load = source_load(kernel, right)
    if load.param in invariant and rows >= 4:
        return "once"
    if load.map.coefficients[column] != 1:
        return "block"
    step = abs(load.map.coefficients[depth[-1]]) * load.dtype.itemsize
    collides = step and step % COLLIDING_BYTES == 0
    many = _HALF_COLLIDING_ROWS if step and step % (COLLIDING_BYTES // 2) == 0 else _MANY_ROWS
    is_long = math.prod(kernel.extents[axis] for axis in depth) > _LONG_SUM
    return "block" if (rows >= many and is_long) or (rows >= _PACKING_ROWS and collides) else "none"


def _lies_badly(left: Load, rows: tuple[int, ...], depth: tuple[int, ...], tile_rows: int) -> bool:
    """Is the left operand read from a line of the cache an element, or by rows that share their lines' places?"""
    size, coefficients = left.dtype.itemsize, left.map.coefficients
    if abs(coefficients[depth[-1]]) * size >= _FAR_BYTES:
        return True
    return tile_rows > 4 and coefficients[rows[-1]] * size % COLLIDING_BYTES == 0


def _depth_block(terms: int, extent: int, wanted: int) -> int:
    """Positions of the outermost axis of a sum in a block of about ``wanted`` terms; 0 where one block is enough."""
    if terms < 2 * wanted:
        return 0
    inner = terms // extent
    blocks = min(extent, -(-terms // wanted))
    block = -(-extent // blocks)
    # Whole vectors, so that a packed block can be transposed in registers.
    return min(extent, -(-block // 16) * 16) if inner == 1 else block


def _depth_order(kernel: Kernel, axes: Sequence[int]) -> tuple[int, ...]:
    """The axes of the sum in their own order, but for a short innermost one: a long loop runs better there."""
    order = sorted(axes)
    if kernel.extents[order[-1]] < 8:
        longest = max(order, key=lambda axis: kernel.extents[axis])
        order.remove(longest)
        order.append(longest)
    return tuple(order)


def _collide(stores: Sequence[Store], row: int, size: int) -> bool:
    """Do rows of a result share their places in the cache?"""
    steps = [store.map.coefficients[row] * size for store in stores]
    return any(step and step % COLLIDING_BYTES == 0 for step in steps)


def _apart(map_: Map, rows: Sequence[int], extents: Sequence[int]) -> int:
    """Rows before the step from row to row changes; 0 where it never does."""
    coefficients = map_.coefficients
    steady = all(coefficients[outer] == coefficients[inner] * extents[inner] for outer, inner in pairwise(rows))
    return 0 if steady else extents[rows[-1]]


def _cost(kernel: Kernel, plan: Contraction) -> float:
    """Estimated cycles, to choose between axes for the lanes and between the two ways round."""
    extents = kernel.extents
    rows = math.prod(extents[axis] for axis in plan.rows)
    terms = math.prod(extents[axis] for axis in plan.depth)
    repeats = math.prod(extents[axis] for axis in plan.outer)
    vectors = -(-extents[plan.column] // plan.lanes)
    cost = 0.0
    for tiles_down, down in ((rows // plan.tile_rows, plan.tile_rows), (1, rows % plan.tile_rows)):
        for tiles_across, across in (
            (vectors // plan.tile_vectors, plan.tile_vectors),
            (1, vectors % plan.tile_vectors),
        ):
            cost += repeats * tiles_down * tiles_across * tile_cycles(down, across, terms)
    for store in plan.stores:
        unit = store.map.coefficients[plan.column] == 1
        cost += repeats * rows * (vectors if unit else 2.0 * extents[plan.column])
    if plan.packing == "block":
        plain = is_plain(kernel, plan.right)
        unit = plain and source_load(kernel, plan.right).map.coefficients[plan.column] == 1
        cost += repeats * terms * extents[plan.column] * (0.3 if unit else 0.6)
    return cost
