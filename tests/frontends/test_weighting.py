"""What counts how much: weights of samples, steps and classes, masks, weighted metrics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn
from graphc.frontends.dsl.session import graph

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(22, 4)).astype(np.float32)
Y = RANDOM.integers(0, 3, size=22)
WEIGHT = RANDOM.random(22).astype(np.float32) + 0.5
CLASS_WEIGHT = {0: 2.0, 2: 0.25}
OF_CLASSES = np.array([2.0, 1.0, 0.25])[Y]


def classifier(metrics: Any = None, **options: Any) -> nn.Sequential:
    with graph():
        model = nn.Sequential([nn.Dense(3, activation="softmax", input_shape=(4,))])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics, backend="numpy", **options)
        return model


def cross_entropy(model: nn.Sequential) -> np.ndarray[Any, Any]:
    return -np.log(model.predict(X)[np.arange(22), Y])


def test_weights_multiply_losses() -> None:
    model = classifier(["accuracy"], weighted_metrics=["accuracy", nn.metrics.SparseCategoricalCrossentropy("ce")])
    each, hits = cross_entropy(model), model.predict(X).argmax(1) == Y
    got = model.evaluate(X, Y, batch_size=8, sample_weight=WEIGHT, return_dict=True)
    assert got["loss"] == pytest.approx((WEIGHT * each).mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((WEIGHT * hits).sum() / WEIGHT.sum(), rel=1e-5)
    assert got["ce"] == pytest.approx((WEIGHT * each).sum() / WEIGHT.sum(), rel=1e-5)
    plain = model.evaluate(X, Y, return_dict=True)
    assert plain["loss"] == pytest.approx(each.mean(), rel=1e-5)
    assert plain["ce"] == pytest.approx(each.mean(), rel=1e-5)


def test_classes_with_weights_are_samples_with_weights() -> None:
    by_class, by_sample, one_hot = classifier(), classifier(), classifier()
    one_hot.compile("sgd", "categorical_crossentropy", backend="numpy")
    expected = by_sample.fit(X, Y, batch_size=8, epochs=3, sample_weight=OF_CLASSES).history
    assert by_class.fit(X, Y, batch_size=8, epochs=3, class_weight=CLASS_WEIGHT).history == expected
    got = one_hot.fit(X, np.eye(3)[Y], batch_size=8, epochs=3, class_weight=CLASS_WEIGHT).history
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(one_hot.get_weights()[0], by_sample.get_weights()[0], atol=1e-6)
    assert not np.allclose(classifier().get_weights()[0], by_sample.get_weights()[0], atol=1e-3)


def test_weights_of_one_change_nothing_and_may_come_later() -> None:
    plain, weighted = classifier(), classifier()
    plain.fit(X, Y, batch_size=8, epochs=4)
    weighted.fit(X, Y, batch_size=8, epochs=2)
    # The optimizer goes on where it was when weights are first given, and when they are not given any more.
    weighted.fit(X, Y, batch_size=8, epochs=3, initial_epoch=2, sample_weight=np.ones(22))
    weighted.fit(X, Y, batch_size=8, epochs=4, initial_epoch=3)
    for a, b in zip(plain.get_weights(), weighted.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_weights_from_iterators_and_for_validation() -> None:
    def batches() -> Iterator[Any]:
        for start in range(0, 22, 8):
            rows = slice(start, start + 8)
            yield X[rows], Y[rows], WEIGHT[rows]

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            return batches()

    arrays, streamed = classifier(), classifier()
    expected = arrays.fit(
        X, Y, batch_size=8, shuffle=False, sample_weight=WEIGHT, validation_data=(X, Y, WEIGHT), epochs=2
    )
    assert streamed.fit(Loader(), validation_data=Loader(), epochs=2).history == expected.history
    split = classifier().fit(X, Y, batch_size=8, sample_weight=WEIGHT, validation_split=0.25)
    assert np.isfinite(split.history["val_loss"]).all()


def test_weights_of_steps_and_of_several_outputs() -> None:
    x = nn.Input((5, 4))
    model = nn.Model(x, {"steps": nn.Dense(1)(x), "whole": nn.Dense(2)(nn.Flatten()(x))})
    model.compile("sgd", {"steps": "mse", "whole": "mae"}, backend="numpy")
    data = RANDOM.normal(size=(6, 5, 4)).astype(np.float32)
    y = {"y_steps": RANDOM.normal(size=(6, 5, 1)), "y_whole": RANDOM.normal(size=(6, 2))}
    weight = {"sample_weight_steps": RANDOM.random((6, 5)), "sample_weight_whole": RANDOM.random(6)}
    made = model.predict(data)
    of_steps = (weight["sample_weight_steps"] * ((made["steps"] - y["y_steps"]) ** 2)[..., 0]).mean()
    of_whole = (weight["sample_weight_whole"] * np.abs(made["whole"] - y["y_whole"]).mean(1)).mean()
    got = model.evaluate(data, y, sample_weight=weight, return_dict=True)
    assert got["steps_loss"] == pytest.approx(of_steps, rel=1e-5)
    assert got["whole_loss"] == pytest.approx(of_whole, rel=1e-5)
    assert model.train_on_batch(data, y, sample_weight=np.ones(6), return_dict=True)["loss"] > 0


def test_steps_that_a_mask_leaves_out_do_not_count() -> None:
    tokens = RANDOM.integers(1, 6, size=(10, 5))
    tokens[3:, 3:] = tokens[7:, 1:] = 0
    labels = RANDOM.integers(0, 2, size=(10, 5))
    model = nn.Sequential(
        [nn.Embedding(6, 3, mask_zero=True, input_length=5), nn.LSTM(4, return_sequences=True), nn.Dense(2, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], backend="numpy")
    p = model.predict(tokens)
    each = -np.log(np.take_along_axis(p, labels[..., None], -1)[..., 0])
    counts = tokens != 0
    got = model.evaluate(tokens, labels, batch_size=10, return_dict=True)
    assert got["loss"] == pytest.approx(each[counts].mean(), rel=1e-5)
    # Over several batches the loss is a mean of means, as in Keras; a metric is one over all steps that count.
    hits = (p.argmax(-1) == labels)[counts].mean()
    assert model.evaluate(tokens, labels, batch_size=4, return_dict=True)["accuracy"] == pytest.approx(hits, rel=1e-5)
    other = np.where(counts, labels, 1 - labels)
    assert model.evaluate(tokens, other, batch_size=10, return_dict=True)["loss"] == pytest.approx(got["loss"])


def test_a_loss_of_one_number_cannot_be_weighted() -> None:
    model = classifier()
    model.compile("sgd", lambda y, p: nn.losses.sparse_categorical_crossentropy(y, p), backend="numpy")
    model.fit(X, Y)
    with pytest.raises(G.GraphcValueError, match="one number for the whole batch"):
        model.fit(X, Y, sample_weight=WEIGHT)
    model.compile(
        "sgd", lambda y, p: nn.losses.sparse_categorical_crossentropy(y, p, reduction="none"), backend="numpy"
    )
    each = cross_entropy(model)
    assert model.evaluate(X, Y, sample_weight=WEIGHT) == pytest.approx((WEIGHT * each).mean(), rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"])
def test_reductions_of_loss_objects(reduction: str) -> None:
    model = classifier()
    model.compile("sgd", nn.losses.SparseCategoricalCrossentropy(reduction=reduction), backend="numpy")
    each = cross_entropy(model)
    expected = {
        "sum_over_batch_size": (WEIGHT * each).mean(),
        "sum": (WEIGHT * each).sum(),
        "mean_with_sample_weight": (WEIGHT * each).sum() / WEIGHT.sum(),
        "none": (WEIGHT * each).mean(),
    }[reduction]
    assert model.evaluate(X, Y, batch_size=22, sample_weight=WEIGHT) == pytest.approx(expected, rel=1e-5)
