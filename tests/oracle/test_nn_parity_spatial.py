"""Convolution, pooling and other spatial layers against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphc import nn
from tests.oracle.nn_parity import Array, Case, compare, first, last

pytestmark = pytest.mark.oracle
F = torch.nn.functional
_rng = np.random.default_rng(1)


def draw(*shape: int) -> Array:
    return _rng.normal(size=shape)


def kernel(w: Any) -> Any:
    """Window, inputs, outputs → outputs, inputs, window."""
    return w.movedim((-1, -2), (0, 1))


def same(x: Any, window: tuple[int, ...], stride: tuple[int, ...], value: float = 0.0, gap: int = 1) -> Any:
    """Keras' padding of (batch, channels, …) for ``same``."""
    pads: list[int] = []
    for length, taps, step in reversed(list(zip(x.shape[2:], window, stride, strict=True))):
        missing = max(0, (-(-length // step) - 1) * step + (taps - 1) * gap + 1 - length)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads, value=value)


CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LAYERS = {1: nn.Conv1D, 2: nn.Conv2D, 3: nn.Conv3D}
TRANSPOSED_LAYERS = {1: nn.Conv1DTranspose, 2: nn.Conv2DTranspose, 3: nn.Conv3DTranspose}
SHAPES = {1: (2, 9, 4), 2: (2, 7, 6, 4), 3: (1, 5, 4, 5, 4)}


def conv_cases() -> list[Case]:
    cases = []
    rng = np.random.default_rng(1)
    for rank in (1, 2, 3):
        for number in range(8 if rank < 3 else 4):
            window = tuple(int(k) for k in rng.integers(1, 4, size=rank))
            stride = int(rng.integers(1, 3))
            gap = int(rng.integers(1, 3)) if stride == 1 else 1
            groups, bias, padding = int(rng.choice([1, 2])), bool(number % 2), ("valid", "same")[number // 2 % 2]

            def make(rank: int = rank, window: Any = window, options: Any = None) -> nn.Layer:
                return LAYERS[rank](6, window, **options)

            def reference(w: Any, x: Any, rank: int = rank, window: Any = window, o: Any = None) -> Any:
                data = first(x)
                if o["padding"] == "same":
                    data = same(data, window, (o["strides"],) * rank, gap=o["dilation_rate"])
                made = CONV[rank](
                    data, kernel(w["kernel"]), w.get("bias"), o["strides"], 0, o["dilation_rate"], o["groups"]
                )
                return torch.tanh(last(made))

            options = {
                "strides": stride,
                "padding": padding,
                "dilation_rate": gap,
                "groups": groups,
                "use_bias": bias,
                "activation": "tanh",
            }
            cases.append(
                Case(
                    f"conv{rank}d {window} {options}",
                    lambda m=make, o=options: m(options=o),
                    lambda w, x, r=reference, o=options: r(w, x, o=o),
                    (draw(*SHAPES[rank]),),
                )
            )
    return cases


def transposed_cases() -> list[Case]:
    cases = []
    for rank in (1, 2, 3):
        for taps, stride, padding, extra in [(3, 2, "valid", None), (2, 3, "valid", None), (3, 2, "valid", 1)]:

            def reference(w: Any, x: Any, rank: int = rank, k: int = taps, s: int = stride, e: Any = extra) -> Any:
                more = max(k, s) - k if e is None else e
                return last(TRANSPOSED[rank](first(x), kernel(w["kernel"]), w["bias"], s, 0, more))

            cases.append(
                Case(
                    f"transposed {rank}d {taps} {stride} {padding} {extra}",
                    lambda r=rank, k=taps, s=stride, p=padding, e=extra: TRANSPOSED_LAYERS[r](5, k, s, p, e),
                    reference,
                    (draw(2, *(4, 3, 2)[:rank], 3),),
                )
            )
        for taps, stride in [(3, 1), (3, 2), (4, 2), (2, 2), (5, 3), (1, 2)]:

            def reference(w: Any, x: Any, rank: int = rank, k: int = taps, s: int = stride) -> Any:
                # The gradient of the convolution that "same" pads, the odd element at the end.
                full = TRANSPOSED[rank](first(x), kernel(w["kernel"]), w["bias"], s, 0, max(s - k, 0))
                cut = max(k - s, 0)
                for axis in range(2, 2 + rank):
                    full = full.narrow(axis, cut // 2, full.shape[axis] - cut)
                return last(full)

            cases.append(
                Case(
                    f"transposed {rank}d {taps} {stride} same",
                    lambda r=rank, k=taps, s=stride: TRANSPOSED_LAYERS[r](2, k, s, "same"),
                    reference,
                    (draw(1, *(4, 3, 3)[:rank], 3),),
                )
            )
    return cases


def separable_cases() -> list[Case]:
    def depthwise(w: Any, x: Any, name: str, stride: int, padding: str, rank: int) -> Any:
        weights = w[name]
        channels, multiplier = weights.shape[-2:]
        data = first(x)
        if padding == "same":
            data = same(data, tuple(weights.shape[:rank]), (stride,) * rank)
        flat = weights.reshape(*weights.shape[:rank], 1, channels * multiplier)
        return CONV[rank](data, kernel(flat), None, stride, 0, 1, channels)

    cases = []
    for rank, depth, separable in (
        (1, nn.DepthwiseConv1D, nn.SeparableConv1D),
        (2, nn.DepthwiseConv2D, nn.SeparableConv2D),
    ):
        for stride, padding, multiplier in [(1, "valid", 1), (2, "same", 2), (1, "same", 3)]:
            cases.append(
                Case(
                    f"depthwise {rank}d {stride} {padding} {multiplier}",
                    lambda c=depth, s=stride, p=padding, m=multiplier: c(3, s, p, m),
                    lambda w, x, s=stride, p=padding, r=rank: last(depthwise(w, x, "kernel", s, p, r)) + w["bias"],
                    (draw(2, *(7, 6)[:rank], 3),),
                )
            )
            cases.append(
                Case(
                    f"separable {rank}d {stride} {padding} {multiplier}",
                    lambda c=separable, s=stride, p=padding, m=multiplier: c(4, 3, s, p, depth_multiplier=m),
                    lambda w, x, s=stride, p=padding, r=rank: last(
                        CONV[r](depthwise(w, x, "depthwise_kernel", s, p, r), kernel(w["pointwise_kernel"]), w["bias"])
                    ),
                    (draw(2, *(7, 6)[:rank], 3),),
                )
            )
    return cases


def pool_cases() -> list[Case]:
    maxima = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
    means = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
    largest = {1: nn.MaxPooling1D, 2: nn.MaxPool2D, 3: nn.MaxPooling3D}
    averages = {1: nn.AveragePooling1D, 2: nn.AvgPool2D, 3: nn.AveragePooling3D}
    cases = []
    for rank in (1, 2, 3):
        shape = (2, *(7, 6, 5)[:rank], 3)
        for taps, stride in [(2, None), (3, 2), (2, 1)]:
            cases.append(
                Case(
                    f"max {rank}d {taps} {stride}",
                    lambda r=rank, k=taps, s=stride: largest[r](k, s),
                    lambda w, x, r=rank, k=taps, s=stride: last(maxima[r](first(x), k, s)),
                    (draw(*shape),),
                )
            )
            cases.append(
                Case(
                    f"mean {rank}d {taps} {stride}",
                    lambda r=rank, k=taps, s=stride: averages[r](k, s),
                    lambda w, x, r=rank, k=taps, s=stride: last(means[r](first(x), k, s)),
                    (draw(*shape),),
                )
            )

            def padded_max(w: Any, x: Any, r: int = rank, k: int = taps, s: Any = stride) -> Any:
                step = k if s is None else s
                return last(maxima[r](same(first(x), (k,) * r, (step,) * r, -np.inf), k, step))

            def padded_mean(w: Any, x: Any, r: int = rank, k: int = taps, s: Any = stride) -> Any:
                step = k if s is None else s
                ones = torch.ones_like(first(x))
                total, count = (means[r](same(part, (k,) * r, (step,) * r), k, step) for part in (first(x), ones))
                return last(total / count)

            for name, table, reference in (("max", largest, padded_max), ("mean", averages, padded_mean)):
                cases.append(
                    Case(
                        f"{name} {rank}d {taps} {stride} same",
                        lambda t=table, r=rank, k=taps, s=stride: t[r](k, s, "same"),
                        reference,
                        (draw(*shape),),
                    )
                )
    return cases


def spatial_cases() -> list[Case]:
    volume = draw(2, 4, 5, 6, 3)
    return [
        Case(
            "ZeroPadding2D",
            lambda: nn.ZeroPadding2D(((1, 2), (0, 3))),
            lambda w, x: F.pad(x, (0, 0, 0, 3, 1, 2)),
            (draw(2, 3, 4, 2),),
        ),
        Case("ZeroPadding3D", nn.ZeroPadding3D, lambda w, x: F.pad(x, (0, 0, 1, 1, 1, 1, 1, 1)), (volume,)),
        Case("Cropping2D", lambda: nn.Cropping2D(((1, 0), (2, 1))), lambda w, x: x[:, 1:, 2:-1], (draw(2, 4, 6, 3),)),
        Case("Cropping1D", nn.Cropping1D, lambda w, x: x[:, 1:-1], (draw(2, 5, 3),)),
        Case(
            "UpSampling2D bilinear",
            lambda: nn.UpSampling2D((2, 3), interpolation="bilinear"),
            lambda w, x: last(F.interpolate(first(x), scale_factor=(2, 3), mode="bilinear", align_corners=False)),
            (draw(2, 4, 3, 2),),
        ),
        Case(
            "UpSampling3D",
            nn.UpSampling3D,
            lambda w, x: last(F.interpolate(first(x), scale_factor=2, mode="nearest")),
            (volume,),
        ),
        Case("UpSampling1D", lambda: nn.UpSampling1D(3), lambda w, x: x.repeat_interleave(3, 1), (draw(2, 3, 2),)),
        Case("GlobalMaxPooling3D", nn.GlobalMaxPooling3D, lambda w, x: x.amax((1, 2, 3)), (volume,)),
        Case("GlobalAveragePooling2D", nn.GlobalAvgPool2D, lambda w, x: x.mean((1, 2)), (draw(2, 3, 4, 5),)),
        Case("RepeatVector", lambda: nn.RepeatVector(3), lambda w, x: x[:, None].expand(-1, 3, -1), (draw(2, 4),)),
        Case(
            "TimeDistributed",
            lambda: nn.TimeDistributed(nn.Conv2D(3, 2, name="inner")),
            lambda w, x: torch.stack(
                [last(F.conv2d(first(x[:, t]), kernel(_of(w, "kernel")), _of(w, "bias"))) for t in range(3)], 1
            ),
            (draw(2, 3, 4, 4, 2),),
        ),
        Case(
            "Embedding",
            lambda dtype: nn.Embedding(6, 4, dtype=dtype),
            lambda w, x: F.embedding(x, w["embeddings"]),
            (_rng.integers(0, 6, size=(2, 5)),),
        ),
        Case(
            "Dense",
            lambda: nn.Dense(3, activation="softplus"),
            lambda w, x: F.softplus(x @ w["kernel"] + w["bias"]),
            (draw(2, 4, 5),),
        ),
    ]


def _of(weights: dict[str, Any], name: str) -> Any:
    return next(value for key, value in weights.items() if key.rsplit("/", 1)[-1] == name)


CASES = [*conv_cases(), *transposed_cases(), *separable_cases(), *pool_cases(), *spatial_cases()]
COMPILED = {"Dense", "UpSampling2D bilinear", "separable 2d 2 same 2", "max 2d 3 2 same", "transposed 2d 3 2 same"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    compare(case, backends=("numpy", "llvm") if case.label in COMPILED else ())
