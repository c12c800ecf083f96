"""Options, frozen, and the only place that reads the environment."""

from __future__ import annotations

import os
import sys
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
        memory_budget: bytes that the intermediate values of an entry point may take; None for no limit.
    """

    backend: str = "llvm"
    cpu: str = "native"
    fast_math: bool = False
    disable: tuple[str, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    memory_budget: int | None = None


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


@dataclass(frozen=True, slots=True)
class Cache:
    """Where compiled code is kept for the next time.

    Attributes:
        folder: an absolute path; None keeps nothing.
        limit: bytes that the folder may take.
    """

    folder: str | None
    limit: int


def cache_options(environment: Mapping[str, str] | None = None) -> Cache:
    """The compile cache that the environment asks for.

    ``GRAPHC_CACHE`` is a folder, or ``off``; by default it is ``graphc`` in the user's folder for caches
    (``XDG_CACHE_HOME``, else ``~/.cache``; ``%LOCALAPPDATA%`` on Windows).  ``GRAPHC_CACHE_LIMIT`` bounds it, in MiB;
    1024 by default.

    Raises:
        GraphcValueError: a limit that is no positive number (E106).
    """
    environment = os.environ if environment is None else environment
    text = environment.get("GRAPHC_CACHE_LIMIT", "").strip() or "1024"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 30:
        raise GraphcValueError("E106", f"GRAPHC_CACHE_LIMIT is a number of MiB, got {text!r}")
    limit = int(text) << 20
    asked = environment.get("GRAPHC_CACHE", "")
    if asked.strip().lower() == "off":
        return Cache(None, limit)
    if asked:
        return Cache(os.path.abspath(os.path.expanduser(asked)), limit)
    base = environment.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Cache(os.path.join(base, "graphc") if os.path.isabs(base) else None, limit)
