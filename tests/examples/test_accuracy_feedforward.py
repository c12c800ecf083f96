"""What the feed-forward examples claim, on data they have not seen: seeded, and a little below what was measured."""

import numpy as np
import pytest

from tests.examples.loading import example

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "activation",
    ["step", "identity", "sigmoid", "hard_sigmoid", "tanh", "softsign", "relu", "elu", "gompertz"],
)
def test_perceptron(activation: str) -> None:
    file = example("perceptron")
    assert activation in file.ACTIVATIONS
    assert file.learn(activation, epochs=100) >= 0.93


def test_deep_network_with_dropout_and_weight_decay() -> None:
    file = example("digits_mlp")
    known, test = file.learn(epochs=30)
    plain_known, plain_test = file.learn(epochs=30, rate=0.0, decay=0.0)
    assert test >= 0.94
    assert test > plain_test
    assert known > 0.99 and plain_known > 0.99


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_cnn(seed: int) -> None:
    assert example("digits_cnn").learn(epochs=100, seed=seed) >= 0.98


@pytest.mark.parametrize(
    "epochs, least",
    [pytest.param(12, 0.965, id="12"), pytest.param(60, 0.98, id="60", marks=pytest.mark.slow(ci=False))],
)
def test_the_keras_listing_on_mnist(epochs: int, least: float) -> None:
    _, share = example("mnist_keras_cnn").learn(epochs)
    assert share >= least


@pytest.mark.parametrize("seed", [0, 1])
def test_photographs(seed: int) -> None:
    assert example("photographs_torch_cnn").learn(epochs=10, seed=seed) >= 0.95


@pytest.mark.parametrize("merge", ["concatenate", "add", "multiply", "average"])
def test_cars(merge: str) -> None:
    file = example("cars_two_branches")
    assert file.learn(merge, epochs=60) < 3.8 < 0.5 * file.cars()[1].miles.std()


def test_autoencoder_and_transfer() -> None:
    found = example("autoencoder").figures(epochs=20)
    assert found["error"] < 0.02 < 0.3 * found["error of the mean digit"]
    assert found["transferred"] > found["from nothing"] + 0.03
    assert found["unchanged"]


def test_batch_normalization() -> None:
    file = example("batch_normalization")
    plain, normalized = (
        np.mean([file.learn(kind, epochs=20, seed=seed)[1] for seed in range(3)]) for kind in (False, True)
    )
    assert normalized >= 0.9
    assert normalized > plain + 0.15


def test_own_variance_is_calibrated_and_better() -> None:
    file = example("mean_and_variance")
    own, common = (file.figures(kind, epochs=50) for kind in (True, False))
    for size in (50, 80, 95):
        assert own[f"{size} %"] == pytest.approx(size / 100, abs=0.05)
    assert own["log-likelihood"] > common["log-likelihood"]
    assert own["error, least sure"] > 1.3 * own["error, surest quarter"]


def test_bayesian_layer_knows_where_it_has_seen_nothing() -> None:
    covered, found = example("bayesian_layer").figures(steps=30000)
    (error, spread), *beyond = found.values()
    assert error < 0.05 and 0.85 < covered < 0.97
    assert beyond[0][1] > 2 * spread and beyond[-1][1] > 8 * spread


def test_learning_to_learn_beats_plain_training() -> None:
    file = example("learning_to_learn")
    plain, first_order, maml = (file.learn(kind, steps=5000) for kind in ("plain", "first order", "maml"))
    assert maml[-1] < 0.06
    assert maml[-1] < 0.1 * plain[-1]
    assert maml[-1] < 0.7 * first_order[-1]
