"""Affine functions of a kernel's axes: how lowering says where an element lies.

While a kernel is being built its axes are still being made, so a :class:`Map` here carries only the coefficients up
to its last axis that is not zero; :mod:`graphc.kernel.builder` widens them at the end.  An *index* is one such
function a dimension of a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.kernel.loopir import Map

IndexMap = tuple[Map, ...]
"""The position of an element in a tensor: one affine function of the kernel's axes a dimension."""

ZERO = Map(())


def axis_map(axis: int) -> Map:
    """The function that is the axis itself."""
    return Map((0,) * axis + (1,))


def shifted(map_: Map, offset: int) -> Map:
    """``map_ + offset``."""
    return Map(map_.coefficients, map_.offset + offset) if offset else map_


def combined(maps: Iterable[Map], factors: Iterable[int], offset: int = 0) -> Map:
    """``offset + Σ factor · map``."""
    total: list[int] = []
    for map_, factor in zip(maps, factors, strict=True):
        if not factor:
            continue
        offset += factor * map_.offset
        coefficients = map_.coefficients
        if len(coefficients) > len(total):
            total.extend([0] * (len(coefficients) - len(total)))
        for axis, coefficient in enumerate(coefficients):
            total[axis] += factor * coefficient
    while total and not total[-1]:
        total.pop()
    return Map(tuple(total), offset)


def axes_of(index: Iterable[Map]) -> set[int]:
    """The axes an index depends on."""
    return {axis for map_ in index for axis, coefficient in enumerate(map_.coefficients) if coefficient}


def plain_axis(map_: Map) -> int | None:
    """The axis that ``map_`` is, or None where it is anything else."""
    if map_.offset or not map_.coefficients or map_.coefficients[-1] != 1 or any(map_.coefficients[:-1]):
        return None
    return len(map_.coefficients) - 1


def reshaped(index: IndexMap, shape: Sequence[int], source: Sequence[int], extents: Sequence[int]) -> IndexMap | None:
    """The index into a tensor of shape ``source`` for an index into its row-major reshape ``shape``.

    None where it is not affine: an axis that runs over several dimensions of the source would have to be split.
    """
    result: list[Map] = [ZERO] * len(source)
    inner = len(shape)
    last = len(source)
    while inner and last:
        # The smallest group of trailing dimensions of both that holds equally many elements.
        first, outer = last - 1, inner - 1
        left, right = source[first], shape[outer]
        while left != right:
            if left < right:
                first -= 1
                left *= source[first]
            else:
                outer -= 1
                right *= shape[outer]
        if not _split(index[outer:inner], shape[outer:inner], source[first:last], extents, result, first):
            return None
        last, inner = first, outer
    return tuple(result)


def _row_major(shape: Sequence[int]) -> list[int]:
    strides = [1] * len(shape)
    for dimension in range(len(shape) - 2, -1, -1):
        strides[dimension] = strides[dimension + 1] * shape[dimension + 1]
    return strides


def _split(
    index: Sequence[Map],
    shape: Sequence[int],
    source: Sequence[int],
    extents: Sequence[int],
    result: list[Map],
    first: int,
) -> bool:
    """Write the source index of one group into ``result``; False where a carry between dimensions is possible."""
    linear = combined(index, _row_major(shape))
    strides = _row_major(source)
    digits: list[list[int]] = [[] for _ in source]
    rest = linear.offset
    offsets = []
    for stride in strides:
        offsets.append(rest // stride)
        rest %= stride
    largest = list(offsets)
    for axis, coefficient in enumerate(linear.coefficients):
        if not coefficient:
            continue
        # The outermost dimension whose stride divides the step; size-1 dimensions take nothing.
        place = next(
            (
                d
                for d, stride in enumerate(strides)
                if source[d] > 1 and coefficient >= stride and coefficient % stride == 0
            ),
            None,
        )
        if coefficient < 0 or place is None:
            return False
        step = coefficient // strides[place]
        digit = digits[place]
        digit.extend([0] * (axis + 1 - len(digit)))
        digit[axis] = step
        largest[place] += step * (extents[axis] - 1)
    if any(top >= size or low < 0 for top, size, low in zip(largest, source, offsets, strict=True)):
        return False
    for dimension, (digit, offset) in enumerate(zip(digits, offsets, strict=True)):
        result[first + dimension] = Map(tuple(digit), offset)
    return True
