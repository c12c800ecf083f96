"""tanh, sinh, cosh and their inverses, by way of the exponential's reduction and of log1p."""

from graphc.backends.llvm.math.coefficients import COSH, SINH, TANH
from graphc.backends.llvm.math.emitter import FunctionEmitter, Kind, Value
from graphc.backends.llvm.math.exponential import LN2, LN2_PARTS, LOG2_E, TINY, reduce
from graphc.backends.llvm.math.logarithm import log1p

# From here on tanh rounds to 1.
TANH_LIMIT = {"float32": 9.1, "float64": 19.1}
# Added to 2a/ln2 before it is rounded to the nearest integer: a little above −1/2, so that zero does not become −1.
TANH_SHIFT = -0.498
# From here on sinh and cosh overflow.
SINH_LIMIT = {"float32": 89.6, "float64": 710.6}
# From here on asinh x and acosh x are log 2x, and log1p x is log x, to well below the precision of the format.
LARGE = {"float32": 2.0**26, "float64": 2.0**56}


def tanh(emit: FunctionEmitter, x: Value) -> Value:
    """Return tanh x as t/(t + 1), t = (e^2|x| − 1)/2, with the sign of x.

    Below ln2/2, where the three roundings of that count most, t = h + w with h = |x| and the result is taken as
    h + (w − h·t)/(t + 1): the error of the quotient is then small beside h.
    """
    one = emit.format
    a = x.absolute().at_most(TANH_LIMIT[one.dtype])
    # 2a = n·ln2 + 2h with n rounded down: h ≥ 0, so that nothing cancels in t = 2ⁿ·(e^2h − 1)/2 + (2ⁿ − 1)/2.
    rounder = one.rounder + one.exponent_bias
    shifted = emit.multiply_add(a, 2.0 * LOG2_E, TANH_SHIFT) + rounder
    count = shifted - rounder
    if emit.fma:
        # The nearest number to ln2/2 is off by less than 2⁻²⁸ (2⁻⁵⁴) of itself, which is h off by so much of a.
        h = emit.multiply_add(count, -0.5 * LN2, a)
    else:
        high, low = LN2_PARTS[one.dtype]
        h = emit.multiply_add(count, -0.5 * low, emit.multiply_add(count, -0.5 * high, a))
    w = h * h * emit.polynomial(h, TANH[one.dtype])
    scale = (shifted.bits() << one.mantissa_bits).as_float()
    t = emit.multiply_add(scale, h + w, emit.multiply_add(scale, 0.5, -0.5))
    near = count.equals(0.0)
    quotient = near.select(emit.multiply_add(-h, t, w), t) / (t + 1.0)
    return (near.select(h, 0.0) + quotient).copy_sign(x)


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
    """Return the hyperbolic sine.

    With |x| = n·ln2 + r it is sinh(n·ln2)·cosh r + cosh(n·ln2)·sinh r, with the sign of x.
    """
    total, difference, cosh_rest, sinh_rest = _quarter_sum_and_difference(emit, x)
    half = difference + emit.multiply_add(difference, cosh_rest, total * sinh_rest)
    return (x.absolute() < TINY).select(x, (half + half).copy_sign(x))


def cosh(emit: FunctionEmitter, x: Value) -> Value:
    """Return the hyperbolic cosine.

    With |x| = n·ln2 + r it is cosh(n·ln2)·cosh r + sinh(n·ln2)·sinh r.
    """
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
