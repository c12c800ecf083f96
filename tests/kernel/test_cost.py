"""What kernels cost at least: counts that can be done by hand, working sets, and the roofs."""

import numpy as np
import pytest

import graphc as G
from graphc.driver import lower
from graphc.ir.types import float32, int64
from graphc.kernel.cost import Cost, Level, Machine, calls_with_working_sets, entry_cost, kernel_cost, kernel_traffic
from graphc.kernel.loopir import Intrinsic, Param
from graphc.kernel.program import Call


def program_of(**outputs):
    return lower(G.Model(**outputs).module)


def only_kernel(output):
    [kernel] = program_of(f=output).kernels
    return kernel


def test_a_product_is_one_instruction_a_term():
    kernel = only_kernel(G.input("x", (8, 16)) @ G.input("w", (16, 4)))
    assert kernel_cost(kernel) == Cost(2 * 8 * 16 * 4, 8 * 16 * 4, 8 * 16 * 4, 4 * (8 * 16 + 16 * 4), 4 * 8 * 4)


def test_an_element_of_64_bits_takes_two_slots():
    x = G.input("x", (10,), dtype="float64")
    assert kernel_cost(only_kernel(x + 1.0)) == Cost(10, 20, 0, 80, 80)


def test_a_product_that_is_also_wanted_itself_is_not_for_nothing():
    x = G.input("x", (10,))
    fused = kernel_cost(only_kernel(x * 3.0 + 1.0))
    assert (fused.flops, fused.slots, fused.products) == (20, 10, 10)
    twice = x * 3.0
    # One of two sums can take the product along, had it no other reader.
    both = kernel_cost(only_kernel((twice + 1.0) * twice))
    assert (both.flops, both.slots) == (30, 30)


def test_elementary_functions_count_once_and_take_what_their_code_takes():
    kernel = only_kernel(G.exp(G.input("x", (10,))))
    assert kernel_cost(kernel) == Cost(10, 10, 0, 40, 40)
    assert kernel_cost(kernel, {"exp": 20.0}, {"exp": 11.0}) == Cost(10, 200, 110, 40, 40)


def test_what_is_read_several_times_is_read_once():
    x = G.input("x", (6, 5))
    assert kernel_cost(only_kernel(x * x + x)).read == 4 * 30
    broadcast = kernel_cost(only_kernel(x + G.input("b", (5,))))
    assert broadcast.read == 4 * (30 + 5)
    windows = kernel_cost(only_kernel(G.conv1d(G.input("s", (1, 20, 1)), G.input("k", (3, 1, 4)))))
    assert windows.flops == 2 * 18 * 3 * 4
    assert windows.read == 4 * (20 + 3 * 4)


def test_integers_are_no_floating_point():
    x = G.input("x", (10,), dtype="int64")
    assert kernel_cost(only_kernel(x + 1)).flops == 0
    assert kernel_cost(only_kernel(G.input("y", (10,)) > 0.0)).flops == 0


def test_a_lookup_reads_what_it_looks_up():
    table, index = G.input("table", (1000, 8)), G.input("index", (5,), dtype="int64")
    check, take = program_of(f=G.take(table, index, axis=0)).kernels
    assert kernel_cost(check) == Cost(0, 10, 0, 40, 0)
    assert kernel_cost(take).read == 5 * 8 * 4 + 5 * 8
    assert kernel_cost(take).written == 5 * 8 * 4


def test_sorting():
    sort = Intrinsic("argsort", (Param(float32, "in"), Param(int64, "out"), Param(int64, "out")), (2, 8, 3, 0))
    assert kernel_traffic(sort) == ((192, 0), (0, 384), (0, 384))
    assert kernel_cost(sort).slots == 2 * 48 * 3


def recurrent(steps=20, rows=4, hidden=8):
    x, w = G.input("x", (steps, rows, hidden)), G.parameter("w", np.ones((hidden, hidden), "float32"))
    h = G.zeros((rows, hidden))
    for step in range(steps):
        h = G.tanh(x[step] + h @ w)
    return h


def test_a_loop_counts_each_trip():
    cost = entry_cost(program := program_of(f=recurrent()), program.entries["f"])
    assert cost.flops == 20 * (2 * 4 * 8 * 8 + 2 * 4 * 8)
    assert cost.products == 20 * 4 * 8 * 8


def test_a_working_set_is_what_is_touched_until_the_next_run():
    program = program_of(f=recurrent())
    found = [
        (program.kernels[step.kernel].name, runs, nbytes)
        for step, runs, nbytes in calls_with_working_sets(program, program.entries["f"])
        if isinstance(step, Call)
    ]
    inside = {(runs, nbytes) for _, runs, nbytes in found if runs == 20}
    # In the loop: a step of x, the state twice (old and new), the weights.
    assert inside == {(20, 4 * (32 + 2 * 32 + 64))}
    [around] = {nbytes for _, runs, nbytes in found if runs == 1}
    # Around it: all of x, and the same memory again.
    assert around == 4 * (20 * 32 + 2 * 32 + 64)


MACHINE = Machine(
    flops=2e9,
    slots=1.5e9,
    levels=(Level(1000, 4e9, 2e9), Level(float("inf"), 1e9, 0.5e9)),
    instructions={},
    products={},
)


@pytest.mark.parametrize(
    ("cost", "working_set", "expected"),
    [
        (Cost(slots=3e9, products=1e9), 10, (2.0, "arithmetic")),  # by all instructions
        (Cost(slots=3e9, products=3e9), 10, (3.0, "arithmetic")),  # by those that multiply
        (Cost(slots=3e9, read=int(12e9)), 1000, (3.0, "reading")),
        (Cost(slots=3e9, read=int(12e9)), 1001, (12.0, "reading")),
        (Cost(slots=3e9, written=int(12e9)), 1001, (24.0, "writing")),
    ],
)
def test_the_lowest_roof_counts(cost, working_set, expected):
    assert MACHINE.least_seconds(cost, working_set) == expected
