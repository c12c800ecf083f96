"""Recurrent cells under their Keras names: one step of ``SimpleRNN``, ``LSTM`` and ``GRU``, and stacks of cells.

Weights, gate orders and formulas are Keras': the kernel of an LSTM has the gates i, f, c, o side by side, that of a GRU
z, r, h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import concat, slice_axis
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.checks import last_dim
from graphc.frontends.nn.initializers import BlockOfOnes
from graphc.frontends.nn.layer import Layer, forced_training, while_training
from graphc.frontends.nn.recipes import Recipe, RecurrentOptions
from graphc.frontends.nn.regularization import checked_rate, checked_seed, dropout_mask
from graphc.ir.dim import Dim

States = Sequence[Tensor]
Masks = tuple[Tensor, ...]


def with_forget_bias(recipe: Recipe, units: int) -> Recipe:
    """The recipe of a bias of the gates i, f, c, o, in which that of f starts at 1 (Jozefowicz et al., 2015)."""
    return replace(recipe, initializer=BlockOfOnes(None, recipe.initializer, units, 2 * units))


class Cell(Layer):
    """One step of a recurrent layer: from an input and the parts of a state to an output and the next state.

    A subclass gives ``state_names`` and ``call(x, states)``, which returns (output, list of states); its weights it
    makes in ``build``.

    Args:
        units: size of the output and of each part of the state.
        dropout: rate at which inputs are dropped while training, the same ones at every step of a sequence.
        recurrent_dropout: likewise for the state that products read.  As in Keras, a cell with this draws for each gate
            by itself, inputs included; without it, the gates share what they drop.
        seed: of the dropout, in place of the model's.
        options: as in :class:`Layer`.
    """

    gates: ClassVar[int] = 1
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
        self.seed = checked_seed(seed)
        self._masks: tuple[Masks, Masks] | None = None

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
        count = self.gates if self.recurrent_dropout else 1
        self._masks = (
            self._drawn(x, self.dropout, count, (batch, features)),
            self._drawn(x, self.recurrent_dropout, count, (batch, self.units)),
        )

    def _drawn(self, x: Tensor, rate: float, count: int, shape: tuple[Dim, Dim]) -> Masks:
        if not rate or forced_training() is False:
            return ()
        if count == 1:
            return (dropout_mask(x, rate, shape, self.seed),)
        drawn = dropout_mask(x, rate, (count, *shape), self.seed)
        return tuple(drawn[gate] for gate in range(count))

    def end_sequence(self) -> None:
        """Forget the dropout of the sequence: every step by itself draws its own."""
        self._masks = None

    def masks(self, x: Tensor) -> tuple[Masks, Masks]:
        """What inputs and states are multiplied with while training: nothing, one mask, or one for each gate."""
        if self._masks is not None:
            return self._masks
        self.begin_sequence(x, x.shape[0], x.shape[-1])
        drawn = self._masks or ((), ())
        self.end_sequence()
        return drawn

    def dropped(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Input and state as the products of a cell with one gate read them."""
        inputs, state = self.masks(x)
        return _dropped(x, inputs), _dropped(h, state)


def check_step(cell: Cell, shape: Sequence[Dim]) -> None:
    """Complain where a step's input is not (batch, features)."""
    if len(shape) != 2:
        raise fail(GraphcValueError, "E211", f"{cell.name} takes (batch, features), got shape {tuple(shape)}")


def _dropped(x: Tensor, masks: Masks) -> Tensor:
    """``x`` times its one mask while training."""
    return while_training(x, lambda: x * masks[0], lambda: x) if masks else x


class GatedCell(Cell):
    """A cell with all gates side by side in one kernel for the input, one for the state, and one bias.

    Args:
        units: size of the output and of each part of the state.
        activation: of the candidate and of the output.
        use_bias: False leaves the bias out.
        options: as in :class:`Cell`; ``kernel_…`` of ``<name>/kernel`` (features × gates · units), ``recurrent_…`` of
            ``<name>/recurrent_kernel`` (units × gates · units), ``bias_…`` of ``<name>/bias``.
    """

    default_initializers: ClassVar[Mapping[str, str]] = {
        "kernel": "glorot_uniform",
        "recurrent": "orthogonal",
        "bias": "zeros",
    }

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, **options: Unpack[RecurrentOptions]
    ) -> None:
        super().__init__(units, **options)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.gates * self.units,)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The two kernels and the bias."""
        check_step(self, shape)
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (last_dim(self, shape), width), self.recipes["kernel"])
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, width), self.recipes["recurrent"])
        self.bias = self.add_weight("bias", self.bias_shape(), self.recipes["bias"]) if self.use_bias else None

    def gate(self, x: Tensor, position: int, count: int = 1) -> Tensor:
        """``count`` gates from ``position`` on, out of all gates side by side."""
        return slice_axis(x, x.ndim - 1, position * self.units, (position + count) * self.units)

    def product(self, x: Tensor, kernel: Tensor, masks: Masks) -> Tensor:
        """``x`` times the gates of ``kernel``, as the dropout lets them read it."""
        if len(masks) < 2:
            return matmul(_dropped(x, masks), kernel)
        return while_training(
            x,
            lambda: concat([matmul(x * mask, self.gate(kernel, gate)) for gate, mask in enumerate(masks)], axis=-1),
            lambda: matmul(x, kernel),
        )

    def biased(self, x: Tensor) -> Tensor:
        """``x`` with the bias added, where there is one."""
        return x if self.bias is None else x + self.bias

    def gate_sums(self, x: Tensor, h: Tensor) -> Tensor:
        """X W + h U + b, all gates side by side."""
        inputs, state = self.masks(x)
        return self.biased(self.product(x, self.kernel, inputs) + self.product(h, self.recurrent_kernel, state))


class SimpleRNNCell(GatedCell):
    """h' = activation(x W + h U + b); the arguments are those of :class:`GatedCell`."""

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        inputs, state = self.masks(x)
        from_state = self.product(states[0], self.recurrent_kernel, state)
        output = self.activation(self.biased(self.product(x, self.kernel, inputs)) + from_state)
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
        *,
        unit_forget_bias: bool = True,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        if unit_forget_bias:
            self.recipes["bias"] = with_forget_bias(self.recipes["bias"], self.units)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        z = self.gate_sums(x, states[0])
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
        *,
        reset_after: bool = True,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        """One bias for the input, and one for the state where it is reset after the product."""
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        h = states[0]
        inputs, state = self.masks(x)
        from_input = self.product(x, self.kernel, inputs)
        if self.bias is not None:
            from_input = from_input + (self.bias[0] if self.reset_after else self.bias)
        if self.reset_after:
            from_state = self.product(h, self.recurrent_kernel, state)
            if self.bias is not None:
                from_state = from_state + self.bias[1]
            gates = self.recurrent_activation(self.gate(from_input, 0, 2) + self.gate(from_state, 0, 2))
            z, r = self.gate(gates, 0), self.gate(gates, 1)
            candidate = self.activation(self.gate(from_input, 2) + r * self.gate(from_state, 2))
        else:
            from_state = self.product(h, self.gate(self.recurrent_kernel, 0, 2), state[:2])
            gates = self.recurrent_activation(self.gate(from_input, 0, 2) + from_state)
            z, r = self.gate(gates, 0), self.gate(gates, 1)
            recurrent = self.product(r * h, self.gate(self.recurrent_kernel, 2), state[-1:])
            candidate = self.activation(self.gate(from_input, 2) + recurrent)
        output = z * h + (1 - z) * candidate
        return output, [output]
