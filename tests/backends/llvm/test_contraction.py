"""Contractions as native code: shapes around the tile, layouts, dtypes, epilogues, blocks, packing."""

import itertools

import numpy as np
import pytest

from graphc.backends.llvm.codegen import emit_module
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.panels import WINDOW
from graphc.ir.types import DType, bfloat16, bool_, float16, float32, float64, int32, int64, to_carrier
from graphc.kernel.epilogue import has_light_epilogue
from graphc.kernel.loopir import Apply, Const, Kernel, Load, Map, Param, Reduce, Store
from graphc.kernel.schedule import schedule_kernel, scratch_bytes
from graphc.kernel.tiling import Contraction, tiles_are_whole
from tests.backends.llvm.native_kernels import LEVELS, program_of, run_native, unaligned
from tests.backends.llvm.test_codegen import assert_runs_alike, m, sample

F = float32


def matmul(
    rows: int,
    columns: int,
    depth: int,
    *,
    dtype: DType = F,
    left_transposed: bool = False,
    right_transposed: bool = False,
    result_transposed: bool = False,
) -> Kernel:
    """``c[i, j] = Σ a[i, k] · b[k, j]``, each of the three as it is or transposed in memory."""
    left = m(1, 0, rows) if left_transposed else m(depth, 0, 1)
    right = m(0, depth, 1) if right_transposed else m(0, 1, columns)
    result = m(1, rows, 0) if result_transposed else m(columns, 1, 0)
    wide = F if dtype.is_half else dtype
    values: list = [Load(0, left, dtype), Load(1, right, dtype)]
    factors = [0, 1]
    if dtype.is_half:
        values += [Apply("cast", (0,), F), Apply("cast", (1,), F)]
        factors = [2, 3]
    values += [Apply("multiply", tuple(factors), wide), Reduce("sum", len(values), (2,), wide)]
    if dtype.is_half:
        values.append(Apply("cast", (len(values) - 1,), dtype))
    params = (Param(dtype, "in"), Param(dtype, "in"), Param(dtype, "out"))
    return Kernel(params, (rows, columns, depth), tuple(values), (Store(2, result, len(values) - 1, (0, 1)),), "matmul")


def check(kernel: Kernel, level: str = "host") -> None:
    """Compare with NumPy in double precision, within 1e-5·(|value| + Σ|a·b|)."""
    rows, columns, depth = kernel.extents
    dtype = kernel.params[0].dtype
    rng = np.random.default_rng(rows * 1000 + columns * 10 + depth)
    a, b = sample(dtype, rows * depth, rng), sample(dtype, depth * columns, rng)
    c = unaligned(np.zeros(rows * columns, dtype.storage))
    assert run_native(kernel, [unaligned(a), unaligned(b), c], level) is None
    loads = [value for value in kernel.values if isinstance(value, Load)]
    left = to_carrier(a, dtype).reshape((rows, depth) if loads[0].map.coefficients[2] == 1 else (depth, rows))
    right = to_carrier(b, dtype).reshape((depth, columns) if loads[1].map.coefficients[1] == 1 else (columns, depth))
    left = left if left.shape == (rows, depth) and loads[0].map.coefficients[2] == 1 else left.T
    right = right if loads[1].map.coefficients[1] == 1 else right.T
    if not dtype.is_float:
        expected = left @ right
    else:
        expected = left.astype(np.float64) @ right.astype(np.float64)
    transposed = kernel.stores[0].map.coefficients[0] == 1
    got = to_carrier(c, dtype).reshape((columns, rows) if transposed else (rows, columns))
    got = got.T if transposed else got
    if not dtype.is_float:
        np.testing.assert_array_equal(got, expected)
        return
    condition = np.abs(left).astype(np.float64) @ np.abs(right).astype(np.float64)
    bound = {float16: 1e-3, bfloat16: 8e-3, float32: 1e-5, float64: 1e-13}[dtype]
    assert np.all(np.abs(got - expected) <= bound * (np.abs(expected) + condition))


