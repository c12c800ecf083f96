"""``Sequential``: layers one after the other, trained as in Keras or called as a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.creation import input as new_input
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.core import Embedding
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.summary import Block
from graphc.frontends.nn.training.data import Batch
from graphc.frontends.nn.training.entries import BATCH
from graphc.frontends.nn.training.network import Network
from graphc.ir.dim import Dim

Part = Layer | Callable[[Tensor], Tensor]


class Sequential(Network):
    """Layers one after the other; callable on tensors, and a layer itself.

    The shape of the input is that of a first ``nn.Input(shape)``, the ``input_shape`` of the first layer, the
    ``input_length`` of a first ``Embedding``, or else that of the first data; without data, a first ``nn.Linear`` says
    it.

    Args:
        parts: layers, or functions of one tensor, in a list as Keras has it or one by one as PyTorch has it; the first
            may be an ``nn.Input``.
        layers: Keras' name of the list.
        seed: of the initial weights and of dropout, where ``fit`` or ``predict`` run the model.
        options: ``name``, ``trainable``.
    """

    supports_masking = True

    def __init__(
        self,
        *parts: Part | Tensor | Sequence[Part | Tensor] | Mapping[str, Part],
        layers: Sequence[Part | Tensor] = (),
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, **options)
        self.layers: list[Part] = []
        self._blocks: list[Block] = []
        given: Iterable[Any] = (*parts, *layers)
        if len(parts) == 1 and isinstance(parts[0], (list, tuple, Mapping)):
            given = parts[0].values() if isinstance(parts[0], Mapping) else parts[0]
        for layer in given:
            self.add(layer)

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Part]:
        return iter(self.layers)

    def __getitem__(self, position: int) -> Part:
        """The layer at a position."""
        return self.layers[position]

    def add(self, layer: Part | Tensor) -> None:
        """Append a layer."""
        self._reject_after_use("add")
        if isinstance(layer, Tensor):
            if self.layers or self._inputs or layer.node.op.name != "input":
                raise fail(GraphcTypeError, "E213", f"Sequential takes layers, and nn.Input before them, got {layer!r}")
            self._inputs = (layer,)
            return
        if not callable(layer):
            raise fail(GraphcTypeError, "E213", f"Sequential takes layers, got {layer!r}")
        self.layers.append(layer)

    def pop(self) -> Part:
        """Take the last layer away."""
        self._reject_after_use("pop")
        return self.layers.pop()

    def _reject_after_use(self, what: str) -> None:
        if self._outputs:
            raise fail(GraphcValueError, "E224", f"{self.name} has run already: {what} layers before")

    def sublayers(self) -> Iterator[Layer]:
        """The layers that are not plain functions."""
        return (layer for layer in self.layers if isinstance(layer, Layer))

    @property
    def weights(self) -> list[Tensor]:
        """The weights layer by layer; made now where the shape of the input is known."""
        if self.layers and not any(layer.built for layer in self.sublayers()):
            self._connected()
        return super().weights

    def call(self, x: Any) -> Any:
        """The layers on ``x``, in order."""
        for layer in self.layers:
            x = layer(x)
        return x

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """None: the last layer has said what the mask of its output is."""
        return None

    # -- as a network ----------------------------------------------------------------------------------------------

    def connect(self, batch: Batch | None) -> bool:
        """Run the layers on an input of the shape that the first layer or ``batch`` says."""
        if not self.layers:
            raise fail(GraphcValueError, "E214", f"{self.name} has no layers")
        if not self._inputs:
            shape = self._declared_shape()
            if shape is None:
                shape = getattr(self._first(), "usual_shape", None) if batch is None else batch.inputs[0].shape[1:]
            if shape is None:
                return False
            sizes: list[Dim | str] = [BATCH]
            sizes += [f"axis_{axis}" if size is None else size for axis, size in enumerate(shape, start=1)]
            indices = isinstance(self._first(), Embedding)
            self._inputs = (new_input("x", tuple(sizes), "int64" if indices else "float32"),)
        x: Any = self._inputs[0]
        blocks = []
        for layer in self.layers:
            before, x = x, layer(x)
            results = tuple(x) if isinstance(x, (list, tuple)) else (x,)
            if isinstance(layer, Layer):
                blocks.append(Block.of(layer, (before,), results))
            else:
                name = getattr(layer, "__name__", "function")
                blocks.append(Block(name, type(layer).__name__, (before,), results))
        self._blocks = blocks
        self._structure = x
        parts = tuple(x) if isinstance(x, (list, tuple)) else (x,)
        self._outputs = (
            {"output": parts[0]} if len(parts) == 1 else {f"output_{place}": part for place, part in enumerate(parts)}
        )
        return True

    def blocks(self) -> list[Block]:
        """The layers in order."""
        return self._blocks

    def _first(self) -> Part:
        first = self.layers[0]
        while isinstance(first, Sequential) and first.layers:
            first = first.layers[0]
        return first

    def _declared_shape(self) -> tuple[int | None, ...] | None:
        """The input's shape without the batch, where a layer says it."""
        first = self._first()
        shape = getattr(first, "input_shape", None) or getattr(self, "input_shape", None)
        if shape is not None:
            return tuple(shape)
        length = getattr(first, "input_length", None)
        if isinstance(first, Embedding) and length is not None:
            return tuple(length) if isinstance(length, (list, tuple)) else (length,)
        return None
