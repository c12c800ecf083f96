"""The verifier of kernels and programs finds what is wrong; the printer's text is golden."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from graphc.errors import VerificationError
from graphc.ir.builder import Builder
from graphc.ir.graph import Module
from graphc.ir.node import Node
from graphc.ir.types import float32, float64, int64
from graphc.kernel.loopir import Apply, Gather, Intrinsic, Kernel, Load, Map, Param, Reduce, Scan, Store
from graphc.kernel.lower import lower_module
from graphc.kernel.printer import print_kernel, print_program
from graphc.kernel.program import Call, Loop, Program, Ref
from graphc.kernel.verify import verify_kernel, verify_program
from tests.kernel.checks import graph_of, state, typed
from tests.kernel.test_loops import loop

F = float32
SOUND = Kernel(
    (Param(F, "in"), Param(F, "out")),
    (4, 3),
    (Load(0, Map((3, 1)), F), Reduce("sum", 0, (1,), F), Apply("sin", (1,), F)),
    (Store(1, Map((1, 0)), 2, (0,)),),
)


def test_a_sound_kernel() -> None:
    verify_kernel(SOUND)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (replace(SOUND, extents=(4, 1)), "fewer than two"),
        (replace(SOUND, values=(Load(0, Map((3,)), F), *SOUND.values[1:])), "one coefficient"),
        (replace(SOUND, values=(Load(2, Map((3, 1)), F), *SOUND.values[1:])), "no parameter 2"),
        (replace(SOUND, values=(Load(1, Map((3, 1)), F), *SOUND.values[1:])), "reads an output"),
        (replace(SOUND, values=(Load(0, Map((3, 1)), float64), *SOUND.values[1:])), "another dtype"),
        (replace(SOUND, values=(*SOUND.values[:2], Apply("sin", (2,), F))), "not there yet"),
        (replace(SOUND, values=(SOUND.values[0], Reduce("sum", 0, (2,), F), SOUND.values[2])), "reduces over"),
        (replace(SOUND, values=(SOUND.values[0], Reduce("argmax", 0, (1,), F), SOUND.values[2])), "int64"),
        (replace(SOUND, values=(SOUND.values[0], Reduce("any", 0, (1,), F), SOUND.values[2])), "any of"),
        (replace(SOUND, values=(SOUND.values[0], Scan(0, 2, False, F), SOUND.values[2])), "runs along"),
        (replace(SOUND, values=(SOUND.values[0], Gather(0, Map((0, 0)), 0, 1, F), SOUND.values[2])), "not int64"),
        (replace(SOUND, stores=(Store(1, Map((1, 0)), 0, (0,)),)), "depends on axes"),
        (replace(SOUND, stores=(Store(0, Map((1, 0)), 2, (0,)),)), "writes an input"),
        (replace(SOUND, stores=(Store(1, Map((1, 0)), 2, (0,), accumulate=True),)), "never reads"),
        (replace(SOUND, stores=(Store(1, Map((1, 0)), 7, (0,)),)), "no value 7"),
    ],
)
def test_a_broken_kernel(broken: Kernel, rule: str) -> None:
    with pytest.raises(VerificationError, match=rule):
        verify_kernel(broken)


def test_a_kernel_that_reads_what_it_overwrites_elsewhere() -> None:
    kernel = Kernel((Param(F, "inout"),), (4,), (Load(0, Map((-1,), 3), F),), (Store(0, Map((1,)), 0, (0,)),))
    with pytest.raises(VerificationError, match="other positions"):
        verify_kernel(kernel)


def _program() -> Program:
    b = Builder()
    x, s, i = b.input("x", typed(F, 5, 4)), b.input("s", typed(F, 4)), b.input("i", typed(int64, 5))

    def step(b: Builder, t: Node, s: Node, x: Node) -> tuple[list[Node], list[Node]]:
        y = b.op("add", s, x)
        return [y], [b.op("sum", y, axes=(0,), keepdims=False)]

    p = b.state(state("p", 4))
    last, sums = loop(b, step, 5, [s], [], [(x, 0, 4, -1)])
    kept = b.op("slice", last, starts=(1,), stops=(4,), steps=(1,))
    product = b.op("matmul", b.op("reshape", last, shape=(2, 2)), b.op("reshape", p, shape=(2, 2)))
    picked = b.op("take", b.op("take", sums, i, axis=0), b.op("argmax", x, axes=(1,), keepdims=False), axis=0)
    graph = graph_of(
        b, [x, s, i], b.op("concat", kept, picked, axis=0), product, updates=[(p, b.op("subtract", p, last))]
    )
    return lower_module(Module("m", {"f": graph}))


def test_a_program_as_text(golden: Callable[[str, str], None]) -> None:
    program = _program()
    verify_program(program)
    golden("kernel/program.txt", print_program(program))


def test_kernels_as_text() -> None:
    assert print_kernel(SOUND) == (
        "kernel(in p0: float32, out p1: float32) over i < 4, j < 3\n"
        "    v0: float32 i j = p0[3*i + j]\n"
        "    v1: float32 i = sum over j of v0\n"
        "    v2: float32 i = sin(v1)\n"
        "    for i: p1[i] = v2\n"
    )
    check = Intrinsic("check_index", (Param(int64, "in"),), (5, 3))
    assert print_kernel(check) == "intrinsic(in p0: int64) check_index[5, 3]\n"


def _with_call(program: Program, change: Callable[[Call], Call]) -> Program:
    """The program with the first call of its loop changed."""
    entry = program.entries["f"]
    steps = list(entry.steps)
    place = next(i for i, step in enumerate(steps) if isinstance(step, Loop))
    found = steps[place]
    assert isinstance(found, Loop) and isinstance(found.body[0], Call)
    steps[place] = Loop(found.trips, (change(found.body[0]), *found.body[1:]))
    return replace(program, entries={"f": replace(entry, steps=tuple(steps))})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda call: replace(call, args=call.args[:-1]), "one argument"),
        (lambda call: replace(call, args=(*call.args[:-1], Ref(0))), "the input"),
        (lambda call: replace(call, args=(Ref(0, 0, (4,)), *call.args[1:])), None),
        (lambda call: replace(call, args=(Ref(0, 4, (4,)), *call.args[1:])), "reaches elements 4 … 23"),
        (lambda call: replace(call, args=(Ref(0, 0, (-4,)), *call.args[1:])), "reaches elements -16"),
        (lambda call: replace(call, args=(Ref(0, 0, (4, 1)), *call.args[1:])), "not there"),
        (lambda call: replace(call, args=(call.args[-1], *call.args[1:])), "same memory"),
    ],
)
def test_a_broken_call(change: Callable[[Call], Call], rule: str | None) -> None:
    program = _with_call(_program(), change)
    if rule is None:
        verify_program(program)
        return
    with pytest.raises(VerificationError, match=rule):
        verify_program(program)


def test_a_check_after_state_has_been_written() -> None:
    program = _program()
    entry = program.entries["f"]
    checks = [
        step for step in entry.steps if isinstance(step, Call) and isinstance(program.kernels[step.kernel], Intrinsic)
    ]
    assert checks
    late = replace(program, entries={"f": replace(entry, steps=(*entry.steps, *checks))})
    with pytest.raises(VerificationError, match="after state has been written"):
        verify_program(late)
