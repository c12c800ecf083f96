"""Derives the tables of `coefficients.py`: minimax polynomials by the Remez exchange, in multiple precision.

A development tool, never imported by graphc. ``python -m graphc.backends.llvm.math.fit`` fits every table again (in
about a minute), prints the module, and writes the error of each fit to stderr. It needs mpmath.

Each fit minimises the largest *weighted* error over an interval, the weight being chosen so that the error is relative
to the function the polynomial is part of. The leading term of every function (x, or 1) stands outside its polynomial
and is exact, so rounding the coefficients costs less than 0.1 ULP.
"""

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath

from graphc.backends.llvm.math.error_function import ERF_LIMIT

Real = Any  # mpmath's numbers carry no types
RealFunction = Callable[[Real], Real]

PRECISION_BITS = 200
SERIES_PRECISION_BITS = 1400  # f(x) minus its first terms, over xⁿ, at x = 2^-PRECISION_BITS
GRID_POINTS_PER_COEFFICIENT = 40
FORMAT_CODES = {"float32": ">f", "float64": ">d"}


@dataclass(frozen=True)
class Fit:
    """What to approximate: ``function(x)`` for x in [low, high], by a polynomial of ``terms`` coefficients.

    The polynomial's variable is x, or x² if ``even``. ``weight(x)`` multiplies the error at x.
    """

    function: RealFunction
    low: Real
    high: Real
    terms: int
    weight: RealFunction
    even: bool = False

    def variable(self, x: Real) -> Real:
        """Return what the polynomial is evaluated at."""
        return x * x if self.even else x


@dataclass(frozen=True)
class Table:
    """One name of `coefficients.py`: a fit for each format, and the sentence that says what it approximates."""

    name: str
    meaning: str
    fits: dict[str, Fit]


def _evaluate(coefficients: Sequence[Real], x: Real) -> Real:
    total = mpmath.mpf(0)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _alternation(error: RealFunction, low: Real, high: Real, count: int) -> list[Real]:
    """Return ``count`` points of alternating sign where |error| peaks, or fewer if it alternates less often."""
    size = GRID_POINTS_PER_COEFFICIENT * count
    grid = [(low + high) / 2 - (high - low) / 2 * mpmath.cos(mpmath.pi * i / size) for i in range(size + 1)]
    peaks: list[tuple[Real, Real]] = []
    for x in grid:
        value = error(x)
        if not peaks or (value > 0) != (peaks[-1][1] > 0):
            peaks.append((x, value))
        elif abs(value) > abs(peaks[-1][1]):
            peaks[-1] = (x, value)
    while len(peaks) > count:
        peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
    return [x for x, _ in peaks]


def minimax(fit: Fit) -> list[Real]:
    """Return the coefficients of the best fit, lowest order first."""
    low, high = mpmath.mpf(fit.low), mpmath.mpf(fit.high)
    count = fit.terms
    points = [(low + high) / 2 - (high - low) / 2 * mpmath.cos(mpmath.pi * i / count) for i in range(count + 1)]
    coefficients: list[Real] = []

    def error(x: Real) -> Real:
        return (_evaluate(coefficients, fit.variable(x)) - fit.function(x)) * fit.weight(x)

    for _ in range(40):
        matrix = mpmath.matrix(count + 1, count + 1)
        right = mpmath.matrix(count + 1, 1)
        for row, x in enumerate(points):
            for column in range(count):
                matrix[row, column] = fit.variable(x) ** column
            matrix[row, count] = (-1) ** row / fit.weight(x)
            right[row] = fit.function(x)
        solution = mpmath.lu_solve(matrix, right)
        coefficients = [solution[i] for i in range(count)]
        points = _alternation(error, low, high, count + 1)
        if len(points) <= count:
            raise ArithmeticError(f"the error alternates {len(points)} times instead of {count + 1}")
        if max(abs(error(x)) for x in points) <= abs(solution[count]) * (1 + mpmath.mpf(2) ** -10):
            break
    return coefficients


def rounded_minimax(fit: Fit, dtype: str) -> tuple[list[float], float]:
    """Return coefficients rounded to the format, and log2 of the largest weighted error after that."""
    code = FORMAT_CODES[dtype]
    rounded = [float(struct.unpack(code, struct.pack(code, float(value)))[0]) for value in minimax(fit)]
    grid = [fit.low + (fit.high - fit.low) * mpmath.mpf(i) / 500 for i in range(501)]
    errors = [(_evaluate(rounded, fit.variable(x)) - fit.function(x)) * fit.weight(x) for x in grid]
    return rounded, float(mpmath.log(max(map(abs, errors)), 2))


def tail(function: RealFunction, first_terms: Sequence[Real], power: int) -> RealFunction:
    """Return x ↦ (function(x) − Σ first_terms[i]·xⁱ) / x^power, also where that cancels, and its limit at zero."""

    def evaluate(x: Real) -> Real:
        with mpmath.workprec(SERIES_PRECISION_BITS):
            nonzero = x or mpmath.mpf(2) ** -PRECISION_BITS
            return (function(nonzero) - _evaluate(first_terms, nonzero)) / nonzero**power

    return evaluate


def smooth_weight(power: int, floor: str) -> RealFunction:
    """Return x ↦ |x|^power made smooth and kept away from zero, for an error relative to x of a tail of that power."""
    least = mpmath.mpf(floor)
    return lambda x: (x * x + least * least) ** (mpmath.mpf(power) / 2)


