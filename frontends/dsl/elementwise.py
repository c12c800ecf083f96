"""Functions of each element, under their Array API names."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, binary, fail, logical_or_bitwise, promoted, to_dtype
from graphc.ir.types import DType, bool_, float32


def _float_unary(op: str, x: Any) -> Tensor:
    """A function of floats; a Python integer counts as a float32."""
    return apply(op, as_tensor(x, float32) if isinstance(x, int) and not isinstance(x, bool) else as_tensor(x))


def astype(x: Any, dtype: DType | str | type | np.dtype[Any]) -> Tensor:
    """The values cast: floats to integers truncate and saturate (NaN is 0), wide integers wrap, bool is ``!= 0``."""
    tensor, target = as_tensor(x), to_dtype(dtype)
    return tensor if target is tensor.dtype else apply("cast", tensor, dtype=target)


def stop_gradient(x: Any) -> Tensor:
    """``x`` itself, which derivatives treat as a constant."""
    return apply("stop_gradient", as_tensor(x))


# -- one operand, floats -------------------------------------------------------------------------------------------


def sqrt(x: Any) -> Tensor:
    """The square root; NaN below zero."""
    return _float_unary("sqrt", x)


def exp(x: Any) -> Tensor:
    """The exponential."""
    return _float_unary("exp", x)


def expm1(x: Any) -> Tensor:
    """exp(x) - 1, exact near 0."""
    return _float_unary("expm1", x)


def log(x: Any) -> Tensor:
    """The natural logarithm."""
    return _float_unary("log", x)


def log1p(x: Any) -> Tensor:
    """log(1 + x), exact near 0."""
    return _float_unary("log1p", x)


def log2(x: Any) -> Tensor:
    """The logarithm to base 2."""
    return _float_unary("log2", x)


def log10(x: Any) -> Tensor:
    """The logarithm to base 10."""
    return _float_unary("log10", x)


def sin(x: Any) -> Tensor:
    """The sine of radians."""
    return _float_unary("sin", x)


def cos(x: Any) -> Tensor:
    """The cosine of radians."""
    return _float_unary("cos", x)


def tan(x: Any) -> Tensor:
    """The tangent of radians."""
    return _float_unary("tan", x)


def asin(x: Any) -> Tensor:
    """The inverse sine, in radians."""
    return _float_unary("asin", x)


def acos(x: Any) -> Tensor:
    """The inverse cosine, in radians."""
    return _float_unary("acos", x)


def atan(x: Any) -> Tensor:
    """The inverse tangent, in radians."""
    return _float_unary("atan", x)


def sinh(x: Any) -> Tensor:
    """The hyperbolic sine."""
    return _float_unary("sinh", x)


def cosh(x: Any) -> Tensor:
    """The hyperbolic cosine."""
    return _float_unary("cosh", x)


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent."""
    return _float_unary("tanh", x)


def asinh(x: Any) -> Tensor:
    """The inverse hyperbolic sine."""
    return _float_unary("asinh", x)


def acosh(x: Any) -> Tensor:
    """The inverse hyperbolic cosine."""
    return _float_unary("acosh", x)


def atanh(x: Any) -> Tensor:
    """The inverse hyperbolic tangent."""
    return _float_unary("atanh", x)


