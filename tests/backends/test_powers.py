"""Powers with constant exponents after all passes, in every backend: the special values of NumPy, and small errors."""

import numpy as np
import pytest

from graphc.backends.llvm.compile import compile_program
from graphc.backends.llvm.host import host_target
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.types import DType, bfloat16, float16, float32, float64, tensor_type
from tests.backends_under_test import BACKENDS, LEVELS, compiled, program_of, with_passes

EXPONENTS = (0.5, -0.5, -1.0, -2.0, -3.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.7, 1.5, float("inf"))
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]


def module_of_powers(dtype: DType, count: int) -> Module:
    b = Builder()
    x = b.input("x", tensor_type(dtype, (count,)))
    outputs = [(f"y{i}", b.op("pow", x, b.constant(power, dtype))) for i, power in enumerate(EXPONENTS)]
    return Module("powers", {"f": Graph.make("f", [x], outputs, builder=b)})


def arguments(dtype: DType) -> np.ndarray:
    """Both signs of numbers of every size, and what stands at the ends."""
    limits = np.finfo("float32" if dtype is bfloat16 else dtype.name)
    rng = np.random.default_rng(9)
    sizes = [np.ldexp(1 + rng.random(12), e) for e in range(limits.minexp - limits.nmant + 1, limits.maxexp, 8)]
    ends = [limits.max, limits.tiny, limits.smallest_subnormal]
    return np.concatenate(
        [SPECIAL, *([sign * float(end) for end in ends] for sign in (1, -1)), *sizes, *(-s for s in sizes)]
    )


@pytest.mark.parametrize("backend", [*BACKENDS, *(f"llvm {level}" for level in (*LEVELS, "aarch64"))])
@pytest.mark.parametrize("dtype", [float32, float64])
def test_constant_exponents(dtype: DType, backend: str) -> None:
    x = arguments(dtype).astype(dtype.name)
    found, _ = compiled(backend, with_passes(module_of_powers(dtype, len(x))))("f", [x], None)
    for number, power in enumerate(EXPONENTS):
        with np.errstate(all="ignore"):
            exponent = np.full(x.shape, power, dtype.name).astype(np.longdouble)
            expected = np.power(x.astype(np.longdouble), exponent).astype(x.dtype)
        result = found[f"y{number}"]
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(result[~finite], expected[~finite], err_msg=f"x**{power}")
        np.testing.assert_array_equal(np.signbit(result[finite]), np.signbit(expected[finite]), err_msg=f"x**{power}")
        with np.errstate(over="ignore"):
            errors = np.abs(result[finite] - expected[finite]) / np.spacing(np.abs(expected[finite]))
        assert np.max(errors) <= 2, f"x**{power} at {x[finite][np.argmax(errors)]}"


def test_roots_and_small_powers_are_no_logarithm() -> None:
    b = Builder()
    x = b.input("x", tensor_type(float32, (64,)))
    for power, is_short in {0.5: True, -0.5: True, 3.0: True, 4.0: True, -1.0: True, -2.0: True, 0.7: False}.items():
        graph = Graph.make("f", [x], [("y", b.op("pow", x, b.constant(power, float32)))], builder=b)
        program = program_of(with_passes(Module("powers", {"f": graph})))
        assert ("graphc.pow" not in compile_program(program, host_target(), "test").ir) == is_short, power


@pytest.mark.parametrize("backend", [*BACKENDS, *(f"llvm {level}" for level in LEVELS)])
@pytest.mark.parametrize("dtype", [float16, bfloat16])
def test_constant_exponents_of_16_bit_floats_round_once(dtype: DType, backend: str) -> None:
    module = module_of_powers(dtype, len(arguments(dtype)))
    x = arguments(dtype).astype("float16") if dtype is float16 else arguments(dtype).astype("float32").view("uint32")
    x = x if dtype is float16 else (x >> 16).astype("uint16")
    expected, _ = compiled("reference", module)("f", [x], None)
    found, _ = compiled(backend, with_passes(module))("f", [x], None)
    for number, power in enumerate(EXPONENTS):
        left, right = (values_of(dtype, one[f"y{number}"]) for one in (found, expected))
        # One step is the float32 result's last bit, where it decides which way to round.
        with np.errstate(invalid="ignore"):
            steps = np.where(left == right, 0, np.abs(left - right) / spacing(dtype, right))
        assert (np.isnan(left) == np.isnan(right)).all(), f"x**{power}"
        assert np.nanmax(steps) <= 1 and np.nanmean(steps) < 0.01, f"x**{power}"


def values_of(dtype: DType, array: np.ndarray) -> np.ndarray:
    if dtype is float16:
        return array.astype("float64")
    return (array.astype("uint32") << 16).view("float32").astype("float64")


def spacing(dtype: DType, x: np.ndarray) -> np.ndarray:
    """The distance to the next number of the format."""
    bits, lowest = (10, -14) if dtype is float16 else (7, -126)
    _, exponent = np.frexp(np.where(np.isfinite(x), x, 1.0))
    return np.ldexp(1.0, np.maximum(exponent - 1, lowest) - bits)
