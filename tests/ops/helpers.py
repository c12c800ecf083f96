"""Small regions of ops: build, evaluate, and hold their derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401  (fills the registry)
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_region
from graphc.ir.node import Node
from graphc.ir.types import DType, dtype, float64, round_to, tensor_type
from graphc.ir.verify import verify
from graphc.ops.composite import jvp_region, vjp_region

Build = Callable[..., Any]
STEP = 1e-5


def region(build: Build, types: Sequence[Any]) -> Graph:
    """``build(b, *inputs)``, one node or a list of them, as a verified graph."""
    b = Builder()
    inputs = [b.input(f"x{k}", type_) for k, type_ in enumerate(types)]
    made = build(b, *inputs)
    outputs = [made] if isinstance(made, Node) else list(made)
    graph = Graph.make("test", inputs, [(f"y{k}", node) for k, node in enumerate(outputs)])
    verify(graph)
    return graph


def of_arrays(build: Build, arrays: Sequence[Any], dtypes: Sequence[DType] | None = None) -> Graph:
    """The region for inputs like ``arrays``."""
    given = dtypes or [dtype(array.dtype) for array in arrays]
    return region(build, [tensor_type(element, array.shape) for element, array in zip(given, arrays, strict=True)])


def run(build: Build, *arrays: Any) -> Any:
    """Evaluate on arrays (carrier form); a list where there are several results."""
    held = [np.asarray(array) for array in arrays]
    values = evaluate_region(of_arrays(build, held), held)
    return values[0] if len(values) == 1 else values


def run_half(build: Build, element: DType, *arrays: Any) -> Any:
    """Evaluate with all inputs rounded to a half dtype; the results in float32."""
    held = [round_to(np.asarray(array, np.float32), element) for array in arrays]
    graph = of_arrays(build, held, [element] * len(held))
    values = [value.astype(np.float32) for value in evaluate_region(graph, held)]
    return values[0] if len(values) == 1 else values


def infer(op: str, *types: Any, **attrs: Any) -> Any:
    """The type that an op infers."""
    b = Builder()
    return b.op(op, *(b.input(f"x{k}", type_) for k, type_ in enumerate(types)), **attrs).type


def f64(*shape: Any) -> Any:
    """A float64 tensor type; a string is a symbolic dimension."""
    return tensor_type(float64, shape)


def check_derivatives(
    build: Build, *arrays: Any, order: int = 2, rtol: float = 1e-6, atol: float = 1e-7, seed: int = 0
) -> None:
    """Hold jvp against central differences and vjp against jvp; with ``order`` 2 also those of the gradient."""
    rng = np.random.default_rng(seed)
    held = [np.asarray(array) for array in arrays]
    graph = of_arrays(build, held)
    moving = [k for k, array in enumerate(held) if array.dtype == np.float64]
    directions = {k: rng.standard_normal(held[k].shape) for k in moving}
    outputs = [k for k, node in enumerate(graph.output_nodes) if node.dtype is float64]
    weights = {k: rng.standard_normal(graph.output_nodes[k].shape) for k in outputs}

    pushed_graph, pushed_at = jvp_region(graph, moving)
    verify(pushed_graph)
    pushed = dict(zip(pushed_at, evaluate_region(pushed_graph, [*held, *directions.values()]), strict=True))
    ahead = evaluate_region(graph, [a + STEP * directions[k] if k in directions else a for k, a in enumerate(held)])
    behind = evaluate_region(graph, [a - STEP * directions[k] if k in directions else a for k, a in enumerate(held)])
    for k in outputs:
        numeric = (ahead[k] - behind[k]) / (2 * STEP)
        np.testing.assert_allclose(pushed.get(k, np.zeros_like(numeric)), numeric, rtol=rtol, atol=atol)

    pulled_graph, pulled_at = vjp_region(graph, outputs)
    verify(pulled_graph)
    pulled = dict(zip(pulled_at, evaluate_region(pulled_graph, [*held, *weights.values()]), strict=True))
    assert set(pulled) <= set(moving)
    for k, value in pulled.items():
        assert value.shape == held[k].shape
    left = sum(np.sum(weights[k] * pushed[k]) for k in pushed)
    right = sum(np.sum(directions[k] * value) for k, value in pulled.items())
    np.testing.assert_allclose(right, left, rtol=1e-9, atol=1e-9)
    if order > 1 and pulled:
        both = [*held, *weights.values()]

        def gradient(b: Builder, *inputs: Node) -> list[Node]:
            from graphc.ir.rewrite import inline

            return inline(b, pulled_graph, inputs)

        check_derivatives(gradient, *both, order=order - 1, rtol=max(rtol, 1e-5), atol=max(atol, 1e-6), seed=seed + 1)
