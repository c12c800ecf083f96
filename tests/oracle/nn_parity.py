"""How layers are compared with torch: values, every gradient, and three optimizer steps, for the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc as G
from graphc import nn
from graphc.ir.interp import evaluate
from graphc.ir.types import dtype as dtype_of
from tests.oracle.optimizers import Pair, any_optimizer

Array = np.ndarray[Any, Any]
Reference = Callable[..., Any]
"""A function of (weights by their last name, inputs) in torch."""

STEPS = 3
TOLERANCES = {"float64": 1e-10, "float32": 1e-5}


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        label: of the test.
        build: the layer, from a namespace with Keras' layers: ``graphc.nn``, or Keras' own.
        reference: what it computes, in torch.
        inputs: arrays; the floating-point ones are differentiated.
        call: how the layer is called, by default on its inputs alone.
        training: value of ``G.training``.
        keras: whether Keras has this layer, with these arguments.
    """

    label: str
    build: Callable[[Any], Any]
    reference: Reference
    inputs: tuple[Array, ...]
    call: Callable[..., Any] = field(default=lambda layer, *x: layer(x[0] if len(x) == 1 else list(x)))
    training: bool = False
    keras: bool = True


@dataclass(frozen=True)
class Ours:
    """A case built with graphc.

    Attributes:
        model: entry points ``run`` (outputs, gradients) and, where there is something to train, ``train``.
        weights: values by name.
        inputs: values by name.
        cotangents: one for each output.
        root: the layer's name.
        trainable: names of the weights in ``train``.
    """

    model: G.Model
    weights: dict[str, Array]
    inputs: dict[str, Array]
    cotangents: list[Array]
    root: str
    trainable: tuple[str, ...]


def listed(value: Any) -> list[Any]:
    """The tensors in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in listed(part)]
    return [value]


def random_weights(states: Sequence[Any], rng: np.random.Generator) -> dict[str, Array]:
    """Values that show every term: no zeros, and variances above zero."""
    made = {}
    for state in states:
        draw = rng.normal(size=state.type.static_shape) * 0.5
        made[state.name] = np.abs(draw) + 0.5 if "var" in state.name else draw
    return made


def build_ours(case: Case, dtype: str, rng: np.random.Generator, optimizer: Pair) -> Ours:
    """The case as entry points, in the graph under construction."""
    inputs = [
        G.input(f"x{n}", array.shape, dtype if array.dtype.kind == "f" else array.dtype.name)
        for n, array in enumerate(case.inputs)
    ]
    layer = case.build(nn)
    if not any(tensor.dtype.is_float for tensor in inputs):
        layer._dtype = dtype_of(dtype)
    outputs = listed(case.call(layer, *inputs))
    weights = random_weights(layer.states, rng)
    cotangents = [rng.normal(size=tensor.shape) for tensor in outputs]
    loss = G.constant(np.zeros((), dtype))
    for tensor, cotangent in zip(outputs, cotangents, strict=True):
        loss = loss + (tensor * cotangent.astype(dtype)).sum()
    parameters = [weight for weight in layer.weights if weight.state.role == "parameter"]
    wrt = [*(tensor for tensor in inputs if tensor.dtype.is_float), *parameters]
    results = {f"out{n}": tensor for n, tensor in enumerate(outputs)}
    results |= {f"d {tensor.name}": gradient for tensor, gradient in zip(wrt, G.grad(loss, wrt), strict=True)}
    entries: dict[str, Any] = {"run": G.Step(results, training=case.training)}
    # A layer that behaves otherwise while training is trained only where the case says how.
    if parameters and (case.training or not changes_in_training(results.values())):
        entries["train"] = optimizer.ours.minimize(loss, parameters, outputs=loss)
    given = {f"x{n}": array.astype(dtype) if array.dtype.kind == "f" else array for n, array in enumerate(case.inputs)}
    kept = {name: value.astype(dtype) for name, value in weights.items()}
    names = tuple(str(weight.name) for weight in parameters) if "train" in entries else ()
    return Ours(G.Model(**entries), kept, given, cotangents, layer.name, names)


def changes_in_training(results: Any) -> bool:
    """Whether ``G.training`` has a say in what is computed."""
    from graphc.ir.traverse import creation_order

    return any(node.op.name == "training" for node in creation_order([tensor.node for tensor in results]))


def in_torch(case: Case, ours: Ours, optimizer: Pair) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs and gradients in torch, and the weights after the optimizer's steps, all in float64."""
    import torch

    def leaf(array: Array) -> Any:
        made = torch.tensor(array.astype(np.float64) if array.dtype.kind == "f" else array)
        return made.requires_grad_() if array.dtype.kind == "f" else made

    inputs = {name: leaf(array) for name, array in ours.inputs.items()}
    weights = {name: leaf(array) for name, array in ours.weights.items()}

    def forward() -> list[Any]:
        short = {name.removeprefix(f"{ours.root}/"): value for name, value in weights.items()}
        return listed(case.reference(short, *inputs.values()))

    def loss_of(outputs: Sequence[Any]) -> Any:
        assert len(outputs) == len(ours.cotangents)
        return sum((out * torch.tensor(part)).sum() for out, part in zip(outputs, ours.cotangents, strict=True))

    outputs = forward()
    total = loss_of(outputs)
    if total.requires_grad:
        total.backward()
    results = {f"out{n}": out.detach().numpy() for n, out in enumerate(outputs)}
    for name, value in (inputs | weights).items():
        if value.requires_grad:
            results[f"d {name}"] = np.zeros(value.shape) if value.grad is None else value.grad.numpy().copy()
    if not ours.trainable:
        return results, {}
    trained = [weights[name] for name in ours.trainable]
    step = optimizer.theirs(trained)
    for _ in range(STEPS):
        for weight in trained:
            weight.grad = torch.zeros_like(weight)
        loss_of(forward()).backward()
        step()
    return results, {name: weights[name].detach().numpy() for name in ours.trainable}


