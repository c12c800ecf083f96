"""Threads: the same bits for every number of them, and for every way to share the work."""

from collections.abc import Callable

import numpy as np
import pytest

from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.threads.split import ways
from graphc.driver import lower
from graphc.ir.graph import Module
from graphc.ir.types import float32
from graphc.kernel.loopir import Apply, Kernel, Load, Param, Reduce, Store
from graphc.kernel.schedule import schedule_kernel
from graphc.kernel.tiling import Contraction
from tests.backends.llvm.models import MODELS, inputs_of
from tests.backends.llvm.native_kernels import program_of
from tests.backends.llvm.teams import TEAMS, Teamwork, any_way, assert_same_bits
from tests.backends.llvm.test_codegen import m, sample
from tests.backends.llvm.test_contraction import matmul
from tests.generators import random_graph, random_loop_graph
from tests.loop_programs import random_loop_program

F = float32


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_same_bits(name: str) -> None:
    module = MODELS[name]().module
    lowered = lower(module)
    for entry in module.entries:
        assert_same_bits(lowered, entry, inputs_of(module, entry), seeds=(None, 1, 2))


@pytest.mark.parametrize("make", [random_graph, random_loop_graph, random_loop_program])
@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_give_the_same_bits(make: Callable, seed: int) -> None:
    graph, arrays = make(seed)
    assert_same_bits(lower(Module("random", {graph.name: graph})), graph.name, arrays, seeds=(None, seed))


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_graph, random_loop_graph, random_loop_program])
@pytest.mark.parametrize("seed", range(100, 140))
def test_more_random_graphs_give_the_same_bits(make: Callable, seed: int) -> None:
    graph, arrays = make(seed)
    assert_same_bits(lower(Module("random", {graph.name: graph})), graph.name, arrays, seeds=(None, seed, seed + 1))


def batched(outer: int, rows: int, columns: int, depth: int, *, transposed: bool = False) -> Kernel:
    """``c[o, i, j] = Σ a[o, i, k] · b[o, k, j]``; b transposed in memory or not."""
    right = m(columns * depth, 0, depth, 1) if transposed else m(columns * depth, 0, 1, columns)
    values = [Load(0, m(rows * depth, depth, 0, 1), F), Load(1, right, F), Apply("multiply", (0, 1), F)]
    values.append(Reduce("sum", 2, (3,), F))
    params = (Param(F, "in"), Param(F, "in"), Param(F, "out"))
    store = Store(2, m(rows * columns, columns, 1, 0), 3, (0, 1, 2))
    return Kernel(params, (outer, rows, columns, depth), tuple(values), (store,))


KERNELS = {
    "plain": (matmul(67, 131, 40), (67 * 40, 40 * 131, 67 * 131)),
    "packed right": (matmul(150, 70, 600, right_transposed=True), (150 * 600, 600 * 70, 150 * 70)),
    "packed left": (matmul(150, 256, 300, left_transposed=True), (150 * 300, 300 * 256, 150 * 256)),
    "rows in blocks": (matmul(501, 256, 600, left_transposed=True), (501 * 600, 600 * 256, 501 * 256)),
    "both packed": (matmul(130, 1024, 520, left_transposed=True), (130 * 520, 520 * 1024, 130 * 1024)),
    "ragged": (matmul(29, 33, 17), (29 * 17, 17 * 33, 29 * 33)),
    "one row": (batched(1, 1, 300, 40), (40, 12000, 300)),
    "batched": (batched(5, 9, 35, 12), (5 * 108, 5 * 420, 5 * 315)),
    "batched, packed": (batched(5, 60, 35, 64, transposed=True), (5 * 3840, 5 * 2240, 5 * 2100)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_contraction_gives_the_same_bits_however_it_is_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, sizes = KERNELS[name]
    rng = np.random.default_rng(5)
    built = program_of(kernel, sizes)
    inputs = [sample(F, size, rng) for size in sizes[:2]]
    target = host_target()
    steps = schedule_kernel(kernel, target).steps
    main = max(range(len(steps)), key=lambda number: isinstance(steps[number].plan, Contraction))
    expected = Teamwork(built).call("run", inputs, 0)
    cuts = ways(steps[main], target)[1:]
    assert cuts
    for number in range(len(cuts)):

        def choose(chooser: object, number: int = number) -> list:
            options = chooser.ways[0]  # type: ignore[attr-defined]
            chosen = [way[-1] for way in options]
            chosen[main] = options[main][1 + number]
            chooser.chosen = [chosen]  # type: ignore[attr-defined]
            return chooser.chosen  # type: ignore[attr-defined]

        monkeypatch.setattr("graphc.backends.llvm.threads.sharing._Chooser.choose", choose)
        monkeypatch.setattr("graphc.backends.llvm.threads.sharing._LEAST_ENTRY_CYCLES", -1e30)
        team = Teamwork(built)
        assert team.is_shared
        for threads in TEAMS:
            assert team.call("run", inputs, threads) == expected, (cuts[number].split, threads)


def test_every_kind_of_contraction_is_tried() -> None:
    found: set[str] = set()
    for kernel, _ in KERNELS.values():
        for step in schedule_kernel(kernel, host_target()).steps:
            found |= {way.split.by for way in ways(step, host_target()) if way.split is not None}
            if isinstance(step.plan, Contraction):
                found.add(f"right: {step.plan.packing}")
                found |= {"left"} if step.plan.left_bytes else set()
                found |= {"left in blocks"} if step.plan.left_bytes and step.plan.row_block else set()
    assert found >= {"rows", "columns", "outer", "right: none", "right: block", "left", "left in blocks"}


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_other_processors_give_the_same_bits(level: str) -> None:
    built = program_of(*KERNELS["packed left"])
    rng = np.random.default_rng(5)
    inputs = [sample(F, size, rng) for size in KERNELS["packed left"][1][:2]]
    expected = Teamwork(built, level).call("run", inputs, 0)
    with any_way(0):
        team = Teamwork(built, level)
    for threads in TEAMS:
        assert team.call("run", inputs, threads) == expected
