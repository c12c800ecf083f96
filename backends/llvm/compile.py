"""From a Program to object code, and to functions in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import llvmlite
import llvmlite.binding as llvm

from graphc.backends.llvm.codegen import Instrument, emit_module
from graphc.backends.llvm.host import initialize
from graphc.backends.llvm.loader import Code
from graphc.clock import stage, timed
from graphc.kernel.program import Program
from graphc.kernel.target import Target

ENTRY_TYPE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
"""The C type of an entry point: inputs, outputs, states, arena, error (``docs/ARCHITECTURE.md``)."""

PARALLEL_TYPE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, *[ctypes.c_void_p] * 5)
"""The C type of ``NAME_parallel``: threads, number of the entry point, and its arguments."""


@dataclass(frozen=True)
class Native:
    """Compiled code.

    Attributes:
        ir: the module as LLVM IR text, before optimisation.
        object_bytes: the relocatable object file.
        exports: entry name → exported symbol.
        arena_bytes: memory a call needs, aligned to 64; what the program plans plus scratch of the schedules.
        target: what it was compiled for.
        parallel: the exported function that runs an entry point on several threads, where one has the work for them.
        end: the exported function that ends those threads.
    """

    ir: str
    object_bytes: bytes
    exports: Mapping[str, str]
    arena_bytes: int
    target: Target
    parallel: str | None = None
    end: str | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """All exported functions."""
        return (*self.exports.values(), *(name for name in (self.parallel, self.end) if name is not None))


def compile_program(
    program: Program,
    target: Target,
    prefix: str,
    *,
    fast_math: bool = False,
    instrument: Instrument | None = None,
    threads: bool = True,
) -> Native:
    """Compile a program for a target.

    Args:
        program: lowered entry points.
        target: the machine, see :func:`graphc.backends.llvm.host.host_target`.
        prefix: exported functions are called ``PREFIX_ENTRY``; a C identifier.
        fast_math: allow re-association, approximate division and contraction everywhere.
        instrument: changes what the entry points do.
        threads: whether several threads can share a call, where that pays.
    """
    with stage("emit"):
        module = emit_module(program, target, prefix, fast_math=fast_math, instrument=instrument, threads=threads)
    code = object_code(module.ir, target)
    return Native(module.ir, code, module.exports, module.arena_bytes, target, module.parallel, module.end)


def generator_version() -> str:
    """Which LLVM generates the code, and through what."""
    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


@timed("llvm")
def object_code(ir: str, target: Target) -> bytes:
    """Optimise LLVM IR text and generate position-independent object code."""
    initialize(target.triple)
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
    )
    module = llvm.parse_assembly(ir)
    try:
        module.verify()
        _optimise(module, machine)
        return bytes(machine.emit_object(module))
    finally:
        module.close()
        machine.close()


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """A short pipeline: schedules have done the loop work already, and LLVM's whole O2 would take ten times as long."""
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    try:
        inliner = llvm.create_new_module_pass_manager()
        inliner.add_always_inliner_pass()
        inliner.run(module, builder)
        cleaner = llvm.create_new_function_pass_manager()
        cleaner.add_sroa_pass()
        cleaner.add_instruction_combine_pass()
        cleaner.add_simplify_cfg_pass()
        cleaner.add_dead_code_elimination_pass()
        for function in module.functions:
            if not function.is_declaration:
                cleaner.run(function, builder)
    finally:
        builder.close()


EntryFunction = Callable[..., int]


class Loaded(Mapping[str, EntryFunction]):
    """Entry points of object code that lives in this process; the code is freed with the object.

    Attributes:
        parallel: runs one of them on several threads (:data:`PARALLEL_TYPE`), where one has the work for them.
    """

    def __init__(self, native: Native) -> None:
        code = Code(native.object_bytes, native.target, native.symbols, native.end)
        self._functions = {name: _function(code, ENTRY_TYPE, exported) for name, exported in native.exports.items()}
        self.parallel: EntryFunction | None = None
        if native.parallel is not None:
            self.parallel = _function(code, PARALLEL_TYPE, native.parallel)

    def __getitem__(self, name: str) -> EntryFunction:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def _function(code: Code, type_: Callable[[int], EntryFunction], exported: str) -> EntryFunction:
    function = type_(code.address(exported))
    # A caller may keep the function alone: it keeps the code.
    function.owner = code  # type: ignore[attr-defined]
    return function


def load_in_process(native: Native) -> Loaded:
    """Entry name → function of :data:`ENTRY_TYPE`, running the very bytes of ``native.object_bytes``."""
    return Loaded(native)
