"""Pooling, normalization and dropout under their PyTorch names: channels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import Sizes, average_pool, max_pool, sizes
from graphc.frontends.dsl.movement import pad
from graphc.frontends.dsl.reductions import mean
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.checks import check_spatial
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.normalization import BatchNormalization, GroupNormalization, standardized, widened
from graphc.frontends.nn.regularization import checked_rate, dropout
from graphc.frontends.nn.resizing import averaged
from graphc.frontends.optim.optimizer import check_number
from graphc.ir.dim import Dim

_FIRST = "channels_first"


class _Pool(Layer):
    """Pooling of (batch, channels, …), with PyTorch's arguments."""

    spatial: ClassVar[int]

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, **options: Any) -> None:
        super().__init__(**options)
        self.kernel_size = sizes(kernel_size, self.spatial, "kernel_size")
        self.stride = self.kernel_size if stride is None else sizes(stride, self.spatial, "stride")
        given = padding if isinstance(padding, (tuple, list)) else (padding,) * self.spatial
        self.padding = tuple(checked_size(width, "padding", code="E218") for width in given)
        if any(2 * width > taps for width, taps in zip(self.padding, self.kernel_size, strict=True)):
            message = f"{self.name}: a padding of {self.padding} is more than half the window {self.kernel_size}"
            raise fail(GraphcValueError, "E218", message)

    def pooled(self, x: Tensor) -> Tensor:
        """The reduction of the windows."""
        return max_pool(x, self.kernel_size, self.stride, self.padding, data_format=_FIRST)

    def call(self, x: Tensor) -> Tensor:
        """The reduction of the windows."""
        check_spatial(self, x, self.spatial)
        return self.pooled(x)


class MaxPool1d(_Pool):
    """The largest element of each window of (batch, channels, length)."""

    spatial = 1


class MaxPool2d(_Pool):
    """The largest element of each window of (batch, channels, height, width)."""

    spatial = 2


class MaxPool3d(_Pool):
    """The largest element of each window of (batch, channels, depth, height, width)."""

    spatial = 3


class _AvgPool(_Pool):
    """The mean of each window; ``count_include_pad`` (PyTorch's default) counts the padding's zeros."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        count_include_pad: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(kernel_size, stride, padding, **options)
        self.count_include_pad = count_include_pad

    def pooled(self, x: Tensor) -> Tensor:
        """The means of the windows."""
        return average_pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            data_format=_FIRST,
            count_padding=self.count_include_pad,
        )


class AvgPool1d(_AvgPool):
    """The mean of each window of (batch, channels, length)."""

    spatial = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of (batch, channels, height, width)."""

    spatial = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of (batch, channels, depth, height, width)."""

    spatial = 3


class _BatchNorm(BatchNormalization):
    """Batch normalization of axis 1 with PyTorch's names, defaults and conventions.

    ``momentum`` is the share of the new value, and the moving variance takes that divided by n - 1.  Weights are
    ``weight``, ``bias``, ``running_mean`` and ``running_var``.
    """

    ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, **options: Any
    ) -> None:
        super().__init__(1, 1.0 - check_number("momentum", momentum, 0.0, 1.0), eps, affine, affine, **options)
        self.num_features = checked_size(num_features, "num_features", minimum=1)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale, shift, and the running statistics."""
        if len(shape) not in self.ranks or shape[1] != self.num_features:
            ranks = " or ".join(map(str, self.ranks))
            message = f"{self.name} needs {self.num_features} channels along axis 1 of {ranks} axes, got shape {shape}"
            raise fail(GraphcValueError, "E211", message)
        size = (self.num_features,)
        if self.scale:
            self.gamma = self.add_weight("weight", size, "ones")
            self.beta = self.add_weight("bias", size, "zeros")
        self.moving_mean = self.add_weight("running_mean", size, "zeros", role="statistic", trainable=False)
        self.moving_variance = self.add_weight("running_var", size, "ones", role="statistic", trainable=False)

    def running_variance(self, variance: Tensor, count: Tensor | int) -> Tensor:
        """The variance of a sample: divided by n - 1."""
        if isinstance(count, int):
            return variance * (count / (count - 1)) if count > 1 else variance
        return variance * (count / (count - 1))


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (batch, channels) or (batch, channels, length)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (batch, channels, height, width)."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (batch, channels, depth, height, width)."""

    ranks = (5,)


