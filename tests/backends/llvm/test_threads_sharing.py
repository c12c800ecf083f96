"""What a team may share, what is worth it, and where its members wait for each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as G
from graphc import nn
from graphc.backends.llvm.calls import Pointer
from graphc.backends.llvm.codegen import emit_module
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.packing import Action, Invoke, Move, Repeat, Wait
from graphc.backends.llvm.threads.barriers import synchronised
from graphc.backends.llvm.threads.sharing import share
from graphc.backends.llvm.threads.split import Split, _is_apart, ways
from graphc.driver import lower
from graphc.ir.types import float32, int64
from graphc.kernel.loopir import Apply, Gather, Intrinsic, Kernel, Load, Map, Param, Reduce, Scan, Scatter, Store
from graphc.kernel.program import Buffer, Call, Copy, Loop, Program, Ref, Step
from graphc.kernel.schedule import schedule_kernel
from tests.backends.llvm.teams import TEAMS, Teamwork, any_way, assert_same_bits
from tests.backends.llvm.test_codegen import m
from tests.backends.llvm.test_codegen_entries import program
from tests.backends.llvm.test_contraction import matmul

F = float32


# -- what may be cut ---------------------------------------------------------------------------------------------------


def places(kernel: Kernel, store: Store, axis: int, limit: int) -> bool:
    """By trying everything: no two positions along the axis write to one place, whatever the index from the data."""
    writers: dict[int, int] = {}
    for point in np.ndindex(*kernel.extents):
        place = store.map.offset + sum(c * p for c, p in zip(store.map.coefficients, point, strict=True))
        for index in range(limit) if store.scatter is not None else (0,):
            here = place + (index * store.scatter.stride if store.scatter is not None else 0)
            if writers.setdefault(here, point[axis]) != point[axis]:
                return False
    return True


@given(
    st.lists(st.integers(2, 4), min_size=1, max_size=3),
    st.lists(st.integers(-12, 12), min_size=3, max_size=3),
    st.sampled_from([None, 1, 4, 12]),
)
@settings(max_examples=150)
def test_a_cut_is_safe(extents: list[int], coefficients: list[int], stride: int | None) -> None:
    index = Load(0, Map((0,) * len(extents)), int64)
    scatter = None if stride is None else Scatter(0, stride)
    place = Map(tuple(coefficients[: len(extents)]))
    store = Store(1, place, 0, tuple(range(len(extents))), accumulate=True, scatter=scatter)
    kernel = Kernel((Param(int64, "in"), Param(int64, "inout")), tuple(extents), (index,), (store,))
    for axis in range(len(extents)):
        # An index is checked: it stays below the next larger dimension.
        larger = [abs(c) for c in place.coefficients if stride is not None and abs(c) > stride]
        limit = min(larger) // stride if larger and stride is not None else 5
        if _is_apart(kernel, store, axis):
            assert places(kernel, store, axis, limit), (extents, place, axis, stride)


def splits(kernel: Kernel) -> list[Split]:
    (step,) = schedule_kernel(kernel, host_target()).steps
    return [way.split for way in ways(step, host_target()) if way.split is not None]


def test_reductions_and_running_sums_are_never_cut() -> None:
    params = (Param(F, "in"), Param(F, "out"))
    total = Kernel(params, (4096,), (Load(0, m(1), F), Reduce("sum", 0, (0,), F)), (Store(1, m(0), 1, ()),))
    assert splits(total) == []
    running = Kernel(params, (64,), (Load(0, m(1), F), Scan(0, 0, False, F)), (Store(1, m(1), 1, (0,)),))
    assert splits(running) == []
    columns = Kernel(
        params,
        (64, 512),
        (Load(0, m(1, 64), F), Reduce("sum", 0, (1,), F)),
        (Store(1, m(1, 0), 1, (0,)),),
    )
    assert splits(columns) == [Split("loop", 0)]


def test_what_is_scattered_is_cut_along_the_rows_that_are_scattered() -> None:
    """The gradient of an embedding: rows may meet, columns never do."""
    values = (Load(0, m(1, 0), int64), Load(1, m(32, 1), F))
    store = Store(2, m(0, 1), 1, (0, 1), accumulate=True, scatter=Scatter(0, 32))
    kernel = Kernel((Param(int64, "in"), Param(F, "in"), Param(F, "inout")), (100, 32), values, (store,))
    plan = schedule_kernel(kernel, host_target()).steps[0].plan
    assert [plan.order[split.depth] for split in splits(kernel)] == [1]


def test_a_kernel_that_reads_beside_what_it_writes_is_not_cut() -> None:
    params = (Param(int64, "in"), Param(F, "inout"))
    gathered = (Load(0, m(1), int64), Gather(1, m(0), 0, 1, F))
    kernel = Kernel(params, (64,), gathered, (Store(1, m(1), 1, (0,)),))
    assert splits(kernel) == []


def test_small_work_is_left_alone() -> None:
    x = G.input("x", (4, 8))
    small = lower(G.Model(predict=nn.Dense(8, activation="tanh")(x)).module)
    schedules = [schedule_kernel(kernel, host_target()) for kernel in small.kernels]
    assert share(small, schedules, host_target()).entries == frozenset()
    assert "threads" not in emit_module(small, host_target(), "m").ir


@pytest.mark.parametrize(
    ("rows", "columns", "axis", "expected"),
    [(224, 512, 1, "rows"), (168, 4096, 1, "rows"), (168, 4096, 0, "columns")],
)
def test_steps_that_pass_data_on_are_cut_alike(rows: int, columns: int, axis: int, expected: str) -> None:
    """A product divides by rows as well as by columns; what is then summed along one of them decides."""
    target = host_target("avx512")
    place = m(columns, 1)
    other = m(1, 0) if axis == 1 else m(0, 1)
    total = Kernel(
        (Param(F, "in"), Param(F, "out")),
        (rows, columns),
        (Load(0, place, F), Reduce("sum", 0, (axis,), F)),
        (Store(1, other, 1, (1 - axis,)),),
    )
    built = program(
        (matmul(rows, columns, 100), total),
        (Call(0, (Ref(0), Ref(1), Ref(2))), Call(1, (Ref(2), Ref(3)))),
        Buffer("a", F, rows * 100, "input"),
        Buffer("b", F, columns * 100, "input", 1),
        Buffer("c", F, rows * columns, "temporary"),
        Buffer("y", F, (rows, columns)[1 - axis], "output"),
    )
    schedules = [schedule_kernel(kernel, target) for kernel in built.kernels]
    found = share(built, schedules, target)
    assert found.entries == {"run"}
    assert found.kernels == ((Split(expected),), (Split("loop", 0),))


# -- barriers ----------------------------------------------------------------------------------------------------------


def at(start: int, size: int = 64, base: int = 0) -> Pointer:
    return Pointer(base, start, reach=(start, start + size))


def shared(read: Pointer, written: Pointer) -> Invoke:
    return Invoke("@shared", (read, written), written=frozenset({1}), shared=True)


def lone(read: Pointer, written: Pointer) -> Invoke:
    return Invoke("@lone", (read, written), written=frozenset({1}))


def check(read: Pointer) -> Invoke:
    return Invoke("@check", (read,), check=0)


def waits(*actions: Action) -> str:
    """A letter an action; ``|`` is a barrier, parentheses are a loop."""
    letters = {"@shared": "s", "@lone": "l", "@check": "c"}
    found = ""
    for action in actions:
        if isinstance(action, Wait):
            found += "|"
        elif isinstance(action, Repeat):
            found += f"({waits(*action.body)})"
        else:
            found += letters[action.function] if isinstance(action, Invoke) else "m"
    return found


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ((shared(at(0), at(64)), shared(at(64), at(128))), "s|s"),
        ((shared(at(0), at(64)), shared(at(0), at(128))), "ss"),
        ((shared(at(64), at(0)), shared(at(128), at(64))), "s|s"),
        ((lone(at(0), at(64)), lone(at(64), at(128)), shared(at(128), at(192))), "ll|s"),
        ((shared(at(0), at(64)), lone(at(0), at(128)), lone(at(64), at(192))), "sl|l"),
        ((lone(at(0), at(64)), check(at(64)), shared(at(0), at(128))), "l|cs"),
        ((check(at(64)), lone(at(0), at(64))), "c|l"),
        ((Repeat(3, (shared(at(0), at(64)), shared(at(64), at(0)))),), "(|s|s)"),
        ((Repeat(3, (shared(at(0), at(64)),)),), "(|s)"),
        ((Repeat(3, (shared(at(0), at(64)), lone(at(128), at(192)))),), "(|sl)"),
        ((Repeat(3, (lone(at(0), at(64)), lone(at(64), at(0)))), shared(at(64), at(128))), "(ll)|s"),
        ((Move(at(64), at(0), 64), shared(at(64), at(128))), "m|s"),
        ((Move(at(1 << 20, 1 << 16), at(0, 1 << 16), 1 << 16), shared(at(1 << 20), at(1 << 21))), "m|s"),
        ((shared(at(0, base=1), at(0, base=2)), shared(at(0, base=1), at(0, base=3))), "ss"),
    ],
)
def test_barriers_stand_where_data_passes(actions: tuple[Action, ...], expected: str) -> None:
    assert waits(*synchronised(actions)) == expected


def test_a_long_stretch_of_small_calls_is_planned_in_no_time() -> None:
    actions = [lone(at(64 * number), at(64 * number + 64)) for number in range(20_000)]
    made = synchronised([*actions, shared(at(0), at(1 << 30))])
    assert sum(isinstance(action, Wait) for action in made) == 1


# -- entry points ------------------------------------------------------------------------------------------------------

ADD = Kernel(
    (Param(F, "in"), Param(F, "in"), Param(F, "out")),
    (256,),
    (Load(0, m(1), F), Load(1, m(1), F), Apply("add", (0, 1), F)),
    (Store(2, m(1), 2, (0,)),),
    "add",
)
CHECK = Intrinsic("check_index", (Param(int64, "in"),), (300, 10), "check_index")


def checked_program(calls: int) -> Program:
    """Calls that depend on each other, with copies and two checks among them; a table where they are many."""
    steps: list[Step] = [Copy(Ref(2), Ref(0), 256), Call(1, (Ref(1),))]
    for number in range(calls):
        source, target = (2, 3) if number % 2 == 0 else (3, 2)
        steps.append(Call(0, (Ref(source), Ref(0, 256 * (number % 4)), Ref(target))))
    steps += [Call(1, (Ref(5),)), Copy(Ref(4), Ref(2), 256)]
    return program(
        (ADD, CHECK),
        tuple(steps),
        Buffer("x", F, 1024, "input"),
        Buffer("i", int64, 300, "input", 1),
        Buffer("a", F, 256, "temporary"),
        Buffer("b", F, 256, "temporary"),
        Buffer("y", F, 256, "output"),
        Buffer("j", int64, 300, "input", 2),
    )


@pytest.mark.parametrize("calls", [4, 400])
def test_every_member_leaves_at_the_check_that_failed(calls: int) -> None:
    built = checked_program(calls)
    assert ("switch" in emit_module(built, host_target(), "m").ir.split("@m_parallel")[0]) == (calls > 200)
    x, good = np.arange(1024, dtype=np.float32) % 7, np.zeros(300, np.int64)
    bad = good.copy()
    bad[[17, 200]] = 10, -1
    with any_way(None):
        team = Teamwork(built)
    plain = Teamwork(built)
    for i, j in ((good, good), (bad, good), (good, bad), (bad, bad)):
        expected = plain.call("run", [x, i, j], 0)
        assert bool(expected.status) == (i is bad or j is bad)
        for threads in TEAMS:
            got = team.call("run", [x, i, j], threads)
            assert got.status == expected.status and got.error == expected.error
            assert got.status or got.outputs == expected.outputs


def test_a_loop_with_moving_pointers() -> None:
    body = (Call(0, (Ref(0, 256, (256,)), Ref(2), Ref(1, 0, (256,)))), Copy(Ref(2), Ref(1, 0, (256,)), 256))
    steps = (Copy(Ref(2), Ref(0), 256), Loop(9, body))
    built = program(
        (ADD,), steps, Buffer("x", F, 2560, "input"), Buffer("y", F, 2304, "output"), Buffer("c", F, 256, "temporary")
    )
    x = np.random.default_rng(0).standard_normal(2560).astype(np.float32)
    assert_same_bits(built, "run", [x], seeds=(None, 0, 1))
