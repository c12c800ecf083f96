"""fmod: what division toward zero leaves, exactly.

With |x|/|y| below 2^m, n the integer next to it and r = |x| − n·|y|, |r| is below |y|, and both are multiples of the
last place of y: r is a number of the format, and so is r + |y| where r is negative. Larger quotients are the C
library's.
"""

from graphc.backends.llvm.math.emitter import BINARY32, BINARY64, FunctionEmitter, Value
from graphc.backends.llvm.math.pairs import product

# Below this the parts of a product may leave the range where they are multiplied without fused multiply-add.
TINY = 2.0**-900


def fmod(emit: FunctionEmitter, x: Value, y: Value) -> Value:
    """Return the remainder with the sign of x; NaN where y is 0 or x infinite."""
    rounder = 2.0**x.format.mantissa_bits
    size, divisor = x.absolute(), y.absolute()
    count = (size / divisor + rounder) - rounder
    rest = _subtract_product(emit, size, count, divisor)
    rest = (rest < 0.0).select(rest + divisor, rest)
    return (size < divisor).select(size, rest).copy_sign(x)


def _subtract_product(emit: FunctionEmitter, size: Value, count: Value, divisor: Value) -> Value:
    """Return size − count·divisor, all of it."""
    if emit.fma:
        return emit.multiply_add(-count, divisor, size)
    if size.format is BINARY32:
        wide = size.convert(BINARY64) - count.convert(BINARY64) * divisor.convert(BINARY64)
        return wide.convert(BINARY32)
    exact = product(emit, count, divisor)
    return (size - exact.high) - exact.low


def beyond_quotient(emit: FunctionEmitter, x: Value, y: Value) -> Value:
    """Return where the quotient is too large for `fmod`, or infinite."""
    size, divisor = x.absolute(), y.absolute()
    beyond = size / divisor >= 2.0**x.format.mantissa_bits
    if emit.fma or x.format is BINARY32:
        return beyond
    return beyond | ((divisor < TINY) & (size >= divisor))
