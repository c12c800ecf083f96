"""Pointwise ops in registers: each takes vectors (or scalars) of equal lanes and gives one.

Floats keep to IEEE 754, one rounding an op, unless the caller asked for fast math.  Integer corner cases are those of
``docs/IR.md``; no instruction here can trap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.backends.llvm.conversion import cast, register_type, round_half
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.integer import INTEGER_OPS, power_function
from graphc.backends.llvm.math import SUPPORTED, math_function
from graphc.backends.llvm.philox import uniform
from graphc.backends.llvm.values import Value, constant, symbol
from graphc.errors import UnsupportedOp
from graphc.ir.attrs import Attrs
from graphc.ir.types import DType
from graphc.kernel.target import Target

Lowering = Callable[[Function, Sequence[Value]], Value]

MATH_WIDTHS = (1, 2, 4, 8, 16)


@dataclass(slots=True)
class MathLibrary:
    """The elementary functions a module uses, each emitted once.

    Attributes:
        target: the machine.
        texts: symbol → definition, in order of first use.
        declarations: what the definitions call.
    """

    target: Target
    texts: dict[str, str] = field(default_factory=dict)
    declarations: dict[str, None] = field(default_factory=dict)

    def call(self, fn: Function, op: str, dtype: str, args: Sequence[Value]) -> Value:
        """Apply an elementary function to vectors of any length, in pieces of the machine's width."""
        type_ = args[0].type
        widest = min(MATH_WIDTHS[-1], self.target.lanes(type_.bits))
        width = next(w for w in MATH_WIDTHS if w >= min(type_.lanes, widest))
        function = math_function(op, dtype, width, fma=self.target.has_fma)
        self.texts[function.name] = function.text
        self.declarations.update(dict.fromkeys(function.declarations))
        result = type_.with_lanes(width)
        pieces = [
            fn.call(function.name, result, [fn.part(arg, start, width) for arg in args])
            for start in range(0, type_.lanes, width)
        ]
        return fn.join(pieces, type_.lanes)

    def integer_power(self, fn: Function, args: Sequence[Value], *, unsigned: bool) -> Value:
        """Integer powers, by a function of the module: a loop over bits would split the caller's block."""
        type_ = args[0].type
        name = symbol(f"graphc.pow.{'u' if unsigned else 's'}.{type_.suffix}")
        if name not in self.texts:
            function = power_function(name, type_, unsigned)
            self.texts[name] = function.render()
            self.declarations.update(function.declarations)
        return fn.call(name, type_, args)


def apply(
    fn: Function,
    library: MathLibrary,
    op: str,
    args: Sequence[Value],
    sources: Sequence[DType],
    result: DType,
    attrs: Attrs,
) -> Value:
    """The value of ``op``: operands of equal lanes in register form, of dtypes ``sources``.

    Raises:
        UnsupportedOp: E760, an op without a lowering.
    """
    if op == "stop_gradient":
        return args[0]
    if op == "select":
        return fn.select(*args)
    if op == "cast":
        return cast(fn, args[0], sources[0], result, library.target)
    if op == "random_uniform":
        return uniform(fn, args, attrs["stream"], result)
    source = sources[0]
    if source.is_float:
        value = _float_op(fn, library, op, args, register_type(source))
        inexact = result.is_half and op not in _EXACT
        return round_half(fn, value, result, library.target) if inexact else value
    if op == "pow" and source.is_integer:
        return library.integer_power(fn, args, unsigned=source.kind != "int")
    lowering = INTEGER_OPS.get(op)
    if lowering is None:
        raise UnsupportedOp("E760", f"no native code for {op!r} of {source}")
    return lowering(fn, args, source.kind != "int")


def _float_op(fn: Function, library: MathLibrary, op: str, args: Sequence[Value], scalar: object) -> Value:
    lowering = _FLOAT_OPS.get(op)
    if lowering is not None:
        return lowering(fn, args)
    composed = _COMPOSED.get(op)
    dtype = "float32" if args[0].type.scalar == "float" else "float64"
    if composed is not None:
        return composed(fn, args, lambda name, *operands: library.call(fn, name, dtype, operands))
    if op == "pow" and args[1] in (constant(args[1].type, 0.5), constant(args[1].type, -0.5)):
        return _root(fn, args[0], inverse=args[1] != constant(args[1].type, 0.5))
    if (op, dtype) in SUPPORTED:
        return library.call(fn, op, dtype, args)
    raise UnsupportedOp("E760", f"no native code for {op!r} of {dtype}")


