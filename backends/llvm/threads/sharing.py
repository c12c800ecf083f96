"""Which kernels of a program a team shares, and how: so that little work is left to one, and little data moves.

What one core has written is slow to read on another, so steps that pass data to each other should be cut alike.  All
steps start with the way that is fastest for itself; then each in turn takes the way that is best beside its neighbours,
until nothing changes (iterated conditional modes; Besag, *On the statistical analysis of dirty pictures*, 1986).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.backends.llvm.threads.split import ALONE, EVERYONE, Split, Way, private_bytes, ways
from graphc.kernel.cost import kernel_traffic
from graphc.kernel.program import Call, Copy, Entry, Loop, Program, Ref
from graphc.kernel.program import Step as ProgramStep
from graphc.kernel.schedule import Schedule
from graphc.kernel.target import Target

SHARED_COPY_BYTES = 1 << 13
"""A copy of so many bytes is shared."""

_LEAST_ENTRY_CYCLES = 100_000.0
"""Saved cycles that are worth waking a team: it takes some 30 µs until its members are awake."""

_REMOTE_BYTES_A_CYCLE = 2.0
"""What a core reads of another one's data."""

_SWEEPS = 4


@dataclass(frozen=True)
class Sharing:
    """What of a program is shared.

    Attributes:
        kernels: for each kernel how its steps are shared; None where the first member runs all of it.
        entries: names of the entry points that a team runs.
        private_bytes: working memory that each member needs for itself.
    """

    kernels: tuple[tuple[Split | None, ...] | None, ...]
    entries: frozenset[str]
    private_bytes: int


def nothing_shared(program: Program) -> Sharing:
    """For code that one thread runs."""
    return Sharing((None,) * len(program.kernels), frozenset(), 0)


def share(program: Program, schedules: Sequence[Schedule | None], target: Target) -> Sharing:
    """How a team shares a program; ``schedules`` are the kernels', None for an intrinsic."""
    chooser = _Chooser(program, schedules, target)
    chosen = chooser.choose()
    entries: set[str] = set()
    used: set[int] = set()
    for name, entry in program.entries.items():
        runs = _runs(entry)
        if sum(count * chooser.saved(number) for number, count in runs.items()) >= _LEAST_ENTRY_CYCLES:
            entries.add(name)
            used.update(runs)
    kernels: list[tuple[Split | None, ...] | None] = []
    private = 0
    for number, schedule in enumerate(schedules):
        splits = tuple(way.split for way in chosen[number])
        if schedule is None or number not in used or not any(splits):
            kernels.append(None)
            continue
        kernels.append(splits)
        for step, split in zip(schedule.steps, splits, strict=True):
            private = max(private, private_bytes(step.plan, split))
    return Sharing(tuple(kernels), frozenset(entries), private)


def _runs(entry: Entry) -> Counter[int]:
    """How often an entry point calls each kernel."""
    runs: Counter[int] = Counter()
    pending: list[tuple[Sequence[ProgramStep], int]] = [(entry.steps, 1)]
    while pending:
        steps, times = pending.pop()
        for step in steps:
            if isinstance(step, Loop):
                pending.append((step.body, times * step.trips))
            elif isinstance(step, Call):
                runs[step.kernel] += times
    return runs


# -- data that passes between steps ----------------------------------------------------------------------------------

_End = tuple[int, int, int]
"""Kernel, step of its schedule, parameter; for a copy (-1, its bytes, 0)."""


@dataclass(frozen=True, slots=True)
class _Passing:
    """Bytes that one step writes and another one touches next."""

    writer: _End
    reader: _End


