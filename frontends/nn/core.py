"""Dense, Dropout, Embedding and the layers that only rearrange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.indexing import take
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import reshape, transpose
from graphc.frontends.dsl.random import random_bernoulli
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.layer import Layer, initializer_of, last_dim, training_of
from graphc.ir.dim import Dim, product


class Dense(Layer):
    """activation(x @ kernel + bias) over the last axis.

    Args:
        units: size of the result's last axis.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        kernel_initializer: of ``<name>/kernel`` (inputs × units).
        bias_initializer: of ``<name>/bias`` (units).
        options: ``name``, ``trainable``, ``dtype``.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units = checked_size(units, "units", minimum=1)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializer_of(kernel_initializer)
        self.bias_initializer = initializer_of(bias_initializer)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel for the last axis, and the bias."""
        self.kernel = self.add_weight("kernel", (last_dim(self, shape), self.units), self.kernel_initializer)
        self.bias = self.add_weight("bias", (self.units,), self.bias_initializer) if self.use_bias else None

    def call(self, x: Tensor) -> Tensor:
        """The product, the bias, the activation."""
        result = matmul(x, self.kernel)
        return self.activation(result if self.bias is None else result + self.bias)


class Activation(Layer):
    """An activation as a layer of its own."""

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return self.activation(x)


class Flatten(Layer):
    """All axes but the first as one."""

    def call(self, x: Tensor) -> Tensor:
        """(batch, everything else)."""
        return reshape(x, (x.shape[0], product(x.shape[1:])))


class Reshape(Layer):
    """Another shape for all axes but the first; one entry may be -1."""

    def __init__(self, target_shape: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.target_shape = tuple(target_shape)

    def call(self, x: Tensor) -> Tensor:
        """(batch, *target_shape)."""
        free = [dim for dim in self.target_shape if dim == -1]
        if not free:
            return reshape(x, (x.shape[0], *self.target_shape))
        # The free dimension is worked out without the batch, which may be symbolic.
        rest = reshape(x[0], self.target_shape).shape
        return reshape(x, (x.shape[0], *rest))


class Permute(Layer):
    """The axes after the first in another order, counted from 1."""

    def __init__(self, dims: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.dims = tuple(dims)

    def call(self, x: Tensor) -> Tensor:
        """(batch, the axes ``dims``)."""
        return transpose(x, (0, *self.dims))


class Dropout(Layer):
    """While training, each element is 0 with probability ``rate``, or scaled by 1 / (1 - rate); else the identity.

    Args:
        rate: between 0 and 1.
        noise_shape: the shape in which to draw; an axis of 1 is dropped or kept as a whole.  None stands for an axis's
            own size.
        seed: takes the place of the model's.
        options: ``name``.
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.rate = checked_rate(rate)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = seed

    def call(self, x: Tensor) -> Tensor:
        """The elements kept."""
        return dropout(x, self.rate, self.noise_shape, self.seed)


def checked_rate(rate: Any) -> float:
    """A dropout rate: 0 ≤ rate ≤ 1."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise fail(GraphcTypeError, "E213", f"a dropout rate must be a number, got {rate!r}")
    if not 0.0 <= rate <= 1.0:
        raise fail(GraphcValueError, "E213", f"a dropout rate lies between 0 and 1, got {rate}")
    return float(rate)


def dropout_mask(x: Tensor, rate: float, shape: Sequence[Dim], seed: int | None = None) -> Tensor:
    """1 / (1 - rate) where elements are kept, else 0, in the dtype of ``x``.

    Ones where the entry point does not train.
    """
    kept = random_bernoulli(tuple(shape), 1.0 - rate, seed=seed)
    scale = 1.0 / (1.0 - rate) if rate < 1.0 else 0.0
    return where(training_of(x), kept.astype(x.dtype) * scale, 1)


def dropout(x: Tensor, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None) -> Tensor:
    """See :class:`Dropout`."""
    if rate == 0.0:
        return x
    given = x.shape if noise_shape is None else noise_shape
    if len(given) != x.ndim:
        raise fail(GraphcValueError, "E211", f"noise_shape {noise_shape} does not fit the shape {x.shape}", None, x)
    shape = tuple(size if dim is None else dim for dim, size in zip(given, x.shape, strict=True))
    kept = random_bernoulli(shape, 1.0 - rate, seed=seed)
    scaled = x * (1.0 / (1.0 - rate)) if rate < 1.0 else x
    return where(training_of(x), where(kept, scaled, 0), x)


class Embedding(Layer):
    """Rows of a table at integer indices.

    Args:
        input_dim: number of rows; an index outside [0, input_dim) is an error of the call.
        output_dim: size of a row.
        embeddings_initializer: of ``<name>/embeddings``.
        input_length: accepted as in older Keras, not needed.
        options: ``name``, ``trainable``, ``dtype``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        input_length: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.input_dim = checked_size(input_dim, "input_dim", minimum=1)
        self.output_dim = checked_size(output_dim, "output_dim", minimum=1)
        self.embeddings_initializer = initializer_of(embeddings_initializer)
        self.input_length = input_length

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The table."""
        self.embeddings = self.add_weight("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer)

    def call(self, x: Tensor) -> Tensor:
        """A row for each index, along a new last axis."""
        return take(self.embeddings, x if x.dtype.is_integer else x.astype("int64"), axis=0)
