"""What a compilation tells: time a stage, and with ``GRAPHC_DEBUG=dump`` every stage as a numbered file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphc.artifact.spec import Built
from graphc.config import Debug
from graphc.ir.graph import Graph
from graphc.ir.printer import print_graph
from graphc.passes.pipeline import Observer, PassReport


class Recorder:
    """Follows one compilation.

    Attributes:
        debug: the switches.
        timings: (stage, seconds) in order.
        reports: of every pass, as (entry point, report).
    """

    def __init__(self, debug: Debug) -> None:
        self.debug = debug
        self.timings: list[tuple[str, float]] = []
        self.reports: list[tuple[str, PassReport]] = []
        self._entry = ""
        self._number = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside as ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings.append((name, time.perf_counter() - start))

    def begin(self, entry: str, graph: Graph) -> None:
        """An entry point's passes start."""
        self._entry, self._number = entry, 0
        self._dump("source.gir", lambda: print_graph(graph, locations=True))

    def watching(self, observer: Observer | None) -> Observer:
        """An observer that records, dumps, and passes on."""

        def watch(report: PassReport) -> None:
            self.reports.append((self._entry, report))
            if report.changed:
                self._dump(f"{report.name}.gir", lambda: print_graph(report.graph, locations=True))
            if observer is not None:
                observer(report)

        return watch

    def emitted(self, built: Built) -> None:
        """The backend is done."""
        self._entry = "module"
        self._number = 9
        self._dump("emit.py" if built.program is None else "emit.ll", lambda: built.build.source)

    def finish(self) -> list[tuple[str, float]]:
        """The timings; printed where ``GRAPHC_DEBUG=time`` asks for it."""
        if self.debug.time:
            for entry, report in self.reports:
                print(f"{entry}: {report}", file=sys.stderr)
            for name, seconds in self.timings:
                print(f"{name}: {seconds * 1e3:.1f} ms", file=sys.stderr)
        return self.timings

    def _dump(self, name: str, text: object) -> None:
        if not self.debug.dump:
            return
        assert callable(text)
        folder = Path(self.debug.folder, self._entry)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self._number:02d}-{name}").write_text(text(), encoding="utf-8")
        self._number += 1
