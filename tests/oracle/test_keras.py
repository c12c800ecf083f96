"""Layers, losses, optimizers, constraints and whole training runs against Keras 3, where it is installed.

The cases are those that torch answers for everywhere; here Keras itself does, with torch behind it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")
torch = pytest.importorskip("torch")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

import graphc as G  # noqa: E402
from graphc import nn, optim  # noqa: E402
from graphc.ir.interp import evaluate  # noqa: E402
from tests.oracle import random_plain, random_spatial  # noqa: E402
from tests.oracle.nn_parity import Array, Case, Ours, build_ours, close, listed  # noqa: E402
from tests.oracle.optimizers import any_optimizer  # noqa: E402
from tests.oracle.random_cases import REGISTRY, Draw, cases_of  # noqa: E402
from tests.oracle.random_recurrent import CASES as RECURRENT  # noqa: E402
from tests.oracle.test_losses import CLASSES, KERAS, prepared, targets  # noqa: E402

pytestmark = pytest.mark.oracle
assert random_plain.__doc__ and random_spatial.__doc__  # importing them fills the registry
TOLERANCE = 1e-5
"""Some of Keras' operations compute in float32, whatever they are given."""
CASES = [case for case in (*cases_of(list(REGISTRY)), *RECURRENT) if case.keras]


def precision(dtype: str) -> None:
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    precision("float64")
    yield
    precision("float32")


def leaf(array: Array) -> Any:
    made = torch.tensor(array)
    return made.requires_grad_() if array.dtype.kind == "f" else made


def in_keras(case: Case, ours: Ours) -> dict[str, Array]:
    """Outputs and gradients with our weights in a layer of Keras."""
    layer = case.build(keras.layers)
    inputs = {name: leaf(array) for name, array in ours.inputs.items()}

    def forward() -> list[Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            return layer(*arguments, **({"training": True} if case.training else {}), **options)

        return listed(case.call(called, *inputs.values()))

    forward()  # makes the weights
    layer.set_weights(list(ours.weights.values()))
    outputs = forward()
    loss = sum((out * torch.tensor(part)).sum() for out, part in zip(outputs, ours.cotangents, strict=True))
    for value in inputs.values():
        value.grad = None
    if loss.requires_grad:
        loss.backward()
    results = {f"out{n}": out.detach().numpy() for n, out in enumerate(outputs)}
    for name, value in inputs.items():
        if value.requires_grad:
            results[f"d {name}"] = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
    for name, variable in zip(ours.weights, layer.weights, strict=True):
        gradient = variable.value.grad if variable.trainable else None
        results[f"d {name}"] = np.zeros(variable.shape) if gradient is None else gradient.numpy()
    return results


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    rng = np.random.default_rng(1)
    with G.graph():
        ours = build_ours(case, "float64", rng, any_optimizer(rng))
        states = {name: value for name, value in ours.weights.items() if name in ours.model.states}
        names = [node.attrs["name"] for node in ours.model.entries["run"].inputs]
        got, _ = evaluate(ours.model.entries["run"], {name: ours.inputs[name] for name in names}, states)
    close(got, in_keras(case, ours), TOLERANCE, case.label)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", [name for name in KERAS if name != "NegativeLogLikelihood"])
def test_loss(name: str, number: int) -> None:
    d = Draw(name, number)
    _, truth_kind, kind, draw_arguments = KERAS[name]
    arguments, lead = draw_arguments(d), d.sizes(d.size(1, 2), 2, 4)
    reduction = d.one_of("sum_over_batch_size", "sum", "none", "mean_with_sample_weight")
    weight = d.rng.random(lead) + 0.2 if d.flag() else None
    mask = d.mask(*lead) if len(lead) == 2 and d.flag() else None
    data, truth = d.array(*lead, CLASSES), targets(d, truth_kind, lead)
    with G.graph():
        x = G.input("x", data.shape, "float64")
        y = G.input("y", truth.shape, truth.dtype.name)
        prediction = prepared(kind, arguments, x)
        if mask is not None:
            prediction = nn.with_mask(prediction, G.constant(mask))
        loss = getattr(nn.losses, name)(reduction=reduction, **arguments)(y, prediction, weight)
        model = G.Model(run={"loss": loss, "dx": G.grad(loss.sum(), x)})
        got, _ = evaluate(model.entries["run"], {"x": data, "y": truth})
    given = leaf(data)
    prediction = prepared(kind, arguments, given)
    if mask is not None:
        prediction._keras_mask = torch.tensor(mask)
    value = getattr(keras.losses, name)(reduction=reduction, **arguments)(torch.tensor(truth), prediction, weight)
    value.sum().backward()
    close(got, {"loss": value.detach().numpy(), "dx": given.grad.numpy()}, TOLERANCE, f"{name} {arguments} {reduction}")


OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "epsilon": 1e-2}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.8, "momentum": 0.7}),
    ("RMSprop", {"centered": True, "epsilon": 1e-3}),
    ("SGD", {"clipnorm": 0.1}),
    ("Adam", {"global_clipnorm": 0.1}),
    ("RMSprop", {"clipvalue": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("scheduled", [False, True])
def test_optimizer(name: str, options: dict[str, Any], scheduled: bool) -> None:
    start = {"v": np.random.default_rng(0).normal(size=(3, 2)), "w": np.random.default_rng(1).normal(size=4)}
    rate: Any = 0.03
    if scheduled:
        rate = optim.schedules.CosineDecay(0.03, 4, 0.1)
    with G.graph():
        parameters = [G.parameter(key, value, dtype="float64") for key, value in start.items()]
        loss = sum(((p**4).sum() + G.sin(p).sum() for p in parameters), G.constant(np.zeros(())))
        model = G.Model(train=getattr(optim, name)(rate, **options).minimize(loss))
        states: dict[str, Array] = {}
        for _ in range(5):
            states |= evaluate(model.entries["train"], [], states)[1]
    theirs = getattr(keras.optimizers, name)(
        keras.optimizers.schedules.CosineDecay(0.03, 4, 0.1) if scheduled else rate, **options
    )
    variables = [keras.Variable(value) for value in start.values()]
    for _ in range(5):
        gradients = [4 * variable.value.detach() ** 3 + torch.cos(variable.value.detach()) for variable in variables]
        theirs.apply(gradients, variables)
    expected = {key: variable.numpy() for key, variable in zip(start, variables, strict=True)}
    # Keras holds the rate in float32, and we compute a schedule so.
    close({key: states[key] for key in start}, expected, 1e-6, f"{name} {options}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaxNorm", {"max_value": 0.5}),
        ("MaxNorm", {"max_value": 1.0, "axis": 1}),
        ("MinMaxNorm", {"min_value": 0.8, "max_value": 1.1, "rate": 0.3}),
        ("UnitNorm", {"axis": [0, 1]}),
        ("NonNeg", {}),
    ],
)
def test_constraint(name: str, options: dict[str, Any]) -> None:
    data = np.random.default_rng(0).normal(size=(3, 4))
    with G.graph():
        made = getattr(nn.constraints, name)(**options)(G.input("w", data.shape, "float64"))
        got, _ = evaluate(G.Model(run=made).entries["run"], [data])
    expected = getattr(keras.constraints, name)(**options)(torch.tensor(data))
    close(got, {"run": expected.numpy()}, TOLERANCE, name)