def step_of(kernel: Kernel, invariant: frozenset[int] = frozenset()) -> Contraction:
    """The first contraction of a kernel's schedule for AVX-512."""
    steps = schedule_kernel(kernel, host_target("avx512"), invariant).steps
    return next(step.plan for step in steps if isinstance(step.plan, Contraction))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("rows", "columns", "depth"), list(itertools.product((2, 5, 13, 30), (4, 15, 17, 33, 70), (4, 21)))
)
def test_ragged_edges(rows: int, columns: int, depth: int, level: str) -> None:
    check(matmul(rows, columns, depth), level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("transposed", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("shape", [(35, 50, 48), (64, 200, 33)])
def test_layouts(shape: tuple[int, int, int], transposed: tuple[bool, bool, bool], level: str) -> None:
    left, right, result = transposed
    check(matmul(*shape, left_transposed=left, right_transposed=right, result_transposed=result), level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float64, float16, bfloat16, int32, int64], ids=str)
@pytest.mark.parametrize("right_transposed", [False, True])
def test_dtypes(dtype: DType, right_transposed: bool, level: str) -> None:
    check(matmul(14, 37, 32, dtype=dtype, right_transposed=right_transposed), level)


@pytest.mark.parametrize("transposed", list(itertools.product((False, True), repeat=3)))
def test_long_sums_are_cut_into_blocks(transposed: tuple[bool, bool, bool]) -> None:
    left, right, result = transposed
    kernel = matmul(40, 130, 2100, left_transposed=left, right_transposed=right, result_transposed=result)
    assert step_of(kernel).depth_block
    check(kernel)


def test_the_packing_of_a_right_operand() -> None:
    assert step_of(matmul(32, 128, 64)).packing == "none"
    assert step_of(matmul(32, 128, 64), frozenset({1})).packing == "once"
    assert step_of(matmul(32, 128, 64, right_transposed=True)).packing == "block"
    assert step_of(matmul(64, 2048, 64)).packing == "block"
    assert [step_of(matmul(rows, 512, 512)).packing for rows in (64, 256)] == ["none", "block"]
    assert scratch_bytes(matmul(32, 128, 64), host_target("avx512")) == 0
    assert scratch_bytes(matmul(32, 128, 64, right_transposed=True), host_target("avx512")) >= 128 * 64 * 4


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("rows", "columns", "depth"), [(70, 1024, 37), (66, 1040, 613), (70, 1024, 8), (150, 1024, 5)])
def test_both_operands_are_packed_a_few_rows_at_a_time(rows: int, columns: int, depth: int, level: str) -> None:
    """Whole windows and a rest, of one block and of several, the last one shorter."""
    kernel = matmul(rows, columns, depth, left_transposed=True)
    if depth >= 32 and columns == 1024:
        assert step_of(kernel).packing == "block" and step_of(kernel).left_bytes
    if depth > 512:
        assert step_of(kernel).depth_block and depth % step_of(kernel).depth_block % WINDOW
    check(kernel, level)


@pytest.mark.parametrize("level", LEVELS)
def test_tiles_are_short_where_rows_of_the_result_collide(level: str) -> None:
    assert step_of(matmul(64, 1008, 64)).tile_rows > 8
    for columns in (1024, 2048):
        assert step_of(matmul(64, columns, 64)).tile_rows <= 8
    check(matmul(37, 1024, 30), level)


def test_colliding_rows_are_packed_and_right() -> None:
    check(matmul(64, 2048, 40))
    check(matmul(50, 2048, 1200))


@pytest.mark.parametrize("level", LEVELS)
def test_an_epilogue_of_several_stores(level: str) -> None:
    rows, columns, depth = 19, 45, 24
    values = (
        Load(0, m(depth, 0, 1), F),
        Load(1, m(0, 1, columns), F),
        Apply("multiply", (0, 1), F),
        Reduce("sum", 2, (2,), F),
        Load(2, m(0, 1, 0), F),
        Apply("add", (3, 4), F),
        Apply("tanh", (5,), F),
        Load(3, m(1, 0, 0), F),
        Apply("multiply", (6, 7), F),
    )
    modes = ("in", "in", "in", "in", "out", "out")
    stores = (Store(4, m(columns, 1, 0), 8, (0, 1)), Store(5, m(1, rows, 0), 5, (0, 1)))
    kernel = Kernel(tuple(Param(F, mode) for mode in modes), (rows, columns, depth), values, stores, "epilogue")
    size = rows * columns
    assert_runs_alike(kernel, rows * depth, depth * columns, columns, rows, size, size, level=level)


def test_an_epilogue_that_reduces_comes_after_the_contraction() -> None:
    rows, columns, depth = 9, 33, 20
    values = (
        Load(0, m(depth, 0, 1), F),
        Load(1, m(0, 1, columns), F),
        Apply("multiply", (0, 1), F),
        Reduce("sum", 2, (2,), F),
        Reduce("max", 3, (1,), F),
        Apply("subtract", (3, 4), F),
    )
    modes = ("in", "in", "out")
    kernel = Kernel(
        tuple(Param(F, mode) for mode in modes),
        (rows, columns, depth),
        values,
        (Store(2, m(columns, 1, 0), 5, (0, 1)),),
    )
    assert_runs_alike(kernel, rows * depth, depth * columns, rows * columns)


