"""The errors graphc raises: typed, with a stable code, the user's own line, and what to do.

Every error a user can cause is a :class:`GraphcError`.  Its subclasses also derive from the built-in exception a Python
user expects, so that ``except ValueError`` keeps working.  Codes are grouped: ``E1xx`` model files and command line,
``E2xx`` graphs, ``E3xx`` imports, ``E4xx`` calls of a compiled function, ``E5xx`` artifacts.  ``E9xx`` is a fault of
graphc itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a source file: ``file`` as Python knows it, ``line`` counted from 1, and the enclosing
    ``function``.
    """

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class GraphcError(Exception):
    """Base of every error that graphc raises on purpose.

    Args:
        code: stable identifier such as ``"E211"``.
        message: what is wrong, with what was expected and what was got.
        location: the user's own line, where one is known.
        hint: what to do about it.
    """

    def __init__(self, code: str, message: str, location: Location | None = None, hint: str | None = None) -> None:
        super().__init__(code, message, location, hint)
        self.code = code
        self.message = message
        self.location = location
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location is not None else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message} [{self.code}]{advice}"


class GraphcTypeError(GraphcError, TypeError):
    """A wrong kind of thing: a dtype, an argument's type, the truth value of a tensor."""


class GraphcValueError(GraphcError, ValueError):
    """A right kind of thing with an impossible value: a shape, an axis, an option."""


class GraphcIndexError(GraphcError, IndexError):
    """An index outside its dimension, known at build time or found in the data at run time."""


class GraphcKeyError(GraphcError, KeyError):
    """A name that does not exist: an entry point, a parameter, an op."""

    __str__ = GraphcError.__str__


class GraphcOSError(GraphcError, OSError):
    """Input or output failed: a missing file, a read-only folder, a full disk."""

    __str__ = GraphcError.__str__


class GraphcImportError(GraphcError, ImportError):
    """An optional dependency is missing, or an artifact cannot be loaded here."""

    __str__ = GraphcError.__str__


class GraphcMemoryError(GraphcError, MemoryError):
    """A tensor or an arena is larger than the limit or than the memory there is."""


class GraphcRuntimeError(GraphcError, RuntimeError):
    """A compiled function found at run time that it cannot go on."""


class UnsupportedOp(GraphcError, NotImplementedError):
    """An operation or option outside what graphc supports; names the operation and where it stands."""


class VerificationError(GraphcError, AssertionError):
    """The IR breaks one of its own rules: a fault of graphc or of a pass, never of the user's model."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to ``word``, or None where nothing is close: for "did you mean" hints."""
    matches = difflib.get_close_matches(word, list(candidates), n=1)
    return matches[0] if matches else None
