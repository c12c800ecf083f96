"""Functions of tensors under the names of ``torch.nn.functional``: channels first, classes along axis 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.frontends.dsl import activations
from graphc.frontends.dsl import convolution as windows
from graphc.frontends.dsl.activations import elu, relu6, selu, silu, softsign
from graphc.frontends.dsl.convolution import Padding, Sizes
from graphc.frontends.dsl.elementwise import abs, clip, maximum, relu, sigmoid, softplus, tanh
from graphc.frontends.dsl.indexing import one_hot, take
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import pad as bordered
from graphc.frontends.dsl.movement import reshape, swapaxes
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor
from graphc.frontends.nn import regularization, torch_losses
from graphc.frontends.nn.activations import hard_silu as hardswish
from graphc.frontends.nn.normalization import standardized, widened

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softsign",
    "tanh",
]

_FIRST = "channels_first"
hardsigmoid, logsigmoid = activations.hard_sigmoid, activations.log_sigmoid


# -- activations -------------------------------------------------------------------------------------------------------


def softmax(x: Any, dim: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``."""
    return activations.softmax(x, dim)


def softmin(x: Any, dim: int = -1) -> Tensor:
    """softmax(-x)."""
    return activations.softmin(x, dim)


def log_softmax(x: Any, dim: int = -1) -> Tensor:
    """log(softmax(x)) along ``dim``."""
    return activations.log_softmax(x, dim)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """X where positive, else negative_slope x."""
    return activations.leaky_relu(x, negative_slope)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """X Φ(x); ``approximate="tanh"`` takes its tanh form."""
    return activations.gelu(x, approximate == "tanh")


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """X, kept between the two."""
    return clip(x, min_val, max_val)


# -- layers without their weights --------------------------------------------------------------------------------------


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """X weightᵀ + bias; the weight is (outputs × inputs)."""
    result = matmul(x, swapaxes(weight, -1, -2))
    return result if bias is None else result + bias


def embedding(indices: Any, weight: Any) -> Tensor:
    """Rows of ``weight``."""
    return take(weight, indices, axis=0)


def layer_norm(
    x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / √(variance + eps) over the last axes, which have ``normalized_shape``; times weight, plus bias."""
    tensor = as_tensor(x)
    axes = tuple(range(tensor.ndim - len(normalized_shape), tensor.ndim))
    result = standardized(widened(tensor), axes, eps).astype(tensor.dtype)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """X divided by its p-norm along ``dim``, which is at least ``eps``."""
    tensor = as_tensor(x)
    size = sum(abs(tensor) ** p, axis=dim, keepdims=True) ** (1.0 / p)
    return tensor / maximum(size, eps)


def dropout(x: Any, p: float = 0.5) -> Tensor:
    """While training, 0 with probability ``p`` and else scaled by 1 / (1 - p)."""
    return regularization.dropout(as_tensor(x), regularization.checked_rate(p))


def pad(x: Any, pad: Sequence[int], value: float = 0.0) -> Tensor:
    """A border of ``value``: (before, after) of the last axis, then of the one before it, and so on."""
    tensor = as_tensor(x)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    return bordered(tensor, [*[(0, 0)] * (tensor.ndim - len(pairs)), *pairs], value)


# -- windows -----------------------------------------------------------------------------------------------------------


def _convolution(
    spatial: int, x: Any, weight: Any, bias: Any, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Tensor:
    result = windows.convolution(x, weight, spatial, stride, padding, dilation, groups, _FIRST)
    return result if bias is None else result + reshape(bias, (-1, *(1,) * spatial))


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """As :func:`conv2d` over one axis."""
    return _convolution(1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of (batch, channels, height, width) with (out × in / groups × window)."""
    return _convolution(2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """As :func:`conv2d` over three axes."""
    return _convolution(3, x, weight, bias, stride, padding, dilation, groups)


def _pools(spatial: int, kernel_size: Sizes, stride: Sizes | None, padding: Sizes) -> dict[str, Any]:
    taps = windows.sizes(kernel_size, spatial, "kernel_size")
    return {"window": taps, "strides": stride, "padding": padding, "data_format": _FIRST}


def max_pool1d(x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> Tensor:
    """The largest element of each window of (batch, channels, length)."""
    return windows.max_pool(x, **_pools(1, kernel_size, stride, padding))


def max_pool2d(x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> Tensor:
    """The largest element of each window of (batch, channels, height, width)."""
    return windows.max_pool(x, **_pools(2, kernel_size, stride, padding))


def max_pool3d(x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> Tensor:
    """The largest element of each window of (batch, channels, depth, height, width)."""
    return windows.max_pool(x, **_pools(3, kernel_size, stride, padding))


def avg_pool1d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of (batch, channels, length)."""
    return windows.average_pool(x, **_pools(1, kernel_size, stride, padding), count_padding=count_include_pad)


def avg_pool2d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of (batch, channels, height, width)."""
    return windows.average_pool(x, **_pools(2, kernel_size, stride, padding), count_padding=count_include_pad)


def avg_pool3d(
    x: Any, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, count_include_pad: bool = True
) -> Tensor:
    """The mean of each window of (batch, channels, depth, height, width)."""
    return windows.average_pool(x, **_pools(3, kernel_size, stride, padding), count_padding=count_include_pad)


# -- losses ------------------------------------------------------------------------------------------------------------


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """See :class:`graphc.nn.MSELoss`."""
    return torch_losses.MSELoss(reduction)(x, target)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """See :class:`graphc.nn.L1Loss`."""
    return torch_losses.L1Loss(reduction)(x, target)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """See :class:`graphc.nn.SmoothL1Loss`."""
    return torch_losses.SmoothL1Loss(reduction, beta)(x, target)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """See :class:`graphc.nn.HuberLoss`."""
    return torch_losses.HuberLoss(reduction, delta)(x, target)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """See :class:`graphc.nn.BCELoss`."""
    return torch_losses.BCELoss(reduction)(x, target)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean", pos_weight: Any = None) -> Tensor:
    """See :class:`graphc.nn.BCEWithLogitsLoss`."""
    return torch_losses.BCEWithLogitsLoss(reduction, pos_weight)(x, target)


def kl_div(x: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """See :class:`graphc.nn.KLDivLoss`."""
    return torch_losses.KLDivLoss(reduction, log_target)(x, target)


def nll_loss(x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """See :class:`graphc.nn.NLLLoss`."""
    return torch_losses.NLLLoss(weight, ignore_index, reduction)(x, target)


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """See :class:`graphc.nn.CrossEntropyLoss`."""
    return torch_losses.CrossEntropyLoss(weight, ignore_index, reduction, label_smoothing)(x, target)
