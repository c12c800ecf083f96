"""Convolution and pooling, with padding and layouts as people name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.reductions import max, mean
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, fail, promoted
from graphc.ir.dim import Dim
from graphc.ops.layout import SPATIAL, kernel_layout

Sizes = int | Sequence[int]
"""One size for every spatial axis, or one each."""

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
"""``"valid"`` (none), ``"same"`` (ceil(length / stride) windows), one count, one an axis, or (low, high) an axis."""

_FORMATS = ("channels_last", "channels_first")


def checked_format(data_format: str | None) -> str:
    """Keras' name of a layout; ``channels_last`` for None.

    Raises:
        GraphcValueError: E211 for a name that is none.
    """
    if data_format is None:
        return "channels_last"
    if data_format not in _FORMATS:
        raise fail(GraphcValueError, "E211", f"data_format is one of {', '.join(_FORMATS)}, got {data_format!r}")
    return data_format


def layout_name(spatial: int, data_format: str) -> str:
    """The layout's letters, such as ``NHWC``, for Keras' name of it."""
    checked_format(data_format)
    letters = SPATIAL[spatial]
    return f"N{letters}C" if data_format == "channels_last" else f"NC{letters}"


def _spatial(x: Tensor, spatial: int, data_format: str) -> tuple[Dim, ...]:
    if x.ndim != spatial + 2:
        message = f"{spatial} spatial axes need {spatial + 2} dimensions (with batch and channels), got shape {x.shape}"
        raise fail(GraphcValueError, "E211", message, None, x)
    return x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]


def sizes(value: Sizes, spatial: int, what: str, *operands: Tensor) -> tuple[int, ...]:
    """A positive size for each spatial axis (E218 otherwise)."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * spatial
    if len(given) != spatial:
        raise fail(GraphcValueError, "E218", f"{what} needs {spatial} numbers, got {given}", None, *operands)
    return tuple(checked_size(size, what, *operands, minimum=1, code="E218") for size in given)


def _pads(
    padding: Padding,
    lengths: Sequence[Dim],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    *operands: Tensor,
) -> tuple[tuple[int, int], ...]:
    """(low, high) for each spatial axis."""
    spans = [(taps - 1) * gap + 1 for taps, gap in zip(window, dilation, strict=True)]
    if isinstance(padding, str):
        name = padding.lower()
        if name == "valid":
            return ((0, 0),) * len(spans)
        if name == "causal" and len(spans) == 1:
            return ((spans[0] - 1, 0),)
        if name != "same":
            raise fail(
                GraphcValueError, "E218", f"padding is 'valid', 'same' or numbers, got {padding!r}", None, *operands
            )
        return tuple(
            _same(length, span, stride, *operands) for length, span, stride in zip(lengths, spans, strides, strict=True)
        )
    given = list(padding) if isinstance(padding, (tuple, list)) else [padding] * len(spans)
    if len(given) != len(spans):
        message = f"padding needs one entry for each of {len(spans)} axes, got {padding!r}"
        raise fail(GraphcValueError, "E218", message, None, *operands)
    pairs = [pair if isinstance(pair, (tuple, list)) else (pair, pair) for pair in given]
    if any(len(pair) != 2 for pair in pairs):
        raise fail(GraphcValueError, "E218", f"padding is (low, high) for each axis, got {padding!r}", None, *operands)
    return tuple(
        (checked_size(low, "padding", *operands, code="E218"), checked_size(high, "padding", *operands, code="E218"))
        for low, high in pairs
    )


