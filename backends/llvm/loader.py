"""Object code into this process.

On Linux x86-64 the object is linked to the very shared library that an artifact holds, in memory, and the system's own
loader takes it from there: all sections lie in one piece, and a function that no library has is an error and not a call
of address zero.  LLVM's loader, which does it elsewhere, promises neither.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import weakref
from collections.abc import Callable, Sequence

import llvmlite.binding as llvm

from graphc.backends.llvm.elf import link_shared_object
from graphc.backends.llvm.host import initialize
from graphc.errors import GraphcRuntimeError
from graphc.kernel.target import Target

_opened = itertools.count(1)


def is_linked_here(target: Target) -> bool:
    """Whether our own linker makes shared libraries for a target."""
    return target.triple.startswith("x86_64") and "linux" in target.triple


class Code:
    """Object code that lives in this process; when it is freed, its threads have ended.

    Args:
        object_bytes: of position-independent code.
        target: what it was compiled for.
        exports: the functions that can be asked for.
        end: the one of them that ends the threads of the code, where it has any.

    Raises:
        GraphcRuntimeError: the code needs a function that the process does not have (E960).
    """

    def __init__(self, object_bytes: bytes, target: Target, exports: Sequence[str], end: str | None) -> None:
        library = _library(object_bytes, exports) if is_linked_here(target) else None
        self._address, free = _engine(object_bytes, target) if library is None else library
        finish = None if end is None else ctypes.CFUNCTYPE(None)(self.address(end))
        # A process that ends takes its threads along, and whoever still calls the code meanwhile may do so.
        weakref.finalize(self, _free, finish, free).atexit = False

    def address(self, exported: str) -> int:
        """Where an exported function is."""
        address = self._address(exported)
        if not address:
            raise GraphcRuntimeError("E960", f"the compiled object has no symbol {exported!r}")
        return address


def _free(finish: Callable[[], None] | None, free: Callable[[], None]) -> None:
    """Threads sleep inside the code: it must still be there when they wake to end."""
    if finish is not None:
        finish()
    free()


_Loaded = tuple[Callable[[str], int], Callable[[], None]]
"""Gives the address of a function, 0 where there is none; and frees the code."""


def _library(object_bytes: bytes, exports: Sequence[str]) -> _Loaded | None:
    """The code through the system's loader, or None where the process may not make executable files in memory."""
    image = link_shared_object(object_bytes, soname="graphc.so", exports=exports)
    try:
        descriptor = os.memfd_create("graphc")
    except OSError:
        return None
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(image)
        # The loader knows a library again by its path, and descriptors get the same numbers again: so that no path
        # comes twice, each has its number in it once more, a step that leads nowhere for each bit.
        steps = "".join("./" if bit == "1" else "/" for bit in f"{next(_opened):b}")
        library = ctypes.CDLL(f"/proc/self/fd/{steps}{descriptor}")
    except OSError as fault:
        if "undefined symbol" in str(fault):
            raise GraphcRuntimeError("E960", f"the compiled code cannot be loaded: {fault}") from fault
        return None
    finally:
        os.close(descriptor)

    def address(name: str) -> int:
        try:
            return ctypes.cast(library[name], ctypes.c_void_p).value or 0
        except AttributeError:
            return 0

    return address, lambda: _close(library._handle)


def _close(handle: int) -> None:
    from _ctypes import dlclose

    dlclose(handle)


def _engine(object_bytes: bytes, target: Target) -> _Loaded:
    """The code through LLVM's loader."""
    initialize(target.triple)
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_bytes))
    engine.finalize_object()
    return lambda name: int(engine.get_function_address(name)), engine.close
