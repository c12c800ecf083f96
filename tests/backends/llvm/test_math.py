"""The elementary functions: their error against mpmath, their special values, and the same bits at every width."""

import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest

from graphc.backends.llvm.math import MAX_ULP, SUPPORTED, coefficients, emit_function, fit, math_function
from graphc.errors import UnsupportedOp
from tests.backends.llvm.elementary import (
    BASELINE,
    BINARY,
    DTYPES,
    HOST,
    LIBRARY,
    UNARY,
    arity,
    evaluate,
    exact_values,
    float64_oracle,
    mpmath_oracle,
    sample,
    ulp_error,
)

# ----------------------------------------------------------------------------------------------------------- accuracy


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


NUMBERS_AT_ONCE = 1 << 22


@pytest.mark.slow(ci=False)
@pytest.mark.parametrize("machine", [HOST, BASELINE])
@pytest.mark.parametrize("op", sorted(set(UNARY) - set(LIBRARY)))
def test_error_of_every_float32_number_stays_within_the_stated_bound(op: str, machine: str) -> None:
    """All 2³² of them, which takes a few minutes a function."""
    for start in range(0, 1 << 32, NUMBERS_AT_ONCE):
        arguments = np.arange(start, start + NUMBERS_AT_ONCE, dtype=np.uint64).astype(np.uint32).view(np.float32)
        with np.errstate(all="ignore"):
            exact = float64_oracle(op)(arguments.astype("float64"))
        results = evaluate(op, arguments, width=16, machine=machine, alone=True)
        undefined = np.isnan(exact)
        assert np.array_equal(np.isnan(results), undefined)
        errors = np.where(undefined, 0.0, ulp_error(results, exact, np.zeros_like(exact)))
        worst = int(np.argmax(errors))
        assert errors[worst] <= MAX_ULP[op, "float32"], f"{errors[worst]:.4f} ULP at {arguments[worst]!r}"


def test_every_function_states_its_bound() -> None:
    assert set(MAX_ULP) == SUPPORTED
    hot = ("cos", "erf", "exp", "log", "pow", "sigmoid", "sin", "tanh")
    assert all(MAX_ULP[op, "float32"] <= 2.0 for op in hot)


def test_the_page_on_accuracy_states_the_same_bounds() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "accuracy.md"
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    stated = [((op, dtype), float(bound)) for op, *bounds in rows for dtype, bound in zip(DTYPES, bounds, strict=True)]
    assert stated == list(MAX_ULP.items())


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
