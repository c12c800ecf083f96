"""Emits contractions: a tile of accumulators in registers, the loops that move it over the result, and the epilogue.

In the innermost loop each row's element of the left operand is spread over the lanes and multiplied with the vectors
of the right one. All extents are known, so ragged edges are smaller tiles of their own and masked vectors, never
tests in the loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from graphc.backends.llvm.arithmetic import multiply_add
from graphc.backends.llvm.conversion import memory_type, register_type, to_memory
from graphc.backends.llvm.emitter import Loop
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes, load_vector, store_vector
from graphc.backends.llvm.operands import LINE_BYTES, Block, LeftOperand, RightOperand, Rows, Tile
from graphc.backends.llvm.panels import PanelPacker, each_window, open_axes
from graphc.backends.llvm.threads.split import Split
from graphc.backends.llvm.threads.team import Part, Team, each, where
from graphc.backends.llvm.values import I8, Value, constant, integer
from graphc.kernel.epilogue import epilogue_maps, epilogue_values, has_light_epilogue
from graphc.kernel.loopir import Kernel, Load, Map
from graphc.kernel.tiling import Contraction, aligned


def _touched(kernel: Kernel, plan: Contraction, rows: Rows) -> list[tuple[int, Map, bool]]:
    """What the end of a tile reads and writes in rows along the lanes: parameter, map, and whether it is written."""
    found: dict[tuple[int, Map], bool] = {}
    for number in epilogue_values(kernel, plan):
        value = kernel.values[number]
        if isinstance(value, Load):
            found[value.param, value.map] = False
    for store in plan.stores:
        if store.scatter is None:
            found[store.param, store.map] = True
    return [
        (param, map_, writes)
        for (param, map_), writes in found.items()
        if map_.coefficients[plan.column] == 1 and rows.stride(map_)
    ]


class ContractionEmitter:
    """Emits one contraction at the evaluator's current block.

    Args:
        evaluator: of the kernel, with no axis bound.
        plan: what to emit.
        panels: address of the right operand where it has been packed by a function of its own.
        scratch: working memory: packed rows of the left operand, then panels that are packed a block at a time.
        team: the threads that share it, if any do.
        split: along what they do.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        plan: Contraction,
        panels: Value | None,
        scratch: Value | None,
        team: Team | None = None,
        split: Split | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.extents = evaluator.kernel.extents
        self.plan = plan
        self.dtype = evaluator.kernel.values[plan.reduce].dtype
        self.vector = register_type(self.dtype, plan.lanes)
        self.width = plan.tile_vectors * plan.lanes
        self.rows = Rows(evaluator, plan)
        self.row_count = math.prod(self.extents[axis] for axis in plan.rows)
        self.team = team
        by = None if split is None else split.by
        self.outer_team = team if by == "outer" else None
        self.row_team = team if by == "rows" else None
        self.column_team = team if by == "columns" else None
        own = scratch
        if team is not None and scratch is not None:
            # Each member packs the rows that it needs for itself, and panels where it has whole products to itself.
            own = team.private(scratch)
            scratch = own if by == "outer" else scratch
        if plan.packing == "block":
            assert scratch is not None
            panels = self.fn.element(
                scratch, register_type(self.dtype), integer(aligned(plan.left_bytes) // self.dtype.itemsize)
            )
        self.left = LeftOperand(evaluator, plan, self.rows, own if plan.left_bytes else None)
        self.right = RightOperand(evaluator, plan, panels)
        self.block = Block(integer(0), self.extents[plan.depth[0]])
        self.touched = _touched(evaluator.kernel, plan, self.rows)
        self.is_light = has_light_epilogue(evaluator.kernel, plan)
        self.rows_are_one = all(self.rows.stride(map_) is not None for map_ in epilogue_maps(evaluator.kernel, plan))
        self.buffer: Value | None = None

    def emit(self) -> None:
        """Loops over the outer axes, blocks of the sum, blocks of rows, panels and tiles."""
        with ExitStack() as stack:
            loops = open_axes(self.evaluator, stack, self.plan.outer, self.outer_team)
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
        if not block:
            self._row_blocks()
            return
        loop = fn.begin_loop(-(-extent // block))
        start = fn.multiply(loop.index, block)
        count: int | Value = block
        if extent % block:
            count = fn.elementwise("umin", integer(block), fn.binary("sub", integer(extent), start))
        self.block = Block(start, count)
        self._row_blocks()
        fn.end_loop(loop)

    def _row_blocks(self) -> None:
        fn, size = self.fn, self.plan.row_block or self.row_count
        if self.plan.packing == "block":
            assert self.right.panels is not None
            # Members that share the rows need each other's panels, those that share the columns only their own.
            self._wait(self.row_team)
            with self.evaluator.scope({}):
                packer = PanelPacker(self.evaluator, self.plan, self.right.panels, self.row_team or self.column_team)
                packer.pack(self.block.start, self.block.count)
            self._wait(self.row_team)
        if self.row_team is not None:
            self._row_part(self.row_team)
            return
        blocks, rest = divmod(self.row_count, size)
        loop = fn.begin_loop(blocks)
        self._rows(fn.multiply(loop.index, size), size, None)
        fn.end_loop(loop)
        if rest:
            self._rows(integer(blocks * size), rest, None)

    def _row_part(self, team: Team) -> None:
        """What a member does of the rows: neighbouring tiles, in blocks of as many as one thread would take."""
        fn, height = self.fn, self.plan.tile_rows
        low, high = team.part(-(-self.row_count // height))
        size = self.plan.row_block // height
        if not size:
            self._rows(integer(0), self.row_count, (low, high))
            return
        with where(self.evaluator, fn.compare("icmp ult", low, high)):
            tiles = fn.binary("sub", high, low)
            loop = fn.begin_loop(fn.binary("udiv", fn.add(tiles, integer(size - 1)), integer(size)))
            first = fn.add(low, fn.multiply(loop.index, size))
            end = fn.elementwise("umin", fn.add(first, integer(size)), high)
            self._rows(integer(0), self.row_count, (first, end))
            fn.end_loop(loop)

    def _rows(self, row: Value, count: int, tiles: Part | None) -> None:
        """All columns of ``count`` rows, or of some ``tiles`` of them, a panel at a time."""
        if self.plan.left_bytes:
            self._pack_left(row, count, tiles)
        fn, lanes, axis = self.fn, self.plan.lanes, self.plan.column
        panels, rest = divmod(self.extents[axis], self.width)

        def whole(panel: Value) -> None:
            vectors = (Lanes(axis, lanes, lanes),) * self.plan.tile_vectors
            self._tiles(row, count, tiles, fn.multiply(panel, self.width), panel, vectors)

        def ragged() -> None:
            active = [min(lanes, rest - start) for start in range(0, rest, lanes)]
            vectors = tuple(Lanes(axis, lanes, some) for some in active)
            self._tiles(row, count, tiles, integer(panels * self.width), integer(panels), vectors)

        part = None if self.column_team is None else self.column_team.part(panels + bool(rest))
        each(self.evaluator, part, panels, whole, ragged if rest else None)

    def _pack_left(self, row: Value, count: int, tiles: Part | None) -> None:
        def window(first: Value, size: int | Value) -> None:
            def pack(start: Value, local: Value, height: int) -> None:
                self.left.pack(start, local, height, self.block, Block(first, size))

            self._each_tile(row, count, pack, tiles)

        each_window(self.fn, self.plan, self.block.count, window)

    def _wait(self, team: Team | None) -> None:
        if team is not None:
            team.barrier()

    def _tiles(
        self,
        row: Value,
        count: int,
        tiles: Part | None,
        column: Value,
        panel: Value,
        vectors: tuple[Lanes, ...],
    ) -> None:
        def tile(first: Value, local: Value, height: int) -> None:
            self._tile(Tile(first, local, height, column, panel, vectors))

        self._each_tile(row, count, tile, tiles)

    def _each_tile(self, row: Value, count: int, body: Callable[[Value, Value, int], None], part: Part | None) -> None:
        """``body(first row, rows before it in the block, height)`` for the tiles of ``count`` rows, or some of them."""
        fn, height = self.fn, self.plan.tile_rows
        tiles, rest = divmod(count, height)

        def begun(start: Value) -> Value:
            """Rows before ``start`` that the block has."""
            return start if part is None else fn.binary("sub", start, fn.multiply(part[0], height))

        def whole(tile: Value) -> None:
            start = fn.multiply(tile, height)
            body(fn.add(row, start), begun(start), height)

        def ragged() -> None:
            start = integer(tiles * height)
            body(fn.add(row, start), begun(start), rest)

        each(self.evaluator, part, tiles, whole, ragged if rest else None)

    # -- the tile --------------------------------------------------------------------------------------------------

    def _tile(self, tile: Tile) -> None:
        self._prefetch(tile)
        sums = self._sums(tile)
        if self.plan.depth_block:
            self._add_partial(tile, sums)
        elif self._is_plain_store():
            self._store_sums(tile, sums)
        elif self.is_light:
            self._in_registers(tile, sums)
        else:
            self._epilogue(tile, sums)

    def _prefetch(self, tile: Tile) -> None:
        """Ask for what the end of a tile reads and writes, so that it arrives while the sum runs.

        A few vectors a row, and the rows apart: the processor does not foresee where the next tile goes on.
        """
        fn = self.fn
        for param, map_, writes in self.touched:
            dtype = self.evaluator.kernel.params[param].dtype
            nbytes = sum(lanes.active for lanes in tile.vectors) * dtype.itemsize
            for address in self._addresses(param, map_, tile):
                for start in range(0, nbytes, LINE_BYTES):
                    fn.prefetch(fn.element(address, I8, integer(start)), writes=writes)

    def _sums(self, tile: Tile) -> list[list[Value]]:
        """The accumulators after the loops over the sum's axes."""
        fn, across = self.fn, len(tile.vectors)
        left, right = self.left.tile(tile, self.block), self.right.address(tile, self.block)
        state = [constant(self.vector, 0)] * (tile.height * across)
        loops: list[Loop] = []
        left_offset, right_offset = integer(0), integer(0)
        for depth, axis in enumerate(self.plan.depth):
            loop = fn.begin_loop(self.block.count if depth == 0 else self.extents[axis], state)
            loops.append(loop)
            state = loop.carried
            left_offset = fn.add(left_offset, fn.multiply(loop.index, left.steps[axis]))
            right_offset = fn.add(right_offset, fn.multiply(loop.index, self.right.steps[axis]))
        if self.right.is_far:
            self.right.ask_ahead(right, right_offset, tile.vectors)
        vectors = self.right.vectors(right, right_offset, tile.vectors)
        updated: list[Value] = []
        for row in range(tile.height):
            spread = self.left.spread(left, row, left_offset)
            for position, vector in enumerate(vectors):
                updated.append(multiply_add(fn, self.evaluator.target, spread, vector, state[row * across + position]))
        for loop in reversed(loops):
            updated = fn.end_loop(loop, updated)
        return [updated[row * across : (row + 1) * across] for row in range(tile.height)]

    # -- results ---------------------------------------------------------------------------------------------------

    def _is_plain_store(self) -> bool:
        """True where the sum itself is stored along the lanes and nothing else happens."""
        (first, *others) = self.plan.stores
        return not others and first.value == self.plan.reduce and first.map.coefficients[self.plan.column] == 1

    def _result_addresses(self, tile: Tile) -> list[Value]:
        store = self.plan.stores[0]
        return self._addresses(store.param, store.map, tile)

    def _addresses(self, param: int, map_: Map, tile: Tile) -> list[Value]:
        """Where the rows of the tile start in something that lies along the lanes."""
        fn = self.fn
        element = memory_type(self.evaluator.kernel.params[param].dtype)
        inner = {*self.plan.rows, self.plan.column}
        kept = tuple(0 if axis in inner else c for axis, c in enumerate(map_.coefficients))
        base = fn.element(self.evaluator.address(param, Map(kept, map_.offset)), element, tile.column)
        places = self.rows.places(map_, tile.row, tile.height)
        starts = {first: fn.element(base, element, first) for first, _ in places}
        return [fn.element(starts[first], element, integer(step)) for first, step in places]

    def _store_sums(self, tile: Tile, sums: Sequence[Sequence[Value]]) -> None:
        fn = self.fn
        for address, values in zip(self._result_addresses(tile), sums, strict=True):
            for number, (value, lanes) in enumerate(zip(values, tile.vectors, strict=True)):
                place = fn.element(address, memory_type(self.dtype), integer(number * self.plan.lanes))
                stored = to_memory(fn, value, self.dtype, self.evaluator.target)
                store_vector(fn, stored, place, lanes, self.dtype.itemsize)

    def _add_partial(self, tile: Tile, sums: Sequence[Sequence[Value]]) -> None:
        """Add a block of the sum to what earlier blocks have left in the result."""
        fn = self.fn
        first, later, after = fn.new_block(), fn.new_block(), fn.new_block()
        fn.branch(fn.compare("icmp eq", self.block.start, integer(0)), first, later)
        fn.place(first)
        self._store_sums(tile, sums)
        fn.jump(after)
        fn.place(later)
        add = "fadd" if self.vector.is_float else "add"
        totals: list[list[Value]] = []
        for address, values in zip(self._result_addresses(tile), sums, strict=True):
            totals.append([])
            for number, (value, lanes) in enumerate(zip(values, tile.vectors, strict=True)):
                place = fn.element(address, memory_type(self.dtype), integer(number * self.plan.lanes))
                before = load_vector(fn, memory_type(self.dtype), place, lanes, self.dtype.itemsize)
                totals[-1].append(fn.binary(add, before, value))
        self._store_sums(tile, totals)
        fn.jump(after)
        fn.place(after)

    def _row(self, first: Value, row: Value) -> dict[int, Value]:
        """The axes of a tile's row, as the epilogue sees them: as one axis, where that is all it needs."""
        *outer, inner = self.plan.rows
        if self.rows_are_one:
            return {**dict.fromkeys(outer, integer(0)), inner: self.fn.add(first, row)}
        if not self.rows.are_whole:
            return self.rows.indices(self.fn.add(first, row))
        indices = self.rows.indices(first)
        return {**indices, inner: self.fn.add(indices[inner], row)}

    def _in_registers(self, tile: Tile, sums: Sequence[Sequence[Value]]) -> None:
        """Run the stores on the tile as it is, a column of vectors after the other."""
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        for number, lanes in enumerate(tile.vectors):
            column = fn.add(tile.column, integer(number * plan.lanes))
            with evaluator.scope({plan.column: column}, lanes):
                for row, values in enumerate(sums):
                    with evaluator.scope(self._row(tile.row, integer(row))):
                        evaluator.put(plan.reduce, values[number])
                        self.evaluator.write_all(self.plan.stores)

    def _epilogue(self, tile: Tile, sums: Sequence[Sequence[Value]]) -> None:
        """Run the stores on the tile, from memory: one body for all rows, and all registers free for functions."""
        fn, plan = self.fn, self.plan
        element, align = self.vector.with_lanes(1), min(64, self.vector.bits // 8 * plan.lanes)
        if self.buffer is None:
            self.buffer = fn.stack(element, plan.tile_rows * self.width, 64)
        for row, values in enumerate(sums):
            for number, value in enumerate(values):
                place = fn.element(self.buffer, element, integer(row * self.width + number * plan.lanes))
                fn.store(value, place, align)
        loop = fn.begin_loop(tile.height)
        held = fn.element(self.buffer, element, fn.multiply(loop.index, self.width))
        full = sum(not lanes.is_partial for lanes in tile.vectors)
        with self.evaluator.scope(self._row(tile.row, loop.index)):
            if full:
                across = fn.begin_loop(full)
                self._finish_held(tile, held, fn.multiply(across.index, plan.lanes), tile.vectors[0])
                fn.end_loop(across)
            if full < len(tile.vectors):
                self.evaluator.mark()
                self._finish_held(tile, held, integer(full * plan.lanes), tile.vectors[-1])
        fn.end_loop(loop)

    def _finish_held(self, tile: Tile, held: Value, offset: Value, lanes: Lanes) -> None:
        """The stores of one vector of one row, whose sum is in memory."""
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        element, align = self.vector.with_lanes(1), min(64, self.vector.bits // 8 * plan.lanes)
        with evaluator.scope({plan.column: fn.add(tile.column, offset)}, lanes):
            evaluator.put(plan.reduce, fn.load(self.vector, fn.element(held, element, offset), align))
            self.evaluator.write_all(self.plan.stores)
