"""The scikit-learn estimators: scikit-learn's own checks, pipelines, grid searches, pickles."""

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from graphc import nn
from graphc.sklearn import GraphClassifier, GraphRegressor


@pytest.mark.parametrize("estimator", [GraphClassifier(), GraphRegressor()], ids=lambda one: type(one).__name__)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None)
    assert len(results) > 40
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed


def test_a_classifier_in_a_pipeline_and_a_grid_search() -> None:
    x, y = load_wine(return_X_y=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), GraphClassifier(epochs=15, random_state=0)),
        {"graphclassifier__hidden_layer_sizes": [(8,), (16, 8)]},
        cv=3,
    )
    search.fit(x, y)
    assert search.best_score_ > 0.93
    np.testing.assert_allclose(search.predict_proba(x).sum(1), 1.0)


def test_digits_with_native_code_and_early_stopping() -> None:
    x, y = load_digits(return_X_y=True)
    names = np.array([f"digit {number}" for number in range(10)])[y]
    x_train, x_test, y_train, y_test = train_test_split(x / 16, names, random_state=0)
    model = GraphClassifier((64,), epochs=30, early_stopping=True, patience=3, random_state=0, backend="llvm")
    assert model.fit(x_train, y_train).score(x_test, y_test) > 0.95
    assert model.n_iter_ == len(model.history_["val_loss"]) <= 30
    assert set(model.predict(x_test)) == set(names)


def test_a_regressor_beats_the_mean_out_of_sample() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), GraphRegressor((16,), epochs=10, random_state=0)), transformer=StandardScaler()
    )
    assert cross_val_score(model, x, y, cv=3).mean() > 0.35


def test_several_targets() -> None:
    x = np.random.default_rng(0).random((60, 3))
    y = np.stack([x @ [1, 2, 3], x @ [-1, 0, 1]], axis=1)
    model = GraphRegressor(epochs=80, random_state=0).fit(x, y)
    assert model.predict(x).shape == (60, 2)
    assert model.score(x, y) > 0.95


def test_copies_predict_alike() -> None:
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    model = GraphClassifier(epochs=5, random_state=3).fit(x, y)
    read = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(read.predict_proba(x), model.predict_proba(x))
    again = clone(model).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_layers_of_ones_own() -> None:
    x, y = load_digits(return_X_y=True)
    model = GraphClassifier(
        layers=lambda: [nn.Reshape((8, 8, 1)), nn.Conv2D(4, 3, activation="relu"), nn.Flatten()],
        epochs=2,
        random_state=0,
    )
    assert model.fit(x[:600] / 16, y[:600]).score(x[600:900] / 16, y[600:900]) > 0.75
