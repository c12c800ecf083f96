"""Emits products of one row with a matrix: groups of rows of the matrix run through the vectors of running sums."""

from __future__ import annotations

from contextlib import ExitStack

from graphc.backends.llvm.arithmetic import multiply_add
from graphc.backends.llvm.columns import Columns
from graphc.backends.llvm.conversion import cast, from_memory, memory_type, register_type
from graphc.backends.llvm.emitter import Loop
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes, load_vector
from graphc.backends.llvm.panels import open_axes
from graphc.backends.llvm.threads.team import Team, where
from graphc.backends.llvm.values import Value, constant, integer
from graphc.kernel.loopir import Map
from graphc.kernel.streaming import GROUP, Streaming
from graphc.kernel.tiling import source_load


class StreamingEmitter:
    """Emits one product at the evaluator's current block, with no axis bound; a team shares its columns."""

    def __init__(self, evaluator: Evaluator, plan: Streaming, team: Team | None = None) -> None:
        self.team = team
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.plan = plan
        self.extents = evaluator.kernel.extents
        self.columns = Columns(evaluator, plan.column, plan.lanes, team)
        self.dtype = evaluator.kernel.values[plan.reduce].dtype
        self.vector = register_type(self.dtype, plan.lanes)
        self.element = self.vector.with_lanes(1)
        self.align = min(64, self.vector.bits // 8 * plan.lanes)
        vectors = -(-plan.chunk // plan.lanes)
        self.sums = self.fn.stack(self.element, vectors * plan.lanes, 64)

    def emit(self) -> None:
        """Loops over the outer axes and over chunks of columns."""
        with ExitStack() as stack:
            loops = open_axes(self.evaluator, stack, self.plan.outer)
            self.columns.chunks(self.plan.chunk, self._chunk)
            for loop in reversed(loops):
                self.fn.end_loop(loop)

    def _chunk(self, first: Value, count: int) -> None:
        fn, evaluator = self.fn, self.evaluator
        self._products(first, count)
        evaluator.mark()

        def finish(offset: Value, lanes: Lanes) -> None:
            with evaluator.scope({self.plan.column: fn.add(first, offset)}, lanes):
                evaluator.put(self.plan.reduce, self._get(offset))
                evaluator.write_all(self.plan.stores)

        self.columns.vectors(count, finish)

    def _put(self, offset: Value, value: Value) -> None:
        self.fn.store(value, self.fn.element(self.sums, self.element, offset), self.align)

    def _get(self, offset: Value) -> Value:
        return self.fn.load(self.vector, self.fn.element(self.sums, self.element, offset), self.align)

    # -- rows of the matrix ----------------------------------------------------------------------------------------

    def _products(self, first: Value, count: int) -> None:
        """The sums of ``count`` columns: in registers where there are few of them and nobody shares them."""
        vectors = -(-count // self.plan.lanes)
        if vectors > self.plan.held or len(self.plan.depth) > 1:
            self._rows(first, count)
            return
        if self.team is None:
            self._held_rows(first, count)
            return
        low, high = self.team.part(vectors)
        own = self.fn.binary("sub", high, low)
        with where(self.evaluator, self.fn.compare("icmp eq", own, integer(vectors))):
            self._held_rows(first, count)
        with where(self.evaluator, self.fn.compare("icmp ne", own, integer(vectors))):
            self._rows(first, count)

    def _held_rows(self, first: Value, count: int) -> None:
        """All rows of the matrix one after the other, as they lie in memory; the sums stay in registers."""
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        full, rest = divmod(count, plan.lanes)
        pieces = [Lanes(plan.column, plan.lanes, plan.lanes)] * full
        pieces += [Lanes(plan.column, plan.lanes, rest)] * bool(rest)
        evaluator.mark()
        loop = fn.begin_loop(self.extents[plan.depth[0]], [constant(self.vector, 0)] * len(pieces))
        factor, address = self._row(first, loop.index)
        totals = [
            self._multiply_add(factor, address, integer(number * plan.lanes), lanes, total)
            for number, (lanes, total) in enumerate(zip(pieces, loop.carried, strict=True))
        ]
        for number, total in enumerate(fn.end_loop(loop, totals)):
            self._put(integer(number * plan.lanes), total)

    def _rows(self, first: Value, count: int) -> None:
        """All rows of the matrix, in groups; the sums are in memory."""
        fn, evaluator = self.fn, self.evaluator
        self.columns.vectors(count, lambda offset, lanes: self._put(offset, constant(self.vector, 0)))
        *outer, axis = self.plan.depth
        with ExitStack() as stack:
            loops: list[Loop] = open_axes(evaluator, stack, outer)
            groups, rest = divmod(self.extents[axis], GROUP)
            if groups:
                evaluator.mark()
                loop = fn.begin_loop(groups)
                self._group(first, count, fn.multiply(loop.index, GROUP), GROUP)
                fn.end_loop(loop)
            if rest:
                evaluator.mark()
                self._group(first, count, integer(groups * GROUP), rest)
            for loop in reversed(loops):
                fn.end_loop(loop)

    def _group(self, first: Value, count: int, row: Value, height: int) -> None:
        rows = [self._row(first, self.fn.add(row, integer(number))) for number in range(height)]

        def add(offset: Value, lanes: Lanes) -> None:
            total = self._get(offset)
            for factor, address in rows:
                total = self._multiply_add(factor, address, offset, lanes, total)
            self._put(offset, total)

        self.columns.vectors(count, add)

    def _row(self, first: Value, row: Value) -> tuple[Value, Value]:
        """What a row of the matrix is multiplied with, in every lane, and the address of its first column."""
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        load = source_load(evaluator.kernel, plan.right)
        kept = Map(tuple(0 if a == plan.column else c for a, c in enumerate(load.map.coefficients)), load.map.offset)
        with evaluator.scope({plan.depth[-1]: row}):
            factor = fn.splat(evaluator.value(plan.left), plan.lanes)
            return factor, fn.element(evaluator.address(load.param, kept), memory_type(load.dtype), first)

    def _multiply_add(self, factor: Value, address: Value, offset: Value, lanes: Lanes, total: Value) -> Value:
        """A vector of sums with the products of one row."""
        fn, target = self.fn, self.evaluator.target
        load = source_load(self.evaluator.kernel, self.plan.right)
        stored = memory_type(load.dtype)
        held = load_vector(fn, stored, fn.element(address, stored, offset), lanes, load.dtype.itemsize)
        read = cast(fn, from_memory(fn, held, load.dtype, target), load.dtype, self.dtype, target)
        return multiply_add(fn, target, factor, read, total)