def supports(op: str, dtype: DType) -> bool:
    """Whether ``op`` has a lowering for operands of ``dtype``."""
    if op in ("stop_gradient", "select", "cast", "random_uniform"):
        return True
    if not dtype.is_float:
        return op in INTEGER_OPS or (op == "pow" and dtype.is_integer)
    wide = "float64" if dtype.bits == 64 else "float32"
    return op in _FLOAT_OPS or op in _COMPOSED or (op, wide) in SUPPORTED


def _two(op: str) -> Lowering:
    return lambda fn, args: fn.binary(op, args[0], args[1])


def _intrinsic(name: str) -> Lowering:
    return lambda fn, args: fn.elementwise(name, *args)


def _comparison(predicate: str) -> Lowering:
    return lambda fn, args: fn.compare(f"fcmp {predicate}", args[0], args[1])


def _zero(value: Value) -> Value:
    return constant(value.type, 0.0)


def _one(value: Value) -> Value:
    return constant(value.type, 1.0)


def _sign(fn: Function, args: Sequence[Value]) -> Value:
    (x,) = args
    signed = fn.elementwise("copysign", _one(x), x)
    # Zero of either sign gives 0; a NaN compares unequal to itself and stays.
    result = fn.select(fn.compare("fcmp oeq", x, _zero(x)), _zero(x), signed)
    return fn.select(fn.compare("fcmp uno", x, x), x, result)


def _relu(fn: Function, args: Sequence[Value]) -> Value:
    (x,) = args
    return fn.select(fn.compare("fcmp ole", x, _zero(x)), _zero(x), x)


def extremum(fn: Function, x: Value, y: Value, *, largest: bool) -> Value:
    """The larger (or smaller) of two floats; a NaN in either wins."""
    # This compare and select is one instruction, which gives y where either is a NaN.
    chosen = fn.select(fn.compare("fcmp ogt" if largest else "fcmp olt", x, y), x, y)
    return fn.select(fn.compare("fcmp uno", x, x), x, chosen)


def _magnitude_compare(predicate: str) -> Lowering:
    def lower(fn: Function, args: Sequence[Value]) -> Value:
        magnitude = fn.elementwise("fabs", args[0])
        return fn.compare(f"fcmp {predicate}", magnitude, constant(magnitude.type, float("inf")))

    return lower


Elementary = Callable[..., Value]


def _divmod(fn: Function, args: Sequence[Value], math: Elementary) -> tuple[Value, Value]:
    """Quotient and remainder toward minus infinity, after NumPy's definition (``graphc/ops/arithmetic.py``)."""
    x, y = args
    rest = math("fmod", x, y)
    zero = _zero(x)
    exact = fn.compare("fcmp oeq", rest, zero)
    signs_differ = fn.binary("xor", fn.compare("fcmp olt", rest, zero), fn.compare("fcmp olt", y, zero))
    wrong = fn.binary("and", signs_differ, fn.binary("xor", exact, constant(exact.type, True)))
    quotient = fn.binary("fdiv", fn.binary("fsub", x, rest), y)
    quotient = fn.select(wrong, fn.binary("fsub", quotient, _one(x)), quotient)
    remainder = fn.select(wrong, fn.binary("fadd", rest, y), rest)
    remainder = fn.select(exact, fn.elementwise("copysign", zero, y), remainder)
    return quotient, remainder


def _floor_divide(fn: Function, args: Sequence[Value], math: Elementary) -> Value:
    x, y = args
    quotient, _ = _divmod(fn, args, math)
    plain = fn.binary("fdiv", x, y)
    whole = fn.elementwise("floor", quotient)
    above = fn.compare("fcmp ogt", fn.binary("fsub", quotient, whole), constant(x.type, 0.5))
    whole = fn.select(above, fn.binary("fadd", whole, _one(x)), whole)
    signed_zero = fn.elementwise("copysign", _zero(x), plain)
    result = fn.select(fn.compare("fcmp oeq", quotient, _zero(x)), signed_zero, whole)
    return fn.select(fn.compare("fcmp oeq", y, _zero(x)), plain, result)


def _remainder(fn: Function, args: Sequence[Value], math: Elementary) -> Value:
    _, y = args
    _, remainder = _divmod(fn, args, math)
    undefined = constant(y.type, float("nan"))
    return fn.select(fn.compare("fcmp oeq", y, _zero(y)), undefined, remainder)


