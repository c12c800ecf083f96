"""Losses and metrics as ``compile`` takes them: by name, as objects, as functions of (y_true, y_pred)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError, nearest
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.movement import broadcast_to
from graphc.frontends.dsl.reductions import mean, sum
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import loss_functions, losses, metric_functions
from graphc.frontends.nn.layer import argument_names, snake_case
from graphc.frontends.nn.loss_functions import along, reduced
from graphc.frontends.nn.losses import Loss
from graphc.frontends.nn.masking import mask_of, with_mask
from graphc.frontends.nn.metrics import Metric
from graphc.frontends.nn.torch_losses import TorchLoss
from graphc.ir.types import DType, int64

Objective = Callable[..., Tensor]
"""A function of (y_true, y_pred)."""

_LOSSES: Mapping[str, Objective] = {
    name: getattr(loss_functions, name)
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
_METRICS: Mapping[str, Objective] = {name: getattr(metric_functions, name) for name in metric_functions.__all__}
_SHORT = {
    "acc": "accuracy",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "mae": "mean_absolute_error",
    "mse": "mean_squared_error",
    "nll": "negative_log_likelihood",
    "rmse": "root_mean_squared_error",
}
_INTEGER_TARGETS: tuple[Objective, ...] = (
    losses.sparse_categorical_crossentropy,
    losses.negative_log_likelihood,
)


def _named(identifier: str, known: Mapping[str, Objective], what: str) -> Objective:
    # Keras also takes the names of its classes, such as "MeanSquaredError".
    name = identifier.lower() if identifier.lower() in _SHORT else snake_case(identifier)
    return by_name(_SHORT.get(name, name), known, what)


def get_loss(identifier: Any) -> Objective:
    """The loss meant by a name such as ``"mse"``, an object of ``nn.losses``, or a function of (y_true, y_pred)."""
    if isinstance(identifier, str):
        return _named(identifier, _LOSSES, "loss")
    if isinstance(identifier, type) and issubclass(identifier, (Loss, TorchLoss)):
        identifier = identifier()
    if not callable(identifier):
        raise GraphcTypeError("E213", f"a loss is a name or a function of (y_true, y_pred), got {identifier!r}")
    function: Objective = identifier
    return function


def get_metric(identifier: Any) -> tuple[str, Objective]:
    """Name in the logs, and the metric meant by a name such as ``"accuracy"``, an object or a function."""
    if isinstance(identifier, str):
        return identifier, _named(identifier, {**_LOSSES, **_METRICS}, "metric")
    if isinstance(identifier, type) and issubclass(identifier, (Loss, Metric)):
        identifier = identifier()
    if not callable(identifier):
        raise GraphcTypeError("E213", f"a metric is a name or a function of (y_true, y_pred), got {identifier!r}")
    name = getattr(identifier, "name", None) or getattr(identifier, "__name__", None)
    if isinstance(identifier, TorchLoss):
        return snake_case(type(identifier).__name__), identifier.objective
    return str(name or snake_case(type(identifier).__name__)), identifier


def takes_classes(loss: Objective | None) -> bool:
    """Whether a loss of ours compares with numbers of classes."""
    if isinstance(loss, (Loss, TorchLoss)):
        return loss.integer_targets
    return loss in _INTEGER_TARGETS


def target_dtype(loss: Objective | None, given: np.dtype[Any], prediction: DType) -> DType:
    """The dtype of the targets: class numbers are integers, what a loss of ours compares is as the prediction.

    A user's own loss gets integers where the data are integers.
    """
    if type(loss).__module__ == losses.__name__ or loss in _LOSSES.values():
        return int64 if takes_classes(loss) else prediction
    return int64 if given.kind in "iu" else prediction


# -- values ------------------------------------------------------------------------------------------------------------


def _each(objective: Objective, truth: Tensor, prediction: Tensor) -> Tensor:
    """One value a sample or step; a scalar where the objective gives no other.

    The mask of the prediction is left to the caller where there is something that it could be applied to.
    """
    plain = with_mask(prediction, None)
    if isinstance(objective, Loss):
        return objective.call(truth, plain)
    function = type(objective).function if isinstance(objective, Metric) else objective
    known = function in _LOSSES.values() or function in _METRICS.values()
    if known and "reduction" in argument_names(function):
        return objective(truth, plain, reduction="none")
    value = objective(truth, prediction)
    if not isinstance(value, Tensor):
        raise GraphcTypeError("E213", f"a loss or metric must give a tensor, got {type(value).__name__}")
    return value


def _unweightable(objective: Objective) -> GraphcValueError:
    name = getattr(objective, "name", None) or getattr(objective, "__name__", type(objective).__name__)
    message = f"{name} gives one number for the whole batch, so that samples cannot have weights"
    return GraphcValueError("E455", message, hint='return one value a sample, e.g. with reduction="none"')


def loss_of(loss: Objective, truth: Tensor, prediction: Tensor, weight: Tensor | None) -> Tensor:
    """The loss of a batch; steps that the mask of ``prediction`` leaves out do not count."""
    if isinstance(loss, TorchLoss):
        values = (loss if weight is None else loss.unreduced()).objective(truth, prediction)
    else:
        values = _each(loss, truth, prediction)
    if not values.ndim:
        if weight is not None:
            raise _unweightable(loss)
        return values
    reduction = loss.reduction if isinstance(loss, Loss) else "mean"
    return reduced(values, "mean" if reduction in ("none", None) else reduction, prediction, weight)


def metric_of(
    metric: Objective, truth: Tensor, prediction: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The metric of a batch, and how much it counts against other batches where that is not by their samples."""
    mask = mask_of(prediction)
    if mask is None and weight is None:
        value = metric(truth, prediction)
        if not isinstance(value, Tensor):
            raise GraphcTypeError("E213", f"a loss or metric must give a tensor, got {type(value).__name__}")
        return mean(value) if value.ndim else value, None
    values = _each(metric, truth, prediction)
    if not values.ndim:
        if weight is not None:
            raise _unweightable(metric)
        return values, None
    shares = [along(one, values, what) for one, what in ((mask, "mask"), (weight, "sample weight")) if one is not None]
    share = shares[0].astype(values.dtype)
    for other in shares[1:]:
        share = share * other.astype(values.dtype)
    each = broadcast_to(share, values.shape)
    total = sum(mean(each, axis=tuple(range(1, each.ndim))) if each.ndim > 1 else each)
    return reduced(values, "mean_with_sample_weight", None, share), total


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
