"""What a builder notes nodes with: the layer, the role and the line that the nodes made next belong to."""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, FrameType

from graphc.errors import Location
from graphc.ir.node import Note

LINES_OF_A_NODE = 8
"""The most lines that are remembered of one node."""

_REMEMBERED = 10_000


class NoteContext:
    """Scope, role and line of the nodes made next; immutable but for what it remembers.

    Nodes of the same line share one :class:`Note`: an unrolled loop has ten thousand steps and twenty lines.

    Attributes:
        scope: layer path from the outside in.
        role: ``forward``, ``backward`` or ``update``.
        place: the line that all nodes belong to; None where each has the user's own.
        fixed: the note of all nodes, where ``place`` says their line.
        is_empty: says nothing that a node without a note does not say.
    """

    __slots__ = ("_at", "fixed", "is_empty", "place", "role", "scope")

    def __init__(self, scope: tuple[str, ...], role: str, place: Location | None) -> None:
        self.scope = scope
        self.role = role
        self.place = place
        self.fixed = None if place is None else Note((place,), scope, role)
        self.is_empty = place is None and not scope and role == "forward"
        self._at: dict[tuple[int, int], tuple[CodeType | None, Note]] = {}

    @classmethod
    def of(cls, note: Note, role: str) -> NoteContext:
        """The lines and layer of ``note`` with another role."""
        return cls(note.scope, role, note.locations[0] if note.locations else None)

    def at(self, frame: FrameType | None) -> Note:
        """The note of a node made where ``frame`` stands now."""
        # By code object and instruction: to work out a line number takes longer than to make a node.
        key = (0, 0) if frame is None else (id(frame.f_code), frame.f_lasti)
        known = self._at.get(key)
        if known is None:
            if len(self._at) >= _REMEMBERED:
                self._at.clear()
            place = () if frame is None else (location_of(frame),)
            # The code object is held, so that its id stays its own.
            known = self._at[key] = (None if frame is None else frame.f_code, Note(place, self.scope, self.role))
        return known[1]


def joined_note(notes: Sequence[Note]) -> Note:
    """The note of what several nodes become together: the last one's layer and role, every line once."""
    last = notes[-1]
    lines = dict.fromkeys(line for note in notes for line in note.locations)
    return Note(tuple(lines)[:LINES_OF_A_NODE], last.scope, last.role, last.name)


def location_of(frame: FrameType) -> Location:
    """The line on which a frame stands."""
    return Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
