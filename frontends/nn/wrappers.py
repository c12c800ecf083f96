"""Layers around another layer: ``Bidirectional`` and ``TimeDistributed``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.movement import concat, flip, index_axis, reshape, stack
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.layer import Layer, call_arguments
from graphc.frontends.nn.masking import checked_mask, with_mask
from graphc.frontends.nn.recurrent import RNN

MERGES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """A recurrent layer run in both directions, with weights of its own for each.

    Weights are called ``<name>/forward_<layer>/…`` and ``<name>/backward_<layer>/…``.  As in Keras, the outputs of
    masked steps are zeros.

    Args:
        layer: the forward layer.
        merge_mode: ``"concat"``, ``"sum"``, ``"mul"``, ``"ave"``, or None for a list of both outputs.
        backward_layer: the other direction; by default a copy of ``layer`` that goes backwards.
        options: as in :class:`Layer`.
    """

    supports_masking = True

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        backward_layer: RNN | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(layer, RNN):
            raise fail(GraphcTypeError, "E213", f"Bidirectional takes a recurrent layer, got {layer!r}")
        if merge_mode not in MERGES:
            raise fail(
                GraphcValueError, "E213", f"merge_mode is one of {', '.join(map(repr, MERGES))}, got {merge_mode!r}"
            )
        if layer.built:
            raise fail(
                GraphcValueError, "E224", f"{layer.name} is in use already: give Bidirectional a layer of its own"
            )
        super().__init__(**options)
        if backward_layer is None:
            backward_layer = layer.fresh_copy()
            backward_layer.go_backwards = not layer.go_backwards
        else:
            _check_pair(layer, backward_layer)
        self.forward_layer, self.backward_layer = layer, backward_layer
        self.forward_layer.name = f"{self.name}/forward_{layer.name}"
        self.backward_layer.name = f"{self.name}/backward_{backward_layer.name}"
        for one in (layer, backward_layer):
            one.zero_output_for_mask = layer.return_sequences
            one.trainable = one.trainable and self.trainable
        self.merge_mode = merge_mode

    def sublayers(self) -> Iterator[Layer]:
        """Both directions."""
        yield self.forward_layer
        yield self.backward_layer

    def call(self, x: Tensor, initial_state: Any = None, mask: Any = None, lengths: Any = None) -> Any:
        """The merged outputs, and the last states of both directions where the layer returns them.

        Args:
            x: as in :class:`RNN`.
            initial_state: the parts of the forward state, then those of the backward state.
            mask: as in :class:`RNN`.
            lengths: as in :class:`RNN`.
        """
        states = (None, None) if initial_state is None else _halves(initial_state)
        plain = with_mask(x, None)
        ahead = self.forward_layer(plain, initial_state=states[0], mask=mask, lengths=lengths)
        back = self.backward_layer(plain, initial_state=states[1], mask=mask, lengths=lengths)
        last: list[Tensor] = []
        if self.forward_layer.return_state:
            last = [*ahead[1:], *back[1:]]
            ahead, back = ahead[0], back[0]
        if self.forward_layer.return_sequences:
            # The backward outputs come last step first.
            back = flip(back, axis=0 if self.forward_layer.time_major else 1)
        merged = self._merged(with_mask(ahead, None), back)
        if not last:
            return merged
        return [*merged, *last] if isinstance(merged, list) else [merged, *last]

    def _merged(self, ahead: Tensor, back: Tensor) -> Any:
        if self.merge_mode is None:
            return [ahead, back]
        if self.merge_mode == "concat":
            return concat([ahead, back], axis=-1)
        if self.merge_mode == "mul":
            return ahead * back
        total = ahead + back
        return total if self.merge_mode == "sum" else total * 0.5

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The mask of the sequence, for ``return_sequences``."""
        if mask is None or not self.forward_layer.return_sequences:
            return None
        if self.merge_mode is not None:
            return mask
        layer = self.forward_layer
        return [mask, mask, *[None] * (2 * len(layer.state_names) if layer.return_state else 0)]


def _check_pair(layer: RNN, backward: Any) -> None:
    if not isinstance(backward, RNN):
        raise fail(GraphcTypeError, "E213", f"the backward layer must be a recurrent layer, got {backward!r}")
    if backward.go_backwards == layer.go_backwards:
        raise fail(GraphcValueError, "E213", "the backward layer must go the other way: go_backwards=True")
    for what in ("return_sequences", "return_state", "stateful", "time_major"):
        if getattr(layer, what) != getattr(backward, what):
            raise fail(GraphcValueError, "E213", f"both directions must have the same {what}")


def _halves(states: Sequence[Any]) -> tuple[Any, Any]:
    parts = list(states)
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


class TimeDistributed(Layer):
    """A layer applied to every step of a sequence, (batch, time, …), with the same weights.

    The steps join the batch, so that the layer runs once; a layer that takes statistics of a batch runs once a step, as
    in Keras.
    """

    supports_masking = True

    def __init__(self, layer: Layer, **options: Any) -> None:
        if not isinstance(layer, Layer):
            raise fail(GraphcTypeError, "E213", f"TimeDistributed takes a layer, got {layer!r}")
        super().__init__(**options)
        self.layer = layer
        self.layer.trainable = layer.trainable and self.trainable

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """The layer's result for each step.

        Args:
            x: (batch, time, …).
            mask: (batch, time) goes with the result; the layer gets a mask of more axes.
        """
        if x.ndim < 3:
            message = f"{self.name} needs at least 3 dimensions (batch, time and features), got shape {x.shape}"
            raise fail(GraphcValueError, "E211", message, None, x)
        batch, time = x.shape[:2]
        inner: dict[str, Any] = {}
        if mask is not None and mask.ndim > 2 and "mask" in call_arguments(self.layer):
            inner["mask"] = mask
        elif mask is not None:
            checked_mask(mask, x)
        if _has_batch_statistics(self.layer):
            if not isinstance(time, int):
                raise fail(GraphcValueError, "E214", f"{self.name}: the time dimension needs a size", None, x)
            return stack([self.layer(index_axis(x, 1, step)) for step in range(time)], axis=1)
        if inner:
            inner["mask"] = reshape(mask, (batch * time, *mask.shape[2:]))
        result = self.layer(reshape(x, (batch * time, *x.shape[2:])), **inner)
        if not isinstance(result, Tensor):
            raise fail(GraphcTypeError, "E213", f"{self.name} needs a layer with one output", None, x)
        return reshape(with_mask(result, None), (batch, time, *result.shape[1:]))


def _has_batch_statistics(layer: Layer) -> bool:
    """Whether samples of a batch influence each other while training."""
    pending = [layer]
    while pending:
        one = pending.pop()
        if getattr(one, "batch_statistics", False):
            return True
        pending.extend(one.sublayers())
    return False
