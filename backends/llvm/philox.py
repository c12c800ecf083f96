"""``random_uniform`` in registers: Philox 4×32-10, a value from its key, stream and flat position alone.

The definition stands in :mod:`graphc.ops.random`; a block of the generator gives four float32 or two float64 values,
and each lane computes its own block, which costs integer multiplications but needs no lane to know another.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import Value, constant
from graphc.ir.types import DType, float32
from graphc.ops.random import MULTIPLIERS, ROUNDS, WEYL

_LOW = 0xFFFFFFFF


def uniform(fn: Function, args: Sequence[Value], stream: int, dtype: DType) -> Value:
    """Numbers in [0, 1) for seed, step, flat positions, and perhaps what is added to ``stream``: i64, equal lanes."""
    seed, step, position, *offset = args
    type_ = position.type
    low, half = constant(type_, _LOW), constant(type_, 32)
    per_block = 4 if dtype is float32 else 2
    block = fn.binary("lshr", position, constant(type_, per_block.bit_length() - 1))
    words = [
        fn.binary("and", block, low),
        fn.binary("lshr", block, half),
        fn.binary("and", fn.binary("add", offset[0], constant(type_, stream)), low)
        if offset
        else constant(type_, stream),
        fn.binary("and", step, low),
    ]
    keys = [fn.binary("and", seed, low), fn.binary("lshr", seed, half)]
    for _ in range(ROUNDS):
        # Both factors are below 2^32: one widening multiplication a lane.
        first = fn.binary("mul", words[0], constant(type_, MULTIPLIERS[0]))
        second = fn.binary("mul", words[2], constant(type_, MULTIPLIERS[1]))
        words = [
            fn.binary("xor", fn.binary("xor", fn.binary("lshr", second, half), words[1]), keys[0]),
            fn.binary("and", second, low),
            fn.binary("xor", fn.binary("xor", fn.binary("lshr", first, half), words[3]), keys[1]),
            fn.binary("and", first, low),
        ]
        keys = [
            fn.binary("and", fn.binary("add", key, constant(type_, increment)), low)
            for key, increment in zip(keys, WEYL, strict=True)
        ]
    return _to_float(fn, words, position, dtype)


def _to_float(fn: Function, words: list[Value], position: Value, dtype: DType) -> Value:
    type_ = position.type
    odd = fn.compare("icmp ne", fn.binary("and", position, constant(type_, 1)), constant(type_, 0))
    if dtype is float32:
        upper = fn.compare("icmp ne", fn.binary("and", position, constant(type_, 2)), constant(type_, 0))
        chosen = fn.select(upper, fn.select(odd, words[3], words[2]), fn.select(odd, words[1], words[0]))
        bits = fn.convert("trunc", fn.binary("lshr", chosen, constant(type_, 8)), "i32")
        number = fn.convert("sitofp", bits, "float")
        return fn.binary("fmul", number, constant(number.type, 2.0**-24))
    high = fn.select(odd, words[2], words[0])
    small = fn.select(odd, words[3], words[1])
    joined = fn.binary("or", fn.binary("shl", high, constant(type_, 32)), small)
    number = fn.convert("sitofp", fn.binary("lshr", joined, constant(type_, 11)), "double")
    return fn.binary("fmul", number, constant(number.type, 2.0**-53))
