"""Fused bodies become one kernel where they fit one domain, and are lowered node by node where they do not."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import DType, TensorType, bfloat16, float16, float32, float64, int64
from graphc.kernel.loopir import Kernel, Reduce
from graphc.kernel.program import Program
from tests.kernel.checks import check_graph, graph_of, typed

F = float32
Body = Callable[..., Node | Sequence[Node]]


def fused(body: Body, *types: TensorType) -> Graph:
    """A graph that is one ``fused`` node of ``body``."""
    inner = Builder()
    inner_inputs = [inner.input(f"p{i}", type_) for i, type_ in enumerate(types)]
    made = body(inner, *inner_inputs)
    outputs = (made,) if isinstance(made, Node) else tuple(made)
    region = graph_of(inner, inner_inputs, *outputs)
    b = Builder()
    inputs = [b.input(f"x{i}", type_) for i, type_ in enumerate(types)]
    node = b.op("fused", *inputs, body=region)
    results = [node] if isinstance(made, Node) else [b.op("result", node, index=i) for i in range(len(outputs))]
    return graph_of(b, inputs, *results)


def kernels_of(program: Program) -> list[Kernel]:
    return [kernel for kernel in program.kernels if isinstance(kernel, Kernel)]


@pytest.mark.parametrize("element", [F, float64, float16, bfloat16], ids=str)
def test_a_pointwise_body_is_one_flat_loop(element: DType) -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        return b.op("tanh", b.op("add", b.op("multiply", x, y), b.constant(0.5, element)))

    (kernel,) = kernels_of(check_graph(fused(body, typed(element, 32, 16), typed(element, 32, 16))))
    assert kernel.extents == (512,)


def test_several_results_of_one_shape_share_the_loop() -> None:
    def body(b: Builder, x: Node, y: Node) -> Sequence[Node]:
        s = b.op("add", x, y)
        return s, b.op("exp", s), b.op("multiply", s, x)

    (kernel,) = kernels_of(check_graph(fused(body, typed(F, 3, 4), typed(F, 4))))
    assert len(kernel.stores) == 3


def test_a_reduction_with_prologue_and_epilogue_is_one_kernel() -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        total = b.op("sum", b.op("multiply", x, y), axes=(1,), keepdims=False)
        return b.op("sqrt", b.op("abs", total))

    (kernel,) = kernels_of(check_graph(fused(body, typed(F, 5, 6, 3), typed(F, 6, 3))))
    assert kernel.extents == (5, 3, 6)


def test_prologue_and_reduction_are_both_stored() -> None:
    def body(b: Builder, x: Node) -> Sequence[Node]:
        y = b.op("exp", x)
        return b.op("sum", y, axes=(0,), keepdims=True), y

    (kernel,) = kernels_of(check_graph(fused(body, typed(F, 5, 5))))
    assert kernel.extents == (5, 5)


def test_softmax_walks_its_rows_again() -> None:
    def body(b: Builder, x: Node) -> Node:
        e = b.op("exp", b.op("subtract", x, b.op("max", x, axes=(1,), keepdims=True)))
        return b.op("divide", e, b.op("sum", e, axes=(1,), keepdims=True))

    (kernel,) = kernels_of(check_graph(fused(body, typed(F, 5, 7))))
    assert kernel.extents == (5, 7)
    assert sum(isinstance(value, Reduce) for value in kernel.values) == 2


@pytest.mark.parametrize("element", [F, float16, bfloat16], ids=str)
def test_a_contraction_with_epilogue(element: DType) -> None:
    def body(b: Builder, x: Node, w: Node, bias: Node) -> Node:
        return b.op("relu", b.op("add", b.op("matmul", x, w), bias))

    (kernel,) = kernels_of(check_graph(fused(body, typed(element, 5, 6), typed(element, 6, 7), typed(element, 7))))
    assert kernel.extents == (5, 7, 6)


def test_movement_inside_becomes_the_loads_own() -> None:
    def body(b: Builder, x: Node, y: Node) -> Node:
        left = b.op("slice", b.op("transpose", x, permutation=(1, 0)), starts=(1, 0), stops=(4, 6), steps=(1, 1))
        right = b.op("flip", b.op("broadcast_to", b.op("reshape", y, shape=(3, 1)), shape=(3, 6)), axes=(0,))
        return b.op("negative", b.op("add", left, right))

    (kernel,) = kernels_of(check_graph(fused(body, typed(F, 6, 5), typed(F, 3))))
    assert all(not value.map.offset for value in kernel.values if hasattr(value, "map"))


def test_movement_of_computed_values() -> None:
    def body(b: Builder, x: Node) -> Node:
        y = b.op("exp", x)
        moved = [
            b.op("reshape", b.op("index", y, axis=0, index=1), shape=(2, 1, 2, 1)),
            b.op(
                "reshape",
                b.op("transpose", b.op("index", b.op("flip", y, axes=(0, 2)), axis=0, index=0), permutation=(1, 0)),
                shape=(2, 2, 1, 1),
            ),
            b.op("reshape", b.op("slice", y, starts=(0, 0, 0), stops=(1, 2, 2), steps=(1, 1, 1)), shape=(2, 2, 1, 1)),
        ]
        return b.op("add", b.op("add", moved[0], moved[1]), moved[2])

    assert len(check_graph(fused(body, typed(F, 2, 2, 2))).kernels) == 1


def test_constants_positions_and_random_numbers_inside() -> None:
    def body(b: Builder, key: Node, x: Node) -> Node:
        table = b.constant(np.arange(12.0).reshape(3, 4), F)
        column = b.op("iota", shape=(3, 4), axis=1, dtype=F)
        noise = b.op("random_uniform", key, shape=(3, 4), stream=3, dtype=F)
        return b.op("add", b.op("multiply", b.op("add", x, column), table), noise)

    assert len(check_graph(fused(body, typed(int64, 2), typed(F, 3, 4))).kernels) == 1


@pytest.mark.parametrize("case", ["transposed result", "two shapes", "stack inside", "split axis", "take inside"])
def test_a_body_that_is_no_kernel_is_lowered_node_by_node(case: str) -> None:
    def body(b: Builder, x: Node, y: Node) -> Node | Sequence[Node]:
        e = b.op("exp", x)
        match case:
            case "transposed result":
                return e, b.op("add", b.op("transpose", b.op("tanh", x), permutation=(1, 0)), y)
            case "two shapes":
                return e, b.op("exp", b.op("index", y, axis=0, index=0))
            case "stack inside":
                return b.op("sum", b.op("stack", e, x, axis=0), axes=(0,), keepdims=False)
            case "split axis":
                return b.op(
                    "add", b.op("reshape", b.op("transpose", e, permutation=(1, 0)), shape=(12,)), b.constant(1, F)
                )
            case _:
                return b.op(
                    "take",
                    e,
                    b.op("cast", b.op("reshape", b.op("floor", b.op("sigmoid", y)), shape=(12,)), dtype=int64),
                    axis=0,
                )

    check_graph(fused(body, typed(F, 3, 4), typed(F, 4, 3)))


def test_equal_bodies_on_other_memory_are_one_kernel() -> None:
    inner = Builder()
    p, q = inner.input("p", typed(F, 4)), inner.input("q", typed(F, 4))
    region = graph_of(inner, [p, q], inner.op("tanh", inner.op("add", p, q)))
    b = Builder()
    x = b.input("x", typed(F, 9, 4))
    value = b.op("index", x, axis=0, index=0)
    for step in range(1, 9):
        value = b.op("fused", value, b.op("index", x, axis=0, index=step), body=region)
    program = check_graph(graph_of(b, [x], value))
    assert len(program.kernels) == 1
    assert len(program.entries["f"].steps) == 8


def test_a_deep_body_needs_no_recursion() -> None:
    def body(b: Builder, x: Node) -> Node:
        for _ in range(3000):
            x = b.op("sin", x)
        return x

    assert len(check_graph(fused(body, typed(F, 3))).kernels) == 1


def test_an_operand_read_by_columns_and_by_rows() -> None:
    """x_k · y_i and x_i + z_ik: where x is read for the product says nothing of where the sum is stored."""

    def body(b: Builder, x: Node, y: Node) -> Sequence[Node]:
        product = b.op("einsum", y, x, subscripts="ij,kj->ik")
        total = b.op("add", x, b.op("square", product))
        return product, total, b.op("tanh", total)

    check_graph(fused(body, typed(F, 5, 1), typed(F, 5, 1)))


def test_a_result_of_which_another_needs_a_part() -> None:
    """One row of y makes z: y is stored whole all the same."""

    def body(b: Builder, x: Node, w: Node) -> Sequence[Node]:
        y = b.op("exp", x)
        row = b.op("index", y, axis=0, index=1)
        return b.op("multiply", w, row), y

    check_graph(fused(body, typed(F, 3, 4), typed(F, 6, 4)))
