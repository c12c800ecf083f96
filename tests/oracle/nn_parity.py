"""How layers are compared with torch: values and every gradient, for the same weights, under one random cotangent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc as G
from graphc import nn
from graphc.ir.interp import evaluate

Array = np.ndarray[Any, Any]
Weights = dict[str, Any]
Reference = Callable[..., Any]
"""A function of (weights by their last name, inputs) in torch."""


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        label: of the test.
        make: the layer; gets ``dtype`` where no input has a floating-point one.
        reference: what it computes, in torch.
        inputs: arrays; the floating-point ones are differentiated.
        call: how the layer is called, by default on its inputs alone.
        training: value of ``G.training``.
    """

    label: str
    make: Callable[..., Any]
    reference: Reference
    inputs: tuple[Array, ...]
    call: Callable[..., Any] = field(default=lambda layer, *x: layer(x[0] if len(x) == 1 else list(x)))
    training: bool = False


def listed(value: Any) -> list[Any]:
    """The tensors in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in listed(part)]
    return [value]


def short(name: str, root: str) -> str:
    """A weight's name below the layer's."""
    return name.removeprefix(f"{root}/")


def random_weights(layer: nn.Layer, rng: np.random.Generator) -> dict[str, Array]:
    """Values that show every term: no zeros, and variances above zero."""
    made = {}
    for state in layer.states:
        draw = rng.normal(size=state.type.static_shape) * 0.5
        made[state.name] = np.abs(draw) + 0.5 if "var" in state.name else draw
    return made


def ours(
    case: Case, dtype: str, seed: int
) -> tuple[G.Model, dict[str, Array], dict[str, Array], list[Array], str, int]:
    """The model of outputs and gradients, its weights and inputs, the cotangents, the layer's name, and the number of
    outputs."""
    rng = np.random.default_rng(seed)
    inputs = [
        G.input(f"x{n}", array.shape, dtype if array.dtype.kind == "f" else array.dtype.name)
        for n, array in enumerate(case.inputs)
    ]
    layer = case.make(**({} if any(tensor.dtype.is_float for tensor in inputs) else {"dtype": dtype}))
    outputs = listed(case.call(layer, *inputs))
    weights = random_weights(layer, rng)
    cotangents = [rng.normal(size=tensor.shape) for tensor in outputs]
    loss = G.constant(np.zeros((), dtype))
    for tensor, cotangent in zip(outputs, cotangents, strict=True):
        loss = loss + (tensor * cotangent.astype(dtype)).sum()
    wrt = [tensor for tensor in inputs if tensor.dtype.is_float]
    wrt += [weight for weight in layer.weights if weight.state.role == "parameter"]
    results = {f"out{n}": tensor for n, tensor in enumerate(outputs)}
    results |= {f"d {tensor.name}": gradient for tensor, gradient in zip(wrt, G.grad(loss, wrt), strict=True)}
    model = G.Model(run=G.Step(results, training=case.training))
    given = {f"x{n}": array.astype(dtype) if array.dtype.kind == "f" else array for n, array in enumerate(case.inputs)}
    kept = {name: value.astype(dtype) for name, value in weights.items()}
    return model, kept, given, cotangents, layer.name, len(outputs)


def theirs(
    case: Case, weights: dict[str, Array], given: dict[str, Array], cotangents: Sequence[Array], root: str
) -> dict[str, Array]:
    """Outputs and gradients in torch, in float64."""
    import torch

    def tensor(array: Array) -> Any:
        made = torch.tensor(array.astype(np.float64) if array.dtype.kind == "f" else array)
        return made.requires_grad_() if array.dtype.kind == "f" else made

    inputs = {name: tensor(array) for name, array in given.items()}
    values = {name: tensor(array) for name, array in weights.items()}
    outputs = listed(case.reference({short(name, root): value for name, value in values.items()}, *inputs.values()))
    loss = sum((out * torch.tensor(cotangent)).sum() for out, cotangent in zip(outputs, cotangents, strict=True))
    loss.backward()
    results = {f"out{n}": out.detach().numpy() for n, out in enumerate(outputs)}
    for name, value in (inputs | values).items():
        if value.requires_grad:
            results[f"d {name}"] = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
    return results


def close(got: dict[str, Array], expected: dict[str, Array], tolerance: float, label: str) -> None:
    """Each of ours against theirs, relative to the largest element."""
    for name, value in got.items():
        scale = max(1.0, float(np.max(np.abs(expected[name]), initial=0.0)))
        np.testing.assert_allclose(
            value, expected[name], rtol=tolerance, atol=tolerance * scale, err_msg=f"{label}: {name}"
        )


def compare(case: Case, *, backends: Sequence[str] = (), seed: int = 1) -> None:
    """The case in float64 within 1e-10 and in float32 within 1e-5; in float32 on the compiled backends as well."""
    with G.graph():
        model, weights, given, cotangents, root, count = ours(case, "float64", seed)
        got, _ = evaluate(model.entries["run"], _taken(model, given), _known(model, weights))
        expected = theirs(case, weights, given, cotangents, root)
        assert count == len([name for name in expected if name.startswith("out")])
        close(got, expected, 1e-10, case.label)
    with G.graph():
        model, weights, given, cotangents, root, _ = ours(case, "float32", seed)
        expected = theirs(case, weights, given, cotangents, root)
        got, _ = evaluate(model.entries["run"], _taken(model, given), _known(model, weights))
        close(got, expected, 1e-5, f"{case.label} float32")
        for backend in backends:
            compiled = G.compile(model, backend=backend)
            for name, value in _known(model, weights).items():
                compiled.parameters[name][...] = value
            made = compiled.run(**_taken(model, given))
            made = made if isinstance(made, dict) else {"out0": made}
            close(made, expected, 1e-5, f"{case.label} on {backend}")


def _taken(model: G.Model, given: dict[str, Array]) -> dict[str, Array]:
    names = [node.attrs["name"] for node in model.entries["run"].inputs]
    return {name: given[name] for name in names}


def _known(model: G.Model, weights: dict[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in weights.items() if name in model.states}


def first(x: Any) -> Any:
    """Channels last → first."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    """Channels first → last."""
    return x.movedim(1, -1)
