"""Values are written where their readers want them, in the order that these want."""

import numpy as np

from graphc.backends.llvm.calls import walk
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import float32, int64
from graphc.kernel.loopir import Kernel, Load
from graphc.kernel.program import Call, Program
from tests.kernel.checks import check_graph, graph_of, typed
from tests.kernel.test_loops import loop


def copies(program: Program) -> int:
    """Calls that only move elements."""
    called = [step for step in walk(program.entries["f"].steps) if isinstance(step, Call)]
    kernels = [program.kernels[call.kernel] for call in called]
    return sum(isinstance(kernel, Kernel) and all(isinstance(v, Load) for v in kernel.values) for kernel in kernels)


def rows(b: Builder, x: Node, permutation: tuple[int, ...]) -> Node:
    """A product with all rows of ``x`` after an exchange of axes."""
    exchanged = b.op("transpose", x, permutation=permutation)
    *outer, last = exchanged.tensor.static_shape
    count = 1
    for extent in outer:
        count *= extent
    flat = b.op("reshape", exchanged, shape=(count, last))
    return b.op("matmul", flat, b.op("broadcast_to", b.constant(0.5, float32), shape=(last, 3)))


def embedded(b: Builder) -> tuple[list[Node], Node]:
    table, ids = b.input("table", typed(float32, 9, 4)), b.input("ids", typed(int64, 5, 6))
    return [table, ids], b.op("take", table, ids, axis=0)


def check(b: Builder, inputs: list[Node], *outputs: Node) -> Program:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((9, 4)).astype(np.float32), rng.integers(0, 9, (5, 6))]
    return check_graph(graph_of(b, inputs, *outputs), arrays)


def test_an_embedding_is_written_steps_first() -> None:
    b = Builder()
    inputs, words = embedded(b)
    assert copies(check(b, inputs, rows(b, words, (1, 0, 2)))) == 0


def test_results_of_a_loop_are_written_batch_first() -> None:
    def step(b: Builder, t: Node, state: Node, x: Node) -> tuple[list[Node], list[Node]]:
        following = b.op("tanh", b.op("add", state, x))
        return [following], [b.op("square", following)]

    b = Builder()
    x, start = b.input("x", typed(float32, 7, 2, 4)), b.input("start", typed(float32, 2, 4))
    _, states = loop(b, step, 7, [start], sequences=[(x, 0, 0, 1)])
    flat = check_graph(graph_of(b, [x, start], rows(b, states, (0, 1, 2))))
    assert copies(check_graph(graph_of(b, [x, start], rows(b, states, (1, 0, 2))))) == copies(flat)


def test_what_others_read_as_it_was_stays_so() -> None:
    b = Builder()
    inputs, words = embedded(b)
    check(b, inputs, rows(b, words, (1, 0, 2)), b.op("tanh", words))


def test_columns_are_not_written_as_rows() -> None:
    """Written in the new order, each element would lie in a line of its own: a copy is faster."""
    b = Builder()
    inputs, words = embedded(b)
    assert copies(check(b, inputs, rows(b, words, (0, 2, 1)))) == 1
