"""Metrics under their Keras names: as functions of (y_true, y_pred), and as objects that remember their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import loss_functions
from graphc.frontends.nn import metric_functions as functions
from graphc.frontends.nn.layer import snake_case
from graphc.frontends.nn.metric_functions import *  # noqa: F403

__all__ = [  # noqa: PLE0604  (the starred list holds strings)
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    *functions.__all__,
]


class Metric:
    """A metric that is called with (y_true, y_pred) and gives a scalar.

    Args:
        name: in logs; by default that of the class.
        arguments: of the function that computes it.
    """

    function: ClassVar[Callable[..., Tensor] | None] = None

    def __init__(self, name: str | None = None, **arguments: Any) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._arguments = arguments

    def __call__(self, y_true: Any, y_pred: Any, **options: Any) -> Tensor:
        """The metric's value; ``reduction="none"`` gives one a sample."""
        function = type(self).function
        if function is None:
            message = f"{type(self).__name__} does not say what it computes: define __call__(y_true, y_pred)"
            raise fail(GraphcTypeError, "E213", message)
        return function(y_true, y_pred, **self._arguments, **options)


class Accuracy(Metric):
    """The accuracy that fits the shapes of targets and predictions."""

    function = staticmethod(functions.accuracy)


class BinaryAccuracy(Metric):
    """The share of predictions on the target's side of ``threshold``."""

    function = staticmethod(functions.binary_accuracy)

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name, threshold=threshold)


class CategoricalAccuracy(Metric):
    """The share of samples whose largest score stands where the one-hot target is largest."""

    function = staticmethod(functions.categorical_accuracy)


class SparseCategoricalAccuracy(Metric):
    """The share of samples whose largest score stands at the integer target."""

    function = staticmethod(functions.sparse_categorical_accuracy)


class TopKCategoricalAccuracy(Metric):
    """The share of samples for which fewer than ``k`` scores are larger than that of the one-hot target."""

    function = staticmethod(functions.top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name, k=k)


class SparseTopKCategoricalAccuracy(Metric):
    """The share of samples for which fewer than ``k`` scores are larger than that at the integer target."""

    function = staticmethod(functions.sparse_top_k_categorical_accuracy)

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name, k=k)


class MeanSquaredError(Metric):
    """mean((y_true - y_pred)²)."""

    function = staticmethod(loss_functions.mean_squared_error)


class MeanAbsoluteError(Metric):
    """mean(|y_true - y_pred|)."""

    function = staticmethod(loss_functions.mean_absolute_error)


class RootMeanSquaredError(Metric):
    """The root of the mean squared error; over several batches, the mean of the batches' roots."""

    function = staticmethod(functions.root_mean_squared_error)


class BinaryCrossentropy(Metric):
    """-mean(y log p + (1 - y) log(1 - p)) of probabilities p, or of logits."""

    function = staticmethod(loss_functions.binary_crossentropy)

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(name, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(Metric):
    """-sum(y log p) along the last axis, of probabilities p or of logits; targets are distributions."""

    function = staticmethod(loss_functions.categorical_crossentropy)

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__(name, from_logits=from_logits, label_smoothing=label_smoothing)


class SparseCategoricalCrossentropy(Metric):
    """-log p[y] for integer targets y, of probabilities p or of logits."""

    function = staticmethod(loss_functions.sparse_categorical_crossentropy)

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(name, from_logits=from_logits)
