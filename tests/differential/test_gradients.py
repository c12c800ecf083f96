"""Every differentiable op: first and second derivatives against finite differences, forward mode against reverse mode.

The differences are central, of two widths, extrapolated (Richardson): their error is O(h⁴).  Each element of each
operand is moved on its own, so a derivative that lands in the wrong place is seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphc.autodiff.forward import jvp
from graphc.autodiff.reverse import vjp
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import OpDef, registered_ops
from graphc.ir.rewrite import inline
from graphc.ir.types import float64
from graphc.ir.verify import verify
from tests.optable import Array, Cell, cells

STEP = 2e-3
FIRST = 1e-6
SECOND = 1e-5

# ``result`` has no rules of its own and is covered by the rows of ``loop``; sources have no operands.
OPS = [op.name for op in registered_ops() if op.vjp is not None]


def rng_of(cell: Cell) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(cell.name.encode()) ^ 1)


def moving(graph: Graph) -> list[int]:
    """The positions of the inputs that derivatives are taken by."""
    return [position for position, node in enumerate(graph.inputs) if node.dtype is float64]


def seeded(graph: Graph) -> list[int]:
    """The positions of the outputs that have derivatives."""
    return [position for position, node in enumerate(graph.output_nodes) if node.dtype is float64]


def derivative_graph(
    graph: Graph, make: Callable[[Builder, list[Node], list[Node], list[Node]], Sequence[Node]], extra: Sequence[Node]
) -> Graph:
    """A graph of ``make(builder, outputs, inputs, more inputs like extra)`` over the inputs of ``graph`` and those."""
    b = Builder()
    inputs = [b.input(node.attrs["name"], node.tensor) for node in graph.inputs]
    more = [b.input(f"e{len(inputs) + k}", node.tensor) for k, node in enumerate(extra)]
    outputs = inline(b, graph, inputs)
    made = make(b, outputs, inputs, more)
    result = Graph.make("derivative", [*inputs, *more], [(f"d{k}", node) for k, node in enumerate(made)], builder=b)
    verify(result)
    return result


def reverse_graph(graph: Graph) -> Graph:
    """Inputs and cotangents of the floating-point outputs → cotangents of the floating-point inputs."""
    at, wrt = seeded(graph), moving(graph)

    def make(b: Builder, outputs: list[Node], inputs: list[Node], given: list[Node]) -> Sequence[Node]:
        return vjp(b, [outputs[k] for k in at], given, [inputs[k] for k in wrt])

    return derivative_graph(graph, make, [graph.output_nodes[k] for k in at])


def forward_graph(graph: Graph) -> Graph:
    """Inputs and tangents of the floating-point inputs → tangents of the floating-point outputs."""
    at, wrt = seeded(graph), moving(graph)

    def make(b: Builder, outputs: list[Node], inputs: list[Node], given: list[Node]) -> Sequence[Node]:
        return jvp(b, [outputs[k] for k in at], [inputs[k] for k in wrt], given)

    return derivative_graph(graph, make, [graph.inputs[k] for k in wrt])


def values(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    return list(evaluate(graph, arrays)[0].values())


def numeric_gradient(
    graph: Graph, arrays: Sequence[Array], by: Sequence[int], weights: dict[int, Array]
) -> list[Array]:
    """∂(Σ weights · outputs)/∂ each element of the inputs ``by``."""

    def total(moved: Sequence[Array]) -> float:
        made = values(graph, moved)
        return float(sum(np.sum(weight * made[k]) for k, weight in weights.items()))

    found = []
    for position in by:
        gradient = np.zeros(arrays[position].shape)
        for place in np.ndindex(*gradient.shape):
            slopes = []
            for step in (STEP, STEP / 2):
                ends = []
                for sign in (1.0, -1.0):
                    moved = [array.copy() if k == position else array for k, array in enumerate(arrays)]
                    moved[position][place] += sign * step
                    ends.append(total(moved))
                slopes.append((ends[0] - ends[1]) / (2 * step))
            gradient[place] = (4 * slopes[1] - slopes[0]) / 3
        found.append(gradient)
    return found


def check(
    graph: Graph,
    arrays: Sequence[Array],
    rng: np.random.Generator,
    tolerance: float,
    what: str,
    only: Sequence[int] | None = None,
) -> Graph | None:
    """Hold reverse mode against differences and forward mode against reverse mode; returns the reverse graph."""
    at, wrt = seeded(graph), moving(graph)
    if not at or not wrt or all(arrays[k].size == 0 for k in wrt):
        return None
    weights = {k: rng.standard_normal(graph.output_nodes[k].shape) for k in at}
    backward = reverse_graph(graph)
    gradients = values(backward, [*arrays, *weights.values()])
    checked = [k for k in wrt if only is None or k in only]
    numeric = numeric_gradient(graph, arrays, checked, weights)
    for k, expected in zip(checked, numeric, strict=True):
        got = gradients[wrt.index(k)]
        assert got.shape == expected.shape, f"{what}: the derivative by input {k} has shape {got.shape}"
        scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
        np.testing.assert_allclose(
            got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"{what}, by input {k}"
        )
    directions = [rng.standard_normal(arrays[k].shape) for k in wrt]
    pushed = values(forward_graph(graph), [*arrays, *directions])
    left = sum(np.sum(w * p) for w, p in zip(weights.values(), pushed, strict=True))
    right = sum(np.sum(d * g) for d, g in zip(directions, gradients, strict=True))
    size = sum(np.sum(np.abs(w * p)) for w, p in zip(weights.values(), pushed, strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-11, atol=1e-12 * (1 + size), err_msg=f"{what}: jvp against vjp")
    return backward


@pytest.mark.parametrize("op", OPS)
def test_derivatives(op: str) -> None:
    """By the operands of the op; the second derivative is the first of our own first, by them and by the cotangents."""
    tested = 0
    for cell in cells(op, dtype=float64, smooth=True):
        if sum(array.size for array in cell.arrays) > 100:
            continue
        rng = rng_of(cell)
        backward = check(cell.graph, cell.arrays, rng, FIRST, cell.name)
        if backward is None:
            continue
        tested += 1
        weights = [rng.standard_normal(cell.graph.output_nodes[k].shape) for k in seeded(cell.graph)]
        check(backward, [*cell.arrays, *weights], rng, SECOND, f"{cell.name}, second", moving(cell.graph))
    assert tested, f"no float64 row of {op} has derivatives to test"


def test_ops_without_derivatives_say_so() -> None:
    def listed(op: OpDef) -> bool:
        return op.vjp is None and op.differentiable and op.kind.value not in ("source", "region", "random")

    assert [op.name for op in registered_ops() if listed(op)] == []
    assert [op.name for op in registered_ops() if (op.vjp is None) != (op.jvp is None)] == []
