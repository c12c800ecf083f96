"""Progress on a terminal: rich's bar where it is installed, a plain line otherwise, and nothing in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self

from graphc.cli.common import Console

_REDRAW_S = 0.1
_BAR_WIDTH = 28


class Progress(Protocol):
    """Something to follow long work with, as a context manager."""

    def __enter__(self) -> Self:
        """Begin to draw."""

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the drawing away."""

    def update(self, done: int, text: str) -> None:
        """So much is done; ``text`` says more about it."""


def progress(console: Console, title: str, total: int) -> Progress:
    """A way to show ``total`` steps of work that suits where standard error goes."""
    if not console.animates:
        return _Silent()
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return _Line(title, total)
    return _Rich(title, total)


class _Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, done: int, text: str) -> None:
        pass


class _Line:
    """One line that is drawn over, a few times a second."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, max(total, 1)
        self._start = time.perf_counter()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw("")

    def update(self, done: int, text: str) -> None:
        now = time.perf_counter()
        if now - self._drawn < _REDRAW_S and done < self._total:
            return
        self._drawn = now
        full = _BAR_WIDTH * done // self._total
        left = (now - self._start) / done * (self._total - done) if done else 0.0
        bar = "#" * full + "." * (_BAR_WIDTH - full)
        self._draw(f"{self._title} [{bar}] {done}/{self._total}  {text}  {left:.0f} s left")

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        # Back to the first column, and clear to the end of the line.
        sys.stderr.write("\r\x1b[K" + line[:width])
        sys.stderr.flush()


class _Rich:
    """The bar of rich."""

    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns: list[Any] = [
            title,
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        ]
        self._bar: Any = Bar(*columns, console=RichConsole(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, text: str) -> None:
        self._bar.update(self._task, completed=done, description=text)
