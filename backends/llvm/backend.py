"""The backend as the driver calls it: scheduled module → program → native code."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from graphc.artifact.spec import Backend, Built, NativeBuild, Stage
from graphc.backends.llvm.compile import Native, compile_program, load_in_process
from graphc.backends.llvm.elf import link_shared_object
from graphc.backends.llvm.host import host_target
from graphc.config import Options
from graphc.errors import GraphcOSError, GraphcValueError
from graphc.ir.graph import Module
from graphc.kernel.lower import lower_module


def build(module: Module, options: Options, stage: Stage) -> Built:
    """Compile a scheduled module for the CPU that ``options`` name."""
    if options.threads != 1:
        raise GraphcValueError(
            "E106", f"threads={options.threads}: native code runs on one thread", hint="leave threads at 1"
        )
    target = host_target(None if options.cpu == "native" else options.cpu)
    with stage("lower"):
        program = lower_module(module)
    with stage("llvm"):
        native = compile_program(program, target, module.name, fast_math=options.fast_math)
    with stage("load"):
        functions = load_in_process(native)
    made = NativeBuild(
        exports=native.exports,
        arena_bytes=native.arena_bytes,
        target=target,
        functions=functions,
        link=lambda soname, exports: _link(native, soname, exports),
        source=native.ir,
        owner=functions,
    )
    return Built(made, program)


def _link(native: Native, soname: str, exports: Sequence[str]) -> bytes:
    """A shared object: by our own writer on Linux x86-64, whose bytes depend on no tool of the machine; elsewhere by
    ``cc``.
    """
    if native.target.triple.startswith("x86_64") and "linux" in native.target.triple:
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


BACKEND = Backend(build)
