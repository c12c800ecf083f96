"""Which processor features code for a target needs, under the names by which Linux reports them."""

from __future__ import annotations

from graphc.kernel.target import Target

# LLVM's name → the flag in /proc/cpuinfo.  Only features that add instructions are listed: tuning hints need no check.
_X86 = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "cx16": "cx16",
    "sahf": "lahf_lm",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "adx": "adx",
    "aes": "aes",
    "vaes": "vaes",
    "gfni": "gfni",
    "pclmul": "pclmulqdq",
    "vpclmulqdq": "vpclmulqdq",
    "sha": "sha_ni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "amx-bf16": "amx_bf16",
}
_AARCH64 = {
    "neon": "asimd",
    "fp-armv8": "fp",
    "fullfp16": "asimdhp",
    "dotprod": "asimddp",
    "lse": "atomics",
    "crc": "crc32",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
}
_FLAGS = {"x86_64": _X86, "aarch64": _AARCH64}

# The levels of the x86-64 psABI; each contains the ones before it.
_LEVELS = {
    "x86-64": (),
    "x86-64-v2": ("cx16", "sahf", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"),
    "x86-64-v3": ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}

_SYSTEMS = {"linux": "linux", "darwin": "darwin", "macosx": "darwin", "windows": "win32", "win32": "win32"}


def machine_of(target: Target) -> str:
    """The architecture of a target."""
    first = target.triple.split("-", maxsplit=1)[0]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(first, first)


def system_of(target: Target) -> str:
    """The operating system of a target, as ``sys.platform`` has it."""
    for part in target.triple.split("-")[1:]:
        for name, system in _SYSTEMS.items():
            if part.startswith(name):
                return system
    return "linux"


def required_flags(target: Target) -> dict[str, str]:
    """LLVM's name → Linux's, of each feature that code for the target may use."""
    known = _FLAGS.get(machine_of(target), {})
    switches = [word.strip() for word in target.features.split(",") if word.strip()]
    needed: set[str] = set()
    if target.cpu in _LEVELS:
        for level, features in _LEVELS.items():
            needed.update(features)
            if level == target.cpu:
                break
    needed.update(word[1:] for word in switches if word[0] == "+")
    needed.difference_update(word[1:] for word in switches if word[0] == "-")
    return {name: known[name] for name in sorted(needed & known.keys())}
