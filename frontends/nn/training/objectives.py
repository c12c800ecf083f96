"""Losses and metrics by name, as ``compile`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError, nearest
from graphc.frontends.dsl.reductions import mean
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import losses, metrics
from graphc.frontends.nn.layer import snake_case
from graphc.ir.types import DType, int64

Objective = Callable[[Tensor, Tensor], Tensor]
"""A function of (y_true, y_pred)."""

_LOSSES: Mapping[str, Objective] = {
    name: getattr(losses, name)
    for name in (
        "binary_crossentropy",
        "categorical_crossentropy",
        "categorical_hinge",
        "hinge",
        "huber",
        "kl_divergence",
        "mean_absolute_error",
        "mean_squared_error",
        "negative_log_likelihood",
        "poisson",
        "sparse_categorical_crossentropy",
        "squared_hinge",
    )
}
_METRICS: Mapping[str, Objective] = {
    name: getattr(metrics, name)
    for name in (
        "accuracy",
        "binary_accuracy",
        "categorical_accuracy",
        "root_mean_squared_error",
        "sparse_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
        "top_k_categorical_accuracy",
    )
}
_SHORT = {
    "acc": "accuracy",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "nll": "negative_log_likelihood",
    "rmse": "root_mean_squared_error",
}
_INTEGER_TARGETS: tuple[str, ...] = ("sparse_categorical_crossentropy", "negative_log_likelihood")


def _named(identifier: str, known: Mapping[str, Objective], what: str) -> Objective:
    # Keras also takes the names of its classes, such as "MeanSquaredError".
    name = identifier.lower() if identifier.lower() in _SHORT else snake_case(identifier)
    found = known.get(_SHORT.get(name, name))
    if found is None:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else f"one of {', '.join(sorted(known))}, or a function"
        raise GraphcValueError("E213", f"unknown {what} {identifier!r}", hint=hint)
    return found


def get_loss(identifier: Any) -> Objective:
    """The loss meant by a name such as ``"mse"``, or by a function of (y_true, y_pred)."""
    if isinstance(identifier, str):
        return _named(identifier, _LOSSES, "loss")
    if not callable(identifier):
        raise GraphcTypeError("E213", f"a loss is a name or a function of (y_true, y_pred), got {identifier!r}")
    function: Objective = identifier
    return function


def get_metric(identifier: Any) -> tuple[str, Objective]:
    """Name in the logs, and the metric meant by a name such as ``"accuracy"`` or by a function of (y_true, y_pred)."""
    if isinstance(identifier, str):
        return identifier, _named(identifier, {**_LOSSES, **_METRICS}, "metric")
    if not callable(identifier):
        raise GraphcTypeError("E213", f"a metric is a name or a function of (y_true, y_pred), got {identifier!r}")
    name = getattr(identifier, "name", None) or getattr(identifier, "__name__", None)
    return str(name or snake_case(type(identifier).__name__)), identifier


def target_dtype(loss: Objective | None, given: np.dtype[Any], prediction: DType) -> DType:
    """The dtype of the targets: class numbers are integers, what a loss of ours compares is as the prediction.

    A user's own loss gets integers where the data are integers.
    """
    if loss is not None and loss in _LOSSES.values():
        return int64 if loss in map(_LOSSES.get, _INTEGER_TARGETS) else prediction
    return int64 if given.kind in "iu" else prediction


def scalar_of(objective: Objective, truth: Tensor, prediction: Tensor) -> Tensor:
    """The objective's value, the mean where it gives one for each sample."""
    value = objective(truth, prediction)
    if not isinstance(value, Tensor):
        raise GraphcTypeError("E213", f"a loss or metric must give a tensor, got {type(value).__name__}")
    return mean(value) if value.ndim else value


def spread(given: Any, labels: Sequence[str], what: str) -> list[Any]:
    """One entry of ``given`` (a list by position, a dict by label, or one for all) for each output.

    Raises:
        GraphcValueError: an output has none, or there are too many.
    """
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in labels]
        if unknown:
            close = nearest(str(unknown[0]), labels)
            hint = f"did you mean {close!r}?" if close else f"outputs: {', '.join(labels)}"
            raise GraphcValueError("E448", f"there is no output {unknown[0]!r} for a {what}", hint=hint)
        return [given.get(label) for label in labels]
    if isinstance(given, (list, tuple)):
        if len(given) != len(labels):
            raise GraphcValueError("E448", f"{len(given)} {what} entries were given for {len(labels)} outputs")
        return list(given)
    return [given] * len(labels)
