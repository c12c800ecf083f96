"""Progress of ``fit``: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from typing import TextIO

_REDRAW_S = 0.1
_BAR_WIDTH = 20


def describe(logs: Mapping[str, float]) -> str:
    """Figures in words, as Keras prints them."""
    return " - ".join(
        f"{name}: {value:.4f}" if abs(value) >= 1e-3 else f"{name}: {value:.4g}" for name, value in logs.items()
    )


class Progress:
    """What a run prints.

    Args:
        verbose: 0 nothing, 1 a bar, 2 a line an epoch, ``"auto"`` a bar on a terminal and nothing elsewhere.
        epochs: of the run.
        stream: where to; by default standard output.
    """

    def __init__(self, verbose: int | str | bool, epochs: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._level = (1 if self._stream.isatty() else 0) if verbose == "auto" else int(verbose)
        self._epochs = epochs
        self._steps: int | None = None
        self._start = self._drawn = 0.0
        self._samples = self._done = 0

    def begin(self, epoch: int, steps: int | None) -> None:
        """An epoch begins, of so many steps where that is known."""
        self._steps, self._samples, self._done, self._drawn = steps, 0, 0, 0.0
        self._start = time.perf_counter()
        if self._level:
            self._stream.write(f"Epoch {epoch + 1}/{self._epochs}\n")

    def step(self, samples: int, logs: Mapping[str, float]) -> None:
        """A step is done, of so many samples."""
        self._samples += samples
        self._done += 1
        now = time.perf_counter()
        if self._level != 1 or now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        parts = [self._bar(), self._rate(now)]
        if self._steps is not None:
            parts.append(f"{(now - self._start) / self._done * (self._steps - self._done):.0f} s left")
        self._draw(f"{' - '.join(parts)} - {describe(logs)}")

    def end(self, logs: Mapping[str, float]) -> None:
        """The epoch is over, and this is what came of it."""
        if not self._level:
            return
        now = time.perf_counter()
        counted = f"{self._done}/{self._done} - {now - self._start:.1f} s - {self._rate(now)} - {describe(logs)}\n"
        if self._level == 1:
            self._draw("")
        self._stream.write(counted)
        self._stream.flush()

    def note(self, text: str) -> None:
        """Say something between two epochs."""
        if self._level:
            if self._level == 1:
                self._draw("")
            self._stream.write(text + "\n")
            self._stream.flush()

    def _bar(self) -> str:
        if not self._steps:
            return f"{self._done} steps"
        full = min(_BAR_WIDTH, _BAR_WIDTH * self._done // self._steps)
        return f"{self._done}/{self._steps} [{'#' * full}{'.' * (_BAR_WIDTH - full)}]"

    def _rate(self, now: float) -> str:
        return f"{self._samples / max(now - self._start, 1e-9):,.0f} samples/s"

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        # Back to the first column, and clear to the end of the line.
        self._stream.write("\r\x1b[K" + line[:width])
        self._stream.flush()
