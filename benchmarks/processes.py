"""Workers seen from the parent: started when first asked, stopped when late, started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.peers.base import Unsupported

ROOT = Path(__file__).resolve().parent.parent
_START_LIMIT = 120.0

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerFailed(Exception):
    """A worker raised, or ended; the message is its traceback or the end of its log."""


class WorkerLate(Exception):
    """A worker did not answer in time, and was stopped."""


def available_cores() -> list[int]:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores(threads: int) -> list[int]:
    """The last ``threads`` of them: the first ones have the system's own work."""
    available = available_cores()
    if len(available) < threads:
        raise ValueError(f"{threads} threads need as many cores, there are {len(available)}")
    return available[-threads:]


def environment(threads: int, cache: Path | None = None) -> dict[str, str]:
    """What pins the number of threads, whatever the library; caches of compiled code go to ``cache``."""
    made = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    made["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    eigen = "true" if threads > 1 else "false"
    made["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    made["JAX_PLATFORMS"] = "cpu"
    made["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if cache is not None:
        made["TORCHINDUCTOR_CACHE_DIR"] = str(cache / "inductor")
        made["PYTENSOR_FLAGS"] = f"base_compiledir={cache / 'pytensor'},floatX=float32"
    return made


class Process:
    """One peer's worker.

    Args:
        peer: its name.
        threads: what it may use.
        cache: folder for compiled code; a new one makes every compilation a first one.
    """

    def __init__(self, peer: str, threads: int, cache: Path) -> None:
        self.peer = peer
        self._threads = threads
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)

    def ask(self, verb: str, *arguments: Any, limit: float) -> Any:
        """The worker's answer.

        Raises:
            Unsupported: it says that it cannot.
            WorkerFailed: it raised or died.
            WorkerLate: there was no answer within ``limit`` seconds.
        """
        if self._process is None:
            self._start()
        assert self._connection is not None
        try:
            self._connection.send((verb, arguments))
        except OSError:
            self._fail()
        return self._answer(limit)

    def pin(self, where: Iterable[int]) -> None:
        """Move the worker with all its threads to other cores; libraries have counted theirs by now."""
        if self._process is None:
            self._start()
        assert self._process is not None
        if not hasattr(os, "sched_setaffinity"):
            return
        chosen = set(where)
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), chosen)

    def stop(self) -> None:
        """End the worker and whatever it started."""
        if self._process is None:
            return
        assert self._connection is not None
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._connection = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "benchmarks.worker", self.peer, "--threads", str(self._threads)]
        command += ["--cores", ",".join(map(str, cores(self._threads))), "--descriptor", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(self._threads, self._cache),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        try:
            self._answer(_START_LIMIT)
        except WorkerFailed:
            self.stop()
            raise

    def _answer(self, limit: float) -> Any:
        assert self._connection is not None
        if not self._connection.poll(limit):
            self.stop()
            raise WorkerLate(f"no answer within {limit:.0f} s")
        try:
            status, value = self._connection.recv()
        except (EOFError, OSError):
            self._fail()
        if status == "unsupported":
            raise Unsupported(value)
        if status == "failed":
            raise WorkerFailed(value.strip())
        return value

    def _fail(self) -> NoReturn:
        self.stop()
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        raise WorkerFailed(f"the process ended: {text[-2000:]}")
