"""Opens an artifact: checks that its files belong together and run on this machine, then loads its code.

The shared object is hashed before it is loaded, because the dynamic loader trusts its input: a truncated one ends the
process.  The weights are hashed when they are first read.  Generated text that was edited is the user's business,
and warned about.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import weights as weight_files
from .errors import GraphcImportError, GraphcOSError, GraphcTypeError, GraphcValueError
from .model import Code, Model
from .native import NativeCode
from .source import SourceCode
from .spec import Spec

Array = np.ndarray[Any, Any]

FORMAT = 1
"""Version of the artifact's layout."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"

_RECOMPILE = "compile the model again"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """The manifest's own hash, of everything in it but this hash."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return digest(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def machine() -> str:
    """The processor architecture under one name on every system."""
    name = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "unknown")
    return _MACHINES.get(name.lower(), name.lower())


class Artifact:
    """An opened artifact folder.

    Args:
        package: the name under which its ``__init__.py`` is being imported.
        folder: where it lies.
        build: the build that ``__init__.py`` belongs to.

    Raises:
        GraphcImportError: not an artifact (E560), damaged (E561), files of different builds (E562), a processor
            feature is missing (E563), made for another platform (E564), or of another format (E565).

    Attributes:
        folder: where it lies.
        manifest: ``manifest.json``, checked.
        spec: entry points and states.
        code: ready to run.
    """

    def __init__(self, package: str, folder: str, build: str) -> None:
        self.folder = os.path.abspath(folder)
        self.manifest = read_manifest(self.folder)
        if build != self.manifest["build"]:
            raise self._error(
                "E562", f"__init__.py is of build {build[:12]}, {MANIFEST} of build {self.manifest['build'][:12]}"
            )
        self.spec = Spec.from_json(self.manifest["model"])
        self._check_platform()
        self._warn_of_edits()
        self.code = self._load_code(package)

    def initial(self, seed: int | None) -> Mapping[str, Array]:
        """The states as the artifact was saved with them; there is nothing here to make others with."""
        if seed is not None:
            raise GraphcValueError(
                "E455",
                f"{self.spec.name}: an artifact has one set of initial values",
                hint="call reset() without a seed",
            )
        data = self._read(WEIGHTS)
        path = os.path.join(self.folder, WEIGHTS)
        if digest(data) != self.manifest["files"].get(WEIGHTS):
            raise self._foreign_weights(data, path)
        tensors, _ = weight_files.decode(data, path)
        return weight_files.select(tensors, self.spec.states, path)

    @property
    def metadata(self) -> dict[str, str]:
        """What stands in the weight files of this build besides tensors."""
        return {"graphc_build": self.manifest["build"]}

    def _foreign_weights(self, data: bytes, path: str) -> GraphcImportError:
        try:
            _, metadata = weight_files.decode(data, path)
        except GraphcValueError as fault:
            return self._error("E561", f"{WEIGHTS} is damaged: {fault.message}")
        build = metadata.get("graphc_build", self.manifest["build"])
        if build != self.manifest["build"]:
            return self._error(
                "E562",
                f"{WEIGHTS} is of build {build[:12]}, {MANIFEST} of build {self.manifest['build'][:12]}",
                hint="load_weights(path) takes weights from elsewhere",
            )
        return self._error("E561", f"{WEIGHTS} is damaged: its hash is not the one in {MANIFEST}")

    def _check_platform(self) -> None:
        target = self.manifest["target"]
        if target is None:  # Python source runs anywhere
            return
        wanted, here = (target["system"], target["machine"]), (sys.platform, machine())
        if wanted != here:
            raise self._error("E564", f"compiled for {' '.join(wanted)}, this is {' '.join(here)}")
        flags = _processor_flags()
        missing = [name for name, flag in target["flags"].items() if flags is not None and flag not in flags]
        if missing:
            raise self._error(
                "E563",
                f"compiled for processors with {', '.join(missing)}, which this one lacks",
                hint="compile it with --cpu x86-64, or another level that this machine has",
            )

    def _warn_of_edits(self) -> None:
        for name, expected in self.manifest["files"].items():
            if name.endswith((".py", ".h")) and digest(self._read(name)) != expected:
                message = f"{os.path.join(self.folder, name)} is not as graphc generated it [E573]"
                warnings.warn(message, UserWarning, stacklevel=4)

    def _load_code(self, package: str) -> Code:
        native = self.manifest["native"]
        if native is None:
            return SourceCode(self._load_source(package))
        name = native["file"]
        content = digest(self._read(name))
        if content != self.manifest["files"].get(name):
            raise self._error("E561", f"{name} is damaged, or of another build: its hash is not the one in {MANIFEST}")
        try:
            library = ctypes.CDLL(_spelled_for(os.path.join(self.folder, name), content))
            functions = {entry: getattr(library, symbol) for entry, symbol in native["symbols"].items()}
            parallel = None if native["parallel"] is None else getattr(library, native["parallel"])
        except (OSError, AttributeError) as fault:
            raise self._error("E561", f"{name} cannot be loaded: {fault}") from fault
        return NativeCode(functions, native["arena_bytes"], library, parallel, native["numbers"])

    def _load_source(self, package: str) -> dict[str, Any]:
        try:
            functions = importlib.import_module(f"{package}._model").ENTRY_POINTS
            return {entry.name: functions[entry.name] for entry in self.spec.entries}
        except Exception as fault:  # whatever a damaged file may raise
            raise self._error("E561", f"_model.py is damaged: {fault}") from fault

    def _read(self, name: str) -> bytes:
        try:
            return weight_files.read_bytes(os.path.join(self.folder, name))
        except GraphcOSError as fault:
            raise self._error("E561", f"{name} is missing: {fault.message}") from fault

    def _error(self, code: str, message: str, hint: str = _RECOMPILE) -> GraphcImportError:
        return GraphcImportError(code, f"{self.folder}: {message}", hint=hint)


def read_manifest(folder: str) -> dict[str, Any]:
    """The manifest of an artifact, checked against its own hash.

    Raises:
        GraphcImportError: E560, E561 or E565.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        data = weight_files.read_bytes(path)
    except GraphcOSError as fault:
        raise GraphcImportError(
            "E560", f"{folder} is not an artifact: {fault.message}", hint="graphc compile makes one"
        ) from fault
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise GraphcImportError("E561", f"{path} is damaged: {fault}", hint=_RECOMPILE) from fault
    if not isinstance(manifest, dict) or type(manifest.get("format")) is not int:
        raise GraphcImportError("E561", f"{path} is damaged: it states no format", hint=_RECOMPILE)
    if manifest["format"] != FORMAT:
        age = "an older" if manifest["format"] < FORMAT else "a newer"
        raise GraphcImportError(
            "E565",
            f"{folder} has format {manifest['format']}, of {age} graphc; this one reads {FORMAT}",
            hint=_RECOMPILE,
        )
    if manifest.get("sha256") != manifest_digest(manifest):
        raise GraphcImportError("E561", f"{path} is damaged: its content does not match its hash", hint=_RECOMPILE)
    return manifest


