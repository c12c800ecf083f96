"""Constraints: where a step of any optimizer puts weights back."""

from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim

DATA = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)


def norms(w: Any, axis: Any) -> Any:
    return np.sqrt((w**2).sum(axis, keepdims=True))


def trained(layer: nn.Layer, optimizer: Any, steps: int = 5, backend: str = "numpy") -> Any:
    x = G.input("x", (16, 4))
    out = layer(x)
    model = G.compile(G.Model(train=optimizer.minimize(((out - 3) ** 2).sum())), backend=backend)
    for _ in range(steps):
        model.train(DATA)
    return model.parameters


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_every_optimizer_keeps_them(kind: str, backend: str) -> None:
    layer = nn.Dense(3, name="d", kernel_constraint=nn.constraints.MaxNorm(0.7), bias_constraint="non_neg")
    found = trained(layer, getattr(optim, kind)(0.1), backend=backend)
    assert (norms(found["d/kernel"], 0) <= 0.7 * (1 + 1e-5)).all()
    assert norms(found["d/kernel"], 0).max() > 0.69
    assert (found["d/bias"] >= 0).all()


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (nn.constraints.max_norm(0.5, axis=1), lambda w: w * np.clip(norms(w, 1), 0, 0.5) / (norms(w, 1) + 1e-7)),
        (
            nn.constraints.min_max_norm(0.5, 0.9, 0.3),
            lambda w: w * (0.3 * np.clip(norms(w, 0), 0.5, 0.9) + 0.7 * norms(w, 0)) / (norms(w, 0) + 1e-7),
        ),
        (nn.constraints.UnitNorm(axis=[0, 1]), lambda w: w / (norms(w, (0, 1)) + 1e-7)),
        ("non_neg", lambda w: np.maximum(w, 0)),
        (lambda w: w * 0.5, lambda w: w * 0.5),
        (nn.constraints.NonNeg, lambda w: np.maximum(w, 0)),
    ],
)
def test_one_step(constraint: Any, expected: Any) -> None:
    start = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    after = []
    for one in (None, constraint):
        with G.graph():
            layer = nn.Dense(3, name="d", kernel_initializer=lambda type, seed: start, kernel_constraint=one)
            after.append(np.array(trained(layer, optim.SGD(0.01), 1)["d/kernel"]))
    np.testing.assert_allclose(after[1], expected(after[0]), rtol=1e-5, atol=1e-7)


LAYERS: list[tuple[Any, tuple[int, ...], dict[str, Any]]] = [
    (
        lambda: nn.LSTM(3, kernel_constraint="max_norm", recurrent_constraint="unit_norm", bias_constraint="non_neg"),
        (2, 4, 3),
        {"kernel": "largest", "recurrent_kernel": "one", "bias": "positive"},
    ),
    (lambda: nn.Bidirectional(nn.GRU(3, recurrent_constraint="unit_norm")), (2, 4, 3), {"recurrent_kernel": "one"}),
    (lambda: nn.Embedding(5, 3, embeddings_constraint="unit_norm"), (2, 4), {"embeddings": "one"}),
    (lambda: nn.Conv1D(3, 1, kernel_constraint=nn.constraints.UnitNorm([0, 1])), (2, 4, 3), {"kernel": "window"}),
    (lambda: nn.DepthwiseConv2D(2, depthwise_constraint="non_neg"), (2, 4, 4, 3), {"kernel": "positive"}),
    (
        lambda: nn.SeparableConv2D(3, 2, depthwise_constraint="non_neg", pointwise_constraint="non_neg"),
        (2, 4, 4, 3),
        {"depthwise_kernel": "positive", "pointwise_kernel": "positive"},
    ),
    (
        lambda: nn.BatchNormalization(gamma_constraint="non_neg", beta_constraint="unit_norm"),
        (2, 4),
        {"gamma": "positive", "beta": "one"},
    ),
    (lambda: nn.PReLU(alpha_constraint="non_neg"), (2, 4), {"alpha": "positive"}),
    (lambda: nn.RNN(nn.PeepholeLSTMCell(3, peephole_constraint="non_neg")), (2, 4, 3), {"peephole_kernel": "positive"}),
]


@pytest.mark.parametrize(("make", "shape", "kept"), LAYERS)
def test_layers_take_them_by_keras_names(make: Any, shape: tuple[int, ...], kept: dict[str, str]) -> None:
    layer = make()
    x = G.input("x", shape, "int64" if isinstance(layer, nn.Embedding) else "float32")
    data = np.random.default_rng(0).integers(0, 5, size=shape).astype(np.int64 if len(shape) == 2 else np.float32)
    model = G.compile(G.Model(train=optim.SGD(3.0).minimize(((layer(x) + 1) ** 2).sum())), backend="numpy")
    model.train(data.astype(x.dtype.storage))
    found = {state.name.rsplit("/", 1)[-1]: model.parameters[state.name] for state in layer.states}
    for name, what in kept.items():
        if what == "positive":
            assert (found[name] >= 0).all()
        else:
            sizes = norms(found[name], (0, 1) if what == "window" else 0)
            assert (sizes <= 2.001).all() if what == "largest" else np.allclose(sizes, 1, atol=1e-3), name


def test_they_are_part_of_an_artifact(tmp_path: Any) -> None:
    network = nn.Sequential([nn.Dense(3, kernel_constraint=nn.constraints.MaxNorm(0.5), input_shape=(4,))])
    network.compile("adam", "mse", backend="numpy")
    network.fit(DATA, np.full((16, 3), 5.0), epochs=2)
    loaded = G.load(network.export(tmp_path / "kept", batch_size=16))
    for _ in range(300):
        loaded.train(DATA, np.full((16, 3), 5.0, np.float32))
    assert norms(loaded.parameters["dense/kernel"], 0).max() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("wrong", ["max_nrm", 3])
def test_what_is_no_constraint(wrong: Any) -> None:
    with pytest.raises(G.GraphcError, match="constraint") as caught:
        nn.Dense(3, kernel_constraint=wrong)
    assert caught.value.code == "E213"
    with pytest.raises(G.GraphcValueError, match="max_value"):
        nn.constraints.MinMaxNorm(2.0, 1.0)
