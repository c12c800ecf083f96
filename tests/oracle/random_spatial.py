"""Layers with windows over space, channels last under Keras' names and first under PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.oracle.nn_parity import Case, first, last
from tests.oracle.random_cases import Draw, layer, random_cases

F = torch.nn.functional
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
LARGEST = {1: 9, 2: 7, 3: 5}
"""The longest spatial axis by rank, so that cases stay small."""


def rank_of(name: str) -> int:
    return int(next(letter for letter in name if letter.isdigit()))


def space(d: Draw, rank: int, low: int = 4) -> tuple[int, ...]:
    return d.sizes(rank, low, max(low, LARGEST[rank]))


def kernel(w: Any) -> Any:
    """Window, inputs, outputs → outputs, inputs, window."""
    return w.movedim((-1, -2), (0, 1)).contiguous()


def same(x: Any, window: tuple[int, ...], stride: tuple[int, ...], value: float = 0.0, gap: int = 1) -> Any:
    """Keras' padding of (batch, channels, …) for ``same``."""
    pads: list[int] = []
    for length, taps, step in reversed(list(zip(x.shape[2:], window, stride, strict=True))):
        missing = max(0, (-(-length // step) - 1) * step + (taps - 1) * gap + 1 - length)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads, value=value)


def formatted(d: Draw, batch: int, channels: int, sizes: tuple[int, ...]) -> tuple[str, tuple[int, ...], Any, Any]:
    """A data format at random, a shape in it, and the ways to channels first and back."""
    if d.one_of(True, True, False):
        return "channels_last", (batch, *sizes, channels), first, last
    return "channels_first", (batch, channels, *sizes), lambda x: x, lambda x: x


def window_options(d: Draw, rank: int) -> dict[str, Any]:
    """Strides or dilation, and padding; Keras has no two of the first together."""
    stride, gap = d.one_of((1, 1), (2, 1), (1, 2))
    return {"strides": stride, "dilation_rate": gap, "padding": d.one_of("valid", "same")}


@random_cases("Conv1D", "Conv2D", count=8)
@random_cases("Conv3D", count=4)
def convolution(d: Draw, name: str = "Conv3D") -> Case:
    rank = rank_of(name)
    window, options = d.sizes(rank, 1, 3 if rank < 3 else 2), window_options(d, rank)
    groups, bias = d.one_of(1, 2), d.flag()
    if rank == 1 and d.one_of(True, False, False):
        options["padding"] = "causal"
    layout, shape, to, back = formatted(d, d.size(1, 2), 4, space(d, rank))
    stride, gap, padding = (options[key] for key in ("strides", "dilation_rate", "padding"))

    def reference(w: Any, x: Any) -> Any:
        data = to(x)
        if padding == "same":
            data = same(data, window, (stride,) * rank, gap=gap)
        elif padding == "causal":
            data = F.pad(data, ((window[0] - 1) * gap, 0))
        return torch.tanh(back(CONV[rank](data, kernel(w["kernel"]), w.get("bias"), stride, 0, gap, groups)))

    arguments = {"filters": 6, "kernel_size": window, **options, "groups": groups, "use_bias": bias}
    arguments |= {"activation": "tanh", "data_format": layout}
    # Keras' torch backend knows causal padding for channels last only.
    return layer(name, arguments, reference, d.array(*shape), keras=padding != "causal" or layout == "channels_last")


@random_cases("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", count=6)
def transposed(d: Draw, name: str) -> Case:
    rank = rank_of(name)
    taps, stride, padding = d.size(1, 4), d.size(1, 3), d.one_of("valid", "same")
    extra = 1 if padding == "valid" and stride > 1 and d.flag() else None
    layout, shape, to, back = formatted(d, d.size(1, 2), 3, d.sizes(rank, 2, 3))

    def reference(w: Any, x: Any) -> Any:
        if padding == "valid":
            more = max(taps, stride) - taps if extra is None else extra
            return back(TRANSPOSED[rank](to(x), kernel(w["kernel"]), w["bias"], stride, 0, more))
        # The gradient of the convolution that "same" pads, the odd element at the end.
        full = TRANSPOSED[rank](to(x), kernel(w["kernel"]), w["bias"], stride, 0, max(stride - taps, 0))
        cut = max(taps - stride, 0)
        for axis in range(2, 2 + rank):
            full = full.narrow(axis, cut // 2, full.shape[axis] - cut)
        return back(full)

    arguments = {"filters": d.size(1, 3), "kernel_size": taps, "strides": stride, "padding": padding}
    arguments |= {"output_padding": extra, "data_format": layout}
    # torch, and so Keras on torch, cannot pad a transposed convolution of "same" unevenly.
    return layer(name, arguments, reference, d.array(*shape), keras=padding == "valid")


def depthwise(w: Any, x: Any, rank: int, stride: int, padding: str) -> Any:
    """Each channel on its own; ``x`` is (batch, channels, …)."""
    channels, multiplier = w.shape[-2:]
    data = same(x, tuple(w.shape[:rank]), (stride,) * rank) if padding == "same" else x
    flat = w.reshape(*w.shape[:rank], 1, channels * multiplier)
    return CONV[rank](data, kernel(flat), None, stride, 0, 1, channels)


@random_cases("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", count=4)
def separable(d: Draw, name: str) -> Case:
    rank = rank_of(name)
    stride, padding, multiplier = d.size(1, 2), d.one_of("valid", "same"), d.size(1, 3)
    layout, shape, to, back = formatted(d, 2, 3, space(d, rank))
    arguments = {"kernel_size": d.size(1, 3), "strides": stride, "padding": padding, "depth_multiplier": multiplier}
    arguments["data_format"] = layout

    def biased(made: Any, w: Any) -> Any:
        return back(made + w["bias"].reshape(-1, *(1,) * rank))

    if name.startswith("Depthwise"):
        return layer(
            name,
            arguments,
            lambda w, x: biased(depthwise(w["kernel"], to(x), rank, stride, padding), w),
            d.array(*shape),
        )

    def reference(w: Any, x: Any) -> Any:
        apart = depthwise(w["depthwise_kernel"], to(x), rank, stride, padding)
        return biased(CONV[rank](apart, kernel(w["pointwise_kernel"])), w)

    return layer(name, {"filters": 4, **arguments}, reference, d.array(*shape))


@random_cases(*(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)), count=4)
def pooling(d: Draw, name: str) -> Case:
    rank, largest = rank_of(name), name.startswith("Max")
    taps, stride, padding = d.size(2, 3), d.one_of(None, 1, 2), d.one_of("valid", "same")
    step = taps if stride is None else stride
    layout, shape, to, back = formatted(d, 2, 2, space(d, rank, 3))

    def reference(w: Any, x: Any) -> Any:
        data = to(x)
        if padding == "valid":
            return back((MAXIMUM if largest else MEAN)[rank](data, taps, step))
        window, steps = (taps,) * rank, (step,) * rank
        if largest:
            return back(MAXIMUM[rank](same(data, window, steps, -np.inf), taps, step))
        total, count = (MEAN[rank](same(part, window, steps), taps, step) for part in (data, torch.ones_like(data)))
        return back(total / count)

    arguments = {"pool_size": taps, "strides": stride, "padding": padding, "data_format": layout}
    # Keras on torch counts the padding of means, which it does nowhere else.
    return layer(name, arguments, reference, d.array(*shape), keras=largest or padding == "valid")


@random_cases(*(f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)), count=2)
def global_pooling(d: Draw, name: str) -> Case:
    rank, keep = rank_of(name), d.flag()
    layout, shape, _, _ = formatted(d, 2, 3, space(d, rank, 2))
    axes = tuple(range(1, rank + 1)) if layout == "channels_last" else tuple(range(2, rank + 2))
    reference = {
        True: lambda w, x: x.amax(axes, keepdim=keep),
        False: lambda w, x: x.mean(axes, keepdim=keep),
    }[name.startswith("GlobalMax")]
    return layer(name, {"data_format": layout, "keepdims": keep}, reference, d.array(*shape))


@random_cases(*(f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3)), count=2)
def borders(d: Draw, name: str) -> Case:
    rank = rank_of(name)
    shape = (2, *space(d, rank, 4), 2)
    if name.startswith("UpSampling"):
        factors = d.sizes(rank, 1, 3)
        mode = d.one_of("nearest", "bilinear") if rank == 2 else "nearest"
        arguments: dict[str, Any] = {"size": factors[0] if rank == 1 else factors}
        if rank == 2:
            arguments["interpolation"] = mode
        options = {"align_corners": False} if mode == "bilinear" else {}
        return layer(
            name,
            arguments,
            lambda w, x: last(F.interpolate(first(x), scale_factor=factors, mode=mode, **options)),
            d.array(*shape),
        )
    pairs = tuple(d.sizes(2, 0, 1) for _ in range(rank))
    given = pairs[0] if rank == 1 else pairs
    flat = [0, 0, *(side for pair in reversed(pairs) for side in pair)]
    if name.startswith("ZeroPadding"):
        return layer(name, {"padding": given}, lambda w, x: F.pad(x, flat), d.array(*shape))
    return layer(name, {"cropping": given}, lambda w, x: F.pad(x, [-side for side in flat]), d.array(*shape))


# -- PyTorch's names: torch itself is the reference --------------------------------------------------------------------


@random_cases("Linear", count=4)
def linear(d: Draw) -> Case:
    inputs, bias = d.size(), d.flag()
    return layer(
        "Linear",
        {"in_features": inputs, "out_features": d.size(1), "bias": bias},
        lambda w, x: F.linear(x, w["weight"], w.get("bias")),
        d.array(*d.sizes(d.size(1, 3)), inputs),
        keras=False,
    )


@random_cases(*(f"Conv{kind}{rank}d" for kind in ("", "Transpose") for rank in (1, 2, 3)), count=5)
def torch_convolution(d: Draw, name: str) -> Case:
    rank, groups, bias = rank_of(name), d.one_of(1, 2), d.flag()
    window, stride, padding, gap = d.sizes(rank, 1, 3), d.size(1, 2), d.size(0, 1), d.size(1, 2)
    x = d.array(d.size(1, 2), 4, *d.sizes(rank, 5, 6))
    arguments = {"in_channels": 4, "out_channels": 6, "kernel_size": window, "stride": stride, "padding": padding}
    arguments |= {"dilation": gap, "groups": groups, "bias": bias}
    if "Transpose" not in name:
        if stride == 1 and d.flag():
            arguments["padding"] = padding = "same"
        return layer(
            name,
            arguments,
            lambda w, x: CONV[rank](x, w["weight"], w.get("bias"), stride, padding, gap, groups),
            x,
            keras=False,
        )
    arguments["output_padding"] = extra = d.size(0, max(stride, gap) - 1)
    return layer(
        name,
        arguments,
        lambda w, x: TRANSPOSED[rank](x, w["weight"], w.get("bias"), stride, padding, extra, groups, gap),
        x,
        keras=False,
    )


@random_cases(*(f"{kind}Pool{rank}d" for kind in ("Max", "Avg", "AdaptiveAvg") for rank in (1, 2, 3)), count=3)
def torch_pooling(d: Draw, name: str) -> Case:
    rank = rank_of(name)
    x = d.array(2, 3, *space(d, rank))
    if name.startswith("Adaptive"):
        parts = d.sizes(rank, 1, 3)
        return layer(name, {"output_size": parts}, lambda w, x: ADAPTIVE[rank](x, parts), x, keras=False)
    taps, stride, padding = d.size(2, 3), d.one_of(None, 1, 2), d.size(0, 1)
    arguments: dict[str, Any] = {"kernel_size": taps, "stride": stride, "padding": padding}
    if name.startswith("Max"):
        return layer(name, arguments, lambda w, x: MAXIMUM[rank](x, taps, stride, padding), x, keras=False)
    counted = d.flag()
    return layer(
        name,
        {**arguments, "count_include_pad": counted},
        lambda w, x: MEAN[rank](x, taps, stride, padding, count_include_pad=counted),
        x,
        keras=False,
    )


@random_cases("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", count=3)
def torch_batch_norm(d: Draw, name: str) -> Case:
    rank, training, affine = rank_of(name), d.flag(), d.flag()
    shape = (4, 3, *d.sizes(rank if rank > 1 else d.size(0, 1)))
    return layer(
        name,
        {"num_features": 3, "affine": affine},
        lambda w, x: F.batch_norm(
            x,
            w["running_mean"].detach().clone(),
            w["running_var"].detach().clone(),
            w.get("weight"),
            w.get("bias"),
            training,
        ),
        d.array(*shape),
        training=training,
        keras=False,
    )


@random_cases("LayerNorm", "GroupNorm", "ZeroPad2d", count=3)
def torch_others(d: Draw, name: str) -> Case:
    x = d.array(2, 4, *d.sizes(2))
    if name == "ZeroPad2d":
        widths = d.sizes(4, 0, 2)
        return layer(name, {"padding": widths}, lambda w, x: F.pad(x, widths), x, keras=False)
    if name == "GroupNorm":
        groups = d.one_of(1, 2, 4)
        return layer(
            name,
            {"num_groups": groups, "num_channels": 4},
            lambda w, x: F.group_norm(x, groups, w["weight"], w["bias"]),
            x,
            keras=False,
        )
    shape, bias = x.shape[d.size(1, 3) :], d.flag()
    return layer(
        name,
        {"normalized_shape": shape, "bias": bias},
        lambda w, x: F.layer_norm(x, shape, w["weight"], w.get("bias")),
        x,
        keras=False,
    )
