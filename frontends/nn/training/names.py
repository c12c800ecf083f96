"""Weights of one architecture under different automatic names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from graphc.frontends.nn.training.data import Array

_NUMBERED = re.compile(r"(.+)_(\d+)")


def _parts(name: str) -> tuple[str, int]:
    """``dense_3`` → ("dense", 3); a name without a number is its kind's first."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _ranked(names: Iterable[str]) -> dict[str, list[str]]:
    """Kind → its names in the order of their numbers."""
    kinds: dict[str, set[str]] = {}
    for name in names:
        for component in name.split("/"):
            kinds.setdefault(_parts(component)[0], set()).add(component)
    return {kind: sorted(found, key=lambda name: _parts(name)[1]) for kind, found in kinds.items()}


def aligned(found: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
    """``found`` under the names of a model that was built later, and whose layers are numbered on.

    The layers called ``dense`` and ``dense_1`` in one model are ``dense_2`` and ``dense_3`` in another one of the same
    process.  Where all names are there already, or the numbers of layers differ, nothing is renamed.
    """
    wanted = list(wanted)
    if all(name in found for name in wanted):
        return dict(found)
    theirs, mine = _ranked(found), _ranked(wanted)
    renamed: dict[str, str] = {}
    for kind, names in mine.items():
        if len(theirs.get(kind, ())) != len(names):
            return dict(found)
        renamed |= dict(zip(theirs[kind], names, strict=True))
    return {"/".join(renamed.get(part, part) for part in name.split("/")): value for name, value in found.items()}
