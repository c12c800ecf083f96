"""graphc: layers where users have layers, Python loops where they have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc as G
from benchmarks.peers.base import NORM_EPSILON, Kit, Outputs, Peer, Session
from benchmarks.spec import CHECKED_STEPS, TRAIN, Parameter, Workload
from graphc import nn, optim


@dataclass(frozen=True)
class LayerWeight:
    """A weight that a layer of ``graphc.nn`` will make."""

    name: str
    value: np.ndarray

    @property
    def initializer(self) -> Any:
        """What gives the layer's weight this value."""
        return nn.initializers.Constant(value=self.value)


class GraphcKit(Kit):
    """Operations on symbolic tensors.

    Attributes:
        names: our name of a weight → graphc's, which differs where a layer made it.
    """

    label = "graphc"

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Any:
        """A parameter, or what a layer makes one of."""
        if parameter.kind.startswith(("rnn_", "gru_", "lstm_")):
            return LayerWeight(name, value)
        self.names[name] = name
        return G.parameter(name, value, trainable=parameter.trained)

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: Any, t: int) -> Any:
        """Element t of the leading axis."""
        return x[t]

    def split(self, x: Any, count: int) -> Any:
        """Equal parts of the last axis."""
        return G.split(x, count, axis=-1)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Side by side."""
        return G.concat(list(arrays), axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Along a new leading axis."""
        return G.stack(list(arrays))

    def flip(self, x: Any) -> Any:
        """The leading axis reversed."""
        return G.flip(x, axis=0)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """Another shape."""
        return G.reshape(x, tuple(shape))

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        """Axes in another order."""
        return G.permute_dims(x, tuple(axes))

    def zeros(self, shape: Sequence[int]) -> Any:
        """Zeros."""
        return G.zeros(tuple(shape))

    def embedding(self, table: Any, ids: Any) -> Any:
        """Rows of a table."""
        return G.embedding(ids, table)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def relu(self, x: Any) -> Any:
        """max(x, 0)."""
        return G.relu(x)

    def tanh(self, x: Any) -> Any:
        """Hyperbolic tangent."""
        return G.tanh(x)

    def sigmoid(self, x: Any) -> Any:
        """1 / (1 + e⁻ˣ)."""
        return G.sigmoid(x)

    def softplus(self, x: Any) -> Any:
        """log(1 + eˣ)."""
        return G.softplus(x)

    def softmax(self, x: Any) -> Any:
        """Over the last axis."""
        return G.softmax(x, axis=-1)

    def sum(self, x: Any, axis: int) -> Any:
        """Along one axis, which goes away."""
        return G.sum(x, axis=axis)

    def mean(self, x: Any) -> Any:
        """Of everything."""
        return G.mean(x)

    def layer_norm(self, x: Any, gamma: Any, beta: Any) -> Any:
        """Over the last axis."""
        centred = x - G.mean(x, axis=-1, keepdims=True)
        return centred / G.sqrt(G.mean(G.square(centred), axis=-1, keepdims=True) + NORM_EPSILON) * gamma + beta

    # -- layers ----------------------------------------------------------------------------------------------------

    def conv2d(self, x: Any, w: Any, b: Any = None, stride: int = 1, padding: int = 0) -> Any:
        """Cross-correlation."""
        y = G.conv2d(x, w, strides=stride, padding=padding)
        return y if b is None else y + b

    def max_pool(self, x: Any, window: int) -> Any:
        """Windows side by side."""
        return G.max_pool(x, window)

    def flatten(self, x: Any) -> Any:
        """An image a row."""
        return G.reshape(x, (x.shape[0], -1))

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        """Of channels; running statistics are not kept."""
        if self.training:
            mean = G.mean(x, axis=(0, 1, 2))
            variance = G.mean(G.square(x - mean), axis=(0, 1, 2))
        return (x - mean) / G.sqrt(variance + NORM_EPSILON) * gamma + beta

    def rnn(self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Any:
        """``graphc.nn.SimpleRNN``."""
        return self._layer(nn.SimpleRNN, x, shape, (w, u, b), sequence)

    def gru(self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Any:
        """``graphc.nn.GRU``."""
        return self._layer(nn.GRU, x, shape, (w, u, b), sequence)

    def lstm(
        self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False, reverse: bool = False
    ) -> Any:
        """``graphc.nn.LSTM``."""
        own = {"go_backwards": reverse, "unit_forget_bias": False}
        return self._layer(nn.LSTM, x, shape, (w, u, b), sequence, **own)

    def _layer(
        self,
        layer: Any,
        x: Any,
        shape: Sequence[int],
        weights: Sequence[LayerWeight],
        sequence: bool,
        **options: bool,
    ) -> Any:
        kernel, recurrent, bias = weights
        made = layer(
            shape[2],
            kernel_initializer=kernel.initializer,
            recurrent_initializer=recurrent.initializer,
            bias_initializer=bias.initializer,
            return_sequences=sequence,
            time_major=True,
            **options,
        )
        result = made(x)
        for weight, own in zip(weights, (made.cell.kernel, made.cell.recurrent_kernel, made.cell.bias), strict=True):
            self.names[weight.name] = own.name
        return result

    # -- losses ----------------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean negative log-probability of the labels."""
        return nn.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    def binary_cross_entropy(self, logits: Any, labels: Any) -> Any:
        """From logits."""
        return nn.losses.binary_crossentropy(labels, logits, from_logits=True)


def build(kit: GraphcKit, workload: Workload, mode: str) -> tuple[G.Model, list[np.ndarray]]:
    """The model of a workload, with one entry point, and its arguments in the order of the entry point's signature."""
    kit.training = mode == TRAIN
    inputs = {
        name: G.input(name, data.shape, "int64" if data.classes else "float32")
        for name, data in workload.inputs.items()
    }
    values = workload.input_values()
    weights = {
        name: kit.load(name, workload.parameters[name], value) for name, value in workload.parameter_values().items()
    }
    output = workload.forward(kit, weights, inputs)
    if mode == TRAIN:
        target = G.input("target", workload.target.shape, "int64" if workload.target.classes else "float32")
        loss = workload.loss(kit, output, target)
        values["target"] = workload.target_values()
        model = G.Model(train=optimizer(workload).minimize(loss))
    else:
        model = G.Model(predict=workload.head(kit, output))
    (entry,) = model.entries
    return model, [np.ascontiguousarray(values[name]) for name in model.module.input_types(entry)]


class GraphcPeer(Peer):
    """graphc's native code."""

    backend = "llvm"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # What is imported and initialised once a process, not once a model.
        x = G.input("x", (2, 2))
        G.compile(G.Model(predict=x @ x), backend=self.backend)

    def versions(self) -> dict[str, str]:
        """Of graphc and llvmlite."""
        import llvmlite

        return {"graphc": G.__version__, "llvmlite": llvmlite.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Build the graph and compile it."""
        kit = GraphcKit()
        model, arguments = build(kit, workload, mode)
        compiled = G.compile(model, backend=self.backend, threads=self.threads)
        entry = compiled.train if mode == TRAIN else compiled.predict

        def call() -> Any:
            return entry(*arguments)

        def outputs() -> Outputs:
            if mode != TRAIN:
                return {"output": call()}
            compiled.reset()
            found = {f"loss {step}": np.asarray(call()) for step in range(CHECKED_STEPS)}
            for name, parameter in workload.parameters.items():
                if parameter.trained:
                    found[f"weight {name}"] = compiled.parameters[kit.names[name]].copy()
            compiled.reset()
            return found

        return Session(call, outputs, compiled.reset if mode == TRAIN else lambda: None, lambda: self._info(compiled))

    def _info(self, compiled: Any) -> dict[str, float]:
        build = compiled.build
        return {"object_bytes": float(len(build.link("code.so", list(build.exports.values()))))}


class GraphcNumpyPeer(GraphcPeer):
    """The NumPy source that graphc writes: what NumPy can do when the backward pass is written for it."""

    backend = "numpy"

    def _info(self, compiled: Any) -> dict[str, float]:
        return {}


def optimizer(workload: Workload) -> Any:
    """The optimizer of graphc for the workload."""
    if workload.optimizer == "adam":
        return optim.Adam(workload.rate, eps=1e-8)
    return optim.SGD(workload.rate)
