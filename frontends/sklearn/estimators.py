"""``GraphClassifier`` and ``GraphRegressor``: networks that sit in pipelines and grid searches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from graphc.frontends import nn, optim
from graphc.frontends.dsl.session import graph

Array = np.ndarray[Any, Any]


class _GraphEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share.

    Args:
        hidden_layer_sizes: units of the hidden layers.
        activation: of the hidden layers.
        layers: a function that gives the hidden layers, in place of the two arguments above.
        optimizer: a name, or an optimizer.
        learning_rate: of an optimizer given by name; None is its default.
        epochs: times through the data, at most.
        batch_size: samples a step.
        early_stopping: True keeps the last ``validation_fraction`` of the samples for validation, and ends when their
            loss has not improved for ``patience`` epochs.
        validation_fraction: see there.
        patience: see there.
        random_state: of the initial weights and the order of the samples.
        backend: ``"numpy"``, which compiles faster, or ``"llvm"``, which runs faster.
        verbose: as in ``fit`` of a network.

    Attributes:
        weights_: the weights, in Keras' order.
        history_: figure → its value in each epoch.
        n_iter_: epochs that were run.
        n_features_in_: number of columns.
    """

    _loss: str
    _output_activation: str | None

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (32,),
        activation: Any = "relu",
        *,
        layers: Callable[[], Sequence[Any]] | None = None,
        optimizer: Any = "adam",
        learning_rate: float | None = 0.01,
        epochs: int = 50,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: Any = None,
        backend: str = "numpy",
        verbose: int | str | bool = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.layers = layers
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.backend = backend
        self.verbose = verbose

    def _build(self, seed: int) -> nn.Sequential:
        """The network, in a graph of its own: its weights have the same names, and so the same values, every time."""
        with graph():
            hidden = (
                [nn.Dense(units, activation=self.activation) for units in self.hidden_layer_sizes]
                if self.layers is None
                else list(self.layers())
            )
            network = nn.Sequential(
                [
                    nn.Input((self.n_features_in_,), dtype="float64"),
                    *hidden,
                    nn.Dense(self._units(), activation=self._output_activation),
                ],
                seed=seed,
            )
            optimizer = optim.get(self.optimizer)
            if optimizer is not self.optimizer and self.learning_rate is not None:
                optimizer = copy.copy(optimizer)
                optimizer.learning_rate = self.learning_rate
            network.compile(optimizer, self._loss, backend=self.backend)
            return network

    def _units(self) -> int:
        raise TypeError(f"{type(self).__name__} does not say how many outputs it has")

    def _train(self, x: Array, y: Array) -> Self:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        network = self._build(seed)
        callbacks = []
        if self.early_stopping:
            callbacks.append(nn.callbacks.EarlyStopping(patience=self.patience, restore_best_weights=True))
            order = np.random.default_rng(seed).permutation(len(x))
            x, y = x[order], y[order]
        history = network.fit(
            x,
            y,
            batch_size=min(self.batch_size, len(x)),
            epochs=self.epochs,
            validation_split=self.validation_fraction if self.early_stopping else 0.0,
            callbacks=callbacks,
            seed=seed,
            verbose=self.verbose,
        )
        self.history_ = history.history
        self.n_iter_ = len(history.epoch)
        self.weights_ = network.get_weights()
        self._network = network
        return self

    def _predict(self, X: Any) -> Array:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        network = vars(self).get("_network")
        if network is None:  # the estimator was copied or read from a file
            network = self._build(0)
            network.set_weights(self.weights_)
            self._network = network
        made: Array = network.predict(x, batch_size=min(self.batch_size, len(x)))
        return made

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled network, which is made again where it is needed."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_network", None)
        return state


class GraphClassifier(ClassifierMixin, _GraphEstimator):  # type: ignore[misc]
    """A classifier: a network with a softmax, compiled and trained by graphc."""

    _loss = "sparse_categorical_crossentropy"
    _output_activation = "softmax"

    def _units(self) -> int:
        return len(self.classes_)

    def fit(self, X: Any, y: Any) -> Self:
        """Train on samples ``X`` (rows) and their classes ``y``."""
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        return self._train(x, numbers.astype(np.int64))

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of ``classes_``."""
        return self._predict(X)

    def predict(self, X: Any) -> Array:
        """The most probable class of each sample."""
        chosen: Array = np.argmax(self._predict(X), axis=1)
        found: Array = self.classes_[chosen]
        return found


class GraphRegressor(RegressorMixin, _GraphEstimator):  # type: ignore[misc]
    """A regressor for one target or several: a network compiled and trained by graphc."""

    _loss = "mean_squared_error"
    _output_activation = None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may expect."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _units(self) -> int:
        return self._targets or 1

    def fit(self, X: Any, y: Any) -> Self:
        """Train on samples ``X`` (rows) and their targets ``y``, one or several columns."""
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        if targets.ndim == 2 and targets.shape[1] == 1:
            from sklearn.utils import column_or_1d

            targets = column_or_1d(targets, warn=True)
        self._targets = targets.shape[1] if targets.ndim == 2 else 0
        return self._train(x, targets.astype(np.float64))

    def predict(self, X: Any) -> Array:
        """The target of each sample, or a row of targets."""
        made = self._predict(X)
        return made if self._targets else made[:, 0]