def two_networks() -> tuple[Any, Any]:
    """The same network twice, with the same weights: masks, recurrence, normalization, penalties, constraints."""
    made = []
    for layers, models, constraint in (
        (nn.layers, nn.models, nn.constraints.MaxNorm),
        (keras.layers, keras.models, keras.constraints.MaxNorm),
    ):
        made.append(
            models.Sequential(
                [
                    layers.Input((5,), dtype="int64"),
                    layers.Embedding(9, 6, mask_zero=True),
                    layers.Bidirectional(layers.GRU(4, return_sequences=True, kernel_regularizer="l2")),
                    layers.BatchNormalization(),
                    layers.Dense(5, activation="relu", kernel_constraint=constraint(0.8)),
                    layers.Dense(3, activation="softmax"),
                ]
            )
        )
    made[0].set_weights(made[1].get_weights())
    return made[0], made[1]


@pytest.mark.parametrize("weighting", ["none", "samples", "steps", "classes"])
def test_training_runs(weighting: str) -> None:
    """Loss, metrics and weights over three epochs; the last batch is smaller."""
    precision("float32")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, size=(22, 5)), rng.integers(0, 3, size=(22, 5))
    x[:, 0] = 1  # no sequence without a step
    options: dict[str, Any] = {}
    if weighting == "steps":
        options["sample_weight"] = rng.random((22, 5)) + 0.5
    ours, theirs = two_networks()
    if weighting in ("samples", "classes"):
        y = y[:, 0]
        ours, theirs = (
            namespace.Model(network.inputs, namespace.layers.GlobalAveragePooling1D()(network.outputs[0]))
            for namespace, network in ((nn, ours), (keras, theirs))
        )
        ours.set_weights(theirs.get_weights())
        options["sample_weight" if weighting == "samples" else "class_weight"] = (
            rng.random(22) + 0.5 if weighting == "samples" else {0: 2.0, 2: 0.5}
        )
    compiled = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    if weighting != "steps":  # there Keras' loss writes into the weights that the metric then reads
        compiled["weighted_metrics"] = ["sparse_categorical_crossentropy"]
    ours.compile(**compiled, backend="numpy")
    theirs.compile(**compiled)
    fitting = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0, "validation_data": (x[:9], y[:9])}
    got, expected = ours.fit(x, y, **fitting, **options).history, theirs.fit(x, y, **fitting, **options).history
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=2e-5, atol=1e-6, err_msg=name)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-3, atol=1e-5)


def test_recurrent_dropout_has_as_many_masks() -> None:
    """Those that Keras draws for a sequence, told apart by their shapes and by who shares them."""
    for name in ("SimpleRNN", "LSTM", "GRU"):
        for rates in ((0.3, 0.0), (0.0, 0.3), (0.3, 0.4)):
            theirs = getattr(keras.layers, name)(3, dropout=rates[0], recurrent_dropout=rates[1]).cell
            step, state = torch.ones(2, 4), torch.ones(2, 3)
            expected = [
                len(mask) if isinstance(mask, list) else 0 if mask is None else 1
                for mask in (theirs.get_dropout_mask(step), theirs.get_recurrent_dropout_mask(state))
            ]
            with G.graph():
                ours = getattr(nn, name)(3, dropout=rates[0], recurrent_dropout=rates[1]).cell
                masks = ours.masks(G.input("x", (2, 4)))
                assert [len(part) for part in masks] == expected, (name, rates)
