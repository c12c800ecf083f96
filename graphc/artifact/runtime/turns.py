"""Who may run when: readers of the state side by side, writers alone.

A *workspace* is what one running call needs for itself.  It is also the permit to run: a reader takes one from the
pool and gives it back, and a writer waits until it holds them all.  A reader's way in and out is therefore one
``list.pop`` and one ``list.append``, both atomic, and an exception that strikes between two bytecodes (Ctrl-C) can at
worst lose a workspace, which then no longer counts.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

_IDLE_LIMIT = 16
"""Workspaces kept for later calls; a burst of threads may make more, which are dropped as they come back."""

_LOOK_AGAIN_S = 0.01
"""A reader may miss that a writer waits, and return its workspace to the pool: the writer looks there this often."""


class Workspace:
    """Base of what a call needs for itself."""

    __slots__ = ("__weakref__",)


W = TypeVar("W", bound=Workspace)


class Turns(Generic[W]):
    """The pool of workspaces of one model.

    Attributes:
        idle: workspaces that nobody uses.
        is_writing: a writer's turn has begun.
        lock: held by the writer; reentrant, so that a signal handler that strikes during a writer's turn may read.
    """

    __slots__ = ("__weakref__", "_all", "_make", "_returned", "idle", "is_writing", "lock")

    def __init__(self, make: Callable[[], W]) -> None:
        self._make = make
        self.idle: list[W] = []
        self.forget()
        _every_pool.add(self)

    def forget(self) -> None:
        """Start with no workspaces and nobody inside: at the beginning, and in the child after a fork."""
        self.idle.clear()
        self.lock = threading.RLock()
        self._all: weakref.WeakSet[W] = weakref.WeakSet()
        self._returned: SimpleQueue[W] = SimpleQueue()
        self.is_writing = False

    def take(self) -> W:
        """A workspace for a reader; waits while a writer runs."""
        try:
            return self.idle.pop()
        except IndexError:
            pass
        with self.lock:
            try:
                return self.idle.pop()
            except IndexError:
                made = self._make()
                self._all.add(made)
                return made

    def give_back(self, workspace: W) -> None:
        """The end of a reader's turn."""
        if self.is_writing:
            # Somebody waits for it; or this is a signal handler within a writer's turn, and nobody else may enter yet.
            self._returned.put(workspace)
        elif len(self.idle) < _IDLE_LIMIT:
            self.idle.append(workspace)

    @contextmanager
    def reading(self) -> Iterator[W]:
        """A reader's turn, for what is not a hot path."""
        workspace = self.take()
        try:
            yield workspace
        finally:
            self.give_back(workspace)

    @contextmanager
    def writing(self) -> Iterator[W]:
        """A writer's turn: nobody else runs."""
        with self.lock:
            held: list[W] = []
            nested = self.is_writing
            try:
                yield self.begin_writing(held)
            finally:
                if not nested:
                    self.is_writing = False
                    self.put_back(held)

    def begin_writing(self, held: list[W]) -> W:
        """Wait until nobody runs, and keep everybody out; ``lock`` must be held.

        Every workspace is moved into ``held``, and one of them is returned for the writer to use.  Where a writer's
        turn has begun already (a signal handler that struck during it is writing, too) the workspace is an extra one.
        """
        if self.is_writing:
            return self._make()
        self.is_writing = True
        while True:
            held += self._come_back()
            if not self._all:
                held.append(self.take())
            if len(held) >= len(self._all):
                return held[-1]
            with suppress(Empty):
                held.append(self._returned.get(timeout=_LOOK_AGAIN_S))

    def put_back(self, held: list[W]) -> None:
        """The end of a writer's turn, after ``is_writing = False``: others may run again.

        (The flag is the caller's to clear: an interrupt may strike at the first instruction of a function, but not
        between the first two of a ``finally``.)
        """
        held += self._come_back()
        self.idle.extend(held[-_IDLE_LIMIT:])

    def _come_back(self) -> list[W]:
        """Take what lies in the pool, and what readers gave back since the writer began."""
        found: list[W] = []
        # Looking first is cheaper than failing; between the look and the grasp another reader may be faster.
        with suppress(IndexError):
            while self.idle:
                found.append(self.idle.pop())
        with suppress(Empty):
            while not self._returned.empty():
                found.append(self._returned.get_nowait())
        return found


_every_pool: weakref.WeakSet[Turns[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """The threads that ran calls are gone, and with them whoever would give back workspaces and locks."""
    for pool in _every_pool:
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
