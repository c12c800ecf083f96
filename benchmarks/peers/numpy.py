"""NumPy: each operation as one would write it by hand; inference only, and in float64 the reference for everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.peers.base import NORM_EPSILON, Kit, Outputs, Peer, Session, Unsupported
from benchmarks.spec import TRAIN, Parameter, Workload


class NumpyKit(Kit):
    """Operations on ndarrays of one dtype."""

    label = "NumPy"

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> np.ndarray:
        """As it is."""
        return value.astype(self.dtype)

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: np.ndarray, t: int) -> np.ndarray:
        """Element t of the leading axis."""
        return x[t]

    def split(self, x: np.ndarray, count: int) -> list[np.ndarray]:
        """Equal parts of the last axis."""
        return np.split(x, count, axis=-1)

    def concat(self, arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
        """Side by side."""
        return np.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Along a new leading axis."""
        return np.stack(arrays)

    def flip(self, x: np.ndarray) -> np.ndarray:
        """The leading axis reversed."""
        return x[::-1]

    def reshape(self, x: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Another shape."""
        return x.reshape(tuple(shape))

    def transpose(self, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """Axes in another order."""
        return x.transpose(tuple(axes))

    def zeros(self, shape: Sequence[int]) -> np.ndarray:
        """Zeros."""
        return np.zeros(tuple(shape), self.dtype)

    def embedding(self, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Rows of a table."""
        return table[ids]

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def relu(self, x: np.ndarray) -> np.ndarray:
        """max(x, 0)."""
        return np.maximum(x, 0)

    def tanh(self, x: np.ndarray) -> np.ndarray:
        """Hyperbolic tangent."""
        return np.tanh(x)

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + e⁻ˣ)."""
        return 1 / (1 + np.exp(-x))

    def softplus(self, x: np.ndarray) -> np.ndarray:
        """log(1 + eˣ)."""
        return np.logaddexp(0, x)

    def softmax(self, x: np.ndarray) -> np.ndarray:
        """Over the last axis."""
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def sum(self, x: np.ndarray, axis: int) -> np.ndarray:
        """Along one axis, which goes away."""
        return x.sum(axis=axis)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Of everything."""
        return x.mean()

    def layer_norm(self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """Over the last axis."""
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + NORM_EPSILON) * gamma + beta

    # -- images ----------------------------------------------------------------------------------------------------

    def conv2d(self, x: np.ndarray, w: np.ndarray, b: Any = None, stride: int = 1, padding: int = 0) -> np.ndarray:
        """Cross-correlation, as a product over windows."""
        height, width, channels, filters = w.shape
        if padding:
            x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        windows = sliding_window_view(x, (height, width), axis=(1, 2))[:, ::stride, ::stride]
        columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, height * width * channels)
        y = (columns @ w.reshape(-1, filters)).reshape(*windows.shape[:3], filters)
        return y if b is None else y + b

    def max_pool(self, x: np.ndarray, window: int) -> np.ndarray:
        """Windows side by side; what does not fill one is left out."""
        batch, height, width, channels = x.shape
        rows, columns = height // window, width // window
        cut = x[:, : rows * window, : columns * window]
        return cut.reshape(batch, rows, window, columns, window, channels).max(axis=(2, 4))

    def flatten(self, x: np.ndarray) -> np.ndarray:
        """An image a row."""
        return x.reshape(len(x), -1)

    def batch_norm(self, x: np.ndarray, gamma: Any, beta: Any, mean: Any, variance: Any) -> np.ndarray:
        """Of channels: by the batch while training, else by the stored statistics."""
        if self.training:
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return x * scale + (beta - mean * scale)

    # -- losses ----------------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Mean negative log-probability of the labels."""
        shifted = logits - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
        return (np.log(np.exp(shifted).sum(axis=-1)) - chosen).mean()


class NumpyPeer(Peer):
    """Operation after operation."""

    def versions(self) -> dict[str, str]:
        """NumPy's."""
        return {"numpy": np.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Nothing to compile."""
        if mode == TRAIN:
            raise Unsupported("NumPy does not differentiate")
        kit = NumpyKit()
        inputs, weights = arguments(kit, workload)

        def call() -> np.ndarray:
            return workload.head(kit, workload.forward(kit, weights, inputs))

        return Session(call, lambda: {"output": call()})


def arguments(kit: NumpyKit, workload: Workload) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and weights in the kit's dtype."""
    inputs = {
        name: value if workload.inputs[name].classes else value.astype(kit.dtype)
        for name, value in workload.input_values().items()
    }
    weights = {
        name: kit.load(name, workload.parameters[name], value) for name, value in workload.parameter_values().items()
    }
    return inputs, weights


def reference(workload: Workload, mode: str, kit: NumpyKit | None = None) -> Outputs:
    """What is known without any peer, in float64: the output, or the loss before the first step."""
    kit = kit or NumpyKit(np.float64)
    kit.training = mode == TRAIN
    inputs, weights = arguments(kit, workload)
    output = workload.forward(kit, weights, inputs)
    if mode != TRAIN:
        return {"output": workload.head(kit, output)}
    target = workload.target_values()
    if workload.target is not None and not workload.target.classes:
        target = target.astype(kit.dtype)
    return {"loss 0": np.asarray(workload.loss(kit, output, target))}
