"""The transformations of F(2×2, 3×3): sums of a tile's elements, a value for each of 4×4 places.

Written ``M · Mᵀ``: each combines rows, then columns.  Planes come first, (16, …): one matrix for each place.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, product
from graphc.ir.node import Node

Matrix = tuple[tuple[float, ...], ...]

DATA: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
KERNEL: Matrix = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
RESULT: Matrix = ((1, 1, 1, 0), (0, 1, -1, 1))


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _combined(b: Builder, matrix: Matrix, grid: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """``matrix · grid · matrixᵀ``."""
    columns = [[_weighted(b, row, column) for row in matrix] for column in zip(*grid, strict=True)]
    return [[_weighted(b, row, across) for row in matrix] for across in zip(*columns, strict=True)]


def _weighted(b: Builder, weights: Sequence[float], values: Sequence[Node]) -> Node:
    """The sum of values times weights, of which one is positive: what is added comes first, and nothing is negated."""
    pairs = sorted(((w, v) for w, v in zip(weights, values, strict=True) if w), key=lambda pair: pair[0] < 0)
    total: Node | None = None
    for weight, value in pairs:
        if abs(weight) != 1:
            value = b.op("multiply", value, b.constant(abs(weight), value.dtype))
        total = value if total is None else b.op("add" if weight > 0 else "subtract", total, value)
    assert total is not None
    return total


def _stacked(b: Builder, grid: Sequence[Sequence[Node]]) -> Node:
    """Values of shape (…, c) → (places, elements, c)."""
    planes = [value for row in grid for value in row]
    *elements, channels = planes[0].shape
    return b.op("reshape", b.op("stack", *planes, axis=0), shape=(len(planes), product(elements), channels))


def _unstacked(b: Builder, planes: Node, shape: Sequence[Dim]) -> list[list[Node]]:
    """(16, elements, c) → 4×4 values of shape (…, c)."""
    grid = b.op("reshape", planes, shape=(4, 4, *shape, planes.shape[-1]))
    return [_parts(b, row, 0, 4) for row in _parts(b, grid, 0, 4)]


def _parts(b: Builder, x: Node, axis: int, count: int) -> list[Node]:
    return [b.op("index", x, axis=axis, index=place) for place in range(count)]


def tiles_of_data(b: Builder, x: Node) -> Node:
    """Bᵀ x B of each tile: (images, 2 · tiles down + 2, 2 · tiles across + 2, c) → (16, images · tiles, c)."""
    images, height, width, channels = x.tensor.static_shape

    def place(down: int, across: int) -> Node:
        stops = (images, down + height - 3, across + width - 3, channels)
        return b.op("slice", x, starts=(0, down, across, 0), stops=stops, steps=(1, 2, 2, 1))

    return _stacked(b, _combined(b, DATA, [[place(i, j) for j in range(4)] for i in range(4)]))


def tiles_of_results(b: Builder, y: Node) -> Node:
    """A y Aᵀ of each tile: (images, 2 · tiles down, 2 · tiles across, c) → (16, images · tiles, c)."""
    images, height, width, filters = y.tensor.static_shape
    split = b.op("reshape", y, shape=(images, height // 2, 2, width // 2, 2, filters))
    rows = [b.op("index", split, axis=2, index=i) for i in range(2)]
    return _stacked(b, _combined(b, _transposed(RESULT), [_parts(b, row, 3, 2) for row in rows]))


def results_of(b: Builder, planes: Node, images: int, tiles: tuple[int, int]) -> Node:
    """Aᵀ m A of each tile: (16, images · tiles, c) → (images, 2 · tiles down, 2 · tiles across, c)."""
    high, wide = tiles
    rows = [b.op("stack", *row, axis=3) for row in _combined(b, RESULT, _unstacked(b, planes, (images, high, wide)))]
    return b.op("reshape", b.op("stack", *rows, axis=2), shape=(images, 2 * high, 2 * wide, planes.shape[-1]))


def tiles_of_kernel(b: Builder, kernel: Node) -> Node:
    """G w Gᵀ: (3, 3, channels, filters) → (16, channels, filters)."""
    return _stacked(b, _combined(b, KERNEL, [_parts(b, row, 0, 3) for row in _parts(b, kernel, 0, 3)]))


def kernel_of(b: Builder, planes: Node) -> Node:
    """Gᵀ m G: (16, channels, filters) → (3, 3, channels, filters)."""
    grid = _combined(b, _transposed(KERNEL), _unstacked(b, planes, planes.shape[1:2]))
    return b.op("stack", *(b.op("stack", *row, axis=0) for row in grid), axis=0)
