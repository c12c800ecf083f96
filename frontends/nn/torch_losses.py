"""Losses under their PyTorch names: objects called with (input, target), classes along axis 1.

``compile`` takes them as well, and turns the arguments round.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.activations import log_softmax
from graphc.frontends.dsl.elementwise import abs, astype, clip, exp, log, softplus, square, where
from graphc.frontends.dsl.indexing import take, take_along_axis
from graphc.frontends.dsl.movement import broadcast_to, expand_dims, squeeze
from graphc.frontends.dsl.reductions import mean, sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]

_REDUCTIONS = ("mean", "sum", "none")


class TorchLoss:
    """A loss called with (input, target).

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    reductions: ClassVar[tuple[str, ...]] = _REDUCTIONS
    integer_targets: ClassVar[bool] = False

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            message = f"{type(self).__name__}: reduction is one of {', '.join(self.reductions)}, got {reduction!r}"
            raise fail(GraphcValueError, "E213", message)
        self.reduction = reduction

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        raise fail(
            GraphcTypeError, "E213", f"{type(self).__name__} does not say what it computes: define each(x, target)"
        )

    def __call__(self, input: Any, target: Any) -> Tensor:
        """The loss of predictions ``input`` against ``target``, of one shape."""
        common_builder((input, target))
        x = as_tensor(input)
        truth = astype(as_tensor(target, None, x.builder), x.dtype)
        if truth.shape != x.shape:
            message = f"{type(self).__name__} has predictions of shape {x.shape} and targets of shape {truth.shape}"
            raise fail(GraphcValueError, "E211", message, None, x, truth)
        return self._reduced(self.each(x, truth))

    def _reduced(self, losses: Tensor) -> Tensor:
        if self.reduction == "none":
            return losses
        return sum(losses) if self.reduction == "sum" else mean(losses)

    def unreduced(self) -> TorchLoss:
        """The same with one loss an element."""
        made = copy.copy(self)
        made.reduction = "none"
        return made

    def objective(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss as ``compile`` takes it."""
        if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y_pred = squeeze(y_pred, -1)
        return self(y_pred, y_true)


class MSELoss(TorchLoss):
    """The squared error."""

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        return square(x - target)


class L1Loss(TorchLoss):
    """The absolute error."""

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        return abs(x - target)


class SmoothL1Loss(TorchLoss):
    """Half the square of an error over ``beta`` where it is less than that, else the error minus ``beta`` / 2."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        size = abs(x - target)
        return (
            size if self.beta == 0 else where(size < self.beta, 0.5 / self.beta * square(size), size - 0.5 * self.beta)
        )


class HuberLoss(TorchLoss):
    """Half the square of an error up to ``delta``, then linear (Huber, 1964)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        size = abs(x - target)
        return where(size <= self.delta, 0.5 * square(size), self.delta * (size - 0.5 * self.delta))


class BCELoss(TorchLoss):
    """-(y log p + (1 - y) log(1 - p)) of probabilities p; a logarithm is no less than -100, as in PyTorch."""

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        return -(target * _bounded_log(x) + (1.0 - target) * _bounded_log(1.0 - x))


def _bounded_log(p: Tensor) -> Tensor:
    return where(p > 0, clip(log(where(p > 0, p, 1.0)), -100.0, 0.0), -100.0)


class BCEWithLogitsLoss(TorchLoss):
    """The binary cross-entropy of logits; ``pos_weight`` multiplies what targets of 1 cost."""

    def __init__(self, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight = pos_weight

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        if self.pos_weight is None:
            return softplus(x) - target * x
        weight = astype(as_tensor(self.pos_weight, None, x.builder), x.dtype)
        return weight * target * softplus(-x) + (1.0 - target) * softplus(x)


class KLDivLoss(TorchLoss):
    """y (log y - x) for log-probabilities x; ``"batchmean"`` divides the sum by the batch.

    Args:
        reduction: ``"mean"``, ``"batchmean"``, ``"sum"`` or ``"none"``.
        log_target: True where the targets are logarithms, too.
    """

    reductions: ClassVar[tuple[str, ...]] = (*_REDUCTIONS, "batchmean")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """One loss an element."""
        if self.log_target:
            return exp(target) * (target - x)
        return where(target > 0, target * (log(where(target > 0, target, 1.0)) - x), 0.0)

    def _reduced(self, losses: Tensor) -> Tensor:
        if self.reduction == "batchmean":
            return mean(sum(losses, axis=tuple(range(1, losses.ndim))))
        return super()._reduced(losses)


class NLLLoss(TorchLoss):
    """-x[y] for log-probabilities x with the classes along axis 1, and integer targets y.

    Args:
        weight: of each class; the mean is then weighted.
        ignore_index: targets with this number do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    integer_targets = True

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight, self.ignore_index = weight, ignore_index

    def __call__(self, input: Any, target: Any) -> Tensor:
        """The loss of (batch, classes, …) against (batch, …)."""
        common_builder((input, target))
        x = as_tensor(input)
        truth = as_tensor(target, None, x.builder)
        if not truth.dtype.is_integer:
            hint = "cast them with .astype('int64')"
            raise fail(GraphcTypeError, "E213", f"targets are numbers of classes, got {truth.dtype}", hint, truth)
        if x.ndim < 2 or truth.shape != (x.shape[0], *x.shape[2:]):
            message = f"predictions (batch, classes, …) of shape {x.shape} do not fit targets of shape {truth.shape}"
            raise fail(GraphcValueError, "E211", message, None, x, truth)
        return self._of_classes(x, truth)

    def objective(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss as ``compile`` takes it."""
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 and y_true.dtype.is_integer:
            y_true = squeeze(y_true, -1)
        return self(y_pred, y_true)

    def _of_classes(self, scores: Tensor, truth: Tensor) -> Tensor:
        return self._weighted(
            lambda chosen: -squeeze(take_along_axis(scores, expand_dims(chosen, 1), 1), 1), scores, truth
        )

    def _weighted(self, losses_of: Any, scores: Tensor, truth: Tensor) -> Tensor:
        """Losses of the classes chosen, weighted and reduced; those to be ignored count 0."""
        counts = truth != self.ignore_index
        chosen = where(counts, truth, 0)
        if self.weight is None:
            share = counts.astype(scores.dtype)
        else:
            share = where(counts, take(astype(as_tensor(self.weight, None, scores.builder), scores.dtype), chosen), 0)
        losses = losses_of(chosen) * share
        if self.reduction != "mean":
            return self._reduced(losses)
        return sum(losses) / sum(broadcast_to(share, losses.shape))


class CrossEntropyLoss(NLLLoss):
    """-log softmax(x)[y] for logits x with the classes along axis 1, and targets y: integers, or distributions.

    Args:
        weight: of each class; the mean is then weighted.
        ignore_index: targets with this number do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: share of a target that is spread over all classes.
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    def __call__(self, input: Any, target: Any) -> Tensor:
        """The loss of (batch, classes, …) against (batch, …), or distributions (batch, classes, …)."""
        common_builder((input, target))
        x = as_tensor(input)
        truth = as_tensor(target, None, x.builder)
        if truth.dtype.is_float and truth.shape == x.shape:
            return self._of_distributions(x, truth)
        return super().__call__(x, truth)

    def _class_weights(self, x: Tensor) -> Tensor | None:
        """(classes, 1, …), to multiply (classes, …) with."""
        if self.weight is None:
            return None
        weight = astype(as_tensor(self.weight, None, x.builder), x.dtype)
        return weight.reshape((weight.shape[0], *(1,) * (x.ndim - 2)))

    def _of_distributions(self, x: Tensor, truth: Tensor) -> Tensor:
        smoothed = truth * (1.0 - self.label_smoothing) + self.label_smoothing / self._classes(x)
        weight = self._class_weights(x)
        costs = smoothed * log_softmax(x, 1)
        losses = -sum(costs if weight is None else costs * weight, axis=1)
        return self._reduced(losses)

    def _classes(self, x: Tensor) -> int:
        size = x.shape[1]
        if not isinstance(size, int):
            raise fail(GraphcValueError, "E214", f"the number of classes must have a size, got {size}", None, x)
        return size

    def _of_classes(self, scores: Tensor, truth: Tensor) -> Tensor:
        logs = log_softmax(scores, 1)
        if not self.label_smoothing:
            return super()._of_classes(logs, truth)
        # As in PyTorch, what is spread has the weights of the classes that it goes to.
        sharp = NLLLoss(self.weight, self.ignore_index, "none")._of_classes(logs, truth)
        weight = self._class_weights(scores)
        spread = -sum(logs if weight is None else logs * weight, axis=1) / self._classes(scores)
        counts = truth != self.ignore_index
        losses = (1.0 - self.label_smoothing) * sharp + self.label_smoothing * where(counts, spread, 0)
        if self.reduction != "mean":
            return self._reduced(losses)
        share = self._weighted_count(scores, truth)
        return sum(losses) / share

    def _weighted_count(self, scores: Tensor, truth: Tensor) -> Tensor:
        one = NLLLoss(self.weight, self.ignore_index, "sum")
        return one._weighted(lambda chosen: as_tensor(1.0, scores.dtype, scores.builder), scores, truth)
