"""tanh, sinh, cosh and their inverses, by way of the exponential's reduction and of log1p."""

from graphc.backends.llvm.math.coefficients import COSH, SINH
from graphc.backends.llvm.math.emitter import FunctionEmitter, Kind, Value
from graphc.backends.llvm.math.exponential import LN2, expm1_of_rest, reduce
from graphc.backends.llvm.math.logarithm import log1p

# From here on tanh rounds to 1.
TANH_LIMIT = {"float32": 9.1, "float64": 19.1}
# From here on sinh and cosh overflow.
SINH_LIMIT = {"float32": 89.6, "float64": 710.6}
# From here on 1 + x² is x² and x + 1 is x, to the precision of the format.
LARGE = {"float32": 2.0**14, "float64": 2.0**28}


def tanh(emit: FunctionEmitter, x: Value) -> Value:
    """Return tanh x as t/(t + 2), t = e^2|x| − 1, which loses nothing near zero and damps t's error far from it."""
    one = emit.format
    reduced = reduce(emit, x.absolute().at_most(TANH_LIMIT[one.dtype]), one.exponent_bias, doubled=True)
    scale = reduced.scale()
    numerator = emit.multiply_add(scale, expm1_of_rest(emit, reduced.rest), scale - 1.0)
    return (numerator / (numerator + 2.0)).copy_sign(x)


def _quarter_sum_and_difference(emit: FunctionEmitter, x: Value) -> tuple[Value, Value, Value, Value]:
    """Return (2ⁿ + 2⁻ⁿ)/4, (2ⁿ − 2⁻ⁿ)/4, cosh r − 1 and sinh r, where |x| = n·ln2 + r."""
    one = emit.format
    reduced = reduce(emit, x.absolute().at_most(SINH_LIMIT[one.dtype]), one.exponent_bias - 2)
    grown = reduced.scale()
    quarter_inverse = emit.constant(2 * one.bits(0.25), Kind.INTEGER, one) - grown.bits()
    # 2⁻ⁿ counts for nothing long before it leaves the normal range.
    inverse = (grown < 2.0 ** (one.exponent_bias - 4)).select(quarter_inverse.as_float(), 0.0)
    squared = reduced.rest * reduced.rest
    cosh_rest = emit.multiply_add(squared * squared, emit.polynomial(squared, COSH[one.dtype]), squared * 0.5)
    cube = squared * reduced.rest
    sinh_rest = emit.multiply_add(cube, emit.polynomial(squared, SINH[one.dtype]), reduced.rest)
    return grown + inverse, grown - inverse, cosh_rest, sinh_rest


def sinh(emit: FunctionEmitter, x: Value) -> Value:
    """Return sinh |x| = sinh(n·ln2)·cosh r + cosh(n·ln2)·sinh r with the sign of x."""
    total, difference, cosh_rest, sinh_rest = _quarter_sum_and_difference(emit, x)
    half = difference + emit.multiply_add(difference, cosh_rest, total * sinh_rest)
    return (half + half).copy_sign(x)


def cosh(emit: FunctionEmitter, x: Value) -> Value:
    """Return cosh x = cosh(n·ln2)·cosh r + sinh(n·ln2)·sinh r."""
    total, difference, cosh_rest, sinh_rest = _quarter_sum_and_difference(emit, x)
    half = total + emit.multiply_add(total, cosh_rest, difference * sinh_rest)
    return half + half


def asinh(emit: FunctionEmitter, x: Value) -> Value:
    """Return log1p(a + a²/(1 + √(1 + a²))), a = |x|, and log1p(a) + ln2 where a² would overflow, with the sign of x."""
    a = x.absolute()
    large = a > LARGE[emit.format.dtype]
    squared = a * a
    argument = a + squared / ((squared + 1.0).square_root() + 1.0)
    result = log1p(emit, large.select(a, argument)) + large.select(emit.real(LN2), 0.0)
    return result.copy_sign(x)


def acosh(emit: FunctionEmitter, x: Value) -> Value:
    """Return log1p(t + √(t² + 2t)), t = x − 1, and log1p(x) + ln2 where t² would overflow; NaN below 1."""
    large = x > LARGE[emit.format.dtype]
    t = x - 1.0
    argument = t + emit.multiply_add(t, t, t + t).square_root()
    result = log1p(emit, large.select(x, argument)) + large.select(emit.real(LN2), 0.0)
    return (x < 1.0).select(emit.real(float("nan")), result)


def atanh(emit: FunctionEmitter, x: Value) -> Value:
    """Return log1p(2a/(1 − a))/2, a = |x|, with the sign of x; infinite at ±1, NaN beyond."""
    a = x.absolute()
    return (log1p(emit, (a + a) / (1.0 - a)) * 0.5).copy_sign(x)
