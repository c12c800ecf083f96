"""Pointwise ops on integers and bools in registers; ``unsigned`` says how their bits are read.

Arithmetic wraps; a quotient by zero is 0 and ``INT_MIN / -1`` is ``INT_MIN``; shifts by too much give 0, or -1 for a
right shift of a negative number.  The operands of the hardware's division are made safe first, since it would trap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import Type, Value, constant

IntegerLowering = Callable[[Function, Sequence[Value], bool], Value]


def _two(op: str) -> IntegerLowering:
    return lambda fn, args, unsigned: fn.binary(op, args[0], args[1])


def _comparison(signed: str, unsigned_predicate: str) -> IntegerLowering:
    return lambda fn, args, unsigned: fn.compare(f"icmp {unsigned_predicate if unsigned else signed}", args[0], args[1])


def _same(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    return args[0]


def _always(result: bool) -> IntegerLowering:
    return lambda fn, args, unsigned: constant(args[0].type.with_scalar("i1"), result)


def _zero(value: Value) -> Value:
    return constant(value.type, 0)


def _one(value: Value) -> Value:
    return constant(value.type, 1)


def _minus_one(value: Value) -> Value:
    return constant(value.type, -1)


def _invert(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    (x,) = args
    return fn.binary("xor", x, constant(x.type, True) if x.type.scalar == "i1" else _minus_one(x))


def _negative(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    return fn.binary("sub", _zero(args[0]), args[0])


def _abs(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    (x,) = args
    if unsigned:
        return x
    return fn.select(fn.compare("icmp slt", x, _zero(x)), _negative(fn, args, unsigned), x)


def _sign(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    (x,) = args
    positive = fn.convert("zext", fn.compare("icmp ne" if unsigned else "icmp sgt", x, _zero(x)), x.type.scalar)
    if unsigned:
        return positive
    negative = fn.convert("sext", fn.compare("icmp slt", x, _zero(x)), x.type.scalar)
    return fn.binary("or", positive, negative)


def _square(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    return fn.binary("mul", args[0], args[0])


def extremum(fn: Function, x: Value, y: Value, *, largest: bool, unsigned: bool) -> Value:
    """The larger (or smaller) of two integers."""
    name = ("u" if unsigned else "s") + ("max" if largest else "min")
    return fn.elementwise(name, x, y)


def _relu(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    return args[0] if unsigned else extremum(fn, args[0], _zero(args[0]), largest=True, unsigned=False)


def _safe_divisor(fn: Function, y: Value, unsigned: bool) -> tuple[Value, Value, Value]:
    """The divisor with 1 in place of 0 and -1, and where those were."""
    is_zero = fn.compare("icmp eq", y, _zero(y))
    if unsigned:
        return fn.select(is_zero, _one(y), y), is_zero, constant(is_zero.type, False)
    is_minus_one = fn.compare("icmp eq", y, _minus_one(y))
    return fn.select(fn.binary("or", is_zero, is_minus_one), _one(y), y), is_zero, is_minus_one


def _rounds_down(fn: Function, rest: Value, divisor: Value) -> Value:
    """Where truncation went up: the rest is not zero and its sign is not the divisor's."""
    opposite = fn.compare("icmp slt", fn.binary("xor", rest, divisor), _zero(rest))
    return fn.binary("and", opposite, fn.compare("icmp ne", rest, _zero(rest)))


