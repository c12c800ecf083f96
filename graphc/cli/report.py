"""Whose fault an exception is, what the user reads of it, and the report file about a fault of graphc."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import FrameType, TracebackType

from graphc import __version__
from graphc.cli.keywords import keyword_hint
from graphc.errors import (
    GraphcError,
    GraphcMemoryError,
    GraphcOSError,
    GraphcValueError,
    Location,
    VerificationError,
)

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OWN_FOLDERS = tuple(
    folder + os.sep
    for folder in (_PACKAGE, *(os.path.join(os.path.dirname(_PACKAGE), p) for p in ("frontends", "backends")))
)
_LIBRARY_FOLDERS = tuple(
    sorted(
        {
            os.path.abspath(path) + os.sep
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
            if (path := sysconfig.get_path(name))
        }
    )
)
_SHOWN_FRAMES = 8


def as_user_fault(fault: Exception) -> GraphcError | None:
    """The error to show, or None where the fault is graphc's own."""
    if isinstance(fault, GraphcError):
        own = isinstance(fault, VerificationError) or fault.code.startswith("E9")
        return None if own else fault
    if isinstance(fault, MemoryError):
        return GraphcMemoryError("E460", "there is not enough memory")
    if raised_by_user(fault):
        return model_fault(fault)
    if isinstance(fault, OSError):
        return GraphcOSError("E570", f"input or output failed: {fault}")
    return None


def raised_by_user(fault: BaseException) -> bool:
    """True where code of the user raised it, directly or in a library that it called."""
    for frame in reversed(list(_frames(fault.__traceback__))):
        if _is_own(frame.file):
            return False
        if not _is_library(frame.file):
            return True
    return False


def model_fault(fault: BaseException, file: str | None = None) -> GraphcError:
    """An exception of the user's code (E103) with the user's frames and no others.

    Args:
        fault: what was raised.
        file: the model file: the place where no frame is the user's.
    """
    frames = [
        frame for frame in _frames(fault.__traceback__) if not _is_own(frame.file) and not _is_library(frame.file)
    ]
    what = type(fault).__name__
    text = str(fault)
    message = f"the model raised {what}: {text}" if text else f"the model raised {what}"
    if not frames:
        return GraphcValueError("E103", message, Location(file, 1) if file else None)
    *callers, innermost = frames
    shown = [f"{place} in {place.function}" for place in reversed(callers)]
    if len(shown) > _SHOWN_FRAMES:
        shown = [*shown[: _SHOWN_FRAMES - 1], f"{len(shown) - _SHOWN_FRAMES} more", shown[-1]]
    hints = [f"in {innermost.function}, called from {', from '.join(shown)}"] if shown else []
    meant = keyword_hint(fault, *_innermost(fault))
    return GraphcValueError("E103", message, innermost, "; ".join([*([meant] if meant else []), *hints]) or None)


def with_user_location(error: GraphcError) -> GraphcError:
    """``error`` itself, with the innermost line of the user's where it names none."""
    if error.location is None:
        frames = [
            frame for frame in _frames(error.__traceback__) if not _is_own(frame.file) and not _is_library(frame.file)
        ]
        error.location = frames[-1] if frames else None
    return error


def _innermost(fault: BaseException) -> tuple[FrameType, int]:
    """The user's frame nearest to where an exception was raised, and its line."""
    trace, found = fault.__traceback__, None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not _is_own(file) and not _is_library(file):
            found = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    assert found is not None
    return found


def _frames(trace: TracebackType | None) -> Iterator[Location]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield Location(code.co_filename, trace.tb_lineno, code.co_name)
        trace = trace.tb_next


def _is_own(file: str) -> bool:
    return os.path.abspath(file).startswith(_OWN_FOLDERS)


def _is_library(file: str) -> bool:
    return file.startswith("<") or os.path.abspath(file).startswith(_LIBRARY_FOLDERS)


def write_report(fault: BaseException, words: Sequence[str]) -> str:
    """Write what is needed to find a fault of graphc into a fresh file, and say where it is."""
    lines = [
        f"graphc {__version__}, Python {platform.python_version()}, {platform.platform()}",
        *(f"{name} {_version(name)}" for name in ("numpy", "llvmlite", "sympy", "graphviz", "safetensors")),
        f"command: graphc {' '.join(map(repr, words))}",
        f"folder: {os.getcwd()}",
        "",
        *traceback.format_exception(fault),
    ]
    try:
        descriptor, path = tempfile.mkstemp(prefix="graphc-report-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError as failure:
        print("\n".join(lines), file=sys.stderr)
        return f"no report could be written: {failure}"
    return f"please send {path} with a bug report"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"
