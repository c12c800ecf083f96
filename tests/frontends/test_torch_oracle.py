"""Layers, losses and optimizers against PyTorch: forward, gradients, optimizer steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.ir.interp import evaluate

pytestmark = pytest.mark.oracle
X = np.random.default_rng(0).normal(size=(3, 5, 4))
H = 6

# PyTorch's gates stand in another order: LSTM i f g o (as here), GRU r z n (here z r h).
_ORDERS = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "RNN": [0]}


def _torch_layout(weights: dict[str, Any], kind: str) -> dict[str, Any]:
    order = _ORDERS[kind]

    def gates(array: Any) -> Any:
        return np.concatenate([np.split(array, len(order), axis=-1)[gate] for gate in order], axis=-1)

    bias = np.atleast_2d(weights["bias"])
    return {
        "weight_ih_l0": gates(weights["kernel"]).T,
        "weight_hh_l0": gates(weights["recurrent_kernel"]).T,
        "bias_ih_l0": gates(bias[0]),
        "bias_hh_l0": gates(bias[1]) if len(bias) == 2 else np.zeros(len(order) * H),
    }


@pytest.mark.parametrize(("kind", "layer"), [("LSTM", nn.LSTM), ("GRU", nn.GRU), ("RNN", nn.SimpleRNN)])
def test_recurrent_layers(kind: str, layer: Callable[..., nn.Layer]) -> None:
    import torch

    x = G.input("x", X.shape, "float64")
    ours = layer(H, return_sequences=True, bias_initializer=nn.initializers.RandomNormal(stddev=0.5))
    out = ours(x)
    loss = (out * out).sum()
    wrt = [x, *ours.weights]
    model = G.Model(out={"out": out, **{f"d{n}": g for n, g in enumerate(G.grad(loss, wrt))}})
    got, _ = evaluate(model.entries["out"], [X])

    theirs = getattr(torch.nn, kind)(4, H, batch_first=True, dtype=torch.float64)
    names = [state.name.rsplit("/", 1)[1] for state in ours.states]
    weights = _torch_layout(dict(zip(names, (state.initial_value() for state in ours.states), strict=True)), kind)
    for name, value in weights.items():
        getattr(theirs, name).data = torch.tensor(value)
    given = torch.tensor(X, requires_grad=True)
    expected = theirs(given)[0]
    (expected * expected).sum().backward()
    np.testing.assert_allclose(got["out"], expected.detach(), rtol=1e-10)
    np.testing.assert_allclose(got["d0"], given.grad, rtol=1e-9, atol=1e-12)
    found = _torch_layout({name: got[f"d{n}"] for n, name in enumerate(names, start=1)}, kind)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
        np.testing.assert_allclose(found[name], getattr(theirs, name).grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (optim.SGD(lr=0.1, momentum=0.9, nesterov=True), lambda t, p: t.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        (optim.Adam(lr=0.01, eps=1e-8), lambda t, p: t.optim.Adam(p, 0.01)),
        (optim.AdamW(lr=0.01, weight_decay=0.1, eps=1e-8), lambda t, p: t.optim.AdamW(p, 0.01, weight_decay=0.1)),
        (
            optim.Adagrad(lr=0.1, initial_accumulator_value=0.0, eps=1e-10),
            lambda t, p: t.optim.Adagrad(p, 0.1),
        ),
        (
            optim.RMSprop(lr=0.01, alpha=0.99, momentum=0.5, centered=True, eps=1e-8),
            lambda t, p: t.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
        ),
    ],
)
def test_optimizers(ours: optim.Optimizer, make: Callable[..., Any]) -> None:
    import torch

    start = np.random.default_rng(1).normal(size=(4, 3))
    with G.graph():
        w = G.parameter("w", start, dtype="float64")
        model = G.Model(train=ours.minimize((w**4).sum() + G.sin(w).sum()))
    theirs = torch.tensor(start, requires_grad=True)
    optimizer = make(torch, [theirs])
    states: dict[str, Any] = {}
    for _ in range(5):
        states |= evaluate(model.entries["train"], [], states)[1]
        optimizer.zero_grad()
        ((theirs**4).sum() + torch.sin(theirs).sum()).backward()
        optimizer.step()
        np.testing.assert_allclose(states["w"], theirs.detach(), rtol=1e-9)


def test_convolution_and_cross_entropy() -> None:
    import torch

    image, labels = np.random.default_rng(2).normal(size=(2, 3, 9, 9)), np.array([1, 0])
    kernel = np.random.default_rng(3).normal(size=(4, 3, 3, 3))
    x = G.input("x", image.shape, "float64")
    k = G.constant(kernel)
    y = G.conv2d(x, k, strides=2, padding=1, data_format="channels_first")
    pooled = G.max_pool(y, 2, data_format="channels_first")
    loss = nn.losses.sparse_categorical_crossentropy(labels, G.reshape(pooled, (2, -1)), from_logits=True)
    got, _ = evaluate(G.Model(out={"loss": loss, "dx": G.grad(loss, x)}).entries["out"], [image])

    given = torch.tensor(image, requires_grad=True)
    functional = torch.nn.functional
    maps = functional.max_pool2d(functional.conv2d(given, torch.tensor(kernel), stride=2, padding=1), 2)
    expected = functional.cross_entropy(maps.reshape(2, -1), torch.tensor(labels))
    expected.backward()
    np.testing.assert_allclose(got["loss"], expected.item(), rtol=1e-10)
    np.testing.assert_allclose(got["dx"], given.grad, rtol=1e-9, atol=1e-12)
