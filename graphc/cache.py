"""The compile cache: what a compilation gave, by the content of all that decides it.

The key of a compilation is the hash of its graphs (:mod:`graphc.ir.digest`), its options, the processors it is for,
graphc's own source, and the versions of Python, NumPy and the code generator.  What is kept is what every later stage
sees of it, so that a model from the cache differs from a compiled one in the time it takes and in nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from graphc import _LOADED, __version__
from graphc.artifact.compilation import PassSummary, RolledLoop
from graphc.artifact.profile import Profiler
from graphc.artifact.spec import Backend
from graphc.artifact.store import Store, Unusable
from graphc.config import Debug, Options, cache_options
from graphc.ir.digest import NoDigest, module_digest
from graphc.ir.graph import Module
from graphc.kernel.cost import Level, Machine

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Record:
    """What a compilation gave.

    Attributes:
        passes: what each pass did.
        checks: entry point → what its index checks say, in their order.
        code: the backend's own bytes.
    """

    passes: tuple[PassSummary, ...]
    checks: Mapping[str, tuple[str, ...]]
    code: bytes


@dataclass(frozen=True)
class Place:
    """Where one compilation is kept."""

    store: Store
    key: str

    def read(self) -> Record | None:
        """What is kept, if anything is."""
        data = self.store.read(self.key)
        if data is None:
            return None
        try:
            return _decoded(data)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as fault:
            self.reject(fault)
            return None

    def reject(self, fault: Exception) -> None:
        """Take away what cannot be used, with a warning."""
        self.store.reject(self.key, str(fault) or type(fault).__name__)

    def write(self, record: Record) -> str:
        """Keep a record; how that went, in words."""
        reason = self.store.write(self.key, _encoded(record))
        return "miss" if reason is None else f"miss, and not kept: {reason}"


def open_store() -> Store | str:
    """The store that the environment asks for, or why there is none."""
    asked = cache_options()
    if asked.folder is None:
        return "GRAPHC_CACHE"
    try:
        return Store.open(asked.folder, asked.limit)
    except Unusable as fault:
        return str(fault)


def place_of(module: Module, options: Options, backend: Backend, debug: Debug) -> Place | str:
    """Where the compilation of a bound module is kept, or why it is not.

    Args:
        module: with its dimensions bound.
        options: all of them.
        backend: which compiles.
        debug: switches that want to see the work done turn the cache off.
    """
    if backend.identity is None or backend.restore is None:
        return f"the backend {options.backend} has no need of it"
    if debug.dump or debug.verify:
        return "GRAPHC_DEBUG"
    store = open_store()
    if isinstance(store, str):
        return store
    try:
        parts = {
            "source": _source_digest(backend.identity.__module__),
            "module": module_digest(module),
            "options": _described(options),
            "backend": backend.identity(options),
            "versions": [__version__, sys.version, np.__version__, platform.machine()],
        }
    except (NoDigest, _Changed) as fault:
        return str(fault)
    return Place(store, json.dumps(parts, sort_keys=True))


def _described(options: Options) -> dict[str, object]:
    """Everything but the seed, which decides initial values and no code."""
    named = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name != "seed"}
    return {**named, "dims": sorted(options.dims.items())}


def machine_of(profiler: Profiler, *, again: bool = False) -> Machine:
    """What one core can do at most, measured once for each kind of machine.

    Args:
        profiler: measures it.
        again: measure even if that was done before.
    """
    store = open_store()
    if isinstance(store, str):
        return profiler.machine()
    key = json.dumps(["machine", __version__, _source_digest(profiler.machine.__module__), profiler.identity()])
    data = None if again else store.read(key)
    if data is not None:
        try:
            head = json.loads(data)
            levels = tuple(Level(size or math.inf, read, write) for size, read, write in head["levels"])
            counts = [{op: float(count) for op, count in head[name].items()} for name in ("instructions", "products")]
            return Machine(float(head["flops"]), float(head["slots"]), levels, *counts)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            store.reject(key, str(fault))
    machine = profiler.machine()
    sizes = [(level.nbytes if math.isfinite(level.nbytes) else 0, level.read, level.write) for level in machine.levels]
    store.write(key, json.dumps({**dataclasses.asdict(machine), "levels": sizes}).encode())
    return machine


# -- graphc itself -----------------------------------------------------------------------------------------------------


class _Changed(Exception):
    """The source on the disk may not be what this process runs."""


@functools.cache
def _source_digest(backend: str) -> str:
    """The hash of graphc's source and that of the package of a backend's module.

    Raises:
        _Changed: a file cannot be read, or is younger than this process's graphc.
    """
    digest = hashlib.sha256()
    for package in ("graphc", backend.rpartition(".")[0]):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            for path in _sources(folder):
                try:
                    with open(path, "rb") as file:
                        content = file.read()
                        changed = os.fstat(file.fileno()).st_mtime
                except OSError as fault:
                    raise _Changed(f"{path}: {fault.strerror}") from fault
                if changed > _LOADED:
                    raise _Changed(f"{path} has changed since it was loaded")
                digest.update(os.path.relpath(path, folder).encode("utf-8", "surrogateescape") + b"\0")
                digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _sources(folder: str) -> list[str]:
    """The Python files below a folder, in order."""
    return sorted(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".py")
    )


# -- bytes -------------------------------------------------------------------------------------------------------------


def _encoded(record: Record) -> bytes:
    head = {
        "passes": [{**dataclasses.asdict(line), "seconds": 0.0} for line in record.passes],
        "checks": {name: list(checks) for name, checks in record.checks.items()},
    }
    text = json.dumps(head).encode()
    return _LENGTH.pack(len(text)) + text + record.code


def _decoded(data: bytes) -> Record:
    """The record in some bytes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, struct.error: they hold none.
    """
    (length,) = _LENGTH.unpack_from(data)
    head = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    passes = tuple(
        PassSummary(**{**line, "loops": tuple(RolledLoop(**loop) for loop in line["loops"])}) for line in head["passes"]
    )
    checks = {name: tuple(checks) for name, checks in head["checks"].items()}
    return Record(passes, checks, data[_LENGTH.size + length :])