def _root(fn: Function, x: Value, *, inverse: bool) -> Value:
    """The power ½ (or -½) of x: -0 gives what +0 does, and -∞ what +∞ does; within 0.5 ULP (1.5)."""
    infinite = constant(x.type, float("inf"))
    root = fn.elementwise("sqrt", fn.binary("fadd", x, _zero(x)))
    root = fn.select(fn.compare("fcmp oeq", x, constant(x.type, float("-inf"))), infinite, root)
    return fn.binary("fdiv", _one(x), root) if inverse else root


def _hypot(fn: Function, args: Sequence[Value], math: Elementary) -> Value:
    """sqrt(x² + y²), scaled by a power of two so that nothing overflows; an infinity wins over a NaN."""
    x, y = (fn.elementwise("fabs", arg) for arg in args)
    larger, smaller = extremum(fn, x, y, largest=True), extremum(fn, x, y, largest=False)
    single = x.type.scalar == "float"
    word = "i32" if single else "i64"
    fraction, bias = (23, 127) if single else (52, 1023)
    bits = fn.convert("bitcast", larger, word)
    exponent = fn.binary("and", bits, constant(bits.type, ((1 << (bits.type.bits - 1)) - 1) & -(1 << fraction)))
    # The power of two is kept within the normal range, as is its inverse.
    exponent = fn.elementwise("umax", exponent, constant(bits.type, 1 << fraction))
    exponent = fn.elementwise("umin", exponent, constant(bits.type, (2 * bias - 1) << fraction))
    inverse = fn.binary("sub", constant(bits.type, (2 * bias) << fraction), exponent)
    scale, unscale = (fn.convert("bitcast", part, x.type.scalar) for part in (exponent, inverse))
    a, b = fn.binary("fmul", larger, unscale), fn.binary("fmul", smaller, unscale)
    length = fn.elementwise("sqrt", fn.binary("fadd", fn.binary("fmul", a, a), fn.binary("fmul", b, b)))
    result = fn.binary("fmul", length, scale)
    infinite = constant(x.type, float("inf"))
    either = fn.binary("or", fn.compare("fcmp oeq", x, infinite), fn.compare("fcmp oeq", y, infinite))
    return fn.select(either, infinite, result)


def _logaddexp(fn: Function, args: Sequence[Value], math: Elementary) -> Value:
    """Max + log1p(exp(-|x - y|)); equal operands, infinities among them, give x + log 2."""
    x, y = args
    difference = fn.binary("fsub", x, y)
    larger = extremum(fn, x, y, largest=True)
    decay = math("exp", fn.unary("fneg", fn.elementwise("fabs", difference)))
    apart = fn.binary("fadd", larger, math("log1p", decay))
    doubled = fn.binary("fadd", x, constant(x.type, 0.6931471805599453))
    return fn.select(fn.compare("fcmp oeq", x, y), doubled, apart)


_EXACT = frozenset(
    [
        "negative",
        "abs",
        "relu",
        "maximum",
        "minimum",
        "copysign",
        "sign",
        "floor",
        "ceil",
        "trunc",
        "round",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "isnan",
        "isinf",
        "isfinite",
    ]
)
"""Ops whose result on half values is a half value (or a bool): no rounding."""

_FLOAT_OPS: dict[str, Lowering] = {
    "negative": lambda fn, args: fn.unary("fneg", args[0]),
    "abs": _intrinsic("fabs"),
    "sign": _sign,
    "square": lambda fn, args: fn.binary("fmul", args[0], args[0]),
    "reciprocal": lambda fn, args: fn.binary("fdiv", _one(args[0]), args[0]),
    "sqrt": _intrinsic("sqrt"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
    "round": _intrinsic("rint"),
    "relu": _relu,
    "add": _two("fadd"),
    "subtract": _two("fsub"),
    "multiply": _two("fmul"),
    "divide": _two("fdiv"),
    "copysign": _intrinsic("copysign"),
    "maximum": lambda fn, args: extremum(fn, args[0], args[1], largest=True),
    "minimum": lambda fn, args: extremum(fn, args[0], args[1], largest=False),
    "equal": _comparison("oeq"),
    "not_equal": _comparison("une"),
    "less": _comparison("olt"),
    "less_equal": _comparison("ole"),
    "greater": _comparison("ogt"),
    "greater_equal": _comparison("oge"),
    "isnan": lambda fn, args: fn.compare("fcmp uno", args[0], args[0]),
    "isinf": _magnitude_compare("oeq"),
    "isfinite": _magnitude_compare("olt"),
}
_COMPOSED: dict[str, Callable[[Function, Sequence[Value], Elementary], Value]] = {
    "floor_divide": _floor_divide,
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "remainder": _remainder,
}
