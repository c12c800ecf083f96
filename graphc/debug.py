"""What a compilation tells: time a stage, what each pass did, and with ``GRAPHC_DEBUG=dump`` every stage as a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from graphc.artifact.compilation import Compilation, PassSummary, RolledLoop
from graphc.artifact.spec import Built
from graphc.clock import Clock, move
from graphc.config import Debug
from graphc.ir.graph import Graph
from graphc.ir.op import OpKind
from graphc.ir.printer import print_graph
from graphc.passes.pipeline import Observer, PassReport


class Recorder:
    """Follows one compilation.

    Attributes:
        debug: the switches.
        clock: runs while the compilation does.
        passes: what each pass did.
        cache: how the compile cache took part.
    """

    def __init__(self, debug: Debug) -> None:
        self.debug = debug
        self.clock = Clock()
        self.passes: list[PassSummary] = []
        self.cache = "off"
        self._entry = ""
        self._number = 0

    def begin(self, entry: str, graph: Graph) -> None:
        """An entry point's passes start."""
        self._entry, self._number = entry, 0
        self._dump("source.gir", lambda: print_graph(graph, locations=True))

    def watching(self, observer: Observer | None) -> Observer:
        """An observer that records, dumps, and passes on."""

        def watch(report: PassReport) -> None:
            move(f"pass {report.name}", report.seconds)
            self.passes.append(summary(self._entry, report))
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

    def finish(self) -> Compilation:
        """All that was recorded, once the clock has ended; printed where ``GRAPHC_DEBUG=time`` asks for it."""
        if self.debug.time:
            for line in self.passes:
                print(line, file=sys.stderr)
            for name, seconds in self.clock.seconds.items():
                print(f"{name}: {seconds * 1e3:.1f} ms", file=sys.stderr)
            print(f"cache: {self.cache}", file=sys.stderr)
        return Compilation(self.clock.seconds, tuple(self.passes), self.cache)

    def _dump(self, name: str, text: Callable[[], str]) -> None:
        if not self.debug.dump:
            return
        folder = Path(self.debug.folder, self._entry)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self._number:02d}-{name}").write_text(text(), encoding="utf-8")
        self._number += 1


def summary(entry: str, report: PassReport) -> PassSummary:
    """The figures of a report, without its graph."""
    loops, left = rolled_loops(report.graph) if report.name == "roll" else ((), 0)
    return PassSummary(entry, report.name, report.before, report.after, report.changed, report.seconds, loops, left)


def rolled_loops(graph: Graph) -> tuple[tuple[RolledLoop, ...], int]:
    """The loops of a graph with the ops of their bodies, and the number of ops outside of them."""
    loops = [node for node in graph.nodes if node.op.name == "loop"]
    left = sum(node.op.name not in ("loop", "result") and node.op.kind is not OpKind.SOURCE for node in graph.nodes)
    return tuple(RolledLoop(_trips(node.attrs["trips"]), _ops(node.attrs["body"])) for node in loops), left


def _trips(trips: object) -> int | str:
    return trips if isinstance(trips, int) else str(trips)


def _ops(body: Graph) -> int:
    return sum(node.op.kind is not OpKind.SOURCE for node in body.nodes)
