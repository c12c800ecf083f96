"""Arithmetic on numbers: sums, products, quotients, powers, extrema, rounding.

Integers wrap.  Division and remainder by zero are 0, and both round toward minus infinity.  On floats they follow
NumPy: the remainder r is C's ``fmod(x, y)``, plus y where r is not zero and its sign differs from y's, and a zero r
takes the sign of y; the quotient is (x - fmod(x, y)) / y less 1 where y was added, rounded to the nearest integer.  So
``1.0 // 0.1`` is 9, not the floor of the rounded quotient; ``x // inf`` is 0 or -1, ``inf // y`` is NaN, ``x // 0``
is x / 0, and ``x % 0`` is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.types import FLOATS, NUMERIC
from graphc.ops.pointwise import register_pointwise

Array = np.ndarray[Any, Any]


def _is_integer(x: Array) -> bool:
    return x.dtype.kind in "iu"


def _floor(x: Array) -> Any:
    return x if _is_integer(x) else np.floor(x)


def _ceil(x: Array) -> Any:
    return x if _is_integer(x) else np.ceil(x)


def _trunc(x: Array) -> Any:
    return x if _is_integer(x) else np.trunc(x)


def _round(x: Array) -> Any:
    return x if _is_integer(x) else np.rint(x)


def _relu(x: Array) -> Any:
    # Written so that a NaN stays and -0 becomes 0.
    return np.where(x <= 0, np.zeros_like(x), x)


def _floor_divide(x: Array, y: Array) -> Any:
    if not _is_integer(x):
        return np.floor_divide(x, y)
    divisor = np.where((y == 0) | _is_minus_one(y), np.ones_like(y), y)
    quotient = np.where(_is_minus_one(y), np.negative(x), np.floor_divide(x, divisor))
    return np.where(y == 0, np.zeros_like(quotient), quotient)


def _remainder(x: Array, y: Array) -> Any:
    if not _is_integer(x):
        return np.remainder(x, y)
    # By 1 everything leaves 0, which is also the answer for 0 and for -1.
    return np.remainder(x, np.where((y == 0) | _is_minus_one(y), np.ones_like(y), y))


def _is_minus_one(y: Array) -> Any:
    return np.zeros(y.shape, bool) if y.dtype.kind == "u" else y == -1


def _pow(x: Array, y: Array) -> Any:
    """Integers: x to a negative power is 1 for 1, +1 or -1 for -1, else 0; also 0 for 0.  Floats: as in C99."""
    if not _is_integer(x):
        # Where y is 1/2 for all of x NumPy takes the square root, which is another one of -0 and of -inf.
        return np.where((y == 0.5) & ((x == 0) | np.isinf(x)), np.abs(x), np.power(x, y))
    power = np.power(x, np.maximum(y, np.zeros_like(y)))
    if x.dtype.kind == "u":
        return power
    ones = np.ones_like(power)
    of_minus_one = np.where(y % 2 == 0, ones, -ones)
    negative = np.where(x == 1, ones, np.where(x == -1, of_minus_one, np.zeros_like(power)))
    return np.where(y < 0, negative, power)


register_pointwise("negative", 1, NUMERIC, np.negative, "-x", expression="-x")
register_pointwise("abs", 1, NUMERIC, np.abs, "magnitude", expression="Abs(x)")
register_pointwise(
    "sign",
    1,
    NUMERIC,
    np.sign,
    "-1, 0 or 1; NaN of NaN",
    expression="sign(x)",
    differentiable=False,
    discontinuous=True,
)
register_pointwise("square", 1, NUMERIC, np.square, "x * x", expression="x**2")
register_pointwise("reciprocal", 1, FLOATS, lambda x: 1 / x, "1 / x", expression="1/x")
register_pointwise(
    "floor",
    1,
    NUMERIC,
    _floor,
    "largest integer not above x",
    expression="floor(x)",
    differentiable=False,
    discontinuous=True,
)
register_pointwise(
    "ceil",
    1,
    NUMERIC,
    _ceil,
    "smallest integer not below x",
    expression="ceiling(x)",
    differentiable=False,
    discontinuous=True,
)
register_pointwise(
    "trunc",
    1,
    NUMERIC,
    _trunc,
    "x without its fraction",
    expression="sign(x)*floor(Abs(x))",
    differentiable=False,
    discontinuous=True,
)
register_pointwise(
    "round", 1, NUMERIC, _round, "nearest integer, ties to the even one", differentiable=False, discontinuous=True
)
register_pointwise("relu", 1, NUMERIC, _relu, "x where positive, else 0; NaN of NaN", expression="Max(x, 0)")

register_pointwise("add", 2, NUMERIC, np.add, "x + y", expression="x + y")
register_pointwise("subtract", 2, NUMERIC, np.subtract, "x - y", expression="x - y")
register_pointwise("multiply", 2, NUMERIC, np.multiply, "x * y", expression="x*y")
register_pointwise("divide", 2, FLOATS, np.divide, "x / y", expression="x/y")
register_pointwise(
    "floor_divide",
    2,
    NUMERIC,
    _floor_divide,
    "x / y rounded toward minus infinity",
    expression="floor(x/y)",
    differentiable=False,
    discontinuous=True,
)
register_pointwise(
    "remainder",
    2,
    NUMERIC,
    _remainder,
    "what floor_divide leaves; the sign of y",
    expression="x - y*floor(x/y)",
    discontinuous=True,
)
register_pointwise("pow", 2, NUMERIC, _pow, "x to the power y", expression="x**y", domain=(0.0, math.inf))
register_pointwise("maximum", 2, NUMERIC, np.maximum, "the larger; NaN if either is", expression="Max(x, y)")
register_pointwise("minimum", 2, NUMERIC, np.minimum, "the smaller; NaN if either is", expression="Min(x, y)")
