"""The entry points that ``compile`` asks for: loss, metrics and the optimizer's step as graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.creation import input as new_input
from graphc.frontends.dsl.creation import state
from graphc.frontends.dsl.penalties import penalized
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.training.data import Array
from graphc.frontends.nn.training.objectives import (
    Objective,
    get_loss,
    get_metric,
    scalar_of,
    spread,
    target_dtype,
)
from graphc.frontends.optim import Optimizer

BATCH = "batch"
"""The symbolic dimension that stands for the number of samples."""


@dataclass(frozen=True)
class Request:
    """What ``compile`` was told, as it was told."""

    optimizer: Optimizer
    loss: Any
    metrics: Any
    loss_weights: Any

    def __post_init__(self) -> None:
        given = self.loss.values() if isinstance(self.loss, Mapping) else self.loss
        for loss in given if isinstance(given, (list, tuple)) or isinstance(self.loss, Mapping) else [given]:
            if loss is not None:
                get_loss(loss)

    def objectives(self, labels: Sequence[str]) -> list[Objectives]:
        """What is asked for each output."""
        losses = spread(self.loss, labels, "loss")
        weights = spread(self.loss_weights, labels, "loss weight")
        # A list of metrics holds for every output, a dict says which.
        metrics = spread(self.metrics, labels, "metric") if isinstance(self.metrics, Mapping) else None
        made = []
        for position, label in enumerate(labels):
            chosen = self.metrics if metrics is None else metrics[position]
            listed = chosen if isinstance(chosen, (list, tuple)) else [] if chosen is None else [chosen]
            weight = weights[position]
            made.append(
                Objectives(
                    label,
                    None if losses[position] is None else get_loss(losses[position]),
                    1.0 if weight is None else float(weight),
                    tuple(map(get_metric, listed)),
                )
            )
        return made


@dataclass(frozen=True)
class Objectives:
    """What is asked of one output.

    Attributes:
        label: the output's name.
        loss: None where it counts for nothing.
        weight: of the loss.
        metrics: (name, function).
    """

    label: str
    loss: Objective | None
    weight: float
    metrics: tuple[tuple[str, Objective], ...]


def target_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of what the outputs are compared with: ``y``, or ``y_<label>`` for each of several."""
    return ("y",) if len(labels) == 1 else tuple(f"y_{label}" for label in labels)


def rate_name(optimizer: Optimizer) -> str:
    """The state variable that holds the learning rate."""
    return f"{optimizer.name}/learning_rate"


def training_entries(outputs: Mapping[str, Tensor], targets: Sequence[Array], request: Request) -> dict[str, Any]:
    """The entry points ``evaluate`` and ``train``, for targets shaped as ``targets``."""
    if not targets:
        raise GraphcValueError("E455", "there is nothing to compare the predictions with", hint="give y")
    total: Tensor | None = None
    figures: dict[str, Tensor] = {}
    names = target_names(list(outputs))
    for position, wanted in enumerate(request.objectives(list(outputs))):
        prediction, given = outputs[wanted.label], targets[position]
        samples = prediction.shape[0] if prediction.ndim else BATCH
        dtype = target_dtype(wanted.loss, given.dtype, prediction.dtype)
        truth = new_input(names[position], (samples, *given.shape[1:]), dtype)
        prefix = f"{wanted.label}_" if len(outputs) > 1 else ""
        if wanted.loss is not None:
            value = scalar_of(wanted.loss, truth, prediction)
            weighted = value if wanted.weight == 1.0 else value * wanted.weight
            total = weighted if total is None else total + weighted
            if prefix:
                figures[f"{prefix}loss"] = value
        for name, metric in wanted.metrics:
            figures[f"{prefix}{name}"] = scalar_of(metric, truth, prediction)
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
