"""Convolutions that treat each channel on its own, under their Keras names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import Padding, Sizes, convolution
from graphc.frontends.dsl.movement import reshape
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.conv import BaseConv
from graphc.frontends.nn.recipes import DepthwiseOptions, SeparableOptions
from graphc.ir.dim import Dim


def _channel_by_channel(layer: BaseConv, x: Tensor, kernel: Tensor) -> Tensor:
    """A convolution with as many groups as channels; result channel c · multiplier + m is filter m of channel c."""
    channels, multiplier = kernel.shape[-2:]
    grouped = reshape(kernel, (*kernel.shape[:-2], 1, channels * multiplier))
    return layer.convolved(x, grouped, channels if isinstance(channels, int) else 1)


class _DepthwiseConv(BaseConv):
    """The arguments are documented in :class:`DepthwiseConv2D`."""

    default_initializers: ClassVar[Mapping[str, str]] = {"depthwise": "glorot_uniform", "bias": "zeros"}

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
        **options: Unpack[DepthwiseOptions],
    ) -> None:
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, **options)
        self.depth_multiplier = checked_size(depth_multiplier, "depth_multiplier", minimum=1, code="E218")

    def build(self, shape: tuple[Dim, ...]) -> None:
        """``depth_multiplier`` filters for each channel, and the bias."""
        channels = self.channels_of(shape)
        sizes = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight("kernel", sizes, self.recipes["depthwise"])
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
        options: as in :class:`Layer`; ``depthwise_…`` of ``<name>/kernel`` (window × channels × multiplier), ``bias_…``
            of ``<name>/bias`` (channels · multiplier).
    """

    spatial = 2


class _SeparableConv(BaseConv):
    """The arguments are documented in :class:`SeparableConv2D`."""

    default_initializers: ClassVar[Mapping[str, str]] = {
        "depthwise": "glorot_uniform",
        "pointwise": "glorot_uniform",
        "bias": "zeros",
    }

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
        **options: Unpack[SeparableOptions],
    ) -> None:
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, **options)
        self.filters = checked_size(filters, "filters", minimum=1, code="E218")
        self.depth_multiplier = checked_size(depth_multiplier, "depth_multiplier", minimum=1, code="E218")

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The filters of each channel, the 1 × 1 kernel that mixes them, and the bias."""
        channels = self.channels_of(shape)
        sizes = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = self.add_weight("depthwise_kernel", sizes, self.recipes["depthwise"])
        mixed = (*(1,) * self.spatial, channels * self.depth_multiplier, self.filters)
        self.pointwise_kernel = self.add_weight("pointwise_kernel", mixed, self.recipes["pointwise"])
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
        options: as in :class:`Layer`; ``depthwise_…`` of ``<name>/depthwise_kernel`` (window × channels × multiplier),
            ``pointwise_…`` of ``<name>/pointwise_kernel`` (1 × 1 × channels · multiplier × filters), ``bias_…`` of
            ``<name>/bias`` (filters).
    """

    spatial = 2
