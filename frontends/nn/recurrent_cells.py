"""Recurrent cells under their Keras names: one step of ``SimpleRNN``, ``LSTM`` and ``GRU``, and stacks of cells.

Weights, gate orders and formulas are Keras': the kernel of an LSTM has the gates i, f, c, o side by side, that of a GRU
z, r, h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import slice_axis
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import activations, regularizers
from graphc.frontends.nn.initializers import BlockConstant
from graphc.frontends.nn.layer import Layer, initializer_of, last_dim
from graphc.frontends.nn.regularization import checked_rate, dropout_mask
from graphc.ir.dim import Dim

States = Sequence[Tensor]


class Cell(Layer):
    """One step of a recurrent layer: from an input and the parts of a state to an output and the next state.

    A subclass gives ``state_names`` and ``call(x, states)``, which returns (output, list of states); its weights it
    makes in ``build``.

    Args:
        units: size of the output and of each part of the state.
        dropout: rate at which inputs are dropped while training, the same ones at every step of a sequence.
        recurrent_dropout: likewise for the state that products read.
        seed: of the dropout, in place of the model's.
        options: as in :class:`Layer`.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        units: int,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = checked_size(units, "units", minimum=1)
        self.dropout = checked_rate(dropout)
        self.recurrent_dropout = checked_rate(recurrent_dropout)
        self.seed = seed
        self._masks: tuple[Tensor | None, Tensor | None] | None = None

    @property
    def state_size(self) -> int | list[int]:
        """The size of the state, or a list with that of each part."""
        return self.units if len(self.state_names) == 1 else [self.units] * len(self.state_names)

    @property
    def output_size(self) -> int:
        """The size of the output."""
        return self.units

    def begin_sequence(self, x: Tensor, batch: Dim, features: Dim) -> None:
        """Draw the dropout of one sequence: the steps up to ``end_sequence`` share it.

        Args:
            x: any tensor of the graph; its dtype is that of the masks.
            batch: number of sequences.
            features: size of a step's input.
        """
        inputs = dropout_mask(x, self.dropout, (batch, features), self.seed) if self.dropout else None
        state = (
            dropout_mask(x, self.recurrent_dropout, (batch, self.units), self.seed) if self.recurrent_dropout else None
        )
        self._masks = inputs, state

    def end_sequence(self) -> None:
        """Forget the dropout of the sequence: every step by itself draws its own."""
        self._masks = None

    def dropped(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Input and state as products read them."""
        if self._masks is None:
            if not self.dropout and not self.recurrent_dropout:
                return x, h
            self.begin_sequence(x, x.shape[0], x.shape[-1])
            inputs, state = self._masks or (None, None)
            self.end_sequence()
        else:
            inputs, state = self._masks
        return x if inputs is None else x * inputs, h if state is None else h * state


class GatedCell(Cell):
    """A cell with all gates side by side in one kernel for the input, one for the state, and one bias.

    Args:
        units: size of the output and of each part of the state.
        activation: of the candidate and of the output.
        use_bias: False leaves the bias out.
        kernel_initializer: of ``<name>/kernel`` (features × gates · units).
        recurrent_initializer: of ``<name>/recurrent_kernel`` (units × gates · units).
        bias_initializer: of ``<name>/bias``.
        kernel_regularizer: a penalty on the kernel.
        recurrent_regularizer: a penalty on the recurrent kernel.
        bias_regularizer: a penalty on the bias.
        options: as in :class:`Cell`.
    """

    gates: ClassVar[int] = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(units, **options)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializer_of(kernel_initializer)
        self.recurrent_initializer = initializer_of(recurrent_initializer)
        self.bias_initializer = initializer_of(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.gates * self.units,)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The two kernels and the bias."""
        width = self.gates * self.units
        self.kernel = self.add_weight(
            "kernel", (last_dim(self, shape), width), self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (self.units, width),
            self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
        )
        self.bias = (
            self.add_weight("bias", self.bias_shape(), self.bias_initializer, regularizer=self.bias_regularizer)
            if self.use_bias
            else None
        )

    def gate(self, x: Tensor, position: int, count: int = 1) -> Tensor:
        """``count`` gates from ``position`` on, out of all gates side by side."""
        return slice_axis(x, x.ndim - 1, position * self.units, (position + count) * self.units)

    def biased(self, x: Tensor) -> Tensor:
        """``x`` with the bias added, where there is one."""
        return x if self.bias is None else x + self.bias


class SimpleRNNCell(GatedCell):
    """h' = activation(x W + h U + b); the arguments are those of :class:`GatedCell`."""

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        x, h = self.dropped(x, states[0])
        output = self.activation(self.biased(matmul(x, self.kernel)) + matmul(h, self.recurrent_kernel))
        return output, [output]


class LSTMCell(GatedCell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997): c' = f c + i g(candidate), h' = o g(c').

    Args:
        units: size of the output and of both parts of the state.
        activation: g, of the candidate and of the cell state.
        recurrent_activation: of the gates i, f and o.
        unit_forget_bias: True starts the forget gate's bias at 1.
        options: as in :class:`GatedCell`.
    """

    gates = 4
    state_names = ("h", "c")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            **options,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        if unit_forget_bias and bias_initializer == "zeros":
            self.bias_initializer = BlockConstant(values=(0.0, 1.0, 0.0, 0.0))

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        x, h = self.dropped(x, states[0])
        z = self.biased(matmul(x, self.kernel) + matmul(h, self.recurrent_kernel))
        i, f = self.recurrent_activation(self.gate(z, 0)), self.recurrent_activation(self.gate(z, 1))
        candidate, o = self.activation(self.gate(z, 2)), self.recurrent_activation(self.gate(z, 3))
        c = f * states[1] + i * candidate
        output = o * self.activation(c)
        return output, [output, c]


class GRUCell(GatedCell):
    """Gated recurrent unit (Cho et al., 2014): h' = z h + (1 - z) g(candidate).

    Args:
        units: size of the output and of the state.
        activation: g, of the candidate.
        recurrent_activation: of the gates z and r.
        reset_after: True resets after the product with the state, which has a bias of its own (Keras' and cuDNN's
            form); False before it.
        options: as in :class:`GatedCell`.
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        *,
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            **options,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        """One bias for the input, and one for the state where it is reset after the product."""
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        x, h = self.dropped(x, states[0])
        from_input = matmul(x, self.kernel)
        if self.bias is not None:
            from_input = from_input + (self.bias[0] if self.reset_after else self.bias)
        if self.reset_after:
            from_state = matmul(h, self.recurrent_kernel)
            if self.bias is not None:
                from_state = from_state + self.bias[1]
            gates = self.recurrent_activation(self.gate(from_input, 0, 2) + self.gate(from_state, 0, 2))
            z, r = self.gate(gates, 0), self.gate(gates, 1)
            candidate = self.activation(self.gate(from_input, 2) + r * self.gate(from_state, 2))
        else:
            from_state = matmul(h, self.gate(self.recurrent_kernel, 0, 2))
            gates = self.recurrent_activation(self.gate(from_input, 0, 2) + from_state)
            z, r = self.gate(gates, 0), self.gate(gates, 1)
            candidate = self.activation(self.gate(from_input, 2) + matmul(r * h, self.gate(self.recurrent_kernel, 2)))
        output = z * states[0] + (1 - z) * candidate
        return output, [output]
