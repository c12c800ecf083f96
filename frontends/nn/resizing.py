"""Axes made longer or shorter by a product with a fixed matrix, whose derivative is its transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.movement import moveaxis
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail


def resized(x: Tensor, axis: int, factor: int) -> Tensor:
    """An axis ``factor`` times as long, linear between the elements' centres and constant beyond the outermost.

    New element i stands at (i + 1/2) / factor - 1/2.
    """
    if factor == 1:
        return x
    length = _length(x, axis)
    places = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    weights = np.zeros((length, length * factor))
    np.add.at(weights, (low, np.arange(length * factor)), 1.0 - (places - low))
    np.add.at(weights, (high, np.arange(length * factor)), places - low)
    return _mixed(x, axis, weights)


def averaged(x: Tensor, axis: int, parts: int) -> Tensor:
    """Means of ``parts`` windows along an axis: number i goes from floor(i · length / parts) to
    ceil((i + 1) · length / parts).
    """
    length = _length(x, axis)
    weights = np.zeros((length, parts))
    for part in range(parts):
        start, stop = part * length // parts, -(-(part + 1) * length // parts)
        weights[start:stop, part] = 1.0 / (stop - start)
    return _mixed(x, axis, weights)


def _length(x: Tensor, axis: int) -> int:
    length = x.shape[axis]
    if not isinstance(length, int):
        raise fail(GraphcValueError, "E214", f"axis {axis} needs a static size, got the symbol {length}", None, x)
    return length


def _mixed(x: Tensor, axis: int, weights: np.ndarray[Any, Any]) -> Tensor:
    return moveaxis(matmul(moveaxis(x, axis, -1), as_tensor(weights, x.dtype, x.builder)), -1, axis)
