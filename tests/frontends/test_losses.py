"""Losses and metrics against NumPy, and against SciPy where it has them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import graphc as G
from graphc import nn

Run = Callable[..., Any]
_generator = np.random.default_rng(2)
LOGITS = _generator.normal(size=(5, 3))
P = scipy.special.softmax(LOGITS, 1)
LABELS = np.array([0, 2, 1, 1, 2])
ONE_HOT = np.eye(3)[LABELS]
SOFT = scipy.special.softmax(_generator.normal(size=(5, 3)), 1)
S = scipy.special.expit(LOGITS)
losses = nn.losses


def _cross(y: Any, p: Any) -> Any:
    return -(y * np.log(p)).sum(1).mean()


@pytest.mark.parametrize(
    ("name", "truth", "prediction", "options", "expected"),
    [
        ("mean_squared_error", SOFT, LOGITS, {}, ((SOFT - LOGITS) ** 2).mean()),
        ("mean_absolute_error", SOFT, LOGITS, {}, abs(SOFT - LOGITS).mean()),
        ("huber", SOFT, 3 * LOGITS, {"delta": 1.5}, scipy.special.huber(1.5, SOFT - 3 * LOGITS).mean()),
        ("hinge", 2 * ONE_HOT - 1, LOGITS, {}, np.maximum(1 - (2 * ONE_HOT - 1) * LOGITS, 0).mean()),
        ("hinge", ONE_HOT, LOGITS, {}, np.maximum(1 - (2 * ONE_HOT - 1) * LOGITS, 0).mean()),
        ("squared_hinge", ONE_HOT, LOGITS, {}, (np.maximum(1 - (2 * ONE_HOT - 1) * LOGITS, 0) ** 2).mean()),
        ("binary_crossentropy", ONE_HOT, S, {}, -(ONE_HOT * np.log(S) + (1 - ONE_HOT) * np.log(1 - S)).mean()),
        (
            "binary_crossentropy",
            ONE_HOT,
            LOGITS,
            {"from_logits": True},
            -(ONE_HOT * np.log(S) + (1 - ONE_HOT) * np.log(1 - S)).mean(),
        ),
        ("categorical_crossentropy", SOFT, P, {}, _cross(SOFT, P)),
        ("categorical_crossentropy", SOFT, 5 * P, {}, _cross(SOFT, P)),
        ("categorical_crossentropy", SOFT, LOGITS, {"from_logits": True}, _cross(SOFT, P)),
        (
            "categorical_crossentropy",
            ONE_HOT,
            LOGITS,
            {"from_logits": True, "label_smoothing": 0.3},
            _cross(0.7 * ONE_HOT + 0.1, P),
        ),
        ("sparse_categorical_crossentropy", LABELS, P, {}, _cross(ONE_HOT, P)),
        ("sparse_categorical_crossentropy", LABELS, LOGITS, {"from_logits": True}, _cross(ONE_HOT, P)),
        ("sparse_categorical_crossentropy", LABELS[:, None], LOGITS, {"from_logits": True}, _cross(ONE_HOT, P)),
        ("negative_log_likelihood", LABELS, np.log(P), {}, _cross(ONE_HOT, P)),
        ("kl_divergence", SOFT, P, {}, scipy.special.rel_entr(SOFT, P).sum(1).mean()),
        ("poisson", SOFT, P, {}, (P - SOFT * np.log(P)).mean()),
        (
            "categorical_hinge",
            ONE_HOT,
            P,
            {},
            np.maximum(((1 - ONE_HOT) * P).max(1) - (ONE_HOT * P).sum(1) + 1, 0).mean(),
        ),
    ],
)
def test_losses(name: str, truth: Any, prediction: Any, options: dict[str, Any], expected: float, value: Run) -> None:
    y, p = G.input("y", truth.shape, truth.dtype.name), G.input("p", prediction.shape, "float64")
    loss = getattr(losses, name)(y, p, **options)
    each = getattr(losses, name)(y, p, reduction="none", **options)
    total = getattr(losses, name)(y, p, reduction="sum", **options)
    got = value(loss, each, total, y=truth, p=prediction)
    np.testing.assert_allclose(got[0], expected, rtol=1e-6)
    assert got[1].shape == (5,)
    np.testing.assert_allclose(got[1].mean(), expected, rtol=1e-6)
    np.testing.assert_allclose(got[2], 5 * expected, rtol=1e-6)


def test_targets_with_an_axis_of_one_do_not_broadcast(value: Run) -> None:
    y, p = G.input("y", (5,), "float64"), G.input("p", (5, 1), "float64")
    truth, prediction = LOGITS[:, 0], LOGITS[:, 1:2]
    got = value(losses.mean_squared_error(y, p), losses.mean_squared_error(p, y), y=truth, p=prediction)
    np.testing.assert_allclose(got, [((truth - prediction[:, 0]) ** 2).mean()] * 2)


def test_extreme_logits_stay_finite(value: Run) -> None:
    logits = np.array([[1e4, -1e4, 0.0]])
    p = G.input("p", (1, 3), "float64")
    sparse = losses.sparse_categorical_crossentropy(G.constant([1]), p, from_logits=True)
    binary = losses.binary_crossentropy(np.array([[0.0, 1.0, 1.0]]), p, from_logits=True)
    zero = losses.binary_crossentropy(np.array([[0.0, 1.0, 1.0]]), G.zeros_like(p))
    got = value(sparse, binary, zero, G.grad(sparse, p), p=logits)
    np.testing.assert_allclose(got[0], 2e4)
    assert all(np.isfinite(part).all() for part in got)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "kl_divergence", "huber", "binary_crossentropy"])
def test_gradients_of_losses(name: str, check_gradients: Callable[..., None]) -> None:
    y, p = G.input("y", (5, 3), "float64"), G.input("p", (5, 3), "float64")
    check_gradients(getattr(losses, name)(y, p), [p], y=SOFT, p=P.copy())


def test_metrics(value: Run) -> None:
    y, h, p = G.input("y", (5,), "int64"), G.input("h", (5, 3), "float64"), G.input("p", (5, 3), "float64")
    b, s = G.input("b", (5,), "int64"), G.input("s", (5, 1), "float64")
    m = nn.metrics
    bits = np.array([0, 1, 1, 0, 1])
    data = {"y": LABELS, "h": ONE_HOT, "p": P, "b": bits, "s": S[:, :1]}
    share, binary = (P.argmax(1) == LABELS).mean(), ((S[:, 0] > 0.5) == bits).mean()
    got = value(
        m.accuracy(y, p),
        m.accuracy(h, p),
        m.sparse_categorical_accuracy(y, p),
        m.categorical_accuracy(h, p),
        m.accuracy(b, s),
        **data,
    )
    np.testing.assert_allclose(got, [share, share, share, share, binary], rtol=1e-6)
