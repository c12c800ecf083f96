"""``CompiledModel``: a model compiled in this process, which can be saved as an artifact."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.artifact.compilation import Compilation
from graphc.artifact.runtime import weights
from graphc.artifact.runtime.model import Code, Model
from graphc.artifact.runtime.native import NativeCode
from graphc.artifact.runtime.source import SourceCode
from graphc.artifact.runtime.spec import Spec
from graphc.artifact.spec import Build, Checks, Interface, NativeBuild, describe_checks, model_spec
from graphc.artifact.writer import write_artifact
from graphc.errors import GraphcValueError
from graphc.ir.graph import Module
from graphc.kernel.program import Program


class CompiledModel(Model):
    """A compiled model in memory.

    Attributes:
        build: its code.
        compilation: how it was compiled, where the driver made it.
    """

    def __init__(
        self,
        module: Module,
        build: Build,
        *,
        program: Program | None = None,
        checks: Checks | None = None,
        schedule: Callable[[], Module] | None = None,
        seed: int = 0,
        states_of: CompiledModel | None = None,
        threads: int | str | None = None,
        interface: Interface | None = None,
    ) -> None:
        """Make a model with fresh states, or over those of another one.

        Args:
            module: the compiled module; its order of states is the code's.
            build: its code.
            program: where native code was made, the program it was made from.
            checks: of native code whose program is not at hand.
            schedule: makes the compiled module when it is asked for, where ``module`` is the one before the passes.
            seed: of the initial values.
            states_of: a model with the same states, which both then share; calls of the two must not overlap.
            threads: of a call, here and in an artifact; None where nobody has stated a number.
            interface: how it is called, where that is not as ``module`` is: calls say sizes.

        Raises:
            GraphcValueError: the states of ``states_of`` are others (E455).
        """
        self.build = build
        self.compilation = Compilation()
        self._module = module
        self._schedule = schedule
        self._seed = seed
        spec = model_spec(interface or Interface(module), describe_checks(program) if checks is None else checks)
        if states_of is not None and states_of.spec.states != spec.states:
            raise GraphcValueError("E455", f"{spec.name} and {states_of.spec.name} have different states to share")
        memory = None if states_of is None else states_of._memory
        super().__init__(spec, _code(spec, build), self._initial_values, memory=memory, threads=threads)
        # One thread a processor means the processors of the machine that the artifact will run on.
        self._stated_threads = 1 if threads is None else 0 if threads in (0, "auto") else self.threads

    @property
    def module(self) -> Module:
        """What was compiled: the module after the passes."""
        schedule = self._schedule
        if schedule is not None:
            self._module, self._schedule = schedule(), None
        return self._module

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
        return write_artifact(
            folder,
            spec=self.spec,
            build=self.build,
            values=self._snapshot(),
            name=name,
            force=force,
            threads=self._stated_threads,
        )

    def _initial_values(self, seed: int | None) -> Mapping[str, np.ndarray[Any, Any]]:
        chosen = self._seed if seed is None else seed
        return {name: state.initial_value(chosen) for name, state in self._module.states.items()}


def save_states(path: str | os.PathLike[str], module: Module, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write the states of ``module`` to a safetensors file, whole or not at all.

    Raises:
        GraphcOSError: the file cannot be written (E570).
    """
    states = model_spec(Interface(Module(module.name, {}, tuple(module.states.values())))).states
    weights.save(path, states, {name: np.ascontiguousarray(values[name]) for name in module.states}, {})


def read_states(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor of a safetensors file by name.

    Raises:
        GraphcOSError: the file cannot be read (E570).
        GraphcValueError: it breaks the format (E566).
    """
    name = os.fspath(path)
    tensors, _ = weights.decode(weights.read_bytes(path), name)
    return weights.select(tensors, [tensor for tensor, _ in tensors.values()], name)


def _code(spec: Spec, build: Build) -> Code:
    if isinstance(build, NativeBuild):
        parallel = None if build.parallel is None else build.parallel.function
        numbers = {name: build.number(name) for name in build.exports}
        return NativeCode(build.functions, build.arena_bytes, build.owner, parallel, numbers)
    file = f"<graphc {spec.name}>"
    # Tracebacks through the generated source then show its lines.
    linecache.cache[file] = (len(build.source), None, build.source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": f"{spec.name}._model"}
    exec(compile(build.source, file, "exec", dont_inherit=True), namespace)
    return SourceCode(namespace["ENTRY_POINTS"])
