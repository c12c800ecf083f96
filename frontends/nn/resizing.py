"""Linear interpolation along an axis."""

from __future__ import annotations

import numpy as np

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import moveaxis
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail


def resized(x: Tensor, axis: int, factor: int) -> Tensor:
    """An axis ``factor`` times as long, linear between the elements' centres and constant beyond the outermost.

    New element i stands at (i + 1/2) / factor - 1/2.  The interpolation is a product with a fixed matrix, whose
    derivative is its transpose.
    """
    length = x.shape[axis]
    if factor == 1:
        return x
    if not isinstance(length, int):
        raise fail(GraphcValueError, "E214", f"interpolation needs a static size, got the symbol {length}", None, x)
    places = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    weights = np.zeros((length, length * factor))
    np.add.at(weights, (low, np.arange(length * factor)), 1.0 - (places - low))
    np.add.at(weights, (high, np.arange(length * factor)), places - low)
    return moveaxis(matmul(moveaxis(x, axis, -1), as_tensor(weights, x.dtype, x.builder)), -1, axis)
