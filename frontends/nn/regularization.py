"""Layers that make training harder so that it generalizes: dropout and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import checked_format
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.random import random_bernoulli, random_normal
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.checks import check_spatial
from graphc.frontends.nn.layer import Layer, while_training
from graphc.frontends.nn.regularizers import L1L2
from graphc.frontends.optim.optimizer import check_number
from graphc.ir.dim import Dim


def checked_rate(rate: Any, *, below: bool = False) -> float:
    """A dropout rate: 0 ≤ rate ≤ 1, or less than 1 where ``below``."""
    return check_number("a dropout rate", rate, 0.0, 1.0, below=below)


def checked_seed(seed: Any) -> int | None:
    """A seed that takes the place of the model's, or None."""
    return None if seed is None else checked_size(seed, "a seed", code="E213")


def dropout_mask(x: Tensor, rate: float, shape: Sequence[Dim], seed: int | None = None) -> Tensor:
    """1 / (1 - rate) where elements are kept, else 0, in the dtype of ``x``."""
    scale = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0
    return random_bernoulli(tuple(shape), 1.0 - rate, seed=seed).astype(x.dtype) * scale


def dropout(x: Tensor, rate: float, noise_shape: Sequence[Dim | None] | None = None, seed: int | None = None) -> Tensor:
    """See :class:`Dropout`."""
    if rate == 0.0:
        return x
    shape = _drawn_shape(x, noise_shape)

    def dropped() -> Tensor:
        scaled = x * (1.0 / (1.0 - rate)) if rate < 1.0 else x
        return where(random_bernoulli(shape, 1.0 - rate, seed=seed), scaled, 0)

    return while_training(x, dropped, lambda: x)


def _drawn_shape(x: Tensor, noise_shape: Sequence[Dim | None] | None) -> tuple[Dim, ...]:
    """The shape in which to draw for ``x``."""
    given = x.shape if noise_shape is None else noise_shape
    if len(given) != x.ndim:
        raise fail(GraphcValueError, "E211", f"noise_shape {noise_shape} does not fit the shape {x.shape}", None, x)
    return tuple(size if dim is None else dim for dim, size in zip(given, x.shape, strict=True))


class Dropout(Layer):
    """While training, each element is 0 with probability ``rate``, or scaled by 1 / (1 - rate); else the identity.

    Args:
        rate: between 0 and 1.
        noise_shape: the shape in which to draw; an axis of 1 is dropped or kept as a whole.  None stands for an axis's
            own size.
        seed: takes the place of the model's.
        options: as in :class:`Layer`.
    """

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"p": "rate", "inplace": None}

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rate = checked_rate(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = checked_seed(seed)

    def call(self, x: Tensor) -> Tensor:
        """The elements kept."""
        return dropout(x, self.rate, self.noise_shape, self.seed)


class _SpatialDropout(Layer):
    """Dropout of whole channels.

    Args:
        rate: between 0 and 1.
        data_format: ``channels_last`` (default) or ``channels_first``.
        seed: takes the place of the model's.
        options: as in :class:`Layer`.
    """

    supports_masking = True
    spatial: ClassVar[int]

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = checked_rate(rate)
        self.data_format = checked_format(data_format)
        self.seed = checked_seed(seed)

    def call(self, x: Tensor) -> Tensor:
        """The channels kept."""
        check_spatial(self, x, self.spatial)
        ones = (1,) * self.spatial
        shape = (None, *ones, None) if self.data_format == "channels_last" else (None, None, *ones)
        return dropout(x, self.rate, shape, self.seed)


class SpatialDropout1D(_SpatialDropout):
    """Dropout of whole features of a sequence, with the arguments of :class:`Dropout`."""

    spatial = 1

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(rate, None, seed, **options)


class SpatialDropout2D(_SpatialDropout):
    """Dropout of whole channels of images."""

    spatial = 2


class SpatialDropout3D(_SpatialDropout):
    """Dropout of whole channels of volumes."""

    spatial = 3


class GaussianNoise(Layer):
    """While training, adds normal noise of standard deviation ``stddev``; else the identity."""

    supports_masking = True

    def __init__(self, stddev: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.stddev, self.seed = check_number("stddev", stddev, 0.0), checked_seed(seed)

    def call(self, x: Tensor) -> Tensor:
        """The input with its noise."""
        if self.stddev == 0.0:
            return x
        return while_training(
            x, lambda: x + random_normal(x.shape, 0.0, self.stddev, x.dtype, seed=self.seed), lambda: x
        )


class GaussianDropout(Layer):
    """While training, multiplies by normal noise of mean 1 and variance rate / (1 - rate); else the identity."""

    supports_masking = True

    def __init__(self, rate: float, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate, self.seed = checked_rate(rate, below=True), checked_seed(seed)

    def call(self, x: Tensor) -> Tensor:
        """The input times its noise."""
        if self.rate == 0.0:
            return x
        deviation = math.sqrt(self.rate / (1.0 - self.rate))
        return while_training(x, lambda: x * random_normal(x.shape, 1.0, deviation, x.dtype, seed=self.seed), lambda: x)


class AlphaDropout(Layer):
    """Dropout that keeps mean and variance of what ``selu`` makes (Klambauer et al., 2017)."""

    supports_masking = True

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rate, self.seed = checked_rate(rate, below=True), checked_seed(seed)
        self.noise_shape = noise_shape

    def call(self, x: Tensor) -> Tensor:
        """The elements kept, the others at the value to which selu saturates, all scaled and shifted."""
        if self.rate == 0.0:
            return x
        low = -1.6732632423543772 * 1.0507009873554805
        shape = _drawn_shape(x, self.noise_shape)
        scale = 1.0 / math.sqrt((1.0 - self.rate) * (1.0 + self.rate * low**2))

        def dropped() -> Tensor:
            kept = random_bernoulli(shape, 1.0 - self.rate, seed=self.seed)
            return scale * where(kept, x, low) - scale * low * self.rate

        return while_training(x, dropped, lambda: x)


class ActivityRegularization(Layer):
    """The identity, with a penalty l1 sum(|x|) + l2 sum(x²) on what passes, a sample's share of it."""

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        super().__init__(activity_regularizer=L1L2(l1, l2), **options)

    def call(self, x: Tensor) -> Tensor:
        """The input."""
        return x
