"""The elementary functions compiled by themselves, arguments for them, and what they should give."""

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import mpmath
import numpy as np
from scipy import special

from graphc.backends.llvm.math import SUPPORTED, declarations, emit_function, function_name

DTYPES = ("float32", "float64")
BINARY = ("atan2", "fmod", "pow")
UNARY = tuple(sorted({op for op, _ in SUPPORTED} - set(BINARY)))
# Straight to the C library: theirs is the library's accuracy.
INF = math.inf
LIBRARY = ("erfc",)
HOST, BASELINE = "host with fused multiply-add", "x86-64 without extensions"
POINTS = {"float32": 100_000, "float64": 4_000}

# Where the result is neither flat nor overflowing, for a dense sample; the exponents' whole range is sampled besides.
INTERVALS = {
    "acos": (-1, 1, -1, 1),
    "asin": (-1, 1, -1, 1),
    "atanh": (-1, 1, -1, 1),
    "cosh": (-89.5, 89.5, -710.5, 710.5),
    "erf": (-4, 4, -6, 6),
    "erfc": (-4, 10, -6, 27),
    "exp": (-104, 88.8, -746, 709.8),
    "expm1": (-20, 88.8, -40, 709.8),
    "log1p": (-1, 3, -1, 3),
    "sigmoid": (-104, 20, -746, 40),
    "sinh": (-89.5, 89.5, -710.5, 710.5),
    "softplus": (-104, 100, -746, 800),
    "tanh": (-9.5, 9.5, -20, 20),
}
DEFAULT_INTERVAL = (-50, 50, -50, 50)

FLOAT64_ORACLE: dict[str, Callable[..., np.ndarray]] = {
    "erf": special.erf,
    "erfc": special.erfc,
    "fmod": np.fmod,
    "pow": np.power,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
}
MPMATH_ORACLE: dict[str, Callable[..., mpmath.mpf]] = {
    "log2": lambda x: mpmath.log(x) / mpmath.ln2,
    "log10": lambda x: mpmath.log(x) / mpmath.ln10,
    "pow": mpmath.power,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}


def float64_oracle(op: str) -> Callable[..., np.ndarray]:
    return FLOAT64_ORACLE.get(op) or getattr(np, {"atan2": "arctan2"}.get(op, op.replace("a", "arc", op[0] == "a")))


def mpmath_oracle(op: str) -> Callable[..., mpmath.mpf]:
    return MPMATH_ORACLE.get(op) or getattr(mpmath, op)


# ---------------------------------------------------------------------------------------------------- compiled code


def arity(op: str) -> int:
    return 2 if op in BINARY else 1


def loop_over(op: str, dtype: str, width: int) -> str:
    """A function that applies an op to arrays whose length is a multiple of the width."""
    scalar = {"float32": "float", "float64": "double"}[dtype]
    vector = scalar if width == 1 else f"<{width} x {scalar}>"
    align = np.dtype(dtype).itemsize
    letters = "xy"[: arity(op)]
    loads = "".join(
        f"  %p{one} = getelementptr {scalar}, ptr %{one}, i64 %i\n"
        f"  %v{one} = load {vector}, ptr %p{one}, align {align}\n"
        for one in letters
    )
    return (
        f"define void @apply.{op}.{dtype}.{width}(ptr %out, {', '.join(f'ptr %{one}' for one in letters)}, i64 %n) {{\n"
        f"entry:\n  br label %body\nbody:\n  %i = phi i64 [ 0, %entry ], [ %next, %body ]\n{loads}"
        f"  %r = call {vector} {function_name(op, dtype, width)}({', '.join(f'{vector} %v{one}' for one in letters)})\n"
        f"  %p = getelementptr {scalar}, ptr %out, i64 %i\n  store {vector} %r, ptr %p, align {align}\n"
        f"  %next = add i64 %i, {width}\n  %more = icmp ult i64 %next, %n\n"
        f"  br i1 %more, label %body, label %done\ndone:\n  ret void\n}}\n"
    )


