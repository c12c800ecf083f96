"""The entry points that ``compile`` asks for: loss, metrics and the optimizer's step as graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.creation import input as new_input
from graphc.frontends.dsl.creation import state
from graphc.frontends.dsl.penalties import penalized
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.torch_losses import TorchLoss
from graphc.frontends.nn.training.data import Array, Batch
from graphc.frontends.nn.training.objectives import (
    Objective,
    get_loss,
    get_metric,
    loss_of,
    metric_of,
    spread,
    takes_classes,
    target_dtype,
)
from graphc.frontends.optim import Optimizer
from graphc.ir.dim import Dim

BATCH = "batch"
"""The symbolic dimension that stands for the number of samples."""

COUNT = "/count"
"""Ends the name of an output that says how much a metric counts against those of other batches."""


@dataclass(frozen=True)
class Request:
    """What ``compile`` was told, as it was told."""

    optimizer: Optimizer
    loss: Any
    metrics: Any
    loss_weights: Any
    weighted_metrics: Any = None

    def __post_init__(self) -> None:
        given = self.loss.values() if isinstance(self.loss, Mapping) else self.loss
        for loss in given if isinstance(given, (list, tuple)) or isinstance(self.loss, Mapping) else [given]:
            if loss is not None:
                get_loss(loss)

    def objectives(self, labels: Sequence[str]) -> list[Objectives]:
        """What is asked for each output."""
        losses = spread(self.loss, labels, "loss")
        weights = spread(self.loss_weights, labels, "loss weight")
        metrics, weighted = _listed(self.metrics, labels), _listed(self.weighted_metrics, labels)
        return [
            Objectives(
                label,
                None if losses[position] is None else get_loss(losses[position]),
                1.0 if weights[position] is None else float(weights[position]),
                tuple((*get_metric(one), False) for one in metrics[position])
                + tuple((*get_metric(one), True) for one in weighted[position]),
            )
            for position, label in enumerate(labels)
        ]


def _listed(given: Any, labels: Sequence[str]) -> list[Sequence[Any]]:
    """The metrics of each output: a list holds for every output, a dict says which."""
    each = spread(given, labels, "metric") if isinstance(given, Mapping) else [given] * len(labels)
    return [one if isinstance(one, (list, tuple)) else () if one is None else (one,) for one in each]


@dataclass(frozen=True)
class Objectives:
    """What is asked of one output.

    Attributes:
        label: the output's name.
        loss: None where it counts for nothing.
        weight: of the loss.
        metrics: (name, function, whether the weights of samples count).
    """

    label: str
    loss: Objective | None
    weight: float
    metrics: tuple[tuple[str, Objective, bool], ...]


def target_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of what the outputs are compared with: ``y``, or ``y_<label>`` for each of several."""
    return ("y",) if len(labels) == 1 else tuple(f"y_{label}" for label in labels)


def weight_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of the weights of samples: ``sample_weight``, or ``sample_weight_<label>`` for each of several outputs."""
    return ("sample_weight",) if len(labels) == 1 else tuple(f"sample_weight_{label}" for label in labels)


def rate_name(optimizer: Optimizer) -> str:
    """The state variable that holds the learning rate."""
    return f"{optimizer.name}/learning_rate"


def likely_targets(outputs: Mapping[str, Tensor], request: Request) -> Batch:
    """Targets of one sample as the losses take them: numbers of classes, or what the predictions look like.

    Raises:
        GraphcValueError: a prediction whose sizes only data say (E214).
    """
    made: list[Array] = []
    for wanted in request.objectives(list(outputs)):
        prediction = outputs[wanted.label]
        sizes, integers = list(prediction.shape[1:]), takes_classes(wanted.loss)
        if integers:
            axis = 0 if isinstance(wanted.loss, TorchLoss) else -1
            sizes.pop(axis)
        # (A size that only data say, such as a number of steps, is taken from the prediction again.)
        kind = np.dtype(np.int64 if integers else prediction.dtype.storage)
        made.append(np.zeros((1, *(size if isinstance(size, int) else 1 for size in sizes)), kind))
    return Batch((), tuple(made))


def _open_sizes(loss: Objective | None, prediction: Tensor) -> list[Dim | None]:
    """For each axis of a sample's target the size of the prediction there, where that is a symbol: a number of steps is
    not that of the first batch.
    """
    sizes = list(prediction.shape[1:])
    if loss is not None and isinstance(loss, TorchLoss) and takes_classes(loss) and sizes:
        sizes.pop(0)
    return [None if isinstance(size, int) else size for size in sizes]


def _sizes(given: Array, open_sizes: Sequence[Dim | None]) -> list[Dim]:
    """The sizes of one sample of ``given``, those that are open left to the data."""
    sizes: list[Dim] = list(given.shape[1:])
    for axis, size in enumerate(open_sizes[: len(sizes)]):
        sizes[axis] = sizes[axis] if size is None else size
    return sizes


def training_entries(outputs: Mapping[str, Tensor], batch: Batch, request: Request) -> dict[str, Any]:
    """The entry points ``evaluate`` and ``train``, for targets and weights shaped as those of ``batch``."""
    if not batch.targets:
        raise GraphcValueError("E455", "there is nothing to compare the predictions with", hint="give y")
    total: Tensor | None = None
    figures: dict[str, Tensor] = {}
    names, weights = target_names(list(outputs)), weight_names(list(outputs))
    for position, wanted in enumerate(request.objectives(list(outputs))):
        prediction, given = outputs[wanted.label], batch.targets[position]
        samples = prediction.shape[0] if prediction.ndim else BATCH
        dtype = target_dtype(wanted.loss, given.dtype, prediction.dtype)
        open_sizes = _open_sizes(wanted.loss, prediction)
        truth = new_input(names[position], (samples, *_sizes(given, open_sizes)), dtype)
        weight = None
        if batch.weights:
            sizes = (samples, *_sizes(batch.weights[position], open_sizes))
            weight = new_input(weights[position], sizes, prediction.dtype)
        prefix = f"{wanted.label}_" if len(outputs) > 1 else ""
        if wanted.loss is not None:
            value = loss_of(wanted.loss, truth, prediction, weight)
            weighted = value if wanted.weight == 1.0 else value * wanted.weight
            total = weighted if total is None else total + weighted
            if prefix:
                figures[f"{prefix}loss"] = value
        for name, metric, takes_weights in wanted.metrics:
            value, count = metric_of(metric, truth, prediction, weight if takes_weights else None)
            figures[f"{prefix}{name}"] = value
            if count is not None:
                figures[f"{prefix}{name}{COUNT}"] = count
    if total is None:
        raise GraphcValueError("E455", "there is no loss to train for", hint="e.g. compile('adam', loss='mse')")
    total = penalized(total)
    figures = {"loss": total, **figures}
    optimizer = copy.copy(request.optimizer)
    rate = optimizer.learning_rate
    if not isinstance(rate, Tensor) and not callable(rate):
        # A variable, so that callbacks can change it without compiling anew.
        optimizer.learning_rate = state(rate_name(optimizer), rate, (), total.dtype, role="slot")
    return {"evaluate": figures, "train": optimizer.minimize(total, outputs=figures)}
