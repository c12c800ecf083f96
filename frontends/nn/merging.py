"""Layers that join several tensors, under their Keras names; each takes a list."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import normalize_axis
from graphc.frontends.dsl.elementwise import maximum, minimum, where
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import broadcast_to, concat, moveaxis, reshape
from graphc.frontends.dsl.reductions import any as any_of
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.masking import with_mask
from graphc.frontends.nn.normalization import unit_vectors
from graphc.ir.dim import product

Masks = Sequence[Tensor | None] | None


class _Merge(Layer):
    """A layer on a list of tensors; those of lower rank get axes of 1 after the batch."""

    supports_masking = True

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The result for tensors of one rank."""
        raise fail(GraphcTypeError, "E213", f"{type(self).__name__} does not say how it merges: define merged(tensors)")

    def listed(self, x: Any, least: int = 1) -> list[Tensor]:
        """The input as a list."""
        if not isinstance(x, (list, tuple)) or len(x) < least:
            raise fail(GraphcTypeError, "E213", f"{self.name} takes a list of {least} tensors or more, got {x!r}")
        return [with_mask(tensor, None) for tensor in x]

    def call(self, x: Any) -> Tensor:
        """The merged tensors."""
        tensors = self.listed(x)
        rank = max(tensor.ndim for tensor in tensors)
        even = [
            reshape(tensor, (tensor.shape[0], *(1,) * (rank - tensor.ndim), *tensor.shape[1:])) for tensor in tensors
        ]
        return self.merged(even)

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The steps that count in any of the tensors, where all of them have masks."""
        if not isinstance(mask, (list, tuple)) or not mask or any(one is None for one in mask):
            return None
        return reduce(lambda first, second: first | second, mask)


class Add(_Merge):
    """The sum."""

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The sum."""
        return reduce(lambda first, second: first + second, tensors)


class Subtract(_Merge):
    """The first of two tensors minus the second."""

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The difference."""
        if len(tensors) != 2:
            raise fail(GraphcValueError, "E213", f"{self.name} takes two tensors, got {len(tensors)}", None, *tensors)
        return tensors[0] - tensors[1]


class Multiply(_Merge):
    """The product, element by element; a tensor's masked steps count as 1, and give 0 where no tensor's step counts."""

    def call(self, x: Any, mask: Masks = None) -> Tensor:
        """The product."""
        tensors = self.listed(x)
        if mask is None or all(one is None for one in mask):
            return super().call(tensors)
        valid = [None if one is None else _spread(one, tensor) for tensor, one in zip(tensors, mask, strict=True)]
        pairs = zip(tensors, valid, strict=True)
        product = super().call([tensor if one is None else where(one, tensor, 1) for tensor, one in pairs])
        return where(
            reduce(lambda first, second: first | second, [one for one in valid if one is not None]), product, 0
        )

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The product."""
        return reduce(lambda first, second: first * second, tensors)

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The steps that count in any tensor that has a mask."""
        return super().compute_mask(x, [one for one in mask if one is not None]) if mask else None


class Average(_Merge):
    """The mean."""

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The mean."""
        return reduce(lambda first, second: first + second, tensors) / len(tensors)


class _Extremum(_Merge):
    """An extremum in which a tensor's masked steps do not count, where another tensor's do."""

    def chosen(self, first: Tensor, second: Tensor) -> Tensor:
        """The extremum of two tensors."""
        raise fail(GraphcTypeError, "E213", f"{type(self).__name__} does not say what it chooses")

    def call(self, x: Any, mask: Masks = None) -> Tensor:
        """The extremum."""
        tensors = self.listed(x)
        if mask is None or all(one is None for one in mask):
            return super().call(tensors)
        result, valid = tensors[0], None if mask[0] is None else _spread(mask[0], tensors[0])
        for tensor, one in zip(tensors[1:], mask[1:], strict=True):
            other = None if one is None else _spread(one, tensor)
            if other is not None:
                tensor = where(other, tensor, result)
            if valid is not None:
                result = where(valid, result, tensor)
            valid = valid | other if valid is not None and other is not None else None
            result = self.chosen(result, tensor)
        return result

    def merged(self, tensors: list[Tensor]) -> Tensor:
        """The extremum."""
        return reduce(self.chosen, tensors)


class Maximum(_Extremum):
    """The largest, element by element."""

    def chosen(self, first: Tensor, second: Tensor) -> Tensor:
        """The larger."""
        return maximum(first, second)


class Minimum(_Extremum):
    """The smallest, element by element."""

    def chosen(self, first: Tensor, second: Tensor) -> Tensor:
        """The smaller."""
        return minimum(first, second)


def _spread(mask: Tensor, x: Tensor) -> Tensor:
    """A mask over all elements of ``x``."""
    return broadcast_to(reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim))), x.shape)


class Concatenate(_Merge):
    """The tensors one after the other along ``axis``."""

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis

    def call(self, x: Any) -> Tensor:
        """The tensors one after the other."""
        return concat(self.listed(x), axis=self.axis)

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The steps that count in any of the tensors; one without a mask counts everywhere."""
        if not isinstance(mask, (list, tuple)) or all(one is None for one in mask):
            return None
        masks = []
        for tensor, one in zip(x, mask, strict=True):
            whole = as_tensor(True, None, tensor.builder)
            masks.append(broadcast_to(whole, tensor.shape) if one is None else _spread(one, tensor))
        return any_of(concat(masks, axis=self.axis), axis=-1)


class Dot(_Merge):
    """Sums of products of two tensors, sample by sample, over one axis of each.

    Args:
        axes: the axis of both, or one each, batch included.
        normalize: True divides both by their lengths first, which gives cosines.
        options: as in :class:`Layer`.
    """

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(axes, int) and (len(axes) != 2 or any(not isinstance(axis, int) for axis in axes)):
            raise fail(GraphcValueError, "E217", f"axes is one axis or two, got {axes!r}")
        self.axes = (axes, axes) if isinstance(axes, int) else tuple(axes)
        self.normalize = normalize

    def call(self, x: Any) -> Tensor:
        """(batch, the other axes of the first, the other axes of the second), or (batch, 1) where there are none."""
        tensors = self.listed(x, least=2)
        if len(tensors) != 2:
            raise fail(GraphcValueError, "E213", f"{self.name} takes two tensors, got {len(tensors)}", None, *tensors)
        first, second = tensors
        left, right = normalize_axis(self.axes[0], first.ndim, first), normalize_axis(self.axes[1], second.ndim, second)
        if left == 0 or right == 0 or first.shape[left] != second.shape[right]:
            message = f"{self.name} cannot sum over axis {left} of {first.shape} and axis {right} of {second.shape}"
            raise fail(GraphcValueError, "E211", message, None, first, second)
        if self.normalize:
            first, second = unit_vectors(first, left, 1e-7), unit_vectors(second, right, 1e-7)
        first, second = moveaxis(first, left, -1), moveaxis(second, right, 1)
        rows, columns = first.shape[1:-1], second.shape[2:]
        total = matmul(
            reshape(first, (first.shape[0], product(rows), first.shape[-1])),
            reshape(second, (*second.shape[:2], product(columns))),
        )
        return reshape(total, (first.shape[0], *rows, *columns)) if rows or columns else reshape(total, (-1, 1))

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """None: the steps are gone."""
        return None
