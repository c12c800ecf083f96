"""Every layer with arguments that make it work, and inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import graphc as G
from graphc import nn

# Channels last and first, by the number of spatial axes.
LAST = {1: (2, 8, 4), 2: (2, 8, 8, 4), 3: (2, 6, 6, 6, 4)}
FIRST = {1: (2, 4, 8), 2: (2, 4, 8, 8), 3: (2, 4, 6, 6, 6)}


@dataclass(frozen=True)
class Use:
    """How a layer is used.

    Attributes:
        arguments: of the layer, or a function that makes them anew (layers inside).
        shapes: of the inputs.
        dtype: of the inputs.
        ranks: the smallest and the largest number of dimensions it takes, where it does not take any.
        kind: ``float`` for a layer that takes floating-point numbers only.
        fixed_size: the axis whose size the weights fix at the first call.
    """

    arguments: dict[str, Any] | Callable[[], dict[str, Any]]
    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"
    ranks: tuple[int, int] = (0, 99)
    kind: str = "any"
    fixed_size: int | None = None

    def make(self, kind: str, /, **more: Any) -> nn.Layer:
        """The layer."""
        arguments = self.arguments() if callable(self.arguments) else self.arguments
        made: nn.Layer = getattr(nn, kind)(**{**arguments, **more})
        return made

    def inputs(self, prefix: str = "x") -> list[G.Tensor]:
        """Inputs that it takes."""
        return [G.input(f"{prefix}{place}", shape, self.dtype) for place, shape in enumerate(self.shapes)]


def call(layer: nn.Layer, tensors: list[G.Tensor]) -> Any:
    """The layer on inputs, in the way of its kind."""
    if isinstance(layer, (nn.Cell, nn.StackedRNNCells)):
        sizes = [3] * len(getattr(layer, "state_names", ("h",)))
        states = [G.zeros((2, size)) for size in sizes]
        return layer(tensors[0], [states] if isinstance(layer, nn.StackedRNNCells) else states)
    if isinstance(layer, nn.MultiHeadAttention):
        return layer(tensors[0], tensors[0])
    return layer(tensors[0] if len(tensors) == 1 else tensors)


USES: dict[str, Use] = {}


def _add(names: str, arguments: Any, *shapes: tuple[int, ...], **options: Any) -> None:
    for name in names.split():
        USES[name] = Use(arguments, shapes, **options)


_add("Dense", {"units": 3}, (2, 4), ranks=(2, 99), kind="float", fixed_size=-1)
_add("Linear", {"in_features": 4, "out_features": 3}, (2, 4), kind="float", fixed_size=-1)
_add("Activation", {"activation": "tanh"}, (2, 4), kind="float")
_add("ELU GELU SELU HardSigmoid HardSwish LeakyReLU LogSigmoid LogSoftmax", {}, LAST[1], kind="float")
_add("Sigmoid SiLU Softmax Softplus Softsign Tanh Dropout GaussianDropout", {}, LAST[1], kind="float")
_add("HardTanh ReLU ReLU6 Step Identity Flatten ActivityRegularization", {}, LAST[1])
_add("PReLU", {}, LAST[1], kind="float", fixed_size=-1)
_add("Dropout GaussianDropout AlphaDropout", {"rate": 0.5}, LAST[1], kind="float")
_add("GaussianNoise", {"stddev": 0.5}, LAST[1], kind="float")
_add("Embedding", {"input_dim": 5, "output_dim": 3}, (2, 4), dtype="int64")
_add("Masking", {}, LAST[1], ranks=(2, 99), kind="float")
_add("Reshape", {"target_shape": (4, 8)}, LAST[1], ranks=(2, 99))
_add("Permute", {"dims": (2, 1)}, LAST[1], ranks=(3, 3))
_add("RepeatVector", {"n": 3}, (2, 4), ranks=(2, 2))
_add("Lambda", {"function": G.tanh}, LAST[1], kind="float")
for _rank in (1, 2, 3):
    _last, _first, _only = LAST[_rank], FIRST[_rank], (_rank + 2, _rank + 2)
    _kernel = {"filters": 3, "kernel_size": 2}
    _add(f"Conv{_rank}D Conv{_rank}DTranspose", _kernel, _last, ranks=_only, kind="float", fixed_size=-1)
    if _rank < 3:
        _add(f"DepthwiseConv{_rank}D", {"kernel_size": 2}, _last, ranks=_only, kind="float", fixed_size=-1)
        _add(f"SeparableConv{_rank}D", _kernel, _last, ranks=_only, kind="float", fixed_size=-1)
    _add(f"MaxPooling{_rank}D GlobalMaxPooling{_rank}D", {}, _last, ranks=_only)
    _add(f"AveragePooling{_rank}D GlobalAveragePooling{_rank}D", {}, _last, ranks=_only, kind="float")
    _add(f"UpSampling{_rank}D ZeroPadding{_rank}D Cropping{_rank}D", {}, _last, ranks=_only)
    _add(f"SpatialDropout{_rank}D", {"rate": 0.5}, _last, ranks=_only, kind="float")
    _add(f"Dropout{_rank}d", {}, _first, ranks=_only, kind="float")
    _channels = {"in_channels": 4, "out_channels": 3, "kernel_size": 2}
    _add(f"Conv{_rank}d ConvTranspose{_rank}d", _channels, _first, ranks=_only, kind="float", fixed_size=1)
    _add(f"MaxPool{_rank}d", {"kernel_size": 2}, _first, ranks=_only)
    _add(f"AvgPool{_rank}d", {"kernel_size": 2}, _first, ranks=_only, kind="float")
    _add(f"AdaptiveAvgPool{_rank}d", {"output_size": 2}, _first, ranks=_only, kind="float")
    _both = (2, 3) if _rank == 1 else _only
    _add(f"BatchNorm{_rank}d", {"num_features": 4}, _first, ranks=_both, kind="float", fixed_size=1)
_add("LayerNorm", {"normalized_shape": 4}, LAST[1], kind="float", fixed_size=-1)
_add("GroupNorm", {"num_groups": 2, "num_channels": 4}, FIRST[1], ranks=(2, 99), kind="float", fixed_size=1)
_add("ZeroPad2d", {"padding": 1}, FIRST[2], ranks=(4, 4))
_normalizations = "BatchNormalization LayerNormalization RMSNormalization"
_add(_normalizations, {}, LAST[1], ranks=(2, 99), kind="float", fixed_size=-1)
_add("GroupNormalization", {"groups": 2}, LAST[1], ranks=(2, 99), kind="float", fixed_size=-1)
_add("UnitNormalization", {}, LAST[1], kind="float")
_add("Add Subtract Multiply Maximum Minimum Concatenate", {}, LAST[1], LAST[1])
_add("Average", {}, LAST[1], LAST[1], kind="float")
_add("Dot", {"axes": 2}, LAST[1], LAST[1], ranks=(3, 99))
_add("Attention", {}, LAST[1], LAST[1], ranks=(3, 99), kind="float")
_add("AdditiveAttention", {}, LAST[1], LAST[1], ranks=(3, 99), kind="float", fixed_size=-1)
_add("MultiHeadAttention", {"num_heads": 2, "key_dim": 2}, LAST[1], ranks=(3, 99), kind="float", fixed_size=-1)
_add("SimpleRNN LSTM GRU", {"units": 3}, LAST[1], ranks=(3, 3), kind="float", fixed_size=-1)
_cells = "SimpleRNNCell LSTMCell GRUCell ConcatLSTMCell MemoryCell MinimalGRUCell PeepholeLSTMCell"
_add(_cells, {"units": 3}, (2, 4), ranks=(2, 2), kind="float", fixed_size=-1)
_add("RNN", lambda: {"cell": nn.GRUCell(3)}, LAST[1], ranks=(3, 3), kind="float", fixed_size=-1)
_add("StackedRNNCells", lambda: {"cells": [nn.GRUCell(3)]}, (2, 4), ranks=(2, 2), kind="float", fixed_size=-1)
_add("Bidirectional", lambda: {"layer": nn.LSTM(3)}, LAST[1], ranks=(3, 3), kind="float", fixed_size=-1)
_add("TimeDistributed", lambda: {"layer": nn.Dense(3)}, LAST[1], ranks=(3, 99), kind="float", fixed_size=-1)
