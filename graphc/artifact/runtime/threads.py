"""How many threads a call of native code may use."""

from __future__ import annotations

import os
from typing import Any

from .errors import GraphcTypeError, GraphcValueError

VARIABLE = "GRAPHC_THREADS"
"""Of the environment: the number of threads where the program does not state one."""

MOST = 1024

_HINT = "1 or more; 0 or 'auto' for one a processor"


class Threads:
    """The number of threads of one model's calls, which all its entry points share."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


def thread_count(threads: Any, what: str = "threads") -> int:
    """A number of threads as a user states it: 1 or more; 0 or ``"auto"`` for one a processor that is available.

    Raises:
        GraphcTypeError: no number (E455).
        GraphcValueError: less than 0, or more than 1024 (E455).
    """
    if isinstance(threads, str) and threads.strip().lower() == "auto":
        return available()
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise GraphcTypeError("E455", f"{what} is a number, got {threads!r}", hint=_HINT)
    count = int(threads.__index__())
    if not 0 <= count <= MOST:
        raise GraphcValueError("E455", f"{what} is a number from 0 to {MOST}, got {count}", hint=_HINT)
    return count or available()


def initial_count(threads: Any, otherwise: int) -> int:
    """The number for a new model: as its maker states it, else as the environment does, else ``otherwise``.

    Raises:
        GraphcTypeError, GraphcValueError: it is no number of threads (E455).
    """
    if threads is not None:
        return thread_count(threads)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return thread_count(otherwise)
    try:
        return thread_count(int(text) if text.lower() != "auto" else text, VARIABLE)
    except ValueError as fault:
        raise GraphcValueError("E455", f"{VARIABLE} is a number of threads, got {text!r}", hint=_HINT) from fault


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
