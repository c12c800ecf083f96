"""The array methods of ``Tensor``: thin doors to the functions of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from graphc.ir.types import DType

if TYPE_CHECKING:
    from graphc.frontends.dsl.tensor import Tensor

Axis = int | Sequence[int] | None
"""One axis, several, or all of them; negative axes count from the end."""


class TensorMethods:
    """What arrays have as methods.  Each imports its function when called: the functions themselves need ``Tensor``."""

    __slots__ = ()

    @property
    def _tensor(self) -> Tensor:
        return cast("Tensor", self)

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix; axes reversed at any other rank."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        from graphc.frontends.dsl.movement import matrix_transpose

        return matrix_transpose(self._tensor)

    def __getitem__(self, key: Any) -> Tensor:
        from graphc.frontends.dsl.indexing import getitem

        return getitem(self._tensor, key)

    def __matmul__(self, other: Any) -> Tensor:
        from graphc.frontends.dsl.linalg import matmul

        return matmul(self._tensor, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        from graphc.frontends.dsl.linalg import matmul

        return matmul(other, self._tensor)

    def astype(self, dtype: DType | str | type | np.dtype[Any]) -> Tensor:
        """The values cast to another dtype."""
        from graphc.frontends.dsl.elementwise import astype

        return astype(self._tensor, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """See :func:`graphc.reshape`; the shape as one tuple or as arguments."""
        from graphc.frontends.dsl.movement import reshape

        return reshape(self._tensor, shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """See :func:`graphc.transpose`; the permutation as one tuple or as arguments."""
        from graphc.frontends.dsl.movement import transpose

        return transpose(self._tensor, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)

    def flatten(self) -> Tensor:
        """All elements along one axis, the last axis fastest."""
        return self.reshape(-1)

    def squeeze(self, axis: Axis = None) -> Tensor:
        """See :func:`graphc.squeeze`."""
        from graphc.frontends.dsl.movement import squeeze

        return squeeze(self._tensor, axis)

    def _reduced(self, name: str, axis: Axis, keepdims: bool, **options: Any) -> Tensor:
        from graphc.frontends.dsl import reductions

        made: Tensor = getattr(reductions, name)(self._tensor, axis=axis, keepdims=keepdims, **options)
        return made

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.sum`."""
        return self._reduced("sum", axis, keepdims)

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.prod`."""
        return self._reduced("prod", axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.mean`."""
        return self._reduced("mean", axis, keepdims)

    def var(self, axis: Axis = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """See :func:`graphc.var`."""
        return self._reduced("var", axis, keepdims, correction=correction)

    def std(self, axis: Axis = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
        """See :func:`graphc.std`."""
        return self._reduced("std", axis, keepdims, correction=correction)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.max`."""
        return self._reduced("max", axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.min`."""
        return self._reduced("min", axis, keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.any`."""
        return self._reduced("any", axis, keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.all`."""
        return self._reduced("all", axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.argmax`."""
        return self._reduced("argmax", axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """See :func:`graphc.argmin`."""
        return self._reduced("argmin", axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """See :func:`graphc.cumulative_sum`."""
        from graphc.frontends.dsl.reductions import cumulative_sum

        return cumulative_sum(self._tensor, axis=axis)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """See :func:`graphc.clip`."""
        from graphc.frontends.dsl.elementwise import clip

        return clip(self._tensor, min, max)
