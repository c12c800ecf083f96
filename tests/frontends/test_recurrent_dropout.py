"""Dropout inside recurrent layers, as Keras has it: which masks there are, and what reads them."""

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import graphc as G
from graphc import nn, optim
from graphc.ir.interp import evaluate
from graphc.ir.traverse import creation_order

BATCH, TIME, FEATURES, UNITS = 3, 4, 5, 2
X = np.random.default_rng(0).normal(size=(BATCH, TIME, FEATURES))
RATES = (0.4, 0.3)


def masks_of(uniform: Any, rate: float) -> Any:
    return (uniform < 1 - rate) / (1 - rate)


def gates(x: Any, kernel: Any, masks: Any, count: int) -> list[Any]:
    """The products of each gate with what its mask leaves of x."""
    each = masks if masks.ndim == 3 else [masks] * count
    return [(x * mask) @ part for mask, part in zip(each, np.split(kernel, count, axis=1), strict=True)]


def lstm(w: Any, x: Any, h: Any, c: Any, of_x: Any, of_h: Any) -> Any:
    inputs, states = gates(x, w["kernel"], of_x, 4), gates(h, w["recurrent_kernel"], of_h, 4)
    i, f, g, o = (a + b + part for a, b, part in zip(inputs, states, np.split(w["bias"], 4), strict=True))
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def gru(w: Any, x: Any, h: Any, of_x: Any, of_h: Any, after: bool) -> Any:
    inputs = gates(x, w["kernel"], of_x, 3)
    biases = np.split(w["bias"], 3, axis=-1)
    each = of_h if of_h.ndim == 3 else [of_h] * 3
    kernels = np.split(w["recurrent_kernel"], 3, axis=1)
    az, ar, ah = (a + (b[0] if after else b) for a, b in zip(inputs, biases, strict=True))
    states = [(h * mask) @ part for mask, part in zip(each, kernels, strict=True)]
    if after:
        states = [part + b[1] for part, b in zip(states, biases, strict=True)]
    z, r = expit(az + states[0]), expit(ar + states[1])
    candidate = np.tanh(ah + (r * states[2] if after else (r * h * each[2]) @ kernels[2]))
    return z * h + (1 - z) * candidate


def _draws(out: G.Tensor) -> list[G.Tensor]:
    """The uniform numbers that ``out`` depends on."""
    return [G.Tensor(node, out.builder) for node in creation_order([out.node]) if node.op.name == "random_uniform"]


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU", "GRU reset before"])
def test_masks_of_a_sequence(kind: str, recurrent: bool) -> None:
    rates = RATES if recurrent else (RATES[0], 0.0)
    options: dict[str, Any] = {"reset_after": False} if kind == "GRU reset before" else {}
    bias = nn.initializers.RandomNormal(stddev=0.5)
    layer = getattr(nn, kind.split(maxsplit=1)[0])(
        UNITS, dropout=rates[0], recurrent_dropout=rates[1], bias_initializer=bias, **options
    )
    x = G.input("x", X.shape, "float64")
    out = layer(x)
    draws = _draws(out)
    assert len(draws) == 1 + recurrent
    run = G.Step({"out": out, **{f"u{n}": node for n, node in enumerate(draws)}}, training=True)
    got, _ = evaluate(G.Model(run=run).entries["run"], [X])
    count = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind.split(maxsplit=1)[0]]
    assert got["u0"].shape == ((BATCH, FEATURES) if count == 1 or not recurrent else (count, BATCH, FEATURES))
    of_x = masks_of(got["u0"], rates[0])
    of_h = masks_of(got["u1"], rates[1]) if recurrent else np.ones((BATCH, UNITS))
    w = {state.name.rsplit("/", 1)[1]: state.initial_value(0) for state in layer.states}
    h = c = np.zeros((BATCH, UNITS))
    for t in range(TIME):
        if kind == "SimpleRNN":
            h = np.tanh((X[:, t] * of_x) @ w["kernel"] + w["bias"] + (h * of_h) @ w["recurrent_kernel"])
        elif kind == "LSTM":
            h, c = lstm(w, X[:, t], h, c, of_x, of_h)
        else:
            h = gru(w, X[:, t], h, of_x, of_h, kind == "GRU")
    np.testing.assert_allclose(got["out"], h, rtol=1e-10)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_every_backend_drops_the_same(backend: str) -> None:
    x = G.input("x", X.shape)
    out = nn.Bidirectional(nn.LSTM(UNITS, dropout=0.3, recurrent_dropout=0.3))(x)
    model = G.Model(run=G.Step(out, training=True))
    compiled = G.compile(model, backend=backend)
    states: dict[str, Any] = {name: np.array(value) for name, value in compiled.parameters.items()}
    for _ in range(3):
        expected, after = evaluate(model.entries["run"], [X.astype(np.float32)], states)
        np.testing.assert_allclose(compiled.run(X.astype(np.float32)), expected["run"], rtol=1e-5, atol=1e-6)
        states |= after


def test_prediction_is_one_product_for_all_gates() -> None:
    x = G.input("x", X.shape)
    layer = nn.LSTM(UNITS, dropout=0.3, recurrent_dropout=0.3)
    predict = G.Model(predict=layer(x)).entries["predict"]
    plain = nn.LSTM(UNITS)
    expected = G.Model(predict=plain(x)).entries["predict"]
    ops = [[node.op.name for node in graph.nodes] for graph in (predict, expected)]
    assert sorted(ops[0]) == sorted(ops[1])


def test_a_training_step_computes_nothing_of_prediction() -> None:
    x, y = G.input("x", X.shape), G.input("y", (BATCH, 1))
    h = nn.BatchNormalization()(nn.LSTM(UNITS, dropout=0.3, recurrent_dropout=0.3)(x))
    loss = nn.losses.mean_squared_error(y, nn.Dense(1)(nn.Dropout(0.5)(h)))
    train = G.Model(train=optim.SGD(0.1).minimize(loss)).entries["train"]
    # The moving statistics are written, and read for that alone: no gradient goes through what predicts.
    reads = [node for node in train.nodes if any(operand.op.name == "state" for operand in node.inputs)]
    moving = [node for node in reads if any("moving" in str(operand.attrs.get("state")) for operand in node.inputs)]
    assert {node.op.name for node in moving} == {"multiply"}
    products = [node for node in train.nodes if node.op.name == "matmul" and node.shape == (BATCH, 4 * UNITS)]
    assert not products
