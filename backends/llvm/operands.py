"""How a contraction walks its rows and reads its operands, in place or packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.conversion import cast, from_memory, memory_type, register_type
from graphc.backends.llvm.emitter import Loop
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes, load_vector
from graphc.backends.llvm.panels import panel_coefficients, panel_size, row_major
from graphc.backends.llvm.values import I8, Value, integer
from graphc.ir.types import DType
from graphc.kernel.loopir import Load, Map
from graphc.kernel.tiling import Contraction, block_terms, source_load, tiles_are_whole

LINE_BYTES = 64
"""Of the caches."""

_APART = 1024
"""Bytes from row to row at which prefetchers of the processor, which stay within a page, no longer keep up."""

_AHEAD = 16
"""Rows of the right operand that are asked for before they are read."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place.

    ``height`` rows from ``row`` on, which is ``local`` rows into its block; vectors from ``column`` on, in panel
    number ``panel``.
    """

    row: Value
    local: Value
    height: int
    column: Value
    panel: Value
    vectors: tuple[Lanes, ...]


@dataclass(slots=True)
class Block:
    """The positions of the outermost axis of the sum that are being added up."""

    start: Value
    count: int | Value


class Rows:
    """The rows of a result, one after another although they may be several axes."""

    def __init__(self, evaluator: Evaluator, plan: Contraction) -> None:
        self.fn = evaluator.fn
        self.axes = plan.rows
        self.extents = evaluator.kernel.extents
        self.are_whole = tiles_are_whole(plan, self.extents)

    def stride(self, map_: Map) -> int | None:
        """The step of ``map_`` from row to row, where the rows' axes lie as one; None otherwise."""
        for outer, inner in zip(self.axes, self.axes[1:], strict=False):
            if map_.coefficients[outer] != map_.coefficients[inner] * self.extents[inner]:
                return None
        return map_.coefficients[self.axes[-1]]

    def offset(self, map_: Map, row: Value) -> Value:
        """Elements from row 0 to ``row``."""
        stride = self.stride(map_)
        if stride is not None:
            return self.fn.multiply(row, stride)
        offset = integer(0)
        for axis, index in self.indices(row).items():
            offset = self.fn.add(offset, self.fn.multiply(index, map_.coefficients[axis]))
        return offset

    def places(self, map_: Map, row: Value, height: int) -> tuple[tuple[Value, int], ...]:
        """Elements from row 0 to each row of the tile that starts at ``row``: a value and what is added to it."""
        stride = self.stride(map_)
        if stride is None and self.are_whole:
            stride = map_.coefficients[self.axes[-1]]
        if stride is None:
            return tuple((self.offset(map_, self.fn.add(row, integer(number))), 0) for number in range(height))
        first = self.offset(map_, row)
        return tuple((first, number * stride) for number in range(height))

    def indices(self, row: Value) -> dict[int, Value]:
        """The position along each of the rows' axes."""
        fn, indices = self.fn, dict[int, Value]()
        for axis in reversed(self.axes[1:]):
            indices[axis] = fn.binary("urem", row, integer(self.extents[axis]))
            row = fn.binary("udiv", row, integer(self.extents[axis]))
        indices[self.axes[0]] = row
        return indices


class _Operand:
    """What both operands need."""

    def __init__(self, evaluator: Evaluator, plan: Contraction) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.extents = evaluator.kernel.extents
        self.plan = plan
        self.dtype = evaluator.kernel.values[plan.reduce].dtype

    def outer_address(self, load: Load) -> Value:
        """The address of the element at 0 along rows, column and the axes of the sum."""
        inner = {*self.plan.rows, *self.plan.depth, self.plan.column}
        kept = tuple(0 if axis in inner else c for axis, c in enumerate(load.map.coefficients))
        return self.evaluator.address(load.param, Map(kept, load.map.offset))

    def converted(self, stored: Value, source: DType) -> Value:
        """An element (or vector) just loaded, in the dtype of the sum."""
        target = self.evaluator.target
        return cast(self.fn, from_memory(self.fn, stored, source, target), source, self.dtype, target)


@dataclass(frozen=True, slots=True)
class LeftTile:
    """The left operand of one tile: address and displacement a row, steps along the axes of the sum, dtype."""

    rows: tuple[tuple[Value, int], ...]
    steps: dict[int, int]
    dtype: DType


