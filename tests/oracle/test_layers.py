"""Every layer without a loop over time against torch, in random configurations, and one around another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import graphc as G
from graphc import nn
from graphc.ir.interp import evaluate
from tests.oracle import random_plain, random_spatial
from tests.oracle.nn_parity import Case, compare, first, last
from tests.oracle.random_cases import REGISTRY, Draw, cases_of
from tests.oracle.random_recurrent import CASES as RECURRENT

pytestmark = pytest.mark.oracle
assert random_plain.__doc__ and random_spatial.__doc__  # importing them fills the registry
CASES = cases_of(list(REGISTRY))
COMPILED = {CASES[number].label for number in range(0, len(CASES), 29)}

ELSEWHERE = {
    "recurrent": "GRU GRUCell LSTM LSTMCell RNN SimpleRNN SimpleRNNCell StackedRNNCells Bidirectional",
    "recurrent, not Keras'": "ConcatLSTMCell MemoryCell MinimalGRUCell PeepholeLSTMCell",
    "below": "TimeDistributed ActivityRegularization",
    "random numbers of their own": "AlphaDropout Dropout GaussianDropout GaussianNoise",
    "random numbers of whole channels": "Dropout1d Dropout2d Dropout3d",
    "the same, channels last": "SpatialDropout1D SpatialDropout2D SpatialDropout3D",
    "what a user makes of them": "Cell GatedCell Lambda Layer Module",
}


def test_no_layer_is_left_out() -> None:
    layers = {kind for name in nn.layers.__all__ if isinstance(kind := getattr(nn, name), type)}
    covered = {
        getattr(nn, name) for name in (*REGISTRY, *(name for names in ELSEWHERE.values() for name in names.split()))
    }
    assert not sorted(kind.__name__ for kind in layers - covered)


def test_there_are_enough() -> None:
    assert len(CASES) + len(RECURRENT) >= 400
    assert len({case.label for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    compare(case, backends=("numpy", "llvm") if case.label in COMPILED else ())


@pytest.mark.parametrize("number", range(3))
def test_time_distributed(number: int) -> None:
    d = Draw("TimeDistributed", number)
    filters, steps = d.size(1, 3), d.size()

    def reference(w: Any, x: Any) -> Any:
        kernel, bias = (next(value for name, value in w.items() if name.endswith(end)) for end in ("kernel", "bias"))
        window = kernel.movedim((-1, -2), (0, 1)).contiguous()
        return torch.stack([last(torch.conv2d(first(x[:, t]), window, bias)) for t in range(steps)], 1)

    case = Case(
        "TimeDistributed",
        lambda namespace: namespace.TimeDistributed(namespace.Conv2D(filters, 2, name="inner")),
        reference,
        (d.array(2, steps, 4, 4, 2),),
    )
    compare(case)


def test_penalties_on_weights_and_activities() -> None:
    x = G.input("x", (3, 4), "float64")
    layer = nn.Dense(2, "tanh", kernel_regularizer=nn.regularizers.L1L2(0.01, 0.02), bias_regularizer="l2")
    out = nn.ActivityRegularization(0.1, 0.3)(layer(x))
    loss = nn.regularizers.penalized((out**3).sum())
    gradients = G.grad(loss, [x, *layer.weights])
    model = G.Model(run={"loss": loss, **{f"d{n}": gradient for n, gradient in enumerate(gradients)}})
    data = np.random.default_rng(0).normal(size=(3, 4))
    weights = {state.name: state.initial_value(0) + 0.1 for state in layer.states}
    got, _ = evaluate(model.entries["run"], [data], weights)
    leaves = [torch.tensor(value, requires_grad=True) for value in (data, *weights.values())]
    made = torch.tanh(leaves[0] @ leaves[1] + leaves[2])
    total = (made**3).sum() + 0.01 * leaves[1].abs().sum() + 0.02 * (leaves[1] ** 2).sum()
    total = total + 0.01 * (leaves[2] ** 2).sum() + (0.1 * made.abs().sum() + 0.3 * (made**2).sum()) / 3
    total.backward()
    for value, expected in zip(got.values(), (total.detach(), *(leaf.grad for leaf in leaves)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12)


def test_moving_statistics() -> None:
    x = G.input("x", (6, 4, 3), "float64")
    layers = [nn.BatchNorm1d(4), nn.BatchNormalization(axis=1, momentum=0.9)]
    step = G.Step([layer(x) for layer in layers], training=True)
    data = np.random.default_rng(0).normal(size=(6, 4, 3))
    _, after = evaluate(G.Model(run=step).entries["run"], [data])
    theirs = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    theirs(torch.tensor(data))
    np.testing.assert_allclose(after["batch_norm1d/running_mean"], theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(after["batch_norm1d/running_var"], theirs.running_var, rtol=1e-12)
    np.testing.assert_allclose(after["batch_normalization/moving_mean"], theirs.running_mean, rtol=1e-12)
    expected = 0.9 + 0.1 * data.var((0, 2))
    np.testing.assert_allclose(after["batch_normalization/moving_variance"], expected, rtol=1e-12)