def tables() -> list[Table]:
    """Return every table in the order of `coefficients.py`."""
    half_ln2 = mpmath.log(2) / 2 * mpmath.mpf("1.0001")
    below_0 = -half_ln2 / 400  # the reduction of tanh rounds a little beside the middle
    third = mpmath.mpf(1) / 3 * mpmath.mpf("1.0001")
    eighth_turn = mpmath.pi / 4 * mpmath.mpf("1.0001")
    tangent = (mpmath.sqrt(2) - 1) * mpmath.mpf("1.0001")
    half = mpmath.mpf(1) / 2

    def both(terms32: int, terms64: int, *arguments: Any, even: bool = False) -> dict[str, Fit]:
        function, low, high, weight = arguments
        return {
            "float32": Fit(function, low, high, terms32, weight, even),
            "float64": Fit(function, low, high, terms64, weight, even),
        }

    def log_erfc(t: Real) -> Real:
        return mpmath.log(mpmath.erfc(1 + t))

    def erfc_share(t: Real) -> Real:
        return mpmath.erfc(1 + t) / mpmath.erf(1 + t)

    tanh_tail = tail(lambda h: mpmath.expm1(2 * h) / 2, (0, 1), 2)
    exp_tail = tail(mpmath.expm1, (0, 1), 2)
    sin_tail, cos_tail = tail(mpmath.sin, (0, 1), 3), tail(mpmath.cos, (1, 0, -half), 4)
    sinh_tail, cosh_tail = tail(mpmath.sinh, (0, 1), 3), tail(mpmath.cosh, (1, 0, half), 4)
    atan_tail, asin_tail = tail(mpmath.atan, (0, 1), 3), tail(mpmath.asin, (0, 1), 3)
    log_tail, erf_ratio = tail(mpmath.log1p, (0, 1), 2), tail(mpmath.erf, (0, 1), 1)
    log_ratio_times_15 = tail(lambda s: 15 * mpmath.log((1 + s) / (1 - s)), (0, 30, 0, 10, 0, 6), 7)
    log2_ratio = tail(lambda s: mpmath.log((1 + s) / (1 - s), 2), (0,), 1)
    ratio = (mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1) * mpmath.mpf("1.0001")
    linear, square, fourth = smooth_weight(1, "0.1"), smooth_weight(2, "0.1"), smooth_weight(4, "0.1")
    return [
        Table("EXP", "(e^r − 1 − r)/r² in r, |r| ≤ ln2/2", both(5, 10, exp_tail, -half_ln2, half_ln2, linear)),
        Table("LOG", "(log(1+f) − f)/f² in f, |f| ≤ 1/3", both(9, 20, log_tail, -third, third, linear)),
        Table(
            "LOG_RATIO",
            "(log((1 + s)/(1 − s)) − 2s − 2s³/3 − 2s⁵/5)/s⁷ in s², |s| ≤ 3 − √8",
            {"float64": Fit(lambda s: log_ratio_times_15(s) / 15, 0, ratio, 7, smooth_weight(6, "0.1"), even=True)},
        ),
        Table(
            "LOG2_RATIO",
            "log2((1 + s)/(1 − s))/s in s², same s; to what float32 asks of float64",
            {"float64": Fit(log2_ratio, 0, ratio, 5, lambda x: 1, even=True)},
        ),
        Table(
            "EXP2",
            "2^r in r, |r| ≤ 1/2; to what float32 asks of float64",
            {"float64": Fit(lambda r: mpmath.mpf(2) ** r, -half, half, 7, lambda x: 1)},
        ),
        Table("SIN", "(sin r − r)/r³ in r², |r| ≤ π/4", both(3, 6, sin_tail, 0, eighth_turn, square, even=True)),
        Table("COS", "(cos r − 1 + r²/2)/r⁴ in r², |r| ≤ π/4", both(3, 6, cos_tail, 0, eighth_turn, fourth, even=True)),
        Table("TANH", "((e^2h − 1)/2 − h)/h² in h, 0 ≤ h ≤ ln2/2", both(5, 10, tanh_tail, below_0, half_ln2, linear)),
        Table("SINH", "(sinh r − r)/r³ in r², |r| ≤ ln2/2", both(3, 5, sinh_tail, 0, half_ln2, square, even=True)),
        Table("COSH", "(cosh r − 1 − r²/2)/r⁴ in r²; same r", both(2, 5, cosh_tail, 0, half_ln2, fourth, even=True)),
        Table("ATAN", "(atan t − t)/t³ in t², |t| ≤ tan(π/8)", both(5, 11, atan_tail, 0, tangent, square, even=True)),
        Table("ASIN", "(asin t − t)/t³ in t², |t| ≤ 1/2", both(5, 12, asin_tail, 0, half, square, even=True)),
        Table("ERF", "erf(x)/x − 1 in x², |x| ≤ 1", both(7, 12, erf_ratio, 0, 1, lambda x: 1, even=True)),
        Table(
            "LOG_ERFC",
            "log(erfc(1 + t)) in t, 0 ≤ t ≤ ERF_LIMIT − 1",
            {
                "float32": Fit(log_erfc, 0, ERF_LIMIT["float32"] - 1, 8, erfc_share),
                "float64": Fit(log_erfc, 0, ERF_LIMIT["float64"] - 1, 18, erfc_share),
            },
        ),
    ]


def main() -> None:
    """Print the module."""
    mpmath.mp.prec = PRECISION_BITS
    print('"""Minimax coefficients, lowest order first, for each format; `fit.py` derives and prints this module."""')
    for table in tables():
        print(f"\n# {table.meaning}\n{table.name} = {{")
        for dtype, fit in table.fits.items():
            coefficients, error = rounded_minimax(fit, dtype)
            print(f"{table.name} {dtype}: weighted error 2^{error:.1f}", file=sys.stderr)
            print(f'    "{dtype}": (')
            for value in coefficients:
                print(f"        {value!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main()
