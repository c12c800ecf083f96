"""Convolution layers under their Keras names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import (
    Padding,
    Sizes,
    checked_format,
    convolution,
    convolution_transpose,
    sizes,
)
from graphc.frontends.dsl.movement import moveaxis, reshape
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.recipes import KERNEL_AND_BIAS, KernelOptions
from graphc.ir.dim import Dim


class BaseConv(Layer):
    """What all convolutions share: a window, where it goes, a bias and an activation."""

    spatial: ClassVar[int]
    default_initializers = KERNEL_AND_BIAS

    def __init__(
        self,
        kernel_size: Sizes,
        strides: Sizes,
        padding: Padding,
        data_format: str | None,
        dilation_rate: Sizes,
        activation: Any,
        use_bias: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.kernel_size = sizes(kernel_size, self.spatial, "kernel_size")
        self.strides = sizes(strides, self.spatial, "strides")
        self.padding = padding
        self.data_format = checked_format(data_format)
        self.dilation_rate = sizes(dilation_rate, self.spatial, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    @property
    def channels_last(self) -> bool:
        """Whether the channels are the last axis."""
        return self.data_format == "channels_last"

    def channels_of(self, shape: tuple[Dim, ...]) -> int:
        """The static number of channels of an input."""
        if len(shape) != self.spatial + 2:
            message = f"{self.name} needs {self.spatial + 2} dimensions (with batch and channels), got shape {shape}"
            raise fail(GraphcValueError, "E211", message)
        channels = shape[-1] if self.channels_last else shape[1]
        if not isinstance(channels, int):
            raise fail(
                GraphcValueError, "E214", f"{self.name}: the number of channels must have a size, got {channels}"
            )
        return channels

    def add_bias(self, filters: int) -> Tensor | None:
        """The bias of ``filters`` channels, where there is one."""
        return self.add_weight("bias", (filters,), self.recipes["bias"]) if self.use_bias else None

    def laid_out(self, kernel: Tensor) -> Tensor:
        """The kernel as the convolution takes it: it is stored alike for both formats, as in Keras."""
        return kernel if self.channels_last else moveaxis(kernel, (-1, -2), (0, 1))

    def convolved(self, x: Tensor, kernel: Tensor, groups: int) -> Tensor:
        """The convolution with this layer's window."""
        return convolution(
            x,
            self.laid_out(kernel),
            self.spatial,
            self.strides,
            self.padding,
            self.dilation_rate,
            groups,
            self.data_format,
        )

    def finished(self, result: Tensor, bias: Tensor | None) -> Tensor:
        """The bias added and the activation applied."""
        if bias is not None:
            result = result + (bias if self.channels_last else reshape(bias, (bias.shape[0], *(1,) * self.spatial)))
        return self.activation(result)


class _Conv(BaseConv):
    """The arguments are documented in :class:`Conv2D`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: Padding = "valid",
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Unpack[KernelOptions],
    ) -> None:
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, **options)
        self.filters = checked_size(filters, "filters", minimum=1, code="E218")
        self.groups = checked_size(groups, "groups", minimum=1, code="E218")

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel for the channels of the input, and the bias."""
        channels = self.channels_of(shape)
        if channels % self.groups or self.filters % self.groups:
            message = (
                f"{self.name}: {channels} channels and {self.filters} filters do not divide into {self.groups} groups"
            )
            raise fail(GraphcValueError, "E218", message)
        sizes = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", sizes, self.recipes["kernel"])
        self.bias = self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """The convolution, the bias, the activation."""
        return self.finished(self.convolved(x, self.kernel, self.groups), self.bias)


class Conv1D(_Conv):
    """Convolution over one axis, with the arguments of :class:`Conv2D`; ``padding`` may also be ``"causal"``."""

    spatial = 1


