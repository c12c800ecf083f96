"""Loops over columns: chunks whose sums stay in the cache, and their vectors, which a team may share.

And sums of columns that add up one row after the other.  Each column by itself would read a little of every row, which
no prefetcher follows where the rows come from memory: 8 GB/s against 27.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes
from graphc.backends.llvm.reduction import RUN, Accumulator, State
from graphc.backends.llvm.threads.team import Team, each
from graphc.backends.llvm.values import Value, integer
from graphc.kernel.nest import Nest

_CHUNK_BYTES = 64 * 1024
"""Of sums, which stay in the caches of a core: parts of rows cost more than sums beyond the first level."""

Body = Callable[[Value, Lanes], None]
"""Called with the first column of a vector, within its chunk, and its lanes."""


class Columns:
    """Loops over the columns of one axis."""

    def __init__(self, evaluator: Evaluator, axis: int, lanes: int, team: Team | None) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.axis = axis
        self.lanes = lanes
        self.team = team

    def chunks(self, size: int, body: Callable[[Value, int], None]) -> None:
        """``body(first column, columns)`` for all chunks."""
        chunks, rest = divmod(self.evaluator.kernel.extents[self.axis], size)
        self.evaluator.mark()
        if chunks:
            loop = self.fn.begin_loop(chunks)
            self._chunk(self.fn.multiply(loop.index, size), size, body)
            self.fn.end_loop(loop)
        if rest:
            self._chunk(integer(chunks * size), rest, body)

    def _chunk(self, first: Value, count: int, body: Callable[[Value, int], None]) -> None:
        self.evaluator.mark()
        with self.evaluator.scope({}):
            body(first, count)

    def vectors(self, count: int, body: Body) -> None:
        """The vectors of ``count`` columns, of which each member of a team has a part."""
        full, rest = divmod(count, self.lanes)

        def whole(vector: Value) -> None:
            body(self.fn.multiply(vector, self.lanes), Lanes(self.axis, self.lanes, self.lanes))

        def ragged() -> None:
            self.evaluator.mark()
            body(integer(full * self.lanes), Lanes(self.axis, self.lanes, rest))

        part = None if self.team is None else self.team.part(full + bool(rest))
        each(self.evaluator, part, full, whole, ragged if rest else None)


class ColumnSums:
    """Emits the innermost loop of a nest over columns that are summed, with what is done with the sums.

    Args:
        evaluator: with all other loops of the nest bound.
        nest: whose one stage sums.
        accumulators: of the stage's reductions.
        update: one more value into one of them.
        team: who shares the columns.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        nest: Nest,
        accumulators: Sequence[Accumulator],
        update: Callable[[int, Accumulator, State], State],
        team: Team | None,
    ) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.nest = nest
        (self.stage,) = nest.stages[-1]
        self.accumulators = accumulators
        self.update = update
        axis = nest.order[-1]
        self.columns = Columns(evaluator, axis, nest.lanes, team)
        kinds = [(accumulator.identity(), accumulator.total()) for accumulator in accumulators]
        each_bytes = sum(value.type.bits // 8 for pair in kinds for state in pair for value in state)
        fitting = max(1, _CHUNK_BYTES // (each_bytes * nest.lanes))
        vectors = -(-evaluator.kernel.extents[axis] // nest.lanes)
        # Chunks of about one size: a small last one would read little of every row.
        self.size = count = -(-vectors // -(-vectors // fitting)) * nest.lanes

        def memory(state: State) -> list[Value]:
            return [self.fn.stack(value.type.with_lanes(1), count, 64) for value in state]

        self.runs = [memory(run) for run, _ in kinds]
        self.totals = [memory(total) for _, total in kinds]

    def emit(self) -> None:
        """All columns."""
        self.columns.chunks(self.size, self._chunk)

    def _chunk(self, first: Value, count: int) -> None:
        def start(offset: Value, lanes: Lanes) -> None:
            for number, accumulator in enumerate(self.accumulators):
                total = accumulator.total()
                self._put(self.totals[number], offset, total)
                self._put(self.runs[number], offset, accumulator.run(total))

        self.columns.vectors(count, start)
        (axis,) = self.stage.order
        rows = self.evaluator.kernel.extents[axis]
        runs, rest = divmod(rows, RUN)
        self.evaluator.mark()
        if runs:
            loop = self.fn.begin_loop(runs)
            self._run(first, count, self.fn.multiply(loop.index, RUN), RUN)
            self.fn.end_loop(loop)
        if rest:
            self._run(first, count, integer(runs * RUN), rest)
        self.evaluator.mark()
        self.columns.vectors(count, lambda offset, lanes: self._finish(first, offset, lanes))

    def _run(self, first: Value, count: int, row: Value, height: int) -> None:
        """Some rows, whose sums then join the totals."""
        groups, rest = divmod(height, self.nest.by_rows)
        if groups:
            loop = self.fn.begin_loop(groups)
            above = self.fn.multiply(loop.index, self.nest.by_rows)
            self._group(first, count, self.fn.add(row, above), self.nest.by_rows)
            self.fn.end_loop(loop)
        if rest:
            self._group(first, count, self.fn.add(row, integer(groups * self.nest.by_rows)), rest)

        def fold(offset: Value, lanes: Lanes) -> None:
            for number, accumulator in enumerate(self.accumulators):
                total = self._get(self.totals[number], offset, accumulator.total())
                folded = accumulator.fold(total, self._get(self.runs[number], offset, accumulator.identity()))
                self._put(self.totals[number], offset, folded)
                self._put(self.runs[number], offset, accumulator.run(folded))

        self.columns.vectors(count, fold)

    def _group(self, first: Value, count: int, row: Value, height: int) -> None:
        """Rows side by side."""
        evaluator, fn = self.evaluator, self.fn
        (axis,) = self.stage.order

        def add(offset: Value, lanes: Lanes) -> None:
            states = [
                self._get(run, offset, accumulator.identity())
                for run, accumulator in zip(self.runs, self.accumulators, strict=True)
            ]
            with evaluator.scope({self.columns.axis: fn.add(first, offset)}, lanes):
                for place in range(height):
                    with evaluator.scope({axis: fn.add(row, integer(place))}):
                        states = [
                            self.update(number, accumulator, state)
                            for number, accumulator, state in zip(
                                self.stage.reduces, self.accumulators, states, strict=True
                            )
                        ]
            for run, state in zip(self.runs, states, strict=True):
                self._put(run, offset, state)

        self.columns.vectors(count, add)

    def _finish(self, first: Value, offset: Value, lanes: Lanes) -> None:
        evaluator = self.evaluator
        with evaluator.scope({self.columns.axis: self.fn.add(first, offset)}, lanes):
            for number, accumulator, total in zip(self.stage.reduces, self.accumulators, self.totals, strict=True):
                state = accumulator.settle(self._get(total, offset, accumulator.total()))
                evaluator.put(number, accumulator.finished(state))
            evaluator.write_all(self.nest.stores)

    def _put(self, memory: Sequence[Value], offset: Value, state: State) -> None:
        for base, value in zip(memory, state, strict=True):
            self.fn.store(value, self.fn.element(base, value.type.with_lanes(1), offset), self._align(value))

    def _get(self, memory: Sequence[Value], offset: Value, like: State) -> State:
        return [
            self.fn.load(value.type, self.fn.element(base, value.type.with_lanes(1), offset), self._align(value))
            for base, value in zip(memory, like, strict=True)
        ]

    def _align(self, value: Value) -> int:
        return min(64, value.type.bits // 8 * value.lanes)
