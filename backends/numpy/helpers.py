"""Functions that generated modules carry with them, where NumPy alone does not mean what an op means.

They are ordinary, tested Python.  ``library`` copies those that a module calls into it, without type annotations; so
they use nothing but numpy, builtins and each other, and explain themselves in docstrings, which a copy keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def _round_bfloat16(x: Array) -> Array:
    """The nearest bfloat16 values (ties to even), held as float32."""
    single = np.array(x, dtype=np.float32)
    bits = single.view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    rounded = np.where(np.isnan(single), bits | np.uint32(0x400000), rounded) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _from_bfloat16(bits: Array) -> Array:
    """bfloat16 values from their bits in uint16."""
    return (np.asarray(bits).view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _to_bfloat16(x: Array) -> Array:
    """The bits of bfloat16 values, as uint16."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return (bits >> np.uint32(16)).astype(np.uint16).reshape(np.shape(x))


def _to_integer(x: Array, dtype: Any) -> Any:
    """Float to integer: truncated; too large or small gives the end of the range, NaN gives 0."""
    limits = np.iinfo(dtype)
    whole = np.trunc(np.asarray(x, dtype=np.float64))
    low, beyond = float(limits.min), float(limits.max // 2 + 1) * 2.0
    inside = (whole >= low) & (whole < beyond)
    result = np.where(inside, whole, 0.0).astype(dtype)
    result = np.where(whole < low, dtype(limits.min), result)
    return np.where(whole >= beyond, dtype(limits.max), result)


def _floor_divide(x: Array, y: Array) -> Any:
    """Integer division toward minus infinity; by zero it gives 0, and the smallest integer by -1 itself."""
    x, y = np.asarray(x), np.asarray(y)
    negate = y == -1 if y.dtype.kind == "i" else np.zeros(y.shape, bool)
    quotient = np.where(negate, np.negative(x), np.floor_divide(x, np.where((y == 0) | negate, y.dtype.type(1), y)))
    return np.where(y == 0, x.dtype.type(0), quotient)


def _remainder(x: Array, y: Array) -> Any:
    """What integer division toward minus infinity leaves; by zero it gives 0."""
    x, y = np.asarray(x), np.asarray(y)
    trivial = (y == 0) | (y == -1) if y.dtype.kind == "i" else y == 0
    return np.remainder(x, np.where(trivial, y.dtype.type(1), y))


def _integer_power(x: Array, y: Array) -> Any:
    """X to the power y, wrapping; a negative power of anything but 1 and -1 is 0."""
    x, y = np.asarray(x), np.asarray(y)
    power = np.power(x, np.maximum(y, y.dtype.type(0)))
    if y.dtype.kind == "u":
        return power
    one = x.dtype.type(1)
    of_minus_one = np.where(y % 2 == 0, one, -one)
    negative = np.where(x == 1, one, np.where(x == -1, of_minus_one, x.dtype.type(0)))
    return np.where(y < 0, negative, power)


def _power(x: Array, y: Array) -> Any:
    """X to the power y.  For 1/2 NumPy may take the square root, which is another one of -0 and of -inf."""
    return np.where((y == 0.5) & ((x == 0) | np.isinf(x)), np.abs(x), np.power(x, y))


def _left_shift(x: Array, amount: Array) -> Any:
    """X * 2**amount, wrapping; 0 where the amount is negative or not below the width."""
    x, amount = np.asarray(x), np.asarray(amount)
    fits = (amount >= 0) & (amount < 8 * x.dtype.itemsize)
    return np.where(fits, np.left_shift(x, np.where(fits, amount, amount.dtype.type(0))), x.dtype.type(0))


def _right_shift(x: Array, amount: Array) -> Any:
    """X / 2**amount toward minus infinity; 0 or -1 where the amount is negative or not below the width."""
    x, amount = np.asarray(x), np.asarray(amount)
    fits = (amount >= 0) & (amount < 8 * x.dtype.itemsize)
    signs_only = amount.dtype.type(8 * x.dtype.itemsize - 1)
    shifted = np.right_shift(x, np.where(fits, amount, signs_only))
    return np.where(fits | (x < 0), shifted, x.dtype.type(0))


def _sigmoid(x: Array) -> Any:
    """1 / (1 + exp(-x)); the exponential is of a number that is not positive, so it cannot overflow."""
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))


def _erf(x: Array) -> Any:
    """The error function to about 1e-15.

    Near 0 the series erf(x) = 2 x exp(-x²) / sqrt(pi) * sum of (2 x²)**n / (1 * 3 * ... * (2 n + 1)); elsewhere
    1 - erfc(x), where (x + 3) exp(x²) erfc(x) is a Chebyshev expansion in (x - 3) / (x + 3).
    """
    coefficients = (
        2.826876447961744,
        -1.1314768490746974,
        0.35410810034248635,
        -0.08508704009908545,
        0.014615273272816639,
        -0.0013795571636296329,
        -6.429066714315945e-05,
        3.9043421097724045e-05,
        -2.642785074856054e-06,
        -8.239440143910853e-07,
        1.3247975697671355e-07,
        1.919522515672645e-08,
        -5.030507163745393e-09,
        -5.842006410267007e-10,
        1.8742323910408168e-10,
        2.4373672656733487e-11,
        -6.990943839667697e-12,
        -1.2573115617676e-12,
        2.458000580643909e-13,
        7.005741632378779e-14,
        -6.732775694749609e-15,
        -3.843430589415152e-15,
        3.3163748896188907e-18,
        1.9337385406947118e-16,
        1.957552792661546e-17,
    )
    value = np.asarray(x, dtype=np.float64)
    size = np.minimum(np.abs(value), 6.0)
    square = size * size
    near = np.minimum(square, 0.25)
    series = np.ones_like(near)
    for n in range(14, 0, -1):
        series = 1.0 + series * (2.0 * near) / (2 * n + 1)
    small = 1.1283791670955126 * size * np.exp(-near) * series
    place = 2.0 * (size - 3.0) / (size + 3.0)
    after, last = np.zeros_like(size), np.zeros_like(size)
    for coefficient in coefficients[:0:-1]:
        after, last = place * after - last + coefficient, after
    chebyshev = 0.5 * place * after - last + 0.5 * coefficients[0]
    large = 1.0 - np.exp(-square) * chebyshev / (size + 3.0)
    return np.copysign(np.where(size < 0.5, small, large), value).astype(x.dtype)


