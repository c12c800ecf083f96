"""The largest error of each function, in units in the last place of the correctly rounded result.

Measured, then rounded up by a twentieth or more: for float32 16 million arguments against float64 functions, for
float64 24,000 against mpmath, both over the whole domain, with and without fused multiply-add; pow besides where its
logarithm is least exact. For sigmoid, softplus, asinh and asin of float32 it is the largest error of all numbers,
rounded up. The tests hold these bounds on samples of their own, and slow ones on all numbers of float32. erfc is the
C library's (glibc 2.36, and room for another library). ``docs/accuracy.md`` says the same.
"""

_BOUNDS: dict[str, tuple[float, float]] = {
    "acos": (1.3, 1.3),
    "acosh": (2.2, 2.0),
    "asin": (2.1, 2.1),
    "asinh": (2.2, 1.8),
    "atan": (2.0, 1.9),
    "atan2": (0.6, 0.8),
    "atanh": (2.4, 2.2),
    "cos": (1.6, 1.5),
    "cosh": (1.9, 1.5),
    "erf": (1.6, 1.3),
    "erfc": (5.0, 5.0),
    "exp": (1.3, 1.2),
    "expm1": (1.8, 2.0),
    "fmod": (0.0, 0.0),
    "log": (1.1, 1.0),
    "log10": (2.8, 2.0),
    "log1p": (1.9, 1.6),
    "log2": (2.6, 2.0),
    "pow": (0.6, 1.0),
    "sigmoid": (2.0, 2.1),
    "sin": (1.6, 1.6),
    "sinh": (2.0, 1.9),
    "softplus": (2.2, 1.7),
    "tan": (3.6, 2.9),
    "tanh": (1.7, 1.6),
}

MAX_ULP: dict[tuple[str, str], float] = {
    (op, dtype): bound
    for op, bounds in _BOUNDS.items()
    for dtype, bound in zip(("float32", "float64"), bounds, strict=True)
}
