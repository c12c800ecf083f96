"""Runs single kernels as native code: a program of one call whose parameters are the entry's buffers."""

import ctypes
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from graphc.backends.llvm.compile import Native, compile_program, load_in_process
from graphc.backends.llvm.host import host_target
from graphc.ir.graph import Module
from graphc.ir.types import tensor_type
from graphc.kernel.loopir import AnyKernel
from graphc.kernel.program import Buffer, Call, Entry, MemoryPlan, Program, Ref

LEVELS = ("host", "avx2", "baseline")


def program_of(kernel: AnyKernel, sizes: Sequence[int]) -> Program:
    """One entry ``run`` that calls the kernel once; every parameter is an input or an output of ``sizes`` elements."""
    buffers, inputs, outputs = [], {}, {}
    for number, (param, size) in enumerate(zip(kernel.params, sizes, strict=True)):
        table = inputs if param.mode == "in" else outputs
        kind = "input" if param.mode == "in" else "output"
        buffers.append(Buffer(f"p{number}", param.dtype, size, kind, len(table)))
        table[f"p{number}"] = tensor_type(param.dtype, (size,))
    call = Call(0, tuple(Ref(number) for number in range(len(buffers))))
    entry = Entry("run", inputs, outputs, tuple(buffers), (call,), MemoryPlan({}, 0, {}), ())
    return Program(Module("test", {}), (kernel,), (), {"run": entry})


@lru_cache(maxsize=64)
def compiled(kernel: AnyKernel, sizes: tuple[int, ...], level: str) -> tuple[Native, object]:
    """The native code of a kernel for a CPU level."""
    native = compile_program(program_of(kernel, sizes), host_target(level), "test")
    return native, load_in_process(native)["run"]


def pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array:
    return (ctypes.c_void_p * max(len(arrays), 1))(*(array.ctypes.data for array in arrays))


def aligned_bytes(size: int) -> np.ndarray:
    """Garbage, aligned as an arena is."""
    raw = np.full(size + 64, 0xA5, np.uint8)
    return raw[-raw.ctypes.data % 64 :][:size]


def run_native(kernel: AnyKernel, arrays: Sequence[np.ndarray], level: str = "host") -> np.ndarray | None:
    """Run on arrays (one a parameter, storage form, in place); the error words where the entry fails."""
    native, function = compiled(kernel, tuple(array.size for array in arrays), level)
    inputs = [a for a, p in zip(arrays, kernel.params, strict=True) if p.mode == "in"]
    outputs = [a for a, p in zip(arrays, kernel.params, strict=True) if p.mode != "in"]
    arena, error = aligned_bytes(native.arena_bytes), np.zeros(4, np.int64)
    failed = function(pointers(inputs), pointers(outputs), None, arena.ctypes.data, error.ctypes.data)
    return error if failed else None


def unaligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts one element after a multiple of 64 bytes."""
    raw = aligned_bytes(array.nbytes + 64 + array.itemsize)
    copy = raw[array.itemsize : array.itemsize + array.nbytes].view(array.dtype)
    copy[:] = array.reshape(-1)
    return copy
