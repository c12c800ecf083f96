"""Running a graph as generated source and by the reference evaluator, and comparing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import graphc.ops  # noqa: F401  (fills the op registry)
from graphc.backends.numpy.compile import compile_source
from graphc.backends.numpy.emit import emit_module
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.types import DType, bfloat16, float16, float32, to_carrier
from graphc.ir.verify import verify

_TOLERANCE = {float16: 2e-3, bfloat16: 1e-2, float32: 2e-6}


def _compare(actual: Any, expected: np.ndarray, element: DType, exact: bool, what: str) -> None:
    assert isinstance(actual, np.ndarray), f"{what} is a {type(actual)}"
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    found, wanted = to_carrier(actual, element), to_carrier(expected, element)
    if exact or not element.is_float:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        if element.is_float:
            zero = wanted == 0
            np.testing.assert_array_equal(
                np.signbit(found[zero]), np.signbit(wanted[zero]), err_msg=f"signs of zeros in {what}"
            )
        return
    tolerance = _TOLERANCE.get(element, 1e-12)
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    size = np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * size, err_msg=what)


def _agree(
    graph: Graph, inputs: Sequence[np.ndarray], states: Mapping[str, np.ndarray] | None = None, *, exact: bool = False
) -> str:
    verify(graph)
    source = emit_module(Module("model", {"entry": graph}))
    entry = compile_source(source)["entry"]
    parameters = {name: np.array(value) for name, value in (states or {}).items()}
    before = [np.array(array) for array in inputs]
    outputs, updates = evaluate(graph, list(inputs), parameters)
    expected_state = {**parameters, **updates}
    parameters = {name: value.copy() for name, value in parameters.items()}
    with np.errstate(all="raise"):
        result = entry(*inputs, parameters)
    if len(graph.outputs) == 1:
        result = {graph.outputs[0][0]: result}
    types = {name: node.dtype for name, node in graph.outputs}
    assert list(result) == list(outputs)
    for name, expected in outputs.items():
        _compare(result[name], expected, types[name], exact, f"output {name} of\n{source}")
    for name, value in parameters.items():
        element = next(state.type.dtype for state in graph.states if state.name == name)
        _compare(value, expected_state[name], element, exact, f"state {name} after\n{source}")
    for array, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, old, err_msg=f"an input was changed by\n{source}")
    memory = [*inputs, *parameters.values(), *result.values()]
    for position, array in enumerate(memory):
        for other in memory[:position]:
            assert array is other or not np.shares_memory(array, other), f"results share memory in\n{source}"
    return source


@pytest.fixture
def agree() -> Callable[..., str]:
    """``agree(graph, inputs, states, exact=False)``: source and reference give the same; returns the source."""
    return _agree


def _values(element: DType, shape: tuple[int, ...], seed: int = 0, special: bool = True) -> np.ndarray:
    generator = np.random.default_rng([seed, *shape])
    size = int(np.prod(shape))
    if element.kind == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if element.is_integer:
        limits = np.iinfo(element.storage)
        flat = generator.integers(limits.min, limits.max, size, dtype=element.storage, endpoint=True)
        edges = np.array([0, 1, limits.max, limits.min, limits.max - 1, 2, 3, 7], element.storage)
        small = generator.integers(0, 10, size).astype(element.storage)
        flat = np.where(generator.random(size) < 0.4, small, flat)
        if limits.min < 0:
            edges = np.concatenate([edges, np.array([-1, -2, -3], element.storage)])
    else:
        wide = np.float64 if element.bits == 64 else np.float32
        flat = (generator.standard_normal(size) * 2).astype(wide)
        edges = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.5, 60.0, -60.0, 1e-6], wide)
    if special and size:
        places = generator.permutation(size)[: max(1, size // 2)]
        flat[places] = generator.choice(edges, len(places))
    if element is bfloat16:
        return (flat.view(np.uint32) >> 16).astype(np.uint16).reshape(shape)
    return flat.astype(element.storage).reshape(shape)


@pytest.fixture
def values() -> Callable[..., np.ndarray]:
    """``values(dtype, shape, seed, special)``: random numbers as a boundary array, by default with special values."""
    return _values
