"""Writes artifacts: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from graphc import __version__
from graphc.artifact.header import c_header
from graphc.artifact.interruption import Interruption
from graphc.artifact.manifest import build_id, manifest_text
from graphc.artifact.package import init_source, runtime_files
from graphc.artifact.runtime import weights
from graphc.artifact.runtime.artifact import MANIFEST, WEIGHTS, read_manifest
from graphc.artifact.runtime.spec import Spec
from graphc.artifact.spec import Build, NativeBuild, check_entry_name, check_name
from graphc.clock import timed
from graphc.errors import GraphcError, GraphcImportError, GraphcOSError, GraphcValueError


@timed("write")
def write_artifact(
    folder: str | os.PathLike[str],
    *,
    spec: Spec,
    build: Build,
    values: Mapping[str, np.ndarray[Any, Any]],
    name: str | None = None,
    force: bool = False,
    threads: int = 1,
) -> str:
    """Write an artifact and return its absolute path.

    The files are written to a temporary folder beside the destination, which then takes its name in one step.
    Whatever interrupts that, the destination is either absent (or still the old one) or complete.  The bytes depend on
    the arguments and graphc's version alone.

    Args:
        folder: the destination; its last part is the name under which Python imports it.
        spec: entry points and states.
        build: the code.
        values: a value for each state.
        name: of the model in C and in file names; by default that of the folder.
        force: replace an artifact that is there.  Anything else that is there is never replaced.
        threads: of a call, where nobody states another number.

    Raises:
        GraphcValueError: an impossible name (E108).
        GraphcOSError: the destination exists (E107), or cannot be written (E570).
    """
    path, name = check_destination(folder, name, force)
    for entry in spec.entries:
        check_entry_name(entry.name)
    spec = replace(spec, name=name)
    try:
        with Interruption() as interruption:
            _write_and_rename(path, spec, build, values, threads, interruption)
    except GraphcError:
        raise
    except OSError as fault:
        raise GraphcOSError("E570", f"cannot write {path!r}: {fault}") from fault
    return path


def check_destination(folder: str | os.PathLike[str], name: str | None = None, force: bool = False) -> tuple[str, str]:
    """The absolute path and the name that ``write_artifact`` will write; to be asked before long work for it.

    Raises:
        GraphcValueError: an impossible name (E108).
        GraphcOSError: the destination exists (E107).
    """
    path = os.fspath(folder)
    if "\0" in path:
        raise GraphcValueError("E108", f"a folder cannot be called {path!r}")
    path = os.path.abspath(path)
    check_name(os.path.basename(path))
    name = os.path.basename(path) if name is None else name
    check_name(name)
    _refuse_what_is_there(path, force)
    return path, name


def _refuse_what_is_there(path: str, force: bool) -> None:
    """Refuse a destination that is there, unless it is an artifact and may be replaced.

    Raises:
        GraphcOSError: E107.
    """
    if os.path.islink(path):
        raise GraphcOSError(
            "E107", f"{path!r} is a symbolic link", hint="links are never followed: remove it, or name another folder"
        )
    if not os.path.lexists(path):
        return
    if not force:
        raise GraphcOSError("E107", f"{path!r} exists", hint="--force (or force=True) replaces an artifact")
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise GraphcOSError("E107", f"{path!r} is not a folder", hint="remove it, or name another folder")
    foreign = _foreign_files(path)
    if foreign:
        raise GraphcOSError(
            "E107",
            f"{path!r} holds {', '.join(map(repr, foreign[:3]))}, which no artifact has",
            hint="remove it, or name another folder",
        )


def _foreign_files(path: str) -> list[str]:
    """What lies in a folder and is not part of the artifact there."""
    try:
        known = set(read_manifest(path)["files"])
    except GraphcImportError as fault:
        if fault.code == "E565":  # of another version: still an artifact
            return []
        known = set()
    known.add(MANIFEST)
    found = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - {"__pycache__"})
        found += [os.path.relpath(os.path.join(folder, file), path).replace(os.sep, "/") for file in sorted(files)]
    return [file for file in found if file not in known]


def _write_and_rename(
    path: str,
    spec: Spec,
    build: Build,
    values: Mapping[str, np.ndarray[Any, Any]],
    threads: int,
    interruption: Interruption,
) -> None:
    parent, base = os.path.split(path)
    os.makedirs(parent, exist_ok=True)
    mark = f"{os.getpid()}-{os.urandom(4).hex()}"
    temporary, aside = os.path.join(parent, f".{base}.{mark}.new"), os.path.join(parent, f".{base}.{mark}.old")
    try:
        os.mkdir(temporary)
        _write_files(temporary, spec, build, values, threads)
        if os.path.lexists(path):
            os.rename(path, aside)
        os.rename(temporary, path)
    finally:
        interruption.shield()
        if os.path.lexists(aside) and not os.path.lexists(path):
            os.rename(aside, path)
        for leftover in (temporary, aside):
            if os.path.lexists(leftover):
                shutil.rmtree(leftover)


def _write_files(
    folder: str, spec: Spec, build: Build, values: Mapping[str, np.ndarray[Any, Any]], threads: int
) -> None:
    version = __version__
    files = runtime_files()
    if isinstance(build, NativeBuild):
        files[f"{spec.name}.so"] = build.link(f"{spec.name}.so", build.symbols)
    else:
        files["_model.py"] = build.source.encode()
    identity = build_id(spec, build, version, files.values(), values)
    metadata = {"graphc_build": identity}
    files["__init__.py"] = init_source(spec, build.backend, version, identity).encode()
    if isinstance(build, NativeBuild):
        data_offset = len(weights.encode_header(spec.states, metadata))
        files[f"{spec.name}.h"] = c_header(spec, build, version, data_offset).encode()
    digests = {}
    os.mkdir(os.path.join(folder, "_runtime"))
    for name, content in files.items():
        with open(os.path.join(folder, *name.split("/")), "xb") as file:
            file.write(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    with open(os.path.join(folder, WEIGHTS), "x+b") as file:
        weights.write(file, spec.states, values, metadata)
        file.seek(0)
        digests[WEIGHTS] = hashlib.file_digest(file, "sha256").hexdigest()
    with open(os.path.join(folder, MANIFEST), "xb") as file:
        file.write(manifest_text(spec, build, version, identity, digests, threads))
