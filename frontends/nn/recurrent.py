"""Recurrent layers under their Keras names.

They are plain Python loops over the time steps, so they arrive unrolled; where the number of steps is a symbol, one
step is traced and becomes the body of a ``loop``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.loops import Carry, Elements, StepTrace
from graphc.frontends.dsl.movement import expand_dims, index_axis, moveaxis, reshape, stack
from graphc.frontends.dsl.session import session_of
from graphc.frontends.dsl.tensor import MAXIMUM_STEPS, Tensor, apply, as_tensor, fail
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.masking import checked_mask, mask_of_lengths
from graphc.frontends.nn.recurrent_cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
)
from graphc.frontends.nn.stacked_cells import StackedRNNCells, build_cell, call_cell, checked_cell, fresh_cell
from graphc.ir.dim import Dim
from graphc.ir.node import Node

Run = tuple[Tensor, list[Tensor], list[Node]]
"""The result of a sequence, the last state, and nodes one of which is computed wherever any of the steps is."""


class RNN(Layer):
    """A cell applied to one time step after the other.

    Args:
        cell: a cell of this module, any object with ``state_size`` (an integer, or a list with one a part of the state)
            and ``call(inputs, states)`` → (output, states); or a list of cells, which are stacked.
        return_sequences: True gives the output of every step, False that of the last.
        return_state: True gives a list: the output, then each part of the last state.
        go_backwards: True starts at the last step; outputs come in that order.
        stateful: True keeps the last state in state variables ``<name>/h``, … (``<name>/state_0``, … for a cell without
            names), where the next call of the same entry point or of another one goes on.
        unroll: accepted as in Keras; the compiler decides.
        zero_output_for_mask: True gives zeros at masked steps, False the output of the step before.
        time_major: True for inputs and outputs (time, batch, features) in place of Keras' (batch, time, features).
        options: as in :class:`Layer`.
    """

    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        *,
        time_major: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.cell: Any = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else checked_cell(cell)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.time_major = time_major
        self._kept: list[Tensor] = []

    # -- weights and states ----------------------------------------------------------------------------------------

    @property
    def cell_prefix(self) -> str:
        """What stands before the cell's own name, or (without a slash at the end) in its place."""
        return f"{self.name}/"

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The cell's weights, and the state variables of a stateful layer."""
        if len(shape) < 3:
            raise fail(GraphcValueError, "E211", f"{self.name} takes {self._order()}, got shape {shape}")
        step = (shape[1 if self.time_major else 0], *shape[2:])
        build_cell(self.cell, self, step, self.cell_prefix)
        if not self.stateful:
            return
        if not isinstance(step[0], int):
            message = f"{self.name} is stateful, so the batch must have a size, got the symbol {step[0]}"
            raise fail(GraphcValueError, "E214", message)
        for name, size in zip(self.state_names, self._sizes(), strict=True):
            self._kept.append(self.add_weight(name, (step[0], size), "zeros", role="recurrent", trainable=False))

    def fresh_copy(self) -> RNN:
        """A layer with the same arguments and weights of its own; this one must not be in use yet."""
        if self.built:
            raise fail(GraphcValueError, "E224", f"{self.name} is in use already: make a second layer like it")
        cell, self.cell = self.cell, None
        try:
            made = super().fresh_copy()
        finally:
            self.cell = cell
        assert isinstance(made, RNN)
        made.cell, made._kept = fresh_cell(cell), []
        return made

    def _sizes(self) -> list[int]:
        return [int(size) for size in _flat(self.cell.state_size)]

    @property
    def state_names(self) -> tuple[str, ...]:
        """What the parts of the state are called."""
        names = getattr(self.cell, "state_names", None)
        return names if names else tuple(f"state_{number}" for number in range(len(self._sizes())))

    def reset_updates(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs for a :class:`graphc.Step` that sets the state of a stateful layer to zero."""
        return [(variable, variable * 0) for variable in self._kept]

    # -- the loop --------------------------------------------------------------------------------------------------

    def call(self, x: Tensor, initial_state: Any = None, mask: Any = None, lengths: Any = None) -> Any:
        """The outputs, and the last state where asked for.

        Args:
            x: (batch, time, features), or (time, batch, features) where ``time_major``.
            initial_state: the parts of the state (batch × units); zeros for None, or what a stateful layer keeps.
            mask: bools, of the two leading axes of ``x``: at a masked step the state stays and the output is that of
                the step before.
            lengths: how many steps of each sequence count, in place of a mask or with it.
        """
        time_axis, batch_axis = (0, 1) if self.time_major else (1, 0)
        steps = self._step_count(x, time_axis)
        batch = x.shape[batch_axis]
        states = self._initial_states(x, batch, initial_state)
        kept = self._mask(x, mask, lengths)
        self._begin(x, batch)
        try:
            run = self._unrolled if isinstance(steps, int) else self._looped
            result, states, anchors = run(x, kept, time_axis, steps, states)
        finally:
            self._end()
        if self.stateful:
            self._keep(x, anchors, states)
        return [result, *self._packed(states)] if self.return_state else result

    def _unrolled(self, x: Tensor, kept: Tensor | None, axis: int, steps: Any, states: list[Tensor]) -> Run:
        """The steps one after the other."""
        outputs: list[Tensor] = []
        previous: Tensor | None = None
        anchors: list[Node] = []
        for position in reversed(range(steps)) if self.go_backwards else range(steps):
            with x.builder.scope(f"step {position}"):
                here = None if kept is None else index_axis(kept, axis, position)
                output, states = self._masked_step(index_axis(x, axis, position), here, states, previous)
            outputs.append(output)
            previous = output
            anchors = anchors or [output.node, *(state.node for state in states)]
        result = stack(outputs, axis=axis) if self.return_sequences else outputs[-1]
        return result, states, anchors

    def _looped(self, x: Tensor, kept: Tensor | None, axis: int, steps: Dim, states: list[Tensor]) -> Run:
        """One step, and a loop of them."""
        session = session_of(x.builder)
        trace = StepTrace(session, self.name)
        start, stride = (steps - 1, -1) if self.go_backwards else (0, 1)

        def element(sequence: Tensor) -> Tensor:
            return Tensor(trace.element(Elements(sequence.node, axis, start, stride)), session)

        inner = [Tensor(trace.carried(state.node.tensor), session) for state in states]
        output, following = self._step(element(x), inner)
        previous: Tensor | None = None
        if kept is not None:
            here = element(kept)
            if not self.zero_output_for_mask:
                previous = Tensor(trace.carried(output.node.tensor), session)
            output, following = self._chosen(here, output, following, inner, previous)
        triples = zip(inner, states, following, strict=True)
        carries = [Carry(one.node, initial.node, after.node) for one, initial, after in triples]
        nodes = [carry.following for carry in carries]
        if previous is not None or not (self.return_sequences or output.node in nodes):
            # The last output, or the one that stands in for those of masked steps.
            zero = as_tensor(0, output.dtype, session)
            before = Tensor(trace.carried(output.node.tensor), session) if previous is None else previous
            initial = apply("broadcast_to", zero, shape=output.shape) if output.ndim else zero
            carries.append(Carry(before.node, initial.node, output.node))
            nodes.append(output.node)
        results = trace.loop(steps, carries, [output.node] if self.return_sequences else [])
        last = [Tensor(node, session) for node in results]
        if not self.return_sequences:
            result = last[nodes.index(output.node)]
        else:
            result = moveaxis(last[-1], 0, axis) if axis else last[-1]
        return result, last[: len(states)], [results[0].inputs[0]]

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The mask of the sequence, for ``return_sequences``."""
        return mask if self.return_sequences else None

    def _order(self) -> str:
        return "(time, batch, features)" if self.time_major else "(batch, time, features)"

    def _step_count(self, x: Tensor, axis: int) -> Dim:
        steps = x.shape[axis]
        if isinstance(steps, int) and not 1 <= steps <= MAXIMUM_STEPS:
            message = f"{self.name}: a sequence must have 1 to {MAXIMUM_STEPS} steps, got {steps}"
            raise fail(GraphcValueError, "E228", message, None, x)
        return steps

    def _mask(self, x: Tensor, mask: Any, lengths: Any) -> Tensor | None:
        """Bools with a last axis of 1, or None where every step counts."""
        found = None if mask is None else checked_mask(mask, x)
        if lengths is not None:
            inside = mask_of_lengths(lengths, x, self.time_major)
            found = inside if found is None else found & inside
        return None if found is None else expand_dims(found, 2)

    def _begin(self, x: Tensor, batch: Dim) -> None:
        if isinstance(self.cell, (Cell, StackedRNNCells)):
            self.cell.begin_sequence(x, batch, x.shape[-1])

    def _end(self) -> None:
        if isinstance(self.cell, (Cell, StackedRNNCells)):
            self.cell.end_sequence()

    def _step(self, element: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        output, following = call_cell(self.cell, element, self._packed(states))
        flat = _flat(following)
        if len(flat) != len(states) or any(not isinstance(part, Tensor) for part in flat):
            message = f"{self.name}: a step makes {len(flat)} parts of a state that has {len(states)}"
            raise fail(GraphcValueError, "E211", message, None, element)
        for name, old, new in zip(self.state_names, states, flat, strict=True):
            if new.shape != old.shape or new.dtype != old.dtype:
                message = f"{self.name}: a step takes the state {name!r} as {_form(old)} and makes it {_form(new)}"
                raise fail(GraphcValueError, "E211", message, "state_size says what the state is", new)
        return output, flat

    def _masked_step(
        self, element: Tensor, here: Tensor | None, states: list[Tensor], previous: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        output, following = self._step(element, states)
        return (output, following) if here is None else self._chosen(here, output, following, states, previous)

    def _chosen(
        self, here: Tensor, output: Tensor, following: list[Tensor], states: list[Tensor], previous: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Output and states where the step counts, else those of the step before."""
        output = _chosen(here, output, None if self.zero_output_for_mask else previous)
        return output, [_chosen(here, new, old) for new, old in zip(following, states, strict=True)]

    def _packed(self, states: Sequence[Tensor]) -> list[Any]:
        """The parts of the state in the form of the cell's ``state_size``."""
        sizes = self.cell.state_size
        parts = iter(states)
        return _filled(sizes, parts) if isinstance(sizes, (list, tuple)) else list(parts)

    def _initial_states(self, x: Tensor, batch: Dim, given: Any) -> list[Tensor]:
        sizes = self._sizes()
        if given is None:
            if self._kept:
                return list(self._kept)
            own = None if isinstance(self.cell, Layer) else getattr(self.cell, "get_initial_state", None)
            if own is not None:
                return [as_tensor(part, self.dtype, x.builder) for part in _flat(own(batch_size=batch))]
            zero = as_tensor(0, self.dtype, x.builder)
            return [apply("broadcast_to", zero, shape=(batch, size)) for size in sizes]
        states = _flat(given if isinstance(given, (list, tuple)) else [given])
        if len(states) != len(sizes):
            names = ", ".join(self.state_names)
            message = f"{self.name} has {len(sizes)} state parts ({names}), got {len(states)}"
            raise fail(GraphcValueError, "E211", message, None, x)
        tensors = [as_tensor(part, self.dtype, x.builder) for part in states]
        for name, size, tensor in zip(self.state_names, sizes, tensors, strict=True):
            if tensor.shape != (batch, size):
                message = f"{self.name}: the initial state {name!r} must have shape {(batch, size)}, got {tensor.shape}"
                raise fail(GraphcValueError, "E211", message, None, x, tensor)
        return tensors

    def _keep(self, x: Tensor, anchors: Sequence[Node], states: Sequence[Tensor]) -> None:
        """Let every entry point that computes a step write the last state back."""
        session = session_of(x.builder)
        for anchor in anchors:
            for variable, state in zip(self._kept, states, strict=True):
                session.add_companion(anchor, variable.node, state.node, always=True)


def _form(state: Tensor) -> str:
    return f"{state.dtype} of shape {state.shape}"


def _flat(value: Any) -> list[Any]:
    """What nested lists and tuples hold, in order."""
    if not isinstance(value, (list, tuple)):
        return [value]
    return [item for part in value for item in _flat(part)]


def _filled(form: Sequence[Any], parts: Any) -> list[Any]:
    return [_filled(item, parts) if isinstance(item, (list, tuple)) else next(parts) for item in form]


def _chosen(here: Tensor, new: Tensor, old: Tensor | None) -> Tensor:
    """``new`` where the step counts, else ``old``, or zeros for None."""
    if new.ndim != 2:
        here = reshape(here, (here.shape[0], *(1,) * (new.ndim - 1)))
    if old is None:
        old = apply("broadcast_to", as_tensor(0, new.dtype, new.builder), shape=new.shape)
    return where(here, new, old)


class _CellLayer(RNN):
    """A recurrent layer around a cell of its own, whose weights bear the layer's name."""

    cell_class: ClassVar[type[Cell]]

    def __init__(self, units: int, *arguments: Any, **options: Any) -> None:
        for hint in ("use_cudnn", "implementation"):
            options.pop(hint, None)  # how Keras should compute, not what
        own = self.cell_class.known_arguments() - Layer.known_arguments()
        inner = {name: options.pop(name) for name in sorted(own & set(options))}
        super().__init__(self.cell_class(units, *arguments, name="cell", **inner), **options)

    @classmethod
    def known_arguments(cls) -> frozenset[str]:
        """Those of the cell as well."""
        return super().known_arguments() | cls.cell_class.known_arguments()

    @property
    def cell_prefix(self) -> str:
        """The layer's name takes the place of the cell's."""
        return self.name

    @property
    def units(self) -> int:
        """Size of the output and of each part of the state."""
        return int(self.cell.units)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The cell's weights, and the state variables of a stateful layer."""
        if len(shape) != 3:
            raise fail(GraphcValueError, "E211", f"{self.name} takes {self._order()}, got shape {shape}")
        super().build(shape)

    def _step(self, element: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        # Not through the cell's __call__: its scope would say twice where the step belongs.
        output, following = self.cell.call(element, states)
        return output, following


class SimpleRNN(_CellLayer):
    """h' = activation(x W + h U + b) over a sequence.

    Args:
        units: size of the output and of the state.
        arguments: those of :class:`SimpleRNNCell`.
        options: those of :class:`SimpleRNNCell` and :class:`RNN`.
    """

    cell_class = SimpleRNNCell


class LSTM(_CellLayer):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) over a sequence.

    Args:
        units: size of the output and of both parts of the state, h and c.
        arguments: those of :class:`LSTMCell`.
        options: those of :class:`LSTMCell` and :class:`RNN`.
    """

    cell_class = LSTMCell


class GRU(_CellLayer):
    """Gated recurrent unit (Cho et al., 2014) over a sequence.

    Args:
        units: size of the output and of the state.
        arguments: those of :class:`GRUCell`.
        options: those of :class:`GRUCell` and :class:`RNN`.
    """

    cell_class = GRUCell
