"""A second evaluation of a graph, in float64 throughout, with or without the rounding errors that its dtypes would
make.

The difference between runs with different random errors says how far apart two correct backends may be: a condition
number of the whole graph, found by experiment (stochastic arithmetic: Vignes, *A stochastic arithmetic for reliable
scientific computation*, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import last_use
from graphc.ir.types import DType, TensorType, TupleType, float32, float64, from_carrier, round_to, to_carrier
from tests.backends_under_test import Result
from tests.optable import EPSILON, SMALLEST, Array

SAMPLES = 4
FACTOR = 24.0
"""A function may be off by a few units in the last place, and an error may be unluckier than those that were drawn."""

_EXACT_KINDS = frozenset({OpKind.SOURCE, OpKind.MOVEMENT, OpKind.INDEXING, OpKind.RANDOM, OpKind.REGION})
_EXACT_OPS = frozenset(
    {
        "abs",
        "negative",
        "sign",
        "relu",
        "maximum",
        "minimum",
        "select",
        "copysign",
        "floor",
        "ceil",
        "trunc",
        "round",
        "stop_gradient",
    }
    | {"max", "min", "max_pool"}
)
_ADDING = frozenset({"fold_patches", "scatter_add", "scatter_add_along_axis"})


class Shadow:
    """Evaluates graphs in float64.

    Args:
        rng: where rounding errors come from; None for none.
    """

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self.rng = rng

    def evaluate(
        self, graph: Graph, inputs: Sequence[Array], states: Mapping[str, Array] | None = None
    ) -> dict[Node, Any]:
        """Values of the roots of an entry point and of all nodes that are not floating-point."""
        values: dict[Node, Any] = {}
        given = dict(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            match node.op.name:
                case "input":
                    values[node] = self._wide(given[node], node.dtype)
                case "state":
                    state = node.attrs["state"]
                    held = (states or {}).get(state.name)
                    values[node] = self._wide(state.initial_value() if held is None else held, node.dtype)
                case "training":
                    values[node] = np.asarray(False)
        kept: dict[Node, Any] = {}
        self._nodes(graph, values, kept)
        return {**kept, **{node: values[node] for node in graph.roots}}

    def _wide(self, array: Array, element: DType) -> Array:
        carrier = to_carrier(np.asarray(array), element)
        return carrier.astype(np.float64) if element.is_float else carrier

    def _nodes(self, graph: Graph, values: dict[Node, Any], kept: dict[Node, Any] | None = None) -> None:
        last = last_use(graph.nodes)
        roots = set(graph.roots)
        for position, node in enumerate(graph.nodes):
            if node not in values:
                values[node] = self.node(node, [values[operand] for operand in node.inputs])
            if kept is not None and isinstance(node.type, TensorType) and not node.dtype.is_float:
                kept[node] = values[node]
            for operand in dict.fromkeys(node.inputs):
                if last[operand] == position and operand not in roots:
                    del values[operand]

    def node(self, node: Node, operands: Sequence[Any]) -> Any:
        """The value of one node."""
        match node.op.name:
            case "loop":
                return self._loop(node, operands)
            case "fused" | "custom_gradient":
                body = node.attrs["body" if node.op.name == "fused" else "forward"]
                made = self._region(body, operands)
                return tuple(made) if isinstance(node.type, TupleType) else made[0]
            case "result":
                return operands[0][node.attrs["index"]]
        type_ = node.tensor
        wide = type_.with_dtype(float64) if type_.dtype.is_float and node.op.kind is not OpKind.RANDOM else type_
        adds = (
            node.op.kind in (OpKind.REDUCTION, OpKind.CONTRACTION, OpKind.SCAN, OpKind.COMPOSITE)
            or node.op.name in _ADDING
        )
        rounds = type_.dtype.is_float and (adds or node.op.kind not in _EXACT_KINDS) and node.op.name not in _EXACT_OPS
        if rounds and adds:
            # Partial sums are rounded to the dtype of the computation.
            inner = EPSILON[float32] if type_.dtype.is_half else EPSILON[type_.dtype]
            operands = [self._noisy(value, 2 * inner) for value in operands]
        with np.errstate(all="ignore"):
            value = np.asarray(node.op.evaluate(node.attrs, *operands, result=wide))
            if type_.dtype.is_float:
                value = value.astype(np.float64)
        return self._noisy(value, EPSILON[type_.dtype]) if rounds else value

    def _noisy(self, value: Array, epsilon: float) -> Array:
        if self.rng is None or value.dtype != np.float64:
            return value
        return value * (1 + epsilon * self.rng.choice((-0.5, 0.5), value.shape))

    def _region(self, body: Graph, operands: Sequence[Any]) -> list[Any]:
        values = dict(zip(body.inputs, operands, strict=True))
        self._nodes(body, values)
        return [values[node] for node in body.output_nodes]

    def _loop(self, node: Node, operands: Sequence[Any]) -> tuple[Any, ...]:
        attrs, body = node.attrs, node.attrs["body"]
        carries, first = attrs["carries"], len(operands) - len(attrs["slices"])
        state, invariants, sequences = list(operands[:carries]), operands[carries:first], operands[first:]
        rows: list[list[Array]] = [[] for _ in body.outputs[carries:]]
        for step in range(attrs["trips"]):
            parts = [
                np.take(s, start + stride * step, axis=axis)
                for s, (axis, start, stride) in zip(sequences, attrs["slices"], strict=True)
            ]
            made = self._region(body, [np.asarray(step, np.int64), *state, *invariants, *parts])
            state = made[:carries]
            for row, value in zip(rows, made[carries:], strict=True):
                row.append(value)
        assert isinstance(node.type, TupleType)
        empty = [
            np.zeros(t.static_shape, np.float64 if t.dtype.is_float else t.dtype.carrier)
            for t in node.type.elements[carries:]
        ]
        return (*state, *(np.stack(row) if row else none for row, none in zip(rows, empty, strict=True)))


def allowed_errors(
    graph: Graph, inputs: Sequence[Array], states: Mapping[str, Array] | None = None
) -> dict[Node, Array] | None:
    """For each floating-point root how far two correct evaluations may be apart.

    Returns:
        None where rounding errors could change a decision (an integer, a comparison), or leave few digits: no test for
        backends.
    """
    exact = Shadow().evaluate(graph, inputs, states)
    floats = [node for node in dict.fromkeys(graph.roots) if node.dtype.is_float]
    spread = {node: np.zeros(exact[node].shape) for node in floats}
    for sample in range(SAMPLES):
        moved = Shadow(np.random.default_rng(sample)).evaluate(graph, inputs, states)
        for node, value in moved.items():
            if node in spread:
                if not np.isfinite(value).all():
                    return None
                spread[node] = np.maximum(spread[node], np.abs(value - exact[node]))
            elif not np.array_equal(value, exact[node]):
                return None
    found = {}
    for node, change in spread.items():
        size = np.abs(exact[node])
        typical = float(np.median(change)) if change.size else 0.0
        allowed = FACTOR * np.maximum(change, typical) + 8 * EPSILON[node.dtype] * size + SMALLEST[node.dtype]
        limit = 0.5 if node.dtype.is_half else 1e-2
        if change.size and float(np.max(allowed)) > limit * max(1.0, float(np.max(size))):
            return None
        found[node] = allowed
    return found


def disagreement(graph: Graph, got: Result, expected: Result, allowed: Mapping[Node, Array]) -> str | None:
    """In words, where two runs of an entry point differ by more than ``allowed``, or None."""
    named = [("output", name, node, got[0], expected[0]) for name, node in graph.outputs]
    named += [("state", variable.attrs["state"].name, node, got[1], expected[1]) for variable, node in graph.updates]
    for kind, name, node, left, right in named:
        if left[name].shape != right[name].shape or left[name].dtype != right[name].dtype:
            return (
                f"{kind} {name}: {left[name].dtype}{left[name].shape} instead of {right[name].dtype}{right[name].shape}"
            )
        value, wanted = to_carrier(left[name], node.dtype), to_carrier(right[name], node.dtype)
        if not node.dtype.is_float:
            wrong = value != wanted
        else:
            error = np.abs(value.astype(np.float64) - wanted.astype(np.float64))
            wrong = ~(error <= 2 * allowed[node])
        if np.any(wrong):
            place = tuple(int(i) for i in np.argwhere(np.atleast_1d(wrong))[0])[: value.ndim]
            bound = f", {error[place]:.3g} apart, {2 * allowed[node][place]:.3g} allowed" if node.dtype.is_float else ""
            where = f"{kind} {name} {node!r}: {np.sum(wrong)} of {value.size} differ, first at {place}"
            return f"{where}: {value[place]!r} instead of {wanted[place]!r}{bound}"
    return None


def shadow_result(graph: Graph, inputs: Sequence[Array], states: Mapping[str, Array] | None = None) -> Result:
    """What :class:`Shadow` gives, rounded once to the dtypes of the results."""
    values = Shadow().evaluate(graph, inputs, states)

    def rounded(node: Node) -> Array:
        value = values[node]
        return from_carrier(
            round_to(value.astype(node.dtype.compute), node.dtype) if node.dtype.is_float else value, node.dtype
        )

    outputs = {name: rounded(node) for name, node in graph.outputs}
    return outputs, {variable.attrs["state"].name: rounded(node) for variable, node in graph.updates}
