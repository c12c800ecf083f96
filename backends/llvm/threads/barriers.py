"""Where the threads of a team must wait for each other: between two calls of which one writes what the other touches.

Most calls are the first member's alone, and it runs them in their order; shared calls and checks of indices are every
member's.  (Each member checks for itself, so that all of them leave an entry point at the same place.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from graphc.backends.llvm.packing import Action, Invoke, Move, Repeat, Wait
from graphc.backends.llvm.threads.sharing import SHARED_COPY_BYTES

_MOST_ACCESSES = 256
"""Beyond so many accesses it is simply said that everything has been touched."""

_Access = tuple[int, int, int, bool]
"""Base, first byte, the one behind the last; is it written?"""

_EVERYTHING: frozenset[_Access] = frozenset({(-1, 0, 0, True)})


@dataclass(frozen=True, slots=True)
class _Touched:
    """What has been touched since the last barrier: by the first member alone, and by all."""

    alone: frozenset[_Access] = frozenset()
    shared: frozenset[_Access] = frozenset()

    def __or__(self, other: _Touched) -> _Touched:
        return _Touched(self.alone | other.alone, self.shared | other.shared)

    def holds(self, other: _Touched) -> bool:
        """Whether all of the other one is part of this one."""
        return other.alone <= self.alone and other.shared <= self.shared


def is_lone(action: Action) -> bool:
    """Whether the first member runs it alone."""
    if isinstance(action, Repeat):
        return all(map(is_lone, action.body))
    if isinstance(action, Invoke):
        return not action.shared and action.check is None
    return isinstance(action, Move) and action.nbytes < SHARED_COPY_BYTES


def synchronised(actions: Sequence[Action]) -> tuple[Action, ...]:
    """The actions with the barriers that they need."""
    made, _ = _region(actions, _Touched())
    return made


def _region(actions: Sequence[Action], before: _Touched) -> tuple[tuple[Action, ...], _Touched]:
    """Actions with barriers, and what has been touched since the last one; loops nest only a few levels."""
    made: list[Action] = []
    alone, shared = set(before.alone), set(before.shared)
    for action in actions:
        lone = is_lone(action)
        if isinstance(action, Repeat) and not lone:
            loop, after = _loop(action, _Touched(frozenset(alone), frozenset(shared)))
            alone, shared = set(after.alone), set(after.shared)
            made.append(loop)
            continue
        touched = list(_accesses(action))
        if _conflict(touched, shared) or (not lone and _conflict(touched, alone)):
            made.append(Wait())
            alone, shared = set(), set()
        own = alone if lone else shared
        own.update(touched)
        if len(own) > _MOST_ACCESSES:
            own.clear()
            own.update(_EVERYTHING)
        made.append(action)
    return tuple(made), _Touched(frozenset(alone), frozenset(shared))


def _loop(loop: Repeat, before: _Touched) -> tuple[Repeat, _Touched]:
    """A loop: its body begins after what came before it, and after its own end."""
    while True:
        body, after = _region(loop.body, before)
        if before.holds(after):
            return replace(loop, body=body), after
        before |= after


def _accesses(action: Action) -> Iterator[_Access]:
    if isinstance(action, Repeat):
        for inner in action.body:
            yield from _accesses(inner)
    elif isinstance(action, Invoke):
        for number, pointer in enumerate(action.pointers):
            yield pointer.base, *pointer.reach, number in action.written
    elif isinstance(action, Move):
        yield action.source.base, *action.source.reach, False
        yield action.target.base, *action.target.reach, True


def _conflict(after: Sequence[_Access], before: set[_Access]) -> bool:
    return any(
        other == -1 or (base == other and start < other_end and other_start < end and (writes or other_writes))
        for base, start, end, writes in after
        for other, other_start, other_end, other_writes in before
    )
