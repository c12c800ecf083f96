"""Losses as functions, under their Keras names.

Each takes (y_true, y_pred) with the batch first and gives a scalar: the mean over the batch and all other axes but the
one that a class distribution lies on.  ``reduction="sum"`` adds instead, ``"none"`` keeps one loss a sample.  Where the
predictions bring a mask along, the steps that it leaves out do not count.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.activations import log_softmax, logsumexp
from graphc.frontends.dsl.axes import normalize_axis
from graphc.frontends.dsl.elementwise import (
    abs,
    astype,
    clip,
    log,
    maximum,
    relu,
    softplus,
    square,
    stop_gradient,
    where,
)
from graphc.frontends.dsl.indexing import take_along_axis
from graphc.frontends.dsl.movement import broadcast_to, expand_dims, reshape, squeeze
from graphc.frontends.dsl.reductions import element_count, max, mean, sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail
from graphc.frontends.nn.masking import mask_of

__all__ = [
    "bce",
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_hinge",
    "hinge",
    "huber",
    "kl_divergence",
    "kld",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "negative_log_likelihood",
    "nll",
    "poisson",
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits",
    "sparse_categorical_crossentropy",
    "sparse_softmax_cross_entropy_with_logits",
    "squared_hinge",
]

EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1 before a logarithm is taken, as in Keras."""

_REDUCTIONS = ("mean", "sum_over_batch_size", "mean_with_sample_weight", "sum", "none", None)


def reduced(values: Tensor, reduction: str | None, prediction: Any = None, weight: Any = None) -> Tensor:
    """From one loss a sample or step to what was asked for.

    Args:
        values: (batch, …).
        reduction: ``"mean"`` (also ``"sum_over_batch_size"``) divides by the number of losses that count,
            ``"mean_with_sample_weight"`` by the sum of their weights; ``"sum"``; ``"none"`` or None.
        prediction: whose mask, where it has one, says which losses count.
        weight: (batch, …) with as many axes as ``values`` or fewer: each loss is multiplied by its own.
    """
    if reduction not in _REDUCTIONS:
        known = ", ".join(map(str, _REDUCTIONS))
        raise fail(GraphcValueError, "E213", f"reduction is one of {known}, got {reduction!r}", None, values)
    mask = mask_of(prediction)
    kept = None if mask is None else along(mask, values, "mask").astype(values.dtype)
    factor = None if weight is None else along(as_tensor(weight, None, values.builder), values, "sample weight")
    for one in (kept, factor):
        values = values if one is None else values * one.astype(values.dtype)
    if reduction in ("none", None):
        return values
    total = sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and factor is not None:
        shares = factor.astype(values.dtype) if kept is None else factor.astype(values.dtype) * kept
        weights = sum(broadcast_to(shares, values.shape))
        return total / where(weights == 0, 1.0, weights)
    if kept is None:
        return mean(values)
    return total / maximum(sum(broadcast_to(kept, values.shape)), 1.0)


def along(given: Tensor, values: Tensor, what: str) -> Tensor:
    """A mask or weights with axes of 1 behind, so that they go with the losses sample by sample."""
    if given.ndim == values.ndim + 1 and given.shape[-1] == 1:
        given = squeeze(given, -1)
    if given.ndim > values.ndim or any(
        one not in (1, size) for one, size in zip(given.shape, values.shape, strict=False)
    ):
        message = f"a {what} of shape {given.shape} does not fit losses of shape {values.shape}"
        raise fail(GraphcValueError, "E211", message, None, given, values)
    return reshape(given, (*given.shape, *(1,) * (values.ndim - given.ndim)))


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Both of the prediction's dtype, and of one shape but for a last axis of 1."""
    common_builder((y_true, y_pred))
    prediction = as_tensor(y_pred)
    if not prediction.dtype.is_float:
        raise fail(
            GraphcTypeError, "E213", f"a prediction must be floating-point, got {prediction.dtype}", None, prediction
        )
    truth = astype(as_tensor(y_true, None, prediction.builder), prediction.dtype)
    if truth.ndim == prediction.ndim - 1 and prediction.shape[-1] == 1:
        prediction = squeeze(prediction, -1)
    elif prediction.ndim == truth.ndim - 1 and truth.shape[-1] == 1:
        truth = squeeze(truth, -1)
    if truth.shape != prediction.shape:
        # Broadcasting (batch,) with (batch, 1) to (batch, batch) would be a wrong answer.
        message = f"the loss has targets of shape {truth.shape} and predictions of shape {prediction.shape}"
        raise fail(GraphcValueError, "E211", message, None, truth, prediction)
    return truth, prediction


