"""The NumPy and the LLVM backend give the same training run: 50 losses that agree to 1e-4, dropout included."""

from collections.abc import Callable, Iterator
from itertools import repeat
from types import ModuleType

import numpy as np
import pytest

import graphc as G
from tests.examples.loading import example

STEPS = 50
Batches = Iterator[dict[str, np.ndarray]]


def of_data(x: np.ndarray, y: np.ndarray, size: int) -> Batches:
    """Batches in a seeded order."""
    rng = np.random.default_rng(0)
    while True:
        rows = rng.integers(0, len(y), size)
        yield {"x": x[rows], "y": y[rows]}


def perceptron(file: ModuleType) -> tuple[G.Model, Batches]:
    data = file.tumours()
    return file.model("tanh"), of_data(data.x, data.y, 57)


def digits_mlp(file: ModuleType) -> tuple[G.Model, Batches]:
    data = example("_data").digits()
    return file.model(widths=(64, 32), rate=0.5, batch=50, size=8), of_data(data.x, data.y, 50)


def digits_cnn(file: ModuleType) -> tuple[G.Model, Batches]:
    data = example("_data").digits()
    return file.model(filters=8, rate=0.5), of_data(data.x, data.y, 32)


def digits_lstm(file: ModuleType) -> tuple[G.Model, Batches]:
    x, y, *_ = file.digits()
    batches = of_data(x.transpose(1, 0, 2), y, 32)
    return file.model(), (batch | {"x": np.ascontiguousarray(batch["x"].transpose(1, 0, 2))} for batch in batches)


def batch_normalization(file: ModuleType) -> tuple[G.Model, Batches]:
    data = file.wines()
    return file.model(), of_data(data.x, data.y, 16)


def autoencoder(file: ModuleType) -> tuple[G.Model, Batches]:
    data = example("_data").digits()
    images = np.kron(data.x, np.ones((1, 3, 3, 1), "float32"))
    framed = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return file.model(code=16), ({"x": batch["x"]} for batch in of_data(framed, data.y, file.BATCH))


def learning_to_learn(file: ModuleType) -> tuple[G.Model, Batches]:
    return file.model(tasks=5, hidden=20), repeat(file.sines(5, 10, np.random.default_rng(0)))


CASES = [perceptron, digits_mlp, digits_cnn, digits_lstm, batch_normalization, autoencoder, learning_to_learn]


def losses(case: Callable[..., tuple[G.Model, Batches]], backend: str, **options: int) -> np.ndarray:
    model, batches = case(example(case.__name__))
    m = G.compile(model, backend=backend, **options)
    return np.array([float(m.train(**next(batches))) for _ in range(STEPS)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_backends_give_the_same_losses(case: Callable[..., tuple[G.Model, Batches]]) -> None:
    native, readable = (losses(case, backend) for backend in ("llvm", "numpy"))
    assert np.isfinite(native).all()
    assert native[-10:].mean() < native[:10].mean(), "it should learn something in 50 steps"
    np.testing.assert_allclose(native, readable, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [digits_mlp, digits_cnn, autoencoder], ids=lambda case: case.__name__)
def test_some_cases_have_dropout(case: Callable[..., tuple[G.Model, Batches]]) -> None:
    model, _ = case(example(case.__name__))
    assert any(node.op.name == "random_uniform" for node in model.module.entry("train").nodes)


def test_dropout_follows_the_seed() -> None:
    """Otherwise equal losses would say nothing about the masks."""
    first, second = (losses(digits_mlp, "llvm", seed=seed) for seed in (0, 1))
    assert abs(first - second).max() > 1e-2
