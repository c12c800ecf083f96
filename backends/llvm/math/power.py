"""pow, for every pair of numbers, with the special cases of C99 (annex F.10.4.4), which are NumPy's.

|x|^y = e^(y·log|x|), the logarithm by way of s = (m − 1)/(m + 1), |x| = 2ᵏ·m: log m = 2s + 2s³/3 + … The exponential
turns the absolute error of y·log|x|, up to 745, into a relative one: the logarithm has to be good to ten bits more than
the result. float32 is computed in float64 lanes, which have them. float64 carries the logarithm, and its product with
y, as sums of two numbers.
"""

import math

from graphc.backends.llvm.math.coefficients import EXP, EXP2, LOG2_RATIO, LOG_RATIO
from graphc.backends.llvm.math.emitter import BINARY32, BINARY64, FunctionEmitter, Value
from graphc.backends.llvm.math.exponential import EXP_RANGE, LN2_PARTS, LOG2_E
from graphc.backends.llvm.math.logarithm import split, split_any
from graphc.backends.llvm.math.pairs import Pair, exact_sum, product, product_of_pairs

SQRT_HALF = math.sqrt(0.5)
# The second parts of 2/3 and 2/5.
TWO_THIRDS_LOW = float.fromhex("0x1.5555555555555p-55")
TWO_FIFTHS_LOW = float.fromhex("-0x1.999999999999ap-56")
# Beyond these powers of 2 a float32 result is 0 or infinite.
EXP2_RANGE = (-200.0, 200.0)


def power(emit: FunctionEmitter, x: Value, y: Value) -> Value:
    """Return x to the power y."""
    largest = emit.format.largest
    # 0·∞ is no number, but a power of −1 is 1 or −1; infinite and very large exponents mean the same.
    exponent = y.at_most(largest).at_least(-largest)
    magnitude = _power_in_float64 if emit.format is BINARY32 else _power_in_two_parts
    return _special_cases(x, y, magnitude(emit, x.absolute(), exponent))


def _special_cases(x: Value, y: Value, result: Value) -> Value:
    """Give |x|^y its sign; NaN for a fraction's power of a negative number, 1 for 1^y and x⁰ whatever y and x are."""
    # Adding 2^(m + 1) rounds to an even integer; from there on there are only even ones.
    rounder = 2.0 ** (x.format.mantissa_bits + 1)
    size = y.absolute().at_most(rounder)
    from_even = (size - ((size + rounder) - rounder)).absolute()
    result = result.copy_sign(from_even.equals(1.0).select(x, 1.0))
    is_fraction = (from_even > 0.0) & (from_even < 1.0)
    undefined = is_fraction & (x < 0.0) & (x > float("-inf"))
    result = undefined.select(x.peer(float("nan")), result)
    return (x.equals(1.0) | y.equals(0.0)).select(x.peer(1.0), result)


def _at_the_ends(x: Value, logarithm: Value) -> Value:
    """Put in the logarithm of 0 and ∞; NaN stays NaN."""
    return x.equals(0.0).select(x.peer(float("-inf")), (x < float("inf")).select(logarithm, x))


def _power_in_float64(emit: FunctionEmitter, x: Value, y: Value) -> Value:
    """Return x^y for float32 x ≥ 0 and finite y; the conversion back is the only rounding that counts."""
    wide = x.convert(BINARY64)
    parts = split(wide, lowest=SQRT_HALF)
    s = (parts.mantissa - 1.0) / (parts.mantissa + 1.0)
    log2 = emit.multiply_add(s, emit.polynomial(s * s, LOG2_RATIO["float64"]), parts.exponent)
    low, high = EXP2_RANGE
    exponent = (y.convert(BINARY64) * _at_the_ends(wide, log2)).at_most(high).at_least(low)
    rounder = BINARY64.rounder + BINARY64.exponent_bias
    shifted = exponent + rounder
    rest = exponent - (shifted - rounder)
    scale = (shifted.bits() << BINARY64.mantissa_bits).as_float()
    return (emit.polynomial(rest, EXP2["float64"]) * scale).convert(BINARY32)


def _logarithm(emit: FunctionEmitter, x: Value) -> Pair:
    """Return the natural logarithm of a positive number; its relative error is below 2⁻⁶⁵."""
    parts = split_any(x, SQRT_HALF)
    numerator, denominator = parts.mantissa - 1.0, parts.mantissa + 1.0
    denominator_low = parts.mantissa - (denominator - 1.0)
    inverse = 1.0 / denominator
    quotient = numerator * inverse
    nearly = product(emit, quotient, denominator)
    missing = (numerator - nearly.high) - emit.multiply_add(quotient, denominator_low, nearly.low)
    s = Pair(quotient, missing * inverse)
    squared = product_of_pairs(emit, s, s)
    # log m − 2s is s³·(2/3 + 2s²/5 + …). What follows is less than 2⁻¹¹ beside 2/3: there one number will do.
    first = emit.multiply_add(squared.high, 2.0 / 5.0, 2.0 / 3.0)
    rounded_away = emit.multiply_add(squared.high, 2.0 / 5.0, 2.0 / 3.0 - first)
    low_parts = emit.multiply_add(squared.high, TWO_FIFTHS_LOW, TWO_THIRDS_LOW)
    first_low = rounded_away + emit.multiply_add(squared.low, 2.0 / 5.0, low_parts)
    following = squared.high * squared.high * emit.polynomial(squared.high, LOG_RATIO["float64"])
    factor = exact_sum(first, following)
    factor = Pair(factor.high, factor.low + first_low)
    cubic = product_of_pairs(emit, product_of_pairs(emit, squared, s), factor)
    high, low = LN2_PARTS["float64"]
    leading = exact_sum(parts.exponent * high, s.high + s.high)
    total = exact_sum(leading.high, cubic.high)
    small = emit.multiply_add(parts.exponent, low, s.low + s.low) + cubic.low
    return Pair(total.high, leading.low + (total.low + small))


def _power_in_two_parts(emit: FunctionEmitter, x: Value, y: Value) -> Value:
    """Return x^y for float64 x ≥ 0 and finite y."""
    one = emit.format
    logarithm = _logarithm(emit, x)
    whole = product(emit, y, _at_the_ends(x, logarithm.high))
    lowest, highest = EXP_RANGE["float64"]
    argument = whole.high.at_most(highest).at_least(lowest)
    # Where the product is infinite its second part is no number.
    inside = whole.high.absolute() < -2.0 * lowest
    argument_low = inside.select(emit.multiply_add(y, logarithm.low, whole.low), 0.0)
    # e^(n·ln2 + r) = 2ⁿ·e^r, as in `exponential.exp`, with r in two parts.
    rounder = one.rounder + 2 * one.exponent_bias
    shifted = emit.multiply_add(argument, LOG2_E, rounder)
    count = shifted - rounder
    high, low = LN2_PARTS["float64"]
    rest_high = emit.multiply_add(count, -high, argument)
    rest_low = emit.multiply_add(count, -low, argument_low)
    rest = rest_high + rest_low
    leading = rest + 1.0
    small = ((1.0 - leading) + rest_high) + rest_low
    value = leading + emit.multiply_add(rest * rest, emit.polynomial(rest, EXP["float64"]), small)
    first_half = shifted.bits() >> 1
    second_half = shifted.bits() - first_half
    scaled = value * (first_half << one.mantissa_bits).as_float()
    return scaled * (second_half << one.mantissa_bits).as_float()
