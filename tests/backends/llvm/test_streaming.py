"""Products of one row with a matrix: widths around vectors and chunks, depths around groups, dtypes, epilogues."""

import re

import pytest

from graphc.backends.llvm.codegen import emit_module
from graphc.backends.llvm.host import host_target
from graphc.ir.types import DType, bfloat16, float16, float32, float64, int32, int64
from graphc.kernel.loopir import Apply, Kernel, Load, Param, Reduce, Store
from graphc.kernel.schedule import Plan, schedule_kernel
from graphc.kernel.streaming import Streaming
from tests.backends.llvm.native_kernels import LEVELS, program_of
from tests.backends.llvm.test_codegen import assert_runs_alike, m

F = float32


def row_product(columns: int, depth: int, dtype: DType = F, step: int = 1) -> Kernel:
    """``c[j] = Σ a[k] · b[k, j]``; columns ``step`` apart."""
    wide = F if dtype.is_half else dtype
    values: list = [Load(0, m(0, 1), dtype), Load(1, m(step, columns * step), dtype)]
    factors = [0, 1]
    if dtype.is_half:
        values += [Apply("cast", (0,), F), Apply("cast", (1,), F)]
        factors = [2, 3]
    values += [Apply("multiply", tuple(factors), wide), Reduce("sum", len(values), (1,), wide)]
    params = (Param(dtype, "in"), Param(dtype, "in"), Param(wide, "out"))
    return Kernel(params, (columns, depth), tuple(values), (Store(2, m(1, 0), len(values) - 1, (0,)),), "row")


def plan_of(kernel: Kernel) -> Plan:
    (step,) = schedule_kernel(kernel, host_target("avx512")).steps
    return step.plan


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("depth", [16, 17, 19, 64, 100])
def test_every_width_and_depth(depth: int, level: str) -> None:
    for columns in (32, 33, 47, 64, 100, 257):
        assert_runs_alike(row_product(columns, depth), depth, depth * columns, columns, level=level)


@pytest.mark.parametrize("columns", [32, 45, 256, 257])
def test_a_narrow_matrix_is_read_from_beginning_to_end(columns: int) -> None:
    """Without a vector of sums being loaded and stored for each group of rows; one more column and they are."""
    kernel = row_product(columns, 100)
    plan, target = plan_of(kernel), host_target("avx512")
    assert isinstance(plan, Streaming) and plan.held == 16
    text = emit_module(program_of(kernel, (100, 100 * columns, columns)), target, "test").ir
    loops = [block for block in re.split(r"\nb\d+:\n", text) if "call <16 x float> @llvm.fma" in block]
    assert loops
    assert any("store <16 x float>" in block for block in loops) is (columns > 256)


@pytest.mark.parametrize("columns", [4096, 4097, 8192, 9000])
def test_wide_rows_are_done_in_chunks(columns: int) -> None:
    kernel = row_product(columns, 18)
    plan = plan_of(kernel)
    assert isinstance(plan, Streaming) and plan.chunk == 4096
    assert_runs_alike(kernel, 18, 18 * columns, columns)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float64, float16, bfloat16, int32, int64], ids=str)
def test_dtypes(dtype: DType, level: str) -> None:
    assert_runs_alike(row_product(70, 37, dtype), 37, 70 * 37, 70, level=level)


def test_what_is_not_read_row_by_row_is_not_streamed() -> None:
    assert isinstance(plan_of(row_product(64, 64)), Streaming)
    assert not isinstance(plan_of(row_product(64, 64, step=2)), Streaming)
    assert not isinstance(plan_of(row_product(64, 8)), Streaming)
    assert not isinstance(plan_of(row_product(8, 64)), Streaming)


@pytest.mark.parametrize("level", LEVELS)
def test_batches_several_sums_axes_and_an_epilogue(level: str) -> None:
    """``c[n, j] = tanh(d[j] + Σ_{p, k} a[n, p, k]² · b[n, p, k, j])``, and the sum itself."""
    batch, columns, outer, depth = 3, 50, 2, 21
    values = (
        Load(0, m(outer * depth, 0, depth, 1), F),
        Apply("square", (0,), F),
        Load(1, m(outer * depth * columns, 1, depth * columns, columns), F),
        Apply("multiply", (1, 2), F),
        Reduce("sum", 3, (2, 3), F),
        Load(2, m(0, 1, 0, 0), F),
        Apply("add", (4, 5), F),
        Apply("tanh", (6,), F),
    )
    params = (*(Param(F, "in"),) * 3, Param(F, "out"), Param(F, "out"))
    result = m(columns, 1, 0, 0)
    stores = (Store(3, result, 7, (0, 1)), Store(4, result, 4, (0, 1)))
    kernel = Kernel(params, (batch, columns, outer, depth), values, stores, "batched")
    assert isinstance(plan_of(kernel), Streaming)
    sizes = (batch * outer * depth, batch * outer * depth * columns, columns, batch * columns, batch * columns)
    assert_runs_alike(kernel, *sizes, level=level)
