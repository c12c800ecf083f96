"""Numbers of twice the precision, as sums of two ("A Floating-Point Technique for Extending the Available Precision",
Dekker, 1971).
"""

from dataclasses import dataclass

from graphc.backends.llvm.math.emitter import FunctionEmitter, Value


@dataclass(frozen=True)
class Pair:
    """The sum of two numbers, the second within a few units in the last place of the first."""

    high: Value
    low: Value


def product(emit: FunctionEmitter, x: Value, y: Value) -> Pair:
    """Return x·y, all of it (but for what leaves the range)."""
    rounded = x * y
    if emit.fma:
        return Pair(rounded, emit.multiply_add(x, y, -rounded))
    x_high, y_high = _leading_half(x), _leading_half(y)
    x_low, y_low = x - x_high, y - y_high
    return Pair(rounded, ((x_high * y_high - rounded) + x_high * y_low + x_low * y_high) + x_low * y_low)


def _leading_half(x: Value) -> Value:
    """Return x without the latter half of its mantissa."""
    dropped = x.format.mantissa_bits // 2 + 1
    return (x.bits() & -(1 << dropped)).as_float()


def product_of_pairs(emit: FunctionEmitter, x: Pair, y: Pair) -> Pair:
    """Return x·y to twice the precision."""
    leading = product(emit, x.high, y.high)
    return Pair(leading.high, emit.multiply_add(x.high, y.low, emit.multiply_add(x.low, y.high, leading.low)))


def exact_sum(larger: Value, smaller: Value) -> Pair:
    """Return the sum of two numbers, all of it."""
    total = larger + smaller
    return Pair(total, (larger - total) + smaller)
