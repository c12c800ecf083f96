"""Kernels as native code give what the NumPy run of LoopIR gives: every access pattern, every tail, every staging."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.backends.llvm.host import host_target
from graphc.ir.attrs import make_attrs
from graphc.ir.types import DType, bfloat16, bool_, float16, float32, float64, int8, int32, int64, uint8
from graphc.kernel.loopir import (
    Apply,
    Const,
    Gather,
    Index,
    Kernel,
    Load,
    Map,
    Param,
    Reduce,
    Scan,
    Scatter,
    Store,
)
from graphc.kernel.nest import Nest
from graphc.kernel.run import run_kernel
from graphc.kernel.schedule import schedule_kernel
from tests.backends.llvm.native_kernels import LEVELS, run_native, unaligned

F = float32
TOLERANCE = {float16: 2e-3, bfloat16: 1.6e-2, float32: 1e-5, float64: 1e-12}


def sample(dtype: DType, size: int, rng: np.random.Generator) -> np.ndarray:
    if dtype is bool_:
        return rng.integers(0, 2, size).astype(bool)
    if dtype.is_integer:
        return rng.integers(0 if dtype.kind == "uint" else -60, 60, size).astype(dtype.storage)
    values = rng.standard_normal(size).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16) if dtype is bfloat16 else values.astype(dtype.storage)


def assert_runs_alike(
    kernel: Kernel, *sizes: int, level: str = "host", arrays: dict[int, np.ndarray] | None = None
) -> None:
    rng = np.random.default_rng(zlib.crc32(kernel.name.encode()) + sum(sizes))
    given_arrays = [sample(p.dtype, n, rng) for p, n in zip(kernel.params, sizes, strict=True)]
    for number, array in (arrays or {}).items():
        given_arrays[number] = array
    expected = [array.copy() for array in given_arrays]
    run_kernel(kernel, expected)
    got = [unaligned(array) for array in given_arrays]
    assert run_native(kernel, got, level) is None
    for param, left, right in zip(kernel.params, got, expected, strict=True):
        if param.dtype is bfloat16:
            left, right = ((a.astype(np.uint32) << 16).view(np.float32) for a in (left, right))
        if param.dtype.is_float:
            scale = TOLERANCE[param.dtype]
            np.testing.assert_allclose(left.astype(float), right.astype(float), rtol=scale, atol=scale * 4)
        else:
            np.testing.assert_array_equal(left, right)


def kernel(
    params: str, extents: tuple[int, ...], values: list, *stores: Store, dtype: DType = F, name: str = "k"
) -> Kernel:
    """``params`` is a letter a parameter: i, o or x (in, out, inout); a digit 8 makes it int64."""
    modes = {"i": "in", "o": "out", "x": "inout"}
    made = []
    for letter in params:
        if letter == "8":
            made[-1] = Param(int64, made[-1].mode)
        else:
            made.append(Param(dtype, modes[letter]))
    return Kernel(tuple(made), extents, tuple(values), stores, name)


def m(*coefficients: int, offset: int = 0) -> Map:
    return Map(coefficients, offset)


# -- pointwise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [F, float64, float16, bfloat16, int8, uint8, int32, int64], ids=str)
def test_every_tail_length_is_handled(dtype: DType, level: str) -> None:
    for size in (1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 131):
        add = [Load(0, m(1), dtype), Load(1, m(1), dtype), Apply("add", (0, 1), dtype)]
        assert_runs_alike(
            kernel("iio", (size,), add, Store(2, m(1), 2, (0,)), dtype=dtype), size, size, size, level=level
        )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("narrow", [float16, float32, int8, int32], ids=str)
@pytest.mark.parametrize("wide", [float64, int64], ids=str)
def test_casts_of_every_tail_touch_nothing_beyond_it(wide: DType, narrow: DType, level: str) -> None:
    """A processor narrows and stores in one instruction, and LLVM has lost the mask of one on the way."""
    for size in (1, 2, 3, 5, 7, 8, 9, 10, 15, 17, 33):
        for source, target in ((wide, narrow), (narrow, wide)):
            if source.is_float and not target.is_float:
                continue
            cast = [Load(0, m(1), source), Apply("cast", (0,), target, make_attrs({"dtype": target}))]
            params = (Param(source, "in"), Param(target, "out"))
            made = Kernel(params, (size,), tuple(cast), (Store(1, m(1), 1, (0,)),), "cast")
            assert_runs_alike(made, size, size + 64, level=level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [F, float64, float16, bfloat16, int8, int64, bool_], ids=str)
@pytest.mark.parametrize("coefficients", [(1, 21), (21, 1), (42, 2), (-21, 1), (21, -1), (0, 1), (1, 0), (0, 0)])
def test_strided_reversed_and_broadcast_loads(coefficients: tuple[int, int], dtype: DType, level: str) -> None:
    offset = -sum(min(0, c) * e for c, e in zip(coefficients, (20, 20), strict=True))
    body = [Load(0, m(*coefficients, offset=offset), dtype)]
    assert_runs_alike(kernel("io", (21, 21), body, Store(1, m(21, 1), 0, (0, 1)), dtype=dtype), 900, 441, level=level)


@pytest.mark.parametrize("coefficients", [(1, 19), (38, 2), (19, -1)])
def test_strided_stores(coefficients: tuple[int, int]) -> None:
    place = m(*coefficients, offset=18 if -1 in coefficients else 0)
    body = [Load(0, m(19, 1), F), Apply("exp", (0,), F)]
    assert_runs_alike(kernel("io", (19, 19), body, Store(1, place, 1, (0, 1))), 361, 760)


def test_a_value_is_computed_before_it_is_overwritten() -> None:
    body = [Load(0, m(1), F), Load(1, m(1), F), Apply("add", (0, 1), F), Apply("subtract", (0, 1), F)]
    assert_runs_alike(kernel("xx", (37,), body, Store(0, m(1), 2, (0,)), Store(1, m(1), 3, (0,))), 37, 37)


def test_a_later_nest_does_not_see_what_an_earlier_one_wrote() -> None:
    body = [Load(0, m(0, 1), F), Apply("negative", (0,), F), Load(1, m(7, 1), F), Apply("add", (0, 2), F)]
    stores = (Store(0, m(0, 1), 1, (1,)), Store(2, m(7, 1), 3, (0, 1)))
    assert_runs_alike(kernel("xio", (5, 7), body, *stores), 7, 35, 35)


def test_index_values_and_constants() -> None:
    body = [
        Index(m(100, 3, offset=5), int64),
        Const(int64, np.int64(-7).tobytes()),
        Apply("multiply", (0, 1), int64),
        Apply("cast", (2,), F, make_attrs({"dtype": F})),
        Const(F, np.float32(np.nan).tobytes()),
        Apply("maximum", (3, 4), F),
    ]
    built = kernel("o8oo", (3, 40), body, *(Store(k, m(40, 1), v, (0, 1)) for k, v in enumerate((2, 3, 5))))
    assert_runs_alike(built, 120, 120, 120)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [F, float16, bfloat16, int8, bool_], ids=str)
def test_gather_along_lanes_and_across(dtype: DType, level: str) -> None:
    index = np.random.default_rng(1).integers(0, 30, 20)
    rows = [Load(0, m(1, 0), int64), Gather(1, m(0, 1), 0, 23, dtype)]
    built = kernel("i8io", (20, 23), rows, Store(2, m(23, 1), 1, (0, 1)), dtype=dtype)
    assert_runs_alike(built, 20, 690, 460, arrays={0: index}, level=level)
    lanes = [Load(0, m(1, 0), int64), Gather(1, m(0, 30), 0, 1, dtype)]
    built = kernel("i8io", (20, 23), lanes, Store(2, m(1, 20), 1, (0, 1)), dtype=dtype)
    assert_runs_alike(built, 20, 690, 460, arrays={0: index}, level=level)


@pytest.mark.parametrize("dtype", [F, float16, int32], ids=str)
@pytest.mark.parametrize("accumulate", [False, True])
def test_scatter_keeps_the_order_of_the_domain(dtype: DType, accumulate: bool) -> None:
    index = np.random.default_rng(2).integers(0, 6, 50)
    body = [Load(0, m(1, 0), int64), Load(1, m(17, 1), dtype)]
    stored = Store(2, m(0, 1), 1, (0, 1), accumulate, Scatter(0, 17))
    built = kernel("i8ix", (50, 17), body, stored, dtype=dtype)
    assert_runs_alike(built, 50, 850, 102, arrays={0: index})
    narrow = [Load(0, m(1), int64), Load(1, m(1), dtype)]
    stored = Store(2, m(0), 1, (0,), accumulate, Scatter(0, 1))
    assert_runs_alike(kernel("i8ix", (50,), narrow, stored, dtype=dtype), 50, 50, 6, arrays={0: index})


def test_overlapping_windows_add_up() -> None:
    body = [Load(0, m(5, 1), F)]
    built = kernel("ix", (30, 5), body, Store(1, m(2, 1), 0, (0, 1), accumulate=True))
    assert_runs_alike(built, 150, 63)


def test_random_numbers_are_the_definition() -> None:
    key = np.array([0x1234_5678_9ABC, 77])
    body = [Load(0, m(0), int64), Load(0, m(0, offset=1), int64), Index(m(1, offset=3), int64)]
    for dtype in (F, float64):
        drawn = Apply("random_uniform", (0, 1, 2), dtype, make_attrs({"stream": 9}))
        built = kernel("i8o", (101,), [*body, drawn], Store(1, m(1), 3, (0,)), dtype=dtype)
        assert_runs_alike(built, 2, 101, arrays={0: key})


# -- reductions ------------------------------------------------------------------------------------------------------

COMBINES = ("sum", "prod", "max", "min", "argmax", "argmin")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize("dtype", [F, float64, int32, int64, uint8], ids=str)
def test_reductions_over_rows_and_columns(combine: str, dtype: DType, level: str) -> None:
    result = int64 if combine.startswith("arg") else dtype
    for axis, kept in ((1, 0), (0, 1)):
        extents = (13, 37)
        body = [Load(0, m(37, 1), dtype), Reduce(combine, 0, (axis,), result)]
        place = m(*(int(a == kept) for a in range(2)))
        built = Kernel((Param(dtype, "in"), Param(result, "out")), extents, tuple(body), (Store(1, place, 1, (kept,)),))
        assert_runs_alike(built, 481, extents[kept], level=level)


@pytest.mark.parametrize("combine", ["max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_extrema_of_special_values(combine: str, special: float) -> None:
    result = int64 if combine.startswith("arg") else F
    for place in ((), (3,), (20, 40), tuple(range(50))):
        x = np.linspace(-1, 1, 50).astype(np.float32)
        x[list(place)] = special
        body = [Load(0, m(1), F), Reduce(combine, 0, (0,), result)]
        built = Kernel((Param(F, "in"), Param(result, "out")), (50,), tuple(body), (Store(1, m(0), 1, ()),))
        assert_runs_alike(built, 50, 1, arrays={0: x})


@pytest.mark.parametrize("combine", ["any", "all"])
def test_reductions_of_bools(combine: str) -> None:
    for filled in (False, True):
        x = np.full(77, filled)
        x[40] = not filled
        body = [Load(0, m(11, 1), bool_), Reduce(combine, 0, (1,), bool_)]
        assert_runs_alike(kernel("io", (7, 11), body, Store(1, m(1, 0), 1, (0,)), dtype=bool_), 77, 7, arrays={0: x})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 40])
def test_long_sums_stay_accurate(rows: int, level: str) -> None:
    length = 1_000_000 // rows
    x = np.random.default_rng(5).uniform(0, 1, (rows, length)).astype(np.float32)
    for layout, array in ((m(length, 1), x), (m(1, rows), np.ascontiguousarray(x.T))):
        body = [Load(0, layout, F), Reduce("sum", 0, (1,), F)]
        got = np.zeros(rows, np.float32)
        built = kernel("io", (rows, length), body, Store(1, m(1, 0), 1, (0,)))
        assert run_native(built, [array.reshape(-1), got], level) is None
        np.testing.assert_allclose(got, x.astype(float).sum(1), rtol=3e-7)


def test_an_infinite_sum_is_infinite() -> None:
    x = np.ones(10_000, np.float32)
    x[7000] = np.inf
    body = [Load(0, m(1), F), Reduce("sum", 0, (0,), F)]
    assert_runs_alike(kernel("io", (10_000,), body, Store(1, m(0), 1, ())), 10_000, 1, arrays={0: x})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(5, 37), (3, 16), (2, 200), (70, 3)])
def test_softmax_reads_its_row_three_times(shape: tuple[int, int], level: str) -> None:
    rows, columns = shape
    body = [
        Load(0, m(columns, 1), F),
        Reduce("max", 0, (1,), F),
        Apply("subtract", (0, 1), F),
        Apply("exp", (2,), F),
        Reduce("sum", 3, (1,), F),
        Apply("divide", (3, 4), F),
    ]
    size = rows * columns
    assert_runs_alike(kernel("io", shape, body, Store(1, m(columns, 1), 5, (0, 1))), size, size, level=level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(5, 37), (3, 16), (2, 200), (70, 3)])
def test_what_is_stored_once_a_row_shares_the_nest_of_the_rows(shape: tuple[int, int], level: str) -> None:
    """Layer normalization, its mean and its deviation: two walks over a row reduce, the third one stores."""
    rows, columns = shape
    body = [
        Load(0, m(columns, 1), F),
        Reduce("sum", 0, (1,), F),
        Const(F, np.float32(1 / columns).tobytes()),
        Apply("multiply", (1, 2), F),
        Apply("subtract", (0, 3), F),
        Apply("square", (4,), F),
        Reduce("sum", 5, (1,), F),
        Apply("sqrt", (6,), F),
        Apply("divide", (4, 7), F),
    ]
    element, row = m(columns, 1), m(1, 0)
    stores = Store(1, row, 3, (0,)), Store(2, element, 8, (0, 1)), Store(3, row, 7, (0,)), Store(4, element, 4, (0, 1))
    made = kernel("ioooo", shape, body, *stores)
    (step,) = schedule_kernel(made, host_target("avx512")).steps
    assert isinstance(step.plan, Nest) and step.plan.order == (0, 1)
    assert [len(stages) for stages in step.plan.stages] == [0, 2, 0]
    size = rows * columns
    assert_runs_alike(made, size, rows, size, rows, size, level=level)


def test_a_row_that_is_read_again_behind_its_store_has_a_nest_of_its_own() -> None:
    """``s[i] = s[i] + Σ x[i, j]; y[i, j] = x[i, j] / Σ x[i, j] - s[i]``: of the old s."""
    body = [
        Load(0, m(20, 1), F),
        Reduce("sum", 0, (1,), F),
        Load(1, m(1, 0), F),
        Apply("add", (1, 2), F),
        Apply("divide", (0, 1), F),
        Apply("subtract", (4, 2), F),
    ]
    made = kernel("ixo", (6, 20), body, Store(1, m(1, 0), 3, (0,)), Store(2, m(20, 1), 5, (0, 1)))
    assert len(schedule_kernel(made, host_target("avx512")).steps) > 1
    assert_runs_alike(made, 120, 6, 120)


def test_reductions_over_different_axes_in_one_kernel() -> None:
    body = [
        Load(0, m(20, 1), F),
        Reduce("sum", 0, (0,), F),
        Apply("subtract", (0, 1), F),
        Reduce("max", 2, (1,), F),
        Apply("divide", (2, 3), F),
        Reduce("sum", 4, (0, 1), F),
        Apply("add", (4, 5), F),
    ]
    stores = (Store(1, m(20, 1), 6, (0, 1)), Store(2, m(1, 0), 3, (0,)), Store(3, m(0, 0), 5, ()))
    assert_runs_alike(kernel("iooo", (10, 20), body, *stores), 200, 200, 10, 1)


def test_variance_of_columns_with_its_mean_inside() -> None:
    body = [
        Load(0, m(70, 1), F),
        Reduce("sum", 0, (0,), F),
        Const(F, np.float32(1 / 90).tobytes()),
        Apply("multiply", (1, 2), F),
        Apply("subtract", (0, 3), F),
        Apply("square", (4,), F),
        Reduce("sum", 5, (0,), F),
        Apply("sqrt", (6,), F),
        Apply("divide", (4, 7), F),
    ]
    assert_runs_alike(kernel("io", (90, 70), body, Store(1, m(70, 1), 8, (0, 1))), 6300, 6300)


def test_a_reduction_over_an_axis_its_argument_lacks() -> None:
    body = [Load(0, m(1, 0), F), Reduce("sum", 0, (1,), F)]
    assert_runs_alike(kernel("io", (6, 21), body, Store(1, m(1, 0), 1, (0,))), 6, 6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [F, float64, int32], ids=str)
def test_scans_and_values_made_of_them(axis: int, reverse: bool, dtype: DType) -> None:
    body = [
        Load(0, m(23, 1), dtype),
        Scan(0, axis, reverse, dtype),
        Apply("add", (0, 1), dtype),
        Reduce("max", 1, (0,), dtype),
    ]
    stores = (Store(1, m(23, 1), 1, (0, 1)), Store(2, m(23, 1), 2, (0, 1)), Store(3, m(0, 1), 3, (1,)))
    assert_runs_alike(kernel("iooo", (14, 23), body, *stores, dtype=dtype), 322, 322, 322, 23)


# -- properties ------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.data())
def test_random_bodies_over_random_domains(data: st.DataObject) -> None:
    extents = tuple(data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3), label="extents"))
    axes = tuple(range(len(extents)))
    strides = [int(np.prod(extents[axis + 1 :])) for axis in axes]
    values: list = []
    for number in range(2):
        used = data.draw(st.sets(st.sampled_from(axes)), label="axes of a load")
        values.append(Load(number, m(*(strides[a] if a in used else 0 for a in axes)), F))
    for _ in range(data.draw(st.integers(1, 6), label="values")):
        x, y = (data.draw(st.integers(0, len(values) - 1)) for _ in "xy")
        choice = data.draw(st.sampled_from(["add", "multiply", "tanh", "sum", "max"]))
        if choice in ("sum", "max"):
            over = data.draw(st.sets(st.sampled_from(axes), min_size=1))
            values.append(Reduce(choice, x, tuple(sorted(over)), F))
            values.append(Apply("tanh", (len(values) - 1,), F))
        else:
            values.append(Apply(choice, (x,) if choice == "tanh" else (x, y), F))
    size = int(np.prod(extents))
    built = kernel("iio", extents, values, Store(2, m(*strides), len(values) - 1, axes))
    assert_runs_alike(built, size, size, size)
