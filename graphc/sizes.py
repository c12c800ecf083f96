"""Sizes that each call says: a module for any values of symbolic dimensions up to stated largest ones.

``G.compile(model, max_dims={"time": 200, "batch": 64})`` compiles once.  A dimension of *steps* is rewritten to loops
(:mod:`graphc.passes.stepwise`), lowered for the largest size, for which the arena is planned; the code runs as many
steps of its loops as the call brings.  A dimension of *rows* is compiled for a ladder of sizes; a call takes the least
that has room for its rows, and the others count for nothing (:mod:`graphc.passes.mask`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import index
from typing import SupportsIndex

from graphc.artifact.runtime.spec import Rung
from graphc.artifact.spec import Interface
from graphc.errors import GraphcTypeError, GraphcValueError, UnsupportedOp
from graphc.ir.bind import bind_dimensions, bind_graph, symbols_of
from graphc.ir.dim import Poly, symbol
from graphc.ir.graph import Graph, Module
from graphc.passes.decompose import Decompose
from graphc.passes.ends import at_the_ends
from graphc.passes.mask import mask
from graphc.passes.merge import Merge
from graphc.passes.share import Share
from graphc.passes.simplify import Simplify
from graphc.passes.stepwise import stepwise

LARGEST = 1 << 31
"""The largest size that may be stated."""


@dataclass(frozen=True)
class Sized:
    """A module made ready for sizes that each call says.

    Attributes:
        module: static, for the largest number of steps, with an entry point for each rung.
        interface: what the user calls.
    """

    module: Module
    interface: Interface


def bind_up_to(module: Module, dims: Mapping[str, int], max_dims: Mapping[str, int | Sequence[int]]) -> Sized:
    """A module with some dimensions bound to ``dims``, and one or two open up to what ``max_dims`` says.

    Args:
        module: with symbolic dimensions.
        dims: name → size.
        max_dims: name → largest size; of rows also several sizes, those that code is to be made for.

    Raises:
        GraphcValueError: a symbol without a value or a value without a symbol (E340), or a largest size below 1 (E214).
        UnsupportedOp: more open dimensions, or what cannot be done for sizes that only the call says (E334).
    """
    stated = {name: _numbers(name, value) for name, value in max_dims.items()}
    largest = {name: numbers[-1] for name, numbers in stated.items()}
    for name, number in largest.items():
        if name in dims:
            raise GraphcValueError(
                "E214", f"the dimension {name!r} has the value {dims[name]} and a largest one, {number}"
            )
    # A largest size that names no dimension, and a dimension without either, are told as for ``dims``.
    bind_dimensions(module, {**dims, **largest})
    interface = bind_dimensions(module, dims, leave=tuple(largest))
    steps, rows = _roles(interface, tuple(largest))
    if steps is not None and len(stated[steps]) > 1:
        message = f"{steps!r} has steps, for any number of which the same code serves; got {max_dims[steps]}"
        raise GraphcValueError("E214", message, hint=f"max_dims={{{steps!r}: {largest[steps]}}}")
    if rows is None:
        return _sized(interface, largest, steps)
    numbers = stated[rows] if len(stated[rows]) > 1 else ladder(largest[rows])
    if steps is None and len(stated[rows]) == 1:
        # What does not come in rows may still come in steps: the last one can be looked at, and all be reversed.
        with suppress(UnsupportedOp):
            return _sized(interface, largest, None, rows, numbers)
        return _sized(interface, largest, rows)
    return _sized(interface, largest, steps, rows, numbers)


def _numbers(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    """The sizes that are stated for a dimension, ascending.

    Raises:
        GraphcTypeError: not integers (E214).
        GraphcValueError: out of range (E214).
    """
    listed = tuple(value) if isinstance(value, (list, tuple)) and value else (value,)
    for number in listed:
        if isinstance(number, bool) or not isinstance(number, SupportsIndex):
            raise GraphcTypeError("E214", f"the largest {name!r} must be an integer, got {number!r}")
        if not 1 <= index(number) <= LARGEST:
            raise GraphcValueError("E214", f"the largest {name!r} must be 1 to {LARGEST}, got {number}")
    return tuple(sorted({index(number) for number in listed}))


def _sized(
    interface: Module,
    max_dims: Mapping[str, int],
    steps: str | None,
    rows: str | None = None,
    numbers: Sequence[int] = (),
) -> Sized:
    """The module for these steps, and rows of which code is made for several numbers."""
    entries: dict[str, Graph] = {}
    rungs: dict[str, tuple[Rung, ...]] = {}
    for name, graph in interface.entries.items():
        open_dims = symbols_of(Module("entry", {name: graph}))
        if not open_dims:
            entries[name] = graph
            continue
        _check_boundary(graph, open_dims)
        small = Simplify(movement_only=True).run(Merge().run(Share().run(Decompose().run(graph))))
        for one in open_dims:
            small = at_the_ends(small, one)
        if rows is None or rows not in open_dims:
            entries[name] = _in_steps(small, steps, max_dims)
            continue
        masked = mask(small, rows)
        rungs[name] = tuple(Rung(size, f"{name}__{size}") for size in numbers)
        for rung in rungs[name]:
            if rung.code in interface.entries:
                message = f"{rung.code!r} is the entry point {name!r} for {rung.rows} of {rows!r}"
                raise GraphcValueError("E108", message, hint="give the other entry point another name")
            bound = replace(bind_graph(masked, {rows: rung.rows}), name=rung.code)
            entries[rung.code] = _in_steps(bound, steps, max_dims) if steps in open_dims else bound
    static = Module(interface.name, entries, tuple(interface.states.values()))
    return Sized(static, Interface(interface, dict(max_dims), rows, rungs))


def ladder(largest: int) -> tuple[int, ...]:
    """The numbers of rows that code is compiled for: 1, 4, 8, then each power of two and the middle to the next.

    A call so computes at most twice the rows that it brings, and from 17 on less than 1.5 times as many.
    """
    sizes, size = [1, 4, 8], 16
    while size < largest:
        sizes += [size, size + size // 2]
        size *= 2
    return (*(one for one in sizes if one < largest), largest)


def _in_steps(graph: Graph, steps: str | None, max_dims: Mapping[str, int]) -> Graph:
    """A graph whose only open dimension is the steps, as loops for the most of them."""
    assert steps is not None
    return bind_graph(stepwise(graph, steps), {steps: max_dims[steps]})


def _roles(module: Module, names: Sequence[str]) -> tuple[str | None, str | None]:
    """Which of the open dimensions are the steps and the rows.

    Loops go over steps.  Where there are none, rows are what stands first in all inputs that have it, as a batch does.
    """
    if len(names) > 2:
        listed = " and ".join(map(repr, names))
        hint = "give the others a value: --dim, or dims="
        raise UnsupportedOp(
            "E334", f"{listed}: only steps and rows, two dimensions, can be left to the call", hint=hint
        )
    looped = [name for name in names if any(_loops_over(graph, name) for graph in module.entries.values())]
    if len(looped) > 1:
        listed = " and ".join(map(repr, looped))
        hint = "give one of them a value: --dim, or dims="
        raise UnsupportedOp(
            "E334", f"{listed}: loops go over both, and one such dimension can be left to the call", hint=hint
        )
    free = [name for name in names if name not in looped]
    leading = [name for name in free if _leads(module, name)]
    if looped:
        return looped[0], free[0] if free else None
    rows = leading[0] if leading else free[-1] if len(free) > 1 else None
    return next((name for name in free if name != rows), None), rows


def _loops_over(graph: Graph, name: str) -> bool:
    pending = [graph]
    while pending:
        for node in pending.pop().nodes:
            if node.op.name == "loop":
                trips = node.attrs["trips"]
                if isinstance(trips, Poly) and name in trips.symbols:
                    return True
                pending.append(node.attrs["body"])
    return False


def _leads(module: Module, name: str) -> bool:
    """Does the dimension stand first in every input that has it?"""
    shapes = [node.shape for graph in module.entries.values() for node in graph.inputs]
    return all(symbol(name) not in shape[1:] for shape in shapes)


def _check_boundary(graph: Graph, names: Sequence[str]) -> None:
    """Inputs and outputs have each open dimension itself, once, or not at all."""
    for label, node in (*((str(node.attrs["name"]), node) for node in graph.inputs), *graph.outputs):
        for name in names:
            found = [dim for dim in node.shape if isinstance(dim, Poly) and name in dim.symbols]
            if found in ([], [symbol(name)]):
                continue
            shape = ", ".join(map(str, node.shape))
            message = (
                f"{label!r} has the shape ({shape}), in which {name!r} must stand once and alone to be left to the call"
            )
            lines = graph.note(node).locations
            hint = f"give it a value when compiling: --dim {name}=N, or dims={{{name!r}: N}}"
            raise UnsupportedOp("E334", message, lines[0] if lines else None, hint)
