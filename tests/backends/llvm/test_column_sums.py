"""Sums of columns, row by row: every tail, several sums at once, chunks, teams, and which nests they are for."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.llvm.host import host_target
from graphc.ir.types import DType, float16, float32, float64
from graphc.kernel import column_sums
from graphc.kernel.loopir import Apply, Combine, Kernel, Load, Map, Param, Reduce, Store, Value
from graphc.kernel.nest import Nest
from graphc.kernel.schedule import schedule_kernel
from tests.backends.llvm.native_kernels import LEVELS, program_of
from tests.backends.llvm.teams import assert_same_bits
from tests.backends.llvm.test_codegen import assert_runs_alike, sample


@pytest.fixture
def however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_sums, "_LEAST_BYTES", 0)


def sums(rows: int, columns: int, dtype: DType = float32, combine: Combine = "sum") -> Kernel:
    """Of each column of two matrices: ``b - Σ x·y`` and ``Σ (x - b)``, with ``b`` a number a column."""
    matrix, row = Map((1, columns)), Map((1, 0))
    values: list[Value] = [Load(0, matrix, dtype), Load(1, matrix, dtype), Load(2, row, dtype)]
    values += [Apply("multiply", (0, 1), dtype), Reduce(combine, 3, (1,), dtype), Apply("subtract", (2, 4), dtype)]
    values += [Apply("subtract", (0, 2), dtype), Reduce(combine, 6, (1,), dtype)]
    params = (Param(dtype, "in"),) * 3 + (Param(dtype, "out"),) * 2
    return Kernel(params, (columns, rows), tuple(values), (Store(3, row, 5, (0,)), Store(4, row, 7, (0,))))


def by_rows(kernel: Kernel) -> int:
    (step,) = schedule_kernel(kernel, host_target()).steps
    assert isinstance(step.plan, Nest)
    return step.plan.by_rows


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("rows", "columns"), [(5, 300), (128, 257), (131, 290), (300, 1100), (3, 5000)])
@pytest.mark.usefixtures("however_small")
def test_every_tail(rows: int, columns: int, dtype: DType, level: str) -> None:
    kernel = sums(rows, columns, dtype)
    assert by_rows(kernel) == (8 if columns * dtype.itemsize >= 4096 else 1)
    assert_runs_alike(kernel, rows * columns, rows * columns, columns, columns, columns, level=level)


@pytest.mark.usefixtures("however_small")
def test_matrices_of_a_batch() -> None:
    """A loop stands around the columns."""
    values: list[Value] = [Load(0, Map((37 * 310, 1, 310)), float32), Reduce("sum", 0, (2,), float32)]
    store = Store(1, Map((310, 1, 0)), 1, (0, 1))
    kernel = Kernel((Param(float32, "in"), Param(float32, "out")), (3, 310, 37), tuple(values), (store,))
    assert by_rows(kernel) == 1
    assert_runs_alike(kernel, 3 * 37 * 310, 3 * 310)


@pytest.mark.parametrize("shape", [(140, 301), (40, 3000)])
@pytest.mark.usefixtures("however_small")
def test_a_team_gives_the_same_bits(shape: tuple[int, int]) -> None:
    rows, columns = shape
    sizes = (rows * columns, rows * columns, columns, columns, columns)
    rng = np.random.default_rng(0)
    given = [sample(float32, size, rng) for size in sizes[:3]]
    assert_same_bits(program_of(sums(rows, columns), sizes), "run", given, seeds=(None, 1))


def test_long_sums_are_compensated() -> None:
    """Of 20,000 ones and a large number, every one counts."""
    rows, columns = 20_001, 256
    values: list[Value] = [Load(0, Map((1, columns)), float32), Reduce("sum", 0, (1,), float32)]
    kernel = Kernel(
        (Param(float32, "in"), Param(float32, "out")), (columns, rows), tuple(values), (Store(1, Map((1, 0)), 1, (0,)),)
    )
    assert by_rows(kernel) == 1
    x = np.ones((rows, columns), np.float32)
    x[0] = 2.0**25
    given = {0: x.reshape(-1)}
    assert_runs_alike(kernel, rows * columns, columns, arrays=given)


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(sums(1000, 600), id="small"),
        pytest.param(sums(20_000, 64), id="short rows"),
        pytest.param(sums(5000, 600, combine="max"), id="not a sum"),
        pytest.param(sums(5000, 600, float16), id="half precision"),
    ],
)
def test_others_are_left_alone(kernel: Kernel) -> None:
    assert by_rows(kernel) == 0


def test_a_matrix_that_lies_the_other_way_is_left_alone() -> None:
    values: list[Value] = [Load(0, Map((3000, 1)), float32), Load(1, Map((1, 600)), float32)]
    values += [Apply("add", (0, 1), float32), Reduce("sum", 2, (1,), float32)]
    params = (Param(float32, "in"), Param(float32, "in"), Param(float32, "out"))
    kernel = Kernel(params, (600, 3000), tuple(values), (Store(2, Map((1, 0)), 3, (0,)),))
    assert by_rows(kernel) == 0
