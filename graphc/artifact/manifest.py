"""``manifest.json``: what an artifact is, for which machine, and the hash of every file in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphc.artifact.processor import machine_of, required_flags, system_of
from graphc.artifact.runtime.artifact import FORMAT, manifest_digest
from graphc.artifact.runtime.spec import Spec
from graphc.artifact.spec import Build, NativeBuild


def build_id(
    spec: Spec, build: Build, version: str, code: Iterable[bytes], values: Mapping[str, np.ndarray[Any, Any]]
) -> str:
    """A hash of everything that goes into an artifact.  Its files carry it, so that mixed builds are found.

    Args:
        spec: the model.
        build: how its code was made.
        version: of graphc.
        code: the generated files that do not carry the id.
        values: the states' values.
    """
    state = hashlib.sha256()
    facts = {"format": FORMAT, "graphc": version, "model": spec.to_json(), "target": _target(build)}
    parts: list[bytes | memoryview] = [json.dumps(facts, sort_keys=True).encode(), *code]
    parts += [values[tensor.name].reshape(-1).view(np.uint8).data for tensor in spec.states]
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))  # so that no two lists of parts run together alike
        state.update(part)
    return state.hexdigest()


def manifest_text(
    spec: Spec, build: Build, version: str, identity: str, files: Mapping[str, str], threads: int = 1
) -> bytes:
    """The manifest.

    Args:
        spec: the model, under the artifact's name.
        build: its code.
        version: of graphc.
        identity: the build id.
        files: name → SHA-256 of every other file.
        threads: of a call, where nobody states another number.
    """
    native = None
    if isinstance(build, NativeBuild):
        native = {
            "file": f"{spec.name}.so",
            "arena_bytes": build.arena_bytes,
            "symbols": dict(build.exports),
            "parallel": None if build.parallel is None else build.parallel.symbol,
            "numbers": {name: build.number(name) for name in build.exports},
        }
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "graphc": version,
        "build": identity,
        "backend": build.backend,
        "model": spec.to_json(),
        "native": native,
        "threads": threads,
        "target": _target(build),
        "files": dict(sorted(files.items())),
    }
    manifest["sha256"] = manifest_digest(manifest)
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _target(build: Build) -> dict[str, Any] | None:
    """The machine that native code needs; Python source needs none in particular."""
    if not isinstance(build, NativeBuild):
        return None
    target = build.target
    return {
        "system": system_of(target),
        "machine": machine_of(target),
        "triple": target.triple,
        "cpu": target.cpu,
        "features": target.features,
        "flags": required_flags(target),
    }