def _spelled_for(path: str, content: str) -> str:
    """A spelling of ``path`` that depends on the file's hash.

    The dynamic loader takes a path it has seen for the library it loaded from there, even when another file has
    replaced it since; it compares spellings, so files that differ get paths that differ (in ``/`` and ``/./``).
    """
    folder, name = os.path.split(path)
    bits = f"{int(content[:8], 16):032b}"
    return os.path.join(folder, "".join("./" if bit == "1" else "/" for bit in "1" + bits), name)


def _processor_flags() -> frozenset[str] | None:
    """What Linux says the processor can do; None where nobody says."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            text = b""
            # The first processor stands in the first few kilobytes, and the rest takes the kernel a while to write.
            while chunk := file.read(4096):
                text += chunk
                if b"\n\n" in text:
                    break
    except OSError:
        return None
    for line in text.split(b"\n"):
        key, _, value = line.partition(b":")
        if key.strip() in (b"flags", b"Features"):
            return frozenset(value.decode("ascii", "replace").split())
    return None


_default_lock = threading.Lock()


class ArtifactModel(Model):
    """Base of the class ``Model`` in an artifact.

    Attributes:
        artifact: the folder it was made from; set in the artifact's ``__init__.py``.
        _reopen: how to make an equal model where the artifact is not imported by name; set by graphc's loader.
    """

    artifact: Artifact
    _default: ArtifactModel | None = None
    _reopen: Callable[[str, Mapping[str, Array]], ArtifactModel] | None = None

    def __init__(self, threads: int | str | None = None) -> None:
        """Make a model with parameters of its own, whose calls use so many ``threads`` (see the attribute)."""
        artifact = self.artifact
        super().__init__(
            artifact.spec,
            artifact.code,
            artifact.initial,
            artifact.metadata,
            threads=threads,
            stated_threads=artifact.manifest["threads"],
        )

    @classmethod
    def default(cls) -> ArtifactModel:
        """The model behind the functions of the artifact's module; made at its first use."""
        if cls._default is None:
            with _default_lock:
                if cls._default is None:
                    cls._default = cls()
        return cls._default

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reopen is not None:
            return self._reopen, (self.artifact.folder, self._snapshot())
        module = sys.modules.get(type(self).__module__)
        if getattr(module, "Model", None) is not type(self):
            raise GraphcTypeError("E455", f"{self.spec.name} cannot be pickled: its module is not importable by name")
        return type(self)._restore, (self._snapshot(),)

    @classmethod
    def _restore(cls, values: Mapping[str, Array]) -> ArtifactModel:
        """A model with the given states: what unpickling calls."""
        made = cls()
        made._assign(values)
        return made
