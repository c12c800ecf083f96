"""``CompiledModel``: a model compiled in this process, which can be saved as an artifact."""

from __future__ import annotations

import linecache
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.artifact.runtime.calls import Code, NativeCode, SourceCode
from graphc.artifact.runtime.model import Model
from graphc.artifact.runtime.spec import Spec
from graphc.artifact.spec import Build, NativeBuild, model_spec
from graphc.artifact.writer import write_artifact
from graphc.ir.graph import Module
from graphc.kernel.program import Program


class CompiledModel(Model):
    """A compiled model in memory.

    Attributes:
        module: what was compiled.
        build: its code.
        timings: (stage, seconds) of its compilation, where the driver made it.
    """

    def __init__(self, module: Module, build: Build, *, program: Program | None = None, seed: int = 0) -> None:
        """Make a model with fresh states.

        Args:
            module: the compiled module; its order of states is the code's.
            build: its code.
            program: where native code was made, the program it was made from.
            seed: of the initial values.
        """
        self.module = module
        self.build = build
        self.timings: list[tuple[str, float]] = []
        self._seed = seed
        spec = model_spec(module, program)
        super().__init__(spec, _code(spec, build), self._initial_values)

    @property
    def source(self) -> str:
        """The generated code for people: NumPy source, or LLVM IR."""
        return self.build.source

    def save(self, folder: str | os.PathLike[str], name: str | None = None, force: bool = False) -> str:
        """Write the model with its present states as an artifact, and return the folder's absolute path.

        Args:
            folder: the destination; its last part is the name under which Python imports it.
            name: of the model in C and in file names; by default that of the folder.
            force: replace an artifact that is there.

        Raises:
            GraphcValueError: an impossible name (E108).
            GraphcOSError: the destination exists (E107), or cannot be written (E570).
        """
        return write_artifact(folder, spec=self.spec, build=self.build, values=self._snapshot(), name=name, force=force)

    def _initial_values(self, seed: int | None) -> Mapping[str, np.ndarray[Any, Any]]:
        chosen = self._seed if seed is None else seed
        return {name: state.initial_value(chosen) for name, state in self.module.states.items()}


def _code(spec: Spec, build: Build) -> Code:
    if isinstance(build, NativeBuild):
        return NativeCode(build.functions, build.arena_bytes, build.owner)
    file = f"<graphc {spec.name}>"
    # Tracebacks through the generated source then show its lines.
    linecache.cache[file] = (len(build.source), None, build.source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": f"{spec.name}._model"}
    exec(compile(build.source, file, "exec", dont_inherit=True), namespace)
    return SourceCode(namespace["ENTRY_POINTS"])
