"""Parallel copies: every source is read before its memory is overwritten."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from graphc.kernel.emit import Emitter, Origin
from graphc.kernel.views import Place, View

Move = tuple[View, Place]
"""(target, source); the targets of one batch are different buffers."""


def emit_moves(emitter: Emitter, moves: Sequence[Move], origin: Origin) -> None:
    """Copy every source to its target as if all were read first; what moves in a circle goes through a temporary."""
    pending = {number: move for number, move in enumerate(moves) if move[0] != move[1]}
    readers: dict[int, int] = {}
    for _, source in pending.values():
        if isinstance(source, View):
            readers[source.buffer] = readers.get(source.buffer, 0) + 1
    writer = {target.buffer: number for number, (target, _) in pending.items()}
    ready = deque(number for number, (target, _) in pending.items() if not readers.get(target.buffer))
    stuck = deque(pending)
    while pending:
        if not ready:
            while stuck[0] not in pending:
                stuck.popleft()
            number = stuck[0]
            target, source = pending[number]
            assert isinstance(source, View)
            # Everything left waits for a reader: this one's source is moved out of the way.
            held = emitter.temporary("held", source.dtype, source.shape)
            emitter.copy(held, source, origin)
            pending[number] = (target, held)
            _release(source, readers, writer, pending, ready)
            continue
        number = ready.popleft()
        target, source = pending.pop(number)
        emitter.copy(target, source, origin)
        if isinstance(source, View):
            _release(source, readers, writer, pending, ready)


def _release(
    source: View, readers: dict[int, int], writer: dict[int, int], pending: dict[int, Move], ready: deque[int]
) -> None:
    """One read of ``source`` is done: whoever writes there may be ready now."""
    if source.buffer not in readers:
        return
    readers[source.buffer] -= 1
    waiting = writer.get(source.buffer)
    if not readers[source.buffer] and waiting is not None and waiting in pending:
        ready.append(waiting)
