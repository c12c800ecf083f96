"""erf: a polynomial below 1; above, 1 − e^p(x − 1) with p(t) = log erfc(1 + t), whose error shrinks as erfc does."""

from graphc.backends.llvm.math.coefficients import ERF, LOG_ERFC
from graphc.backends.llvm.math.emitter import FunctionEmitter, Value
from graphc.backends.llvm.math.exponential import exp_of_rest, reduce

# From here on erf rounds to 1.
ERF_LIMIT = {"float32": 3.93, "float64": 5.93}


def erf(emit: FunctionEmitter, x: Value) -> Value:
    """Return the error function."""
    one = emit.format
    squared = x * x
    near = emit.multiply_add(x, emit.polynomial(squared, ERF[one.dtype]), x)
    t = x.absolute().at_least(1.0).at_most(ERF_LIMIT[one.dtype]) - 1.0
    logarithm = emit.polynomial(t, LOG_ERFC[one.dtype])
    reduced = reduce(emit, logarithm, one.exponent_bias)
    far = 1.0 - reduced.scale() * exp_of_rest(emit, reduced.rest)
    return (x.absolute() < 1.0).select(near, far.copy_sign(x))
