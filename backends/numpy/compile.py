"""Running generated source in this process."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable
from typing import Any

from graphc.backends.numpy.emit import ENTRY_POINTS

_numbers = itertools.count(1)


def compile_source(source: str) -> dict[str, Callable[..., Any]]:
    """The entry points of a generated module, by name.

    The text is known to ``linecache``, so that tracebacks and debuggers show its lines.
    """
    name = f"<graphc numpy {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(source, name, "exec"), namespace)
    entries: dict[str, Callable[..., Any]] = namespace[ENTRY_POINTS]
    return entries