def _mean_last(values: Tensor) -> Tensor:
    return mean(values, axis=-1) if values.ndim > 1 else values


def mean_squared_error(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """mean((y_true - y_pred)²)."""
    truth, prediction = _pair(y_true, y_pred)
    return reduced(_mean_last(square(prediction - truth)), reduction, y_pred)


def mean_absolute_error(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """mean(|y_true - y_pred|)."""
    truth, prediction = _pair(y_true, y_pred)
    return reduced(_mean_last(abs(prediction - truth)), reduction, y_pred)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0, reduction: str | None = "mean") -> Tensor:
    """Half the square of an error up to ``delta``, then linear (Huber, 1964)."""
    truth, prediction = _pair(y_true, y_pred)
    error = prediction - truth
    size = abs(error)
    losses = where(size <= delta, 0.5 * square(error), delta * size - 0.5 * delta * delta)
    return reduced(_mean_last(losses), reduction, y_pred)


def _signs(truth: Tensor) -> Tensor:
    """Targets of 0 and 1 as -1 and 1, others as they are: decided for the whole batch, as in Keras."""
    binary = ((truth == 0) | (truth == 1)).all()
    return stop_gradient(where(binary, 2.0 * truth - 1.0, truth))


def hinge(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """mean(max(1 - y_true y_pred, 0)); targets are -1 and 1, or 0 and 1."""
    truth, prediction = _pair(y_true, y_pred)
    return reduced(_mean_last(relu(1.0 - _signs(truth) * prediction)), reduction, y_pred)


def squared_hinge(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """mean(max(1 - y_true y_pred, 0)²); targets are -1 and 1, or 0 and 1."""
    truth, prediction = _pair(y_true, y_pred)
    return reduced(_mean_last(square(relu(1.0 - _signs(truth) * prediction))), reduction, y_pred)


def categorical_hinge(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """max(1 + largest wrong score - right score, 0); targets are one-hot."""
    truth, prediction = _pair(y_true, y_pred)
    right = sum(truth * prediction, axis=-1)
    wrong = max((1.0 - truth) * prediction, axis=-1)
    return reduced(relu(wrong - right + 1.0), reduction, y_pred)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, reduction: str | None = "mean"
) -> Tensor:
    """-mean(y log p + (1 - y) log(1 - p)) of probabilities p, or of logits."""
    truth, prediction = _pair(y_true, y_pred)
    if label_smoothing:
        truth = truth * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        losses = softplus(prediction) - truth * prediction
    else:
        p = clip(prediction, EPSILON, 1.0 - EPSILON)
        losses = -(truth * log(p) + (1.0 - truth) * log(1.0 - p))
    return reduced(_mean_last(losses), reduction, y_pred)


def _log_probabilities(prediction: Tensor, from_logits: bool, axis: int) -> Tensor:
    if from_logits:
        return log_softmax(prediction, axis)
    total = prediction / sum(prediction, axis=axis, keepdims=True)
    return log(clip(total, EPSILON, 1.0 - EPSILON))


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: str | None = "mean",
) -> Tensor:
    """-sum(y log p) along ``axis``, of probabilities p (which are scaled to sum to 1) or of logits.

    Targets are distributions.
    """
    truth, prediction = _pair(y_true, y_pred)
    position = normalize_axis(axis, prediction.ndim, prediction)
    if label_smoothing:
        truth = truth * (1.0 - label_smoothing) + label_smoothing / element_count(truth, (position,))
    return reduced(
        -sum(truth * _log_probabilities(prediction, from_logits, position), axis=position), reduction, y_pred
    )


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, axis: int = -1, reduction: str | None = "mean"
) -> Tensor:
    """-log p[y] for integer targets y, of probabilities p or of logits.

    A target outside [0, classes) is an error of the call.
    """
    common_builder((y_true, y_pred))
    prediction = as_tensor(y_pred)
    if not prediction.dtype.is_float:
        raise fail(
            GraphcTypeError, "E213", f"a prediction must be floating-point, got {prediction.dtype}", None, prediction
        )
    position = normalize_axis(axis, prediction.ndim, prediction)
    target = as_tensor(y_true, None, prediction.builder)
    if not target.dtype.is_integer:
        hint = "cast it with .astype('int64'), or use categorical_crossentropy for one-hot targets"
        raise fail(GraphcTypeError, "E213", f"sparse targets are integers, got {target.dtype}", hint, target)
    if target.ndim == prediction.ndim and target.shape[position] == 1:
        target = squeeze(target, position)
    expected = (*prediction.shape[:position], *prediction.shape[position + 1 :])
    if target.shape != expected:
        message = (
            f"targets of shape {target.shape} do not fit predictions of shape {prediction.shape}: expected {expected}"
        )
        raise fail(GraphcValueError, "E211", message, None, target, prediction)
    chosen = expand_dims(target, position)
    if from_logits:
        picked = squeeze(take_along_axis(prediction, chosen, position), position)
        return reduced(logsumexp(prediction, axis=position) - picked, reduction, y_pred)
    picked = take_along_axis(_log_probabilities(prediction, False, position), chosen, position)
    return reduced(-squeeze(picked, position), reduction, y_pred)


def kl_divergence(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """sum(y log(y / p)) along the last axis, of two distributions."""
    truth, prediction = _pair(y_true, y_pred)
    y, p = clip(truth, EPSILON, 1.0), clip(prediction, EPSILON, 1.0)
    return reduced(sum(y * log(y / p), axis=-1), reduction, y_pred)


def poisson(y_true: Any, y_pred: Any, reduction: str | None = "mean") -> Tensor:
    """mean(p - y log p): the negative log-likelihood of a Poisson distribution, up to a constant."""
    truth, prediction = _pair(y_true, y_pred)
    return reduced(_mean_last(prediction - truth * log(maximum(prediction, EPSILON))), reduction, y_pred)


def negative_log_likelihood(y_true: Any, log_probabilities: Any, reduction: str | None = "mean") -> Tensor:
    """-log p[y] for integer targets, of log-probabilities along the last axis (PyTorch's ``nll_loss``)."""
    scores = as_tensor(log_probabilities)
    picked = take_along_axis(scores, expand_dims(as_tensor(y_true), -1), -1)
    return reduced(-squeeze(picked, -1), reduction, log_probabilities)


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1) -> Tensor:
    """-sum(y log softmax(logits)) along ``axis``, one a sample (TensorFlow's name and result)."""
    return categorical_crossentropy(labels, logits, from_logits=True, axis=axis, reduction="none")


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any) -> Tensor:
    """-log softmax(logits)[y] for integer labels, one a sample (TensorFlow's name and result)."""
    return sparse_categorical_crossentropy(labels, logits, from_logits=True, reduction="none")


def sigmoid_cross_entropy_with_logits(labels: Any, logits: Any) -> Tensor:
    """The binary cross-entropy of logits, one an element (TensorFlow's name and result)."""
    truth, prediction = _pair(labels, logits)
    return softplus(prediction) - truth * prediction


mse, mae, kld, nll = mean_squared_error, mean_absolute_error, kl_divergence, negative_log_likelihood
bce = binary_crossentropy