def test_a_right_operand_that_is_computed() -> None:
    rows, columns, depth = 12, 40, 18
    values = (
        Load(0, m(depth, 0, 1), F),
        Load(1, m(0, 1, columns), F),
        Load(2, m(0, 1, 0), F),
        Apply("subtract", (1, 2), F),
        Apply("exp", (3,), F),
        Apply("multiply", (0, 4), F),
        Reduce("sum", 5, (2,), F),
    )
    modes = ("in", "in", "in", "out")
    kernel = Kernel(
        tuple(Param(F, mode) for mode in modes),
        (rows, columns, depth),
        values,
        (Store(3, m(columns, 1, 0), 6, (0, 1)),),
    )
    assert_runs_alike(kernel, rows * depth, depth * columns, columns, rows * columns)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(channels_last: bool, stride: int, level: str) -> None:
    """Axes: image, row, column, channel out; then window row, window column, channel in."""
    images, out, channels, filters, window = 2, 6, 5, 19, 3
    size = (out - 1) * stride + window
    if channels_last:
        x = Map((size * size * channels, size * channels * stride, channels * stride, 0, size * channels, channels, 1))
        y = Map((out * out * filters, out * filters, filters, 1, 0, 0, 0))
        w = Map((0, 0, 0, 1, window * channels * filters, channels * filters, filters))
    else:
        x = Map((channels * size * size, size * stride, stride, 0, size, 1, size * size))
        y = Map((filters * out * out, out, 1, out * out, 0, 0, 0))
        w = Map((0, 0, 0, channels * window * window, window, 1, window * window))
    values = (Load(0, x, F), Load(1, w, F), Apply("multiply", (0, 1), F), Reduce("sum", 2, (4, 5, 6), F))
    extents = (images, out, out, filters, window, window, channels)
    params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
    kernel = Kernel(params, extents, values, (Store(2, y, 3, (0, 1, 2, 3)),), "convolution")
    sizes = (images * channels * size * size, window * window * channels * filters, images * out * out * filters)
    assert_runs_alike(kernel, *sizes, level=level)


def test_batches_of_matrices() -> None:
    batch, rows, columns, depth = 5, 12, 20, 16
    for right in (Map((depth * columns, 0, 1, columns)), Map((depth * columns, 0, depth, 1))):
        values = (
            Load(0, Map((rows * depth, depth, 0, 1)), F),
            Load(1, right, F),
            Apply("multiply", (0, 1), F),
            Reduce("sum", 2, (3,), F),
        )
        params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
        place = Map((rows * columns, columns, 1, 0))
        kernel = Kernel(params, (batch, rows, columns, depth), values, (Store(2, place, 3, (0, 1, 2)),), "batched")
        assert_runs_alike(kernel, batch * rows * depth, batch * depth * columns, batch * rows * columns)


def test_reductions_inside_an_operand_are_computed_first() -> None:
    """Attention: the left operand is a softmax of its own rows."""
    rows, columns, depth = 9, 24, 17
    values = (
        Load(0, m(depth, 0, 1), F),
        Reduce("max", 0, (2,), F),
        Apply("subtract", (0, 1), F),
        Apply("exp", (2,), F),
        Reduce("sum", 3, (2,), F),
        Apply("divide", (3, 4), F),
        Load(1, m(0, 1, columns), F),
        Apply("multiply", (5, 6), F),
        Reduce("sum", 7, (2,), F),
    )
    params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
    kernel = Kernel(params, (rows, columns, depth), values, (Store(2, m(columns, 1, 0), 8, (0, 1)),), "attention")
    plan = step_of(kernel)
    assert plan.stores[0].map.coefficients[plan.column] == 1
    assert_runs_alike(kernel, rows * depth, depth * columns, rows * columns)


def test_two_operands_that_are_computed() -> None:
    rows, columns, depth = 10, 20, 30
    values = (
        Load(0, m(depth, 0, 1), F),
        Apply("tanh", (0,), F),
        Load(1, m(0, 1, columns), F),
        Apply("exp", (2,), F),
        Apply("multiply", (1, 3), F),
        Reduce("sum", 4, (2,), F),
    )
    params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
    kernel = Kernel(params, (rows, columns, depth), values, (Store(2, m(columns, 1, 0), 5, (0, 1)),), "both")
    assert step_of(kernel).left_bytes == 0
    assert_runs_alike(kernel, rows * depth, depth * columns, rows * columns)


