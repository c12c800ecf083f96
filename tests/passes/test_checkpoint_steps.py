"""checkpoint_steps: ops over all steps move into the loops that read them, and sums over the steps become loops."""

from collections.abc import Callable

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.types import bfloat16, float64, int64, tensor_type
from graphc.ir.verify import verify
from graphc.ops.loop_parts import make_loop
from graphc.passes.checkpoint_jam import jammed
from graphc.passes.checkpoint_steps import stepped

STEPS = 14


def cell(width: int) -> Graph:
    """c ← tanh(c / 2 + s), which it stacks, for rows of ``width``."""
    b = Builder()
    row = tensor_type(float64, (3, width))
    t, c, s = b.input("t", tensor_type(int64)), b.input("c0", row), b.input("s0", row)
    following = b.op("tanh", b.op("add", b.op("multiply", c, b.constant(0.5, float64)), s))
    return Graph.make("body", [t, c, s], [("c0", following), ("y0", following)], builder=b)


def between(make: Callable[[Builder, Node, Node], Node]) -> Graph:
    """What one loop stacks goes through ``make``, with the input ``w``, and is read by another."""
    b = Builder()
    x, w = b.input("x", tensor_type(float64, (STEPS, 3, 4))), b.input("w", tensor_type(float64, (4, 4)))
    zero = b.op("broadcast_to", b.constant(0, float64), shape=(3, 4))
    _, rows = make_loop(b, STEPS, cell(4), [zero], [], [x], [(0, 0, 1)])
    made = make(b, rows, w)
    trips, width = made.shape[0], made.shape[2]
    start = b.op("broadcast_to", b.constant(0, float64), shape=(3, width))
    last, _ = make_loop(b, trips, cell(width), [start], [], [made], [(0, 0, 1)])
    edge = b.op("index", made, axis=0, index=2)
    return Graph.make("between", [x, w], [("last", last), ("edge", edge)], builder=b)


def assert_same(graph: Graph, changed: Graph) -> None:
    verify(changed)
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal(node.shape) for node in graph.inputs]
    expected, _ = evaluate(graph, inputs)
    found, _ = evaluate(changed, inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-13)


def ends(b: Builder, rows: Node, low: int, high: int) -> Node:
    return b.op("slice", rows, starts=(low, 0, 0), stops=(high, 3, 4), steps=(1, 1, 1))


OPS: dict[str, Callable[[Builder, Node, Node], Node]] = {
    "pointwise": lambda b, rows, w: b.op("multiply", rows, b.op("exp", rows)),
    "a row for all steps": lambda b, rows, w: b.op("add", rows, b.op("index", w, axis=0, index=1)),
    "an axis of length 1": lambda b, rows, w: b.op(
        "add", rows, b.op("reshape", b.op("index", w, axis=0, index=1), shape=(1, 1, 4))
    ),
    "a product": lambda b, rows, w: b.op("matmul", rows, w),
    "softmax": lambda b, rows, w: b.op(
        "divide", b.op("exp", rows), b.op("sum", b.op("exp", rows), axes=(2,), keepdims=True)
    ),
    "movement": lambda b, rows, w: b.op(
        "reshape",
        b.op("transpose", b.op("concat", rows, b.op("negative", rows), axis=1), permutation=(0, 2, 1)),
        shape=(STEPS, 3, 8),
    ),
    "a part of each row": lambda b, rows, w: b.op(
        "slice", rows, starts=(0, 0, 1), stops=(STEPS, 3, 3), steps=(1, 1, 1)
    ),
    "twice backwards": lambda b, rows, w: b.op(
        "flip", b.op("tanh", b.op("flip", b.op("sin", rows), axes=(0,))), axes=(0,)
    ),
    "steps left out": lambda b, rows, w: b.op("tanh", ends(b, rows, 1, STEPS)),
    "other steps at the ends": lambda b, rows, w: b.op(
        "tanh",
        b.op("concat", *(ends(b, rows, *steps) for steps in ((1, 2), (0, 1), (2, STEPS - 1), (0, 1))), axis=0),
    ),
}


@pytest.mark.parametrize("kind", OPS)
def test_ops_between_loops_are_part_of_the_second(kind: str) -> None:
    graph = between(OPS[kind])
    changed = stepped(graph, 4)
    assert_same(graph, changed)
    assert not _whole(changed), "nothing but loops makes values of all steps"
    joined = jammed(changed, 4)
    assert_same(graph, joined)
    assert sum(node.op.name == "loop" for node in joined.nodes) == 1


def _whole(graph: Graph) -> list[Node]:
    """Values of many steps that no loop makes."""
    values = [node for node in graph.nodes if node.op.name not in ("input", "loop", "result", "stack")]
    return [node for node in values if node.rank == 3 and node.shape[0] > 4]


@pytest.mark.parametrize("backwards", [False, True])
def test_sums_over_the_steps_are_loops(backwards: bool) -> None:
    b = Builder()
    x = b.input("x", tensor_type(float64, (STEPS, 3, 4)))
    zero = b.op("broadcast_to", b.constant(0, float64), shape=(3, 4))
    _, rows = make_loop(b, STEPS, cell(4), [zero], [], [x], [(0, STEPS - 1, -1) if backwards else (0, 0, 1)])
    rows = b.op("flip", rows, axes=(0,)) if backwards else rows
    left, right = (b.op("reshape", one, shape=(3 * STEPS, 4)) for one in (rows, b.op("square", rows)))
    outputs = {
        "product": b.op("matmul", b.op("transpose", left, permutation=(1, 0)), right),
        "columns": b.op("sum", b.op("exp", rows), axes=(0, 1), keepdims=False),
        "steps": b.op("sum", rows, axes=(0,), keepdims=False),
        "kept": b.op("sum", rows, axes=(0,), keepdims=True),
    }
    graph = Graph.make("sums", [x], outputs.items(), builder=b)
    changed = jammed(stepped(graph, 4), 4)
    assert_same(graph, changed)
    (loop,) = [node for node in changed.nodes if node.op.name == "loop"]
    assert loop.attrs["carries"] == 4, "its own, and a sum each but for that whose axis is kept"


def test_what_no_loop_makes_or_too_few_steps_have_stays() -> None:
    graph = between(OPS["pointwise"])
    assert stepped(graph, STEPS + 1) is graph
    b = Builder()
    x = b.input("x", tensor_type(float64, (STEPS, 3, 4)))
    zero = b.op("broadcast_to", b.constant(0, float64), shape=(3, 4))
    last, _ = make_loop(b, STEPS, cell(4), [zero], [], [b.op("exp", x)], [(0, 0, 1)])
    plain = Graph.make("plain", [x], [("last", last)], builder=b)
    assert stepped(plain, 4) is plain


def test_sums_of_half_precision_are_rounded_once_at_the_end() -> None:
    graph = between(lambda b, rows, w: rows)
    b = Builder()
    for node in graph.nodes:
        b.remember(node)
    rows = next(node for node in graph.nodes if node.op.name == "result" and node.rank == 3)
    half = b.op("sum", b.op("cast", rows, dtype=bfloat16), axes=(0,), keepdims=False)
    whole = Graph.make("half", graph.inputs, [("half", half)], builder=b)
    assert any(node.op.name == "sum" for node in stepped(whole, 4).nodes)
