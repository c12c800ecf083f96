"""Layers that change spatial sizes without weights: padding, cropping, upsampling, under their Keras names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import Sizes, checked_format, sizes
from graphc.frontends.dsl.movement import pad, repeat, slice_axis
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.checks import check_spatial
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.resizing import resized

Borders = int | Sequence[int | Sequence[int]]
"""One width for all sides, one an axis, or (before, after) an axis; for one axis also (before, after) itself."""


def _borders(value: Borders, spatial: int, what: str) -> tuple[tuple[int, int], ...]:
    given = list(value) if isinstance(value, (tuple, list)) else [value] * spatial
    if spatial == 1 and len(given) == 2 and not any(isinstance(side, (tuple, list)) for side in given):
        given = [tuple(given)]
    pairs = [tuple(side) if isinstance(side, (tuple, list)) else (side, side) for side in given]
    if len(pairs) != spatial or any(len(pair) != 2 for pair in pairs):
        raise fail(GraphcValueError, "E218", f"{what} needs (before, after) for each of {spatial} axes, got {value!r}")
    return tuple((checked_size(low, what, code="E218"), checked_size(high, what, code="E218")) for low, high in pairs)


class _Spatial(Layer):
    """A layer on the spatial axes."""

    spatial: ClassVar[int]

    def __init__(self, data_format: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = checked_format(data_format)

    def first_axis(self, x: Tensor) -> int:
        """The first spatial axis."""
        check_spatial(self, x, self.spatial)
        return 1 if self.data_format == "channels_last" else 2


class _ZeroPadding(_Spatial):
    """Zeros around the spatial axes.

    Args:
        padding: one width, one an axis, or (before, after) an axis.
        data_format: ``channels_last`` (default) or ``channels_first``.
        options: as in :class:`Layer`.
    """

    def __init__(self, padding: Borders = 1, data_format: str | None = None, **options: Any) -> None:
        super().__init__(data_format, **options)
        self.padding = _borders(padding, self.spatial, "padding")

    def call(self, x: Tensor) -> Tensor:
        """The input with its border."""
        first = self.first_axis(x)
        rest = x.ndim - first - self.spatial
        return pad(x, [*[(0, 0)] * first, *self.padding, *[(0, 0)] * rest])


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps; ``padding`` may be (before, after)."""

    spatial = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images."""

    spatial = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes."""

    spatial = 3


class _Cropping(_Spatial):
    """The spatial axes without their ends.

    Args:
        cropping: one width, one an axis, or (before, after) an axis.
        data_format: ``channels_last`` (default) or ``channels_first``.
        options: as in :class:`Layer`.
    """

    def __init__(self, cropping: Borders, data_format: str | None = None, **options: Any) -> None:
        super().__init__(data_format, **options)
        self.cropping = _borders(cropping, self.spatial, "cropping")

    def call(self, x: Tensor) -> Tensor:
        """The middle."""
        for axis, (low, high) in enumerate(self.cropping, start=self.first_axis(x)):
            length = x.shape[axis]
            if isinstance(length, int) and low + high >= length:
                message = f"{self.name}: cropping {low} and {high} leaves nothing of axis {axis} of {x.shape}"
                raise fail(GraphcValueError, "E218", message, None, x)
            x = slice_axis(x, axis, low, length - high)
        return x


class Cropping1D(_Cropping):
    """Steps without the first and last ones; ``cropping`` may be (before, after)."""

    spatial = 1

    def __init__(self, cropping: Borders = (1, 1), data_format: str | None = None, **options: Any) -> None:
        super().__init__(cropping, data_format, **options)


class Cropping2D(_Cropping):
    """Images without their borders."""

    spatial = 2

    def __init__(self, cropping: Borders = ((0, 0), (0, 0)), data_format: str | None = None, **options: Any) -> None:
        super().__init__(cropping, data_format, **options)


class Cropping3D(_Cropping):
    """Volumes without their borders."""

    spatial = 3

    def __init__(
        self, cropping: Borders = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **options: Any
    ) -> None:
        super().__init__(cropping, data_format, **options)


class _UpSampling(_Spatial):
    """Each element of the spatial axes repeated."""

    def __init__(self, size: Sizes, data_format: str | None, **options: Any) -> None:
        super().__init__(data_format, **options)
        self.size = sizes(size, self.spatial, "size")

    def call(self, x: Tensor) -> Tensor:
        """The repetitions."""
        for axis, count in enumerate(self.size, start=self.first_axis(x)):
            x = repeat(x, count, axis) if count > 1 else x
        return x


class UpSampling1D(_UpSampling):
    """Each step ``size`` times."""

    spatial = 1

    def __init__(self, size: Sizes = 2, **options: Any) -> None:
        super().__init__(size, None, **options)


class UpSampling2D(_UpSampling):
    """Images enlarged.

    Args:
        size: factor of rows and columns.
        data_format: ``channels_last`` (default) or ``channels_first``.
        interpolation: ``nearest`` (repeats pixels) or ``bilinear``.
        options: as in :class:`Layer`.
    """

    spatial = 2

    def __init__(
        self, size: Sizes = 2, data_format: str | None = None, interpolation: str = "nearest", **options: Any
    ) -> None:
        super().__init__(size, data_format, **options)
        if interpolation not in ("nearest", "bilinear"):
            raise fail(GraphcValueError, "E213", f"interpolation is 'nearest' or 'bilinear', got {interpolation!r}")
        self.interpolation = interpolation

    def call(self, x: Tensor) -> Tensor:
        """The larger images."""
        if self.interpolation == "nearest":
            return super().call(x)
        for axis, factor in enumerate(self.size, start=self.first_axis(x)):
            x = resized(x, axis, factor)
        return x


class UpSampling3D(_UpSampling):
    """Each element of volumes repeated along three axes."""

    spatial = 3

    def __init__(self, size: Sizes = 2, data_format: str | None = None, **options: Any) -> None:
        super().__init__(size, data_format, **options)
