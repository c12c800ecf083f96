"""Targets: the machine graphc runs on, and the levels of x86-64 that an artifact can be compiled for."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache

import llvmlite.binding as llvm

from graphc.errors import GraphcValueError, nearest
from graphc.kernel.target import Target

LEVELS: Mapping[str, tuple[str, int, int, bool]] = {
    "baseline": ("x86-64", 128, 16, False),
    "x86-64": ("x86-64", 128, 16, False),
    "avx2": ("x86-64-v3", 256, 16, True),
    "x86-64-v3": ("x86-64-v3", 256, 16, True),
    "avx512": ("x86-64-v4", 512, 32, True),
    "x86-64-v4": ("x86-64-v4", 512, 32, True),
}
"""Level → LLVM's name, vector bits, vector registers, whether it has fused multiply-add and float16 conversion."""

_AVX512 = ("avx512f", "avx512vl", "avx512bw", "avx512dq")
_AVX2 = ("avx2", "fma", "f16c")


@cache
def _configure() -> None:
    """Set what LLVM has no other place for than the process.

    Its scheduler before register allocation is off: the tiles of contractions fill the registers in an order that needs
    no more of them, and moved loads would spill sums (a convolution took 1.6 times as long, or did not, depending on
    the code around it).
    """
    llvm.set_option("graphc", "-enable-misched=false")


@cache
def initialize(triple: str) -> None:
    """Make LLVM able to generate code for ``triple``: its own machine's target alone where that is enough."""
    _configure()
    if triple.split("-", maxsplit=1)[0] == llvm.get_default_triple().split("-")[0]:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        return
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def host_target(features: str | None = None) -> Target:
    """The CPU graphc runs on, or a level of x86-64 by its name.

    Args:
        features: ``baseline``, ``avx2`` or ``avx512`` (or LLVM's ``x86-64``, ``x86-64-v3``, ``x86-64-v4``); None or
            ``host`` for this CPU.

    Raises:
        GraphcValueError: E761, an unknown level.
    """
    if features is None or features in ("host", "native"):
        return _this_machine()
    level = LEVELS.get(features)
    if level is None:
        close = nearest(features, LEVELS)
        hint = f"did you mean {close}?" if close else f"one of host, {', '.join(LEVELS)}"
        raise GraphcValueError("E761", f"unknown CPU level {features!r}", hint=hint)
    cpu, bits, registers, modern = level
    return Target(_linux_or_own_triple(), cpu, "", bits, registers, has_fma=modern, has_half_conversion=modern)


def arm_target() -> Target:
    """What every 64-bit Arm machine with Linux has: NEON with fused multiply-add and float16 conversion."""
    return Target("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32, has_fma=True, has_half_conversion=True)


def _linux_or_own_triple() -> str:
    """The machine's own triple where it is x86-64 already, otherwise Linux on x86-64."""
    own = str(llvm.get_default_triple())
    return own if own.startswith("x86_64") else "x86_64-unknown-linux-gnu"


@cache
def _this_machine() -> Target:
    triple = str(llvm.get_default_triple())
    cpu = str(llvm.get_host_cpu_name())
    found: dict[str, bool] = dict(llvm.get_host_cpu_features())
    names = ",".join(f"{'+' if found[name] else '-'}{name}" for name in sorted(found))
    if platform.machine() not in ("x86_64", "AMD64"):
        # 64-bit Arm has fused multiply-add, float16 conversion and 32 vector registers of 128 bits everywhere.
        return Target(triple, cpu, names, 128, 32, has_fma=True, has_half_conversion=True)
    if all(found.get(name) for name in (*_AVX512, *_AVX2)):
        return Target(triple, cpu, names, 512, 32, has_fma=True, has_half_conversion=True)
    if all(found.get(name) for name in _AVX2):
        return Target(triple, cpu, names, 256, 16, has_fma=True, has_half_conversion=True)
    return Target(triple, cpu, names, 128, 16, has_fma=False, has_half_conversion=False)
