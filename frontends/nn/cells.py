"""Recurrent cells as papers and lectures write them, beside Keras' own; each runs under ``RNN(cell)``.

``PeepholeLSTMCell``   the gates read the cell state too
``ConcatLSTMCell``     the gates read [x, h] joined, and the output is o c without a tanh
``MinimalGRUCell``     the gated recurrent unit in both of its forms and both of its conventions for z
``MemoryCell``         c' = f c + w g(x), with soft gates, or hard ones that are 0 or 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.elementwise import sigmoid, step
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import concat, slice_axis
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.checks import last_dim
from graphc.frontends.nn.recipes import KERNEL_AND_BIAS
from graphc.frontends.nn.recurrent_cells import Cell, GatedCell, LSTMCell, States, check_step, with_forget_bias
from graphc.ir.dim import Dim


class PeepholeLSTMCell(LSTMCell):
    """LSTM whose gates see the cell state (Gers and Schmidhuber, 2000).

    i and f read the state c before the step, o the state c' after it: i = σ(x Wi + h Ui + c Pi + bi), likewise f, and
    o = σ(x Wo + h Uo + c' Po + bo).  ``<name>/peephole_kernel`` holds Pi, Pf and Po side by side.

    Args:
        units: size of the output and of both parts of the state.
        diagonal: True for P of shape (3 · units), each unit reading its own cell; False for full matrices (units × 3 ·
            units).
        options: as in :class:`LSTMCell`; ``peephole_…`` of the peephole kernel, uniform where it is diagonal.
    """

    default_initializers: ClassVar[Mapping[str, str]] = {
        **LSTMCell.default_initializers,
        "peephole": "glorot_uniform",
    }

    def __init__(self, units: int, *arguments: Any, diagonal: bool = True, **options: Any) -> None:
        if diagonal:
            options.setdefault("peephole_initializer", "uniform")
        super().__init__(units, *arguments, **options)
        self.diagonal = diagonal

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The two kernels, the bias and the peepholes."""
        super().build(shape)
        sizes = (3 * self.units,) if self.diagonal else (self.units, 3 * self.units)
        self.peephole_kernel = self.add_weight("peephole_kernel", sizes, self.recipes["peephole"])

    def _peephole(self, c: Tensor, position: int) -> Tensor:
        weights = self.gate(self.peephole_kernel, position)
        return c * weights if self.diagonal else matmul(c, weights)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        c = states[1]
        z = self.gate_sums(x, states[0])
        i = self.recurrent_activation(self.gate(z, 0) + self._peephole(c, 0))
        f = self.recurrent_activation(self.gate(z, 1) + self._peephole(c, 1))
        after = f * c + i * self.activation(self.gate(z, 2))
        o = self.recurrent_activation(self.gate(z, 3) + self._peephole(after, 2))
        output = o * self.activation(after)
        return output, [output, after]


class ConcatLSTMCell(Cell):
    """LSTM with one product for everything, [x, h] W + b, and the output o c' without a tanh.

    ``<name>/kernel`` is (features + units) × 4 · units with the gates i, f, c, o side by side.

    Args:
        units: size of the output and of both parts of the state.
        activation: of the candidate.
        recurrent_activation: of the gates.
        use_bias: False leaves the bias out.
        unit_forget_bias: True starts the forget gate's bias at 1.
        options: as in :class:`Cell`; ``kernel_…`` of the kernel, ``bias_…`` of ``<name>/bias``.
    """

    state_names = ("h", "c")
    default_initializers = KERNEL_AND_BIAS

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, **options)
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias = use_bias
        if unit_forget_bias:
            self.recipes["bias"] = with_forget_bias(self.recipes["bias"], self.units)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel and the bias."""
        check_step(self, shape)
        width = 4 * self.units
        self.kernel = self.add_weight("kernel", (last_dim(self, shape) + self.units, width), self.recipes["kernel"])
        self.bias = self.add_weight("bias", (width,), self.recipes["bias"]) if self.use_bias else None

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        x, h = self.dropped(x, states[0])
        z = matmul(concat([x, h], axis=-1), self.kernel)
        z = z if self.bias is None else z + self.bias
        i, f, candidate, o = (
            slice_axis(z, z.ndim - 1, gate * self.units, (gate + 1) * self.units) for gate in range(4)
        )
        after = self.recurrent_activation(f) * states[1] + self.recurrent_activation(i) * self.activation(candidate)
        output = self.recurrent_activation(o) * after
        return output, [output, after]


class MinimalGRUCell(GatedCell):
    """Gated recurrent unit with one bias a gate, in the forms in which it is found written.

    Args:
        units: size of the output and of the state.
        reset: where r acts: ``state`` for g(x W + (r h) U), ``product`` for g(x W + r (h U)).
        keep: what z keeps: ``state`` for h' = z h + (1 - z) candidate, ``candidate`` for h' = (1 - z) h + z candidate.
        recurrent_activation: of the gates z and r.
        options: as in :class:`GatedCell`.
    """

    gates = 3

    def __init__(
        self,
        units: int,
        *arguments: Any,
        reset: str = "state",
        keep: str = "candidate",
        recurrent_activation: Any = "sigmoid",
        **options: Any,
    ) -> None:
        super().__init__(units, *arguments, **options)
        if reset not in ("state", "product"):
            raise fail(GraphcValueError, "E213", f"reset is 'state' or 'product', got {reset!r}")
        if keep not in ("state", "candidate"):
            raise fail(GraphcValueError, "E213", f"keep is 'state' or 'candidate', got {keep!r}")
        self.reset, self.keep = reset, keep
        self.recurrent_activation = activations.get(recurrent_activation)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        before = states[0]
        inputs, state = self.masks(x)
        from_input = self.biased(self.product(x, self.kernel, inputs))
        from_state = self.product(before, self.gate(self.recurrent_kernel, 0, 2), state[:2])
        gates = self.recurrent_activation(self.gate(from_input, 0, 2) + from_state)
        z, r = self.gate(gates, 0), self.gate(gates, 1)
        inner = self.gate(self.recurrent_kernel, 2)
        if self.reset == "state":
            recurrent = self.product(r * before, inner, state[-1:])
        else:
            recurrent = r * self.product(before, inner, state[-1:])
        candidate = self.activation(self.gate(from_input, 2) + recurrent)
        output = z * before + (1 - z) * candidate if self.keep == "state" else (1 - z) * before + z * candidate
        return output, [output]


class MemoryCell(GatedCell):
    """A memory that is kept where f is open and written where w is: c' = f c + w g(x).

    f, w and the content g read x W + c U + b, split in three.  With ``hard`` gates f and w are 1 where their sums are
    positive and else 0: the memory then keeps, adds or overwrites exactly.  A step has the derivative 0 everywhere, so
    no gradient reaches the weights of hard gates; it flows through c and g alone.  Train with soft gates (σ), or with
    ``slope`` above 1, which brings σ(slope · sum) close to the step.

    Args:
        units: size of the memory, which is also the output.
        hard: True for gates that are 0 or 1.
        slope: of soft gates.
        recurrent: False lets the gates and the content read the input alone.
        options: as in :class:`GatedCell`; ``activation`` is g.
    """

    gates = 3
    state_names = ("c",)

    def __init__(
        self,
        units: int,
        *arguments: Any,
        hard: bool = False,
        slope: float = 1.0,
        recurrent: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(units, *arguments, **options)
        self.hard, self.slope, self.recurrent = hard, float(slope), recurrent

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernels and the bias."""
        if self.recurrent:
            super().build(shape)
            return
        check_step(self, shape)
        width = self.gates * self.units
        self.kernel = self.add_weight("kernel", (last_dim(self, shape), width), self.recipes["kernel"])
        self.bias = self.add_weight("bias", self.bias_shape(), self.recipes["bias"]) if self.use_bias else None

    def _opened(self, x: Tensor) -> Tensor:
        if self.hard:
            return step(x)
        return sigmoid(x if self.slope == 1.0 else self.slope * x)

    def call(self, x: Tensor, states: States) -> tuple[Tensor, list[Tensor]]:
        """One step."""
        if self.recurrent:
            z = self.gate_sums(x, states[0])
        else:
            z = self.biased(self.product(x, self.kernel, self.masks(x)[0]))
        keep, write = self._opened(self.gate(z, 0)), self._opened(self.gate(z, 1))
        output = keep * states[0] + write * self.activation(self.gate(z, 2))
        return output, [output]