class LeftOperand(_Operand):
    """The operand whose elements are spread over the lanes; ``packed`` is where its rows are copied to, if they are."""

    def __init__(self, evaluator: Evaluator, plan: Contraction, rows: Rows, packed: Value | None) -> None:
        super().__init__(evaluator, plan)
        self.rows = rows
        self.packed = packed
        self.load = source_load(evaluator.kernel, plan.left)

    def tile(self, tile: Tile, block: Block) -> LeftTile:
        """Where the elements of a tile's rows are."""
        if self.packed is None:
            coefficients = self.load.map.coefficients
            steps = {axis: coefficients[axis] for axis in self.plan.depth}
            return LeftTile(self._in_place(tile.row, tile.height, block), steps, self.load.dtype)
        address = self._packed_address(tile.local)
        rows = tuple((address, row) for row in range(tile.height))
        return LeftTile(rows, row_major(self.plan, self.extents, tile.height), self.dtype)

    def spread(self, operand: LeftTile, row: int, offset: Value) -> Value:
        """A row's element in every lane."""
        fn, element = self.fn, memory_type(operand.dtype)
        address, step = operand.rows[row]
        here = fn.element(fn.element(address, element, offset), element, integer(step))
        stored = fn.load(element, here, operand.dtype.itemsize)
        return fn.splat(self.converted(stored, operand.dtype), self.plan.lanes)

    def _in_place(self, row: Value, height: int, block: Block) -> tuple[tuple[Value, int], ...]:
        fn, map_ = self.fn, self.load.map
        element = memory_type(self.load.dtype)
        start = fn.multiply(block.start, map_.coefficients[self.plan.depth[0]])
        base = fn.element(self.outer_address(self.load), element, start)
        return tuple((fn.element(base, element, first), step) for first, step in self.rows.places(map_, row, height))

    def _packed_address(self, local: Value) -> Value:
        assert self.packed is not None
        offset = self.fn.multiply(local, block_terms(self.plan, self.extents))
        return self.fn.element(self.packed, memory_type(self.dtype), offset)

    def pack(self, row: Value, local: Value, height: int, block: Block, window: Block) -> None:
        """Copy a tile's rows in the order in which the tile reads them: ``window`` of the block's positions."""
        fn, source = self.fn, self.load.dtype
        element, packed = memory_type(source), memory_type(self.dtype)
        rows = self._in_place(row, height, block)
        steps = row_major(self.plan, self.extents, height)
        place = self._packed_address(local)
        loops: list[Loop] = []
        offset = integer(0)
        for depth, axis in enumerate(self.plan.depth):
            loop = fn.begin_loop(window.count if depth == 0 else self.extents[axis])
            loops.append(loop)
            index = fn.add(window.start, loop.index) if depth == 0 else loop.index
            offset = fn.add(offset, fn.multiply(index, self.load.map.coefficients[axis]))
            place = fn.element(place, packed, fn.multiply(index, steps[axis]))
        if self.rows.stride(self.load.map) == 1 and height > 1:
            stored = fn.load(element.with_lanes(height), fn.element(rows[0][0], element, offset), source.itemsize)
            fn.store(self.converted(stored, source), place, self.dtype.itemsize)
        else:
            for number, (address, step) in enumerate(rows):
                here = fn.element(fn.element(address, element, offset), element, integer(step))
                value = self.converted(fn.load(element, here, source.itemsize), source)
                fn.store(value, fn.element(place, packed, integer(number)), self.dtype.itemsize)
        for loop in reversed(loops):
            fn.end_loop(loop)


class RightOperand(_Operand):
    """The operand that is read in vectors; ``panels`` is where it is packed, if it is.

    Attributes:
        steps: elements from position to position along the axes of the sum.
        is_far: whether its rows lie apart in memory that the second-level cache does not hold.
    """

    def __init__(self, evaluator: Evaluator, plan: Contraction, panels: Value | None) -> None:
        super().__init__(evaluator, plan)
        self.panels = panels
        self.vector = register_type(self.dtype, plan.lanes)
        self.is_far = False
        if panels is None:
            load = source_load(evaluator.kernel, plan.right)
            self.steps = {axis: load.map.coefficients[axis] for axis in plan.depth}
            nbytes = load.dtype.itemsize * math.prod(
                self.extents[axis] for axis, step in enumerate(load.map.coefficients) if step
            )
            inner = plan.depth[-1]
            is_apart = abs(self.steps[inner]) * load.dtype.itemsize > _APART and self.extents[inner] > _AHEAD
            self.is_far = is_apart and nbytes > evaluator.target.l2_bytes
        else:
            self.steps = row_major(plan, self.extents, plan.tile_vectors * plan.lanes)

    def address(self, tile: Tile, block: Block) -> Value:
        """Where a tile's first vector is, at the start of the block."""
        fn = self.fn
        start = fn.multiply(block.start, self.steps[self.plan.depth[0]])
        if self.panels is None:
            load = source_load(self.evaluator.kernel, self.plan.right)
            element = memory_type(load.dtype)
            base = fn.element(self.outer_address(load), element, start)
            return fn.element(base, element, tile.column)
        element = self.vector.with_lanes(1)
        outer = self.evaluator.offset(panel_coefficients(self.plan, self.extents))
        base = fn.element(self.panels, element, outer)
        if self.plan.packing == "once":
            base = fn.element(base, element, start)
        return fn.element(base, element, fn.multiply(tile.panel, panel_size(self.plan, self.extents)))

    def vectors(self, address: Value, offset: Value, vectors: Sequence[Lanes]) -> list[Value]:
        """The vectors of one position along the axes of the sum."""
        fn, lanes = self.fn, self.plan.lanes
        if self.panels is not None:
            element, align = self.vector.with_lanes(1), min(64, self.vector.bits // 8 * lanes)
            here = fn.element(address, element, offset)
            steps = [fn.element(here, element, integer(number * lanes)) for number in range(len(vectors))]
            return [fn.load(self.vector, step, align) for step in steps]
        load = source_load(self.evaluator.kernel, self.plan.right)
        element = memory_type(load.dtype)
        here = fn.element(address, element, offset)
        result = []
        for number, some in enumerate(vectors):
            place = fn.element(here, element, integer(number * lanes))
            result.append(self.converted(load_vector(fn, element, place, some, load.dtype.itemsize), load.dtype))
        return result

    def ask_ahead(self, address: Value, offset: Value, vectors: Sequence[Lanes]) -> None:
        """Ask for a row that is read in place some positions later; it need not be there."""
        fn, load = self.fn, source_load(self.evaluator.kernel, self.plan.right)
        row = fn.add(offset, integer(_AHEAD * self.steps[self.plan.depth[-1]]))
        place = fn.element(address, memory_type(load.dtype), row)
        for start in range(0, sum(lanes.active for lanes in vectors) * load.dtype.itemsize, LINE_BYTES):
            fn.prefetch(fn.element(place, I8, integer(start)), writes=False)