def _same(length: Dim, span: int, stride: int, *operands: Tensor) -> tuple[int, int]:
    """Padding for ceil(length / stride) windows, the odd element at the end."""
    if isinstance(length, int):
        missing = _larger(0, (-(-length // stride) - 1) * stride + span - length)
    elif stride == 1:
        missing = span - 1
    else:
        message = f"'same' padding with stride {stride} depends on the symbolic size {length}"
        raise fail(GraphcValueError, "E214", message, "give the padding as numbers, or the dimension a size", *operands)
    return missing // 2, missing - missing // 2


def _larger(first: int, second: int) -> int:
    """The larger of two integers."""
    return first if first > second else second


def convolution(
    x: Any,
    kernel: Any,
    spatial: int,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Tensor:
    """Convolution (cross-correlation, as everywhere in machine learning) over ``spatial`` axes; see :func:`conv2d`."""
    data, weights, window, options = _windows(x, kernel, spatial, strides, dilation, groups, data_format)
    lengths = _spatial(data, spatial, data_format)
    pads = _pads(padding, lengths, window, options["strides"], options["dilation"], data)
    return apply("conv", data, weights, padding=pads, **options)


def _windows(
    x: Any, kernel: Any, spatial: int, strides: Sizes, dilation: Sizes, groups: int, data_format: str
) -> tuple[Tensor, Tensor, tuple[int, ...], dict[str, Any]]:
    """Data, kernel, the size of its window, and the attributes that a convolution and its transpose share."""
    data, weights = promoted(x, kernel)
    layout = layout_name(spatial, data_format)
    _spatial(data, spatial, data_format)
    if weights.ndim != spatial + 2:
        message = f"the kernel needs the axes {kernel_layout(layout)}, got {weights.shape}"
        raise fail(GraphcValueError, "E211", message, None, weights)
    options = {
        "strides": sizes(strides, spatial, "strides", data),
        "dilation": sizes(dilation, spatial, "dilation", data),
        "groups": checked_size(groups, "groups", data, minimum=1, code="E218"),
        "layout": layout,
        "kernel_layout": kernel_layout(layout),
    }
    return data, weights, _window(weights, spatial, data_format), options


def _window(kernel: Tensor, spatial: int, data_format: str) -> tuple[int, ...]:
    taps = kernel.shape[:spatial] if data_format == "channels_last" else kernel.shape[2:]
    if not all(isinstance(size, int) for size in taps):
        raise fail(
            GraphcTypeError, "E214", f"the window of a kernel must have a static size, got {kernel.shape}", None, kernel
        )
    return tuple(size for size in taps if isinstance(size, int))


def convolution_transpose(
    x: Any,
    kernel: Any,
    spatial: int,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    output_padding: Sizes = 0,
    data_format: str = "channels_last",
) -> Tensor:
    """The transpose of :func:`convolution` with the same kernel; see :func:`conv2d_transpose`."""
    data, weights, window, options = _windows(x, kernel, spatial, strides, dilation, groups, data_format)
    steps, gaps = options["strides"], options["dilation"]
    given = tuple(output_padding) if isinstance(output_padding, (tuple, list)) else (output_padding,) * spatial
    extra = tuple(checked_size(size, "output_padding", data, code="E218") for size in given)
    pads: tuple[tuple[int, int], ...]
    if isinstance(padding, str) and padding.lower() == "same":
        # The result has length · stride elements; where windows reach less far, zeros are added at the end.
        over = [(taps - 1) * gap + 1 - step for taps, gap, step in zip(window, gaps, steps, strict=True)]
        pads = tuple((_larger(total, 0) // 2, _larger(total, 0) - _larger(total, 0) // 2) for total in over)
        extra = tuple(more + _larger(-total, 0) for more, total in zip(extra, over, strict=True))
    else:
        pads = _pads(padding, (), window, steps, gaps, data)
    return apply("conv_transpose", data, weights, padding=pads, output_padding=extra, **options)


def conv1d(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Tensor:
    """As :func:`conv2d` over one axis: data ``NWC`` with kernel ``WIO``, or ``NCW`` with ``OIW``.

    Padding may also be ``"causal"``.
    """
    return convolution(x, kernel, 1, strides, padding, dilation, groups, data_format)


def conv2d(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Tensor:
    """Convolution over two axes, the kernel not turned over.

    Args:
        x: ``NHWC``, or ``NCHW`` where ``data_format`` is ``channels_first``.
        kernel: ``HWIO``, or ``OIHW``; I counts the channels of one group.
        strides: distance between windows.
        padding: ``"valid"``, ``"same"``, one number, one an axis, or (low, high) an axis.
        dilation: distance between the taps of a window.
        groups: into how many independent parts the channels fall.
        data_format: ``channels_last`` or ``channels_first``.

    Raises:
        GraphcValueError: E218 for strides, dilation or groups below 1; E219 for a window larger than the padded input.
    """
    return convolution(x, kernel, 2, strides, padding, dilation, groups, data_format)


def conv3d(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    data_format: str = "channels_last",
) -> Tensor:
    """As :func:`conv2d` over three axes: ``NDHWC`` with ``DHWIO``, or ``NCDHW`` with ``OIDHW``."""
    return convolution(x, kernel, 3, strides, padding, dilation, groups, data_format)


def conv1d_transpose(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    output_padding: Sizes = 0,
    data_format: str = "channels_last",
) -> Tensor:
    """As :func:`conv2d_transpose` over one axis."""
    return convolution_transpose(x, kernel, 1, strides, padding, dilation, groups, output_padding, data_format)


def conv2d_transpose(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    output_padding: Sizes = 0,
    data_format: str = "channels_last",
) -> Tensor:
    """The transpose of :func:`conv2d`: what its gradient does with a cotangent.

    Args:
        x: as in conv2d.
        kernel: that of the conv2d it transposes: ``HWIO`` (or ``OIHW``) where O counts the channels of ``x`` and I
            those of the result.
        strides: distance between the windows of the result.
        padding: how much is cut from each side of the result; ``"same"`` gives length · stride.
        dilation: distance between the taps of a window.
        groups: into how many independent parts the channels fall.
        output_padding: zeros added at the end of each axis.
        data_format: as in conv2d.
    """
    return convolution_transpose(x, kernel, 2, strides, padding, dilation, groups, output_padding, data_format)


def conv3d_transpose(
    x: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    output_padding: Sizes = 0,
    data_format: str = "channels_last",
) -> Tensor:
    """As :func:`conv2d_transpose` over three axes."""
    return convolution_transpose(x, kernel, 3, strides, padding, dilation, groups, output_padding, data_format)


def _pool(
    op: str,
    x: Any,
    window: Sizes,
    strides: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    data_format: str,
    **options: Any,
) -> Tensor:
    data = as_tensor(x)
    spatial = data.ndim - 2
    if spatial not in SPATIAL:
        message = f"pooling needs batch, channels and 1 to 3 spatial axes, got {data.shape}"
        raise fail(GraphcValueError, "E211", message, None, data)
    taps = sizes(window, spatial, "the window", data)
    steps = taps if strides is None else sizes(strides, spatial, "strides", data)
    gaps = sizes(dilation, spatial, "dilation", data)
    pads = _pads(padding, _spatial(data, spatial, data_format), taps, steps, gaps, data)
    layout = layout_name(spatial, data_format)
    return apply(op, data, window=taps, strides=steps, padding=pads, dilation=gaps, layout=layout, **options)


def max_pool(
    x: Any,
    window: Sizes,
    strides: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "channels_last",
) -> Tensor:
    """The largest element of each window; windows side by side unless ``strides`` says otherwise."""
    return _pool("max_pool", x, window, strides, padding, dilation, data_format)


def average_pool(
    x: Any,
    window: Sizes,
    strides: Sizes | None = None,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    data_format: str = "channels_last",
    count_padding: bool = False,
) -> Tensor:
    """The mean of each window, over its real elements unless ``count_padding``."""
    return _pool(
        "average_pool", x, window, strides, padding, dilation, data_format, count_include_pad=bool(count_padding)
    )


def _spatial_axes(x: Tensor, data_format: str) -> tuple[int, ...]:
    layout_name(_larger(1, x.ndim - 2), data_format)
    return tuple(range(1, x.ndim - 1)) if data_format == "channels_last" else tuple(range(2, x.ndim))


def global_max_pool(x: Any, data_format: str = "channels_last", keepdims: bool = False) -> Tensor:
    """The largest element over all spatial axes."""
    data = as_tensor(x)
    return max(data, axis=_spatial_axes(data, data_format), keepdims=keepdims)


def global_average_pool(x: Any, data_format: str = "channels_last", keepdims: bool = False) -> Tensor:
    """The mean over all spatial axes."""
    data = as_tensor(x)
    return mean(data, axis=_spatial_axes(data, data_format), keepdims=keepdims)
