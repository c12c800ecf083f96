"""log, log2, log10 and log1p.

x = 2ᵏ·(1 + f) with 1 + f in [2/3, 4/3), found in the bits of x; log x = k·ln2 + log(1 + f). ln2 is in two parts; k
times the first is exact. log1p finds k in 1 + x and f from x itself, f = 2⁻ᵏ·x + (2⁻ᵏ − 1), so that nothing is lost
where x is small beside 1.
"""

from dataclasses import dataclass

from graphc.backends.llvm.math.coefficients import LOG
from graphc.backends.llvm.math.emitter import FunctionEmitter, Kind, Value
from graphc.backends.llvm.math.exponential import LN2_PARTS, LOG2_E

LOG10_E = 0.4342944819032518
# log10(2) in two parts, like ln2.
LOG10_2_PARTS = {
    "float32": (float.fromhex("0x1.344p-2"), float.fromhex("0x1.3509f79fef312p-18")),
    "float64": (float.fromhex("0x1.34413509p-2"), float.fromhex("0x1.ef3fde623e256p-35")),
}
TWO_THIRDS = 2.0 / 3.0


@dataclass(frozen=True)
class Split:
    """A positive number as 2ᵏ·m, m in [2/3, 4/3) unless asked otherwise: k as a float and as bits of an exponent field
    without bias, and m.
    """

    exponent: Value
    exponent_bits: Value
    mantissa: Value


def split(x: Value, scaled_up: Value | None = None, lowest: float = TWO_THIRDS) -> Split:
    """Split x, a positive normal number, with a mantissa in [lowest, 2·lowest); where ``scaled_up`` holds, x is 2^m
    times the number meant.
    """
    one = x.format
    origin = one.bits(lowest)
    # An offset keeps the shifted exponent positive: a shift that fills with zeros will do.
    offset = 2 * one.exponent_bias + 2
    steps = x.bits() + ((offset << one.mantissa_bits) - origin)
    mantissa = ((steps & ((1 << one.mantissa_bits) - 1)) + origin).as_float()
    field = steps >> one.mantissa_bits
    # An integer below 2^m in the low bits of 2^m is that integer added to it.
    power = 2.0**one.mantissa_bits
    as_float = (field ^ one.bits(power)).as_float()
    bias = x.peer(power + offset)
    if scaled_up is not None:
        bias = scaled_up.select(x.peer(power + offset + one.mantissa_bits), bias)
    exponent_bits = (field << one.mantissa_bits) - (offset << one.mantissa_bits)
    return Split(as_float - bias, exponent_bits, mantissa)


def log_of_parts(emit: FunctionEmitter, exponent: Value, f: Value) -> Value:
    """Return k·ln2 + log(1 + f) for |f| ≤ 1/3, adding from the smallest term to the largest."""
    high, low = LN2_PARTS[emit.format.dtype]
    correction = emit.multiply_add(f * f, emit.polynomial(f, LOG[emit.format.dtype]), exponent * low)
    return emit.multiply_add(exponent, high, f + correction)


def special_cases(x: Value, result: Value, pole: float) -> Value:
    """Put in the logarithm's values outside its domain, which begins at ``pole``: −∞ there, NaN below, +∞ at +∞."""
    emit = x.emitter
    result = (x < float("inf")).select(result, x)
    outside = x.equals(pole).select(emit.real(float("-inf")), float("nan"))
    return (x <= pole).select(outside, result)


def split_any(x: Value, lowest: float = TWO_THIRDS) -> Split:
    """Split any positive number, also below the normal range."""
    one = x.format
    tiny = x < one.smallest_normal
    return split(tiny.select(x * 2.0**one.mantissa_bits, x), tiny, lowest)


def log(emit: FunctionEmitter, x: Value) -> Value:
    """Return the natural logarithm."""
    parts = split_any(x)
    return special_cases(x, log_of_parts(emit, parts.exponent, parts.mantissa - 1.0), 0.0)


def _log_of_mantissa(emit: FunctionEmitter, parts: Split) -> tuple[Value, Value]:
    """Return f = m − 1 and log(1 + f) − f."""
    f = parts.mantissa - 1.0
    return f, f * f * emit.polynomial(f, LOG[emit.format.dtype])


def log2(emit: FunctionEmitter, x: Value) -> Value:
    """Return the logarithm to base 2, exact at powers of 2."""
    parts = split_any(x)
    f, rest = _log_of_mantissa(emit, parts)
    return special_cases(x, parts.exponent + emit.multiply_add(f, LOG2_E, rest * LOG2_E), 0.0)


def log10(emit: FunctionEmitter, x: Value) -> Value:
    """Return the logarithm to base 10."""
    parts = split_any(x)
    f, rest = _log_of_mantissa(emit, parts)
    high, low = LOG10_2_PARTS[emit.format.dtype]
    small = emit.multiply_add(f, LOG10_E, emit.multiply_add(rest, LOG10_E, parts.exponent * low))
    return special_cases(x, emit.multiply_add(parts.exponent, high, small), 0.0)


def log1p(emit: FunctionEmitter, x: Value) -> Value:
    """Return log(1 + x)."""
    one = emit.format
    parts = split(x + 1.0)
    # 2^-k by way of 2^(2-k), which is a normal number even at the largest k.
    scale = (emit.constant(one.bits(4.0), Kind.INTEGER, one) - parts.exponent_bits).as_float() * 0.25
    f = emit.multiply_add(x, scale, scale - 1.0)
    return special_cases(x, log_of_parts(emit, parts.exponent, f).copy_sign(x), -1.0)
