"""Comparing what a backend computes with the reference evaluator: inputs, tolerances, and the difference found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.state import State
from graphc.ir.traverse import users
from graphc.ir.types import DType, bfloat16, float16, float32, float64, from_carrier, to_carrier

Array = np.ndarray[Any, Any]

_RELATIVE: Mapping[DType, float] = {float64: 1e-10, float32: 2e-5, float16: 5e-3, bfloat16: 4e-2}
"""How far two correct results may lie apart: sums are added in another order, functions are a few last places off."""

_NUDGE: Mapping[DType, float] = {float64: 1e-15, float32: 5e-7, float16: 2e-3, bfloat16: 1.6e-2}
"""A few units in the last place, relative to a value."""

_NOISE_FACTOR = 8.0
_LABELS = 2
"""Integer inputs are below this where no index check says more."""


@dataclass(frozen=True)
class Expectation:
    """What an entry point must give for some inputs.

    Attributes:
        inputs: boundary arrays by name.
        states: boundary arrays before the call, by name.
        values: results by what they are: ``output 'y'`` or ``state 'w' after the call``.
        nodes: that each result is the value of.
        near_inputs: the inputs, a few units off in the last place.
        near_states: the states likewise.
        near_values: the results for those: how far rounding alone carries.
    """

    inputs: Mapping[str, Array]
    states: Mapping[str, Array]
    values: Mapping[str, Array]
    nodes: Mapping[str, Node]
    near_inputs: Mapping[str, Array]
    near_states: Mapping[str, Array]
    near_values: Mapping[str, Array]


@dataclass(frozen=True)
class Difference:
    """Two results that should be equal and are not, where they differ most."""

    what: str
    expected: float
    got: float
    position: tuple[int, ...]
    elements: int
    size: int

    def __str__(self) -> str:
        place = f" at {list(self.position)}" if self.position else ""
        share = f" ({self.elements:,} of {self.size:,} elements differ)" if self.size > 1 else ""
        return f"{self.what}: expected {self.expected:.9g}, got {self.got:.9g}{place}{share}"


def make_expectation(graph: Graph, states: Mapping[str, State], seed: int) -> Expectation:
    """Random inputs for an entry point, and the reference's results for them."""
    random = np.random.default_rng(seed)
    inputs = random_inputs(graph, random)
    held = {state.name: states[state.name].initial_value(seed) for state in graph.states}
    near_inputs = {node.attrs["name"]: _nudge(inputs[node.attrs["name"]], node.dtype, random) for node in graph.inputs}
    near_states = {name: _nudge(array, states[name].type.dtype, random) for name, array in held.items()}
    values, near_values = _evaluate(graph, inputs, held), _evaluate(graph, near_inputs, near_states)
    return Expectation(inputs, held, values, dict(_results(graph)), near_inputs, near_states, near_values)


def output_key(name: str) -> str:
    """What an output is called in an :class:`Expectation`."""
    return f"output {name!r}"


def update_key(name: str) -> str:
    """What a new value of a state variable is called in an :class:`Expectation`."""
    return f"state {name!r} after the call"


def _results(graph: Graph) -> Iterator[tuple[str, Node]]:
    yield from ((output_key(name), node) for name, node in graph.outputs)
    yield from ((update_key(variable.attrs["state"].name), value) for variable, value in graph.updates)


def _evaluate(graph: Graph, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> dict[str, Array]:
    outputs, updates = evaluate(graph, inputs, states)
    named = {output_key(name): array for name, array in outputs.items()}
    return named | {update_key(name): array for name, array in updates.items()}


def random_inputs(graph: Graph, random: np.random.Generator) -> dict[str, Array]:
    """An array for each input: floats from a normal distribution, integers inside of what they index."""
    return {node.attrs["name"]: _random_input(node, graph, random) for node in graph.inputs}


def _random_input(node: Node, graph: Graph, random: np.random.Generator) -> Array:
    shape, element = node.tensor.static_shape, node.dtype
    if element.kind == "bool":
        return random.integers(0, 2, shape).astype(np.bool_)
    if element.is_integer:
        return random.integers(0, index_limit(node, graph), shape).astype(element.storage)
    return from_carrier(random.standard_normal(shape).astype(element.carrier), element)


def index_limit(node: Node, graph: Graph) -> int:
    """The smallest extent that the values of an integer input index; 2 where they index nothing."""
    readers = users(graph.nodes)
    limits: list[int] = []
    seen = {node}
    pending = [node]
    while pending:
        value = pending.pop()
        for reader in readers[value]:
            if reader.op.kind is OpKind.INDEXING and "axis" in reader.attrs and value in reader.inputs[1:2]:
                limits.append(reader.inputs[0].tensor.static_shape[reader.attrs["axis"]])
            elif (reader.op.kind is OpKind.MOVEMENT or reader.op.name == "cast") and reader not in seen:
                seen.add(reader)
                pending.append(reader)
    return max(1, min(limits, default=_LABELS))


def _nudge(array: Array, element: DType, random: np.random.Generator) -> Array:
    if not element.is_float:
        return array
    carried = to_carrier(array, element)
    factors = 1.0 + _NUDGE[element] * random.uniform(-1.0, 1.0, carried.shape)
    return from_carrier((carried * factors).astype(element.carrier), element)


def compare(what: str, got: Array, expected: Array, nudged: Array, element: DType) -> tuple[float, Difference | None]:
    """How far ``got`` lies from ``expected``, relative to the largest value, and the difference where that is too far.

    Integers and bools must be equal, except where a nudge of the inputs changes them too (the position of the larger
    of two almost equal numbers).
    """
    if got.shape != expected.shape:
        return np.inf, Difference(what, float(expected.size), float(got.size), (), 1, 1)
    if not expected.size:
        return 0.0, None
    ours, theirs, near = (to_carrier(array, element).astype(np.float64) for array in (got, expected, nudged))
    if not element.is_float:
        wrong = (got != expected) & (expected == nudged)
        error = np.where(wrong, np.abs(ours - theirs), 0.0)
        return float(error.max()), _worst(what, wrong, error, ours, theirs)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(theirs)
        scale = float(np.abs(theirs[finite]).max(initial=0.0))
        moved = np.abs(near - theirs)
        noise = float(moved[np.isfinite(moved)].max(initial=0.0))
        error = np.abs(ours - theirs)
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        smallest = float(np.finfo(element.carrier).tiny)
        allowed = _RELATIVE[element] * (np.abs(theirs) + scale) + _NOISE_FACTOR * noise + smallest
        # Where a nudge reaches an overflow or leaves one, either result is right.
        unstable = finite != np.isfinite(near)
        wrong = ~same & ~unstable & ~(finite & (error <= allowed))
        error = np.where(same | unstable, 0.0, np.where(np.isnan(error), np.inf, error))
    largest = float(error.max())
    return (largest / scale if scale else largest), _worst(what, wrong, error, ours, theirs)


def _worst(what: str, wrong: Array, error: Array, ours: Array, theirs: Array) -> Difference | None:
    if not wrong.any():
        return None
    flat = int(np.argmax(np.where(wrong, error, -1.0)))
    position = tuple(int(part) for part in np.unravel_index(flat, error.shape))
    return Difference(what, float(theirs[position]), float(ours[position]), position, int(wrong.sum()), wrong.size)
