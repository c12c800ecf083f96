"""Pooling layers under their Keras names."""

from __future__ import annotations

from typing import Any, ClassVar

from graphc.frontends.dsl.convolution import (
    Padding,
    Sizes,
    average_pool,
    checked_format,
    global_average_pool,
    global_max_pool,
    max_pool,
    sizes,
)
from graphc.frontends.dsl.elementwise import astype, where
from graphc.frontends.dsl.movement import expand_dims
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor
from graphc.frontends.nn.checks import check_spatial
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.masking import checked_mask


class _Pool(Layer):
    """A reduction of windows.

    Args:
        pool_size: of the window.
        strides: distance between windows; the window's size for None.
        padding: ``"valid"`` or ``"same"``.
        data_format: ``channels_last`` (default) or ``channels_first``.
        options: as in :class:`Layer`.
    """

    spatial: ClassVar[int]
    average: ClassVar[bool]

    def __init__(
        self,
        pool_size: Sizes = 2,
        strides: Sizes | None = None,
        padding: Padding = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.pool_size = sizes(pool_size, self.spatial, "pool_size")
        self.strides = None if strides is None else sizes(strides, self.spatial, "strides")
        self.padding = padding
        self.data_format = checked_format(data_format)

    def call(self, x: Tensor) -> Tensor:
        """The windows' largest elements or means."""
        check_spatial(self, x, self.spatial)
        pool = average_pool if self.average else max_pool
        return pool(x, self.pool_size, self.strides, self.padding, data_format=self.data_format)


class MaxPooling1D(_Pool):
    """The largest element of each window of one axis."""

    spatial, average = 1, False


class MaxPooling2D(_Pool):
    """The largest element of each window of two axes."""

    spatial, average = 2, False


class MaxPooling3D(_Pool):
    """The largest element of each window of three axes."""

    spatial, average = 3, False


class AveragePooling1D(_Pool):
    """The mean of each window of one axis, padding not counted."""

    spatial, average = 1, True


class AveragePooling2D(_Pool):
    """The mean of each window of two axes, padding not counted."""

    spatial, average = 2, True


class AveragePooling3D(_Pool):
    """The mean of each window of three axes, padding not counted."""

    spatial, average = 3, True


class _GlobalPool(Layer):
    """A reduction of all spatial axes.

    Args:
        data_format: ``channels_last`` (default) or ``channels_first``.
        keepdims: True keeps the spatial axes with length 1.
        options: as in :class:`Layer`.
    """

    spatial: ClassVar[int]
    average: ClassVar[bool]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = checked_format(data_format)
        self.keepdims = keepdims

    def call(self, x: Tensor) -> Tensor:
        """The largest element or the mean."""
        check_spatial(self, x, self.spatial)
        pool = global_average_pool if self.average else global_max_pool
        return pool(x, self.data_format, self.keepdims)


class GlobalMaxPooling1D(_GlobalPool):
    """The largest element over one spatial axis."""

    spatial, average = 1, False


class GlobalMaxPooling2D(_GlobalPool):
    """The largest element over two spatial axes."""

    spatial, average = 2, False


class GlobalMaxPooling3D(_GlobalPool):
    """The largest element over three spatial axes."""

    spatial, average = 3, False


class GlobalAveragePooling1D(_GlobalPool):
    """The mean over one spatial axis, of the steps that the mask lets count."""

    spatial, average = 1, True

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """The mean."""
        if mask is None:
            return super().call(x)
        check_spatial(self, x, 1)
        axis = 1 if self.data_format == "channels_last" else 2
        steps = as_tensor(mask, None, x.builder) if axis == 2 else checked_mask(mask, x)
        kept = astype(expand_dims(steps, 2 if axis == 1 else 1), "bool")
        total = sum(where(kept, x, 0), axis=axis, keepdims=self.keepdims)
        return total / sum(kept.astype(x.dtype), axis=axis, keepdims=self.keepdims)


class GlobalAveragePooling2D(_GlobalPool):
    """The mean over two spatial axes."""

    spatial, average = 2, True


class GlobalAveragePooling3D(_GlobalPool):
    """The mean over three spatial axes."""

    spatial, average = 3, True


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