def close(got: dict[str, Array], expected: dict[str, Array], tolerance: float, label: str) -> None:
    """Each of ours against theirs, relative to the largest element."""
    for name, value in got.items():
        scale = max(1.0, float(np.max(np.abs(expected[name]), initial=0.0)))
        np.testing.assert_allclose(
            value, expected[name], rtol=tolerance, atol=tolerance * scale, err_msg=f"{label}: {name}"
        )


def compare(case: Case, *, backends: Sequence[str] = (), seed: int = 1) -> None:
    """The case in float64 within 1e-10 and in float32 within 1e-5; in float32 on the compiled backends as well."""
    for dtype, tolerance in TOLERANCES.items():
        rng = np.random.default_rng(seed)
        optimizer = any_optimizer(rng)
        label = f"{case.label} {dtype} {optimizer.label}"
        with G.graph():
            ours = build_ours(case, dtype, rng, optimizer)
            results, after = in_torch(case, ours, optimizer)
            got, _ = evaluate(ours.model.entries["run"], *_arguments(ours, "run"))
            close(got, results, tolerance, label)
            if ours.trainable:
                close(_stepped(ours), after, tolerance, f"{label} after {STEPS} steps")
            for backend in backends if dtype == "float32" else ():
                _on_backend(ours, backend, results, after, f"{label} on {backend}")


def _stepped(ours: Ours) -> dict[str, Array]:
    """The trained weights after some steps of the reference evaluator."""
    inputs, states = _arguments(ours, "train")
    for _ in range(STEPS):
        states = states | evaluate(ours.model.entries["train"], inputs, states)[1]
    return {name: states[name] for name in ours.trainable}


def _on_backend(ours: Ours, backend: str, results: dict[str, Array], after: dict[str, Array], label: str) -> None:
    compiled = G.compile(ours.model, backend=backend)
    for name, value in _arguments(ours, "run")[1].items():
        compiled.parameters[name][...] = value
    made = compiled.run(**_arguments(ours, "run")[0])
    close(made if isinstance(made, dict) else {"out0": made}, results, 1e-5, label)
    if ours.trainable:
        for _ in range(STEPS):
            compiled.train(**_arguments(ours, "train")[0])
        close({name: np.array(compiled.parameters[name]) for name in ours.trainable}, after, 1e-5, f"{label}, trained")


def _arguments(ours: Ours, entry: str) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and states of an entry point."""
    names = [node.attrs["name"] for node in ours.model.entries[entry].inputs]
    states = {name: value for name, value in ours.weights.items() if name in ours.model.states}
    return {name: ours.inputs[name] for name in names}, states


def first(x: Any) -> Any:
    """Channels last → first."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    """Channels first → last."""
    return x.movedim(1, -1)
