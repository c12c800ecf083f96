"""Every optimizer against torch in random configurations: clipping and schedules included, over several steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import graphc as G
from graphc import nn, optim
from graphc.ir.interp import evaluate
from tests.oracle.nn_parity import TOLERANCES, close
from tests.oracle.optimizers import KINDS, any_optimizer

pytestmark = pytest.mark.oracle
STEPS = 5


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_network(kind: str, number: int) -> None:
    rng = np.random.default_rng([number, len(kind)])
    data, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, size=6)
    for dtype, tolerance in TOLERANCES.items():
        optimizer = any_optimizer(np.random.default_rng(number), kind)
        with G.graph():
            x, y = G.input("x", data.shape, dtype), G.input("y", labels.shape, "int64")
            layers = [nn.Dense(5, "tanh", name="a"), nn.Dense(3, name="b")]
            logits = layers[1](layers[0](x))
            loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
            model = G.Model(train=optimizer.ours.minimize(loss))
            states = {state.name: state.initial_value(number) for layer in layers for state in layer.states}
            leaves = [torch.tensor(value.astype(float), requires_grad=True) for value in states.values()]
            step = optimizer.theirs(leaves)
            given = {"x": data.astype(dtype), "y": labels}
            for _ in range(STEPS):
                states |= evaluate(model.entries["train"], given, states)[1]
                for leaf in leaves:
                    leaf.grad = torch.zeros_like(leaf)
                hidden = torch.tanh(torch.tensor(given["x"].astype(float)) @ leaves[0] + leaves[1])
                torch.nn.functional.cross_entropy(hidden @ leaves[2] + leaves[3], torch.tensor(labels)).backward()
                step()
        names = ("a/kernel", "a/bias", "b/kernel", "b/bias")
        expected = {name: leaf.detach().numpy() for name, leaf in zip(names, leaves, strict=True)}
        close({name: states[name] for name in names}, expected, tolerance, f"{optimizer.label} {dtype}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule(kind: str) -> None:
    """torch's rate changes after a step, ours is a function of the steps before it."""
    start = np.random.default_rng(1).normal(size=(4, 3))
    schedule = optim.schedules.ExponentialDecay(0.05, 1, 0.7)
    options = {"eps": 1e-3} if kind != "SGD" else {}
    options |= {"weight_decay": 0.01} if kind == "AdamW" else {}
    options |= {"initial_accumulator_value": 0.1} if kind == "Adagrad" else {}
    with G.graph():
        w = G.parameter("w", start, dtype="float64")
        model = G.Model(train=getattr(optim, kind)(schedule, **options).minimize((w**4).sum() + G.sin(w).sum()))
        states: dict[str, np.ndarray] = {}
        for _ in range(STEPS):
            states |= evaluate(model.entries["train"], [], states)[1]
    leaf = torch.tensor(start, requires_grad=True)
    if kind == "RMSprop":
        options["alpha"] = 0.9
    theirs = getattr(torch.optim, kind)([leaf], lr=0.05, **options)
    decay = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.7)
    for _ in range(STEPS):
        theirs.zero_grad()
        ((leaf**4).sum() + torch.sin(leaf).sum()).backward()
        theirs.step()
        decay.step()
    # The rate is computed in float32.
    np.testing.assert_allclose(states["w"], leaf.detach(), rtol=1e-6)
