"""Emits contractions: a tile of accumulators in registers, the loops that move it over the result, packing, and the epilogue.

In the innermost loop each row's element of the left operand is spread over the lanes and multiplied with the vectors of the right one.
All extents are known, so ragged edges are smaller tiles of their own and masked vectors, never tests in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from graphc.backends.llvm.conversion import cast, from_memory, memory_type, register_type, to_memory
from graphc.backends.llvm.emitter import Loop, Value, constant, integer
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes, load_vector, store_vector
from graphc.ir.types import DType
from graphc.kernel.loopir import Load, Map
from graphc.kernel.tiling import Contraction, left_terms, source_load


@dataclass(frozen=True, slots=True)
class _Tile:
    """A tile's place.

    ``height`` rows from ``row`` on, which is ``local`` rows into its block; vectors from ``column`` on, in panel number ``panel``.
    """

    row: Value
    local: Value
    height: int
    column: Value
    panel: Value
    vectors: tuple[Lanes, ...]


class ContractionEmitter:
    """Emits one contraction at the evaluator's current block.

    Args:
        evaluator: of the kernel, with no axis bound.
        plan: what to emit.
        panels: address of the packed right operand, where it is packed.
        scratch: memory for packed rows of the left operand, where they are packed.
    """

    def __init__(self, evaluator: Evaluator, plan: Contraction, panels: Value | None, scratch: Value | None) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.kernel = evaluator.kernel
        self.extents = evaluator.kernel.extents
        self.plan = plan
        self.panels = panels
        self.packed_rows = scratch if plan.left_bytes else None
        self.dtype = self.kernel.values[plan.reduce].dtype
        self.vector = register_type(self.dtype, plan.lanes)
        self.width = plan.tile_vectors * plan.lanes
        self.left = source_load(self.kernel, plan.left)
        self.rows = math.prod(self.extents[axis] for axis in plan.rows)
        self.buffer: Value | None = None

    def emit(self) -> None:
        """Loops over the outer axes, blocks of the sum, blocks of rows, panels and tiles."""
        with ExitStack() as stack:
            loops = _open_axes(self.evaluator, stack, self.plan.outer)
            self.evaluator.mark()
            # What depends on the outer axes alone is computed before the loops over tiles.
            with self.evaluator.scope({}):
                self._depth_blocks()
            for loop in reversed(loops):
                self.fn.end_loop(loop)

    # -- blocks ----------------------------------------------------------------------------------------------------

    def _depth_blocks(self) -> None:
        fn, block = self.fn, self.plan.depth_block
        extent = self.extents[self.plan.depth[0]]
        self.start: Value = integer(0)
        self.count: int | Value = extent
        if not block:
            self._row_blocks()
            return
        loop = fn.begin_loop(-(-extent // block))
        self.start = fn.multiply(loop.index, block)
        self.count = fn.elementwise("umin", integer(block), fn.binary("sub", integer(extent), self.start))
        self._row_blocks()
        fn.end_loop(loop)

    def _row_blocks(self) -> None:
        fn, size = self.fn, self.plan.row_block or self.rows
        blocks, rest = divmod(self.rows, size)
        loop = fn.begin_loop(blocks)
        self._block(fn.multiply(loop.index, size), size)
        fn.end_loop(loop)
        if rest:
            self._block(integer(blocks * size), rest)

    def _block(self, row: Value, count: int) -> None:
        """All columns of ``count`` rows."""
        if self.packed_rows is not None:
            self._each_tile(row, count, self._pack_rows)
        self._columns(row, count)

    def _columns(self, row: Value, count: int) -> None:
        """All columns of ``count`` rows, a panel at a time."""
        fn, lanes, axis = self.fn, self.plan.lanes, self.plan.column
        panels, rest = divmod(self.extents[axis], self.width)
        if panels:
            loop = fn.begin_loop(panels)
            vectors = (Lanes(axis, lanes, lanes),) * self.plan.tile_vectors
            self._tiles(row, count, fn.multiply(loop.index, self.width), loop.index, vectors)
            fn.end_loop(loop)
        if rest:
            active = [min(lanes, rest - start) for start in range(0, rest, lanes)]
            vectors = tuple(Lanes(axis, lanes, some) for some in active)
            self._tiles(row, count, integer(panels * self.width), integer(panels), vectors)

    def _tiles(self, row: Value, count: int, column: Value, panel: Value, vectors: tuple[Lanes, ...]) -> None:
        def tile(first: Value, local: Value, height: int) -> None:
            self._tile(_Tile(first, local, height, column, panel, vectors))

        self._each_tile(row, count, tile)

    def _each_tile(self, row: Value, count: int, body: Callable[[Value, Value, int], None]) -> None:
        """``body(first row, rows before it in the block, height)`` for the tiles of ``count`` rows."""
        fn, height = self.fn, self.plan.tile_rows
        tiles, rest = divmod(count, height)
        if tiles:
            loop = fn.begin_loop(tiles)
            local = fn.multiply(loop.index, height)
            body(fn.add(row, local), local, height)
            fn.end_loop(loop)
        if rest:
            body(fn.add(row, integer(tiles * height)), integer(tiles * height), rest)

    # -- the tile --------------------------------------------------------------------------------------------------

    def _tile(self, tile: _Tile) -> None:
        sums = self._sums(tile)
        if self.plan.depth_block:
            self._add_partial(tile, sums)
        elif self._is_plain_store():
            for row, values in enumerate(sums):
                address = self._result_address(tile, row)
                for number, (value, lanes) in enumerate(zip(values, tile.vectors, strict=True)):
                    self._store(value, address, number, lanes)
        else:
            self._epilogue(tile, sums)

    def _sums(self, tile: _Tile) -> list[list[Value]]:
        """The accumulators after the loops over the sum's axes."""
        fn, plan = self.fn, self.plan
        left, left_steps, source = self._left_operand(tile)
        right = self._right_address(tile)
        zero = constant(self.vector, 0)
        state = [zero] * (tile.height * len(tile.vectors))
        right_steps = self._right_steps()
        loops: list[Loop] = []
        left_offset, right_offset = integer(0), integer(0)
        for depth, axis in enumerate(plan.depth):
            loop = fn.begin_loop(self.count if depth == 0 else self.extents[axis], state)
            loops.append(loop)
            state = loop.carried
            left_offset = fn.add(left_offset, fn.multiply(loop.index, left_steps[axis]))
            right_offset = fn.add(right_offset, fn.multiply(loop.index, right_steps[axis]))
        vectors = self._right_vectors(right, right_offset, tile.vectors)
        updated: list[Value] = []
        for row, (address, step) in enumerate(left):
            element = memory_type(source)
            here = fn.element(fn.element(address, element, left_offset), element, integer(step))
            spread = fn.splat(self._converted(fn.load(element, here, source.itemsize), source), plan.lanes)
            for position, vector in enumerate(vectors):
                updated.append(self._multiply_add(spread, vector, state[row * len(vectors) + position]))
        for loop in reversed(loops):
            updated = fn.end_loop(loop, updated)
        across = len(tile.vectors)
        return [updated[row * across : (row + 1) * across] for row in range(tile.height)]

    def _multiply_add(self, left: Value, right: Value, total: Value) -> Value:
        fn = self.fn
        if not self.vector.is_float:
            return fn.binary("add", total, fn.binary("mul", left, right))
        if self.evaluator.target.has_fma:
            return fn.elementwise("fma", left, right, total)
        return fn.binary("fadd", total, fn.binary("fmul", left, right))

    # -- operands --------------------------------------------------------------------------------------------------

    def _converted(self, stored: Value, source: DType) -> Value:
        """An element (or vector) just loaded, in the dtype of the sum."""
        target = self.evaluator.target
        return cast(self.fn, from_memory(self.fn, stored, source, target), source, self.dtype, target)

    def _left_operand(self, tile: _Tile) -> tuple[list[tuple[Value, int]], dict[int, int], DType]:
        """For each row an address and a displacement in elements, the steps along the axes of the sum, and the dtype in memory."""
        depth = self.plan.depth
        if self.packed_rows is None:
            coefficients = self.left.map.coefficients
            return self._left_addresses(tile.row, tile.height), {axis: coefficients[axis] for axis in depth}, self.left.dtype
        address = self._packed_rows_address(tile.local)
        return [(address, row) for row in range(tile.height)], self._row_major(tile.height), self.dtype

    def _packed_rows_address(self, local: Value) -> Value:
        assert self.packed_rows is not None
        return self.fn.element(self.packed_rows, memory_type(self.dtype), self.fn.multiply(local, left_terms(self.plan, self.extents)))

    def _row_major(self, size: int) -> dict[int, int]:
        """Steps along the axes of the sum where positions of ``size`` elements lie one after another."""
        steps = {}
        for axis in reversed(self.plan.depth):
            steps[axis] = size
            size *= self.extents[axis]
        return steps

    def _pack_rows(self, row: Value, local: Value, height: int) -> None:
        """Copy a tile's rows of the left operand so that its elements are read one after another."""
        fn, source = self.fn, self.left.dtype
        element, packed = memory_type(source), memory_type(self.dtype)
        rows = self._left_addresses(row, height)
        steps = self._row_major(height)
        target = self._packed_rows_address(local)
        loops: list[Loop] = []
        from_offset, to_offset = integer(0), integer(0)
        for depth, axis in enumerate(self.plan.depth):
            loop = fn.begin_loop(self.count if depth == 0 else self.extents[axis])
            loops.append(loop)
            from_offset = fn.add(from_offset, fn.multiply(loop.index, self.left.map.coefficients[axis]))
            to_offset = fn.add(to_offset, fn.multiply(loop.index, steps[axis]))
        place = fn.element(target, packed, to_offset)
        if self._flat_stride(self.left.map) == 1:
            stored = fn.load(element.with_lanes(height), fn.element(rows[0][0], element, from_offset), source.itemsize)
            fn.store(self._converted(stored, source), place, self.dtype.itemsize)
        else:
            for number, (address, step) in enumerate(rows):
                here = fn.element(fn.element(address, element, from_offset), element, integer(step))
                value = self._converted(fn.load(element, here, source.itemsize), source)
                fn.store(value, fn.element(place, packed, integer(number)), self.dtype.itemsize)
        for loop in reversed(loops):
            fn.end_loop(loop)

    def _left_addresses(self, row: Value, height: int) -> list[tuple[Value, int]]:
        """For each row an address and a constant displacement in elements."""
        fn, map_ = self.fn, self.left.map
        element = memory_type(self.left.dtype)
        base = self._outer_address(self.left)
        base = fn.element(base, element, fn.multiply(self.start, map_.coefficients[self.plan.depth[0]]))
        stride = self._flat_stride(map_)
        if stride is not None:
            first = fn.element(base, element, fn.multiply(row, stride))
            return [(first, number * stride) for number in range(height)]
        offsets = (self._row_offset(map_, fn.add(row, integer(number))) for number in range(height))
        return [(fn.element(base, element, offset), 0) for offset in offsets]

    def _outer_address(self, load: Load) -> Value:
        """The address of a plain operand's element at 0 along rows, column and depth."""
        inner = {*self.plan.rows, *self.plan.depth, self.plan.column}
        kept = tuple(0 if axis in inner else c for axis, c in enumerate(load.map.coefficients))
        return self.evaluator.address(load.param, Map(kept, load.map.offset))

    def _flat_stride(self, map_: Map) -> int | None:
        """The step of ``map_`` from row to row, where the rows' axes lie as one; None otherwise."""
        axes = self.plan.rows
        for outer, inner in zip(axes, axes[1:]):
            if map_.coefficients[outer] != map_.coefficients[inner] * self.extents[inner]:
                return None
        return map_.coefficients[axes[-1]]

    def _row_offset(self, map_: Map, row: Value) -> Value:
        stride = self._flat_stride(map_)
        if stride is not None:
            return self.fn.multiply(row, stride)
        offset = integer(0)
        for axis, index in self._row_indices(row).items():
            offset = self.fn.add(offset, self.fn.multiply(index, map_.coefficients[axis]))
        return offset

    def _row_indices(self, row: Value) -> dict[int, Value]:
        """The position along each of the rows' axes."""
        fn, indices = self.fn, dict[int, Value]()
        for axis in reversed(self.plan.rows[1:]):
            indices[axis] = fn.binary("urem", row, integer(self.extents[axis]))
            row = fn.binary("udiv", row, integer(self.extents[axis]))
        indices[self.plan.rows[0]] = row
        return indices

    def _right_steps(self) -> dict[int, int]:
        """Elements of the right operand from position to position along each axis of the sum."""
        if not self.plan.packed:
            coefficients = source_load(self.kernel, self.plan.right).map.coefficients
            return {axis: coefficients[axis] for axis in self.plan.depth}
        return self._row_major(self.width)

    def _right_address(self, tile: _Tile) -> Value:
        fn = self.fn
        start = fn.multiply(self.start, self._right_steps()[self.plan.depth[0]])
        if self.panels is None:
            load = source_load(self.kernel, self.plan.right)
            element = memory_type(load.dtype)
            base = fn.element(self._outer_address(load), element, start)
            return fn.element(base, element, tile.column)
        element = self.vector.with_lanes(1)
        outer = self.evaluator.offset(_panel_coefficients(self.plan, self.extents))
        base = fn.element(fn.element(self.panels, element, outer), element, start)
        return fn.element(base, element, fn.multiply(tile.panel, _panel_size(self.plan, self.extents)))

    def _right_vectors(self, address: Value, offset: Value, vectors: Sequence[Lanes]) -> list[Value]:
        fn, plan, lanes = self.fn, self.plan, self.plan.lanes
        if self.panels is not None:
            element, align = self.vector.with_lanes(1), self.vector.bits // 8 * lanes
            here = fn.element(address, element, offset)
            steps = [fn.element(here, element, integer(number * lanes)) for number in range(len(vectors))]
            return [fn.load(self.vector, step, min(align, 64)) for step in steps]
        load = source_load(self.kernel, plan.right)
        element = memory_type(load.dtype)
        here = fn.element(address, element, offset)
        result = []
        for number, some in enumerate(vectors):
            stored = load_vector(fn, element, fn.element(here, element, integer(number * lanes)), some, load.dtype.itemsize)
            result.append(self._converted(stored, load.dtype))
        return result

    # -- results ---------------------------------------------------------------------------------------------------

    def _is_plain_store(self) -> bool:
        """True where the sum itself is stored along the lanes and nothing else happens."""
        (first, *others) = self.plan.stores
        return not others and first.value == self.plan.reduce and first.map.coefficients[self.plan.column] == 1

    def _result_address(self, tile: _Tile, row: int) -> Value:
        fn, store = self.fn, self.plan.stores[0]
        element = memory_type(self.dtype)
        inner = {*self.plan.rows, self.plan.column}
        kept = tuple(0 if axis in inner else c for axis, c in enumerate(store.map.coefficients))
        base = fn.element(self.evaluator.address(store.param, Map(kept, store.map.offset)), element, tile.column)
        stride = self._flat_stride(store.map)
        if stride is not None:
            first = fn.element(base, element, fn.multiply(tile.row, stride))
            return fn.element(first, element, integer(row * stride))
        return fn.element(base, element, self._row_offset(store.map, fn.add(tile.row, integer(row))))

    def _store(self, value: Value, address: Value, number: int, lanes: Lanes) -> None:
        place = self.fn.element(address, memory_type(self.dtype), integer(number * self.plan.lanes))
        stored = to_memory(self.fn, value, self.dtype, self.evaluator.target)
        store_vector(self.fn, stored, place, lanes, self.dtype.itemsize)

    def _add_partial(self, tile: _Tile, sums: Sequence[Sequence[Value]]) -> None:
        """Add a block of the sum to what earlier blocks have left in the result."""
        fn = self.fn
        is_first = fn.compare("icmp eq", self.start, integer(0))
        add = "fadd" if self.vector.is_float else "add"
        for row, values in enumerate(sums):
            address = self._result_address(tile, row)
            for number, (value, lanes) in enumerate(zip(values, tile.vectors, strict=True)):
                place = fn.element(address, memory_type(self.dtype), integer(number * self.plan.lanes))
                before = load_vector(fn, memory_type(self.dtype), place, lanes, self.dtype.itemsize)
                total = fn.binary(add, before, value)
                self._store(fn.define(f"select {is_first}, {value}, {total}", self.vector), address, number, lanes)

    def _epilogue(self, tile: _Tile, sums: Sequence[Sequence[Value]]) -> None:
        """Run the stores on the tile, from memory: one body for all rows, and elementary functions may use all registers."""
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        element, align = self.vector.with_lanes(1), min(64, self.vector.bits // 8 * plan.lanes)
        if self.buffer is None:
            self.buffer = fn.stack(element, plan.tile_rows * self.width, 64)
        buffer = self.buffer
        for row, values in enumerate(sums):
            for number, value in enumerate(values):
                fn.store(value, fn.element(buffer, element, integer(row * self.width + number * plan.lanes)), align)
        loop = fn.begin_loop(tile.height)
        held = fn.element(buffer, element, fn.multiply(loop.index, self.width))
        full = sum(not lanes.is_partial for lanes in tile.vectors)

        def vector(offset: Value, lanes: Lanes) -> None:
            with evaluator.scope({plan.column: fn.add(tile.column, offset)}, lanes):
                evaluator.put(plan.reduce, fn.load(self.vector, fn.element(held, element, offset), align))
                for store in plan.stores:
                    evaluator.value(store.value)
                for store in plan.stores:
                    evaluator.write(store)

        with evaluator.scope(self._row_indices(fn.add(tile.row, loop.index))):
            if full:
                across = fn.begin_loop(full)
                vector(fn.multiply(across.index, plan.lanes), tile.vectors[0])
                fn.end_loop(across)
            if full < len(tile.vectors):
                evaluator.mark()
                vector(integer(full * plan.lanes), tile.vectors[-1])
        fn.end_loop(loop)


def emit_pack(evaluator: Evaluator, plan: Contraction, panels: Value) -> None:
    """Copy the right operand of a contraction into panels: [outer][panel][depth][tile width]."""
    fn, extents, lanes = evaluator.fn, evaluator.kernel.extents, plan.lanes
    width = plan.tile_vectors * lanes
    vector = register_type(evaluator.kernel.values[plan.right].dtype, lanes)
    element, align = vector.with_lanes(1), min(64, vector.bits // 8 * lanes)

    def copy(number: Value, column: Value, vectors: Sequence[Lanes], depth_steps: Callable[[], Value]) -> None:
        with ExitStack() as stack:
            loops = _open_axes(evaluator, stack, plan.depth)
            evaluator.mark()
            panel = fn.element(panels, element, evaluator.offset(_panel_coefficients(plan, extents)))
            panel = fn.element(panel, element, fn.multiply(number, _panel_size(plan, extents)))
            row = fn.element(panel, element, depth_steps())
            for position, some in enumerate(vectors):
                with evaluator.scope({plan.column: fn.add(column, integer(position * lanes))}, some):
                    value = evaluator.spread(evaluator.value(plan.right), lanes)
                    fn.store(value, fn.element(row, element, integer(position * lanes)), align)
            for loop in reversed(loops):
                fn.end_loop(loop)

    def depth_offset() -> Value:
        coefficients, size = [0] * len(extents), width
        for axis in reversed(plan.depth):
            coefficients[axis] = size
            size *= extents[axis]
        return evaluator.offset(tuple(coefficients))

    with ExitStack() as stack:
        loops = _open_axes(evaluator, stack, plan.packed_outer)
        full, rest = divmod(extents[plan.column], width)
        evaluator.mark()
        if full:
            loop = fn.begin_loop(full)
            vectors = (Lanes(plan.column, lanes, lanes),) * plan.tile_vectors
            with evaluator.scope({}):
                copy(loop.index, fn.multiply(loop.index, width), vectors, depth_offset)
            fn.end_loop(loop)
        if rest:
            some = tuple(Lanes(plan.column, lanes, min(lanes, rest - start)) for start in range(0, rest, lanes))
            with evaluator.scope({}):
                copy(integer(full), integer(full * width), some, depth_offset)
        for outer in reversed(loops):
            fn.end_loop(outer)


def _open_axes(evaluator: Evaluator, stack: ExitStack, axes: Sequence[int]) -> list[Loop]:
    """Open a loop an axis, each with its scope; the caller closes the loops."""
    loops = []
    for axis in axes:
        evaluator.mark()
        loop = evaluator.fn.begin_loop(evaluator.kernel.extents[axis])
        stack.enter_context(evaluator.scope({axis: loop.index}))
        loops.append(loop)
    return loops


def _panel_size(plan: Contraction, extents: Sequence[int]) -> int:
    """Elements of one panel."""
    return math.prod(extents[axis] for axis in plan.depth) * plan.tile_vectors * plan.lanes


def _panel_coefficients(plan: Contraction, extents: Sequence[int]) -> tuple[int, ...]:
    """Elements of panels from position to position along the outer axes."""
    width = plan.tile_vectors * plan.lanes
    size = _panel_size(plan, extents) * -(-extents[plan.column] // width)
    coefficients = [0] * len(extents)
    for axis in reversed(plan.packed_outer):
        coefficients[axis] = size
        size *= extents[axis]
    return tuple(coefficients)


