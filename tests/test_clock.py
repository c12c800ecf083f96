"""The clock: stages inside stages, and sums that are exact."""

import threading

import pytest

from graphc import clock as clock_module
from graphc.clock import OTHER, Clock, move, stage, timed


@pytest.fixture
def now(monkeypatch):
    """A time that only passes when it is told to: ``now(seconds)``."""
    time = [100.0]
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: time[0])

    def spend(seconds):
        time[0] += seconds

    return spend


def test_a_stage_inside_interrupts_the_one_around_it(now):
    with Clock() as clock:
        now(1)
        with stage("lower"):
            now(2)
            with stage("memory plan"):
                now(4)
            now(8)
        with stage("memory plan"):
            now(16)
    assert clock.seconds == {"lower": 10, "memory plan": 20, OTHER: 1}
    assert list(clock.seconds) == ["lower", "memory plan", OTHER]
    assert clock.total == 31


def test_a_clock_inside_another_counts_for_both(now):
    with Clock() as outer, stage("build"):
        now(1)
        with Clock() as inner:
            now(2)
            with stage("emit"):
                now(4)
        now(8)
    assert inner.seconds == {"emit": 4, OTHER: 2}
    # What has no name inside is part of the stage around it.
    assert outer.seconds == {"build": 11, "emit": 4, OTHER: 0}


def test_time_that_was_measured_elsewhere_is_moved(now):
    with Clock() as clock, stage("passes"):
        now(5)
        move("pass roll", 3)
    assert clock.seconds == {"passes": 2, "pass roll": 3, OTHER: 0}


def test_a_stage_ends_where_its_function_raises(now):
    @timed("differentiate")
    def fails():
        now(2)
        raise ValueError("no")

    with Clock() as clock:
        with pytest.raises(ValueError, match="no"):
            fails()
        now(1)
    assert clock.seconds == {"differentiate": 2, OTHER: 1}
    assert fails.__name__ == "fails"


def test_without_a_clock_nothing_is_timed():
    with stage("nothing"):
        move("nothing", 1.0)
    assert timed("nothing")(lambda value: value + 1)(1) == 2


def test_a_clock_is_of_its_own_thread(now):
    def elsewhere():
        with stage("elsewhere"):
            now(1)

    with Clock() as clock:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert "elsewhere" not in clock.seconds
