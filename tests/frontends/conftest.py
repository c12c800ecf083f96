"""What the tests of the front ends share: a fresh graph a test, and the reference evaluator."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc.frontends.dsl.session import graph
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify_module

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    with graph():
        yield


@pytest.fixture
def value() -> Callable[..., Any]:
    """``value(tensor, x=array)``: what the reference evaluator computes; a list for several tensors."""

    def run(*tensors: G.Tensor, states: dict[str, Array] | None = None, **inputs: Array) -> Any:
        model = G.Model(out={str(position): tensor for position, tensor in enumerate(tensors)})
        verify_module(model.module)
        given = {node.attrs["name"]: inputs[node.attrs["name"]] for node in model.entries["out"].inputs}
        outputs, _ = evaluate(model.entries["out"], given, states)
        results = list(outputs.values())
        return results[0] if len(results) == 1 else results

    return run


@pytest.fixture
def check_gradients(value: Callable[..., Any]) -> Callable[..., None]:
    """``check_gradients(loss, wrt, x=array)``: the gradients of a float64 loss against central differences."""

    def check(
        loss: G.Tensor, wrt: list[G.Tensor], step: float = 1e-6, tolerance: float = 1e-6, **inputs: Array
    ) -> None:
        model = G.Model(out={"loss": loss}, gradients={str(n): g for n, g in enumerate(G.grad(loss, wrt))})
        verify_module(model.module)
        values: dict[str, Array] = {tensor.state.name: tensor.state.initial_value(3) for tensor in wrt if tensor.state}
        values |= inputs

        def run(entry: str) -> dict[str, Array]:
            graph = model.entries[entry]
            given = {node.attrs["name"]: values[node.attrs["name"]] for node in graph.inputs}
            return evaluate(graph, given, {name: array for name, array in values.items() if name not in inputs})[0]

        found = run("gradients")
        generator = np.random.default_rng(5)
        for position, tensor in enumerate(wrt):
            array = values[str(tensor.name)]
            flat = array.reshape(-1)
            for index in generator.choice(flat.size, size=min(flat.size, 6), replace=False):
                kept = flat[index]
                flat[index] = kept + step
                above = float(run("out")["loss"])
                flat[index] = kept - step
                below = float(run("out")["loss"])
                flat[index] = kept
                expected = (above - below) / (2 * step)
                got = float(found[str(position)].reshape(-1)[index])
                assert abs(got - expected) <= tolerance * max(1.0, abs(expected)), (tensor, index, got, expected)

    return check
