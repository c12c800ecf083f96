"""The table of elementary functions and the text of each as an LLVM function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from graphc.backends.llvm.math import (
    angle,
    division,
    error_function,
    exponential,
    hyperbolic,
    inverse_trigonometric,
    library,
    logarithm,
    power,
    trigonometric,
)
from graphc.backends.llvm.math.emitter import FORMATS, FunctionEmitter, Value
from graphc.errors import UnsupportedOp

VectorFunction = Callable[..., Value]  # of the emitter and one value for each argument

# Straight-line code, good for every argument.
VECTOR_FUNCTIONS: dict[str, VectorFunction] = {
    "acos": inverse_trigonometric.acos,
    "acosh": hyperbolic.acosh,
    "asin": inverse_trigonometric.asin,
    "asinh": hyperbolic.asinh,
    "atan": inverse_trigonometric.atan,
    "atan2": angle.atan2,
    "atanh": hyperbolic.atanh,
    "cosh": hyperbolic.cosh,
    "erf": error_function.erf,
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "log": logarithm.log,
    "log10": logarithm.log10,
    "log1p": logarithm.log1p,
    "log2": logarithm.log2,
    "pow": power.power,
    "sigmoid": exponential.sigmoid,
    "sinh": hyperbolic.sinh,
    "softplus": exponential.softplus,
    "tanh": hyperbolic.tanh,
}
# Straight-line code where a second function does not hold; there the C library.
LIMITED_FUNCTIONS: dict[str, tuple[VectorFunction, VectorFunction]] = {
    "cos": (trigonometric.cos, trigonometric.beyond_reduction),
    "fmod": (division.fmod, division.beyond_quotient),
    "sin": (trigonometric.sin, trigonometric.beyond_reduction),
    "tan": (trigonometric.tan, trigonometric.beyond_reduction),
}
# The C library for every argument.
LIBRARY_FUNCTIONS = ("erfc",)
# How many arguments, where not one.
ARITIES = {"atan2": 2, "fmod": 2, "pow": 2}

SUPPORTED: frozenset[tuple[str, str]] = frozenset(
    (op, dtype) for op in (*VECTOR_FUNCTIONS, *LIMITED_FUNCTIONS, *LIBRARY_FUNCTIONS) for dtype in FORMATS
)

WIDTHS = (1, 2, 4, 8, 16)
INLINE = "alwaysinline nounwind willreturn memory(none)"
OUT_OF_LINE = "noinline cold nounwind willreturn memory(none)"


@dataclass(frozen=True)
class MathFunction:
    """One op at one format and width as LLVM IR.

    Attributes:
        name: Its symbol, with the ``@``.
        text: Its definition, and before it that of a helper where it has one; both have internal linkage.
        declarations: The intrinsics and functions of the C library that it calls, a line each.
    """

    name: str
    text: str
    declarations: tuple[str, ...]


def function_name(op: str, dtype: str, width: int) -> str:
    """Return the symbol of a function, for example ``@graphc.tanh.float32.v16``."""
    return f"@graphc.{op}.{dtype}.v{width}"


def _define(name: str, emit: FunctionEmitter, arguments: tuple[Value, ...], result: Value, attributes: str) -> str:
    parameters = ", ".join(f"{one.type} {one.name}" for one in arguments)
    body = "\n".join(emit.lines)
    return (
        f"define internal {result.type} {name}({parameters}) {attributes} {{\n"
        f"entry:\n{body}\n  ret {result.type} {result.name}\n}}\n"
    )


def _arguments(emit: FunctionEmitter, op: str) -> tuple[Value, ...]:
    return tuple(emit.argument(letter) for letter in "xy"[: ARITIES.get(op, 1)])


def _library_function(name: str, op: str, dtype: str, width: int, attributes: str) -> MathFunction:
    emit = FunctionEmitter(FORMATS[dtype], width, fma=False)
    arguments = _arguments(emit, op)
    result = library.call(emit, op, *arguments)
    return MathFunction(name, _define(name, emit, arguments, result, attributes), tuple(emit.declarations))


@cache
def math_function(op: str, dtype: str, width: int, *, fma: bool) -> MathFunction:
    """Return an op's function of ``width`` lanes.

    Args:
        op: The op's name.
        dtype: ``float32`` or ``float64``; narrower formats are computed in float32 by the caller.
        width: 1 (scalar types), 2, 4, 8 or 16.
        fma: Whether the target has fused multiply-add.

    Raises:
        UnsupportedOp: There is no such function.
    """
    if (op, dtype) not in SUPPORTED or width not in WIDTHS:
        raise UnsupportedOp("E760", f"no elementary function {op!r} of dtype {dtype!r} and width {width}")
    name = function_name(op, dtype, width)
    if op in LIBRARY_FUNCTIONS:
        return _library_function(name, op, dtype, width, INLINE)
    emit = FunctionEmitter(FORMATS[dtype], width, fma)
    arguments = _arguments(emit, op)
    if op in VECTOR_FUNCTIONS:
        result = VECTOR_FUNCTIONS[op](emit, *arguments)
        return MathFunction(name, _define(name, emit, arguments, result, INLINE), tuple(emit.declarations))
    beyond = _library_function(f"{name}.beyond", op, dtype, width, OUT_OF_LINE)
    function, is_beyond = LIMITED_FUNCTIONS[op]
    result = function(emit, *arguments)
    result = emit.where_rare(is_beyond(emit, *arguments), result, beyond.name, *arguments)
    text = beyond.text + _define(name, emit, arguments, result, INLINE)
    return MathFunction(name, text, (*emit.declarations, *beyond.declarations))


def emit_function(op: str, dtype: str, width: int, *, fma: bool) -> str:
    """Return the LLVM text of `math_function`."""
    return math_function(op, dtype, width, fma=fma).text


def declarations(op: str, dtype: str, width: int, *, fma: bool = True) -> tuple[str, ...]:
    """Return what the text of `math_function` needs declared; the caller writes each line once a module."""
    return math_function(op, dtype, width, fma=fma).declarations
