"""Losses under their Keras names: as functions of (y_true, y_pred), and as objects that remember how they are meant.

``nn.losses.SparseCategoricalCrossentropy(from_logits=True)`` is what ``compile`` takes in place of a name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import loss_functions as functions
from graphc.frontends.nn.layer import snake_case
from graphc.frontends.nn.loss_functions import *  # noqa: F403
from graphc.frontends.nn.masking import with_mask

__all__ = [  # noqa: PLE0604  (the starred list holds strings)
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "Hinge",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    *functions.__all__,
]


class Loss:
    """A loss that is called with (y_true, y_pred).  A subclass defines ``call``, which gives one loss a sample.

    Args:
        reduction: ``"sum_over_batch_size"`` (the mean), ``"sum"``, ``"mean_with_sample_weight"`` or ``"none"``.
        name: in logs; by default that of the class.
    """

    integer_targets: ClassVar[bool] = False
    """Whether the targets are numbers of classes."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None) -> None:
        self.reduction = reduction
        self.name = name or snake_case(type(self).__name__)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One loss a sample, or a step of it."""
        raise fail(
            GraphcTypeError, "E213", f"{type(self).__name__} does not say what it computes: define call(y_true, y_pred)"
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The losses, weighted and reduced; steps that the mask of ``y_pred`` leaves out do not count."""
        return functions.reduced(self.call(y_true, y_pred), self.reduction, y_pred, sample_weight)


class _FunctionLoss(Loss):
    """A loss that a function computes, with some of its arguments fixed."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(reduction, name)
        self._arguments = arguments

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One loss a sample, or a step of it."""
        # The mask counts when the losses are reduced.
        plain = with_mask(y_pred, None) if isinstance(y_pred, Tensor) else y_pred
        return type(self).function(y_true, plain, reduction="none", **self._arguments)


class MeanSquaredError(_FunctionLoss):
    """mean((y_true - y_pred)²)."""

    function = staticmethod(functions.mean_squared_error)


class MeanAbsoluteError(_FunctionLoss):
    """mean(|y_true - y_pred|)."""

    function = staticmethod(functions.mean_absolute_error)


class Huber(_FunctionLoss):
    """Half the square of an error up to ``delta``, then linear (Huber, 1964)."""

    function = staticmethod(functions.huber)

    def __init__(
        self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None
    ) -> None:
        super().__init__(reduction, name, delta=delta)


class Hinge(_FunctionLoss):
    """mean(max(1 - y_true y_pred, 0)); targets are -1 and 1, or 0 and 1."""

    function = staticmethod(functions.hinge)


class SquaredHinge(_FunctionLoss):
    """mean(max(1 - y_true y_pred, 0)²); targets are -1 and 1, or 0 and 1."""

    function = staticmethod(functions.squared_hinge)


class CategoricalHinge(_FunctionLoss):
    """max(1 + largest wrong score - right score, 0); targets are one-hot."""

    function = staticmethod(functions.categorical_hinge)


class KLDivergence(_FunctionLoss):
    """sum(y log(y / p)) along the last axis, of two distributions."""

    function = staticmethod(functions.kl_divergence)


class Poisson(_FunctionLoss):
    """mean(p - y log p)."""

    function = staticmethod(functions.poisson)


class NegativeLogLikelihood(_FunctionLoss):
    """-log p[y] for integer targets, of log-probabilities along the last axis."""

    function = staticmethod(functions.negative_log_likelihood)
    integer_targets = True


class BinaryCrossentropy(_FunctionLoss):
    """-mean(y log p + (1 - y) log(1 - p)) of probabilities p, or of logits.

    Args:
        from_logits: True for predictions before the sigmoid.
        label_smoothing: share of a target that is drawn to 1/2.
        reduction: see :class:`Loss`.
        name: see :class:`Loss`.
    """

    function = staticmethod(functions.binary_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(_FunctionLoss):
    """-sum(y log p) along ``axis``, of probabilities p or of logits; targets are distributions.

    Args:
        from_logits: True for predictions before the softmax.
        label_smoothing: share of a target that is spread over all classes.
        axis: of the classes.
        reduction: see :class:`Loss`.
        name: see :class:`Loss`.
    """

    function = staticmethod(functions.categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis)


class SparseCategoricalCrossentropy(_FunctionLoss):
    """-log p[y] for integer targets y, of probabilities p or of logits.

    Args:
        from_logits: True for predictions before the softmax.
        axis: of the classes.
        reduction: see :class:`Loss`.
        name: see :class:`Loss`.
    """

    function = staticmethod(functions.sparse_categorical_crossentropy)
    integer_targets = True

    def __init__(
        self,
        from_logits: bool = False,
        *,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name, from_logits=from_logits, axis=axis)
