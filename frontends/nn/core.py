"""Dense, Embedding, Masking and the layers that only rearrange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Unpack

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_size, normalize_axis
from graphc.frontends.dsl.convolution import checked_format
from graphc.frontends.dsl.elementwise import not_equal, where
from graphc.frontends.dsl.indexing import take
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import broadcast_to, expand_dims, reshape, squeeze, transpose
from graphc.frontends.dsl.reductions import any as any_of
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.checks import check_rank, last_dim
from graphc.frontends.nn.initializers import Constant
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.recipes import KERNEL_AND_BIAS, KernelOptions
from graphc.ir.dim import Dim, product


class Dense(Layer):
    """activation(x @ kernel + bias) over the last axis.

    Args:
        units: size of the result's last axis.
        activation: a name, a function of tensors, or None.
        use_bias: False leaves the bias out.
        options: as in :class:`Layer`; ``kernel_…`` of ``<name>/kernel`` (inputs × units), ``bias_…`` of ``<name>/bias``
            (units).
    """

    supports_masking = True
    default_initializers = KERNEL_AND_BIAS

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, **options: Unpack[KernelOptions]
    ) -> None:
        super().__init__(**options)
        self.units = checked_size(units, "units", minimum=1)
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel for the last axis, and the bias."""
        self.kernel = self.add_weight("kernel", (last_dim(self, shape), self.units), self.recipes["kernel"])
        self.bias = self.add_weight("bias", (self.units,), self.recipes["bias"]) if self.use_bias else None

    def call(self, x: Tensor) -> Tensor:
        """The product, the bias, the activation."""
        result = matmul(x, self.kernel)
        return self.activation(result if self.bias is None else result + self.bias)


class Activation(Layer):
    """An activation as a layer of its own."""

    supports_masking = True

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return self.activation(x)


class Identity(Layer):
    """The input as it is."""

    supports_masking = True

    def call(self, x: Tensor) -> Tensor:
        """The input."""
        return x


class Lambda(Layer):
    """A function of tensors as a layer.

    Args:
        function: of the input, and of ``arguments``.
        mask: of the output: a tensor, or a function of (input, mask); by default none.
        arguments: by name.
        options: as in :class:`Layer`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not callable(function):
            raise fail(GraphcTypeError, "E213", f"Lambda takes a function, got {function!r}")
        self.function, self.mask, self.arguments = function, mask, dict(arguments or {})
        self.supports_masking = mask is not None

    def call(self, x: Any) -> Any:
        """What the function gives."""
        return self.function(x, **self.arguments)

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """What was given as the mask."""
        return self.mask(x, mask) if callable(self.mask) else self.mask


class Flatten(Layer):
    """All axes but the first as one.

    Args:
        data_format: ``channels_first`` puts the channels last before, so that both formats give one order.
        start_dim: PyTorch's name of the first axis that is joined.
        end_dim: PyTorch's name of the last.
        options: as in :class:`Layer`.
    """

    def __init__(
        self, data_format: str | None = None, *, start_dim: int = 1, end_dim: int = -1, **options: Any
    ) -> None:
        super().__init__(**options)
        self.data_format = checked_format(data_format)
        self.start_dim, self.end_dim = start_dim, end_dim

    def call(self, x: Tensor) -> Tensor:
        """(batch, everything else)."""
        if x.ndim == 1 and self.start_dim == 1:
            return reshape(x, (x.shape[0], 1))
        first, last = normalize_axis(self.start_dim, x.ndim, x), normalize_axis(self.end_dim, x.ndim, x)
        if self.data_format == "channels_first" and x.ndim > 2:
            x = transpose(x, (0, *range(2, x.ndim), 1))
        return reshape(x, (*x.shape[:first], product(x.shape[first : last + 1]), *x.shape[last + 1 :]))


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


class RepeatVector(Layer):
    """(batch, features) repeated ``n`` times: (batch, n, features)."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(**options)
        self.n = checked_size(n, "n", minimum=1)

    def call(self, x: Tensor) -> Tensor:
        """The repetitions along a new axis 1."""
        if x.ndim != 2:
            raise fail(GraphcValueError, "E211", f"{self.name} takes (batch, features), got shape {x.shape}", None, x)
        return broadcast_to(expand_dims(x, 1), (x.shape[0], self.n, x.shape[1]))


class Masking(Layer):
    """Leaves out the steps whose features all equal ``mask_value``: they are set to 0, and masked for what follows."""

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def build(self, shape: tuple[Dim, ...]) -> None:
        """Nothing; a step has features."""
        check_rank(self, shape, 2)

    def _kept(self, x: Tensor) -> Tensor:
        return any_of(not_equal(x, self.mask_value), axis=-1, keepdims=True)

    def call(self, x: Tensor) -> Tensor:
        """The steps that count, zeros for the others."""
        return where(self._kept(x), x, 0)

    def compute_mask(self, x: Tensor, mask: Any) -> Tensor:
        """True for the steps that count."""
        return squeeze(self._kept(x), -1)


class Embedding(Layer):
    """Rows of a table at integer indices.

    Args:
        input_dim: number of rows; an index outside [0, input_dim) is an error of the call.
        output_dim: size of a row.
        mask_zero: True masks the steps with index 0 for the layers that follow.
        weights: the table's initial value, alone or in a list.
        input_length: accepted as in older Keras, not needed.
        options: as in :class:`Layer`; ``embeddings_…`` of ``<name>/embeddings`` (input_dim × output_dim).
    """

    default_initializers: ClassVar[Mapping[str, str]] = {"embeddings": "uniform"}
    torch_names: ClassVar[Mapping[str, str | None]] = {"num_embeddings": "input_dim", "embedding_dim": "output_dim"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        mask_zero: bool = False,
        weights: Any = None,
        input_length: int | None = None,
        **options: Any,
    ) -> None:
        if weights is not None:
            table = np.asarray(weights[0] if isinstance(weights, (list, tuple)) else weights)
            if table.shape != (input_dim, output_dim):
                message = f"the table must have shape {(input_dim, output_dim)}, got {table.shape}"
                raise fail(GraphcValueError, "E211", message)
            options["embeddings_initializer"] = Constant(value=table)
        super().__init__(**options)
        self.input_dim = checked_size(input_dim, "input_dim", minimum=1)
        self.output_dim = checked_size(output_dim, "output_dim", minimum=1)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero
        self.input_length = input_length

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The table."""
        sizes = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight("embeddings", sizes, self.recipes["embeddings"])

    def call(self, x: Tensor) -> Tensor:
        """A row for each index, along a new last axis."""
        return take(self.embeddings, x if x.dtype.is_integer else x.astype("int64"), axis=0)

    def compute_mask(self, x: Tensor, mask: Any) -> Tensor | None:
        """True where the index is not 0, for ``mask_zero``."""
        return not_equal(x, 0) if self.mask_zero else None
