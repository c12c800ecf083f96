"""Attention layers under their Keras names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.activations import softmax
from graphc.frontends.dsl.axes import checked_size, normalize_axis
from graphc.frontends.dsl.elementwise import tanh, where
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import expand_dims, reshape, swapaxes, transpose
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail
from graphc.frontends.nn.checks import check_rank
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.masking import mask_of, with_mask
from graphc.frontends.nn.recipes import KERNEL_AND_BIAS, KernelOptions
from graphc.frontends.nn.regularization import checked_rate, checked_seed, dropout
from graphc.ir.dim import Dim, product
from graphc.ir.types import bool_, int64


def _bools(mask: Any, x: Tensor) -> Tensor:
    tensor = as_tensor(mask, None, x.builder)
    return tensor if tensor.dtype is bool_ else tensor != 0


def causal_mask(queries: Tensor, keys: Tensor) -> Tensor:
    """(1, query steps, key steps): True where the key is not after the query."""
    rows = _steps(queries, (1, queries.shape[1], 1), 1)
    return rows >= _steps(queries, (1, 1, keys.shape[1]), 2)


def _steps(x: Tensor, shape: tuple[Dim, ...], axis: int) -> Tensor:
    return Tensor(x.builder.op("iota", shape=shape, axis=axis, dtype=int64), x.builder)


class Attention(Layer):
    """softmax(scores of query and key) value, with Luong's scores query · key.

    Called on ``[query, value]`` or ``[query, value, key]``, each (batch, steps, features); the key is the value where
    there is none.

    Args:
        use_scale: True multiplies the scores by ``<name>/scale``.
        score_mode: ``dot``, or ``concat`` for <name>/concat_score_weight · sum(tanh(scale (query + key))).
        dropout: rate at which weights of the sum are dropped while training.
        seed: of the dropout, in place of the model's.
        options: as in :class:`Layer`.
    """

    supports_masking = True

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if score_mode not in ("dot", "concat"):
            raise fail(GraphcValueError, "E213", f"score_mode is 'dot' or 'concat', got {score_mode!r}")
        self.use_scale, self.score_mode = use_scale, score_mode
        self.dropout, self.seed = checked_rate(dropout), checked_seed(seed)
        self.scale: Tensor | None = None

    def build(self, shape: Any) -> None:
        """The scale, and the weight of the ``concat`` scores."""
        if self.use_scale:
            self.scale = self.add_weight("scale", (), "ones")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight("concat_score_weight", (), "ones")

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(batch, query steps, key steps)."""
        if self.score_mode == "dot":
            found = matmul(query, swapaxes(key, -1, -2))
            return found if self.scale is None else found * self.scale
        total = expand_dims(query, -2) + expand_dims(key, -3)
        return self.concat_score_weight * sum(tanh(total if self.scale is None else self.scale * total), axis=-1)

    def call(
        self, x: Any, mask: Any = None, return_attention_scores: bool = False, use_causal_mask: bool = False
    ) -> Any:
        """What each query step collects, and the weights with which it does where asked for.

        Args:
            x: [query, value] or [query, value, key].
            mask: [query mask, value mask], each None or (batch, steps): masked values are not attended to, masked
                queries give 0.
            return_attention_scores: True gives a list with the weights as its second.
            use_causal_mask: True lets a query step attend to those up to its own only.
        """
        if not isinstance(x, (list, tuple)) or not 2 <= len(x) <= 3:
            message = f"{self.name} takes [query, value] or [query, value, key], got {x!r}"
            raise fail(GraphcTypeError, "E213", message)
        for tensor in x:
            check_rank(self, tensor.shape, 3, "batch, steps and features")
        query, value = (with_mask(tensor, None) for tensor in x[:2])
        key = with_mask(x[2], None) if len(x) == 3 else value
        query_mask, value_mask = (None, None) if mask is None else (mask[0], mask[1])
        scores = self.scores(query, key)
        allowed = None if value_mask is None else expand_dims(_bools(value_mask, query), -2)
        if use_causal_mask:
            causal = causal_mask(query, key)
            allowed = causal if allowed is None else allowed & causal
        if allowed is not None:
            scores = where(allowed, scores, scores - (65504.0 if scores.dtype.is_half else 1e9))
        weights = softmax(scores, -1)
        result = matmul(dropout(weights, self.dropout, seed=self.seed), value)
        if query_mask is not None:
            result = where(expand_dims(_bools(query_mask, query), -1), result, 0)
        return [result, weights] if return_attention_scores else result

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The query's mask."""
        return None if mask is None else mask[0]


