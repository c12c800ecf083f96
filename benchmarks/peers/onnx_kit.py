"""Workloads as ONNX models, for the runtimes that read those: library layers as single operators, loops unrolled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.base import NORM_EPSILON, Kit
from benchmarks.spec import Parameter, Workload

OPSET = 21
_LSTM = (0, 3, 1, 2)
"""ONNX has the gates i o f g."""


class Value:
    """A name in the graph, with Python's operators."""

    def __init__(self, kit: OnnxKit, name: str) -> None:
        self.kit = kit
        self.name = name

    def __add__(self, other: Any) -> Value:
        return self.kit.node("Add", self, other)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Value:
        return self.kit.node("Mul", self, other)

    __rmul__ = __mul__

    def __sub__(self, other: Any) -> Value:
        return self.kit.node("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.kit.node("Sub", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.kit.node("Div", self, other)

    def __matmul__(self, other: Any) -> Value:
        return self.kit.node("MatMul", self, other)


class OnnxKit(Kit):
    """Operations that add nodes to a graph; images are (batch, channels, height, width)."""

    label = "ONNX"

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._constants: dict[Any, str] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._count = 0

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Value:
        """An initializer."""
        if parameter.kind == "conv":
            value = value.transpose(3, 2, 0, 1)
        if parameter.kind == "image_dense":
            value = value.reshape(*parameter.image, -1).transpose(2, 0, 1, 3).reshape(value.shape)
        return self._initializer(name, np.ascontiguousarray(value))

    def node(self, operator: str, *operands: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; numbers become constants."""
        names = [self._name_of(operand) for operand in operands]
        self._count += 1
        results = [f"v{self._count}_{position}" for position in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, results, **attributes))
        values = [Value(self, name) for name in results]
        return values[0] if outputs == 1 else values

    def constant(self, value: Any) -> Value:
        """A constant; equal ones are one."""
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._initializer(f"constant{len(self._constants)}", array).name
        return Value(self, self._constants[key])

    def model(self, workload: Workload) -> bytes:
        """The workload's inference as a serialized model with the output ``output``."""
        inputs = {name: Value(self, name) for name in workload.inputs}
        weights = {
            name: self.load(name, workload.parameters[name], value)
            for name, value in workload.parameter_values().items()
        }
        result = workload.head(self, workload.forward(self, weights, inputs))
        self.nodes.append(helper.make_node("Identity", [result.name], ["output"]))
        read = {name for node in self.nodes for name in node.input}
        arguments = [
            helper.make_tensor_value_info(
                name,
                TensorProto.INT64 if workload.inputs[name].classes else TensorProto.FLOAT,
                value.shape,
            )
            for name, value in input_arrays(workload).items()
        ]
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
        kept = [initializer for initializer in self.initializers if initializer.name in read]
        graph = helper.make_graph(self.nodes, workload.name, arguments, [output], kept)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return made.SerializeToString()

    def _initializer(self, name: str, value: np.ndarray) -> Value:
        self._arrays[name] = value
        self.initializers.append(numpy_helper.from_array(value, name))
        return Value(self, name)

    def _name_of(self, operand: Any) -> str:
        if operand is None:
            return ""
        return (operand if isinstance(operand, Value) else self.constant(operand)).name

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: Value, t: int) -> Value:
        """Element t of the leading axis."""
        return self.node("Gather", x, np.int64(t), axis=0)

    def split(self, x: Value, count: int) -> list[Value]:
        """Equal parts of the last axis."""
        return self.node("Split", x, outputs=count, axis=-1, num_outputs=count)

    def concat(self, arrays: Sequence[Value], axis: int) -> Value:
        """Side by side."""
        return self.node("Concat", *arrays, axis=axis)

    def stack(self, arrays: Sequence[Value]) -> Value:
        """Along a new leading axis."""
        return self.node("Concat", *(self.node("Unsqueeze", x, np.array([0])) for x in arrays), axis=0)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Another shape."""
        return self.node("Reshape", x, np.array(shape))

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Axes in another order."""
        return self.node("Transpose", x, perm=list(axes))

    def zeros(self, shape: Sequence[int]) -> Value:
        """Zeros."""
        return self.constant(np.zeros(tuple(shape), np.float32))

    def embedding(self, table: Value, ids: Value) -> Value:
        """Rows of a table."""
        return self.node("Gather", table, ids, axis=0)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def relu(self, x: Value) -> Value:
        """max(x, 0)."""
        return self.node("Relu", x)

    def tanh(self, x: Value) -> Value:
        """Hyperbolic tangent."""
        return self.node("Tanh", x)

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + e⁻ˣ)."""
        return self.node("Sigmoid", x)

    def softmax(self, x: Value) -> Value:
        """Over the last axis."""
        return self.node("Softmax", x, axis=-1)

    def sum(self, x: Value, axis: int) -> Value:
        """Along one axis, which goes away."""
        return self.node("ReduceSum", x, np.array([axis]), keepdims=0)

    def layer_norm(self, x: Value, gamma: Value, beta: Value) -> Value:
        """Over the last axis."""
        return self.node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=NORM_EPSILON)

    # -- layers ----------------------------------------------------------------------------------------------------

    def dense(self, x: Value, w: Value, b: Value) -> Value:
        """Over the last axis, x w + b."""
        return self.node("Add", self.node("MatMul", x, w), b)

    def conv2d(self, x: Value, w: Value, b: Value | None = None, stride: int = 1, padding: int = 0) -> Value:
        """Cross-correlation."""
        operands = (x, w) if b is None else (x, w, b)
        return self.node("Conv", *operands, strides=[stride] * 2, pads=[padding] * 4)

    def max_pool(self, x: Value, window: int) -> Value:
        """Windows side by side."""
        return self.node("MaxPool", x, kernel_shape=[window] * 2, strides=[window] * 2)

    def flatten(self, x: Value) -> Value:
        """An image a row, channels first, as ``image_dense`` kernels are kept."""
        return self.node("Flatten", x, axis=1)

    def batch_norm(self, x: Value, gamma: Value, beta: Value, mean: Value, variance: Value) -> Value:
        """Of channels, by stored statistics."""
        return self.node("BatchNormalization", x, gamma, beta, mean, variance, epsilon=NORM_EPSILON)

    def rnn(self, x: Value, shape: Sequence[int], w: Value, u: Value, b: Value, sequence: bool = False) -> Value:
        """The RNN operator."""
        return self._recurrent("RNN", x, shape, [(w, u, b)], sequence, (0,))

    def gru(self, x: Value, shape: Sequence[int], w: Value, u: Value, b: Value, sequence: bool = False) -> Value:
        """The GRU operator, whose gates stand as ours."""
        return self._recurrent("GRU", x, shape, [(w, u, b)], sequence, (0, 1, 2), linear_before_reset=1)

    def lstm(self, x: Value, shape: Sequence[int], w: Value, u: Value, b: Value, sequence: bool = False) -> Value:
        """The LSTM operator."""
        return self._recurrent("LSTM", x, shape, [(w, u, b)], sequence, _LSTM)

    def bilstm(self, x: Value, shape: Sequence[int], forward: Sequence[Value], backward: Sequence[Value]) -> Value:
        """The LSTM operator in both directions."""
        last = self._recurrent(
            "LSTM", x, shape, [forward, backward], False, _LSTM, keep_ends=True, direction="bidirectional"
        )
        return self.reshape(self.transpose(last, (1, 0, 2)), (shape[1], 2 * shape[2]))

    def _recurrent(
        self,
        operator: str,
        x: Value,
        shape: Sequence[int],
        ends: Sequence[Sequence[Value]],
        sequence: bool,
        order: Sequence[int],
        keep_ends: bool = False,
        **attributes: Any,
    ) -> Value:
        """An operator over kernels (ends, gates · hidden, in) and biases (ends, 2 · gates · hidden)."""
        stacked = []
        for part in range(3):
            arrays = [self._ordered(self._arrays[weights[part].name], order, bias=part == 2) for weights in ends]
            stacked.append(self._initializer(f"{ends[0][part].name}/{operator}", np.stack(arrays)))
        outputs, last = self.node(operator, x, *stacked, outputs=2, hidden_size=shape[2], **attributes)
        if keep_ends:
            return last
        return self.node("Squeeze", outputs if sequence else last, np.array([1 if sequence else 0]))

    @staticmethod
    def _ordered(value: np.ndarray, order: Sequence[int], bias: bool) -> np.ndarray:
        gates = np.split(value, len(order), axis=-1)
        ordered = np.concatenate([gates[gate] for gate in order], axis=-1)
        if not bias:
            return np.ascontiguousarray(ordered.T)
        return ordered.reshape(-1) if ordered.ndim == 2 else np.concatenate([ordered, np.zeros_like(ordered)])


def input_arrays(workload: Workload) -> Mapping[str, np.ndarray]:
    """The inputs, images with channels first."""
    return {
        name: np.ascontiguousarray(value.transpose(0, 3, 1, 2) if workload.inputs[name].image else value)
        for name, value in workload.input_values().items()
    }


def output_array(workload: Workload, value: np.ndarray) -> np.ndarray:
    """An output of a model in the layout that is compared."""
    return value.transpose(0, 2, 3, 1) if workload.image_output else value
