"""Names that stand for objects: activations, initializers, losses and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from graphc.errors import GraphcValueError, nearest
from graphc.frontends.dsl.tensor import fail

T = TypeVar("T")


def by_name(name: str, known: Mapping[str, T], what: str) -> T:
    """What ``name`` stands for.

    Raises:
        GraphcValueError: E213 for a name that is none, with the nearest one, or all where none is near.
    """
    found = known.get(name)
    if found is not None:
        return found
    close = nearest(name, known)
    hint = f"did you mean {close}?" if close else f"one of {', '.join(known)}"
    raise fail(GraphcValueError, "E213", f"unknown {what} {name!r}", hint)
