"""SIGINT and SIGTERM as exceptions that clean-up code can hold back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class _SignalError(BaseException):
    """A signal arrived."""


@contextmanager
def _blocked(signals: Collection[signal.Signals]) -> Iterator[None]:
    """Signals that arrive here come at the end (where the system can hold them back)."""
    if not signals or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interruption:
    """Within ``with Interruption() as interruption:`` SIGINT and SIGTERM unwind the stack.

    After ``interruption.shield()`` they wait, so that clean-up is done whole.  At the end the process gets the signal
    that arrived, which then does what it always does: raise KeyboardInterrupt, or end the process.  Signals for which
    somebody else has set a handler are left to it; so are all of them outside the main thread, which no signal stops.
    """

    def __init__(self) -> None:
        self._replaced: dict[signal.Signals, Any] = {}
        self._arrived: int | None = None
        self._shielded = True

    def shield(self) -> None:
        """From here on signals wait."""
        self._shielded = True

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number, default in _DEFAULTS.items():
                if signal.getsignal(number) is default:
                    signal.signal(number, self._handle)
                    self._replaced[number] = default
        if self._arrived is not None:
            self._restore()
        self._shielded = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shielded = True
        self._restore()

    def _restore(self) -> None:
        """The handlers of before, and to them the signal that arrived."""
        # Between the change of a handler and its taking effect Python drops a signal: none arrives in that time.
        with _blocked(self._replaced):
            for number, handler in self._replaced.items():
                signal.signal(number, handler)
            if self._arrived is not None:
                os.kill(os.getpid(), self._arrived)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._arrived = number
        # A signal may strike in the first instruction of these, before they shield themselves.
        leaving = frame is not None and frame.f_code in (Interruption.__exit__.__code__, Interruption.shield.__code__)
        if not self._shielded and not leaving:
            raise _SignalError
