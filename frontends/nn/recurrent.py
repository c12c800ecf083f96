"""Recurrent layers under their Keras names: plain Python loops over the time steps, so they arrive unrolled.

Weights, gate orders and formulas are Keras': the kernel of an LSTM has the gates i, f, c, o side by side, that of a GRU
z, r, h.
"""

from __future__ import annotations

from typing import Any, ClassVar

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import index_axis, slice_axis, stack
from graphc.frontends.dsl.tensor import MAXIMUM_STEPS, Tensor, apply, as_tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.regularization import checked_rate, dropout_mask
from graphc.frontends.nn.initializers import BlockConstant
from graphc.frontends.nn.layer import Layer, initializer_of, last_dim
from graphc.ir.dim import Dim

State = tuple[Tensor, ...]


class Recurrent(Layer):
    """A cell applied to one time step after the other.

    A subclass gives the number of gates, the sizes of its state, its biases, and ``step``.

    Args:
        units: size of the output and of the state.
        activation: of the candidate and of the output.
        use_bias: False leaves the bias out.
        kernel_initializer: of ``<name>/kernel`` (features × gates · units).
        recurrent_initializer: of ``<name>/recurrent_kernel`` (units × gates · units).
        bias_initializer: of ``<name>/bias``.
        dropout: rate at which inputs are dropped while training, the same ones at every step.
        recurrent_dropout: likewise for the state.
        return_sequences: True gives the output of every step, False that of the last.
        return_state: True gives a list: the output, then each part of the last state.
        go_backwards: True starts at the last step; outputs come in that order.
        time_major: True for inputs and outputs (time, batch, features) in place of Keras' (batch, time, features).
        seed: of the dropout, in place of the model's.
        options: ``name``, ``trainable``, ``dtype``.
    """

    gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        time_major: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = checked_size(units, "units", minimum=1)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializer_of(kernel_initializer)
        self.recurrent_initializer = initializer_of(recurrent_initializer)
        self.bias_initializer = initializer_of(bias_initializer)
        self.dropout = checked_rate(dropout)
        self.recurrent_dropout = checked_rate(recurrent_dropout)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.time_major = time_major
        self.seed = seed

    # -- what a cell says ------------------------------------------------------------------------------------------

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.gates * self.units,)

    def step(self, x: Tensor, state: State) -> State:
        """The next state, whose first part is the output."""
        raise fail(
            GraphcTypeError, "E213", f"{type(self).__name__} does not say what a step is: define step(self, x, state)"
        )

    # -- what all of them do ---------------------------------------------------------------------------------------

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The two kernels and the bias."""
        features = last_dim(self, shape, minimum_rank=3)
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (features, width), self.kernel_initializer)
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, width), self.recurrent_initializer)
        self.bias = self.add_weight("bias", self.bias_shape(), self.bias_initializer) if self.use_bias else None

    def gate(self, x: Tensor, position: int, count: int = 1) -> Tensor:
        """``count`` gates from ``position`` on, out of all gates side by side."""
        axis = x.ndim - 1
        return slice_axis(x, axis, position * self.units, (position + count) * self.units)

    def call(self, x: Tensor, initial_state: Any = None, **options: Any) -> Any:
        """The outputs, and the last state where asked for.

        Args:
            x: (batch, time, features), or (time, batch, features) where ``time_major``.
            initial_state: the parts of the state (batch × units); zeros for None.
            options: ``mask`` is not supported.
        """
        if options:
            raise fail(GraphcTypeError, "E213", f"{self.name} does not take {', '.join(sorted(options))}", None, x)
        time_axis, batch_axis = (0, 1) if self.time_major else (1, 0)
        steps = self._step_count(x, time_axis)
        state = self._initial_state(x, x.shape[batch_axis], initial_state)
        input_mask, state_mask = self._masks(x, x.shape[batch_axis])
        outputs = []
        for position in reversed(range(steps)) if self.go_backwards else range(steps):
            with x.builder.scope(f"step {position}"):
                element = index_axis(x, time_axis, position)
                if input_mask is not None:
                    element = element * input_mask
                if state_mask is not None:
                    state = (state[0] * state_mask, *state[1:])
                state = self.step(element, state)
            outputs.append(state[0])
        result = stack(outputs, axis=time_axis) if self.return_sequences else outputs[-1]
        return [result, *state] if self.return_state else result

    def _step_count(self, x: Tensor, axis: int) -> int:
        if x.ndim != 3:
            order = "(time, batch, features)" if self.time_major else "(batch, time, features)"
            raise fail(GraphcValueError, "E211", f"{self.name} takes {order}, got shape {x.shape}", None, x)
        steps = x.shape[axis]
        if not isinstance(steps, int):
            message = f"{self.name}: the number of steps is the symbol {steps}, and a loop is unrolled step by step"
            raise fail(GraphcTypeError, "E228", message, "give the time dimension a size", x)
        if not 1 <= steps <= MAXIMUM_STEPS:
            message = f"{self.name}: a sequence must have 1 to {MAXIMUM_STEPS} steps, got {steps}"
            raise fail(GraphcValueError, "E228", message, None, x)
        return steps

    def _initial_state(self, x: Tensor, batch: Dim, given: Any) -> State:
        if given is None:
            zero = as_tensor(0, self.dtype, x.builder)
            return (apply("broadcast_to", zero, shape=(batch, self.units)),) * len(self.state_names)
        state = tuple(given) if isinstance(given, (list, tuple)) else (given,)
        if len(state) != len(self.state_names):
            message = (
                f"{self.name} has {len(self.state_names)} state parts ({', '.join(self.state_names)}), got {len(state)}"
            )
            raise fail(GraphcValueError, "E211", message, None, x)
        return tuple(as_tensor(part, self.dtype, x.builder) for part in state)

    def _masks(self, x: Tensor, batch: Dim) -> tuple[Tensor | None, Tensor | None]:
        """What inputs and state are multiplied with while training."""
        inputs = dropout_mask(x, self.dropout, (batch, x.shape[-1]), self.seed) if self.dropout else None
        state = (
            dropout_mask(x, self.recurrent_dropout, (batch, self.units), self.seed) if self.recurrent_dropout else None
        )
        return inputs, state


class SimpleRNN(Recurrent):
    """h' = activation(x W + h U + b); the arguments are those of :class:`Recurrent`."""

    gates = 1

    def step(self, x: Tensor, state: State) -> State:
        """One step."""
        total = matmul(x, self.kernel)
        if self.bias is not None:
            total = total + self.bias
        return (self.activation(total + matmul(state[0], self.recurrent_kernel)),)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997): c' = f c + i g(candidate), h' = o g(c').

    Args:
        units: size of the output and of the state.
        activation: g, of the candidate and of the cell state.
        recurrent_activation: of the gates i, f and o.
        unit_forget_bias: True starts the forget gate's bias at 1.
        options: as in :class:`Recurrent`.
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
        **options: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **options
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        if unit_forget_bias and bias_initializer == "zeros":
            self.bias_initializer = BlockConstant(values=(0.0, 1.0, 0.0, 0.0))

    def step(self, x: Tensor, state: State) -> State:
        """One step."""
        h, c = state
        z = matmul(x, self.kernel) + matmul(h, self.recurrent_kernel)
        if self.bias is not None:
            z = z + self.bias
        i, f = self.recurrent_activation(self.gate(z, 0)), self.recurrent_activation(self.gate(z, 1))
        candidate, o = self.activation(self.gate(z, 2)), self.recurrent_activation(self.gate(z, 3))
        cell = f * c + i * candidate
        return o * self.activation(cell), cell


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al., 2014): h' = z h + (1 - z) g(candidate).

    Args:
        units: size of the output and of the state.
        activation: g, of the candidate.
        recurrent_activation: of the gates z and r.
        reset_after: True resets after the product with the state, which has a bias of its own (Keras' and cuDNN's
            form); False before it.
        options: as in :class:`Recurrent`.
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
        reset_after: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **options
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        """One bias for the input, and one for the state where it is reset after the product."""
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def step(self, x: Tensor, state: State) -> State:
        """One step."""
        (h,) = state
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
        return (z * h + (1 - z) * candidate,)
