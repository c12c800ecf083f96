"""Bits of integers and bools.

A shift by the width or more gives 0, or -1 for a right shift of a negative number; a negative amount counts as one
that is too large.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.types import INTEGERS, DType, bool_
from graphc.ops.pointwise import Compute, register_pointwise

Array = np.ndarray[Any, Any]


def _fits(x: Array, amount: Array) -> Any:
    return (amount >= 0) & (amount < 8 * x.dtype.itemsize)


def _left_shift(x: Array, amount: Array) -> Any:
    fits = _fits(x, amount)
    return np.where(fits, np.left_shift(x, np.where(fits, amount, np.zeros_like(amount))), np.zeros_like(x))


def _right_shift(x: Array, amount: Array) -> Any:
    # One bit less than the width leaves nothing but copies of the sign.
    signs_only = np.full_like(amount, 8 * x.dtype.itemsize - 1)
    shifted = np.right_shift(x, np.where(_fits(x, amount), amount, signs_only))
    return np.where(_fits(x, amount) | (x < 0), shifted, np.zeros_like(x))


def _bits(name: str, arity: int, dtypes: tuple[DType, ...], compute: Compute, summary: str) -> None:
    register_pointwise(name, arity, dtypes, compute, summary, differentiable=False, discontinuous=True)


_bits("bitwise_invert", 1, (bool_, *INTEGERS), np.invert, "every bit inverted; not x for a bool")
_bits("bitwise_and", 2, (bool_, *INTEGERS), np.bitwise_and, "bits set in both")
_bits("bitwise_or", 2, (bool_, *INTEGERS), np.bitwise_or, "bits set in either")
_bits("bitwise_xor", 2, (bool_, *INTEGERS), np.bitwise_xor, "bits set in one of the two")
_bits("bitwise_left_shift", 2, INTEGERS, _left_shift, "x * 2**y, wrapping")
_bits("bitwise_right_shift", 2, INTEGERS, _right_shift, "x / 2**y rounded toward minus infinity")
