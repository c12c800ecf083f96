"""Draws a lowered entry point: kernel calls and copies, the loops around them, and the buffers between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from graphc.kernel.loopir import Intrinsic
from graphc.kernel.memory import accesses
from graphc.kernel.printer import print_kernel
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, Program, Ref, Step
from graphc.render.label import clipped, place_text
from graphc.render.picture import Canvas, ClusterPath, Picture
from graphc.render.words import state_words

_BODY_LINES = 60
_SHARED_ABOVE = 6
_ABREAST = 3
"""Steps that may stand side by side: a step is drawn below the one this many before it, so that time goes down."""
_NEAR = 14
"""Boxes between writer and reader above which the reader names the value instead of drawing a long edge."""


def draw_entry(program: Program, entry: Entry, title: str, *, limit: int = 2000) -> Picture:
    """The picture of one entry point of a program.

    Args:
        title: its heading.
        limit: boxes a picture may have.
    """
    return _EntryDrawing(program, entry, limit).draw(title)


def count_text(number: int) -> str:
    """Bytes for people."""
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError(number)


def walk(steps: tuple[Step, ...]) -> Iterator[tuple[Call | Copy | Loop, bool, int]]:
    """Steps in order with (step, is this the end of a loop, depth); loops are entered after they are given."""
    stack: list[tuple[Loop | None, Iterator[Step]]] = [(None, iter(steps))]
    while stack:
        loop, remaining = stack[-1]
        step = next(remaining, None)
        if step is None:
            stack.pop()
            if loop is not None:
                yield loop, True, len(stack) - 1
            continue
        yield step, False, len(stack) - 1
        if isinstance(step, Loop):
            stack.append((step, iter(step.body)))


@dataclass(slots=True)
class _OpenLoop:
    """A loop being drawn: what its body has read and written so far."""

    path: ClusterPath
    reads: dict[tuple[str, int], int] = field(default_factory=dict)
    writes: dict[int, tuple[str, int]] = field(default_factory=dict)
    clock: int = 0


class _EntryDrawing:
    def __init__(self, program: Program, entry: Entry, limit: int) -> None:
        self.program = program
        self.entry = entry
        self.limit = limit
        self.canvas = Canvas()
        self.loops: list[_OpenLoop] = []
        self.writers: dict[int, dict[Ref, str]] = {}
        self.sources: dict[int, str] = {}
        self.order: list[str] = []
        self.named: dict[tuple[int | None, str, int], str] = {}
        self.calls = Counter(step.kernel for step, end, _ in walk(entry.steps) if isinstance(step, Call) and not end)
        self.readers: Counter[int] = Counter()
        for step, _, _ in walk(entry.steps):
            if not isinstance(step, Loop):
                self.readers.update({access.ref.buffer for access in accesses(step, program.kernels) if access.reads})

    def draw(self, title: str) -> Picture:
        drawn = total = 0
        for step, is_end, _ in walk(self.entry.steps):
            if isinstance(step, Loop):
                self._close_loop() if is_end else self._open_loop(step)
                continue
            total += 1
            # Sources and results need boxes as well.
            if len(self.canvas.boxes) < self.limit - len(self.entry.buffers):
                drawn += 1
                self._draw_step(step)
        self._draw_results()
        remarks = [
            f"{len(self.calls)} different kernels, {total} calls and copies in the text of the program; "
            f"arena {count_text(self.entry.memory.arena_bytes)}."
        ]
        if drawn < total:
            remarks.append(
                f"The last {total - drawn:,} of {total:,} steps are left out: the limit is {self.limit:,} boxes."
            )
        self.canvas.remarks += remarks
        return self.canvas.picture(title, "kernels")

    # -- loops -------------------------------------------------------------------------------------------------------

    def _open_loop(self, loop: Loop) -> None:
        around = self.loops[-1].path if self.loops else ()
        # The number of boxes so far tells loops of equal length apart.
        self.loops.append(
            _OpenLoop((*around, ("repeat", f"loop × {loop.trips}", (len(self.loops), len(self.canvas.boxes)))))
        )

    def _close_loop(self) -> None:
        """Values that one trip leaves for the next: read in the body before they are written there."""
        closed = self.loops.pop()
        for (reader, buffer), when in closed.reads.items():
            written = closed.writes.get(buffer)
            if written is not None and written[1] >= when:
                self.canvas.edge(written[0], reader, f"{self._buffer_text(buffer)}, next trip", "carry", back=True)
        if self.loops:
            outer = self.loops[-1]
            outer.clock += 1
            for key in closed.reads:
                outer.reads.setdefault(key, outer.clock)
            outer.writes.update({buffer: (box, outer.clock) for buffer, (box, _) in closed.writes.items()})

    # -- steps -------------------------------------------------------------------------------------------------------

    def _draw_step(self, step: Call | Copy) -> None:
        cluster = self.canvas.cluster(self.loops[-1].path) if self.loops else None
        box = self._copy_box(step, cluster) if isinstance(step, Copy) else self._call_box(step, cluster)
        used = list(accesses(step, self.program.kernels))
        for access in used:
            if access.reads:
                self._read(access.ref, box, cluster)
        for access in used:
            if access.writes:
                self._write(access.ref, box)
        for loop in self.loops:
            loop.clock += 1
        if len(self.order) >= _ABREAST:
            self.canvas.edge(self.order[-_ABREAST], box, "", "order")
        self.order.append(box)

    def _copy_box(self, step: Copy, cluster: int | None) -> str:
        details = {
            "copy": f"{step.size} elements",
            "from": self._pointer(step.source),
            "to": self._pointer(step.target),
        }
        return self.canvas.box("copy", "copy", [f"{step.size:,} elements"], cluster, details)

    def _call_box(self, step: Call, cluster: int | None) -> str:
        kernel = self.program.kernels[step.kernel]
        if isinstance(kernel, Intrinsic):
            domain = "×".join(map(str, kernel.sizes))
        else:
            domain = "×".join(map(str, kernel.extents)) or "one point"
        calls = self.calls[step.kernel]
        text = print_kernel(kernel).splitlines()
        details: dict[str, str | list[str]] = {
            "kernel": kernel.name,
            "computes": clipped(step.note, 400),
            "domain": domain,
            "calls of this kernel": str(calls),
            "arguments": [self._pointer(ref) for ref in step.args],
            "source": clipped(place_text(step.location), 400) if step.location is not None else "",
            "body": [clipped(line, 160) for line in text[:_BODY_LINES]],
        }
        note = "" if step.note == "fused" or step.note in kernel.name else step.note
        lines = [clipped(note), domain, f"one of {calls} calls" if calls > 1 else ""]
        return self.canvas.box("kernel", kernel.name, lines, cluster, {k: v for k, v in details.items() if v})

    def _read(self, ref: Ref, box: str, cluster: int | None) -> None:
        for loop in self.loops:
            loop.reads.setdefault((box, ref.buffer), loop.clock)
        writers = self.writers.get(ref.buffer)
        if writers:
            exact = writers.get(ref)
            for writer in dict.fromkeys([exact] if exact is not None else writers.values()):
                if writer != box:
                    self._connect(writer, box, ref.buffer, cluster)
            return
        buffer = self.entry.buffers[ref.buffer]
        if buffer.kind in ("input", "state", "constant"):
            self.canvas.edge(self._source(ref.buffer, cluster), box, self._size_text(buffer))

    def _connect(self, writer: str, reader: str, buffer: int, cluster: int | None) -> None:
        home = self.canvas.cluster_of(writer)
        between_loops = home is not None and cluster is not None and home != cluster
        if not between_loops and int(reader[1:]) - int(writer[1:]) <= _NEAR:
            self.canvas.edge(writer, reader, self._buffer_text(buffer))
            return
        key = (cluster, writer, buffer)
        known = self.named.get(key)
        if known is None or int(reader[1:]) - int(known[1:]) > _NEAR:
            named = self.entry.buffers[buffer]
            title = f"{self.canvas.tag(writer)} {clipped(named.name, 24)}"
            known = self.canvas.box("buffer", title, [], cluster, {**self._buffer_details(named), "refers to": writer})
            self.named[key] = known
        self.canvas.edge(known, reader, self._size_text(self.entry.buffers[buffer]))

    def _write(self, ref: Ref, box: str) -> None:
        self.writers.setdefault(ref.buffer, {})[ref] = box
        for loop in self.loops:
            loop.writes[ref.buffer] = (box, loop.clock)

    def _source(self, number: int, cluster: int | None) -> str:
        buffer = self.entry.buffers[number]
        shared = buffer.kind == "input" and self.readers[number] <= _SHARED_ABOVE
        if shared and number in self.sources:
            return self.sources[number]
        kind = {"state": "parameter"}.get(buffer.kind, buffer.kind)
        title, layers = state_words(buffer.name)
        box = self.canvas.box(kind, title, layers, None if shared else cluster, self._buffer_details(buffer))
        self.sources[number] = box
        return box

    def _draw_results(self) -> None:
        for number, buffer in enumerate(self.entry.buffers):
            writers = self.writers.get(number)
            if buffer.kind not in ("output", "state") or not writers:
                continue
            kind = "output" if buffer.kind == "output" else "store"
            title, layers = state_words(buffer.name)
            lines = [*layers, *(["new value"] if kind == "store" else [])]
            box = self.canvas.box(kind, title, lines, None, self._buffer_details(buffer))
            for writer in dict.fromkeys(writers.values()):
                self.canvas.edge(writer, box, self._size_text(buffer))

    # -- words -------------------------------------------------------------------------------------------------------

    def _size_text(self, buffer: Buffer) -> str:
        return count_text(buffer.nbytes)

    def _buffer_text(self, number: int) -> str:
        buffer = self.entry.buffers[number]
        return f"{clipped(buffer.name, 20)} {self._size_text(buffer)}"

    def _buffer_details(self, buffer: Buffer) -> dict[str, str]:
        return {
            "buffer": buffer.name,
            "kind": buffer.kind,
            "type": f"{buffer.dtype.name} × {buffer.size}",
            "bytes": f"{buffer.nbytes:,}",
        }

    def _pointer(self, ref: Ref) -> str:
        terms = [f"{stride}·t{depth}" for depth, stride in enumerate(ref.strides) if stride]
        place = " + ".join([*([str(ref.offset)] if ref.offset else []), *terms])
        name = clipped(self.entry.buffers[ref.buffer].name, 80)
        return f"{name}[{place}]" if place else name
