"""Elementary functions of floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.types import FLOATS
from graphc.ops.pointwise import Compute, register_pointwise

Array = np.ndarray[Any, Any]


def _erf(x: Array) -> Any:
    # NumPy has no erf, and graphc needs NumPy alone: the C library's, one element at a time.
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def _sigmoid(x: Array) -> Any:
    # exp of a number that is not positive: it cannot overflow.
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))


def _softplus(x: Array) -> Any:
    return np.logaddexp(x, np.zeros_like(x))


def _unary(
    name: str, compute: Compute, summary: str, expression: str, domain: tuple[float, float] | None = None
) -> None:
    op = register_pointwise(name, 1, FLOATS, compute, summary, expression=expression)
    if domain is not None:
        op.extra["domain"] = domain


_unary("sqrt", np.sqrt, "square root", "sqrt(x)", (0.0, math.inf))
_unary("exp", np.exp, "e to the power x", "exp(x)")
_unary("expm1", np.expm1, "exp(x) - 1, accurate near 0", "exp(x) - 1")
_unary("log", np.log, "natural logarithm", "log(x)", (0.0, math.inf))
_unary("log1p", np.log1p, "log(1 + x), accurate near 0", "log(1 + x)", (-1.0, math.inf))
_unary("log2", np.log2, "logarithm to base 2", "log(x)/log(2)", (0.0, math.inf))
_unary("log10", np.log10, "logarithm to base 10", "log(x)/log(10)", (0.0, math.inf))
_unary("sin", np.sin, "sine", "sin(x)")
_unary("cos", np.cos, "cosine", "cos(x)")
_unary("tan", np.tan, "tangent", "tan(x)")
_unary("asin", np.arcsin, "inverse sine", "asin(x)", (-1.0, 1.0))
_unary("acos", np.arccos, "inverse cosine", "acos(x)", (-1.0, 1.0))
_unary("atan", np.arctan, "inverse tangent", "atan(x)")
_unary("sinh", np.sinh, "hyperbolic sine", "sinh(x)")
_unary("cosh", np.cosh, "hyperbolic cosine", "cosh(x)")
_unary("tanh", np.tanh, "hyperbolic tangent", "tanh(x)")
_unary("asinh", np.arcsinh, "inverse hyperbolic sine", "asinh(x)")
_unary("acosh", np.arccosh, "inverse hyperbolic cosine", "acosh(x)", (1.0, math.inf))
_unary("atanh", np.arctanh, "inverse hyperbolic tangent", "atanh(x)", (-1.0, 1.0))
_unary("erf", _erf, "error function", "erf(x)")
_unary("sigmoid", _sigmoid, "1 / (1 + exp(-x))", "1/(1 + exp(-x))")
_unary("softplus", _softplus, "log(1 + exp(x))", "log(1 + exp(x))")

register_pointwise(
    "atan2",
    2,
    FLOATS,
    np.arctan2,
    "angle of the point (y, x), x being the height",
    expression="atan2(x, y)",
    discontinuous=True,
)
register_pointwise("hypot", 2, FLOATS, np.hypot, "sqrt(x² + y²) without overflow", expression="sqrt(x**2 + y**2)")
register_pointwise(
    "logaddexp", 2, FLOATS, np.logaddexp, "log(exp(x) + exp(y)) without overflow", expression="log(exp(x) + exp(y))"
)
register_pointwise(
    "copysign",
    2,
    FLOATS,
    np.copysign,
    "the magnitude of x with the sign bit of y",
    expression="Piecewise((Abs(x), y >= 0), (-Abs(x), True))",
    discontinuous=True,
)
