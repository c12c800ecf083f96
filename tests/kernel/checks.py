"""What the kernel tests share: lower a graph, verify the program, run it, compare with the reference evaluator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import graphc.ops
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, bfloat16, bool_, float16, float32, float64, tensor_type, to_carrier
from graphc.ir.verify import verify
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Program
from graphc.kernel.run import run_entry
from graphc.kernel.verify import verify_program

Array = np.ndarray[Any, Any]
TOLERANCE = {float16: 2e-3, bfloat16: 2e-2, float32: 2e-5, float64: 1e-12}

assert graphc.ops


def sample(type_: TensorType, rng: np.random.Generator) -> Array:
    """A boundary array of small varied numbers."""
    shape, element = type_.static_shape, type_.dtype
    if element is bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if element.is_integer:
        low = 0 if element.kind == "uint" else -5
        return rng.integers(low, 6, shape).astype(element.storage)
    values = rng.standard_normal(shape).astype(np.float32)
    if element is bfloat16:
        return (np.ascontiguousarray(values).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(element.storage)


def assert_equal(got: Array, expected: Array, element: DType, what: str = "") -> None:
    """Equal bits for integers, close numbers for floats."""
    assert got.shape == expected.shape, what
    left, right = to_carrier(got, element), to_carrier(expected, element)
    if not element.is_float:
        np.testing.assert_array_equal(left, right, err_msg=what)
        return
    scale = float(np.max(np.abs(np.where(np.isfinite(right), right, 0)), initial=1.0))
    tolerance = TOLERANCE[element]
    np.testing.assert_allclose(
        left.astype(np.float64), right.astype(np.float64), rtol=tolerance, atol=tolerance * scale, err_msg=what
    )


def check_graph(
    graph: Graph, inputs: Sequence[Array] | None = None, states: Mapping[str, Array] | None = None, seed: int = 0
) -> Program:
    """Lower ``graph``, verify the program, run it and compare every output and update with the reference."""
    rng = np.random.default_rng(seed)
    verify(graph)
    arguments = [sample(node.tensor, rng) for node in graph.inputs] if inputs is None else list(inputs)
    program = lower_module(Module("m", {graph.name: graph}))
    verify_program(program)
    expected, new_states = evaluate(graph, arguments, states)
    outputs, updates = run_entry(program, graph.name, arguments, states)
    types = {name: node.dtype for name, node in graph.outputs}
    for name, value in expected.items():
        assert_equal(outputs[name], value, types[name], f"output {name}")
    assert set(updates) == set(new_states)
    for name, value in new_states.items():
        assert_equal(updates[name], value, program.module.states[name].type.dtype, f"state {name}")
    return program


def graph_of(b: Builder, inputs: Sequence[Node], *outputs: Node, updates: Sequence[tuple[Node, Node]] = ()) -> Graph:
    """The graph ``f`` with outputs y0, y1, …"""
    return Graph.make("f", inputs, [(f"y{i}", node) for i, node in enumerate(outputs)], updates, builder=b)


def typed(element: DType, *shape: int) -> TensorType:
    """Shorthand for a tensor type."""
    return tensor_type(element, shape)


def state(name: str, *shape: int, element: DType = float32, seed: int = 0) -> State:
    """A state variable with random initial values."""
    type_ = tensor_type(element, shape)
    return State(name, type_, sample(type_, np.random.default_rng([seed, *name.encode()])))
