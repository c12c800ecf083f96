"""A folder of bytes by key that many processes share: the compile cache on disk.

An entry is one file, written beside its place and renamed, so that a reader finds all of it or nothing.  It begins with
the hash of what follows, so that whatever is damaged, cut off or of another format is found out and counts as absent.
The folder is bounded: after a write the entries that were not used for longest go.

What a store holds may be code that is run, so it only works in a folder that nobody but its user can write to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("<8sI32s32sQ")
"""Magic number, format, SHA-256 of the key, SHA-256 of the rest, length of the rest."""

_MAGIC = b"graphc\0c"
_FORMAT = 1
_SUFFIX = ".entry"
_NEW = ".new-"
_STALE_S = 3600.0
"""A temporary file this old belongs to a process that was killed."""


class Unusable(Exception):
    """The folder cannot serve as a store; the text says why."""


@dataclass(frozen=True)
class Store:
    """Bytes by key in a folder.

    Attributes:
        folder: absolute path.
        limit: bytes that the entries may take together.
    """

    folder: str
    limit: int

    @classmethod
    def open(cls, folder: str, limit: int) -> Store:
        """The store in ``folder``, which is made if it is not there.

        Raises:
            Unusable: it cannot be made, is a link or no folder, or others may write to it.
        """
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            found = os.lstat(folder)
        except (OSError, ValueError) as fault:
            raise Unusable(f"{folder}: {getattr(fault, 'strerror', None) or fault}") from fault
        if not stat.S_ISDIR(found.st_mode):
            raise Unusable(f"{folder} is a link, or no folder")
        if _others_write(found):
            raise Unusable(f"others than you may write to {folder}")
        return cls(folder, limit)

    def read(self, key: str) -> bytes | None:
        """What was written under ``key``, or None.  A damaged entry is told of by a warning, and taken away."""
        path = self._path(key)
        try:
            # Neither a link nor a FIFO, which would wait for its other end.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return None
        except OSError as fault:
            self._reject(path, fault.strerror or "it cannot be read")
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or _others_write(found):
            os.close(descriptor)
            self._reject(path, "others than you may have written it")
            return None
        try:
            with open(descriptor, "rb") as file:
                data = file.read(min(found.st_size, self.limit))
        except OSError as fault:
            self._reject(path, fault.strerror or "it cannot be read")
            return None
        fault_found = _fault(data, key)
        if fault_found is not None:
            self._reject(path, fault_found)
            return None
        with contextlib.suppress(OSError):  # a folder that is only read has no order of use
            os.utime(path)
        return data[_HEADER.size :]

    def write(self, key: str, payload: bytes) -> str | None:
        """Keep ``payload`` under ``key``.

        Returns:
            None, or why it could not be kept (a full disk, a folder that cannot be written); nothing is left then.
        """
        if _HEADER.size + len(payload) > self.limit:
            return f"{len(payload)} bytes are more than the cache may hold"
        header = _HEADER.pack(_MAGIC, _FORMAT, _digest(key.encode()), _digest(payload), len(payload))
        temporary = None
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=_NEW, dir=self.folder)
            with open(descriptor, "wb") as file:
                file.write(header)
                file.write(payload)
            os.replace(temporary, self._path(key))
            temporary = None
        except OSError as fault:
            return f"{self.folder}: {fault.strerror or fault}"
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
        self._shrink()
        return None

    def reject(self, key: str, reason: str) -> None:
        """Take away the entry of ``key``, whose content its reader cannot use, with a warning."""
        self._reject(self._path(key), reason)

    def usage(self) -> tuple[int, int]:
        """Number of entries and their bytes."""
        sizes = [size for _, size, _ in self._entries(_SUFFIX)]
        return len(sizes), sum(sizes)

    def clear(self) -> int:
        """Take all entries away and return how many there were.

        Others may go on reading and writing: what they read is whole.
        """
        removed = sum(_removed(path) for _, _, path in self._entries(_SUFFIX))
        self._sweep()
        return removed

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, _digest(key.encode()).hex() + _SUFFIX)

    def _reject(self, path: str, reason: str) -> None:
        warnings.warn(f"the cache entry {path} is not used: {reason}", RuntimeWarning, stacklevel=2)
        _removed(path)

    def _shrink(self) -> None:
        entries = sorted(self._entries(_SUFFIX))
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self.limit:
                break
            _removed(path)
            total -= size
        self._sweep()

    def _sweep(self) -> None:
        """Take away what killed processes left."""
        for changed, _, path in self._entries(""):
            if os.path.basename(path).startswith(_NEW) and time.time() - changed > _STALE_S:
                _removed(path)

    def _entries(self, suffix: str) -> Iterator[tuple[float, int, str]]:
        """(time of the last use, bytes, path) of the files that end in ``suffix``."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for item in found:
                with contextlib.suppress(OSError):  # another process has just taken it away
                    if item.name.endswith(suffix) and item.is_file(follow_symlinks=False):
                        status = item.stat(follow_symlinks=False)
                        yield status.st_mtime, status.st_size, item.path


def _others_write(found: os.stat_result) -> bool:
    """Whether someone else could have put this here.  Windows keeps a user's own folders from others by itself."""
    if not hasattr(os, "geteuid"):
        return False
    return found.st_uid != os.geteuid() or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _fault(data: bytes, key: str) -> str | None:
    """What is wrong with the bytes of an entry, if anything is."""
    if len(data) < _HEADER.size:
        return "it is cut off"
    magic, version, of_key, of_payload, length = _HEADER.unpack_from(data)
    payload = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC:
        return "it is no cache entry"
    if version != _FORMAT:
        return f"it has format {version}, this version of graphc writes {_FORMAT}"
    if of_key != _digest(key.encode()):
        return "it is the entry of another key"
    if len(payload) != length:
        return "it is cut off"
    if of_payload != _digest(payload):
        return "it is damaged"
    return None


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def _removed(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:  # another process was first, or it is not ours to remove
        return False
    return True
