"""Vectorised elementary functions as LLVM IR text, with a stated bound on the error of each (`accuracy.MAX_ULP`).

Every function is correct over the whole range: infinities, NaN, signed zeros and numbers below the normal range as
IEEE 754 has them. No instruction carries a fast-math flag; all widths give the same bits. The caller pastes the text of
`emit_function` and the lines of `declarations` into its module, once each, and calls `function_name`.
"""

from graphc.backends.llvm.math.accuracy import MAX_ULP
from graphc.backends.llvm.math.functions import (
    SUPPORTED,
    MathFunction,
    declarations,
    emit_function,
    function_name,
    math_function,
)

__all__ = [
    "MAX_ULP",
    "SUPPORTED",
    "MathFunction",
    "declarations",
    "emit_function",
    "function_name",
    "math_function",
]
