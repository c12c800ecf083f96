"""Where time goes: named stages whose times add up.

At any moment one stage is being timed.  A stage inside another one interrupts it, so that the stages of a
:class:`Clock` together are exactly the time between its start and its end, whoever calls whom::

    with Clock() as clock:
        with stage("lower"):
            with stage("memory plan"):      # does not count for "lower"
                ...
    clock.seconds                            # {"lower": ..., "memory plan": ..., "other": ...}

``stage`` costs nothing worth speaking of where no clock runs, so that any layer may name what it does.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import ParamSpec, Self, TypeVar

OTHER = "other"
"""The stage of what has no name."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Clock:
    """Times the stages of what runs inside of it, in its own thread.

    The stages of a clock inside another one count for both.

    Attributes:
        seconds: stage → seconds, in the order of their first start; complete once the clock has ended.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack = [OTHER]
        self._since = 0.0
        self._token: Token[Clock | None] | None = None

    def __enter__(self) -> Self:
        outer = _running.get()
        if outer is not None:
            outer._charge()
        self._token = _running.set(self)
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_fault: object) -> None:
        self._charge()
        # What has no name stands last.
        self.seconds[OTHER] = self.seconds.pop(OTHER, 0.0)
        assert self._token is not None
        _running.reset(self._token)
        outer = _running.get()
        if outer is not None:
            for name, spent in self.seconds.items():
                outer._add(outer._stack[-1] if name == OTHER else name, spent)
            outer._since = time.perf_counter()

    @property
    def total(self) -> float:
        """Seconds between start and end."""
        return sum(self.seconds.values())

    def begin(self, name: str) -> None:
        """Interrupt the present stage for stage ``name``."""
        self._charge()
        self._stack.append(name)
        self.seconds.setdefault(name, 0.0)

    def end(self) -> None:
        """End the stage begun last."""
        self._charge()
        self._stack.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        self._add(self._stack[-1], now - self._since)
        self._since = now

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


_running: ContextVar[Clock | None] = ContextVar("graphc_clock", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens inside as ``name``, where a clock runs."""
    clock = _running.get()
    if clock is None:
        yield
        return
    clock.begin(name)
    try:
        yield
    finally:
        clock.end()


def move(name: str, seconds: float) -> None:
    """Count ``seconds`` that the present stage has just spent as those of stage ``name``, where a clock runs."""
    clock = _running.get()
    if clock is not None:
        clock._charge()
        clock._add(name, seconds)
        clock._add(clock._stack[-1], -seconds)


def timed(name: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Count every call of the function as stage ``name``, where a clock runs."""

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(function)
        def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            with stage(name):
                return function(*arguments, **named)

        return call

    return decorate