def erf(x: Any) -> Tensor:
    """The error function."""
    return _float_unary("erf", x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _float_unary("sigmoid", x)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return _float_unary("softplus", x)


def reciprocal(x: Any) -> Tensor:
    """1 / x."""
    return _float_unary("reciprocal", x)


# -- one operand, numbers ------------------------------------------------------------------------------------------


def negative(x: Any) -> Tensor:
    """-x."""
    return apply("negative", as_tensor(x))


def positive(x: Any) -> Tensor:
    """+x: x itself."""
    return as_tensor(x)


def abs(x: Any) -> Tensor:
    """The magnitude."""
    return apply("abs", as_tensor(x))


def sign(x: Any) -> Tensor:
    """-1, 0 or 1; NaN of NaN."""
    return apply("sign", as_tensor(x))


def square(x: Any) -> Tensor:
    """X * x."""
    return apply("square", as_tensor(x))


def floor(x: Any) -> Tensor:
    """The largest integer not above x."""
    return apply("floor", as_tensor(x))


def ceil(x: Any) -> Tensor:
    """The smallest integer not below x."""
    return apply("ceil", as_tensor(x))


def trunc(x: Any) -> Tensor:
    """X without its fraction."""
    return apply("trunc", as_tensor(x))


def round(x: Any) -> Tensor:
    """The nearest integer, ties to the even one."""
    return apply("round", as_tensor(x))


def relu(x: Any) -> Tensor:
    """max(x, 0); its derivative at 0 is 0."""
    return apply("relu", as_tensor(x))


def isnan(x: Any) -> Tensor:
    """True for NaN."""
    return apply("isnan", as_tensor(x))


def isinf(x: Any) -> Tensor:
    """True for the infinities."""
    return apply("isinf", as_tensor(x))


def isfinite(x: Any) -> Tensor:
    """True for neither NaN nor an infinity."""
    return apply("isfinite", as_tensor(x))


# -- two operands --------------------------------------------------------------------------------------------------


def add(x1: Any, x2: Any) -> Tensor:
    """x1 + x2."""
    return binary("add", x1, x2)


def subtract(x1: Any, x2: Any) -> Tensor:
    """x1 - x2."""
    return binary("subtract", x1, x2)


def multiply(x1: Any, x2: Any) -> Tensor:
    """x1 * x2."""
    return binary("multiply", x1, x2)


def divide(x1: Any, x2: Any) -> Tensor:
    """x1 / x2 of floats."""
    return binary("divide", x1, x2)


def floor_divide(x1: Any, x2: Any) -> Tensor:
    """x1 / x2 rounded toward minus infinity; integers by zero give 0."""
    return binary("floor_divide", x1, x2)


def remainder(x1: Any, x2: Any) -> Tensor:
    """What floor_divide leaves, with the sign of x2; integers by zero give 0."""
    return binary("remainder", x1, x2)


def pow(x1: Any, x2: Any) -> Tensor:
    """x1 to the power x2."""
    return binary("pow", x1, x2)


def maximum(x1: Any, x2: Any) -> Tensor:
    """The larger; NaN if either is."""
    return binary("maximum", x1, x2)


def minimum(x1: Any, x2: Any) -> Tensor:
    """The smaller; NaN if either is."""
    return binary("minimum", x1, x2)


def atan2(x1: Any, x2: Any) -> Tensor:
    """The angle of the point (x2, x1), in radians."""
    return binary("atan2", x1, x2)


def hypot(x1: Any, x2: Any) -> Tensor:
    """sqrt(x1² + x2²), without overflow."""
    return binary("hypot", x1, x2)


def logaddexp(x1: Any, x2: Any) -> Tensor:
    """log(exp(x1) + exp(x2)), without overflow."""
    return binary("logaddexp", x1, x2)


def copysign(x1: Any, x2: Any) -> Tensor:
    """The magnitude of x1 with the sign of x2."""
    return binary("copysign", x1, x2)


def equal(x1: Any, x2: Any) -> Tensor:
    """x1 == x2."""
    return binary("equal", x1, x2)


def not_equal(x1: Any, x2: Any) -> Tensor:
    """x1 != x2."""
    return binary("not_equal", x1, x2)


def less(x1: Any, x2: Any) -> Tensor:
    """x1 < x2."""
    return binary("less", x1, x2)


def less_equal(x1: Any, x2: Any) -> Tensor:
    """x1 <= x2."""
    return binary("less_equal", x1, x2)


def greater(x1: Any, x2: Any) -> Tensor:
    """x1 > x2."""
    return binary("greater", x1, x2)


def greater_equal(x1: Any, x2: Any) -> Tensor:
    """x1 >= x2."""
    return binary("greater_equal", x1, x2)


def logical_and(x1: Any, x2: Any) -> Tensor:
    """True where both bools are."""
    return binary("logical_and", x1, x2)


def logical_or(x1: Any, x2: Any) -> Tensor:
    """True where one of the bools is."""
    return binary("logical_or", x1, x2)


def logical_xor(x1: Any, x2: Any) -> Tensor:
    """True where exactly one of the bools is."""
    return binary("logical_xor", x1, x2)


def logical_not(x: Any) -> Tensor:
    """True where the bool is false."""
    return apply("logical_not", as_tensor(x))


def bitwise_and(x1: Any, x2: Any) -> Tensor:
    """The bits both have, of integers or bools."""
    return logical_or_bitwise("and", x1, x2)


def bitwise_or(x1: Any, x2: Any) -> Tensor:
    """The bits either has, of integers or bools."""
    return logical_or_bitwise("or", x1, x2)


def bitwise_xor(x1: Any, x2: Any) -> Tensor:
    """The bits exactly one has, of integers or bools."""
    return logical_or_bitwise("xor", x1, x2)


def bitwise_invert(x: Any) -> Tensor:
    """All bits turned over, of integers or bools."""
    return logical_or_bitwise("not", x)


def bitwise_left_shift(x1: Any, x2: Any) -> Tensor:
    """x1 shifted left by x2 bits; 0 where x2 is the width or more, or negative."""
    return binary("bitwise_left_shift", x1, x2)


def bitwise_right_shift(x1: Any, x2: Any) -> Tensor:
    """x1 shifted right by x2 bits, the sign kept."""
    return binary("bitwise_right_shift", x1, x2)


# -- choices -------------------------------------------------------------------------------------------------------


def where(condition: Any, x1: Any, x2: Any) -> Tensor:
    """x1 where the condition is true, else x2."""
    chooser = as_tensor(condition)
    if chooser.dtype is not bool_:
        raise fail(
            GraphcTypeError,
            "E212",
            f"the condition must be bool, got {chooser.dtype}",
            "compare it with something",
            chooser,
        )
    return apply("select", chooser, *promoted(x1, x2))


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """x, no smaller than ``min`` and no larger than ``max``; None leaves that side open.  NaN stays.

    On the boundary the derivative by x is 1, which is why this is no pair of maximum and minimum.
    """
    result = as_tensor(x)
    if min is not None:
        result = where(binary("less", result, min), min, result)
    if max is not None:
        result = where(binary("greater", result, max), max, result)
    return result


def step(x: Any) -> Tensor:
    """1 where x is positive, else 0; its derivative is 0 everywhere."""
    tensor = as_tensor(x)
    return astype(tensor > 0, tensor.dtype)
