"""What every layer is: a name, weights made when the first input is seen, and a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.creation import state
from graphc.frontends.dsl.session import current_session
from graphc.frontends.dsl.tensor import Tensor, common_builder, fail, to_dtype
from graphc.frontends.nn import initializers
from graphc.ir.dim import Dim
from graphc.ir.state import State
from graphc.ir.types import DType, float32


def snake_case(name: str) -> str:
    """``MaxPooling2D`` → ``max_pooling2d``, as Keras names its layers."""
    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


class Layer:
    """A function of tensors with weights.

    A subclass says in ``build`` which weights it has, for the shape of its first input, and in ``call`` what it
    computes.  Calling the layer again shares the weights.

    Args:
        name: prefix of the weights' names; by default the class's name, numbered where it is taken.
        trainable: False freezes the weights.
        dtype: of the weights; by default that of the first floating-point input.
    """

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None) -> None:
        session = current_session()
        if name is None:
            name = session.unique_name(self.default_name(), self)
        elif not isinstance(name, str) or not name or not name.isprintable():
            raise fail(GraphcValueError, "E224", f"the name of a layer must be printable text, got {name!r}")
        else:
            session.reserve_name(name, self)
        self.name = name
        self.built = False
        self._dtype: DType | None = None if dtype is None else to_dtype(dtype)
        self._trainable = trainable
        self._weights: list[Tensor] = []

    def default_name(self) -> str:
        """The name before it is numbered."""
        return snake_case(type(self).__name__)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # -- weights ---------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """The dtype of the weights."""
        return self._dtype or float32

    def sublayers(self) -> Iterator[Layer]:
        """The layers inside this one, in order."""
        return iter(())

    @property
    def weights(self) -> list[Tensor]:
        """All weights, those of the layers inside included."""
        return [*self._weights, *(weight for layer in self.sublayers() for weight in layer.weights)]

    @property
    def states(self) -> list[State]:
        """The state variables behind the weights."""
        return [weight.state for weight in self.weights if weight.state is not None]

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The weights that an optimizer trains."""
        return [weight for weight in self.weights if weight.state is not None and weight.state.trainable]

    @property
    def trainable(self) -> bool:
        """Whether optimizers train the weights; set it before ``minimize``."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for weight in self._weights:
            if weight.state is not None and weight.state.role == "parameter":
                weight.state.trainable = self._trainable
        for layer in self.sublayers():
            layer.trainable = self._trainable

    def add_weight(
        self,
        name: str,
        shape: tuple[Dim, ...],
        initializer: Any = None,
        *,
        role: str = "parameter",
        trainable: bool = True,
    ) -> Tensor:
        """A weight called ``<layer>/<name>``.

        Args:
            name: within the layer.
            shape: static.
            initializer: as in :func:`graphc.nn.initializers.get`.
            role: ``parameter``, or ``statistic`` for what training only observes.
            trainable: False for a weight that no optimizer changes.
        """
        if any(not isinstance(dim, int) for dim in shape):
            raise fail(GraphcValueError, "E214", f"{self.name}: the weight {name!r} needs a static shape, got {shape}")
        wanted = trainable and self._trainable and role == "parameter"
        weight = state(f"{self.name}/{name}", initializer, shape, self.dtype, role=role, trainable=wanted)
        self._weights.append(weight)
        return weight

    # -- calls -----------------------------------------------------------------------------------------------------

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Make the weights for an input of ``shape``."""

    def call(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """What the layer computes."""
        raise fail(
            GraphcTypeError, "E213", f"{type(self).__name__} does not say what it computes: define call(self, x)"
        )

    def __call__(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """The layer on ``x``, a tensor or (for layers that merge) a list of tensors.

        Makes the weights at the first call.
        """
        tensors = x if isinstance(x, (list, tuple)) else [x]
        if not tensors or any(not isinstance(tensor, Tensor) for tensor in tensors):
            raise fail(
                GraphcTypeError,
                "E213",
                f"{self.name} takes tensors, got {type(x).__name__}",
                "make one with G.input or G.constant",
            )
        builder = common_builder(tensors)
        with builder.scope(self.name):
            if not self.built:
                if self._dtype is None:
                    self._dtype = next((tensor.dtype for tensor in tensors if tensor.dtype.is_float), None)
                self.build(tensors[0].shape)
                self.built = True
            return self.call(x, *arguments, **options)


def initializer_of(identifier: Any) -> initializers.Initializer | Callable[..., Any]:
    """As :func:`graphc.nn.initializers.get`, with the user's line in the error."""
    try:
        return initializers.get(identifier)
    except GraphcError as error:
        raise current_session().locate(error) from None


def last_dim(layer: Layer, shape: tuple[Dim, ...], minimum_rank: int = 2) -> int:
    """The static size of the last axis, for a kernel."""
    if len(shape) < minimum_rank:
        message = f"{layer.name} needs at least {minimum_rank} dimensions (batch and features), got shape {shape}"
        raise fail(GraphcValueError, "E211", message)
    size = shape[-1]
    if not isinstance(size, int):
        raise fail(
            GraphcValueError, "E214", f"{layer.name}: the last dimension must have a size, got the symbol {size}"
        )
    return size


def training_of(x: Tensor) -> Tensor:
    """``G.training`` in the graph of ``x``."""
    return Tensor(x.builder.op("training"), x.builder)
