"""One way to call every backend: a module goes in, a function of (entry, inputs, states) comes out.

The native code gets what a careless caller gives: outputs and an arena full of garbage, with guard bytes around each of
them that must survive.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.ir.types import TensorType, bool_
from graphc.ir.verify import verify
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Program
from graphc.kernel.run import run_entry
from graphc.kernel.verify import verify_program
from graphc.passes.block import Block
from graphc.passes.decompose import Decompose
from graphc.passes.pipeline import PIPELINE, run_pipeline

Array = np.ndarray[Any, Any]
Result = tuple[dict[str, Array], dict[str, Array]]
"""Outputs by name, and the new values of updated states by name, as boundary arrays."""

Runner = Callable[[str, Sequence[Array], Mapping[str, Array] | None], Result]
"""(entry, inputs in order, states by name or None for the initial ones) → outputs and new states."""

BACKENDS = ("kernel", "numpy", "llvm")
"""Everything that is held against ``reference``."""

LEVELS = ("x86-64", "avx2") if platform.machine() in ("x86_64", "AMD64") else ("host",)
"""Processors that lack what this one may have: wide vectors, fused multiply-add, conversion of float16.

As backends they are called ``llvm x86-64`` and ``llvm avx2``; ``llvm aarch64`` runs in an emulator.
"""

_GUARD = 64
_GARBAGE = 0xA5


def run(
    backend: str, module: Module, entry: str, inputs: Sequence[Array], states: Mapping[str, Array] | None = None
) -> Result:
    """Compile ``module`` with a backend and call one entry point."""
    return compiled(backend, module)(entry, inputs, states)


def compiled(backend: str, module: Module) -> Runner:
    """``module``, whose graphs may come from any pass or from none, made ready by a backend."""
    return _COMPILERS[backend](module)


def with_passes(module: Module, *, only: Sequence[str] | None = None, disable: Sequence[str] = ()) -> Module:
    """The module after the pipeline, verified after each pass."""
    return Module(
        module.name,
        {name: run_pipeline(g, only=only, disable=disable, check=True) for name, g in module.entries.items()},
    )


def in_small_blocks(module: Module, cache_bytes: int = 4096) -> Module:
    """The module after the pipeline with loops cut into blocks of few steps, as only large loops are otherwise."""
    entries = {}
    for name, graph in module.entries.items():
        for step, _ in PIPELINE:
            if isinstance(step, Block):
                step = Block(least_bytes=0, cache_bytes=cache_bytes, least=2)
            graph = step.run(graph)
            verify(graph)
        entries[name] = graph
    return Module(module.name, entries)


def without_training(graph: Graph) -> Graph:
    """``G.training`` bound to False, as a frontend binds it."""

    def rule(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        return b.constant(False, bool_)

    return rewrite(graph, rule, ("training",))


# -- reference ---------------------------------------------------------------------------------------------------------


def _reference(module: Module) -> Runner:
    return lambda entry, inputs, states: evaluate(module.entries[entry], inputs, states)


# -- LoopIR ------------------------------------------------------------------------------------------------------------


def program_of(module: Module) -> Program:
    """The verified program of a module."""
    small = Module(
        module.name, {name: Decompose().run(without_training(graph)) for name, graph in module.entries.items()}
    )
    program = lower_module(small)
    verify_program(program)
    return program


def _kernel(module: Module) -> Runner:
    program = program_of(module)
    return lambda entry, inputs, states: run_entry(program, entry, inputs, states)


# -- NumPy -------------------------------------------------------------------------------------------------------------


def _numpy(module: Module) -> Runner:
    from graphc.backends.numpy.compile import compile_source
    from graphc.backends.numpy.emit import emit_module

    functions = compile_source(emit_module(module))

    def call(entry: str, inputs: Sequence[Array], states: Mapping[str, Array] | None) -> Result:
        graph = module.entries[entry]
        parameters = {s.name: _initial(s.initial_value(), states, s.name) for s in graph.states}
        kept = [array.copy() for array in inputs]
        made = functions[entry](*inputs, parameters)
        for before, after in zip(kept, inputs, strict=True):
            assert before.tobytes() == after.tobytes(), f"{entry} wrote into an input"
        names = [name for name, _ in graph.outputs]
        outputs = dict(made) if len(names) > 1 else {names[0]: made} if names else {}
        return outputs, {
            variable.attrs["state"].name: parameters[variable.attrs["state"].name] for variable, _ in graph.updates
        }

    return call


def _initial(value: Array, states: Mapping[str, Array] | None, name: str) -> Array:
    return np.array((states or {}).get(name, value), dtype=value.dtype, copy=True)


# -- LLVM --------------------------------------------------------------------------------------------------------------


class _Guarded:
    """Memory for one tensor between guard bytes."""

    def __init__(self, count: int, alignment: int) -> None:
        raw = np.full(count + 2 * _GUARD + alignment, _GARBAGE, np.uint8)
        self.raw = raw
        self.start, self.count = _GUARD + -(raw.ctypes.data + _GUARD) % alignment, count

    @classmethod
    def holding(cls, array: Array) -> _Guarded:
        made = cls(array.nbytes, array.dtype.itemsize)
        made.bytes[:] = np.frombuffer(array.tobytes(), np.uint8)
        return made

    @property
    def bytes(self) -> Array:
        return self.raw[self.start : self.start + self.count]

    @property
    def address(self) -> int:
        return int(self.raw.ctypes.data) + self.start

    def array(self, type_: TensorType) -> Array:
        return self.bytes.copy().view(type_.dtype.storage).reshape(type_.static_shape)

    def check(self, what: str) -> None:
        outside = np.concatenate([self.raw[: self.start], self.raw[self.start + self.count :]])
        assert (outside == _GARBAGE).all(), f"native code wrote outside {what}"


def _llvm(module: Module, level: str | None = None) -> Runner:
    from graphc.backends.llvm.compile import compile_program, load_in_process
    from graphc.backends.llvm.host import host_target

    program = program_of(module)
    native = compile_program(program, host_target(level), "test")
    functions = load_in_process(native)

    def call(entry: str, inputs: Sequence[Array], states: Mapping[str, Array] | None) -> Result:
        return _call_native(program, functions[entry], native.arena_bytes, entry, inputs, states)

    return call


def _emulated(module: Module) -> Runner:
    from graphc.backends.llvm.compile import compile_program
    from graphc.backends.llvm.host import arm_target
    from tests.arm_emulation import ArmCode

    program = program_of(module)
    native = compile_program(program, arm_target(), "test")
    code = ArmCode(native.object_bytes)

    def call(entry: str, inputs: Sequence[Array], states: Mapping[str, Array] | None) -> Result:
        def function(*pointers: Any) -> int:
            addresses = [p.value if isinstance(p, ctypes.c_void_p) else ctypes.addressof(p) for p in pointers]
            return code(native.exports[entry], *addresses)

        return _call_native(program, function, native.arena_bytes, entry, inputs, states)

    return call


def _call_native(
    program: Program,
    function: Any,
    arena_bytes: int,
    entry_name: str,
    inputs: Sequence[Array],
    states: Mapping[str, Array] | None,
) -> Result:
    entry = program.entries[entry_name]
    all_states = program.module.states
    arguments = [_Guarded.holding(np.ascontiguousarray(array)) for array in inputs]
    results = [_Guarded(type_.nbytes, type_.dtype.itemsize) for type_ in entry.outputs.values()]
    memory = [_Guarded.holding(_initial(s.initial_value(), states, s.name)) for s in all_states.values()]
    arena = _Guarded(arena_bytes, 64)
    error = (ctypes.c_int64 * 4)()
    before = [argument.bytes.copy() for argument in arguments]
    held = [block.bytes.copy() for block in memory]
    tables = [
        (ctypes.c_void_p * max(len(blocks), 1))(*(block.address for block in blocks))
        for blocks in (arguments, results, memory)
    ]
    status = function(*tables, ctypes.c_void_p(arena.address), error)
    for blocks, what in ((arguments, "an input"), (results, "an output"), (memory, "a state"), ([arena], "the arena")):
        for block in blocks:
            block.check(f"{what} of {entry_name}")
    for block, old in zip(arguments, before, strict=True):
        assert (block.bytes == old).all(), f"{entry_name} wrote into an input"
    if status:
        for block, old in zip(memory, held, strict=True):
            assert (block.bytes == old).all(), f"{entry_name} failed and has changed a state"
        raise GraphcIndexError(
            "E456", f"check {error[0]}: index {error[2]} at position {error[1]} is not in [0, {error[3]})"
        )
    outputs = {name: block.array(type_) for (name, type_), block in zip(entry.outputs.items(), results, strict=True)}
    updated = {
        s.name: block.array(s.type)
        for s, block in zip(all_states.values(), memory, strict=True)
        if s.name in entry.updated
    }
    for s, block, old in zip(all_states.values(), memory, held, strict=True):
        assert s.name in entry.updated or (block.bytes == old).all(), (
            f"{entry_name} changed {s.name!r}, which it does not update"
        )
    return outputs, updated


_COMPILERS: Mapping[str, Callable[[Module], Runner]] = {
    "reference": _reference,
    "kernel": _kernel,
    "numpy": _numpy,
    "llvm": _llvm,
    "llvm aarch64": _emulated,
    **{f"llvm {level}": functools.partial(_llvm, level=level) for level in LEVELS},
}