def _floor_divide(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    x, y = args
    divisor, is_zero, is_minus_one = _safe_divisor(fn, y, unsigned)
    quotient = fn.binary("udiv" if unsigned else "sdiv", x, divisor)
    if not unsigned:
        rest = fn.binary("sub", x, fn.binary("mul", quotient, divisor))
        one_less = fn.binary("add", quotient, _minus_one(x))
        quotient = fn.select(_rounds_down(fn, rest, divisor), one_less, quotient)
        quotient = fn.select(is_minus_one, _negative(fn, [x], unsigned), quotient)
    return fn.select(is_zero, _zero(x), quotient)


def _remainder(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
    x, y = args
    divisor, _, _ = _safe_divisor(fn, y, unsigned)
    # By 1 everything leaves 0, which is also the answer for 0 and for -1.
    rest = fn.binary("urem" if unsigned else "srem", x, divisor)
    if unsigned:
        return rest
    return fn.select(_rounds_down(fn, rest, divisor), fn.binary("add", rest, divisor), rest)


def power_function(name: str, type_: Type, unsigned: bool) -> Function:
    """``x`` to the power ``y`` as a function of vectors: by squaring, one exponent bit after another."""
    function = Function(name, [(type_, ""), (type_, "")], result=str(type_))
    fn, (x, y) = function, function.arguments
    exponent = y if unsigned else extremum(fn, y, _zero(y), largest=True, unsigned=False)
    loop = fn.begin_loop(type_.bits, [_one(x), x, exponent])
    result, power, rest = loop.carried
    is_set = fn.compare("icmp ne", fn.binary("and", rest, _one(y)), _zero(y))
    result = fn.select(is_set, fn.binary("mul", result, power), result)
    result, _, _ = fn.end_loop(loop, [result, fn.binary("mul", power, power), fn.binary("lshr", rest, _one(y))])
    if not unsigned:
        is_even = fn.compare("icmp eq", fn.binary("and", y, _one(y)), _zero(y))
        of_minus_one = fn.select(is_even, _one(x), _minus_one(x))
        inverse = fn.select(fn.compare("icmp eq", x, _minus_one(x)), of_minus_one, _zero(x))
        inverse = fn.select(fn.compare("icmp eq", x, _one(x)), _one(x), inverse)
        result = fn.select(fn.compare("icmp slt", y, _zero(y)), inverse, result)
    fn.ret(result)
    return function


def _shift(left: bool) -> IntegerLowering:
    def lower(fn: Function, args: Sequence[Value], unsigned: bool) -> Value:
        x, amount = args
        width = constant(amount.type, x.type.bits)
        # Read without a sign a negative amount is a large one.
        fits = fn.compare("icmp ult", amount, width)
        if left:
            return fn.select(fits, fn.binary("shl", x, fn.select(fits, amount, _zero(amount))), _zero(x))
        if unsigned:
            return fn.select(fits, fn.binary("lshr", x, fn.select(fits, amount, _zero(amount))), _zero(x))
        # One bit less than the width leaves nothing but copies of the sign.
        return fn.binary("ashr", x, fn.select(fits, amount, constant(amount.type, x.type.bits - 1)))

    return lower


INTEGER_OPS: dict[str, IntegerLowering] = {
    "negative": _negative,
    "abs": _abs,
    "sign": _sign,
    "square": _square,
    "floor": _same,
    "ceil": _same,
    "trunc": _same,
    "round": _same,
    "relu": _relu,
    "add": _two("add"),
    "subtract": _two("sub"),
    "multiply": _two("mul"),
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "maximum": lambda fn, args, unsigned: extremum(fn, args[0], args[1], largest=True, unsigned=unsigned),
    "minimum": lambda fn, args, unsigned: extremum(fn, args[0], args[1], largest=False, unsigned=unsigned),
    "equal": _comparison("eq", "eq"),
    "not_equal": _comparison("ne", "ne"),
    "less": _comparison("slt", "ult"),
    "less_equal": _comparison("sle", "ule"),
    "greater": _comparison("sgt", "ugt"),
    "greater_equal": _comparison("sge", "uge"),
    "isnan": _always(False),
    "isinf": _always(False),
    "isfinite": _always(True),
    "logical_not": _invert,
    "logical_and": _two("and"),
    "logical_or": _two("or"),
    "logical_xor": _two("xor"),
    "bitwise_invert": _invert,
    "bitwise_and": _two("and"),
    "bitwise_or": _two("or"),
    "bitwise_xor": _two("xor"),
    "bitwise_left_shift": _shift(left=True),
    "bitwise_right_shift": _shift(left=False),
}
