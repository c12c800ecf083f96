"""Emits products of one row with a matrix: groups of rows of the matrix run through the vectors of running sums."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from graphc.backends.llvm.arithmetic import multiply_add
from graphc.backends.llvm.conversion import cast, from_memory, memory_type, register_type
from graphc.backends.llvm.emitter import Loop
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes, load_vector
from graphc.backends.llvm.panels import open_axes
from graphc.backends.llvm.threads.team import Team, each
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
        self.dtype = evaluator.kernel.values[plan.reduce].dtype
        self.vector = register_type(self.dtype, plan.lanes)
        self.element = self.vector.with_lanes(1)
        self.align = min(64, self.vector.bits // 8 * plan.lanes)
        vectors = -(-plan.chunk // plan.lanes)
        self.sums = self.fn.stack(self.element, vectors * plan.lanes, 64)

    def emit(self) -> None:
        """Loops over the outer axes and over chunks of columns."""
        chunks, rest = divmod(self.extents[self.plan.column], self.plan.chunk)
        with ExitStack() as stack:
            loops = open_axes(self.evaluator, stack, self.plan.outer)
            self.evaluator.mark()
            if chunks:
                loop = self.fn.begin_loop(chunks)
                self._chunk(self.fn.multiply(loop.index, self.plan.chunk), self.plan.chunk)
                self.fn.end_loop(loop)
            if rest:
                self._chunk(integer(chunks * self.plan.chunk), rest)
            for loop in reversed(loops):
                self.fn.end_loop(loop)

    def _chunk(self, first: Value, count: int) -> None:
        fn, evaluator = self.fn, self.evaluator
        evaluator.mark()
        with evaluator.scope({}):
            self._vectors(count, lambda offset, lanes: self._put(offset, constant(self.vector, 0)))
            self._rows(first, count)
            evaluator.mark()

            def finish(offset: Value, lanes: Lanes) -> None:
                with evaluator.scope({self.plan.column: fn.add(first, offset)}, lanes):
                    evaluator.put(self.plan.reduce, self._get(offset))
                    for store in self.plan.stores:
                        evaluator.value(store.value)
                    for store in self.plan.stores:
                        evaluator.write(store)

            self._vectors(count, finish)

    def _vectors(self, count: int, body: Callable[[Value, Lanes], None]) -> None:
        """``body(first column, lanes)`` for the vectors of ``count`` columns."""
        fn, lanes, axis = self.fn, self.plan.lanes, self.plan.column
        full, rest = divmod(count, lanes)

        def whole(vector: Value) -> None:
            body(fn.multiply(vector, lanes), Lanes(axis, lanes, lanes))

        def ragged() -> None:
            self.evaluator.mark()
            body(integer(full * lanes), Lanes(axis, lanes, rest))

        part = None if self.team is None else self.team.part(full + bool(rest))
        each(self.evaluator, part, full, whole, ragged if rest else None)

    def _put(self, offset: Value, value: Value) -> None:
        self.fn.store(value, self.fn.element(self.sums, self.element, offset), self.align)

    def _get(self, offset: Value) -> Value:
        return self.fn.load(self.vector, self.fn.element(self.sums, self.element, offset), self.align)

    # -- rows of the matrix ----------------------------------------------------------------------------------------

    def _rows(self, first: Value, count: int) -> None:
        """All rows of the matrix, in groups."""
        fn, evaluator = self.fn, self.evaluator
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
        fn, evaluator, plan = self.fn, self.evaluator, self.plan
        load = source_load(evaluator.kernel, plan.right)
        stored = memory_type(load.dtype)
        kept = Map(tuple(0 if a == plan.column else c for a, c in enumerate(load.map.coefficients)), load.map.offset)
        target = evaluator.target
        factors: list[Value] = []
        addresses: list[Value] = []
        for number in range(height):
            with evaluator.scope({plan.depth[-1]: fn.add(row, integer(number))}):
                factors.append(fn.splat(evaluator.value(plan.left), plan.lanes))
                addresses.append(fn.element(evaluator.address(load.param, kept), stored, first))

        def add(offset: Value, lanes: Lanes) -> None:
            total = self._get(offset)
            for factor, address in zip(factors, addresses, strict=True):
                place = fn.element(address, stored, offset)
                read = from_memory(fn, load_vector(fn, stored, place, lanes, load.dtype.itemsize), load.dtype, target)
                total = multiply_add(fn, target, factor, cast(fn, read, load.dtype, self.dtype, target), total)
            self._put(offset, total)

        self._vectors(count, add)
