"""Values of a row that are kept between the walks over it: what is kept, when, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as G
from graphc.backends.llvm.host import host_target
from graphc.driver import lower
from graphc.ir.types import DType, bfloat16, float16, float32, float64
from graphc.kernel.loopir import Apply, Kernel, Load, Map, Param, Reduce, Store, Value
from graphc.kernel.nest import Nest
from graphc.kernel.schedule import schedule_kernel
from graphc.ops.simple import MOST_KEPT_BYTES
from tests.backends.llvm.native_kernels import LEVELS, program_of
from tests.backends.llvm.teams import assert_same_bits
from tests.backends.llvm.test_codegen import assert_runs_alike, sample


def row_major(extents: tuple[int, ...]) -> Map:
    return Map(tuple(int(np.prod(extents[axis + 1 :])) for axis in range(len(extents))))


def softmax(extents: tuple[int, ...], over: tuple[int, ...], dtype: DType = float32, function: str = "exp") -> Kernel:
    """``f(x - max) / Σ f(x - max)`` over some axes."""
    values: list[Value] = [Load(0, row_major(extents), dtype), Reduce("max", 0, over, dtype)]
    values += [Apply("subtract", (0, 1), dtype), Apply(function, (2,), dtype)]
    values += [Reduce("sum", 3, over, dtype), Apply("divide", (3, 4), dtype)]
    store = Store(1, row_major(extents), 5, tuple(range(len(extents))))
    return Kernel((Param(dtype, "in"), Param(dtype, "out")), extents, tuple(values), (store,))


def kept(kernel: Kernel) -> list[int]:
    """The values that the one nest of a kernel keeps."""
    (step,) = schedule_kernel(kernel, host_target()).steps
    assert isinstance(step.plan, Nest)
    return [keep.value for stages in step.plan.stages for stage in stages for keep in stage.keeps]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("columns", [2, 15, 16, 67, 513])
def test_exponentials_are_kept(columns: int, dtype: DType, level: str) -> None:
    kernel = softmax((3, columns), (1,), dtype)
    assert kept(kernel) == [3]
    assert_runs_alike(kernel, 3 * columns, 3 * columns, level=level)


def test_rows_of_several_axes_and_the_whole_array() -> None:
    for extents, over in [((3, 5, 33), (1, 2)), ((2, 3, 40), (2,)), ((200,), (0,)), ((6, 70), (0, 1))]:
        kernel = softmax(extents, over)
        assert kept(kernel) == [3]
        size = int(np.prod(extents))
        assert_runs_alike(kernel, size, size)


def test_what_is_simple_is_computed_again() -> None:
    assert kept(softmax((3, 80), (1,), function="square")) == []


def test_rows_in_lanes_keep_nothing() -> None:
    kernel = softmax((40, 64), (0,))
    assert kept(kernel) == []
    assert_runs_alike(kernel, 40 * 64, 40 * 64)


def test_a_row_beyond_the_memory_is_computed_again() -> None:
    longest = MOST_KEPT_BYTES // 8
    assert kept(softmax((2, longest), (1,), float64)) == [3]
    kernel = softmax((2, longest + 1), (1,), float64)
    assert kept(kernel) == []
    assert_runs_alike(kernel, 2 * longest + 2, 2 * longest + 2)


def gate(columns: int) -> Kernel:
    """Two functions of a row, one of the other, that three walks read."""
    map_ = Map((columns, 1))
    values: list[Value] = [Load(0, map_, float32), Apply("exp", (0,), float32), Reduce("sum", 1, (1,), float32)]
    values += [Apply("divide", (1, 2), float32), Apply("tanh", (3,), float32), Reduce("max", 4, (1,), float32)]
    values += [Apply("multiply", (4, 5), float32), Apply("add", (6, 1), float32)]
    return Kernel(
        (Param(float32, "in"), Param(float32, "out")), (3, columns), tuple(values), (Store(1, map_, 7, (0, 1)),)
    )


def test_several_values_of_one_row() -> None:
    assert sorted(kept(gate(67))) == [1, 4]
    assert_runs_alike(gate(67), 3 * 67, 3 * 67)


@pytest.mark.parametrize("kernel", [softmax((7, 130), (1,)), gate(130)], ids=["softmax", "gate"])
def test_each_thread_keeps_its_own_rows(kernel: Kernel) -> None:
    size = int(np.prod(kernel.extents))
    given = sample(float32, size, np.random.default_rng(3))
    assert_same_bits(program_of(kernel, (size, size)), "run", [given], seeds=(None, 1))


@pytest.mark.parametrize("write", [G.softmax, G.log_softmax], ids=["softmax", "log_softmax"])
def test_softmax_is_one_kernel(write: object) -> None:
    x = G.input("x", (9, 300))
    program = lower(G.Model(f=write(x)).module)  # type: ignore[operator]
    assert len(program.kernels) == 1 and not program.entries["f"].memory.arena_bytes


def test_a_cross_entropy_and_its_gradient_walk_the_logits_once() -> None:
    """One kernel over all classes; the gradient is the logits' only other reader."""
    x, w, y = G.input("x", (40, 8)), G.parameter("w", np.zeros((8, 500), "float32")), G.input("y", (40,), "int64")
    loss = G.nn.functional.cross_entropy(x @ w, y)
    program = lower(G.Model(train=G.optim.SGD(0.1).minimize(loss)).module)
    over_classes = [
        kernel
        for kernel in program.kernels
        if isinstance(kernel, Kernel) and len(kernel.extents) == 2 and kernel.extents == (40, 500)
    ]
    assert len(over_classes) == 1
    assert len(over_classes[0].stores) == 2
