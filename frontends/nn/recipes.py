"""How the weights of a layer are made: ``<weight>_initializer``, ``<weight>_regularizer``, ``<weight>_constraint``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from graphc.frontends.nn import constraints, initializers, regularizers
from graphc.frontends.nn.constraints import Constraint
from graphc.frontends.nn.regularizers import Penalty

_ASPECTS = ("initializer", "regularizer", "constraint")

KERNEL_AND_BIAS: Mapping[str, str] = {"kernel": "glorot_uniform", "bias": "zeros"}
"""The weights of most layers, and Keras' initializers for them."""


@dataclass(frozen=True)
class Recipe:
    """How one weight is made.

    Attributes:
        initializer: of its value.
        regularizer: a penalty that training adds to the loss.
        constraint: where each step of the optimizer puts it back.
    """

    initializer: initializers.Initializer | Callable[..., Any] | None
    regularizer: Penalty | None = None
    constraint: Constraint | None = None

    @classmethod
    def of(cls, initializer: Any, regularizer: Any = None, constraint: Any = None) -> Recipe:
        """From names, objects or functions; an initializer of None is the default for the rank of the weight."""
        return cls(
            None if initializer is None else initializers.get(initializer),
            regularizers.get(regularizer),
            constraints.get(constraint),
        )


def take_recipes(defaults: Mapping[str, str], options: dict[str, Any]) -> dict[str, Recipe]:
    """The recipes of some weights, whose arguments are taken out of ``options``.

    Args:
        defaults: weight → its initializer where ``options`` has none.
        options: arguments of a layer by name.
    """
    return {
        weight: Recipe.of(
            options.pop(f"{weight}_initializer", default),
            options.pop(f"{weight}_regularizer", None),
            options.pop(f"{weight}_constraint", None),
        )
        for weight, default in defaults.items()
    }


def recipe_arguments(weights: Mapping[str, str]) -> frozenset[str]:
    """The names of the arguments that say how ``weights`` are made."""
    return frozenset(f"{weight}_{aspect}" for weight in weights for aspect in _ASPECTS)


# -- the arguments, for type checkers and editors ----------------------------------------------------------------------


class LayerOptions(TypedDict, total=False):
    """What every layer takes; see :class:`graphc.nn.Layer`."""

    name: str | None
    trainable: bool
    dtype: Any
    input_shape: Any
    input_dim: int | None
    activity_regularizer: Any


class BiasOptions(LayerOptions, total=False):
    """Arguments of a layer with a bias."""

    bias_initializer: Any
    bias_regularizer: Any
    bias_constraint: Any


class KernelOptions(BiasOptions, total=False):
    """Arguments of a layer with a kernel and a bias."""

    kernel_initializer: Any
    kernel_regularizer: Any
    kernel_constraint: Any


class DepthwiseOptions(BiasOptions, total=False):
    """Arguments of a layer with a kernel for each channel."""

    depthwise_initializer: Any
    depthwise_regularizer: Any
    depthwise_constraint: Any


class SeparableOptions(DepthwiseOptions, total=False):
    """Arguments of a layer with a kernel for each channel, and one that mixes the channels."""

    pointwise_initializer: Any
    pointwise_regularizer: Any
    pointwise_constraint: Any


class RecurrentOptions(KernelOptions, total=False):
    """Arguments of a recurrent cell."""

    recurrent_initializer: Any
    recurrent_regularizer: Any
    recurrent_constraint: Any
    dropout: float
    recurrent_dropout: float
    seed: int | None


class ScaleOptions(LayerOptions, total=False):
    """Arguments of a normalization."""

    beta_initializer: Any
    gamma_initializer: Any
    beta_regularizer: Any
    gamma_regularizer: Any
    beta_constraint: Any
    gamma_constraint: Any


class StatisticsOptions(ScaleOptions, total=False):
    """Arguments of a normalization with running statistics."""

    moving_mean_initializer: Any
    moving_variance_initializer: Any
