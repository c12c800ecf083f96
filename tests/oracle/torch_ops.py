"""Each differentiable op in torch's words.

torch is imported inside functions only: this module must import where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TorchFunction = Callable[..., Any]


def torch_functions() -> Mapping[str, TorchFunction]:
    """Op name → function of (attributes, tensors…)."""
    import torch

    def plain(function: Callable[..., Any]) -> TorchFunction:
        return lambda attrs, *tensors: function(*tensors)

    def reduced(function: Callable[..., Any]) -> TorchFunction:
        # torch reduces everything for an empty list of axes; ours reduces nothing.
        return lambda attrs, x: (
            function(x, dim=attrs["axes"], keepdim=attrs["keepdims"]) if attrs["axes"] else x.clone()
        )

    def cumsum(attrs: Mapping[str, Any], x: Any) -> Any:
        axis = attrs["axis"]
        return x.flip(axis).cumsum(axis).flip(axis) if attrs["reverse"] else x.cumsum(axis)

    def prod(attrs: Mapping[str, Any], x: Any) -> Any:
        for axis in sorted(attrs["axes"], reverse=True):
            x = x.prod(axis, keepdim=attrs["keepdims"])
        return x

    def slice_(attrs: Mapping[str, Any], x: Any) -> Any:
        spans = zip(attrs["starts"], attrs["stops"], attrs["steps"], strict=True)
        return x[tuple(slice(*span) for span in spans)]

    def pad(attrs: Mapping[str, Any], x: Any, value: Any) -> Any:
        # What is padded with zeros, plus the value wherever nothing was.
        sides = [
            amount for pair in zip(reversed(attrs["low"]), reversed(attrs["high"]), strict=True) for amount in pair
        ]
        grow = torch.nn.functional.pad
        return grow(x, sides) + value * (1 - grow(torch.ones_like(x), sides)) if sides else x + 0 * value

    def patches(attrs: Mapping[str, Any], x: Any) -> Any:
        rank = x.ndim
        for axis, window, stride, dilation in zip(
            attrs["axes"], attrs["window"], attrs["strides"], attrs["dilation"], strict=True
        ):
            x = x.unfold(axis, (window - 1) * dilation + 1, stride)[..., ::dilation]
        assert x.ndim == rank + len(attrs["axes"])
        return x

    def fold_patches(attrs: Mapping[str, Any], g: Any) -> Any:
        # The transpose of a linear function is its vjp.
        zero = torch.zeros(attrs["shape"], dtype=g.dtype, requires_grad=True)
        return torch.autograd.grad(patches(attrs, zero), zero, g, create_graph=True)[0]

    def take(attrs: Mapping[str, Any], x: Any, indices: Any) -> Any:
        axis = attrs["axis"]
        flat = x.index_select(axis, indices.reshape(-1).long())
        return flat.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def scatter_add(attrs: Mapping[str, Any], base: Any, indices: Any, updates: Any) -> Any:
        axis = attrs["axis"]
        flat = updates.reshape((*base.shape[:axis], indices.numel(), *base.shape[axis + 1 :]))
        return base.index_add(axis, indices.reshape(-1).long(), flat)

    return {
        **{name: plain(getattr(torch, name)) for name in _SAME_NAME},
        "relu": plain(torch.relu),
        "softplus": plain(lambda x: torch.nn.functional.softplus(x, threshold=1e9)),
        "divide": plain(torch.div),
        "pow": plain(torch.pow),
        "select": plain(torch.where),
        "cast": lambda attrs, x: x.to(getattr(torch, attrs["dtype"].name)),
        "sum": reduced(torch.sum),
        "prod": prod,
        "max": reduced(torch.amax),
        "min": reduced(torch.amin),
        "cumsum": cumsum,
        "reshape": lambda attrs, x: x.reshape(attrs["shape"]),
        "transpose": lambda attrs, x: x.permute(attrs["permutation"]),
        "broadcast_to": lambda attrs, x: x.broadcast_to(attrs["shape"]),
        "flip": lambda attrs, x: x.flip(attrs["axes"]),
        "slice": slice_,
        "index": lambda attrs, x: x.select(attrs["axis"], attrs["index"]),
        "concat": lambda attrs, *xs: torch.cat(xs, attrs["axis"]),
        "stack": lambda attrs, *xs: torch.stack(xs, attrs["axis"]),
        "pad": pad,
        "patches": patches,
        "fold_patches": fold_patches,
        "matmul": plain(torch.matmul),
        "einsum": lambda attrs, x, y: torch.einsum(attrs["subscripts"], x, y),
        "take": take,
        "scatter_add": scatter_add,
        "take_along_axis": lambda attrs, x, i: x.gather(attrs["axis"], i.long()),
        "scatter_add_along_axis": lambda attrs, x, i, u: x.scatter_add(attrs["axis"], i.long(), u),
        "conv": _conv,
        "conv_transpose": _conv_transpose,
        "max_pool": _max_pool,
        "average_pool": _average_pool,
    }


_SAME_NAME = (
    *(
        "abs",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "cos",
        "cosh",
        "erf",
        "exp",
        "expm1",
        "log",
        "log10",
        "log1p",
        "log2",
    ),
    *("negative", "reciprocal", "sigmoid", "sin", "sinh", "sqrt", "square", "tan", "tanh"),
    *("add", "atan2", "copysign", "hypot", "logaddexp", "maximum", "minimum", "multiply", "remainder", "subtract"),
)


# -- images: torch knows channels first, and padding of both sides alike -----------------------------------------------


def _first(attrs: Mapping[str, Any], x: Any) -> Any:
    return x.movedim(-1, 1) if attrs["layout"].endswith("C") else x


def _restored(attrs: Mapping[str, Any], x: Any) -> Any:
    return x.movedim(1, -1) if attrs["layout"].endswith("C") else x


def _kernel_first(attrs: Mapping[str, Any], kernel: Any) -> Any:
    return (
        kernel.permute(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
        if attrs["layout"].endswith("C")
        else kernel
    )


def _padded(attrs: Mapping[str, Any], x: Any, value: float) -> Any:
    import torch

    sides = [amount for pair in reversed(attrs["padding"]) for amount in pair]
    return torch.nn.functional.pad(x, sides, value=value)


def _dimensional(name: str, attrs: Mapping[str, Any]) -> Callable[..., Any]:
    import torch

    return getattr(torch.nn.functional, name.format(len(attrs["strides"])))  # type: ignore[no-any-return]


def _conv(attrs: Mapping[str, Any], x: Any, kernel: Any) -> Any:
    function = _dimensional("conv{}d", attrs)
    data = _padded(attrs, _first(attrs, x), 0.0)
    made = function(data, _kernel_first(attrs, kernel), None, attrs["strides"], 0, attrs["dilation"], attrs["groups"])
    return _restored(attrs, made)


def _conv_transpose(attrs: Mapping[str, Any], x: Any, kernel: Any) -> Any:
    """The vjp of the convolution over an output of the size that ours has: right for any padding and output padding."""
    import torch

    data, weight = _first(attrs, x), _kernel_first(attrs, kernel)
    spatial = [
        (dim - 1) * stride + (taps - 1) * gap + 1 + extra - low - high
        for dim, stride, taps, gap, extra, (low, high) in zip(
            data.shape[2:],
            attrs["strides"],
            weight.shape[2:],
            attrs["dilation"],
            attrs["output_padding"],
            attrs["padding"],
            strict=True,
        )
    ]
    zero = torch.zeros((data.shape[0], weight.shape[1] * attrs["groups"], *spatial), dtype=x.dtype, requires_grad=True)
    function = _dimensional("conv{}d", attrs)
    forward = function(_padded(attrs, zero, 0.0), weight, None, attrs["strides"], 0, attrs["dilation"], attrs["groups"])
    # Output padding of a whole stride would make room for one more window, which has no data.
    forward = forward[(slice(None), slice(None), *(slice(dim) for dim in data.shape[2:]))]
    return _restored(attrs, torch.autograd.grad(forward, zero, data, create_graph=True)[0])


def _max_pool(attrs: Mapping[str, Any], x: Any) -> Any:
    import torch

    data = _padded(attrs, _first(attrs, x), -torch.inf)
    windows = _windows(attrs, data)
    return _restored(attrs, windows.amax(tuple(range(data.ndim, windows.ndim))))


def _average_pool(attrs: Mapping[str, Any], x: Any) -> Any:
    import torch

    data = _padded(attrs, _first(attrs, x), 0.0)
    windows = _windows(attrs, data)
    axes = tuple(range(data.ndim, windows.ndim))
    if attrs["count_include_pad"]:
        return _restored(attrs, windows.mean(axes))
    ones = _windows(attrs, _padded(attrs, torch.ones_like(_first(attrs, x)), 0.0))
    return _restored(attrs, windows.sum(axes) / ones.sum(axes))


def _windows(attrs: Mapping[str, Any], data: Any) -> Any:
    for place, (window, stride, dilation) in enumerate(
        zip(attrs["window"], attrs["strides"], attrs["dilation"], strict=True)
    ):
        data = data.unfold(2 + place, (window - 1) * dilation + 1, stride)[..., ::dilation]
    return data
