"""Layers under their PyTorch names: sizes of inputs are given, channels come first, weights have PyTorch's shapes.

Where both libraries have a name (``ReLU``, ``LSTM``, ``GRU``, ``Embedding``, ``Dropout``, ``Flatten``, ``Softmax``,
``Sequential``, …) it means Keras' layer; arguments by position mean the same for ``Embedding(entries, features)``,
``Dropout(rate)``, ``ReLU()``, ``Flatten()`` and ``Softmax(axis)``.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.convolution import (
    Padding,
    Sizes,
    convolution,
    convolution_transpose,
    sizes,
)
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import reshape, transpose
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.initializers import RandomUniform
from graphc.frontends.nn.layer import Layer
from graphc.ir.dim import Dim

_FIRST = "channels_first"


class _Weighted(Layer):
    """A layer with ``<name>/weight`` and ``<name>/bias``, both uniform within ±1/√(inputs of a unit), as in PyTorch."""

    def add_pair(self, shape: tuple[int, ...], inputs: int, outputs: int, with_bias: bool) -> None:
        """Make the weight, and the bias where there is one."""
        limit = 1.0 / math.sqrt(inputs) if inputs else 0.0
        draw = RandomUniform(minval=-limit, maxval=limit)
        self.weight = self.add_weight("weight", shape, draw)
        self.bias = self.add_weight("bias", (outputs,), draw) if with_bias else None

    def expect(self, shape: tuple[Dim, ...], axis: int, size: int, rank: int | None = None) -> None:
        """Complain where the input does not have the size that was announced."""
        if (rank is not None and len(shape) != rank) or not shape or shape[axis] != size:
            wanted = f"{size} along axis {axis}" + ("" if rank is None else f" of {rank}")
            raise fail(GraphcValueError, "E211", f"{self.name} needs inputs with {wanted}, got shape {shape}")


class Linear(_Weighted):
    """X weightᵀ + bias over the last axis; ``<name>/weight`` is (out_features × in_features)."""

    supports_masking = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.in_features = checked_size(in_features, "in_features", minimum=1)
        self.out_features = checked_size(out_features, "out_features", minimum=1)
        self.with_bias = bias

    @property
    def usual_shape(self) -> tuple[int, ...]:
        """The shape of a sample, where nothing else says it."""
        return (self.in_features,)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The weight and the bias."""
        self.expect(shape, -1, self.in_features)
        self.add_pair((self.out_features, self.in_features), self.in_features, self.out_features, self.with_bias)

    def call(self, x: Tensor) -> Tensor:
        """The product and the bias."""
        result = matmul(x, transpose(self.weight))
        return result if self.bias is None else result + self.bias


class _Convolution(_Weighted):
    """What PyTorch's convolutions share."""

    spatial: ClassVar[int]
    transposed: ClassVar[bool] = False
    with_bias: bool

    def _set(self, channels: tuple[int, int], window: Sizes, stride: Sizes, dilation: Sizes, groups: int) -> None:
        self.in_channels, self.out_channels = (
            checked_size(count, what, minimum=1, code="E218")
            for count, what in zip(channels, ("in_channels", "out_channels"), strict=True)
        )
        self.kernel_size = sizes(window, self.spatial, "kernel_size")
        self.stride = sizes(stride, self.spatial, "stride")
        self.dilation = sizes(dilation, self.spatial, "dilation")
        self.groups = checked_size(groups, "groups", minimum=1, code="E218")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            message = (
                f"{self.name}: {self.in_channels} and {self.out_channels} channels do not divide into {groups} groups"
            )
            raise fail(GraphcValueError, "E218", message)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The weight and the bias."""
        self.expect(shape, 1, self.in_channels, self.spatial + 2)
        first, second = (
            (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        )
        taps = math.prod(self.kernel_size)
        # PyTorch counts the inputs of a unit by the weight's second axis, for a transposed convolution as well.
        inputs = second // self.groups * taps
        self.add_pair((first, second // self.groups, *self.kernel_size), inputs, self.out_channels, self.with_bias)

    def biased(self, result: Tensor) -> Tensor:
        """The result with the bias of each channel."""
        return result if self.bias is None else result + reshape(self.bias, (self.out_channels, *(1,) * self.spatial))


class _Conv(_Convolution):
    """The arguments are documented in :class:`Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set((in_channels, out_channels), kernel_size, stride, dilation, groups)
        self.padding, self.with_bias = padding, bias

    def call(self, x: Tensor) -> Tensor:
        """The convolution and the bias."""
        steps, gaps = self.stride, self.dilation
        return self.biased(convolution(x, self.weight, self.spatial, steps, self.padding, gaps, self.groups, _FIRST))


class Conv1d(_Conv):
    """Convolution of (batch, channels, length), with the arguments of :class:`Conv2d`."""

    spatial = 1


class Conv2d(_Conv):
    """Convolution of (batch, channels, height, width); ``<name>/weight`` is (out × in / groups × window).

    Args:
        in_channels: channels of the input.
        out_channels: number of filters.
        kernel_size: of the window.
        stride: distance between windows.
        padding: zeros on each side, ``"valid"`` or ``"same"``.
        dilation: distance between the taps of a window.
        groups: into how many independent parts the channels fall.
        bias: False leaves the bias out.
        options: as in :class:`Layer`.
    """

    spatial = 2


class Conv3d(_Conv):
    """Convolution of (batch, channels, depth, height, width), with the arguments of :class:`Conv2d`."""

    spatial = 3


class _ConvTranspose(_Convolution):
    """The arguments are documented in :class:`ConvTranspose2d`."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set((in_channels, out_channels), kernel_size, stride, dilation, groups)
        self.padding, self.output_padding, self.with_bias = padding, output_padding, bias

    def call(self, x: Tensor) -> Tensor:
        """The transposed convolution and the bias."""
        return self.biased(
            convolution_transpose(
                x,
                self.weight,
                self.spatial,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                self.output_padding,
                _FIRST,
            )
        )


class ConvTranspose1d(_ConvTranspose):
    """The transpose of a convolution over one axis, with the arguments of :class:`ConvTranspose2d`."""

    spatial = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a convolution over two axes; ``<name>/weight`` is (in × out / groups × window).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        kernel_size: of the window.
        stride: distance between the windows in the result.
        padding: how much is cut from each side of the result.
        output_padding: elements added at the end of each axis.
        groups: into how many independent parts the channels fall.
        bias: False leaves the bias out.
        dilation: distance between the taps of a window.
        options: as in :class:`Layer`.
    """

    spatial = 2


class ConvTranspose3d(_ConvTranspose):
    """The transpose of a convolution over three axes, with the arguments of :class:`ConvTranspose2d`."""

    spatial = 3
