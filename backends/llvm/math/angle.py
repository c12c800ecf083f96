"""atan2: the angle of a point, for every pair of numbers, with the special cases of C99 (annex F.10.1.4).

With a ≤ b the two magnitudes in order, atan(a/b) is atan t + c, where t is a/b, or above tan(π/8) the quotient
(a − b)/(a + b) and c = π/4; reflections take it into the octant of the point. float32 is computed in float64 lanes;
float64 carries t as a sum of two numbers.
"""

from graphc.backends.llvm.math.coefficients import ATAN
from graphc.backends.llvm.math.emitter import BINARY32, BINARY64, FunctionEmitter, Value
from graphc.backends.llvm.math.inverse_trigonometric import TAN_PI_8
from graphc.backends.llvm.math.pairs import Pair, exact_sum, product

# π/4 in two parts; the first ends in zeros, so that its product with 3 is exact.
QUARTER_PI_PARTS = (float.fromhex("0x1.921fb54442d00p-1"), float.fromhex("0x1.8469898cc5170p-49"))
# Points of float64 are scaled: down beyond the limit, where sums would overflow, else up, so that what a quotient's
# rounding leaves stays in the range.
LIMIT, SCALE_DOWN, SCALE_UP = 2.0**500, 2.0**-30, 2.0**500


def atan2(emit: FunctionEmitter, y: Value, x: Value) -> Value:
    """Return the angle of the point (x, y) from the x axis, in [−π, π]."""
    if emit.format is BINARY32:
        return _atan2(emit, y.convert(BINARY64), x.convert(BINARY64), precise=False).convert(BINARY32)
    return _atan2(emit, y, x, precise=True)


def _atan2(emit: FunctionEmitter, y: Value, x: Value, *, precise: bool) -> Value:
    one, zero = x.peer(1.0), x.peer(0.0)
    height, width = y.absolute(), x.absolute()
    steep, backward = height > width, one.copy_sign(x) < 0.0
    smaller, larger = steep.select(width, height), steep.select(height, width)
    # The point at the origin or at infinity has the angle of one in the same direction; a NaN stays.
    infinite = larger.equals(float("inf"))
    at_infinity = smaller.equals(float("inf")).select(one, smaller * 0.0)
    smaller = infinite.select(at_infinity, smaller)
    larger = (infinite | larger.equals(0.0)).select(one, larger)
    if precise:
        scale = (larger > LIMIT).select(x.peer(SCALE_DOWN), SCALE_UP)
        smaller, larger = smaller * scale, larger * scale
    middle = smaller > larger * TAN_PI_8
    t = (_quotient_in_two_parts if precise else _quotient)(emit, smaller, larger, middle)
    squared = t.high * t.high
    tail = t.high * squared * emit.polynomial(squared, ATAN["float64" if precise else "float32"])
    # The derivative of the arc tangent is 1/(1 + t²), about 1 − t².
    angle = Pair(t.high, emit.multiply_add(-t.low, squared, t.low) + tail)
    # Reflected at the diagonal, then at the y axis: so many times π/4, plus or minus the angle.
    quarters = middle.select(one, zero)
    quarters = steep.select(2.0 - quarters, quarters)
    quarters = backward.select(4.0 - quarters, quarters)
    side = steep.select(-one, one)
    side = backward.select(-side, side)
    high, low = QUARTER_PI_PARTS
    total = exact_sum(quarters * high, side * angle.high)
    rest = emit.multiply_add(quarters, low, side * angle.low)
    return (total.high + (total.low + rest)).copy_sign(y)


def _quotient(_emit: FunctionEmitter, a: Value, b: Value, middle: Value) -> Pair:
    """Return a/b, or (a − b)/(a + b) in the lanes of ``middle``, with an error of a few roundings."""
    return Pair(middle.select(a - b, a) / middle.select(a + b, b), a.peer(0.0))


def _quotient_in_two_parts(emit: FunctionEmitter, a: Value, b: Value, middle: Value) -> Pair:
    """Return a/b, or (a − b)/(a + b) in the lanes of ``middle``, for 0 ≤ a ≤ b and b > 0."""
    difference, total = exact_sum(-b, a), exact_sum(b, a)
    numerator, denominator = middle.select(difference.high, a), middle.select(total.high, b)
    inverse = 1.0 / denominator
    quotient = numerator * inverse
    nearly = product(emit, quotient, denominator)
    low_parts = difference.low - quotient * total.low
    missing = ((numerator - nearly.high) - nearly.low) + middle.select(low_parts, 0.0)
    return Pair(quotient, missing * inverse)
