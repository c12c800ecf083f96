"""Prepares a workload in every peer's process, compares results, and lets the peers take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from benchmarks.agreement import compare
from benchmarks.limits import Rates, flops, limit
from benchmarks.peers import PEERS
from benchmarks.peers.base import Outputs, Unsupported
from benchmarks.processes import Process, WorkerFailed, WorkerLate, available_cores, cores
from benchmarks.results import DIFFERENT, FAILED, LATE, MISSING, OK, UNSUPPORTED, Measurement, Row
from benchmarks.spec import Workload
from benchmarks.workloads import Case


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: turns of each peer; a peer of slow calls has fewer, at least three.
        turn_seconds: of a turn, about; it has at least two timed calls.
        peer_seconds: about what one peer may take for all its turns.
        setup_limit: seconds until a peer must be ready; a later one is left out, and said to be.
        tiny: workloads of a size for tests.
    """

    rounds: int = 9
    turn_seconds: float = 0.06
    peer_seconds: float = 6.0
    setup_limit: float = 60.0
    tiny: bool = False


QUICK = Plan(rounds=3, turn_seconds=0.02, peer_seconds=1.0, setup_limit=30.0)
"""For a look, and for working on the benchmarks."""


@dataclass
class Runner:
    """One run.

    Attributes:
        peers: names, in the order of the tables; None for those that a workload usually has.
        threads: for each peer.
        plan: how much is measured.
        cache: folder for what libraries compile.
        rates: what the machine can do.
    """

    peers: Sequence[str] | None
    threads: int
    plan: Plan
    cache: Path
    rates: Rates
    _processes: dict[str, Process] = field(default_factory=dict)
    _late: dict[tuple[str, str], str] = field(default_factory=dict)
    _versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Of the libraries of every peer that has run."""
        return {library: version for name in PEERS for library, version in self._versions.get(name, {}).items()}

    def close(self) -> None:
        """End every worker."""
        for process in self._processes.values():
            process.stop()

    def rows(self, cases: Sequence[Case], modes: Sequence[str]) -> Iterator[Row]:
        """Measure each workload in each mode that it has."""
        for mode in modes:
            for case in cases:
                workload = case.workload(self.plan.tiny)
                if mode in workload.modes:
                    yield self.measure(case, workload, mode)

    def measure(self, case: Case, workload: Workload, mode: str) -> Row:
        """One workload in one mode: prepare, compare, take turns."""
        row = Row(
            workload.name,
            workload.title,
            mode,
            self.threads,
            workload.batch,
            limit(workload, mode, self.rates, self.threads),
            flops(workload, mode),
            workload.steps,
            case.series,
        )
        results: dict[str, Outputs] = {}
        self._prepare_all(case, workload, row, results)
        compare(workload, mode, row, results)
        results.clear()
        self._take_turns(row)
        for name, found in row.peers.items():
            if found.status in (OK, DIFFERENT):
                self._processes[name].ask("release", limit=60.0)
        return row

    def _prepare_all(self, case: Case, workload: Workload, row: Row, results: dict[str, Outputs]) -> None:
        """Make every peer ready: as many side by side as there are cores for, the slow ones first.

        Each is then moved to the cores that all of them are timed on.
        """
        usual = case.peers or tuple(
            name for name, entry in PEERS.items() if entry.usual and (workload.steps or not entry.unrolls)
        )
        names = [name for name in PEERS if name in (usual if self.peers is None else self.peers)]
        row.peers = {name: Measurement() for name in names}
        available = available_cores()
        lanes = Queue[list[int]]()
        for lane in range(1 if case.series else max(1, len(available) // self.threads)):
            lanes.put(available[len(available) - (lane + 1) * self.threads :][: self.threads])

        def prepare(name: str) -> None:
            lane = lanes.get()
            try:
                row.peers[name] = self._prepare(name, case, row.mode, lane, results)
            finally:
                lanes.put(lane)

        with ThreadPoolExecutor(lanes.qsize()) as pool:
            try:
                list(pool.map(prepare, sorted(names, key=lambda name: not PEERS[name].slow)))
            except BaseException:
                self.close()  # or the pool would wait for answers
                raise

    def _prepare(
        self, name: str, case: Case, mode: str, lane: Sequence[int], results: dict[str, Outputs]
    ) -> Measurement:
        missing = PEERS[name].missing
        if missing:
            return Measurement(MISSING, f"not installed: {', '.join(missing)}")
        key = (name, case.series or case.name)
        if key in self._late:
            return Measurement(LATE, self._late[key])
        process = self._processes.setdefault(name, Process(name, self.threads, self.cache))
        seconds = self.plan.setup_limit
        try:
            if name not in self._versions:
                self._versions[name] = process.ask("versions", limit=seconds)
            process.pin(lane)
            info = process.ask("prepare", case.name, mode, self.plan.tiny, limit=seconds)
            results[name] = process.ask("outputs", limit=seconds)
            process.pin(cores(self.threads))
        except Unsupported as reason:
            return Measurement(UNSUPPORTED, str(reason))
        except WorkerLate:
            self._late[key] = f"already {case.title} ({mode}) was not ready within {seconds:.0f} s"
            return Measurement(LATE, f"not ready within {seconds:.0f} s")
        except WorkerFailed as fault:
            return Measurement(FAILED, str(fault))
        return Measurement(info=info)

    def _take_turns(self, row: Row) -> None:
        """Turn after turn, each round beginning with another peer."""
        turns: dict[str, tuple[int, int, int]] = {}
        for name in row.peers:
            times = self._run(name, row, 2, 1)
            if times:
                once = max(statistics.median(times), 1e-7)
                calls = min(500, max(2, int(self.plan.turn_seconds / once)))
                warm = min(100, max(1, int(self.plan.turn_seconds / 5 / once)))
                rounds = int(self.plan.peer_seconds / ((calls + warm) * once))
                turns[name] = (calls, warm, max(3, min(self.plan.rounds, rounds)))
        ready = list(turns)
        for turn in range(self.plan.rounds):
            shift = turn % max(1, len(ready))
            for name in ready[shift:] + ready[:shift]:
                calls, warm, rounds = turns[name]
                if turn < rounds:
                    row.peers[name].times += self._run(name, row, calls, warm)
        for found in row.peers.values():
            if found.status == OK:
                late = max(0.0, found.info["first_seconds"] - found.median)
                found.build_seconds = found.info["build_seconds"] + late

    def _run(self, name: str, row: Row, calls: int, warm: int) -> list[float]:
        """Seconds of the calls of one turn; none where the peer is out, or now drops out."""
        if row.peers[name].status != OK:
            return []
        if self.threads > 1:
            time.sleep(0.02)  # for the threads of the peer before, which may spin for a while
        try:
            times: list[float] = self._processes[name].ask("run", calls, warm, limit=4 * self.plan.setup_limit)
        except WorkerLate as fault:
            row.peers[name] = Measurement(LATE, f"calls: {fault}")
        except WorkerFailed as fault:
            row.peers[name] = Measurement(FAILED, str(fault))
        else:
            return times
        return []
