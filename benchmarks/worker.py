"""The process of one peer: told over a pipe to prepare a workload, to show its results, and to run it N times."""

from __future__ import annotations

import argparse
import gc
import os
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Worker:
    """What a worker can be told; every public method is a verb."""

    def __init__(self, name: str, threads: int) -> None:
        # Imported here and not above: the process is pinned first, for libraries count the cores they may use.
        from benchmarks.peers import PEERS

        self._peer = PEERS[name].make(threads)
        self._session: Any = None

    def versions(self) -> dict[str, str]:
        """Of the peer's libraries."""
        return self._peer.versions()

    def prepare(self, workload: str, mode: str, tiny: bool) -> dict[str, float]:
        """Make a workload ready, and call it once.

        Returns:
            ``build_seconds`` until it could be called, ``first_seconds`` of the first call (which compiles too, where
            a library compiles late), ``cpu_seconds`` of both, ``memory_bytes`` by which the process grew at most, and
            what the peer adds.
        """
        from benchmarks.spec import TRAIN
        from benchmarks.workloads import cases

        case = cases()[workload].workload(tiny)
        # Data are made, once, before the clock starts.
        case.input_values()
        case.parameter_values()
        if mode == TRAIN:
            case.target_values()
        before = _peak_memory(reset=True)
        work = _cpu_seconds()
        start = time.perf_counter()
        self._session = self._peer.prepare(case, mode)
        built = time.perf_counter()
        self._session.call()
        called = time.perf_counter()
        memory = _peak_memory() - before
        return {
            "build_seconds": built - start,
            "first_seconds": called - built,
            "cpu_seconds": _cpu_seconds() - work,
            "memory_bytes": float(memory),
            **self._session.info(),
        }

    def outputs(self) -> dict[str, Any]:
        """What is compared with the other peers."""
        found: dict[str, Any] = self._session.outputs()
        return found

    def run(self, calls: int, warm: int) -> list[float]:
        """Seconds of each of ``calls`` calls, after ``warm`` others and from the initial weights."""
        session = self._session
        session.reset()
        call, clock = session.call, time.perf_counter
        for _ in range(warm):
            call()
        times = []
        gc.collect()
        gc.disable()
        try:
            for _ in range(calls):
                start = clock()
                call()
                times.append(clock() - start)
        finally:
            gc.enable()
        return times

    def release(self) -> None:
        """Forget the workload."""
        self._session = None
        gc.collect()


def _cpu_seconds() -> float:
    """Of this process and the compilers it has started, whatever else runs on the machine."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory(reset: bool = False) -> int:
    """Largest resident size in bytes since the last reset; 0 where the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def serve(connection: Connection, name: str, threads: int) -> None:
    """Answer (verb, arguments) with (``ok``, value), (``unsupported``, reason) or (``failed``, traceback)."""
    try:
        worker = Worker(name, threads)
    except Exception:
        connection.send(("failed", traceback.format_exc()))
        return
    connection.send(("ok", None))
    from benchmarks.peers.base import Unsupported

    while True:
        try:
            verb, arguments = connection.recv()
        except EOFError:
            return
        try:
            reply: tuple[str, Any] = ("ok", getattr(worker, verb)(*arguments))
        except Unsupported as reason:
            reply = ("unsupported", str(reason))
        except Exception:
            reply = ("failed", traceback.format_exc())
        connection.send(reply)


def main() -> None:
    """Serve on the file descriptor that the parent has opened."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cores", required=True)
    parser.add_argument("--descriptor", type=int, required=True)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in options.cores.split(",")])
    serve(Connection(options.descriptor), options.peer, options.threads)


if __name__ == "__main__":
    main()
