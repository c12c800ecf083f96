"""Layers made of layers: ``Bidirectional`` and ``Sequential``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.movement import concat, flip
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.recurrent import Recurrent

MERGES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """A recurrent layer run in both directions, with weights of its own for each.

    Weights are called ``<name>/forward_<layer>/…`` and ``<name>/backward_<layer>/…``.

    Args:
        layer: the forward layer.
        merge_mode: ``"concat"``, ``"sum"``, ``"mul"``, ``"ave"``, or None for a list of both outputs.
        backward_layer: the other direction; by default a copy of ``layer`` that goes backwards.
        options: ``name``.
    """

    def __init__(
        self,
        layer: Recurrent,
        merge_mode: str | None = "concat",
        backward_layer: Recurrent | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(layer, Recurrent):
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
        self.forward_layer = layer
        if backward_layer is None:
            backward_layer = copy.copy(layer)
            backward_layer._weights = []
            backward_layer.go_backwards = not layer.go_backwards
        elif backward_layer.go_backwards == layer.go_backwards:
            raise fail(GraphcValueError, "E213", "the backward layer must go the other way: go_backwards=True")
        self.backward_layer = backward_layer
        self.forward_layer.name = f"{self.name}/forward_{layer.name}"
        self.backward_layer.name = f"{self.name}/backward_{backward_layer.name}"
        self.merge_mode = merge_mode

    def sublayers(self) -> Iterator[Layer]:
        """Both directions."""
        yield self.forward_layer
        yield self.backward_layer

    def call(self, x: Tensor, initial_state: Any = None) -> Any:
        """The merged outputs, and the last states of both directions where the layer returns them."""
        states = (None, None) if initial_state is None else _halves(initial_state)
        ahead, back = self.forward_layer(x, initial_state=states[0]), self.backward_layer(x, initial_state=states[1])
        last: list[Tensor] = []
        if self.forward_layer.return_state:
            last = [*ahead[1:], *back[1:]]
            ahead, back = ahead[0], back[0]
        if self.forward_layer.return_sequences:
            # The backward outputs come last step first.
            back = flip(back, axis=0 if self.forward_layer.time_major else 1)
        merged = self._merged(ahead, back)
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


def _halves(states: Sequence[Any]) -> tuple[Any, Any]:
    parts = list(states)
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


class Sequential(Layer):
    """Layers one after the other; callable on tensors, and a layer itself.

    Args:
        layers: layers, or functions of one tensor.
        options: ``name``.
    """

    def __init__(self, layers: Sequence[Layer | Callable[[Tensor], Tensor]] = (), **options: Any) -> None:
        super().__init__(**options)
        self.layers: list[Layer | Callable[[Tensor], Tensor]] = []
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer | Callable[[Tensor], Tensor]) -> None:
        """Append a layer."""
        if not callable(layer):
            raise fail(GraphcTypeError, "E213", f"Sequential takes layers, got {layer!r}")
        self.layers.append(layer)

    def pop(self) -> Layer | Callable[[Tensor], Tensor]:
        """Take the last layer away."""
        return self.layers.pop()

    def sublayers(self) -> Iterator[Layer]:
        """The layers that are not plain functions."""
        return (layer for layer in self.layers if isinstance(layer, Layer))

    def __call__(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """The layers on ``x``, in order."""
        for layer in self.layers:
            x = layer(x)
        return x
