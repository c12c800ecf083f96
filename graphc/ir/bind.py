"""Binding symbolic dimensions: a module for given sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphc.errors import GraphcTypeError, GraphcValueError, nearest
from graphc.ir.attrs import AttrValue
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, Poly, substitute
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.types import TensorType


def symbols_of(module: Module) -> tuple[str, ...]:
    """Names of the symbolic dimensions of a module's inputs, sorted."""
    shapes = [node.shape for graph in module.entries.values() for node in graph.inputs]
    return tuple(sorted({name for shape in shapes for d in shape if isinstance(d, Poly) for name in d.symbols}))


def bind_dimensions(module: Module, dims: Mapping[str, int], *, leave: Collection[str] = ()) -> Module:
    """The module with its symbolic dimensions replaced by integers, but for those to ``leave``.

    Raises:
        GraphcValueError: a symbol without a value or a value without a symbol (E340), or a negative one (E214).
    """
    symbols = symbols_of(module)
    for name, value in dims.items():
        if name not in symbols:
            close = nearest(name, symbols)
            known = f"there are {', '.join(symbols)}" if symbols else "the model has none"
            raise GraphcValueError(
                "E340", f"no symbolic dimension {name!r}", hint=f"did you mean {close}?" if close else known
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise GraphcTypeError("E214", f"the dimension {name!r} must be an integer, got {value!r}")
        if value < 0:
            raise GraphcValueError("E214", f"the dimension {name!r} must not be negative, got {value}")
    missing = [name for name in symbols if name not in dims and name not in leave]
    if missing:
        raise GraphcValueError(
            "E340",
            f"the dimension {missing[0]!r} is symbolic",
            hint=f"give it a value: --dim {missing[0]}=32, or dims={{'{missing[0]}': 32}}",
        )
    if not symbols:
        return module
    entries = {name: bind_graph(graph, dims) for name, graph in module.entries.items()}
    return Module(module.name, entries, module.declared)


def bind_graph(graph: Graph, dims: Mapping[str, Dim]) -> Graph:
    """One graph, rebuilt with its dimensions replaced: every op infers its shape anew."""
    b = Builder()
    table: dict[Node, Node] = {}
    for node in graph.nodes:
        attrs = {key: bound(value, dims) for key, value in node.attrs.items()}
        table[node] = b.make(node.op, [table[operand] for operand in node.inputs], attrs)
        b.set_note(table[node], graph.note(node))
    return Graph.make(
        graph.name,
        [table[node] for node in graph.inputs],
        [(name, table[node]) for name, node in graph.outputs],
        [(table[variable], table[value]) for variable, value in graph.updates],
        builder=b,
    )


def bound(value: AttrValue, dims: Mapping[str, Dim]) -> AttrValue:
    """An attribute with its dimensions replaced."""
    match value:
        case Poly():
            return substitute(value, dims)
        case tuple():
            return tuple(bound(part, dims) for part in value)
        case Graph():
            return bind_graph(value, dims)
        case TensorType():
            return value.substitute(dims)
        case _:
            return value