class Conv2D(_Conv):
    """activation(convolution(x, kernel) + bias) over two axes.

    Args:
        filters: number of output channels.
        kernel_size: of the window.
        strides: distance between windows.
        padding: ``"valid"``, ``"same"``, or numbers.
        data_format: ``channels_last`` (default) or ``channels_first``.
        dilation_rate: distance between the taps of a window.
        groups: into how many independent parts the channels fall.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        options: as in :class:`Layer`; ``kernel_…`` of ``<name>/kernel`` (window × input channels of a group × filters),
            ``bias_…`` of ``<name>/bias`` (filters).
    """

    spatial = 2


class Conv3D(_Conv):
    """Convolution over three axes, with the arguments of :class:`Conv2D`."""

    spatial = 3


class _ConvTranspose(BaseConv):
    """The arguments are documented in :class:`Conv2DTranspose`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: str = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str | None = None,
        dilation_rate: Sizes = 1,
        activation: Any = None,
        use_bias: bool = True,
        **options: Unpack[KernelOptions],
    ) -> None:
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, **options)
        self.filters = checked_size(filters, "filters", minimum=1, code="E218")
        if padding not in ("valid", "same"):
            raise fail(GraphcValueError, "E218", f"padding is 'valid' or 'same', got {padding!r}")
        given = output_padding if isinstance(output_padding, (tuple, list)) else (output_padding,) * self.spatial
        if len(given) != self.spatial:
            raise fail(GraphcValueError, "E218", f"output_padding needs {self.spatial} numbers, got {output_padding!r}")
        self.output_padding = tuple(
            None if extra is None else checked_size(extra, "output_padding", code="E218") for extra in given
        )

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel, that of the convolution which this one transposes, and the bias."""
        sizes = (*self.kernel_size, self.filters, self.channels_of(shape))
        self.kernel = self.add_weight("kernel", sizes, self.recipes["kernel"])
        self.bias = self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """The transposed convolution, the bias, the activation."""
        axes = zip(self.kernel_size, self.strides, self.dilation_rate, self.output_padding, strict=True)
        cuts = [_transposed_cuts(str(self.padding), *axis) for axis in axes]
        result = convolution_transpose(
            x,
            self.laid_out(self.kernel),
            self.spatial,
            self.strides,
            [(low, max(high, 0)) for low, high in cuts],
            self.dilation_rate,
            1,
            [max(-high, 0) for _, high in cuts],
            self.data_format,
        )
        return self.finished(result, self.bias)


def _transposed_cuts(padding: str, taps: int, stride: int, gap: int, extra: int | None) -> tuple[int, int]:
    """How much Keras cuts from both ends of one axis; below zero is added.

    Without ``extra`` (the output padding) the result has length · stride elements, or for ``valid`` as many more as the
    window reaches over; the odd element of ``same`` is cut at the end, so that the layer is the transpose of a
    convolution.
    """
    span = (taps - 1) * gap + 1
    if padding == "valid":
        return 0, -(max(span, stride) - span if extra is None else extra)
    total = stride + span - 2 if extra is None else span + span % 2 - 2 + extra
    before = min(total - total // 2, span - 1)
    return span - 1 - before, span - 1 - (total - before)


class Conv1DTranspose(_ConvTranspose):
    """The transpose of a convolution over one axis, with the arguments of :class:`Conv2DTranspose`."""

    spatial = 1


class Conv2DTranspose(_ConvTranspose):
    """The transpose of a convolution over two axes: from its result's shape to its input's.

    Args:
        filters: number of output channels.
        kernel_size: of the window.
        strides: distance between the windows in the result.
        padding: ``"valid"`` or ``"same"`` (length · stride).
        output_padding: elements added at the end of each axis.
        data_format: ``channels_last`` (default) or ``channels_first``.
        dilation_rate: distance between the taps of a window.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        options: as in :class:`Layer`; ``kernel_…`` of ``<name>/kernel`` (window × filters × input channels), ``bias_…``
            of ``<name>/bias`` (filters).
    """

    spatial = 2


class Conv3DTranspose(_ConvTranspose):
    """The transpose of a convolution over three axes, with the arguments of :class:`Conv2DTranspose`."""

    spatial = 3