@cache
def engine(ops: tuple[str, ...], dtype: str, width: int, machine: str) -> llvm.ExecutionEngine:
    """Compile some ops at one width for one machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.util.find_library("m")
    assert library is not None
    llvm.load_library_permanently(library)
    fma = machine == HOST
    lines = {line: None for op in ops for line in declarations(op, dtype, width, fma=fma)}
    text = "\n".join(lines) + "\n"
    for op in ops:
        text += emit_function(op, dtype, width, fma=fma) + loop_over(op, dtype, width)
    cpu, features = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()) if fma else ("x86-64", "")
    target = llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3)
    module = llvm.parse_assembly(text)
    module.verify()
    module.triple, module.data_layout = target.triple, str(target.target_data)
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    compiled = llvm.create_mcjit_compiler(module, target)
    compiled.finalize_object()
    return compiled


def evaluate(op: str, *arguments: np.ndarray, width: int = 8, machine: str = HOST, alone: bool = False) -> np.ndarray:
    """Apply an op to arrays of any length, in compiled code."""
    dtype = arguments[0].dtype.name
    count = len(arguments[0])
    padded = [np.concatenate([one, np.repeat(one[-1:], -count % width)]) for one in arguments]
    result = np.empty_like(padded[0])
    compiled = engine((op,) if alone else (*UNARY, *BINARY), dtype, width, machine)
    address = compiled.get_function_address(f"apply.{op}.{dtype}.{width}")
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (1 + len(padded)), ctypes.c_int64)(address)
    function(result.ctypes.data, *(one.ctypes.data for one in padded), len(result))
    return result[:count]


# ----------------------------------------------------------------------------------------------------------- accuracy


def sample(op: str, dtype: str, count: int) -> np.ndarray:
    """Arguments over an op's whole domain: half where it bends, a quarter over all exponents, a quarter near 1."""
    rng = np.random.default_rng(20_240_607)
    limits = np.finfo(dtype)
    interval = INTERVALS.get(op, DEFAULT_INTERVAL)
    low, high = interval[:2] if dtype == "float32" else interval[2:]
    quarter = count // 4
    signs = rng.choice([-1.0, 1.0], (2, quarter))
    dense = rng.uniform(low, high, count - 2 * quarter)
    everywhere = np.exp2(rng.uniform(limits.minexp - limits.nmant, limits.maxexp, quarter)) * signs[0]
    moderate = np.exp2(rng.uniform(-12, 4, quarter)) * signs[1]
    points = np.concatenate([dense, everywhere, moderate])
    if op in ("log", "log2", "log10"):
        points = np.abs(points)
        points[:quarter] = 1 + rng.uniform(-0.5, 0.5, quarter)
    elif op == "log1p":
        points = np.where(points <= -1, -points, points)
    elif op == "acosh":
        points = 1 + np.abs(points)
    elif op in ("acos", "asin", "atanh"):
        points = np.where(np.abs(points) > 1, np.modf(points)[0], points)
    elif op == "erfc":
        points = np.clip(points, -30, 30)  # further out mpmath's own evaluation overflows
    return points.astype(dtype)


