"""Arrays from and to files: ``.npy`` and ``.npz``, never pickles, never a FIFO, never half a file."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Collection, Mapping
from typing import IO, Any

import numpy as np

from graphc.errors import GraphcError, GraphcMemoryError, GraphcOSError, GraphcValueError, nearest

Array = np.ndarray[Any, Any]


def read_array(path: str) -> Array:
    """The array in a ``.npy`` file.

    Raises:
        GraphcOSError: no such file, or not a regular one (E101).
        GraphcValueError: it holds no array (E111).
    """
    with _open(path) as file:
        loaded = _load(file, path)
        if isinstance(loaded, np.ndarray):
            return loaded
        names = ", ".join(loaded.files)
        raise GraphcValueError(
            "E111", f"{path} holds several arrays ({names}), not one", hint="save one with numpy.save"
        )


def read_arrays(path: str, wanted: Collection[str]) -> dict[str, Array]:
    """The arrays called ``wanted`` in a ``.npz`` file; no other is read.

    Raises:
        GraphcOSError: no such file, or not a regular one (E101).
        GraphcValueError: it is no such file, or an array is missing (E111).
    """
    with _open(path) as file:
        archive = _load(file, path)
        if isinstance(archive, np.ndarray):
            raise GraphcValueError(
                "E111", f"{path} holds one array without a name", hint="numpy.savez(path, x=x, y=y) names them"
            )
        for name in wanted:
            if name not in archive.files:
                close = nearest(name, archive.files)
                hint = f"is it {close!r}?" if close else f"it holds: {', '.join(archive.files) or 'nothing'}"
                raise GraphcValueError("E111", f"{path} has no array {name!r}", hint=hint)
        return {name: _member(archive, name, path) for name in wanted}


def write_arrays(path: str, arrays: Mapping[str, Array]) -> None:
    """Write a ``.npz`` file whole or not at all.

    Raises:
        GraphcOSError: E570.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name[:40]}.", dir=folder)
        with open(descriptor, "wb") as file:
            np.savez(file, **dict[str, Any](arrays))
        # mkstemp keeps others out; a result is a file like any other.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as fault:
        raise GraphcOSError("E570", f"cannot write {path!r}: {fault}") from fault
    finally:
        if temporary is not None and os.path.lexists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _open(path: str) -> IO[bytes]:
    try:
        # Opening a FIFO would wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise GraphcOSError("E101", f"cannot read {path!r}: {reason}") from fault
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise GraphcOSError("E101", f"cannot read {path!r}: not a regular file")


def _load(file: IO[bytes], path: str) -> Any:
    """An array, or an open archive.  The file is data from anywhere, so NumPy may raise anything."""
    try:
        return np.load(file, allow_pickle=False)
    except MemoryError as fault:
        raise GraphcMemoryError("E460", f"{path}: there is not enough memory for the array it holds") from fault
    except Exception as fault:
        raise _unreadable(path, fault) from fault


def _member(archive: Any, name: str, path: str) -> Array:
    try:
        found = archive[name]
    except MemoryError as fault:
        raise GraphcMemoryError("E460", f"{path}: there is not enough memory for the array {name!r}") from fault
    except Exception as fault:
        raise _unreadable(f"{path}: {name!r}", fault) from fault
    if not isinstance(found, np.ndarray):
        raise GraphcValueError("E111", f"{path}: {name!r} is not an array")
    return found


def _unreadable(what: str, fault: Exception) -> GraphcError:
    # NumPy takes whatever it does not know for a pickle.
    reason = "it is none, or holds pickled objects, which are code" if "pickle" in str(fault) else str(fault)
    return GraphcValueError(
        "E111", f"{what} cannot be read as arrays: {reason}", hint="numpy.save and numpy.savez write them"
    )
