"""The graph under construction: one for the process, or a fresh one inside ``with G.graph():``."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import graphc.ops  # noqa: F401  (fills the op registry before the first node is made)
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Companion:
    """An update that entry points make because they compute some node.

    Attributes:
        variable: the state variable's node.
        value: its new value.
        always: True for entry points that do not train as well.
        momentum: blends the value in, momentum · old + (1 - momentum) · value, so that several updates follow each
            other.
    """

    variable: Node
    value: Node
    always: bool = False
    momentum: float | None = None


class Session(Builder):
    """A builder that notes the user's lines, and what else the front end remembers while a graph grows.

    Attributes:
        random_state: the variable behind random numbers, once one was drawn.
    """

    def __init__(self) -> None:
        super().__init__(track_locations=True)
        self.random_state: State | None = None
        self._names: dict[str, object] = {}
        self._holders: weakref.WeakValueDictionary[str, object] = weakref.WeakValueDictionary()
        self._streams = 0
        self._scalars: weakref.WeakValueDictionary[tuple[type, float, DType], Node] = weakref.WeakValueDictionary()
        self._companions: weakref.WeakKeyDictionary[Node, list[Companion]] = weakref.WeakKeyDictionary()
        self._penalties: weakref.WeakKeyDictionary[Node, list[Callable[[Node], Node]]] = weakref.WeakKeyDictionary()

    # -- names -----------------------------------------------------------------------------------------------------

    def unique_name(self, base: str, holder: object | None = None) -> str:
        """``base``, or ``base_1``, ``base_2``, … where it is taken.

        A name is taken by what was named since the last ``Model``, and by every ``holder`` that is still alive: a
        function that builds a model therefore names its layers alike at every call.
        """
        name = base
        for number in itertools.count(1):
            if name not in self._names and name not in self._holders:
                break
            name = f"{base}_{number}"
        self.reserve_name(name, holder)
        return name

    def reserve_name(self, name: str, holder: object | None = None) -> None:
        """Note that ``name`` is in use, so that no automatic name equals it."""
        # Held until the next ``Model``: whoever wraps a layer's results may look for the layer, though nobody keeps it.
        self._names[name] = holder
        if holder is not None:
            self._holders[name] = holder

    def holder(self, name: str) -> object | None:
        """What was given ``name``, while it is alive."""
        return self._holders.get(name)

    def forget_names(self) -> None:
        """Let the next model start its automatic names afresh."""
        self._names.clear()

    # -- scalars ---------------------------------------------------------------------------------------------------

    def known_scalar(self, value: float, element: DType) -> Node | None:
        """The constant that :meth:`keep_scalar` was given for the same number, while it is alive."""
        node = self._scalars.get((value.__class__, value, element))
        if node is not None:
            self.annotate(node)
        return node

    def keep_scalar(self, value: float, element: DType, node: Node) -> None:
        """Remember ``node`` as the constant of a Python number that is not zero (zeros differ by their sign)."""
        self._scalars[value.__class__, value, element] = node

    # -- randomness and companions ---------------------------------------------------------------------------------

    def next_stream(self, count: int = 1) -> int:
        """The first of ``count`` unused random streams; a ``Model`` numbers its streams anew, from 0."""
        first = self._streams
        self._streams += count
        return first

    def add_companion(
        self, anchor: Node, variable: Node, value: Node, *, always: bool = False, momentum: float | None = None
    ) -> None:
        """Make training entries (all entries for ``always``) that compute ``anchor`` also update ``variable``."""
        companion = Companion(variable, value, always, momentum)
        known = self._companions.setdefault(anchor, [])
        if companion not in known:
            known.append(companion)

    def anchors(self) -> set[Node]:
        """The nodes that have companions."""
        return set(self._companions)

    def companions(self, node: Node) -> list[Companion]:
        """The updates that belong to ``node``."""
        return self._companions.get(node, [])

    def add_penalty(self, anchor: Node, penalty: Callable[[Node], Node]) -> None:
        """Make losses that are minimized and depend on ``anchor`` contain the scalar ``penalty(anchor)``."""
        self._penalties.setdefault(anchor, []).append(penalty)

    @property
    def has_penalties(self) -> bool:
        """Whether any node has one."""
        return bool(self._penalties)

    def has_penalty(self, node: Node) -> bool:
        """Whether ``node`` has one."""
        return node in self._penalties

    def penalties(self, node: Node) -> list[Node]:
        """The penalties on ``node``; none on a state variable that is not trained."""
        if node.op.name == "state" and not node.attrs["state"].trainable:
            return []
        return [penalty(node) for penalty in self._penalties.get(node, [])]


_default = Session()
_current: ContextVar[Session | None] = ContextVar("graphc_session", default=None)


def current_session() -> Session:
    """The session of the innermost ``with G.graph():``, or the process-wide one."""
    return _current.get() or _default


def session_of(builder: Builder) -> Session:
    """The session that made a tensor, which is its builder.

    Raises:
        TypeError: a front end has wrapped nodes of a plain builder.
    """
    if not isinstance(builder, Session):
        raise TypeError("tensors are made inside `with graph() as builder`, not with a Builder of one's own")
    return builder


@contextmanager
def graph() -> Iterator[Session]:
    """Build the tensors made inside in a graph of their own.

    Tensors of different graphs do not mix (E223).  The context is local to the thread or task, so models can be built
    concurrently.
    """
    with entered(Session()) as session:
        yield session


@contextmanager
def entered(session: Session) -> Iterator[Session]:
    """Build the tensors made inside in a session that is there already."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