class LayerNorm(Layer):
    """Normalization over the last axes, which have ``normalized_shape``; weights are ``weight`` and ``bias``."""

    supports_masking = True

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        given = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(checked_size(size, "normalized_shape", minimum=1) for size in given)
        self.eps, self.elementwise_affine, self.with_bias = check_number("eps", eps, 0.0), elementwise_affine, bias

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale and shift."""
        if shape[len(shape) - len(self.normalized_shape) :] != self.normalized_shape:
            message = f"{self.name} needs inputs that end in {self.normalized_shape}, got shape {shape}"
            raise fail(GraphcValueError, "E211", message)
        affine = self.elementwise_affine
        self.weight = self.add_weight("weight", self.normalized_shape, "ones") if affine else None
        self.bias = self.add_weight("bias", self.normalized_shape, "zeros") if affine and self.with_bias else None

    def call(self, x: Tensor) -> Tensor:
        """The normalized input."""
        wide = widened(x)
        axes = tuple(range(x.ndim - len(self.normalized_shape), x.ndim))
        result = standardized(wide, axes, self.eps)
        if self.weight is not None:
            result = result * self.weight.astype(wide.dtype)
        return (result if self.bias is None else result + self.bias.astype(wide.dtype)).astype(x.dtype)


class _ChannelDropout(Layer):
    """Dropout of whole channels of (batch, channels, …) while training."""

    spatial: ClassVar[int]
    torch_names: ClassVar[Mapping[str, str | None]] = {"inplace": None}

    def __init__(self, p: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.p = checked_rate(p)

    def call(self, x: Tensor) -> Tensor:
        """The channels kept."""
        check_spatial(self, x, self.spatial)
        return dropout(x, self.p, (None, None, *(1,) * self.spatial))


class Dropout1d(_ChannelDropout):
    """Dropout of whole channels of (batch, channels, length) while training."""

    spatial = 1


class Dropout2d(_ChannelDropout):
    """Dropout of whole channels of (batch, channels, height, width) while training."""

    spatial = 2


class Dropout3d(_ChannelDropout):
    """Dropout of whole channels of (batch, channels, depth, height, width) while training."""

    spatial = 3


class GroupNorm(GroupNormalization):
    """Group normalization of axis 1 with PyTorch's names and defaults; weights are ``weight`` and ``bias``."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, **options: Any
    ) -> None:
        checked_size(num_groups, "num_groups", minimum=1, code="E218")
        super().__init__(num_groups, 1, eps, affine, affine, **options)
        self.num_channels = checked_size(num_channels, "num_channels", minimum=1)
        if self.num_channels % self.groups:
            message = f"{self.num_channels} channels do not divide into {self.groups} groups"
            raise fail(GraphcValueError, "E218", message)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Scale and shift."""
        if len(shape) < 2 or shape[1] != self.num_channels:
            message = f"{self.name} needs {self.num_channels} channels along axis 1, got shape {shape}"
            raise fail(GraphcValueError, "E211", message)
        if self.scale:
            self.gamma = self.add_weight("weight", (self.num_channels,), "ones")
            self.beta = self.add_weight("bias", (self.num_channels,), "zeros")


class _AdaptiveAvgPool(Layer):
    """Means of windows that cut each spatial axis into a given number of parts, overlapping where they must.

    Args:
        output_size: parts of each spatial axis, or one number for all; None keeps an axis.
        options: as in :class:`Layer`.
    """

    spatial: ClassVar[int]

    def __init__(self, output_size: int | Sequence[int | None], **options: Any) -> None:
        super().__init__(**options)
        given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * self.spatial
        if len(given) != self.spatial:
            raise fail(GraphcValueError, "E218", f"output_size needs {self.spatial} numbers, got {output_size!r}")
        self.output_size = tuple(
            None if size is None else checked_size(size, "output_size", minimum=1, code="E218") for size in given
        )

    def call(self, x: Tensor) -> Tensor:
        """The means."""
        check_spatial(self, x, self.spatial)
        windows = [
            length // parts
            for length, parts in zip(x.shape[2:], self.output_size, strict=True)
            if isinstance(length, int) and parts is not None and length % parts == 0
        ]
        if len(windows) == self.spatial:
            return average_pool(x, windows, data_format=_FIRST)
        for axis, parts in enumerate(self.output_size, start=2):
            if parts == 1:
                x = mean(x, axis=axis, keepdims=True)
            elif parts is not None:
                x = averaged(x, axis, parts)
        return x


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of (batch, channels, length) over a given number of windows."""

    spatial = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of (batch, channels, height, width) over a given number of windows."""

    spatial = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of (batch, channels, depth, height, width) over a given number of windows."""

    spatial = 3


class ZeroPad2d(Layer):
    """Zeros around images: one width, or (left, right, top, bottom)."""

    def __init__(self, padding: Sizes, **options: Any) -> None:
        super().__init__(**options)
        given = padding if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(given) != 4:
            raise fail(GraphcValueError, "E218", f"padding is a number or (left, right, top, bottom), got {padding!r}")
        self.padding = tuple(checked_size(width, "padding", code="E218") for width in given)

    def call(self, x: Tensor) -> Tensor:
        """The images with their border."""
        check_spatial(self, x, 2)
        left, right, top, bottom = self.padding
        return pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
