"""How element types lie in registers and in memory, and the conversions between them.

In registers a bool is ``i1`` and both half formats are ``float`` holding a value that the format has; in memory a
bool is a byte of 0 or 1, and the half formats are their 16 bits.
"""

from __future__ import annotations

import numpy as np

from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import Type, Value, constant
from graphc.ir.types import DType, bfloat16, float16, to_carrier
from graphc.kernel.loopir import Const
from graphc.kernel.target import Target

_REGISTER = {
    "bool": "i1",
    "int8": "i8",
    "uint8": "i8",
    "int32": "i32",
    "int64": "i64",
    "float16": "float",
    "bfloat16": "float",
    "float32": "float",
    "float64": "double",
}
_MEMORY = {**_REGISTER, "bool": "i8", "float16": "i16", "bfloat16": "i16"}


def register_type(dtype: DType, lanes: int = 1) -> Type:
    """The type of a value of ``dtype`` while it is computed with."""
    return Type(_REGISTER[dtype.name], lanes)


def memory_type(dtype: DType, lanes: int = 1) -> Type:
    """The type of an element of ``dtype`` in a buffer."""
    return Type(_MEMORY[dtype.name], lanes)


def const_value(const: Const) -> Value:
    """A LoopIR constant as a register value."""
    array = np.frombuffer(const.bits, dtype=const.dtype.storage)
    number = to_carrier(array, const.dtype)[0]
    type_ = register_type(const.dtype)
    if const.dtype.is_float and np.isnan(number):
        # Through Python's double a NaN would lose nothing but its payload, which no op promises to keep.
        return Value("0x7FF8000000000000", type_)
    return constant(type_, number.item())


def from_memory(fn: Function, stored: Value, dtype: DType, target: Target) -> Value:
    """A value just loaded, in its register form."""
    if dtype.name == "bool":
        return fn.convert("trunc", stored, "i1")
    if dtype is bfloat16:
        wide = fn.convert("zext", stored, "i32")
        bits = fn.binary("shl", wide, constant(wide.type, 16))
        return fn.convert("bitcast", bits, "float")
    if dtype is float16:
        if target.has_half_conversion:
            return fn.convert("fpext", fn.convert("bitcast", stored, "half"), "float")
        return _widen_half(fn, stored)
    return stored


def to_memory(fn: Function, value: Value, dtype: DType, target: Target) -> Value:
    """A register value as it is stored; halves are rounded already, so this is exact."""
    if dtype.name == "bool":
        return fn.convert("zext", value, "i8")
    if dtype is bfloat16:
        bits = fn.convert("bitcast", value, "i32")
        return fn.convert("trunc", fn.binary("lshr", bits, constant(bits.type, 16)), "i16")
    if dtype is float16:
        if target.has_half_conversion:
            return fn.convert("bitcast", fn.convert("fptrunc", value, "half"), "i16")
        return _narrow_half(fn, value)
    return value


def round_half(fn: Function, value: Value, dtype: DType, target: Target) -> Value:
    """A float32 rounded to the nearest number of a half format, ties to even; a NaN stays a NaN."""
    if dtype is float16:
        # Behind the fence LLVM does not see what is rounded: it would take the sign of a copysign from the double
        # that the float32 was made of, and then round that double by a function that the C library lacks.
        fenced = fn.elementwise("arithmetic.fence", value) if target.has_half_conversion else value
        return from_memory(fn, to_memory(fn, fenced, dtype, target), dtype, target)
    bits = fn.convert("bitcast", value, "i32")
    type_ = bits.type
    odd = fn.binary("and", fn.binary("lshr", bits, constant(type_, 16)), constant(type_, 1))
    nearest = fn.binary("add", bits, fn.binary("add", odd, constant(type_, 0x7FFF)))
    quiet = fn.binary("or", bits, constant(type_, 0x400000))
    chosen = fn.select(fn.compare("fcmp uno", value, value), quiet, nearest)
    return fn.convert("bitcast", fn.binary("and", chosen, constant(type_, -0x10000)), "float")


