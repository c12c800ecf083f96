"""Threads, forks and signals that share one model."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from graphc.artifact.compiled import CompiledModel
from graphc.artifact.runtime.turns import Turns, Workspace


def test_readers_see_one_state_while_a_writer_trains(model: CompiledModel, x: np.ndarray, y: np.ndarray) -> None:
    reference = type(model)(model.module, model.build)
    states = [reference.predict(x)]
    for _ in range(30):
        reference.train(x, y)
        states.append(reference.predict(x))
    allowed = {state.tobytes() for state in states}
    stop, seen, faults = threading.Event(), set(), []

    def read() -> None:
        try:
            while not stop.is_set():
                seen.add(model.predict(x).tobytes())
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        model.train(x, y)
        time.sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert not faults and seen <= allowed and len(seen) > 1
    assert model.predict(x).tobytes() == states[-1].tobytes()


def test_many_threads_train_in_turn(model: CompiledModel, x: np.ndarray, y: np.ndarray) -> None:
    def train() -> None:
        for _ in range(25):
            model.train(x, y)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert model.parameters["steps"] == 100


class _Tracked(Workspace):
    """A workspace that the test can tell apart."""

    __slots__ = ("number",)


def test_a_writer_waits_for_readers_and_keeps_them_out() -> None:
    turns = Turns(_Tracked)
    reader = turns.take()
    order: list[str] = []

    def write() -> None:
        with turns.writing():
            order.append("write")

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    assert order == []
    order.append("read")
    turns.give_back(reader)
    writer.join(timeout=10)
    assert order == ["read", "write"]


def test_a_reader_waits_for_the_writer() -> None:
    turns = Turns(_Tracked)
    order: list[str] = []

    def read() -> None:
        with turns.reading():
            order.append("read")

    with turns.writing():
        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.05)
        order.append("write")
    reader.join(timeout=10)
    assert order == ["write", "read"]


def test_a_lost_workspace_does_not_block_writers() -> None:
    turns = Turns(_Tracked)
    lost = turns.take()
    other = turns.take()
    turns.give_back(other)
    del lost
    with turns.writing() as workspace:
        assert workspace is other


def test_workspaces_are_reused_last_in_first_out() -> None:
    turns = Turns(_Tracked)
    taken = [turns.take() for _ in range(40)]
    assert len(set(map(id, taken))) == 40
    for workspace in taken:
        turns.give_back(workspace)
    assert len(turns.idle) == 16
    last = turns.idle[-1]
    assert turns.take() is last


def test_a_child_process_is_not_blocked_by_the_parents_threads(
    model: CompiledModel, x: np.ndarray, y: np.ndarray
) -> None:
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            model.train(x, y)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                status = 1
                try:
                    model.train(x, y)
                    status = 0 if model.predict(x).shape == (4,) else 1
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            assert status == 0
    finally:
        stop.set()
        thread.join(timeout=30)


class _Struck(BaseException):
    """Raised by a signal handler, as Ctrl-C raises KeyboardInterrupt."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_leaves_the_model_usable(model: CompiledModel, x: np.ndarray, y: np.ndarray) -> None:
    def strike(number: int, frame: object) -> None:
        raise _Struck

    before = signal.signal(signal.SIGALRM, strike)
    random = np.random.default_rng(0)
    struck = 0
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, float(random.uniform(1e-6, 4e-4)))
                # (An exception in a destructor is lost; so the loop ends by itself, too.)
                deadline = time.monotonic() + 0.5
                while time.monotonic() < deadline:
                    model.predict(x)
                    model.train(x, y)
            except _Struck:
                struck += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck > 250
    assert not model._turns[0].is_writing
    done = threading.Thread(target=lambda: (model.train(x, y), model.predict(x)), daemon=True)
    done.start()
    done.join(timeout=10)
    assert not done.is_alive(), "a lost turn blocks the model"


def test_a_signal_handler_may_use_the_model_during_a_call(
    model: CompiledModel, x: np.ndarray, y: np.ndarray, tmp_path: object
) -> None:
    calls = []

    def checkpoint(number: int, frame: object) -> None:
        model.save_weights(f"{tmp_path}/w.safetensors")
        calls.append(model.predict(x))
        # Not at regular times: where writing is slow, one signal would come inside of the other for ever.
        signal.setitimer(signal.ITIMER_REAL, 0.002)

    before = signal.signal(signal.SIGALRM, checkpoint)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        deadline = time.monotonic() + 20
        while len(calls) < 10 and time.monotonic() < deadline:
            model.train(x, y)
            model.predict(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(calls) >= 10


@pytest.mark.parametrize("count", [1, 3])
def test_a_nested_writer_runs_in_its_own_threads_turn(count: int) -> None:
    turns = Turns(_Tracked)
    for workspace in [turns.take() for _ in range(count)]:
        turns.give_back(workspace)
    with turns.writing() as outer, turns.writing() as inner:
        assert inner is not outer
    assert len(turns.idle) == count
