"""exp, expm1, sigmoid and softplus.

Argument reduction after Cody and Waite ("Software Manual for the Elementary Functions", 1980): x = n·ln2 + r with n
integral and |r| ≤ ln2/2, then eˣ = 2ⁿ·eʳ. n is found by adding `FloatFormat.rounder`, which leaves n in the low bits of
the sum, where a shift turns it into an exponent.
"""

from dataclasses import dataclass

from graphc.backends.llvm.math.coefficients import EXP, LOG
from graphc.backends.llvm.math.emitter import FunctionEmitter, Value

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
# ln2 in two parts; the first ends in so many zeros that its product with any exponent is exact.
LN2_PARTS = {
    "float32": (float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cf79abcap-20")),
    "float64": (float.fromhex("0x1.62e42fefp-1"), float.fromhex("0x1.473de6af278edp-34")),
}
# Beyond these eˣ is 0 or infinite; inside, n keeps to the range that the scalings below allow for.
EXP_RANGE = {"float32": (-105.0, 89.0), "float64": (-746.0, 710.0)}
# Below this e^x − 1 and sinh x are x. Halving and doubling would cost a number below the normal range its last bit, and
# a sum would cost a negative zero its sign.
TINY = 2.0**-60
# Below this 1 + e^x is 1.
SIGMOID_LOWEST = -40.0
# Below this e^x − 1 is −1.
EXPM1_LOWEST = -40.0


@dataclass(frozen=True)
class Reduced:
    """x = n·ln2 + rest: ``power`` is an integer whose low bits hold n plus the offset asked for."""

    power: Value
    rest: Value

    def scale(self) -> Value:
        """Return 2^(n + offset − bias): the low bits of ``power``, moved into the exponent."""
        return (self.power << self.power.format.mantissa_bits).as_float()


def reduce(emit: FunctionEmitter, x: Value, offset: int) -> Reduced:
    """Split x into a multiple of ln2 and a rest."""
    one = emit.format
    rounder = one.rounder + offset
    shifted = emit.multiply_add(x, LOG2_E, rounder)
    count = shifted - rounder
    high, low = LN2_PARTS[one.dtype]
    rest = emit.multiply_add(count, -low, emit.multiply_add(count, -high, x))
    return Reduced(shifted.bits(), rest)


def expm1_of_rest(emit: FunctionEmitter, rest: Value) -> Value:
    """Return e^r − 1 for |r| ≤ ln2/2."""
    return emit.multiply_add(rest * rest, emit.polynomial(rest, EXP[emit.format.dtype]), rest)


def exp_of_rest(emit: FunctionEmitter, rest: Value) -> Value:
    """Return e^r for |r| ≤ ln2/2."""
    return emit.polynomial(rest, (1.0, 1.0, *EXP[emit.format.dtype]))


def exp(emit: FunctionEmitter, x: Value) -> Value:
    """Return eˣ; the scaling by 2ⁿ is done in two halves, so that results below the normal range round once."""
    one = emit.format
    low, high = EXP_RANGE[one.dtype]
    # With an offset of twice the bias each half of `power` is an exponent with its bias.
    reduced = reduce(emit, x.at_most(high).at_least(low), 2 * one.exponent_bias)
    half = reduced.power >> 1
    other_half = reduced.power - half
    scaled = exp_of_rest(emit, reduced.rest) * (half << one.mantissa_bits).as_float()
    return scaled * (other_half << one.mantissa_bits).as_float()


def exp_of_negative_magnitude(emit: FunctionEmitter, x: Value) -> Value:
    """Return e^−|x|, which cannot overflow: 2ⁿ is made 2^k too large and one product brings it down."""
    one = emit.format
    spare = (one.exponent_bias + 1) // 2
    argument = (-x.absolute()).at_least(EXP_RANGE[one.dtype][0])
    reduced = reduce(emit, argument, one.exponent_bias + spare)
    return exp_of_rest(emit, reduced.rest) * reduced.scale() * 2.0**-spare


def expm1(emit: FunctionEmitter, x: Value) -> Value:
    """Return eˣ − 1 as 2ⁿ·(eʳ − 1) + (2ⁿ − 1), computed at half its size because 2ⁿ may be one beyond the range."""
    one = emit.format
    reduced = reduce(emit, x.at_most(EXP_RANGE[one.dtype][1]).at_least(EXPM1_LOWEST), one.exponent_bias - 1)
    scale = reduced.scale()
    half = emit.multiply_add(scale, expm1_of_rest(emit, reduced.rest), scale - 0.5)
    return (x.absolute() < TINY).select(x, half + half)


def sigmoid(emit: FunctionEmitter, x: Value) -> Value:
    """Return 1/(1 + e^−x) as c/(c + c·e^−x), where c = 2^−k keeps the denominator from overflow.

    With −x = n·ln2 + r and s = c·2ⁿ the denominator is c + s + s·r·p(r), p(r) = (e^r − 1)/r. The larger of c and s
    comes last, so that only the last addition's rounding counts in full.
    """
    one = emit.format
    spare = (one.exponent_bias + 1) // 2
    argument = (-x).at_most(-EXP_RANGE[one.dtype][0]).at_least(SIGMOID_LOWEST)
    reduced = reduce(emit, argument, one.exponent_bias - spare)
    scale = reduced.scale()
    quotient = emit.polynomial(reduced.rest, (1.0, *EXP[one.dtype]))
    smaller, larger = scale.at_most(2.0**-spare), scale.at_least(2.0**-spare)
    return 2.0**-spare / (larger + emit.multiply_add(scale * reduced.rest, quotient, smaller))


def softplus(emit: FunctionEmitter, x: Value) -> Value:
    """Return log(1 + eˣ) as max(x, 0) + log1p(z), z = e^−|x| ≤ 1."""
    one = emit.format
    z = exp_of_negative_magnitude(emit, x)
    # 1 + z is 1 + f, or 2·(1 + f), with |f| ≤ 1/3.
    doubled = z > 1.0 / 3.0
    f = doubled.select((z - 1.0) * 0.5, z)
    high, low = LN2_PARTS[one.dtype]
    correction = emit.multiply_add(f * f, emit.polynomial(f, LOG[one.dtype]), doubled.select(emit.real(low), 0.0))
    above = (x > 0.0).select(x, 0.0)
    return above + (doubled.select(emit.real(high), 0.0) + (f + correction))