class _Chooser:
    """Finds a way for each step of each kernel."""

    def __init__(self, program: Program, schedules: Sequence[Schedule | None], target: Target) -> None:
        self.program = program
        self.schedules = schedules
        self.traffic = [
            () if schedule is None else tuple(kernel_traffic(step.kernel) for step in schedule.steps)
            for schedule in schedules
        ]
        self.ways: list[list[tuple[Way, ...]]] = [
            [] if schedule is None else [ways(step, target) for step in schedule.steps] for schedule in schedules
        ]
        self.chosen: list[list[Way]] = [
            [min(options, key=lambda way: way.cycles) for options in steps] for steps in self.ways
        ]
        self.runs: Counter[int] = Counter()
        for entry in program.entries.values():
            self.runs.update(_runs(entry))
        self.passing: Counter[_Passing] = Counter()
        for entry in program.entries.values():
            self._trace(entry)
        for number, schedule in enumerate(schedules):
            if schedule is not None:
                self._trace_scratch(number, schedule)
        self.neighbours: dict[tuple[int, int], list[_Passing]] = {}
        for passing in self.passing:
            for end in {passing.writer[:2], passing.reader[:2]}:
                self.neighbours.setdefault(end, []).append(passing)

    # -- tracing -------------------------------------------------------------------------------------------------------

    def _trace(self, entry: Entry) -> None:
        """Who touches what another one wrote; loops are walked twice, and so is all for the states of the next call."""
        writers: dict[int, _End] = {}
        known: dict[int, set[_End]] = {}
        for step, times in _walked(entry.steps):
            touches = list(self._touches(entry, step))
            for ref, end, nbytes, _ in touches:
                writer, readers = writers.get(ref.buffer), known.setdefault(ref.buffer, set())
                # What stays in one place is brought once and is then at hand.
                if writer is not None and (end not in readers or any(ref.strides)):
                    self.passing[_Passing(writer, end)] += nbytes * times
                readers.add(end)
            for ref, end, _, writes in touches:
                if writes:
                    writers[ref.buffer] = end
                    known[ref.buffer] = set()

    def _touches(self, entry: Entry, step: Call | Copy) -> Iterator[tuple[Ref, _End, int, bool]]:
        """For each place that a call or copy is given: who touches it, how many bytes, and whether it is written."""
        if isinstance(step, Copy):
            nbytes = step.size * entry.buffers[step.source.buffer].dtype.itemsize
            yield step.source, (-1, nbytes, 0), nbytes, False
            yield step.target, (-1, nbytes, 0), nbytes, True
            return
        for param, ref in enumerate(step.args):
            end = self._end(step.kernel, param)
            if end is not None:
                read, written = self.traffic[step.kernel][end[1]][param]
                yield ref, end, max(read, written), bool(written)

    def _end(self, kernel: int, param: int) -> _End | None:
        """The step that touches a parameter: the last one of those that do."""
        schedule = self.schedules[kernel]
        if schedule is None:
            return None
        for number in reversed(range(len(schedule.steps))):
            if any(self.traffic[kernel][number][param]):
                return kernel, number, param
        return None

    def _trace_scratch(self, kernel: int, schedule: Schedule) -> None:
        """What the steps of one kernel pass to each other in scratch memory."""
        writers: dict[int, _End] = {}
        for number, traffic in enumerate(self.traffic[kernel]):
            for param, (read, written) in enumerate(traffic):
                if param < schedule.own_params or not (read or written):
                    continue
                end = (kernel, number, param)
                if param in writers:
                    self.passing[_Passing(writers[param], end)] += max(read, written) * self.runs[kernel]
                if written:
                    writers[param] = end

    # -- choosing ------------------------------------------------------------------------------------------------------

    def choose(self) -> list[list[Way]]:
        """The best way found for each step."""
        order = [(kernel, step) for kernel, steps in enumerate(self.ways) for step in range(len(steps))]
        order.sort(key=lambda place: -self.ways[place[0]][place[1]][0].cycles * self.runs[place[0]])
        for _ in range(_SWEEPS):
            changed = False
            for kernel, step in order:
                best = min(self.ways[kernel][step], key=lambda way: self._cost(kernel, step, way))
                changed |= best is not self.chosen[kernel][step]
                self.chosen[kernel][step] = best
            if not changed:
                break
        return self.chosen

    def saved(self, kernel: int) -> float:
        """Cycles that one run of a kernel takes less."""
        pairs = zip(self.ways[kernel], self.chosen[kernel], strict=True)
        return sum(options[0].cycles - way.cycles for options, way in pairs)

    def _cost(self, kernel: int, step: int, way: Way) -> float:
        """Cycles of a step and of the data that it takes and gives, beside its neighbours as they are."""
        cost = way.cycles * self.runs[kernel]
        for passing in self.neighbours.get((kernel, step), ()):
            periods = [
                way.periods[end[2]] if end[:2] == (kernel, step) else self._period(end)
                for end in (passing.writer, passing.reader)
            ]
            cost += self.passing[passing] * _moved(*periods) / _REMOTE_BYTES_A_CYCLE
        return cost

    def _period(self, end: _End) -> int:
        kernel, step, param = end
        if kernel < 0:
            return step if step >= SHARED_COPY_BYTES else ALONE
        return self.chosen[kernel][step].periods[param]


def _walked(steps: Sequence[ProgramStep]) -> Iterator[tuple[Call | Copy, int]]:
    """Every step twice, as one call after another runs it: first once and then as often as it remains to be run."""
    yield from _once(steps, 0)
    yield from _once(steps, 1)


def _once(steps: Sequence[ProgramStep], times: int) -> Iterator[tuple[Call | Copy, int]]:
    """Every step with how often it runs; the body of a loop stands there twice."""
    for step in steps:
        if isinstance(step, Loop):
            yield from _once(step.body, times)
            if step.trips > 1:
                yield from _once(step.body, times * (step.trips - 1))
        else:
            yield step, times


def _moved(writer: int, reader: int) -> float:
    """The part of the bytes that the busiest of two members must have from the other one."""
    if writer == reader and writer != EVERYONE:
        return 0.0
    if reader == EVERYONE:
        return 1.0 if writer == ALONE else 0.5
    return 0.5 if ALONE in (writer, reader) else 0.25