def _check_indices(op: str, indices: Array, limit: int) -> Array:
    """The indices as int64; an IndexError with position, value and limit where one is outside [0, limit)."""
    positions = np.asarray(indices).astype(np.int64)
    wrong = (positions < 0) | (positions >= limit)
    if wrong.any():
        place = tuple(int(part[0]) for part in np.nonzero(np.atleast_1d(wrong)))[: positions.ndim]
        raise IndexError(f"{op}: index {int(positions[place])} at position {place} is not in [0, {limit})")
    return positions


def _scatter_add(base: Array, indices: Array, updates: Array, axis: int) -> Array:
    """A copy of base with the updates added at positions along an axis, one after the other."""
    positions = _check_indices("scatter_add", indices, base.shape[axis])
    total = np.array(base)
    sources = np.moveaxis(updates, tuple(range(axis, axis + positions.ndim)), tuple(range(positions.ndim)))
    np.add.at(np.moveaxis(total, axis, 0), positions, sources)
    return total


def _scatter_add_along_axis(base: Array, indices: Array, updates: Array, axis: int) -> Array:
    """A copy of base with each update added at its own position along an axis, one after the other."""
    place = list(np.ogrid[tuple(slice(length) for length in indices.shape)])
    place[axis] = _check_indices("scatter_add_along_axis", indices, base.shape[axis])
    total = np.array(base)
    np.add.at(total, tuple(place), updates)
    return total


def _argsort_descending(x: Array, axis: int) -> Any:
    """The positions that sort from large to small; equals keep their order, NaN comes last."""
    # The complement of integers reverses their order and cannot overflow as the negative can.
    return np.argsort(-x if x.dtype.kind == "f" else ~x, axis=axis, kind="stable")


def _reduce_windows(function: Any, windows: Array, count: int) -> Array:
    """The reduction of sliding windows over their last ``count`` axes, one offset in the window at a time."""
    first, *others = np.ndindex(windows.shape[windows.ndim - count :])
    total = np.array(windows[(..., *first)])
    for offset in others:
        function(total, windows[(..., *offset)], out=total)
    return total


def _fold_patches(
    windows: Array, axes: Sequence[int], strides: Sequence[int], dilation: Sequence[int], shape: Sequence[int]
) -> Array:
    """The transpose of sliding windows: each is added to where it was taken from, one offset in it at a time."""
    total = np.zeros(shape, windows.dtype)
    for offset in np.ndindex(windows.shape[len(shape) :]):
        place = [slice(None)] * len(shape)
        for tap, axis, stride, gap in zip(offset, axes, strides, dilation, strict=True):
            place[axis] = slice(tap * gap, tap * gap + (windows.shape[axis] - 1) * stride + 1, stride)
        total[tuple(place)] += windows[(..., *offset)]
    return total


def _philox(counter: Sequence[Any], key: Sequence[int]) -> list[Array]:
    """Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, 2011): four random words for four counter words and a key."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b, c, d = (np.asarray(word, dtype=np.uint64) & low for word in counter)
    first_key, second_key = key
    for _ in range(10):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b = (second >> half) ^ b ^ np.uint64(first_key), second & low
        c, d = (first >> half) ^ d ^ np.uint64(second_key), first & low
        first_key, second_key = (first_key + 0x9E3779B9) & 0xFFFFFFFF, (second_key + 0xBB67AE85) & 0xFFFFFFFF
    return list(np.broadcast_arrays(a, b, c, d))


def _random_uniform(key: Array, shape: Sequence[int], stream: int, dtype: Any) -> Array:
    """Uniform random numbers in [0, 1) that depend on the key (seed, step), the stream and the position alone."""
    seed, step = (int(word) & 0xFFFFFFFFFFFFFFFF for word in key)
    count = 1
    for length in shape:
        count *= length
    single = dtype is np.float32
    block = np.arange(-(-count // (4 if single else 2)), dtype=np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    words = _philox((block & low, block >> half, stream, step & 0xFFFFFFFF), (seed & 0xFFFFFFFF, seed >> 32))
    if single:
        columns = [(word >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24) for word in words]
    else:
        pairs = ((words[0], words[1]), (words[2], words[3]))
        columns = [(((high << half) | rest) >> np.uint64(11)).astype(np.float64) * 2.0**-53 for high, rest in pairs]
    return np.stack(columns, axis=-1).reshape(-1)[:count].reshape(shape)
