"""Ctrl-C while steps follow one another: the present one is finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C inside sets the event, so that the present step is finished; a second one interrupts at once."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # None: a handler that Python did not install, and cannot install again.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
