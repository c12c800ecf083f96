"""The graph under construction: one builder for the process, or a fresh one inside ``with G.graph():``."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import graphc.ops  # noqa: F401  (fills the op registry before the first node is made)
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.state import State


class Session:
    """A builder and what the front end remembers beside it.

    Attributes:
        builder: makes the nodes, each with the user's line.
    """

    def __init__(self) -> None:
        self.builder = Builder(track_locations=True)
        self._names: set[str] = set()
        self._holders: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
        self._streams = 0
        self._companions: weakref.WeakKeyDictionary[Node, list[tuple[Node, Node]]] = weakref.WeakKeyDictionary()
        self.random_state: State | None = None

    def unique_name(self, base: str, holder: object | None = None) -> str:
        """``base``, or ``base_1``, ``base_2``, … where it is taken.

        A name is taken by what was named since the last ``Model``, and by every ``holder`` that is still alive: a
            function that builds a
        model therefore names its layers alike at every call.
        """
        name = base
        for number in itertools.count(1):
            if name not in self._names and name not in self._holders:
                break
            name = f"{base}_{number}"
        self._names.add(name)
        if holder is not None:
            self._holders[name] = holder
        return name

    def reserve_name(self, name: str, holder: object) -> None:
        """Note that the user gave ``holder`` this name, so that no automatic name equals it."""
        self._names.add(name)
        self._holders[name] = holder

    def forget_names(self) -> None:
        """Let the next model start its automatic names afresh."""
        self._names.clear()

    def next_stream(self, count: int = 1) -> int:
        """The first of ``count`` unused random streams; a ``Model`` numbers its streams anew, from 0."""
        first = self._streams
        self._streams += count
        return first

    def add_companion(self, anchor: Node, variable: Node, value: Node) -> None:
        """Make training entries that compute ``anchor`` also update ``variable`` with ``value``."""
        self._companions.setdefault(anchor, []).append((variable, value))

    def companions(self, node: Node) -> list[tuple[Node, Node]]:
        """The (variable, new value) pairs that belong to ``node``."""
        return self._companions.get(node, [])


_default = Session()
_current: ContextVar[Session | None] = ContextVar("graphc_session", default=None)
_sessions: weakref.WeakKeyDictionary[Builder, Session] = weakref.WeakKeyDictionary({_default.builder: _default})


def current_session() -> Session:
    """The session of the innermost ``with G.graph():``, or the process-wide one."""
    return _current.get() or _default


def session_of(builder: Builder) -> Session:
    """The session whose builder made a tensor."""
    found = _sessions.get(builder)
    if found is None:
        found = _sessions[builder] = Session()
        found.builder = builder
    return found


@contextmanager
def graph() -> Iterator[Builder]:
    """Build the tensors made inside in a graph of their own.

    Tensors of different graphs do not mix (E223).  The context is local to the thread or task, so models can be built
    concurrently.
    """
    session = Session()
    _sessions[session.builder] = session
    token = _current.set(session)
    try:
        yield session.builder
    finally:
        _current.reset(token)
