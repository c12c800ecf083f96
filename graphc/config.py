"""Options, frozen, and the only place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.errors import GraphcValueError, nearest

_DEBUG_WORDS = ("dump", "verify", "time")


@dataclass(frozen=True, slots=True)
class Debug:
    """What ``GRAPHC_DEBUG=dump,verify,time`` asks for.

    Attributes:
        dump: write numbered stages (``00-source.gir`` … ``09-emit.ll``) into ``folder``.
        verify: check the IR before and after every pass, the memory plan and every kernel.
        time: print where compile time went.
        folder: where dumps go.
    """

    dump: bool = False
    verify: bool = False
    time: bool = False
    folder: str = "graphc-debug"


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is compiled.

    Attributes:
        backend: ``llvm`` or ``numpy``, or a backend that another package registers.
        cpu: ``native``, or a level every such machine has: ``x86-64``, ``x86-64-v3`` (AVX2), ``x86-64-v4`` (AVX-512).
        fast_math: let the compiler assume no NaN or infinity and re-associate sums.
        disable: passes to leave out, by name.
        dims: values for symbolic dimensions.
        seed: of the initial parameter values.
        threads: native threads a call may use.
    """

    backend: str = "llvm"
    cpu: str = "native"
    fast_math: bool = False
    disable: tuple[str, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1


def debug_options(environment: Mapping[str, str] | None = None) -> Debug:
    """The debug switches of the environment.

    Raises:
        GraphcValueError: a word in ``GRAPHC_DEBUG`` that is none (E106).
    """
    environment = os.environ if environment is None else environment
    words = [word.strip() for word in environment.get("GRAPHC_DEBUG", "").split(",") if word.strip()]
    for word in words:
        if word not in _DEBUG_WORDS:
            close = nearest(word, _DEBUG_WORDS)
            hint = f"did you mean {close}?" if close else f"one or more of {', '.join(_DEBUG_WORDS)}"
            raise GraphcValueError("E106", f"GRAPHC_DEBUG does not know {word!r}", hint=hint)
    folder = environment.get("GRAPHC_DEBUG_DIR", "graphc-debug")
    return Debug("dump" in words, "verify" in words, "time" in words, folder)
