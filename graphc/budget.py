"""Fits the arena of an entry point into a memory budget, by computing forward steps again in backward loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from graphc.errors import GraphcValueError
from graphc.ir.graph import Graph, Module
from graphc.kernel.lower import lower_module

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def parse_bytes(text: int | str | None) -> int | None:
    """A number of bytes: ``None``, a number, or text such as ``"64MB"`` or ``"1.5 GiB"``.

    Raises:
        GraphcValueError: no positive number of bytes (E106).
    """
    if text is None:
        return None
    number, unit = str(text).strip(), ""
    while number and not (number[-1].isdigit() or number[-1] == "."):
        number, unit = number[:-1], number[-1] + unit
    try:
        factor = _UNITS[unit.strip().lower()]
        found = int(float(number) * factor)
    except (KeyError, ValueError, OverflowError):
        found = 0
    if isinstance(text, bool) or found < 1:
        raise GraphcValueError(
            "E106", f"a memory budget is a number of bytes, got {text!r}", hint="for example 64MB, 1.5GiB or 67108864"
        )
    return found


Run = Callable[[int, bool], Graph]
"""(segment of :class:`graphc.passes.checkpoint.Checkpoint`, may work leave loops?) → the graph after the passes."""


def fit(module: Module, entry: str, budget: int, run: Run) -> Graph:
    """The graph of an entry point after the passes, with as little computed again as the budget allows.

    Args:
        module: where the entry point comes from.
        entry: its name.
        budget: bytes that intermediate values may take.
        run: the passes.

    Raises:
        GraphcValueError: nothing fits (E341).
    """
    states = tuple(module.states.values())
    least = math.inf
    found = run(0, True)
    # Work that has left a loop holds the results of all steps at once: taken back last, for it makes small products.
    tries = [(0, True), *((segment, True) for segment in _segments(found))]
    tries += [(segment, False) for segment, _ in tries]
    for segment, leaves in tries:
        graph = found if (segment, leaves) == (0, True) else run(segment, leaves)
        needed = lower_module(Module(module.name, {entry: graph}, states)).arena_bytes
        if needed <= budget:
            return graph
        least = min(least, needed)
    raise GraphcValueError(
        "E341",
        f"{entry}: intermediate values take {least:,.0f} bytes at the least, memory_budget is {budget:,}",
        hint="a smaller batch needs less",
    )


def _segments(graph: Graph) -> Iterator[int]:
    """Lengths of segments worth a try: about the root of the longest loop's steps first, where memory is least."""
    longest = _steps(graph)
    root = math.isqrt(longest)
    yield from (
        length for length in dict.fromkeys((root, root // 2, 2 * root, root // 4)) if 2 <= length <= longest // 2
    )


def _steps(graph: Graph) -> int:
    """Steps of the longest loop; those of a loop over blocks are all that its blocks have."""
    longest = 0
    for node in graph.nodes:
        if node.op.name == "loop" and "size" not in node.attrs and isinstance(node.attrs["trips"], int):
            # (Loops nest as deep as a user's Python does, and once more for blocks.)
            longest = max(longest, node.attrs["trips"] * max(1, _steps(node.attrs["body"])))
    return longest
