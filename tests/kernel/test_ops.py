"""Every op lowered alone runs to what the reference evaluator computes."""

from collections.abc import Callable

import numpy as np
import pytest

from graphc.errors import GraphcIndexError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, registered_ops
from graphc.ir.types import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from graphc.kernel.lower import lower_module
from graphc.kernel.run import run_entry
from tests.kernel.checks import check_graph, graph_of, typed

Make = Callable[[Builder], Graph]


def _pointwise_cases() -> list[tuple[OpDef, DType]]:
    return [
        (op, element)
        for op in registered_ops()
        if op.kind is OpKind.POINTWISE and op.name not in ("cast", "select") and not op.user_defined
        for element in op.dtypes
    ]


@pytest.mark.parametrize(("op", "element"), _pointwise_cases(), ids=lambda value: getattr(value, "name", str(value)))
def test_pointwise(op: OpDef, element: DType) -> None:
    b = Builder()
    shapes = [(3, 4), (4,), (3, 1)][: op.arity]
    inputs = [b.input(f"x{i}", typed(element, *shape)) for i, shape in enumerate(shapes)]
    check_graph(graph_of(b, inputs, b.make(op, inputs)))


def _case(*inputs: tuple[DType, tuple[int, ...]]) -> Callable[[Callable[..., Node]], Make]:
    def wrap(function: Callable[..., Node]) -> Make:
        def make(b: Builder) -> Graph:
            nodes = [b.input(f"x{i}", typed(element, *shape)) for i, (element, shape) in enumerate(inputs)]
            made = function(b, *nodes)
            return graph_of(b, nodes, *(made if isinstance(made, tuple) else (made,)))

        return make

    return wrap


