"""The one operation that every product is made of."""

from __future__ import annotations

from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import Value
from graphc.kernel.target import Target


def multiply_add(fn: Function, target: Target, left: Value, right: Value, total: Value) -> Value:
    """``left · right + total``, fused where the machine does that in one instruction."""
    if not total.type.is_float:
        return fn.binary("add", total, fn.binary("mul", left, right))
    if target.has_fma:
        return fn.elementwise("fma", left, right, total)
    return fn.binary("fadd", total, fn.binary("fmul", left, right))
