"""Arithmetic of views and indices agrees with NumPy's own strides."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphc.kernel.affine import axis_map, combined, reshaped
from graphc.kernel.loopir import Map
from graphc.kernel.views import contiguous_strides, reshaped_strides

SIZES = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=0, max_size=4)


def _factors(draw: st.DrawFn, total: int) -> list[int]:
    shape = []
    while total > 1:
        factor = draw(st.sampled_from([n for n in range(2, total + 1) if total % n == 0]))
        shape.append(factor)
        total //= factor
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return shape


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    shape = draw(SIZES)
    return shape, _factors(draw, math.prod(shape))


@given(reshapes(), st.randoms(use_true_random=False))
def test_reshaped_strides(shapes: tuple[list[int], list[int]], random: object) -> None:
    shape, target = shapes
    order = list(range(len(shape)))
    random.shuffle(order)  # type: ignore[attr-defined]
    base = np.arange(math.prod(shape)).reshape([shape[d] for d in order]).transpose(np.argsort(order))
    strides = [0 if n == 1 else step // base.itemsize for n, step in zip(shape, base.strides, strict=True)]
    found = reshaped_strides(shape, strides, target)
    expected = base.reshape(target)
    shared = np.shares_memory(base, expected)
    assert (found is not None) == shared
    if found is not None:
        steps = [step * base.itemsize for step in found]
        np.testing.assert_array_equal(np.lib.stride_tricks.as_strided(base, target, steps), expected)


@given(reshapes())
def test_reshaped_index(shapes: tuple[list[int], list[int]]) -> None:
    source, shape = shapes
    axes = [d for d, extent in enumerate(shape) if extent > 1]
    extents = [shape[d] for d in axes]
    index = tuple(axis_map(axes.index(d)) if d in axes else Map(()) for d in range(len(shape)))
    found = reshaped(index, shape, source, extents)
    if found is None:
        # An axis runs over several dimensions of the source: only then.
        assert [n for n in source if n > 1] != extents
        return
    flat = combined(found, [math.prod(source[d + 1 :]) for d in range(len(source))])
    steps = contiguous_strides(shape)
    assert flat.offset == 0
    assert [*flat.coefficients, *[0] * (len(axes) - len(flat.coefficients))] == [steps[d] for d in axes]
