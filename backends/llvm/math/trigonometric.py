"""sin, cos and tan.

x = q·π/2 + r with |r| ≤ π/4. For |x| ≤ `REDUCTION_LIMIT` q fits 20 bits and π/2 is taken in parts of 33 bits, whose
products with q are exact with or without fused arithmetic; float32 is reduced in float64. Beyond the limit, which few
programs pass, the C library takes over.
"""

from dataclasses import dataclass

from graphc.backends.llvm.math.coefficients import COS, SIN
from graphc.backends.llvm.math.emitter import BINARY64, FunctionEmitter, Value

REDUCTION_LIMIT = 2.0**20
TWO_OVER_PI = 0.6366197723675814
# π/2 in three parts of 33 bits and a rest.
HALF_PI_PARTS = (
    float.fromhex("0x1.921fb544p+0"),
    float.fromhex("0x1.0b4611a6p-34"),
    float.fromhex("0x1.3198a2ep-69"),
    float.fromhex("0x1.b839a252049c1p-104"),
)


@dataclass(frozen=True)
class Angle:
    """sin r and cos r, and the quadrant q in the low bits of an integer."""

    sine: Value
    cosine: Value
    quadrant: Value


def reduce_angle(emit: FunctionEmitter, x: Value) -> Angle:
    """Reduce x, of magnitude at most `REDUCTION_LIMIT`, and evaluate both polynomials on the rest."""
    one = emit.format
    wide = x if one is BINARY64 else x.convert(BINARY64)
    shifted = emit.multiply_add(wide, TWO_OVER_PI, BINARY64.rounder)
    count = shifted - BINARY64.rounder
    rest = wide
    # Three parts hold 99 bits: for float32, whose arguments stay far from multiples of π/2, two of them are enough.
    for part in HALF_PI_PARTS if one is BINARY64 else HALF_PI_PARTS[:2]:
        rest = emit.multiply_add(count, -part, rest)
    quadrant = shifted.bits()
    if one is not BINARY64:
        rest, quadrant = rest.convert(one), quadrant.narrow_bits(one)
    squared = rest * rest
    sine = emit.multiply_add(squared * rest, emit.polynomial(squared, SIN[one.dtype]), rest)
    cosine = emit.polynomial(squared, (1.0, -0.5, *COS[one.dtype]))
    return Angle(sine, cosine, quadrant)


def _bit(value: Value, position: int) -> Value:
    return (value & (1 << position)).differs(0)


def _negate_where(value: Value, flag_bits: Value, position: int) -> Value:
    """Flip the sign of ``value`` where bit ``position`` of ``flag_bits`` is set."""
    top = value.format.total_bits - 1
    return (value.bits() ^ ((flag_bits >> position) << top)).as_float()


def _odd(x: Value, result: Value) -> Value:
    """Keep the sign of a zero argument."""
    return x.equals(0.0).select(x, result)


def sin(emit: FunctionEmitter, x: Value) -> Value:
    """Return sin x for |x| ≤ `REDUCTION_LIMIT`."""
    angle = reduce_angle(emit, x)
    picked = _bit(angle.quadrant, 0).select(angle.cosine, angle.sine)
    return _odd(x, _negate_where(picked, angle.quadrant, 1))


def cos(emit: FunctionEmitter, x: Value) -> Value:
    """Return cos x for |x| ≤ `REDUCTION_LIMIT`."""
    angle = reduce_angle(emit, x)
    picked = _bit(angle.quadrant, 0).select(angle.sine, angle.cosine)
    return _negate_where(picked, angle.quadrant + 1, 1)


def tan(emit: FunctionEmitter, x: Value) -> Value:
    """Return tan x for |x| ≤ `REDUCTION_LIMIT`: sin r/cos r, and −cos r/sin r in the odd quadrants."""
    angle = reduce_angle(emit, x)
    odd = _bit(angle.quadrant, 0)
    ratio = odd.select(angle.cosine, angle.sine) / odd.select(angle.sine, angle.cosine)
    return _odd(x, _negate_where(ratio, angle.quadrant, 0))


def beyond_reduction(_emit: FunctionEmitter, x: Value) -> Value:
    """Return the lanes whose argument is out of the reduction's range."""
    return x.absolute() > REDUCTION_LIMIT
