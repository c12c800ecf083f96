"""What the feed-forward examples show besides accuracy, each in a second or so."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import graphc as G
from tests.examples.loading import example

KERAS_LISTING = """\
model_cnn = Sequential([
    Conv2D(32, kernel_size=(3, 3), activation='relu', input_shape=input_shape),
    MaxPooling2D(pool_size=(2, 2)),
    Conv2D(64, kernel_size=(3, 3), activation='relu'),
    MaxPooling2D(pool_size=(2, 2)),
    Flatten(),
    Dropout(0.5),
    Dense(10, activation='softmax')
])
model_cnn.summary()
"""


def test_the_keras_listing_stands_there_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    file = example("mnist_keras_cnn")
    text = Path(str(file.__file__)).read_text(encoding="utf-8")
    found = re.search(r"^    model_cnn = .*?summary\(\)\n", text, re.MULTILINE | re.DOTALL)
    assert found is not None and dedent(found.group()) == KERAS_LISTING
    file.listing()
    assert "Total params: 34,826" in capsys.readouterr().out


def test_the_network_read_from_its_artifact_normalizes_by_the_saved_statistics(tmp_path: Path) -> None:
    """Saved, loaded in a process that has numpy alone, and compared."""
    file = example("batch_normalization")
    m, _ = file.learn(normalized=True, epochs=2)
    x = file.wines().x_test[:16]
    answers = m.predict(x)
    m.save(tmp_path / "wines")
    np.save(tmp_path / "x.npy", x)
    script = """
        import sys
        import numpy as np
        import wines
        m = wines.Model()
        np.savez("found.npz", answers=m.predict(np.load("x.npy")), mean=m.parameters["batch_normalization/moving_mean"])
        assert "graphc" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", dedent(script)], cwd=tmp_path, check=True, timeout=60)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["answers"], answers)
    np.testing.assert_array_equal(found["mean"], m.parameters["batch_normalization/moving_mean"])
    assert found["mean"].any(), "training has moved it from its initial zeros"


def test_running_statistics_are_the_blend_of_the_batches() -> None:
    file = example("batch_normalization")
    m = G.compile(file.model())
    data = file.wines()
    mean, variance = np.zeros(13), np.ones(13)
    for start in range(0, 128, 16):
        x = data.x[start : start + 16]
        m.train(x, data.y[start : start + 16])
        mean = 0.9 * mean + 0.1 * x.mean(axis=0, dtype="float64")
        variance = 0.9 * variance + 0.1 * x.var(axis=0, dtype="float64")
    np.testing.assert_allclose(m.parameters["batch_normalization/moving_mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(m.parameters["batch_normalization/moving_variance"], variance, rtol=1e-4)


def test_only_the_training_form_depends_on_the_company() -> None:
    file = example("batch_normalization")
    m, _ = file.learn(normalized=True, epochs=2)
    assert file.alone_and_in_company(m) == {"predict": True, "predict_by_batch": False}


def test_a_frozen_encoder_has_no_gradient_and_no_optimizer_state() -> None:
    file = example("autoencoder")
    frozen, free = (file.classifier(frozen=kind).module.entry("train") for kind in (True, False))
    trained = [{variable.attrs["state"].name for variable, _ in graph.updates} for graph in (frozen, free)]
    assert not any("encoder" in name for name in trained[0])
    assert any("encoder" in name for name in trained[1])
    assert len(frozen) < len(free)


def test_the_divergence_of_the_bayesian_layer() -> None:
    """The closed form against KL(q ‖ p) = E_q[log q − log p], integrated on a grid for each weight."""
    file = example("bayesian_layer")
    layer = file.BayesianDense(2, prior=1.5)
    layer(G.input("x", (1, 1, 3)))
    m = G.compile(G.Model(divergence=layer.divergence()))
    name = layer.name
    rng = np.random.default_rng(0)
    mean, rho = rng.normal(size=(2, 4, 2))
    m.parameters[f"{name}/mean"][...], m.parameters[f"{name}/rho"][...] = mean, rho
    grid = np.linspace(-12, 12, 20001)
    total = 0.0
    for mu, sigma in zip(mean.ravel(), np.log1p(np.exp(rho)).ravel(), strict=True):
        log_q = -0.5 * ((grid - mu) / sigma) ** 2 - np.log(sigma)
        log_p = -0.5 * (grid / 1.5) ** 2 - np.log(1.5)
        total += float(np.trapezoid(np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q - log_p), grid))
    assert float(m.divergence()) == pytest.approx(total, rel=1e-5)


def test_the_bayesian_layer_draws_anew_in_training_and_repeats_itself_in_predict() -> None:
    m = G.compile(example("bayesian_layer").model(hidden=4, functions=5, points=6))
    x = np.linspace(-1, 1, 6, dtype="float32")
    first = m.predict(x)
    np.testing.assert_array_equal(first, m.predict(x))
    assert len(np.unique(first[:, 0])) == 5, "five functions, each with weights of its own"
    m.train(x, x)
    assert abs(m.predict(x) - first).max() > 1e-3


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_the_gradient_through_the_inner_steps(backend: str) -> None:
    """Central differences of the loss after the inner loop; the first-order gradient is another one."""
    file = example("learning_to_learn")
    made = file.sines(3, 5, np.random.default_rng(0))
    measured = {}
    for first_order in (False, True):
        m = G.compile(file.model(3, 5, hidden=6, inner_steps=2, first_order=first_order), backend=backend)
        m.parameters["rate/w2"][...] = 0.05
        start = {name: np.array(value) for name, value in m.parameters.items()}
        m.train(**made)
        # Adam's first moment after one step is a tenth of the clipped gradient; nothing was clipped here.
        measured[first_order] = 10 * np.array(m.parameters["adam/w2/momentum"], "float64")
    for name, value in start.items():
        m.parameters[name][...] = value

    def loss() -> float:
        predicted = m.adapt(made["shown_x"], made["shown_y"], made["x"])[-1]
        return float(((predicted - made["y"]) ** 2).mean(dtype="float64"))

    weights, found = m.parameters["w2"], np.zeros((6, 6))
    for place in np.ndindex(6, 6):
        kept = weights[place]
        weights[place] = kept + 0.01
        above = loss()
        weights[place] = kept - 0.01
        found[place] = (above - loss()) / 0.02
        weights[place] = kept
    np.testing.assert_allclose(measured[False], found, rtol=5e-3, atol=5e-4)
    assert abs(measured[True] - found).max() > 0.02
