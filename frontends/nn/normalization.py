"""Normalization layers under their Keras names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size, normalize_axis
from graphc.frontends.dsl.elementwise import sqrt, square, where
from graphc.frontends.dsl.movement import broadcast_to, reshape
from graphc.frontends.dsl.reductions import element_count, mean, sum
from graphc.frontends.dsl.session import session_of
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.checks import axes_argument, check_rank
from graphc.frontends.nn.layer import Layer, forced_training, while_training
from graphc.frontends.nn.masking import checked_mask
from graphc.frontends.nn.recipes import ScaleOptions, StatisticsOptions
from graphc.frontends.optim.optimizer import check_number
from graphc.ir.dim import Dim
from graphc.ir.types import float32

KERAS_EPSILON = 1e-7
"""What Keras adds to a count that might be 0."""


def widened(x: Tensor) -> Tensor:
    """Half dtypes are normalized in float32: squares overflow early."""
    if not x.dtype.is_float:
        raise fail(GraphcTypeError, "E213", f"normalization takes floats, got {x.dtype}", None, x)
    return x.astype(float32) if x.dtype.is_half else x


def _static(layer: Layer, shape: Sequence[Dim], axes: Sequence[int]) -> tuple[int, ...]:
    found: list[int] = []
    for axis in axes:
        size = shape[axis]
        if not isinstance(size, int):
            message = f"{layer.name}: the normalized axis {axis} must have a size, got the symbol {size}"
            raise fail(GraphcValueError, "E214", message)
        found.append(size)
    return tuple(found)


def standardized(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """(x - mean) / √(variance + epsilon) over ``axes``."""
    centred = x - mean(x, axis=axes, keepdims=True)
    return centred / sqrt(mean(square(centred), axis=axes, keepdims=True) + epsilon)


class _Scaled(Layer):
    """What normalizations share: an optional scale (gamma) and shift (beta)."""

    supports_masking = True
    default_initializers: ClassVar[Mapping[str, str]] = {"beta": "zeros", "gamma": "ones"}

    def __init__(self, epsilon: float, center: bool, scale: bool, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = check_number("epsilon", epsilon, 0.0)
        self.center, self.scale = center, scale
        self.gamma: Tensor | None = None
        self.beta: Tensor | None = None

    def add_scale(self, shape: Sequence[int]) -> None:
        """Make gamma and beta."""
        if self.scale:
            self.gamma = self.add_weight("gamma", shape, self.recipes["gamma"])
        if self.center:
            self.beta = self.add_weight("beta", shape, self.recipes["beta"])

    def scaled(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """``x`` times gamma plus beta, both reshaped to ``shape``."""
        if self.gamma is not None:
            x = x * reshape(self.gamma, shape).astype(x.dtype)
        return x if self.beta is None else x + reshape(self.beta, shape).astype(x.dtype)


class BatchNormalization(_Scaled):
    """gamma (x - mean) / √(variance + epsilon) + beta for each channel (Ioffe and Szegedy, 2015).

    While training, mean and variance (divided by n) are the batch's, and the entry point blends them into
    ``<name>/moving_mean`` and ``<name>/moving_variance``; these serve the other entry points.  They are part of the
    weights, and of the artifact.  A frozen layer (``trainable=False``) always uses them, and leaves them.

    Args:
        axis: of the channels.
        momentum: share of the old value that a moving statistic keeps.
        epsilon: added to the variance.
        center: False leaves beta out.
        scale: False leaves gamma out.
        options: as in :class:`Layer`; ``beta_…`` of ``<name>/beta``, ``gamma_…`` of ``<name>/gamma``,
            ``moving_mean_initializer`` and ``moving_variance_initializer`` of the moving statistics.
    """

    batch_statistics = True
    default_initializers: ClassVar[Mapping[str, str]] = {
        **_Scaled.default_initializers,
        "moving_mean": "zeros",
        "moving_variance": "ones",
    }

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Unpack[StatisticsOptions],
    ) -> None:
        super().__init__(epsilon, center, scale, **options)
        self.axis = axis
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale, shift, and the moving statistics."""
        check_rank(self, shape, 2)
        channels = _static(self, shape, [normalize_axis(self.axis, len(shape))])
        self.add_scale(channels)
        mean, variance = self.recipes["moving_mean"], self.recipes["moving_variance"]
        self.moving_mean = self.add_weight("moving_mean", channels, mean, role="statistic", trainable=False)
        self.moving_variance = self.add_weight("moving_variance", channels, variance, role="statistic", trainable=False)

    def running_variance(self, variance: Tensor, count: Tensor | int) -> Tensor:
        """What is blended into the moving variance, from the variance of ``count`` elements: itself."""
        return variance

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """The normalized input; masked steps do not count in the statistics."""
        wide = widened(x)
        axis = normalize_axis(self.axis, x.ndim, x)
        sizes = _static(self, x.shape, [axis])
        shape = tuple(sizes[0] if place == axis else 1 for place in range(x.ndim))
        moving_mean, moving_variance = self.moving_mean.astype(wide.dtype), self.moving_variance.astype(wide.dtype)
        if not self.trainable:
            return self._normalized(wide, moving_mean, moving_variance, shape).astype(x.dtype)
        batch_mean, batch_variance = self._moments(wide, axis, None if mask is None else checked_mask(mask, x))

        result = while_training(
            wide,
            lambda: self._normalized(wide, batch_mean, batch_variance, shape),
            lambda: self._normalized(wide, moving_mean, moving_variance, shape),
        )
        if forced_training() is not False:
            count = element_count(wide, tuple(place for place in range(x.ndim) if place != axis))
            self._blend(result, self.moving_mean, batch_mean)
            self._blend(result, self.moving_variance, self.running_variance(batch_variance, count))
        return result.astype(x.dtype)

    def _normalized(self, x: Tensor, mean: Tensor, variance: Tensor, shape: tuple[int, ...]) -> Tensor:
        centred = x - reshape(mean, shape)
        return self.scaled(centred / reshape(sqrt(variance + self.epsilon), shape), shape)

    def _moments(self, x: Tensor, axis: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        others = tuple(place for place in range(x.ndim) if place != axis)
        if mask is None:
            centre = mean(x, axis=others, keepdims=True)
            return reshape(centre, (x.shape[axis],)), mean(square(x - centre), axis=others)
        kept = broadcast_to(reshape(mask, (*mask.shape, *(1,) * (x.ndim - 2))), x.shape)
        count = sum(kept.astype(x.dtype), axis=others, keepdims=True) + KERAS_EPSILON
        centre = sum(where(kept, x, 0), axis=others, keepdims=True) / count
        squares = sum(square(where(kept, x - centre, 0)), axis=others, keepdims=True) / count
        return reshape(centre, (x.shape[axis],)), reshape(squares, (x.shape[axis],))

    def _blend(self, anchor: Tensor, variable: Tensor, value: Tensor) -> None:
        stored = value.astype(variable.dtype)
        session_of(anchor.builder).add_companion(anchor.node, variable.node, stored.node, momentum=self.momentum)


class LayerNormalization(_Scaled):
    """gamma (x - mean) / √(variance + epsilon) + beta within each sample (Ba et al., 2016).

    Args:
        axis: over which mean and variance are taken, and of which gamma and beta are.
        epsilon: added to the variance.
        center: False leaves beta out.
        scale: False leaves gamma out.
        options: as in :class:`Layer`; ``beta_…`` of ``<name>/beta``, ``gamma_…`` of ``<name>/gamma``.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Unpack[ScaleOptions],
    ) -> None:
        super().__init__(epsilon, center, scale, **options)
        self.axis = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)

    def axes_of(self, rank: int) -> tuple[int, ...]:
        """The axes counted from 0, in order."""
        return tuple(sorted(normalize_axis(axis, rank) for axis in self.axis))

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale and shift."""
        check_rank(self, shape, 2)
        self.add_scale(_static(self, shape, self.axes_of(len(shape))))

    def call(self, x: Tensor) -> Tensor:
        """The normalized input."""
        wide, axes = widened(x), self.axes_of(x.ndim)
        sizes = dict(zip(axes, _static(self, x.shape, axes), strict=True))
        shape = tuple(sizes.get(place, 1) for place in range(x.ndim))
        return self.scaled(standardized(wide, axes, self.epsilon), shape).astype(x.dtype)


class RMSNormalization(Layer):
    """Scale x / √(mean(x²) + epsilon) along ``axis`` (Zhang and Sennrich, 2019)."""

    supports_masking = True

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(**options)
        self.axis, self.epsilon = axes_argument(axis), check_number("epsilon", epsilon, 0.0)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The scale."""
        check_rank(self, shape, 2)
        self.scale = self.add_weight("scale", _static(self, shape, [normalize_axis(self.axis, len(shape))]), "ones")

    def call(self, x: Tensor) -> Tensor:
        """The normalized input."""
        wide, axis = widened(x), normalize_axis(self.axis, x.ndim, x)
        size = sqrt(mean(square(wide), axis=axis, keepdims=True) + self.epsilon)
        scale = reshape(self.scale, [*self.scale.shape, *[1] * (x.ndim - axis - 1)]).astype(wide.dtype)
        return (wide / size * scale).astype(x.dtype)


class GroupNormalization(_Scaled):
    """The channels of each sample in ``groups`` parts, each with mean 0 and variance 1 (Wu and He, 2018).

    Args:
        groups: into how many parts the channels fall; -1 for one a channel.
        axis: of the channels.
        epsilon: added to the variance.
        center: False leaves beta out.
        scale: False leaves gamma out.
        options: as in :class:`Layer`; ``beta_…`` of ``<name>/beta``, ``gamma_…`` of ``<name>/gamma``.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Unpack[ScaleOptions],
    ) -> None:
        super().__init__(epsilon, center, scale, **options)
        self.groups = groups if groups == -1 else checked_size(groups, "groups", minimum=1, code="E218")
        self.axis = axis

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale and shift."""
        check_rank(self, shape, 2)
        channels = _static(self, shape, [normalize_axis(self.axis, len(shape))])
        if self.groups != -1 and channels[0] % self.groups:
            message = f"{self.name}: {channels[0]} channels do not divide into {self.groups} groups"
            raise fail(GraphcValueError, "E218", message)
        self.add_scale(channels)

    def call(self, x: Tensor) -> Tensor:
        """The normalized input."""
        wide, axis = widened(x), normalize_axis(self.axis, x.ndim, x)
        (channels,) = _static(self, x.shape, [axis])
        groups = channels if self.groups == -1 else self.groups
        apart = reshape(wide, (*x.shape[:axis], groups, channels // groups, *x.shape[axis + 1 :]))
        others = tuple(place for place in range(1, apart.ndim) if place != axis)
        unit = standardized(apart, others, self.epsilon)
        shape = tuple(channels if place == axis else 1 for place in range(x.ndim))
        return self.scaled(reshape(unit, x.shape), shape).astype(x.dtype)


class UnitNormalization(Layer):
    """X divided by its length along ``axis``."""

    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axes_argument(axis)

    def call(self, x: Tensor) -> Tensor:
        """The unit vectors."""
        return unit_vectors(x, self.axis, 1e-12)


def unit_vectors(x: Tensor, axis: int | tuple[int, ...], shortest: float) -> Tensor:
    """X divided by its length along ``axis``, where that is at least ``shortest``, which else takes its place."""
    squares = sum(square(x), axis=axis, keepdims=True)
    return x / sqrt(where(squares > shortest**2, squares, shortest**2))
