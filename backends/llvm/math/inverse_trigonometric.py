"""asin, acos and atan."""

from graphc.backends.llvm.math.coefficients import ASIN, ATAN
from graphc.backends.llvm.math.emitter import FunctionEmitter, Value

# π/2 as the nearest number of the format and what it leaves.
HALF_PI_PARTS = {
    "float32": (float.fromhex("0x1.921fb6p+0"), float.fromhex("-0x1.777a5cf72cecep-25")),
    "float64": (float.fromhex("0x1.921fb54442d18p+0"), float.fromhex("0x1.1a62633145c07p-54")),
}
TAN_PI_8 = 0.41421356237309503
TAN_3_PI_8 = 2.414213562373095


def _asin_tail(emit: FunctionEmitter, t: Value, squared: Value) -> Value:
    """Return asin t − t for |t| ≤ 1/2."""
    return t * squared * emit.polynomial(squared, ASIN[emit.format.dtype])


def _half_angle(emit: FunctionEmitter, x: Value) -> tuple[Value, Value, Value]:
    """Return whether |x| > 1/2, then t and t² such that asin|x| = asin t, or π/2 − 2·asin t there.

    With |x| > 1 t is NaN.
    """
    a = x.absolute()
    upper = a > 0.5
    squared = upper.select((1.0 - a) * 0.5, a * a)
    return upper, upper.select(squared.square_root(), a), squared


def asin(emit: FunctionEmitter, x: Value) -> Value:
    """Return the arc sine."""
    high, low = HALF_PI_PARTS[emit.format.dtype]
    upper, t, squared = _half_angle(emit, x)
    tail = _asin_tail(emit, t, squared)
    # Near t = 1/2 the first difference is exact, so only the tail's own error reaches the result.
    complement = (high - (t + t)) - (tail + tail - low)
    return upper.select(complement, t + tail).copy_sign(x)


def acos(emit: FunctionEmitter, x: Value) -> Value:
    """Return the arc cosine: 2·asin t near 1, π − 2·asin t near −1, π/2 − asin x between."""
    high, low = HALF_PI_PARTS[emit.format.dtype]
    upper, t, squared = _half_angle(emit, x)
    tail = _asin_tail(emit, t, squared)
    positive = t + tail
    doubled = positive + positive
    outer = (x < 0.0).select(2.0 * high - (doubled - 2.0 * low), doubled)
    inner = high - (x + (tail.copy_sign(x) - low))
    return upper.select(outer, inner)


def atan(emit: FunctionEmitter, x: Value) -> Value:
    """Return the arc tangent; above tan(3π/8) from −1/x, above tan(π/8) from (x − 1)/(x + 1)."""
    one = emit.format
    high, low = HALF_PI_PARTS[one.dtype]
    a = x.absolute()
    middle, upper = a > TAN_PI_8, a > TAN_3_PI_8
    numerator = upper.select(emit.real(-1.0), middle.select(a - 1.0, a))
    denominator = upper.select(a, middle.select(a + 1.0, 1.0))
    base_high = upper.select(emit.real(high), middle.select(emit.real(high / 2), 0.0))
    base_low = upper.select(emit.real(low), middle.select(emit.real(low / 2), 0.0))
    t = numerator / denominator
    squared = t * t
    tail = emit.multiply_add(t * squared, emit.polynomial(squared, ATAN[one.dtype]), base_low)
    return (base_high + (t + tail)).copy_sign(x)
