"""The memory plan: sound, tight, fast; and the verifier notices a plan that is not."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from graphc.errors import VerificationError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.types import float32
from graphc.kernel import memory
from graphc.kernel.loopir import Apply, Kernel, Load, Map, Param, Store
from graphc.kernel.lower import lower_module
from graphc.kernel.memory import plan_memory, verify_plan
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, MemoryPlan, Program, Ref, Step
from graphc.passes.pipeline import run_pipeline
from tests.cells import CELLS
from tests.kernel.checks import graph_of, typed
from tests.kernel.test_loops import loop

F = float32


def chain(length: int) -> Program:
    b = Builder()
    x = b.input("x", typed(F, 100))
    value = x
    for _ in range(length):
        value = b.op("sin", value)
    return lower_module(Module("m", {"f": graph_of(b, [x], value)}))


def entry_of(steps: tuple[Step, ...], *sizes: int) -> Entry:
    """An entry of temporaries alone."""
    buffers = tuple(Buffer(f"b{i}", F, size, "temporary") for i, size in enumerate(sizes))
    return Entry("f", {}, {}, buffers, steps, plan_memory(buffers, steps, ()), ())


def copy(target: int, source: int, *strides: int) -> Copy:
    return Copy(Ref(target, 0, strides), Ref(source), 1)


def test_a_chain_needs_two_buffers() -> None:
    program = chain(50)
    assert program.arena_bytes == 2 * 448
    verify_plan(program.entries["f"], program.kernels)


def test_a_long_chain_is_planned_in_one_walk_through_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_EXACT_LIMIT", 10)
    program = chain(50)
    assert program.arena_bytes == 2 * 448
    verify_plan(program.entries["f"], program.kernels)


@pytest.mark.parametrize("limit", [0, 10_000])
def test_random_lifetimes(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(memory, "_EXACT_LIMIT", limit)
    draw = np.random.default_rng(5)
    sizes = [int(size) for size in draw.integers(1, 300, 60)]
    steps: list[Step] = [copy(0, 0)]
    for _ in range(40):
        group = tuple(copy(int(draw.integers(60)), int(draw.integers(60))) for _ in range(4))
        steps.extend(group if draw.integers(2) else [Loop(3, (*group[:2], Loop(2, group[2:])))])
    verify_plan(entry_of(tuple(steps), *sizes), ())


def test_any_two_live_buffers_that_share_bytes_are_found() -> None:
    entry = entry_of((copy(0, 3), copy(1, 3), copy(2, 0), copy(3, 1)), 20, 20, 20, 20)
    verify_plan(entry, ())
    offsets = dict(entry.memory.offsets)
    offsets[1] = offsets[0]
    with pytest.raises(VerificationError, match="share bytes"):
        verify_plan(replace(entry, memory=replace(entry.memory, offsets=offsets)), ())


def test_a_buffer_outside_the_arena_is_found() -> None:
    entry = entry_of((copy(0, 1),), 20, 20)
    small = MemoryPlan(entry.memory.offsets, 64, entry.memory.lifetimes)
    with pytest.raises(VerificationError, match="outside the arena"):
        verify_plan(replace(entry, memory=small), ())


def test_what_is_carried_between_trips_lives_for_the_whole_loop() -> None:
    # b0 is read before it is written, so it brings a value from the trip before.
    steps: tuple[Step, ...] = (copy(0, 3), Loop(2, (copy(1, 0), copy(2, 1), copy(0, 2), copy(4, 3))))
    entry = entry_of(steps, 20, 20, 20, 20, 20)
    assert entry.memory.lifetimes[0] == (0, 4)
    assert entry.memory.lifetimes[1] == (1, 2)
    verify_plan(entry, ())
    offsets = {**entry.memory.offsets, 4: entry.memory.offsets[0]}
    with pytest.raises(VerificationError, match="share bytes"):
        verify_plan(replace(entry, memory=replace(entry.memory, offsets=offsets)), ())


def test_what_a_loop_walks_through_outlives_its_trips() -> None:
    entry = entry_of((Loop(3, (copy(0, 1, 1), copy(2, 1))), copy(3, 0)), 20, 20, 20, 20)
    assert entry.memory.lifetimes[0] == (0, 2)
    offsets = {**entry.memory.offsets, 2: entry.memory.offsets[0]}
    with pytest.raises(VerificationError, match="share bytes"):
        verify_plan(replace(entry, memory=replace(entry.memory, offsets=offsets)), ())


def test_a_body_shares_its_memory_between_trips() -> None:
    def step(b: Builder, t: Node, s: Node) -> tuple[list[Node], list[Node]]:
        values = [s]
        for _ in range(6):
            values.append(b.op("matmul", values[-1], values[-1]))
        return [values[-1]], []

    b = Builder()
    x = b.input("x", typed(F, 8, 8))
    program = lower_module(Module("m", {"f": graph_of(b, [x], *loop(b, step, 5, [x]))}))
    assert program.arena_bytes == 2 * 256


def test_a_hundred_thousand_kernels_lower_in_seconds() -> None:
    program = chain(30_000)
    assert len(program.kernels) == 1
    assert program.arena_bytes == 2 * 448


def test_equal_kernels_are_one_whatever_their_memory() -> None:
    kernel = Kernel(
        (Param(F, "in"), Param(F, "out")),
        (4,),
        (Load(0, Map((1,)), F), Apply("sin", (0,), F)),
        (Store(1, Map((1,)), 1, (0,)),),
        "one",
    )
    assert kernel == replace(kernel, name="other")
    b = Builder()
    x = b.input("x", typed(F, 5, 4))
    graph = Graph.make(
        "f", [x], [(f"y{i}", b.op("sin", b.op("index", x, axis=0, index=i))) for i in range(5)], builder=b
    )
    program = lower_module(Module("m", {"f": graph}))
    assert program.kernels == (kernel,)
    assert [step.args[0].offset for step in program.entries["f"].steps if isinstance(step, Call)] == [0, 4, 8, 12, 16]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("segment", [0, 5])
def test_the_arena_is_little_more_than_what_lives_at_once(cell: str, segment: int) -> None:
    graph = run_pipeline(CELLS[cell](40), segment=segment)
    entry = lower_module(Module("m", {"train": graph})).entries["train"]
    events: Counter[int] = Counter()
    for number, (first, last) in entry.memory.lifetimes.items():
        buffer = entry.buffers[number]
        size = -(-buffer.size * buffer.dtype.itemsize // memory.ALIGNMENT) * memory.ALIGNMENT
        events[first] += size
        events[last + 1] -= size
    live = max(itertools.accumulate(events[position] for position in sorted(events)))
    assert entry.memory.arena_bytes <= 1.15 * live
