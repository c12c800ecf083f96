"""Convolutions that treat each channel on its own, under their Keras names."""

from __future__ import annotations

from typing import Any

from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import Padding, Sizes, convolution
from graphc.frontends.dsl.movement import reshape
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import regularizers
from graphc.frontends.nn.conv import BaseConv
from graphc.frontends.nn.layer import initializer_of
from graphc.ir.dim import Dim


def _channel_by_channel(layer: BaseConv, x: Tensor, kernel: Tensor) -> Tensor:
    """A convolution with as many groups as channels; result channel c · multiplier + m is filter m of channel c."""
    channels, multiplier = kernel.shape[-2:]
    grouped = reshape(kernel, (*kernel.shape[:-2], 1, channels * multiplier))
    return layer.convolved(x, grouped, channels if isinstance(channels, int) else 1)


class _DepthwiseConv(BaseConv):
    """The arguments are documented in :class:`DepthwiseConv2D`."""

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            activity_regularizer=activity_regularizer,
            **options,
        )
        self.depth_multiplier = checked_size(depth_multiplier, "depth_multiplier", minimum=1, code="E218")
        self.depthwise_initializer = initializer_of(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """``depth_multiplier`` filters for each channel, and the bias."""
        channels = self.channels_of(shape)
        self.kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
        )
        self.bias = self.add_bias(channels * self.depth_multiplier)

    def call(self, x: Tensor) -> Tensor:
        """The convolution of each channel, the bias, the activation."""
        return self.finished(_channel_by_channel(self, x, self.kernel), self.bias)


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution of each channel on its own over one axis, with the arguments of :class:`DepthwiseConv2D`."""

    spatial = 1


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution of each channel on its own over two axes.

    Args:
        kernel_size: of the window.
        strides: distance between windows.
        padding: ``"valid"``, ``"same"``, or numbers.
        depth_multiplier: filters for each channel.
        data_format: ``channels_last`` (default) or ``channels_first``.
        dilation_rate: distance between the taps of a window.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        depthwise_initializer: of ``<name>/kernel`` (window × channels × multiplier).
        bias_initializer: of ``<name>/bias`` (channels · multiplier).
        depthwise_regularizer: a penalty on the kernel.
        bias_regularizer: a penalty on the bias.
        options: as in :class:`Layer`.
    """

    spatial = 2


class _SeparableConv(BaseConv):
    """The arguments are documented in :class:`SeparableConv2D`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: Padding = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            bias_initializer,
            bias_regularizer,
            activity_regularizer=activity_regularizer,
            **options,
        )
        self.filters = checked_size(filters, "filters", minimum=1, code="E218")
        self.depth_multiplier = checked_size(depth_multiplier, "depth_multiplier", minimum=1, code="E218")
        self.depthwise_initializer = initializer_of(depthwise_initializer)
        self.pointwise_initializer = initializer_of(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The filters of each channel, the 1 × 1 kernel that mixes them, and the bias."""
        channels = self.channels_of(shape)
        self.depthwise_kernel = self.add_weight(
            "depthwise_kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
        )
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (*(1,) * self.spatial, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
        )
        self.bias = self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """Each channel's convolution, their mixture, the bias, the activation."""
        apart = _channel_by_channel(self, x, self.depthwise_kernel)
        mixed = convolution(apart, self.laid_out(self.pointwise_kernel), self.spatial, data_format=self.data_format)
        return self.finished(mixed, self.bias)


class SeparableConv1D(_SeparableConv):
    """A depthwise convolution and a mixture of the channels, with the arguments of :class:`SeparableConv2D`."""

    spatial = 1


class SeparableConv2D(_SeparableConv):
    """A depthwise convolution and then a 1 × 1 convolution that mixes the channels.

    Args:
        filters: number of output channels.
        kernel_size: of the window.
        strides: distance between windows.
        padding: ``"valid"``, ``"same"``, or numbers.
        data_format: ``channels_last`` (default) or ``channels_first``.
        dilation_rate: distance between the taps of a window.
        depth_multiplier: filters for each channel.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        depthwise_initializer: of ``<name>/depthwise_kernel`` (window × channels × multiplier).
        pointwise_initializer: of ``<name>/pointwise_kernel`` (1 × 1 × channels · multiplier × filters).
        bias_initializer: of ``<name>/bias`` (filters).
        depthwise_regularizer: a penalty on the depthwise kernel.
        pointwise_regularizer: a penalty on the pointwise kernel.
        bias_regularizer: a penalty on the bias.
        options: as in :class:`Layer`.
    """

    spatial = 2
