"""The backend as the driver calls it: scheduled module → program → native code."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from graphc.artifact.profile import Profiler
from graphc.artifact.spec import Backend, Built, NativeBuild, Parallel, Stage
from graphc.backends.llvm.compile import Native, compile_program, generator_version, load_in_process
from graphc.backends.llvm.elf import link_shared_object
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.loader import is_linked_here
from graphc.backends.llvm.record import decode, encode
from graphc.clock import timed
from graphc.config import Options
from graphc.errors import GraphcOSError
from graphc.ir.graph import Module
from graphc.kernel.lower import lower_module
from graphc.kernel.target import Target


def build(module: Module, options: Options, stage: Stage) -> Built:
    """Compile a scheduled module for the CPU that ``options`` name."""
    target = target_of(options)
    with stage("lower"):
        program = lower_module(module)
    native = compile_program(program, target, module.name, fast_math=options.fast_math)
    return Built(loaded(native, stage), program)


def identity(options: Options) -> str:
    """What decides the code besides the model and the options: the generator, the processor, and the one it is for."""
    return repr((generator_version(), target_of(options), host_target()))


def restore(record: bytes, stage: Stage) -> NativeBuild:
    """A build from its record.

    Raises:
        ValueError: the bytes are none.
    """
    return loaded(decode(record), stage)


def target_of(options: Options) -> Target:
    """The processors that the options ask for.

    Raises:
        GraphcValueError: there is no such level (E761).
    """
    return host_target(None if options.cpu == "native" else options.cpu)


def loaded(native: Native, stage: Stage) -> NativeBuild:
    """The code in this process, with the means to link it and to keep it."""
    with stage("load"):
        functions = load_in_process(native)
    parallel = None
    if native.parallel is not None and native.end is not None and functions.parallel is not None:
        parallel = Parallel(native.parallel, native.end, functions.parallel)
    return NativeBuild(
        exports=native.exports,
        arena_bytes=native.arena_bytes,
        target=native.target,
        functions=functions,
        link=lambda soname, exports: _link(native, soname, exports),
        source=native.ir,
        owner=functions,
        record=lambda: encode(native),
        parallel=parallel,
    )


@timed("link")
def _link(native: Native, soname: str, exports: Sequence[str]) -> bytes:
    """A shared object: by our own writer on Linux x86-64, whose bytes depend on no tool of the machine; elsewhere by
    ``cc``.
    """
    if is_linked_here(native.target):
        return link_shared_object(native.object_bytes, soname=soname, exports=exports)
    return _link_with_compiler(native.object_bytes, soname)


def _link_with_compiler(object_bytes: bytes, soname: str) -> bytes:
    compiler = shutil.which("cc")
    if compiler is None:
        raise GraphcOSError(
            "E572",
            f"linking on {platform.system()} {platform.machine()} needs a C compiler, and there is no cc",
            hint="install one, or use backend='numpy'",
        )
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "code.o"), Path(folder, soname)
        source.write_bytes(object_bytes)
        name = [] if sys.platform == "darwin" else [f"-Wl,-soname,{soname}"]
        command = [compiler, "-shared", *name, "-o", str(target), str(source), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GraphcOSError("E572", f"the linker failed: {done.stderr.strip()}")
        return target.read_bytes()


def _profiler() -> Profiler:
    from graphc.backends.llvm.profile import PROFILER

    return PROFILER


BACKEND = Backend(build, identity=identity, restore=restore, profiler=_profiler, takes_sizes=True)