def _widen_half(fn: Function, stored: Value) -> Value:
    """float16 bits to float32 without hardware: the exponent is rebased by an exact product with 2^112."""
    wide = fn.convert("zext", stored, "i32")
    type_ = wide.type
    magnitude = fn.binary("and", wide, constant(type_, 0x7FFF))
    sign = fn.binary("shl", fn.binary("and", wide, constant(type_, 0x8000)), constant(type_, 16))
    shifted = fn.convert("bitcast", fn.binary("shl", magnitude, constant(type_, 13)), "float")
    scaled = fn.convert("bitcast", fn.binary("fmul", shifted, constant(shifted.type, 2.0**112)), "i32")
    # Exponent 31 means infinity or NaN: it becomes 255, and the fraction is kept.
    special = fn.compare("icmp uge", magnitude, constant(type_, 0x7C00))
    bits = fn.select(special, fn.binary("or", scaled, constant(type_, 0x7F800000)), scaled)
    return fn.convert("bitcast", fn.binary("or", bits, sign), "float")


def _narrow_half(fn: Function, value: Value) -> Value:
    """float32 to float16 bits without hardware, nearest even.

    Adding 2^(e+13) for a normal result (0.5 for a subnormal one) makes the float adder round at float16's last bit.
    """
    bits = fn.convert("bitcast", value, "i32")
    type_ = bits.type
    sign = fn.binary("lshr", fn.binary("and", bits, constant(type_, -0x80000000)), constant(type_, 16))
    magnitude = fn.binary("and", bits, constant(type_, 0x7FFFFFFF))
    # Normal results: round the 13 dropped bits to even in integer arithmetic, then rebase the exponent.
    odd = fn.binary("and", fn.binary("lshr", magnitude, constant(type_, 13)), constant(type_, 1))
    rounded = fn.binary("add", magnitude, fn.binary("add", odd, constant(type_, 0xFFF)))
    normal = fn.binary("lshr", fn.binary("sub", rounded, constant(type_, 112 << 23)), constant(type_, 13))
    # Results below 2^-14: the sum with 0.5 leaves them, rounded, in the low bits.
    small = fn.binary("fadd", fn.convert("bitcast", magnitude, "float"), constant(value.type, 0.5))
    tiny = fn.binary("sub", fn.convert("bitcast", small, "i32"), constant(type_, 0x3F000000))
    finite = fn.select(fn.compare("icmp ult", magnitude, constant(type_, 113 << 23)), tiny, normal)
    overflow = fn.compare("icmp uge", magnitude, constant(type_, 0x477FF000))
    limited = fn.select(overflow, constant(type_, 0x7C00), finite)
    is_nan = fn.compare("icmp ugt", magnitude, constant(type_, 0x7F800000))
    result = fn.select(is_nan, constant(type_, 0x7E00), limited)
    return fn.convert("trunc", fn.binary("or", result, sign), "i16")


def cast(fn: Function, value: Value, source: DType, result: DType, target: Target) -> Value:
    """The value in another dtype, by the rules of the ``cast`` op."""
    if source is result:
        return value
    to = register_type(result, value.lanes)
    if result.name == "bool":
        zero = constant(value.type, 0)
        return fn.compare("fcmp une" if source.is_float else "icmp ne", value, zero)
    if source.is_float and result.is_float:
        if to.bits > value.type.bits:
            value = fn.convert("fpext", value, to.scalar)
        elif to.bits < value.type.bits:
            value = fn.convert("fptrunc", value, to.scalar)
        return round_half(fn, value, result, target) if result.is_half else value
    if source.is_float:
        name = "fptosi" if result.kind == "int" else "fptoui"
        return fn.intrinsic(f"{name}.sat.{to.suffix}.{value.type.suffix}", to, [value])
    if result.is_float:
        op = "sitofp" if source.kind == "int" else "uitofp"
        number = fn.convert(op, value, to.scalar)
        return round_half(fn, number, result, target) if result.is_half else number
    if to.bits <= value.type.bits:
        return fn.convert("trunc", value, to.scalar)
    return fn.convert("sext" if source.kind == "int" else "zext", value, to.scalar)