@pytest.mark.parametrize("level", LEVELS)
def test_columns_of_several_axes_become_one(level: str) -> None:
    """The gradient of a convolution by its patches: result and weights have channel and window the other way round."""
    rows, channels, window, filters = 60, 12, 9, 20
    values = (
        Load(0, m(filters, 0, 0, 1), F),
        Load(1, m(0, filters, channels * filters, 1), F),
        Apply("multiply", (0, 1), F),
        Reduce("sum", 2, (3,), F),
    )
    params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
    store = Store(2, m(channels * window, window, 1, 0), 3, (0, 1, 2))
    kernel = Kernel(params, (rows, channels, window, filters), values, (store,), "patches")
    steps = schedule_kernel(kernel, host_target("avx512")).steps
    assert steps[-1].kernel.extents == (rows, channels * window, filters)
    assert_runs_alike(kernel, rows * filters, window * channels * filters, rows * channels * window, level=level)


def test_a_tile_asks_for_what_its_epilogue_touches() -> None:
    """The rows that are added and those that are written; nothing where the epilogue does not lie along the lanes."""
    rows, columns, depth = 8, 32, 16

    def asked(addend: Map) -> int:
        values = (
            Load(0, m(depth, 0, 1), F),
            Load(1, m(0, 1, columns), F),
            Apply("multiply", (0, 1), F),
            Reduce("sum", 2, (2,), F),
            Load(2, addend, F),
            Apply("add", (3, 4), F),
        )
        params = (*(Param(F, "in"),) * 3, Param(F, "out"))
        kernel = Kernel(params, (rows, columns, depth), values, (Store(3, m(columns, 1, 0), 5, (0, 1)),), "added")
        sizes = (rows * depth, depth * columns, rows * columns, rows * columns)
        return emit_module(program_of(kernel, sizes), host_target("avx512"), "test").ir.count("@llvm.prefetch.p0(ptr %")

    lines = rows * columns * 4 // 64
    assert asked(m(columns, 1, 0)) == 2 * lines
    assert asked(m(0, 1, 0)) == asked(m(1, rows, 0)) == lines


@pytest.mark.parametrize(
    ("rows", "columns", "depth", "asks"), [(5, 400, 500, True), (5, 250, 800, False), (5, 400, 300, False)]
)
def test_far_rows_of_a_right_operand_are_asked_for(rows: int, columns: int, depth: int, asks: bool) -> None:
    """Of over 512 KB, whose rows are over 1 KB; one prefetch for each vector of a row, also of the last columns."""
    kernel = matmul(rows, columns, depth)
    sizes = (rows * depth, depth * columns, rows * columns)
    code = emit_module(program_of(kernel, sizes), host_target("avx512"), "test").ir
    assert ("i32 0, i32 3, i32 1)" in code.replace("declare void @llvm.prefetch", "")) is asks
    check(kernel)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("width", "filters", "heavy"), [(13, 32, False), (26, 20, False), (7, 33, True), (29, 16, False)]
)
def test_tiles_of_a_convolution(width: int, filters: int, heavy: bool, level: str) -> None:
    """Rows of an image at one distance, a tile in one row or across several; an epilogue in registers or looped."""
    images, height, channels = 2, 5, 3
    image = (height + 2) * (width + 2) * channels
    axes = (0, 1, 2, 3)
    result = m(height * width * filters, width * filters, filters, 1, 0, 0, 0)
    values: list = [
        Load(0, m(image, (width + 2) * channels, channels, 0, (width + 2) * channels, channels, 1), F),
        Load(1, m(0, 0, 0, 1, 3 * channels * filters, channels * filters, filters), F),
        Apply("multiply", (0, 1), F),
        Reduce("sum", 2, (4, 5, 6), F),
        Load(2, m(0, 0, 0, 1, 0, 0, 0), F),
        Apply("add", (3, 4), F),
        Apply("tanh" if heavy else "relu", (5,), F),
        # Of the rows alone, and from an operand whose rows lie apart.
        Load(3, m(height, 1, 0, 0, 0, 0, 0), F),
        Apply("multiply", (6, 7), F),
        Const(F, np.float32(0).tobytes()),
        Apply("greater", (5, 9), bool_),
    ]
    params = (*(Param(F, "in"),) * 4, Param(F, "out"), Param(bool_, "out"))
    stores = (Store(4, result, 8, axes), Store(5, result, 10, axes))
    extents = (images, height, width, filters, 3, 3, channels)
    kernel = Kernel(params, extents, tuple(values), stores, "convolution")
    plan = step_of(kernel)
    assert has_light_epilogue(kernel, plan) is not heavy
    assert tiles_are_whole(plan, kernel.extents) == (width != 29)
    count = images * height * width * filters
    sizes = (images * image, 9 * channels * filters, filters, images * height, count, count)
    assert_runs_alike(kernel, *sizes, level=level)
