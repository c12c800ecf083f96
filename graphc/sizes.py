"""Sizes that each call says: a module for any value of a symbolic dimension up to a stated largest one.

``G.compile(model, max_dims={"time": 200})`` compiles once.  The module is rewritten step by step
(:mod:`graphc.passes.stepwise`) and then lowered for the largest size, for which the arena is planned; the code runs as
many steps of its loops as the call brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.errors import GraphcTypeError, GraphcValueError, UnsupportedOp
from graphc.ir.bind import bind_dimensions, bind_graph, symbols_of
from graphc.ir.dim import Poly, symbol
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.passes.decompose import Decompose
from graphc.passes.merge import Merge
from graphc.passes.simplify import Simplify
from graphc.passes.stepwise import stepwise

LARGEST = 1 << 31
"""The largest size that may be stated."""


@dataclass(frozen=True)
class Sized:
    """A module made ready for a size that each call says.

    Attributes:
        module: static, for the largest size; its inputs and outputs over the dimension come steps first.
        interface: what the user calls: the module as it was, the dimension left open.
        sizes: name → largest size of the dimension.
    """

    module: Module
    interface: Module
    sizes: Mapping[str, int]


def bind_up_to(module: Module, dims: Mapping[str, int], max_dims: Mapping[str, int]) -> Sized:
    """A module with some dimensions bound to ``dims``, and one open up to what ``max_dims`` says.

    Raises:
        GraphcValueError: a symbol without a value or a value without a symbol (E340), or a largest size below 1 (E214).
        UnsupportedOp: several open dimensions, or what cannot be done step by step (E334).
    """
    for name, value in max_dims.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise GraphcTypeError("E214", f"the largest {name!r} must be an integer, got {value!r}")
        if not 1 <= value <= LARGEST:
            raise GraphcValueError("E214", f"the largest {name!r} must be 1 to {LARGEST}, got {value}")
        if name in dims:
            raise GraphcValueError(
                "E214", f"the dimension {name!r} has the value {dims[name]} and a largest one, {value}"
            )
    # A largest size that names no dimension, and a dimension without either, are told as for ``dims``.
    bind_dimensions(module, {**dims, **max_dims})
    if len(max_dims) > 1:
        named = " and ".join(map(repr, max_dims))
        hint = "give all but one of them a value: --dim, or dims="
        raise UnsupportedOp("E334", f"{named}: only one dimension can be left to the call", hint=hint)
    (name,) = max_dims
    interface = bind_dimensions(module, dims, leave=(name,))
    entries = {entry: _sized(graph, name, max_dims[name]) for entry, graph in interface.entries.items()}
    return Sized(Module(module.name, entries, tuple(interface.states.values())), interface, dict(max_dims))


def _sized(graph: Graph, name: str, largest: int) -> Graph:
    if name not in symbols_of(Module("entry", {graph.name: graph})):
        return graph
    for label, node in (*((str(node.attrs["name"]), node) for node in graph.inputs), *graph.outputs):
        _check_boundary(graph, label, node, name)
    small = Simplify(movement_only=True).run(Merge().run(Decompose().run(graph)))
    return bind_graph(stepwise(small, name), {name: largest})


def _check_boundary(graph: Graph, label: str, node: Node, name: str) -> None:
    """Inputs and outputs have the dimension itself, once, or not at all."""
    open_dims = [dim for dim in node.shape if isinstance(dim, Poly)]
    if open_dims and open_dims != [symbol(name)]:
        shape = ", ".join(map(str, node.shape))
        message = (
            f"{label!r} has the shape ({shape}), in which {name!r} must stand once and alone to be left to the call"
        )
        lines = graph.note(node).locations
        hint = f"give it a value when compiling: --dim {name}=N, or dims={{{name!r}: N}}"
        raise UnsupportedOp("E334", message, lines[0] if lines else None, hint)
