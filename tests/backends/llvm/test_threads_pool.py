"""The pool of threads: forks, callers side by side, teams that change, and the end."""

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import graphc as G
from graphc import nn
from graphc.backends.llvm.codegen import emit_module
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.threads.members import MOST_THREADS
from graphc.backends.llvm.threads.pool import supports_threads
from graphc.driver import lower
from tests.backends.llvm.teams import Teamwork, initial_states


@pytest.fixture(scope="module")
def work() -> Teamwork:
    """A dense layer that is worth a team, and a state that it updates."""
    x = G.input("x", (64, 256))
    w = G.parameter("w", np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32) / 16)
    return Teamwork(lower(G.Model(run=G.tanh(G.tanh(x @ w) @ w)).module))


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((64, 256)).astype(np.float32)


def test_more_threads_than_there_can_be(work: Teamwork, x: np.ndarray) -> None:
    assert work.is_shared
    states = initial_states(work.program)
    expected = work.call("run", [x], 0, states)
    for threads in (-(2**31), -1, 1, 2, MOST_THREADS, MOST_THREADS + 1, 2**31 - 1, 2):
        assert work.call("run", [x], threads, states) == expected


def test_an_unknown_entry_point_is_refused(work: Teamwork) -> None:
    assert work.code.parallel is not None
    for number in (-1, 1, 7, 2**31 - 1):
        assert work.code.parallel(2, number, None, None, None, None, None) == -1


def test_many_threads_of_the_caller_share_the_pool(work: Teamwork, x: np.ndarray) -> None:
    states = initial_states(work.program)
    expected = work.call("run", [x], 0, states)
    wrong: list[object] = []

    def hammer(threads: int) -> None:
        try:
            wrong.extend(threads for _ in range(30) if work.call("run", [x], threads, states) != expected)
        except BaseException as fault:
            wrong.append(fault)

    callers = [threading.Thread(target=hammer, args=(2 + number % 3,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert wrong == []


def test_teams_of_changing_size(work: Teamwork, x: np.ndarray) -> None:
    """A member of one team may still be telling others of its last barrier while the next team forms."""
    states = initial_states(work.program)
    expected = work.call("run", [x], 0, states)
    rng = np.random.default_rng(0)
    for _ in range(150):
        assert work.call("run", [x], int(rng.integers(1, 8)), states) == expected


def in_child(run: Callable[[], bool]) -> bool:
    """Whether ``run`` returns True in a forked process, within a minute."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            status = 0 if run() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_makes_threads_of_its_own(work: Teamwork, x: np.ndarray) -> None:
    states = initial_states(work.program)
    expected = work.call("run", [x], 3, states)

    def run() -> bool:
        first = work.call("run", [x], 3, states) == expected
        threads = len(os.listdir("/proc/self/task"))
        return first and threads == 3 and in_child(lambda: work.call("run", [x], 2, states) == expected)

    assert in_child(run)
    assert work.call("run", [x], 3, states) == expected


def test_a_fork_while_a_call_runs(work: Teamwork, x: np.ndarray) -> None:
    states = initial_states(work.program)
    expected = work.call("run", [x], 2, states)
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            work.call("run", [x], 3, states)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: all(work.call("run", [x], 3, states) == expected for _ in range(3)))
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def task_count() -> int:
    """Threads of this process, once none are on their way out."""
    gc.collect()
    counts = [0, 1]
    while counts[-1] != counts[-2]:
        time.sleep(0.02)
        counts.append(len(os.listdir("/proc/self/task")))
    return counts[-1]


@pytest.mark.parametrize("asleep", [False, True])
def test_threads_end_with_the_code(asleep: bool, x: np.ndarray) -> None:
    before = task_count()
    team = Teamwork(lower(G.Model(run=nn.Dense(512)(G.input("x", (64, 256)))).module))
    team.call("run", [x], 4, initial_states(team.program))
    if asleep:
        assert task_count() == before + 3
    function = team.code["run"]
    del team
    # The function alone keeps the code.
    assert task_count() == before + 3
    del function
    assert task_count() == before


def test_workers_take_no_signals(work: Teamwork, x: np.ndarray) -> None:
    work.call("run", [x], 3, initial_states(work.program))
    blocked = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as status:
            (line,) = (line for line in status if line.startswith("SigBlk:"))
        blocked[int(task)] = int(line.split()[1], 16)
    workers = [mask for task, mask in blocked.items() if mask & 1 << (signal.SIGINT - 1)]
    assert len(workers) >= 2 and not blocked[os.getpid()] & 1 << (signal.SIGINT - 1)


def test_only_linux_has_a_pool() -> None:
    target = host_target("avx2")
    for triple, has in (
        ("x86_64-unknown-linux-gnu", True),
        ("aarch64-unknown-linux-gnu", True),
        ("x86_64-apple-darwin", False),
        ("x86_64-pc-windows-msvc", False),
        ("riscv64-unknown-linux-gnu", False),
    ):
        other = type(target)(triple, target.cpu, "", 128, 16, has_fma=False, has_half_conversion=False)
        assert supports_threads(other) is has


def test_code_without_a_pool_has_no_word_of_it(monkeypatch: pytest.MonkeyPatch, work: Teamwork) -> None:
    monkeypatch.setattr("graphc.backends.llvm.codegen.supports_threads", lambda target: False)
    made = emit_module(work.program, host_target(), "m")
    assert made.parallel is None and made.end is None and "threads" not in made.ir


def test_alone_is_the_entry_points_own_function(work: Teamwork) -> None:
    """A ctypes caller that knows nothing of threads calls a function of five pointers, as before."""
    assert set(work.native.exports) == {"run"}
    assert isinstance(work.code["run"], ctypes._CFuncPtr)
