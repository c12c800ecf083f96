"""Emits loop nests: vector bodies with their masked ends, reductions where they belong, stores innermost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm.columns import ColumnSums
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes
from graphc.backends.llvm.reduction import RUN, Accumulator, State, flattened, regrouped
from graphc.backends.llvm.threads.team import Team, each
from graphc.backends.llvm.values import I8, Value, constant, integer
from graphc.kernel.loopir import Apply, Reduce, Scan
from graphc.kernel.nest import Kept, Nest

States = list[State]
Trip = Callable[[States], States]


class NestEmitter:
    """Emits nests into the evaluator's function, at its current block.

    Args:
        evaluator: of the kernel, with no axis bound.
        team: who shares a loop of the nest that is a step of its own.
        shared: the depth of that loop.
        memory: for what the nest's stages keep.
    """

    def __init__(
        self, evaluator: Evaluator, team: Team | None = None, shared: int = 0, memory: Value | None = None
    ) -> None:
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.extents = evaluator.kernel.extents
        self.team = team
        self.shared = shared
        self.memory = memory if team is None or memory is None else team.private(memory)
        self.step: Nest | None = None

    def emit(self, nest: Nest) -> None:
        """Run a nest that is a step of its own."""
        self.step = nest
        if nest.scan is not None:
            self._loops(nest, 0, [], lambda states: states)
            return

        def write(states: States) -> States:
            self.evaluator.write_all(nest.stores_at(len(nest.order)))
            return states

        self._loops(nest, 0, [], write)

    # -- loops -----------------------------------------------------------------------------------------------------

    def _loops(self, nest: Nest, depth: int, states: States, innermost: Trip) -> States:
        """The loops from ``depth`` on."""
        for stage in nest.stages[depth]:
            self._reduce(stage)
        if depth == len(nest.order):
            return innermost(states)
        if nest.by_rows and depth == len(nest.order) - 1:
            self._column_sums(nest, depth)
            return states
        self.evaluator.write_all(nest.stores_at(depth))
        if nest.scan is not None and depth == len(nest.order) - 1:
            self._scan(nest)
            return states
        return self._axis(nest, depth, states, lambda inner: self._loops(nest, depth + 1, inner, innermost))

    def _axis(self, nest: Nest, depth: int, states: States, trip: Trip) -> States:
        """One loop: over single positions, or over vectors and then the rest of a vector."""
        axis = nest.order[depth]
        extent = self.extents[axis]
        if self.team is not None and nest is self.step and depth == self.shared:
            self._shared(nest, axis, trip)
            return states
        if axis != nest.vector:
            return self._counted(axis, extent, 1, None, states, trip)
        lanes = nest.lanes
        full, rest = divmod(extent, lanes)
        states = self._counted(axis, full, lanes, Lanes(axis, lanes, lanes), states, trip)
        return self._rest(axis, full * lanes, Lanes(axis, lanes, rest), states, trip)

    def _shared(self, nest: Nest, axis: int, trip: Trip) -> None:
        """A loop of which each thread runs a part; nothing is carried from trip to trip."""
        lanes = nest.lanes if axis == nest.vector else 1
        full, rest = divmod(self.extents[axis], lanes)
        vector = Lanes(axis, lanes, lanes) if axis == nest.vector else None

        def whole(index: Value) -> None:
            with self.evaluator.scope({axis: self.fn.multiply(index, lanes)}, vector):
                trip([])

        def ragged() -> None:
            self._rest(axis, full * lanes, Lanes(axis, lanes, rest), [], trip)

        assert self.team is not None
        part = self.team.part(full + bool(rest))
        each(self.evaluator, part, full, whole, ragged if rest else None)

    def _counted(self, axis: int, trips: int, step: int, lanes: Lanes | None, states: States, trip: Trip) -> States:
        if not trips:
            return states
        self.evaluator.mark()
        loop = self.fn.begin_loop(trips, flattened(states))
        with self.evaluator.scope({axis: self.fn.multiply(loop.index, step)}, lanes):
            updated = trip(regrouped(loop.carried, states))
            return regrouped(self.fn.end_loop(loop, flattened(updated)), states)

    def _rest(self, axis: int, start: int, lanes: Lanes, states: States, trip: Trip) -> States:
        if not lanes.active:
            return states
        self.evaluator.mark()
        with self.evaluator.scope({axis: integer(start)}, lanes):
            return trip(states)

    # -- reductions ------------------------------------------------------------------------------------------------

    def _reduce(self, nest: Nest) -> None:
        """Compute the reductions of a stage and make them known in the current scope."""
        evaluator = self.evaluator
        outside = evaluator.lanes
        lanes = nest.lanes if nest.vector is not None else outside.count if outside is not None else 1
        accumulators = [self._accumulator(number, lanes) for number in nest.reduces]
        states = self._runs(nest, accumulators)
        for number, accumulator, state in zip(nest.reduces, accumulators, states, strict=True):
            settled = accumulator.settle(state) if len(state) > len(accumulator.identity()) else state
            if nest.vector is not None:
                settled = accumulator.across(settled)
            evaluator.put(number, accumulator.finished(settled))
        for kept in nest.keeps:
            evaluator.put_kept(kept.value, self._memory_of(kept), kept.place)

    def _column_sums(self, nest: Nest, depth: int) -> None:
        (stage,) = nest.stages[-1]
        accumulators = [self._accumulator(number, nest.lanes) for number in stage.reduces]

        def update(number: int, accumulator: Accumulator, state: State) -> State:
            return self._update(stage, number, accumulator, state)

        team = self.team if depth == self.shared else None
        ColumnSums(self.evaluator, nest, accumulators, update, team).emit()

    def _memory_of(self, kept: Kept) -> Value:
        assert self.memory is not None
        return self.fn.element(self.memory, I8, integer(kept.offset))

    def _accumulator(self, number: int, lanes: int) -> Accumulator:
        reduce = self.evaluator.kernel.values[number]
        assert isinstance(reduce, Reduce)
        source = self.evaluator.kernel.values[reduce.arg].dtype
        return Accumulator(self.fn, reduce, source, lanes, self.evaluator.library)

    def _runs(self, nest: Nest, accumulators: Sequence[Accumulator]) -> States:
        """All loops of a reduction; where sums are long, the inner ones in runs whose totals are compensated."""

        def innermost(states: States) -> States:
            for kept in nest.keeps:
                self.evaluator.keep(kept.value, self._memory_of(kept), kept.place)
            return [self._update(nest, *pair) for pair in zip(nest.reduces, accumulators, states, strict=True)]

        trips = [-(-self.extents[a] // nest.lanes) if a == nest.vector else self.extents[a] for a in nest.order]
        depth, length = len(trips), 1
        while depth and length * trips[depth - 1] <= RUN:
            depth -= 1
            length *= trips[depth]
        if not depth or not any(accumulator.is_compensated for accumulator in accumulators):
            return self._loops(nest, 0, [accumulator.identity() for accumulator in accumulators], innermost)
        totals = [accumulator.total() for accumulator in accumulators]
        return self._until(nest, 0, depth - 1, max(1, RUN // length), totals, accumulators, innermost)

    def _until(
        self,
        nest: Nest,
        depth: int,
        split: int,
        run: int,
        totals: States,
        accumulators: Sequence[Accumulator],
        innermost: Trip,
    ) -> States:
        """Loops that carry totals, down to the one at depth ``split``, which is cut into runs."""
        for stage in nest.stages[depth]:
            self._reduce(stage)
        if depth < split:
            return self._axis(
                nest,
                depth,
                totals,
                lambda inner: self._until(nest, depth + 1, split, run, inner, accumulators, innermost),
            )
        axis = nest.order[depth]
        lanes = nest.lanes if axis == nest.vector else 1
        full, rest = divmod(self.extents[axis], lanes)
        vector = Lanes(axis, lanes, lanes) if axis == nest.vector else None

        def trip(states: States) -> States:
            return self._loops(nest, depth + 1, states, innermost)

        def fold(before: States, runs: States) -> States:
            return [a.fold(total, state) for a, total, state in zip(accumulators, before, runs, strict=True)]

        def start(before: States) -> States:
            return [a.run(total) for a, total in zip(accumulators, before, strict=True)]

        if full:
            totals = self._cut(axis, full, run, lanes, vector, totals, start, fold, trip)
        if rest:
            totals = fold(totals, self._rest(axis, full * lanes, Lanes(axis, lanes, rest), start(totals), trip))
        return totals

    def _cut(
        self,
        axis: int,
        trips: int,
        run: int,
        step: int,
        vector: Lanes | None,
        totals: States,
        start: Trip,
        fold: Callable[[States, States], States],
        trip: Trip,
    ) -> States:
        """A loop as a loop over runs of at most ``run`` trips."""
        fn = self.fn
        self.evaluator.mark()
        outer = fn.begin_loop(-(-trips // run), flattened(totals))
        carried = regrouped(outer.carried, totals)
        first = fn.multiply(outer.index, run)
        count: int | Value = min(run, trips)
        if trips > run and trips % run:
            count = fn.elementwise("umin", integer(run), fn.binary("sub", integer(trips), first))
        with self.evaluator.scope({}):
            runs = start(carried)
            loop = fn.begin_loop(count, flattened(runs))
            position = fn.multiply(fn.add(first, loop.index), step)
            with self.evaluator.scope({axis: position}, vector):
                updated = trip(regrouped(loop.carried, runs))
                runs = regrouped(fn.end_loop(loop, flattened(updated)), runs)
            folded = fold(carried, runs)
            return regrouped(fn.end_loop(outer, flattened(folded)), totals)

    def _update(self, nest: Nest, number: int, accumulator: Accumulator, state: State) -> State:
        """One more value into one reduction."""
        evaluator, kernel = self.evaluator, self.evaluator.kernel
        reduce = kernel.values[number]
        assert isinstance(reduce, Reduce)
        lanes = evaluator.lanes
        mask = lanes.mask() if nest.vector is not None and lanes is not None and lanes.is_partial else None
        argument = kernel.values[reduce.arg]
        if accumulator.is_compensated and isinstance(argument, Apply) and argument.dtype is reduce.dtype:
            factors = {"multiply": argument.args, "square": argument.args * 2}.get(argument.op)
            if factors is not None:
                left, right = (evaluator.value(factor) for factor in factors)
                return accumulator.multiply_add(state, left, right, mask)
        value = evaluator.value(reduce.arg)
        position = self._position(reduce) if accumulator.is_position else None
        return accumulator.update(state, value, position, mask)

    def _position(self, reduce: Reduce) -> Value:
        """The position along the one reduced axis, a vector where that axis has the lanes."""
        evaluator = self.evaluator
        if not reduce.axes:
            return integer(0)
        (axis,) = reduce.axes
        coefficients = tuple(int(a == axis) for a in range(len(self.extents)))
        return evaluator.positions(coefficients)

    # -- scans -----------------------------------------------------------------------------------------------------

    def _scan(self, nest: Nest) -> None:
        """The loop of a running sum; float32 sums are carried in double, since there is nothing to regroup."""
        fn, evaluator = self.fn, self.evaluator
        assert nest.scan is not None
        scan = evaluator.kernel.values[nest.scan]
        assert isinstance(scan, Scan)
        extent = self.extents[scan.axis]
        lanes = 1 if evaluator.lanes is None else evaluator.lanes.count
        reduce = Reduce("sum", scan.arg, (scan.axis,), scan.dtype)
        source = evaluator.kernel.values[scan.arg].dtype
        accumulator = Accumulator(fn, reduce, source, lanes, evaluator.library)
        wide = "double" if accumulator.type.is_float else accumulator.type.scalar
        evaluator.mark()
        loop = fn.begin_loop(extent, [constant(accumulator.type.with_scalar(wide), 0)])
        index = fn.binary("sub", integer(extent - 1), loop.index) if scan.reverse else loop.index
        with evaluator.scope({scan.axis: index}):
            value = accumulator.operand(evaluator.value(scan.arg))
            if wide != value.type.scalar:
                value = fn.convert("fpext", value, wide)
            total = fn.binary("fadd" if wide == "double" else "add", loop.carried[0], value)
            result = fn.convert("fptrunc", total, accumulator.type.scalar) if total.type != accumulator.type else total
            evaluator.put(nest.scan, result)
            for store in nest.stores:
                evaluator.write(store)
            fn.end_loop(loop, [total])