F = float32
ALONE: dict[str, Make] = {
    "select": _case((bool_, (3, 1)), (F, (3, 4)), (F, (4,)))(lambda b, c, x, y: b.op("select", c, x, y)),
    "iota": _case()(lambda b: b.op("iota", shape=(3, 4), axis=1, dtype=int64)),
    "iota narrow": _case()(lambda b: b.op("iota", shape=(300,), axis=0, dtype=uint8)),
    "iota half": _case()(lambda b: b.op("iota", shape=(5, 2), axis=0, dtype=float16)),
    "constant": _case()(lambda b: b.constant(np.arange(6.0).reshape(2, 3), F)),
    "constant uniform": _case()(lambda b: b.constant(np.full((2, 3), 7.0), F)),
    "constant scalar": _case()(lambda b: b.constant(2.5, float64)),
    "input itself": _case((F, (3, 4)))(lambda b, x: x),
    "sum all": _case((F, (3, 4, 5)))(lambda b, x: b.op("sum", x, axes=(0, 1, 2), keepdims=False)),
    "sum middle": _case((F, (3, 4, 5)))(lambda b, x: b.op("sum", x, axes=(1,), keepdims=True)),
    "sum outer": _case((F, (3, 4, 5)))(lambda b, x: b.op("sum", x, axes=(0, 2), keepdims=False)),
    "sum none": _case((F, (3, 4)))(lambda b, x: b.op("sum", x, axes=(), keepdims=False)),
    "sum of one": _case((F, (3, 1, 5)))(lambda b, x: b.op("sum", x, axes=(1,), keepdims=False)),
    "sum of nothing": _case((F, (3, 0)))(lambda b, x: b.op("sum", x, axes=(1,), keepdims=False)),
    "sum half": _case((float16, (3, 40)))(lambda b, x: b.op("sum", x, axes=(1,), keepdims=False)),
    "sum bfloat16": _case((bfloat16, (40, 3)))(lambda b, x: b.op("sum", x, axes=(0,), keepdims=False)),
    "sum int8": _case((int8, (3, 100)))(lambda b, x: b.op("sum", x, axes=(1,), keepdims=False)),
    "prod": _case((float64, (3, 4)))(lambda b, x: b.op("prod", x, axes=(1,), keepdims=False)),
    "prod of nothing": _case((int32, (0, 3)))(lambda b, x: b.op("prod", x, axes=(0,), keepdims=True)),
    "max": _case((F, (3, 4)))(lambda b, x: b.op("max", x, axes=(0,), keepdims=False)),
    "max half": _case((bfloat16, (3, 4)))(lambda b, x: b.op("max", x, axes=(0, 1), keepdims=False)),
    "min": _case((int32, (3, 4)))(lambda b, x: b.op("min", x, axes=(1,), keepdims=True)),
    "any": _case((bool_, (3, 4)))(lambda b, x: b.op("any", x, axes=(1,), keepdims=False)),
    "all": _case((bool_, (3, 4)))(lambda b, x: b.op("all", x, axes=(0,), keepdims=False)),
    "argmax": _case((F, (3, 4, 5)))(lambda b, x: b.op("argmax", x, axes=(1,), keepdims=False)),
    "argmax of one": _case((F, (3, 1)))(lambda b, x: b.op("argmax", x, axes=(1,), keepdims=True)),
    "argmin half": _case((float16, (3, 4)))(lambda b, x: b.op("argmin", x, axes=(0,), keepdims=True)),
    "cumsum": _case((F, (3, 4, 5)))(lambda b, x: b.op("cumsum", x, axis=1, reverse=False)),
    "cumsum reverse": _case((int32, (3, 4)))(lambda b, x: b.op("cumsum", x, axis=1, reverse=True)),
    "cumsum half": _case((float16, (30,)))(lambda b, x: b.op("cumsum", x, axis=0, reverse=False)),
    "cumsum of one": _case((F, (3, 1)))(lambda b, x: b.op("cumsum", x, axis=1, reverse=False)),
    "reshape": _case((F, (3, 4)))(lambda b, x: b.op("reshape", x, shape=(2, 6))),
    "reshape of transpose": _case((F, (3, 4)))(
        lambda b, x: b.op("reshape", b.op("transpose", x, permutation=(1, 0)), shape=(12,))
    ),
    "transpose": _case((F, (2, 3, 4)))(lambda b, x: b.op("transpose", x, permutation=(2, 0, 1))),
    "broadcast_to": _case((F, (3, 1)))(lambda b, x: b.op("broadcast_to", x, shape=(2, 3, 4))),
    "slice": _case((F, (7, 5)))(lambda b, x: b.op("slice", x, starts=(1, 0), stops=(7, 4), steps=(2, 3))),
    "slice empty": _case((F, (7, 5)))(lambda b, x: b.op("slice", x, starts=(7, 0), stops=(7, 5), steps=(1, 1))),
    "index": _case((F, (3, 4, 5)))(lambda b, x: b.op("index", x, axis=1, index=2)),
    "flip": _case((F, (3, 4)))(lambda b, x: b.op("flip", x, axes=(0, 1))),
    "concat": _case((F, (3, 2)), (F, (3, 1)), (F, (3, 4)))(lambda b, *xs: b.op("concat", *xs, axis=1)),
    "concat twice the same": _case((F, (3, 2)))(lambda b, x: b.op("concat", x, x, axis=0)),
    "concat of constants": _case()(lambda b: b.op("concat", b.constant([1.0], F), b.constant([1.0, 1.0], F), axis=0)),
    "stack": _case((F, (3, 2)), (F, (3, 2)))(lambda b, x, y: b.op("stack", x, b.op("exp", y), axis=1)),
    "pad": _case((F, (3, 2)), (F, ()))(lambda b, x, v: b.op("pad", x, v, low=(1, 0), high=(2, 3))),
    "pad constant": _case((F, (3, 2)))(
        lambda b, x: b.op("pad", b.op("exp", x), b.constant(-1, F), low=(0, 2), high=(1, 0))
    ),
    "patches": _case((F, (2, 7, 6)))(
        lambda b, x: b.op("patches", x, axes=(1, 2), window=(3, 2), strides=(2, 1), dilation=(1, 2))
    ),
    "matmul": _case((F, (3, 4)), (F, (4, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul batch": _case((F, (2, 1, 3, 4)), (F, (6, 4, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul half": _case((float16, (3, 40)), (float16, (40, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul int": _case((int8, (3, 40)), (int8, (40, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul thin": _case((F, (1, 4)), (F, (4, 1)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul outer": _case((F, (3, 1)), (F, (1, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul of nothing": _case((F, (3, 0)), (F, (0, 5)))(lambda b, x, y: b.op("matmul", x, y)),
    "matmul transposed result": _case((F, (3, 4)), (F, (4, 5)))(
        lambda b, x, y: b.op("transpose", b.op("matmul", x, y), permutation=(1, 0))
    ),
    "einsum": _case((F, (2, 3, 4)), (F, (4, 5, 2)))(lambda b, x, y: b.op("einsum", x, y, subscripts="bik,kjb->jbi")),
    "einsum full": _case((F, (3, 4)), (F, (3, 4)))(lambda b, x, y: b.op("einsum", x, y, subscripts="ij,ij->")),
    "einsum windows": _case((F, (2, 6, 3)), (F, (2, 3, 4)))(
        lambda b, x, w: b.op(
            "einsum",
            b.op("patches", x, axes=(1,), window=(2,), strides=(2,), dilation=(1,)),
            w,
            subscripts="npck,kco->npo",
        )
    ),
    "argsort": _case((F, (3, 4, 5)))(lambda b, x: b.op("argsort", x, axis=1, descending=False)),
    "argsort descending": _case((uint8, (6,)))(lambda b, x: b.op("argsort", x, axis=0, descending=True)),
    "argsort half": _case((bfloat16, (2, 6)))(lambda b, x: b.op("argsort", x, axis=1, descending=True)),
    "random_uniform": _case((int64, (2,)))(lambda b, key: b.op("random_uniform", key, shape=(3, 5), stream=7, dtype=F)),
    "random_uniform double": _case((int64, (2,)))(
        lambda b, key: b.op("random_uniform", key, shape=(7,), stream=0, dtype=float64)
    ),
    "stop_gradient": _case((F, (3,)))(lambda b, x: b.op("stop_gradient", x)),
}
for _strides in (1, 2, 3):
    ALONE[f"fold_patches {_strides}"] = _case((F, (2, (6 - 2) // _strides + 1, 3, 2)))(
        lambda b, g, s=_strides: b.op(
            "fold_patches", g, axes=(1,), window=(2,), strides=(s,), dilation=(1,), shape=(2, 6, 3)
        )
    )
ALONE["fold_patches half"] = _case((float16, (4, 3, 2, 2)))(
    lambda b, g: b.op("fold_patches", g, axes=(0, 1), window=(2, 2), strides=(1, 1), dilation=(2, 1), shape=(6, 4))
)


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    check_graph(ALONE[name](Builder()))


@pytest.mark.parametrize("name", ALONE)
def test_inside_arithmetic(name: str) -> None:
    """The same op as the operand and the result of pointwise work."""
    graph = ALONE[name](Builder())
    b = Builder()
    table: dict[Node, Node] = {}
    for node in graph.nodes:
        made = b.make(node.op, [table[operand] for operand in node.inputs], node.attrs)
        if node.op.name == "input" and node.dtype.is_float:
            made = b.op("negative", made)
        table[node] = made
    outputs = [table[node] for node in graph.output_nodes]
    outputs = [b.op("logical_not", node) if node.dtype is bool_ else b.op("add", node, node) for node in outputs]
    inputs = [b.input(node.attrs["name"], node.tensor) for node in graph.inputs]
    check_graph(graph_of(b, inputs, *outputs))


CASTS = [
    (source, target)
    for source in (F, float16, bfloat16, int8, int64, bool_)
    for target in (float64, bfloat16, uint8, bool_, int32)
]


@pytest.mark.parametrize(("source", "target"), CASTS, ids=str)
def test_cast(source: DType, target: DType) -> None:
    b = Builder()
    x = b.input("x", typed(source, 3, 4))
    check_graph(graph_of(b, [x], b.op("cast", x, dtype=target)))


# -- indices from the data -----------------------------------------------------------------------------------------


def _indices(shape: tuple[int, ...], limit: int, element: DType = int64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, limit, shape).astype(element.storage)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("element", [int64, int32, uint8], ids=str)
def test_take(axis: int, element: DType) -> None:
    b = Builder()
    x, i = b.input("x", typed(F, 3, 4, 5)), b.input("i", typed(element, 2, 6))
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    check_graph(graph_of(b, [x, i], b.op("take", x, i, axis=axis)), [values, _indices((2, 6), 3 + axis, element)])


@pytest.mark.parametrize("axis", [0, 1])
def test_take_along_axis(axis: int) -> None:
    b = Builder()
    shape = (3, 7) if axis else (7, 4)
    x, i = b.input("x", typed(F, 3, 4)), b.input("i", typed(int64, *shape))
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph = graph_of(b, [x, i], b.op("take_along_axis", x, i, axis=axis))
    check_graph(graph, [values, _indices(shape, 3 + axis)])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("element", [F, float16, int32], ids=str)
def test_scatter_add(axis: int, element: DType) -> None:
    b = Builder()
    base, i = b.input("base", typed(element, 3, 4)), b.input("i", typed(int64, 2, 5))
    shape = (2, 5, 4) if axis == 0 else (3, 2, 5)
    updates = b.input("u", typed(element, *shape))
    rng = np.random.default_rng(2)
    arrays = [rng.integers(0, 9, s).astype(element.storage) for s in ((3, 4), shape)]
    graph = graph_of(b, [base, i, updates], b.op("scatter_add", base, i, updates, axis=axis))
    check_graph(graph, [arrays[0], _indices((2, 5), 3 + axis), arrays[1]])


@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_add_along_axis(axis: int) -> None:
    b = Builder()
    shape = (3, 7) if axis else (7, 4)
    base, i, updates = (
        b.input("base", typed(F, 3, 4)),
        b.input("i", typed(int32, *shape)),
        b.input("u", typed(F, *shape)),
    )
    rng = np.random.default_rng(2)
    arrays = [rng.integers(0, 9, s).astype(np.float32) for s in ((3, 4), shape)]
    graph = graph_of(b, [base, i, updates], b.op("scatter_add_along_axis", base, i, updates, axis=axis))
    check_graph(graph, [arrays[0], _indices(shape, 3 + axis, int32), arrays[1]])


def test_constant_indices() -> None:
    b = Builder()
    x = b.input("x", typed(F, 3, 4))
    outputs = [b.op("take", x, b.constant(value, int64), axis=0) for value in (2, [1, 1], [0, 2, 1])]
    check_graph(graph_of(b, [x], *outputs))


@pytest.mark.parametrize("bad", [-1, 3])
def test_an_index_out_of_range_is_an_error(bad: int) -> None:
    b = Builder()
    x, i = b.input("x", typed(F, 3)), b.input("i", typed(int64, 4))
    program = lower_module(Module("m", {"f": graph_of(b, [x, i], b.op("take", x, i, axis=0))}))
    with pytest.raises(GraphcIndexError, match=rf"index {bad} at position 2 is not in \[0, 3\)"):
        run_entry(program, "f", [np.ones(3, np.float32), np.array([0, 1, bad, bad])])


def test_indices_known_to_fit_are_not_checked() -> None:
    b = Builder()
    x = b.input("x", typed(F, 4))
    order = b.op("argsort", x, axis=0, descending=False)
    best = b.op("argmax", x, axes=(0,), keepdims=True)
    taken = [b.op("take", x, indices, axis=0) for indices in (order, best, b.constant([3, 0], int64))]
    program = check_graph(graph_of(b, [x], *taken))
    assert not [kernel for kernel in program.kernels if kernel.name.startswith("check_index")]
