"""Identifiers of generated code: the user's own names where there are any, nouns for what ops compute otherwise."""

from __future__ import annotations

import builtins
import heapq
import keyword
import unicodedata
from collections.abc import Iterable

_RESERVED = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins)) | {"np"}

NOUNS = {
    "add": "total",
    "subtract": "difference",
    "multiply": "product",
    "divide": "quotient",
    "floor_divide": "quotient",
    "negative": "negated",
    "abs": "magnitude",
    "pow": "power",
    "exp": "exponential",
    "log": "logarithm",
    "sqrt": "root",
    "relu": "rectified",
    "maximum": "larger",
    "minimum": "smaller",
    "equal": "mask",
    "not_equal": "mask",
    "less": "mask",
    "less_equal": "mask",
    "greater": "mask",
    "greater_equal": "mask",
    "logical_not": "mask",
    "logical_and": "mask",
    "logical_or": "mask",
    "logical_xor": "mask",
    "isnan": "mask",
    "isinf": "mask",
    "isfinite": "mask",
    "select": "selected",
    "cast": "converted",
    "sum": "sums",
    "prod": "products",
    "max": "largest",
    "min": "smallest",
    "argmax": "best",
    "argmin": "best",
    "cumsum": "running",
    "reshape": "reshaped",
    "transpose": "transposed",
    "broadcast_to": "repeated",
    "slice": "part",
    "index": "row",
    "flip": "flipped",
    "concat": "joined",
    "stack": "stacked",
    "pad": "padded",
    "patches": "windows",
    "fold_patches": "folded",
    "matmul": "matmul",
    "einsum": "contraction",
    "take": "rows",
    "take_along_axis": "taken",
    "scatter_add": "scattered",
    "scatter_add_along_axis": "scattered",
    "argsort": "order",
    "random_uniform": "uniform",
    "iota": "positions",
}


def noun(op: str) -> str:
    """What a value of ``op`` is called; the verb itself would often shadow a builtin."""
    return NOUNS.get(op, op)


def identifier(text: str, fallback: str = "value") -> str:
    """``text`` as a Python identifier without leading underscores (those are the generated module's own names)."""
    normal = unicodedata.normalize("NFKC", text)
    joined = "".join(character if ("a" + character).isidentifier() else "_" for character in normal).strip("_")
    if not joined:
        return fallback
    if not joined.isidentifier():
        joined = f"{fallback}_{joined}"
    return f"{joined}_" if joined in _RESERVED else joined


class NamePool:
    """The names in use in one function: a name is free again when its value is dead, so that Python drops the array."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._used: set[str] = set(reserved)
        self._next: dict[str, int] = {}
        self._free: dict[str, list[int]] = {}
        self._origin: dict[str, tuple[str, int]] = {}

    def take(self, base: str) -> str:
        """``base``, or ``base_2``, ``base_3``, ...: the first that no living value has."""
        free = self._free.setdefault(base, [])
        while True:
            if free:
                number = heapq.heappop(free)
            else:
                number = self._next.get(base, 1)
                self._next[base] = number + 1
            name = base if number == 1 else f"{base}_{number}"
            if name not in self._used:
                self._used.add(name)
                self._origin[name] = (base, number)
                return name

    def release(self, name: str) -> None:
        """The value called ``name`` is dead."""
        self._used.discard(name)
        base, number = self._origin.pop(name)
        heapq.heappush(self._free.setdefault(base, []), number)