class AdditiveAttention(Attention):
    """Attention with Bahdanau's scores, sum(scale · tanh(query + key)); ``<name>/scale`` has the features' size.

    Args:
        use_scale: False leaves the scale out.
        dropout: rate at which weights of the sum are dropped while training.
        options: as in :class:`Attention`.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(use_scale, "dot", dropout, **options)

    def build(self, shape: Any) -> None:
        """The scale."""
        size = shape[0][-1]
        if self.use_scale:
            self.scale = self.add_weight("scale", (size,), "glorot_uniform")

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(batch, query steps, key steps)."""
        total = tanh(expand_dims(query, -2) + expand_dims(key, -3))
        return sum(total if self.scale is None else self.scale * total, axis=-1)


class _Projection(Layer):
    """A product over the last ``bound`` axes, with a kernel of shape (those axes, ``outputs``)."""

    def __init__(self, outputs: Sequence[int], bound: int, owner: MultiHeadAttention, name: str) -> None:
        super().__init__(name=f"{owner.name}/{name}", trainable=owner.trainable)
        self.outputs, self.bound = tuple(outputs), bound
        self.recipes, self.use_bias = owner.recipes, owner.use_bias

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The kernel and the bias."""
        sizes = (*shape[len(shape) - self.bound :], *self.outputs)
        self.kernel = self.add_weight("kernel", sizes, self.recipes["kernel"])
        self.bias = self.add_weight("bias", self.outputs, self.recipes["bias"]) if self.use_bias else None

    def call(self, x: Tensor) -> Tensor:
        """The product and the bias."""
        lead, size = x.shape[: x.ndim - self.bound], product(x.shape[x.ndim - self.bound :])
        flat = matmul(reshape(x, (*lead, size)), reshape(self.kernel, (size, product(self.outputs))))
        result = reshape(flat, (*lead, *self.outputs))
        return result if self.bias is None else result + self.bias


class MultiHeadAttention(Layer):
    """Scaled dot-product attention in several learned subspaces (Vaswani et al., 2017).

    The weights are ``<name>/query/kernel`` (features × heads × key_dim), ``<name>/key/…``, ``<name>/value/…`` and
    ``<name>/attention_output/kernel`` (heads × value_dim × features), each with a bias.

    Args:
        num_heads: number of subspaces.
        key_dim: their size for queries and keys.
        value_dim: their size for values; ``key_dim`` for None.
        dropout: rate at which weights of the sum are dropped while training.
        use_bias: False leaves the biases out.
        output_shape: of a result's features; those of the query for None.
        attention_axes: the axes over which attention goes; all between batch and features for None.
        seed: of the dropout, in place of the model's.
        options: as in :class:`Layer`; ``kernel_…`` of the kernels, ``bias_…`` of the biases.
    """

    supports_masking = True
    default_initializers = KERNEL_AND_BIAS

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: int | Sequence[int] | None = None,
        seed: int | None = None,
        **options: Unpack[KernelOptions],
    ) -> None:
        super().__init__(**options)
        self.num_heads = checked_size(num_heads, "num_heads", minimum=1)
        self.key_dim = checked_size(key_dim, "key_dim", minimum=1)
        self.value_dim = self.key_dim if value_dim is None else checked_size(value_dim, "value_dim", minimum=1)
        self.dropout, self.seed = checked_rate(dropout), checked_seed(seed)
        sizes = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.output_shape = (
            None if sizes is None else tuple(checked_size(size, "output_shape", minimum=1) for size in sizes)
        )
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self.use_bias = use_bias

    def build(self, shape: Any) -> None:
        """The four projections; their weights are made when they see what they project."""
        features = (shape[-1],) if self.output_shape is None else tuple(self.output_shape)
        if any(not isinstance(size, int) for size in features):
            raise fail(GraphcValueError, "E214", f"{self.name}: the features must have a size, got {features}")
        self.query_dense = _Projection((self.num_heads, self.key_dim), 1, self, "query")
        self.key_dense = _Projection((self.num_heads, self.key_dim), 1, self, "key")
        self.value_dense = _Projection((self.num_heads, self.value_dim), 1, self, "value")
        self.output_dense = _Projection([int(size) for size in features], 2, self, "attention_output")

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """What each query step collects, and the weights (batch, heads, query steps, key steps) where asked for.

        Args:
            query: (batch, query steps, features).
            value: (batch, key steps, features).
            key: likewise; the value for None.
            query_mask: (batch, query steps); by default the mask that the query brings along.
            value_mask: (batch, key steps); likewise.
            key_mask: (batch, key steps); likewise.
            attention_mask: (batch, query steps, key steps), True where a query may attend to a key.
            return_attention_scores: True gives a list with the weights as its second.
            use_causal_mask: True lets a query step attend to those up to its own only.
        """
        if not isinstance(value, Tensor) or not (key is None or isinstance(key, Tensor)):
            raise fail(GraphcTypeError, "E213", f"{self.name} takes tensors: query, value and key", None, query)
        for tensor in (query, value, value if key is None else key):
            check_rank(self, tensor.shape, 3, "batch, steps and features")
        query_mask = mask_of(query) if query_mask is None else query_mask
        value_mask = mask_of(value) if value_mask is None else value_mask
        key_mask = mask_of(key) if key_mask is None else key_mask
        query, value = with_mask(query, None), with_mask(value, None)
        key = value if key is None else with_mask(key, None)
        allowed = self._allowed(query, value, (query_mask, value_mask, key_mask, attention_mask), use_causal_mask)
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        result, weights = self._attended(q * (self.key_dim**-0.5), k, v, allowed)
        result = self.output_dense(result)
        return [result, weights] if return_attention_scores else result

    def _allowed(self, query: Tensor, value: Tensor, masks: Sequence[Any], causal: bool) -> Tensor | None:
        """(batch, query steps, key steps): which keys a query may attend to; None for all."""
        query_mask, value_mask, key_mask, attention_mask = masks
        parts = [] if query_mask is None else [expand_dims(_bools(query_mask, query), -1)]
        parts += [expand_dims(_bools(mask, query), -2) for mask in (value_mask, key_mask) if mask is not None]
        parts += [causal_mask(query, value)] if causal else []
        parts += [] if attention_mask is None else [_bools(attention_mask, query)]
        result: Tensor | None = None
        for part in parts:
            result = part if result is None else result & part
        return result

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sum of values for each query, and its weights; all are (batch, …, heads, size)."""
        rank = q.ndim - 1  # of query and value before the heads
        given = range(1, rank - 1) if self.attention_axes is None else self.attention_axes
        axes = [normalize_axis(axis, rank, q) for axis in given]
        others = [axis for axis in range(rank - 1) if axis not in axes]
        order = (*others, rank - 1, *axes, rank)

        def arranged(x: Tensor) -> Tensor:
            """(batch and free axes, heads, steps, size)."""
            moved = transpose(x, order)
            lead, steps = moved.shape[: len(others) + 1], moved.shape[len(others) + 1 : -1]
            return reshape(moved, (*lead, product(steps), moved.shape[-1]))

        scores = matmul(arranged(q), swapaxes(arranged(k), -1, -2))
        if allowed is None:
            weights = softmax(scores, -1)
        else:
            if allowed.ndim > 2 and allowed.ndim != scores.ndim:
                allowed = reshape(
                    allowed, (*allowed.shape[:-2], *(1,) * (scores.ndim - allowed.ndim), *allowed.shape[-2:])
                )
            # As Keras' Softmax layer: a query that may attend to nothing collects nothing.
            weights = where(allowed, softmax(where(allowed, scores, -3e4 if scores.dtype.is_half else -1e9), -1), 0)
        total = matmul(dropout(weights, self.dropout, seed=self.seed), arranged(v))
        lead = total.shape[: len(others) + 1]
        apart = reshape(total, (*lead, *(q.shape[axis] for axis in axes), total.shape[-1]))
        back = transpose(apart, tuple(order.index(axis) for axis in range(rank + 1)))
        if len(axes) > 1:
            weights = reshape(weights, (*lead, *(q.shape[axis] for axis in axes), *(k.shape[axis] for axis in axes)))
        return back, weights

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The query's mask."""
        return mask
