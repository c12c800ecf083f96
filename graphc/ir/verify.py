"""The verifier: re-runs each op's own inference.  There is no second copy of any rule."""

from __future__ import annotations

from graphc.errors import GraphcError, VerificationError
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node


def verify(graph: Graph) -> None:
    """Check a graph and, without recursion, the bodies of its loops.

    Raises:
        VerificationError: with the node and the rule it breaks.
    """
    pending = [graph]
    while pending:
        region = pending.pop()
        _verify_region(region)
        pending.extend(value for node in region.nodes for value in node.attrs.values() if isinstance(value, Graph))


def verify_module(module: Module) -> None:
    """Check every entry point."""
    for graph in module.entries.values():
        verify(graph)


def _verify_region(graph: Graph) -> None:
    seen: set[Node] = set()
    for node in graph.nodes:
        if node in seen:
            raise _broken(graph, node, "stands twice in the order")
        if any(operand not in seen for operand in node.inputs):
            raise _broken(graph, node, "is used before it is made")
        seen.add(node)
        missing = [name for name in node.op.attributes if name not in node.attrs]
        if missing:
            raise _broken(graph, node, f"lacks the attribute {missing[0]!r}")
        if node.op.arity is not None and len(node.inputs) != node.op.arity:
            raise _broken(graph, node, f"has {len(node.inputs)} inputs, {node.op.name} takes {node.op.arity}")
        try:
            inferred = node.op.infer(node.attrs, [operand.type for operand in node.inputs])
        except GraphcError as error:
            raise _broken(graph, node, f"does not infer: {error.message}") from error
        if inferred is not node.type:
            raise _broken(graph, node, f"infers {inferred!r}")
    for node in (*graph.inputs, *graph.roots, *(variable for variable, _ in graph.updates)):
        if node not in seen:
            raise _broken(graph, node, "is not in the graph's order")
    for node in graph.inputs:
        if node.op.name != "input":
            raise _broken(graph, node, "stands among the inputs")
    inputs = set(graph.inputs)
    for node in graph.nodes:
        if node.op.name == "input" and node not in inputs:
            raise _broken(graph, node, f"reads the input {node.attrs['name']!r}, which the graph does not list")
    _verify_names(graph)
    for variable, value in graph.updates:
        if variable.op.name != "state":
            raise _broken(graph, variable, "is updated, but is not a state variable")
        if variable.type is not value.type:
            raise _broken(graph, variable, f"of type {variable.type!r} is updated with {value.type!r}")


def _verify_names(graph: Graph) -> None:
    for names in (
        [node.attrs["name"] for node in graph.inputs],
        [name for name, _ in graph.outputs],
        [variable.attrs["state"].name for variable, _ in graph.updates],
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise VerificationError("E901", f"graph {graph.name!r}: the name {name!r} stands twice")


def _broken(graph: Graph, node: Node, rule: str) -> VerificationError:
    locations = graph.note(node).locations
    return VerificationError("E901", f"graph {graph.name!r}: {node!r} {rule}", locations[0] if locations else None)
