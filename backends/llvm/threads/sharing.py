"""Which kernels of a program a team shares, and how: so that little work is left to one, and little data moves.

What one core has written is slow to read on another, so steps that pass data to each other should be cut alike.  All
steps start with the way that is fastest for itself; then each in turn takes the way that is best beside its neighbours,
until nothing changes (iterated conditional modes; Besag, *On the statistical analysis of dirty pictures*, 1986).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

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

_REMOTE_BYTES_A_CYCLE = 6.0
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
    if all(chooser.saved(name) < _LEAST_ENTRY_CYCLES for name in program.entries):
        return nothing_shared(program)
    chooser.trace()
    chosen = chooser.choose()
    entries = {name for name in program.entries if chooser.saved(name) >= _LEAST_ENTRY_CYCLES}
    used = {kernel for name in entries for kernel in chooser.entry_runs[name]}
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

_Touch = tuple[_End, int, bool]
"""Who touches a parameter, how many bytes, and whether they are written."""


class _Chooser:
    """Finds a way for each step of each kernel.

    Attributes:
        ways: for each step of each kernel the ways to run it.
        chosen: the one that is taken.
        runs: how often each kernel runs, in all entry points.
        passing: (writer, reader) → bytes that the one writes and the other one touches next.
    """

    def __init__(self, program: Program, schedules: Sequence[Schedule | None], target: Target) -> None:
        self.program = program
        self.schedules = schedules
        self.ways: list[list[tuple[Way, ...]]] = [
            [] if schedule is None else [ways(step, target) for step in schedule.steps] for schedule in schedules
        ]
        self.chosen: list[list[Way]] = [
            [min(options, key=lambda way: way.cycles) for options in steps] for steps in self.ways
        ]
        self.entry_runs = {name: _runs(entry) for name, entry in program.entries.items()}
        self.runs = sum(self.entry_runs.values(), Counter[int]())
        self.passing: Counter[tuple[_End, _End]] = Counter()
        self.neighbours: dict[tuple[int, int], list[tuple[_End, _End]]] = {}

    def saved(self, entry: str) -> float:
        """Cycles that a call of an entry point takes less."""
        return sum(count * self._saved(kernel) for kernel, count in self.entry_runs[entry].items())

    def _saved(self, kernel: int) -> float:
        pairs = zip(self.ways[kernel], self.chosen[kernel], strict=True)
        return sum(options[0].cycles - way.cycles for options, way in pairs)

    # -- tracing -------------------------------------------------------------------------------------------------------

    def trace(self) -> None:
        """Find what steps pass to each other."""
        touches: list[list[_Touch | None]] = []
        for kernel, schedule in enumerate(self.schedules):
            touches.append([] if schedule is None else self._trace_kernel(kernel, schedule))
        for entry in self.program.entries.values():
            self._trace_entry(entry, touches)
        for pair in self.passing:
            for end in {pair[0][:2], pair[1][:2]}:
                self.neighbours.setdefault(end, []).append(pair)

    def _trace_kernel(self, kernel: int, schedule: Schedule) -> list[_Touch | None]:
        """What the steps of one kernel pass to each other in scratch memory; who touches its parameters last."""
        found: list[_Touch | None] = [None] * schedule.own_params
        writers: dict[int, _End] = {}
        for number, step in enumerate(schedule.steps):
            for param, (read, written) in enumerate(kernel_traffic(step.kernel)):
                end, nbytes = (kernel, number, param), max(read, written)
                if param < schedule.own_params:
                    found[param] = (end, nbytes, written > 0) if nbytes else found[param]
                    continue
                if nbytes and param in writers:
                    self.passing[writers[param], end] += nbytes * self.runs[kernel]
                if written:
                    writers[param] = end
        return found

    def _trace_entry(self, entry: Entry, touches: Sequence[Sequence[_Touch | None]]) -> None:
        """Who touches what another one wrote.

        Loops are walked twice, since what a trip leaves is there for the next one; so is an entry point that updates
        state.
        """
        writers: dict[int, _End] = {}
        known: dict[int, set[_End]] = {}
        walks = [_walked(entry.steps, 0)] * bool(entry.updated) + [_walked(entry.steps, 1)]
        for step, times in chain.from_iterable(walks):
            touched: list[tuple[Ref, _Touch]]
            if isinstance(step, Copy):
                nbytes = step.size * entry.buffers[step.source.buffer].dtype.itemsize
                end = (-1, nbytes, 0)
                touched = [(step.source, (end, nbytes, False)), (step.target, (end, nbytes, True))]
            else:
                pairs = zip(step.args, touches[step.kernel], strict=False)
                touched = [(ref, touch) for ref, touch in pairs if touch is not None]
            for ref, (end, nbytes, _) in touched:
                writer = writers.get(ref.buffer)
                if writer is None:
                    continue
                readers = known[ref.buffer]
                # What stays in one place is brought once and is then at hand.
                if end not in readers or any(ref.strides):
                    self.passing[writer, end] += nbytes * times
                    readers.add(end)
            for ref, (end, _, writes) in touched:
                if writes:
                    writers[ref.buffer] = end
                    known[ref.buffer] = set()

    # -- choosing ------------------------------------------------------------------------------------------------------

    def choose(self) -> list[list[Way]]:
        """The best way found for each step beside its neighbours."""
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

    def _cost(self, kernel: int, step: int, way: Way) -> float:
        """Cycles of a step and of the data that it takes and gives, beside its neighbours as they are."""
        cost = way.cycles * self.runs[kernel]
        for pair in self.neighbours.get((kernel, step), ()):
            writer, reader = (way.periods[end[2]] if end[:2] == (kernel, step) else self._period(end) for end in pair)
            cost += self.passing[pair] * _moved(writer, reader) / _REMOTE_BYTES_A_CYCLE
        return cost

    def _period(self, end: _End) -> int:
        kernel, step, param = end
        if kernel < 0:
            return step if step >= SHARED_COPY_BYTES else ALONE
        return self.chosen[kernel][step].periods[param]


def _walked(steps: Sequence[ProgramStep], times: int) -> Iterator[tuple[Call | Copy, int]]:
    """Every step with how often it runs; the body of a loop comes twice, with its first trip and with the others."""
    for step in steps:
        if isinstance(step, Loop):
            yield from _walked(step.body, times)
            if step.trips > 1:
                yield from _walked(step.body, times * (step.trips - 1))
        else:
            yield step, times


def _moved(writer: int, reader: int) -> float:
    """The part of the bytes that the busiest of two members must have from the other one."""
    if writer == reader and writer != EVERYONE:
        return 0.0
    if reader == EVERYONE:
        return 1.0 if writer == ALONE else 0.5
    return 0.5 if ALONE in (writer, reader) else 0.25
