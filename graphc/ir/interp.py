"""The reference evaluator: slow, obvious, never optimised.  It is the oracle for every backend and every pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, GraphcValueError
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.traverse import last_use
from graphc.ir.types import TensorType, TupleType, from_carrier, round_to, to_carrier

Array = np.ndarray[Any, Any]


def evaluate_node(node: Node, operands: Sequence[Any]) -> Any:
    """The value of one node from the values of its inputs, all in carrier form.

    Half dtypes are computed in float32 and rounded once, here, for every op.
    """
    arguments = [_widen(value, operand) for value, operand in zip(operands, node.inputs, strict=True)]
    with np.errstate(all="ignore"):
        value = node.op.evaluate(node.attrs, *arguments, result=node.type)
    if isinstance(node.type, TupleType):
        return tuple(_narrow(part, type_) for part, type_ in zip(value, node.type.elements, strict=True))
    return _narrow(value, node.type)


def _widen(value: Any, operand: Node) -> Any:
    if isinstance(operand.type, TupleType) or not operand.dtype.is_half:
        return value
    return value.astype(np.float32)


def _narrow(value: Any, type_: TensorType) -> Array:
    array = round_to(np.asarray(value), type_.dtype)
    if array.shape != type_.shape and type_.is_static:
        raise GraphcValueError("E902", f"the reference evaluation gave shape {array.shape}, inference {type_!r}")
    return array


def evaluate_nodes(graph: Graph, values: dict[Node, Any]) -> None:
    """Fill ``values`` (carrier form) for every node of ``graph``; sources must be there already."""
    last = last_use(graph.nodes)
    keep = set(graph.roots)
    for position, node in enumerate(graph.nodes):
        if node not in values:
            try:
                values[node] = evaluate_node(node, [values[operand] for operand in node.inputs])
            except GraphcIndexError as error:
                places = graph.note(node).locations
                if error.location is None and places:
                    raise GraphcIndexError(error.code, error.message, places[0], error.hint) from None
                raise
        for operand in dict.fromkeys(node.inputs):
            if last[operand] == position and operand not in keep:
                del values[operand]


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array] | Sequence[Array],
    states: Mapping[str, Array] | None = None,
    *,
    training: bool = False,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run an entry point.

    Args:
        inputs: boundary arrays by name, or in order.
        states: boundary arrays by state name; the initial values for those not given.
        training: value of ``G.training`` where it has not been bound.

    Returns:
        Outputs by name, and new values of the updated state variables by name, as boundary arrays.
    """
    named = (
        dict(inputs)
        if isinstance(inputs, Mapping)
        else {node.attrs["name"]: array for node, array in zip(graph.inputs, inputs, strict=True)}
    )
    values: dict[Node, Any] = {}
    for node in graph.nodes:
        if node.op.name == "input":
            values[node] = _bind(node, named[node.attrs["name"]], node.attrs["name"])
        elif node.op.name == "state":
            state = node.attrs["state"]
            held = (states or {}).get(state.name)
            values[node] = _bind(node, state.initial_value() if held is None else held, state.name)
        elif node.op.name == "training":
            values[node] = np.asarray(training)
    evaluate_nodes(graph, values)
    outputs = {name: from_carrier(values[node], node.dtype).copy() for name, node in graph.outputs}
    updates = {
        variable.attrs["state"].name: from_carrier(values[value], value.dtype).copy()
        for variable, value in graph.updates
    }
    return outputs, updates


def _bind(node: Node, array: Array, name: str) -> Array:
    value = to_carrier(array, node.dtype)
    if node.tensor.is_static and value.shape != node.shape:
        raise GraphcValueError("E449", f"{name!r} expects shape {node.shape}, got {value.shape}")
    return value


def evaluate_region(region: Graph, arguments: Sequence[Array]) -> list[Array]:
    """The outputs of a loop body for arguments in carrier form."""
    values: dict[Node, Any] = dict(zip(region.inputs, arguments, strict=True))
    evaluate_nodes(region, values)
    return [values[node] for _, node in region.outputs]
