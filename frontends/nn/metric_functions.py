"""Metrics as functions, under their Keras names: scalars that say how good predictions are; they have no derivative.

``reduction="none"`` gives one value a sample.  Where the predictions bring a mask along, the steps that it leaves out
do not count.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.elementwise import sqrt
from graphc.frontends.dsl.indexing import take_along_axis
from graphc.frontends.dsl.movement import expand_dims, squeeze
from graphc.frontends.dsl.reductions import argmax, sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail
from graphc.frontends.nn.loss_functions import mean_squared_error, reduced

__all__ = [
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "root_mean_squared_error",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def _share(hits: Tensor, reduction: str | None, prediction: Any) -> Tensor:
    return reduced(hits.astype("float32"), reduction, prediction)


def _misfit(truth: Tensor, prediction: Tensor) -> GraphcValueError:
    message = f"targets of shape {truth.shape} do not fit predictions of shape {prediction.shape}"
    error = fail(GraphcValueError, "E211", message, None, truth, prediction)
    assert isinstance(error, GraphcValueError)
    return error


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5, reduction: str | None = "mean") -> Tensor:
    """The share of predictions on the target's side of ``threshold``; targets are 0 and 1."""
    common_builder((y_true, y_pred))
    prediction = as_tensor(y_pred)
    truth = as_tensor(y_true).astype(prediction.dtype)
    if truth.ndim == prediction.ndim - 1 and prediction.shape[-1] == 1:
        prediction = squeeze(prediction, -1)
    if truth.shape != prediction.shape:
        raise _misfit(truth, prediction)
    hits = ((prediction > threshold) == (truth > 0.5)).astype("float32")
    return reduced(hits.mean(-1) if hits.ndim > 1 else hits, reduction, y_pred)


def categorical_accuracy(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """The share of samples whose largest score stands where the one-hot target is largest."""
    common_builder((y_true, y_pred))
    return _share(argmax(y_true, axis=-1) == argmax(y_pred, axis=-1), reduction, y_pred)


def _classes(y_true: Any, prediction: Tensor) -> Tensor:
    """Integer targets, one for each row of scores."""
    target = as_tensor(y_true)
    if target.ndim == prediction.ndim and target.shape[-1] == 1:
        target = squeeze(target, -1)
    if target.shape != prediction.shape[:-1]:
        raise _misfit(target, prediction)
    return target.astype("int64")


def sparse_categorical_accuracy(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """The share of samples whose largest score stands at the integer target."""
    common_builder((y_true, y_pred))
    prediction = as_tensor(y_pred)
    return _share(_classes(y_true, prediction) == argmax(prediction, axis=-1), reduction, y_pred)


def accuracy(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """The accuracy that fits the shapes: sparse for targets without classes, categorical, or binary for one score."""
    truth, prediction = as_tensor(y_true), as_tensor(y_pred)
    if prediction.ndim < 2 or prediction.shape[-1] == 1:
        return binary_accuracy(truth, prediction, reduction=reduction)
    if truth.ndim == prediction.ndim and truth.shape[-1] != 1:
        return categorical_accuracy(truth, prediction, reduction)
    return sparse_categorical_accuracy(truth, prediction, reduction)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, reduction: str | None = "mean") -> Tensor:
    """The share of samples for which fewer than ``k`` scores are larger than that at the integer target."""
    common_builder((y_true, y_pred))
    prediction = as_tensor(y_pred)
    score = take_along_axis(prediction, expand_dims(_classes(y_true, prediction), -1), -1)
    return _share(sum((prediction > score).astype("int64"), axis=-1) < k, reduction, y_pred)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, reduction: str | None = "mean") -> Tensor:
    """As :func:`sparse_top_k_categorical_accuracy`, for one-hot targets."""
    common_builder((y_true, y_pred))
    return sparse_top_k_categorical_accuracy(argmax(y_true, axis=-1), y_pred, k, reduction)


def root_mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The root of the mean squared error; over several batches, the mean of the batches' roots."""
    return sqrt(mean_squared_error(y_true, y_pred))
