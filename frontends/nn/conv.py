"""Convolution and pooling layers under their Keras names."""

from __future__ import annotations

from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import (
    Padding,
    Sizes,
    average_pool,
    convolution,
    global_average_pool,
    global_max_pool,
    layout_name,
    max_pool,
    sizes,
)
from graphc.frontends.dsl.movement import moveaxis, reshape
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.layer import Layer, initializer_of
from graphc.ir.dim import Dim


class _Conv(Layer):
    """What the convolutions share; the arguments are documented in :class:`Conv2D`."""

    spatial: ClassVar[int]

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
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        input_shape: tuple[int, ...] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = checked_size(filters, "filters", minimum=1, code="E218")
        self.kernel_size = sizes(kernel_size, self.spatial, "kernel_size")
        self.strides = sizes(strides, self.spatial, "strides")
        self.padding = padding
        self.data_format = data_format or "channels_last"
        self.dilation_rate = sizes(dilation_rate, self.spatial, "dilation_rate")
        self.groups = checked_size(groups, "groups", minimum=1, code="E218")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializer_of(kernel_initializer)
        self.bias_initializer = initializer_of(bias_initializer)
        self.input_shape = input_shape
        layout_name(self.spatial, self.data_format)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel for the channels of the input, and the bias."""
        if len(shape) != self.spatial + 2:
            message = f"{self.name} needs {self.spatial + 2} dimensions (with batch and channels), got shape {shape}"
            raise fail(GraphcValueError, "E211", message)
        channels = shape[-1] if self.data_format == "channels_last" else shape[1]
        if not isinstance(channels, int):
            raise fail(
                GraphcValueError, "E214", f"{self.name}: the number of channels must have a size, got {channels}"
            )
        if channels % self.groups or self.filters % self.groups:
            message = (
                f"{self.name}: {channels} channels and {self.filters} filters do not divide into {self.groups} groups"
            )
            raise fail(GraphcValueError, "E218", message)
        inner = channels // self.groups
        self.kernel = self.add_weight("kernel", (*self.kernel_size, inner, self.filters), self.kernel_initializer)
        self.bias = self.add_weight("bias", (self.filters,), self.bias_initializer) if self.use_bias else None

    def call(self, x: Tensor) -> Tensor:
        """The convolution, the bias, the activation."""
        last = self.data_format == "channels_last"
        # The kernel is stored alike for both formats, as in Keras.
        kernel = self.kernel if last else moveaxis(self.kernel, (-1, -2), (0, 1))
        result = convolution(
            x, kernel, self.spatial, self.strides, self.padding, self.dilation_rate, self.groups, self.data_format
        )
        if self.bias is not None:
            result = result + (self.bias if last else reshape(self.bias, (self.filters, *(1,) * self.spatial)))
        return self.activation(result)


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
        kernel_initializer: of ``<name>/kernel`` (window × input channels of a group × filters).
        bias_initializer: of ``<name>/bias`` (filters).
        input_shape: accepted as in older Keras: the shape of one sample.
        options: ``name``, ``trainable``, ``dtype``.
    """

    spatial = 2


class Conv3D(_Conv):
    """Convolution over three axes, with the arguments of :class:`Conv2D`."""

    spatial = 3


class _Pool(Layer):
    """A reduction of windows.

    Args:
        pool_size: of the window.
        strides: distance between windows; the window's size for None.
        padding: ``"valid"`` or ``"same"``.
        data_format: ``channels_last`` (default) or ``channels_first``.
        options: ``name``.
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
        self.data_format = data_format or "channels_last"
        layout_name(self.spatial, self.data_format)

    def call(self, x: Tensor) -> Tensor:
        """The windows' largest elements or means."""
        if x.ndim != self.spatial + 2:
            message = f"{self.name} needs {self.spatial + 2} dimensions (with batch and channels), got shape {x.shape}"
            raise fail(GraphcValueError, "E211", message, None, x)
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
        options: ``name``.
    """

    average: ClassVar[bool]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = data_format or "channels_last"
        self.keepdims = keepdims

    def call(self, x: Tensor) -> Tensor:
        """The largest element or the mean."""
        pool = global_average_pool if self.average else global_max_pool
        return pool(x, self.data_format, self.keepdims)


class GlobalMaxPooling1D(_GlobalPool):
    """The largest element over one spatial axis."""

    average = False


class GlobalMaxPooling2D(_GlobalPool):
    """The largest element over two spatial axes."""

    average = False


class GlobalAveragePooling1D(_GlobalPool):
    """The mean over one spatial axis."""

    average = True


class GlobalAveragePooling2D(_GlobalPool):
    """The mean over two spatial axes."""

    average = True


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
