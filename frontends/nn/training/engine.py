"""Compiled entry points for whatever batch sizes come, all over one set of state variables."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import driver
from graphc.errors import GraphcValueError
from graphc.frontends.nn.training.data import Array, converted
from graphc.ir.dim import Dim, Poly, substitute
from graphc.ir.graph import Module
from graphc.ir.node import Node

_KEPT = 64
"""Compiled entry points that are kept; data of ever new sizes would fill the memory otherwise."""


@dataclass(frozen=True)
class Target:
    """What to compile for.

    Attributes:
        backend: as in :func:`graphc.compile`.
        threads: native threads a call may use, as for :func:`graphc.compile`.
        fast_math: as in :func:`graphc.compile`.
    """

    backend: str = "llvm"
    threads: int | str | None = None
    fast_math: bool = False


class Engine:
    """Runs the entry points of a module whose batch is a symbolic dimension.

    Shapes are static in compiled code, so an entry point is compiled once for each size that comes, when it comes.  All
    of them read and write the same arrays.

    Attributes:
        module: the entry points.
        values: the state variables by name, as live arrays.
    """

    def __init__(self, module: Module, target: Target, seed: int, values: Mapping[str, Array]) -> None:
        """Begin with ``values``; state variables that have none there start as ``seed`` says."""
        self.module = module
        self.values: MutableMapping[str, Array] = {}
        for name, state in module.states.items():
            given = values.get(name)
            self.values[name] = state.initial_value(seed) if given is None else _checked(name, given, state.type)
        self._target, self._seed = target, seed
        self._first: driver.CompiledModel | None = None
        self._compiled: dict[tuple[Any, ...], driver.CompiledModel] = {}
        self._lock = threading.RLock()

    def call(self, entry: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of an entry point by name; the arrays (by name) are converted to the dtypes it takes."""
        graph = self.module.entry(entry)
        given = []
        for node in graph.inputs:
            name = node.attrs["name"]
            given.append(converted(arrays[name], np.dtype(node.dtype.storage), f"{entry}: {name}"))
        dims = _solve(entry, graph.inputs, given)
        with self._lock:
            compiled = self.compiled((entry,), dims)
            made = getattr(compiled, entry)(*given)
        return made if isinstance(made, dict) else {graph.outputs[0][0]: made}

    def sizes(self, entry: str, arrays: Mapping[str, Array]) -> dict[str, int]:
        """The sizes of the symbolic dimensions, from as many of an entry point's inputs as there are."""
        given = [node for node in self.module.entry(entry).inputs if node.attrs["name"] in arrays]
        return _solve(entry, given, [arrays[node.attrs["name"]] for node in given])

    def compiled(
        self, entries: Sequence[str], dims: Mapping[str, int], max_dims: Mapping[str, int] | None = None
    ) -> driver.CompiledModel:
        """Some entry points for the given sizes (or sizes up to the largest ones given), compiled on first use."""
        key = (*entries, *sorted(dims.items()), "up to", *sorted((max_dims or {}).items()))
        found = self._compiled.pop(key, None)
        if found is not None:
            self._compiled[key] = found  # the most recently used come last
            return found
        module = Module(
            self.module.name,
            {name: self.module.entry(name) for name in entries},
            tuple(self.module.states.values()),
        )
        made = driver.compile(
            module,
            self._target.backend,
            dims=dims,
            max_dims=max_dims,
            seed=self._seed,
            threads=self._target.threads,
            fast_math=self._target.fast_math,
            states_of=self._first,
        )
        if self._first is None:
            self._first = made
            for name, value in self.values.items():
                np.copyto(made.parameters[name], value)
            self.values = made.parameters
        self._compiled[key] = made
        if len(self._compiled) > _KEPT:
            del self._compiled[next(iter(self._compiled))]
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all states to a safetensors file, whole or not at all."""
        with self._lock:
            driver.save_states(path, self.module, self.values)


def read_states(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Every tensor of a safetensors file."""
    return driver.read_states(path)


def _checked(name: str, value: Array, type_: Any) -> Array:
    if value.shape != type_.static_shape or value.dtype != type_.dtype.storage:
        message = f"{name!r} must be {type_!r}, got {value.dtype}{list(value.shape)}"
        raise GraphcValueError("E566", message, hint="these weights are of another model")
    return np.array(value, order="C", copy=True)


def _solve(entry: str, inputs: Sequence[Node], arrays: Sequence[Array]) -> dict[str, int]:
    """The sizes of the symbolic dimensions in the inputs of an entry point.

    Raises:
        GraphcValueError: shapes that do not fit the inputs, or one another (E449).
    """
    dims: dict[str, int] = {}
    for node, array in zip(inputs, arrays, strict=True):
        if array.ndim != node.rank:
            raise _misfit(entry, node.attrs["name"], node.shape, array)
        for dim, size in zip(node.shape, array.shape, strict=True):
            if isinstance(dim, Poly) and str(dim).isidentifier():
                dims.setdefault(str(dim), size)
    for node, array in zip(inputs, arrays, strict=True):
        if tuple(substitute(dim, dims) for dim in node.shape) != array.shape:
            raise _misfit(entry, node.attrs["name"], node.shape, array)
    return dims


def _misfit(entry: str, name: str, shape: Sequence[Dim], array: Array) -> GraphcValueError:
    wanted = ", ".join(map(str, shape))
    return GraphcValueError("E449", f"{entry}: {name} must have shape ({wanted}), got {array.shape}")
