"""The elementary functions: their error against mpmath, their special values, and the same bits at every width."""

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from scipy import special

from graphc.backends.llvm.math import (
    MAX_ULP,
    SUPPORTED,
    coefficients,
    declarations,
    emit_function,
    fit,
    function_name,
    math_function,
)
from graphc.errors import UnsupportedOp

DTYPES = ("float32", "float64")
BINARY = ("atan2", "pow")
UNARY = tuple(sorted({op for op, _ in SUPPORTED} - set(BINARY)))
# Straight to the C library: theirs is the library's accuracy.
LIBRARY = ("atan2", "erfc")
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
    elif op in BINARY:
        rng = np.random.default_rng(3)
        first = np.exp2(rng.uniform(-6, 6, POINTS[dtype])).astype(dtype)
        arguments = first, rng.uniform(-20, 20, POINTS[dtype]).astype(dtype)
    if dtype == "float32":
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


@pytest.mark.parametrize("machine", [HOST, BASELINE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [*UNARY, *BINARY])
def test_error_stays_within_the_stated_bound(op: str, dtype: str, machine: str) -> None:
    arguments, high, low = exact_values(op, dtype)
    errors = ulp_error(evaluate(op, *arguments, machine=machine), high, low)
    worst = int(np.argmax(errors))
    message = f"{errors[worst]:.3f} ULP at {[float(one[worst]) for one in arguments]}"
    assert errors[worst] <= MAX_ULP[op, dtype], message
    if op not in LIBRARY:  # a bound far above what happens would say nothing
        assert errors[worst] >= 0.3 * MAX_ULP[op, dtype], message


def test_every_function_states_its_bound() -> None:
    assert set(MAX_ULP) == SUPPORTED
    hot = ("erf", "exp", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh")
    assert all(MAX_ULP[op, "float32"] <= 2.1 and MAX_ULP[op, "float64"] <= 4 for op in hot)


def test_coefficients_are_those_that_the_fit_gives() -> None:
    with mpmath.workprec(fit.PRECISION_BITS):
        for table in fit.tables():
            dtype = min(table.fits)
            again, _ = fit.rounded_minimax(table.fits[dtype], dtype)
            assert tuple(again) == getattr(coefficients, table.name)[dtype], table.name


# ----------------------------------------------------------------------------------------------------- special values

NAN, INF = math.nan, math.inf
ODD_AND_FLAT_AT_ZERO = ("asin", "asinh", "atan", "atanh", "expm1", "log1p", "sin", "sinh", "tan", "tanh")
SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "acos": [(1, 0.0), (-1, math.pi), (1.5, NAN), (-INF, NAN), (0, math.pi / 2)],
    "acosh": [(1, 0.0), (0.5, NAN), (-3, NAN), (-INF, NAN), (INF, INF)],
    "asin": [(1, math.pi / 2), (-1, -math.pi / 2), (1.5, NAN), (INF, NAN)],
    "asinh": [(INF, INF), (-INF, -INF)],
    "atan": [(INF, math.pi / 2), (-INF, -math.pi / 2)],
    "atanh": [(1, INF), (-1, -INF), (1.5, NAN), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "cosh": [(0.0, 1), (INF, INF), (-INF, INF), (800, INF)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (7, 1)],
    "erfc": [(0.0, 1), (INF, 0.0), (-INF, 2)],
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (800, INF), (-800, 0.0)],
    "expm1": [(INF, INF), (-INF, -1), (800, INF), (-800, -1)],
    "log": [(1, 0.0), (0.0, -INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (INF, INF)],
    "log10": [(1, 0.0), (0.0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (1000, 3)],
    "log1p": [(-1, -INF), (-2, NAN), (-INF, NAN), (INF, INF)],
    "log2": [(1, 0.0), (0.0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (8, 3), (0.125, -3)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (800, 1), (-800, 0.0)],
    "sin": [(INF, NAN), (-INF, NAN)],
    "sinh": [(INF, INF), (-INF, -INF), (800, INF), (-800, -INF)],
    "softplus": [(INF, INF), (-INF, 0.0), (800, 800), (-800, 0.0)],
    "tan": [(INF, NAN), (-INF, NAN)],
    "tanh": [(INF, 1), (-INF, -1), (30, 1), (-30, -1)],
}


@pytest.mark.parametrize("machine", [HOST, BASELINE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", UNARY)
def test_special_values(op: str, dtype: str, machine: str) -> None:
    smallest = float(np.finfo(dtype).smallest_subnormal)
    cases = [*SPECIAL_VALUES[op], (NAN, NAN)]
    if op in ODD_AND_FLAT_AT_ZERO:
        cases += [(value, value) for value in (0.0, -0.0, smallest, -smallest, 3 * smallest)]
    arguments, expected = np.array(cases).astype(dtype).T
    results = evaluate(op, np.ascontiguousarray(arguments), machine=machine)
    np.testing.assert_array_equal(results, expected)
    zeros = expected == 0
    np.testing.assert_array_equal(np.signbit(results[zeros]), np.signbit(expected[zeros]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["exp", "sigmoid", "softplus"])
def test_results_below_the_normal_range_are_rounded_and_not_flushed(op: str, dtype: str) -> None:
    limits = np.finfo(dtype)
    low, high = np.log(float(limits.smallest_subnormal)), np.log(float(limits.tiny))
    arguments = np.linspace(low, high - 0.01, 200).astype(dtype)
    with mpmath.workdps(36):
        exact = np.array([float(mpmath_oracle(op)(mpmath.mpf(x))) for x in arguments.tolist()]).astype(dtype)
    results = evaluate(op, arguments)
    assert 0 < np.max(results) < limits.tiny
    assert np.max(np.abs(results - exact) / limits.smallest_subnormal) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["cosh", "exp", "expm1", "sinh"])
def test_overflow_begins_where_the_exact_result_leaves_the_range(op: str, dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    threshold = np.dtype(dtype).type({"exp": math.log, "expm1": math.log}.get(op, math.acosh)(largest))
    steps = [threshold]
    for _ in range(8):
        steps.insert(0, np.nextafter(steps[0], -INF, dtype=dtype))
        steps.append(np.nextafter(steps[-1], INF, dtype=dtype))
    with mpmath.workdps(36):
        exact = [mpmath_oracle(op)(mpmath.mpf(float(x))) for x in steps]
    # Leave alone what lies within the error bound of the largest finite number.
    unit = largest * float(np.finfo(dtype).eps)
    results = evaluate(op, np.array(steps, dtype))
    sure = [(x, value > largest) for x, value in zip(results, exact, strict=True) if abs(value - largest) > 3 * unit]
    assert {overflows for _, overflows in sure} == {False, True}
    assert all(np.isinf(x) == overflows for x, overflows in sure)


@pytest.mark.parametrize("machine", [HOST, BASELINE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", BINARY)
def test_two_argument_special_cases_are_those_of_numpy(op: str, dtype: str, machine: str) -> None:
    limits = np.finfo(dtype)
    even = 2.0 ** (limits.nmant + 1)  # from here on every number is an even integer
    positive = [0.0, 1, 0.5, 2, 3, 1e30, INF, limits.max, limits.tiny, limits.smallest_subnormal]
    positive += [
        even,
        even - 1,
        even - 2,
        even / 2 - 1,
        even / 2 - 0.5,
        even / 4 - 0.5,
        1 + limits.eps,
        1 - limits.epsneg,
    ]
    values = np.array([NAN, *positive, *(-one for one in map(float, positive))], dtype)
    first, second = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = float64_oracle(op)(first, second)
    results = evaluate(op, first, second, machine=machine)
    np.testing.assert_allclose(results, expected, rtol=4 * limits.eps)
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(results[finite]), np.signbit(expected[finite]))


@pytest.mark.parametrize("machine", [HOST, BASELINE])
@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_that_are_numbers_of_the_format_are_exact(dtype: str, machine: str) -> None:
    limits = np.finfo(dtype)
    twos = [(2.0, power) for power in range(limits.minexp - limits.nmant, limits.maxexp)]
    fours = [(0.25, -power / 2) for power in range(limits.minexp, limits.maxexp)]
    integers = [(base, power) for base in range(-9, 10) for power in range(24) if abs(base) ** power <= 1 / limits.eps]
    roots = [(float(root**2), 0.5) for root in range(1, 2 ** (limits.nmant // 2), 97)]
    pairs = [*twos, *fours, *integers, *roots, (limits.max, 1.0), (limits.smallest_subnormal, 1.0)]
    first, second = np.ascontiguousarray(np.array(pairs, dtype).T)
    expected = [float(one) ** (int(power) if power == int(power) else power) for one, power in pairs]
    np.testing.assert_array_equal(evaluate("pow", first, second, machine=machine), np.array(expected, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["cos", "sin", "tan"])
def test_angles_of_any_size_and_near_multiples_of_a_quarter_turn(op: str, dtype: str) -> None:
    rng = np.random.default_rng(11)
    quarters = rng.integers(1, 2**20, 300) * (math.pi / 2)
    arguments = np.concatenate([quarters, [1e5, 2.0**20, 2.0**20 + 1, 1e9, 1e22, 1e38]]).astype(dtype)
    with mpmath.workdps(60):
        exact = [mpmath_oracle(op)(mpmath.mpf(x)) for x in arguments.tolist()]
        high = np.array([float(value) for value in exact])
        low = np.array([float(value - near) for value, near in zip(exact, high, strict=True)])
    assert np.max(ulp_error(evaluate(op, arguments), high, low)) <= MAX_ULP[op, dtype]


# ------------------------------------------------------------------------------------------------------ widths, errors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 4, 16])
def test_every_width_gives_the_same_bits(width: int, dtype: str) -> None:
    integer = {"float32": np.uint32, "float64": np.uint64}[dtype]
    for op in (*UNARY, *BINARY):
        points = sample(op, dtype, 400)
        points = np.concatenate([points, np.array([0.0, -0.0, INF, -INF, 3e6], dtype)])
        arguments = (points,) if arity(op) == 1 else (np.abs(points), points[::-1].copy())
        narrow, reference = evaluate(op, *arguments, width=width), evaluate(op, *arguments)
        same = (narrow.view(integer) == reference.view(integer)) | (np.isnan(narrow) & np.isnan(reference))
        assert same.all(), f"{op}: {points[~same][:3]}"


def test_text_is_deterministic_and_strict() -> None:
    for op, dtype in sorted(SUPPORTED):
        text = emit_function(op, dtype, 4, fma=True)
        math_function.cache_clear()
        assert text == emit_function(op, dtype, 4, fma=True)
        assert not {"fast", "nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"} & set(text.split())
        assert "llvm.fma" not in emit_function(op, dtype, 4, fma=False)


UNSUPPORTED = [("exp", "float16", 8), ("gamma", "float32", 8), ("exp", "float32", 3)]


@pytest.mark.parametrize(("op", "dtype", "width"), UNSUPPORTED)
def test_what_is_not_supported_is_named(op: str, dtype: str, width: int) -> None:
    with pytest.raises(UnsupportedOp, match=op):
        emit_function(op, dtype, width, fma=True)