def power_arguments(dtype: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bases and exponents, an eighth each: from 0.1 to 10; and with results of any size for bases of any size, below
    the normal range, near 1, and near where the mantissa's range ends, where the logarithm is least exact; the same
    bases with results near either end of the range; small exponents.
    """
    rng = np.random.default_rng(8)
    limits = np.finfo(dtype)
    part = count // 8
    lowest, highest = limits.minexp - limits.nmant, limits.maxexp

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, part)

    near_1 = np.log2(1 + rng.choice([-1.0, 1.0], part) * np.exp2(uniform(-limits.nmant, -2)))
    edge = rng.choice([-1.0, 1.0], part) * uniform(0.45, 0.55)
    moderate = uniform(-30, 30)
    logarithms = (uniform(-3, 3), uniform(lowest, highest), moderate, near_1, edge, edge, uniform(-0.5, 0.5), moderate)
    bases = [np.exp2(one).astype(dtype) for one in logarithms]
    with np.errstate(divide="ignore"):
        exact = [np.log2(one.astype("float64")) for one in bases]
    exact[3] = np.where(exact[3] == 0, 1.0, exact[3])
    powers = (
        exact[0] * uniform(-5, 5),
        uniform(limits.minexp, highest),
        uniform(lowest - 2, limits.minexp + 1),
        uniform(limits.minexp, highest),
        uniform(limits.minexp, highest),
        uniform(highest - 60, highest),
        uniform(limits.minexp, limits.minexp + 60),
        exact[7] * np.exp2(uniform(-12, 0)),
    )
    exponents = [power / logarithm for power, logarithm in zip(powers, exact, strict=True)]
    return np.concatenate(bases), np.concatenate(exponents).astype(dtype)


def atan2_arguments(dtype: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in all directions; near where the reduction changes, which is where the quotient is largest; of all sizes
    and near either end of the range.
    """
    rng = np.random.default_rng(3)
    limits = np.finfo(dtype)
    lowest, highest = limits.minexp - limits.nmant, limits.maxexp
    part = count // 5
    moderate = rng.uniform(-3, 3, part)
    anywhere = rng.uniform(lowest, highest, part)
    heights = (
        moderate + rng.uniform(-3, 3, part),
        moderate + np.log2(math.sqrt(2) - 1) + rng.uniform(-0.02, 0.02, part),
        np.clip(anywhere + rng.uniform(-60, 60, part), lowest, highest - 0.01),
        rng.uniform(highest - 3, highest, part),
        rng.uniform(lowest, lowest + 80, part),
    )
    widths = (
        moderate,
        moderate,
        anywhere,
        rng.uniform(highest - 3, highest, part),
        rng.uniform(lowest, lowest + 80, part),
    )
    y, x = (np.exp2(np.concatenate(one)) for one in (heights, widths))
    return (y * rng.choice([-1, 1], len(y))).astype(dtype), (x * rng.choice([-1, 1], len(x))).astype(dtype)


def fmod_arguments(dtype: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Dividends and divisors: with quotients of any size up to the largest, near integers, and of numbers of all sizes,
    also below the normal range.
    """
    rng = np.random.default_rng(12)
    limits = np.finfo(dtype)
    part = count // 4
    near = np.exp2(rng.uniform(-4, 4, 2 * part)).astype(dtype)
    integers = np.floor(np.exp2(rng.uniform(0, limits.nmant + 2, part))).astype(dtype)
    beside = np.nextafter(integers * near[part:], rng.choice([-INF, INF], part).astype(dtype))
    quotients = np.exp2(rng.uniform(-2, limits.nmant + 3, part)).astype(dtype)
    sizes = rng.uniform(limits.minexp - limits.nmant, limits.maxexp, (2, part))
    sizes[1] = sizes[0] + np.minimum(rng.uniform(-2, limits.nmant + 3, part), limits.maxexp - 0.01 - sizes[0])
    everywhere = np.exp2(sizes).astype(dtype)
    tiny = np.exp2(rng.uniform(limits.minexp - limits.nmant, limits.minexp + 1, (2, part))).astype(dtype)
    first = np.concatenate([quotients * near[:part], beside, everywhere[1], tiny[1]])
    second = np.concatenate([near, everywhere[0], tiny[0]])
    return first * rng.choice([-1, 1], len(first)).astype(dtype), second * rng.choice([-1, 1], len(second)).astype(
        dtype
    )


def ulp_error(result: np.ndarray, exact_high: np.ndarray, exact_low: np.ndarray) -> np.ndarray:
    """Error in units in the last place of the rounded exact result; infinite where only one of the two is finite."""
    dtype = result.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact_high.astype(dtype)
        unit = np.spacing(np.abs(rounded)).astype("float64")
        error = np.abs((result.astype("float64") - exact_high) - exact_low) / unit
    overflowed = ~np.isfinite(rounded) | ~np.isfinite(result)
    return np.where(overflowed, np.where(result == rounded, 0.0, np.inf), error)


@cache
def exact_values(op: str, dtype: str) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Arguments and the exact results as a sum of two float64; float64 functions are exact enough for float32."""
    arguments: tuple[np.ndarray, ...] = (sample(op, dtype, POINTS[dtype]),)
    if op == "pow":
        arguments = power_arguments(dtype, POINTS[dtype])
    elif op == "fmod":
        arguments = fmod_arguments(dtype, POINTS[dtype])
    elif op == "atan2":
        arguments = atan2_arguments(dtype, POINTS[dtype])
    if dtype == "float32" or op == "fmod":  # exact in float64
        with np.errstate(over="ignore", under="ignore"):
            high = float64_oracle(op)(*(one.astype("float64") for one in arguments))
        return arguments, high, np.zeros_like(high)
    function = mpmath_oracle(op)
    with mpmath.workdps(36):
        results = [function(*map(mpmath.mpf, row)) for row in zip(*(one.tolist() for one in arguments), strict=True)]
        high = np.array([float(one) for one in results])
        rests = [one - near if math.isfinite(near) else 0 for one, near in zip(results, high.tolist(), strict=True)]
        low = np.array([float(one) for one in rests])
    return arguments, high, low
