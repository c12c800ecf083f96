"""simplify and fold: each rule by its equation, and exactness down to the sign of zero."""

from collections.abc import Callable

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import get_op
from graphc.ir.types import DType, bfloat16, bool_, float16, float32, float64, int32, tensor_type
from graphc.ir.verify import verify
from graphc.passes.fold import Fold
from graphc.passes.simplify import Simplify

Build = Callable[[Builder, Node], Node]

SPECIAL = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e-42], np.float32)


def graph_of(build: Build, dtype: DType = float32, shape: tuple[int, ...] = (8,)) -> Graph:
    b = Builder()
    x = b.input("x", tensor_type(dtype, shape))
    return Graph.make("f", [x], [("y", build(b, x))], builder=b)


def ops(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes if node.op.name not in ("input", "constant")]


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal bits, but for the sign and payload of a NaN."""
    canonical = [np.where(np.isnan(a), np.float32(np.nan), a) if a.dtype.kind == "f" else a for a in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and canonical[0].tobytes() == canonical[1].tobytes()


EXACT: dict[str, tuple[Build, list[str]]] = {
    "x − 0 = x": (lambda b, x: b.op("subtract", x, b.constant(0.0, x.dtype)), []),
    "x · 1 = x": (lambda b, x: b.op("multiply", b.constant(1.0, x.dtype), x), []),
    "x · −1 = −x": (lambda b, x: b.op("multiply", x, b.constant(-1.0, x.dtype)), ["negative"]),
    "x / 1 = x": (lambda b, x: b.op("divide", x, b.constant(1.0, x.dtype)), []),
    "x / 8 = x · 0.125": (lambda b, x: b.op("divide", x, b.constant(8.0, x.dtype)), ["multiply"]),
    "x¹ = x": (lambda b, x: b.op("pow", x, b.constant(1.0, x.dtype)), []),
    "x⁻¹ = 1 / x": (lambda b, x: b.op("pow", x, b.constant(-1.0, x.dtype)), ["reciprocal"]),
    "−(−x) = x": (lambda b, x: b.op("negative", b.op("negative", x)), []),
    "flip of flip": (lambda b, x: b.op("flip", b.op("flip", x, axes=(0,)), axes=(0,)), []),
    "select of reshape": (
        lambda b, x: b.op(
            "select",
            b.op("greater", b.op("reshape", x, shape=(2, 4)), b.constant(0.0, x.dtype)),
            b.op("reshape", b.op("abs", x), shape=(2, 4)),
            b.constant(0.0, x.dtype),
        ),
        ["reshape", "greater", "abs", "reshape", "select", "reshape"],
    ),
    "reshape of reshape": (lambda b, x: b.op("reshape", b.op("reshape", x, shape=(2, 4)), shape=(8,)), []),
    "slice of everything": (lambda b, x: b.op("slice", x, starts=(0,), stops=(8,), steps=(1,)), []),
    "slice of slice": (
        lambda b, x: b.op(
            "slice", b.op("slice", x, starts=(1,), stops=(8,), steps=(2,)), starts=(1,), stops=(4,), steps=(2,)
        ),
        ["slice"],
    ),
    "index of stack": (lambda b, x: b.op("index", b.op("stack", b.op("abs", x), x, axis=0), axis=0, index=1), []),
    "stack of every index": (
        lambda b, x: b.op("stack", *(b.op("index", x, axis=0, index=i) for i in range(8)), axis=0),
        [],
    ),
    "concat of adjacent slices": (
        lambda b, x: b.op(
            "concat", *(b.op("slice", x, starts=(i,), stops=(i + 4,), steps=(1,)) for i in (0, 4)), axis=0
        ),
        [],
    ),
    "index of concat": (
        lambda b, x: b.op("index", b.op("concat", x, b.op("abs", x), axis=0), axis=0, index=11),
        ["abs", "index"],
    ),
    "select on true": (lambda b, x: b.op("select", b.constant(True, bool_), x, b.op("abs", x)), []),
    "max over no axes": (lambda b, x: b.op("max", x, axes=(), keepdims=False), []),
    "cast to its own dtype": (lambda b, x: b.op("cast", x, dtype=x.dtype), []),
    "cast through a wider dtype": (lambda b, x: b.op("cast", b.op("cast", x, dtype=float64), dtype=float32), []),
    "stop_gradient": (lambda b, x: b.op("stop_gradient", x), []),
    "pad by nothing": (lambda b, x: b.op("pad", x, b.constant(1.0, x.dtype), low=(0,), high=(0,)), []),
    "broadcast before a pointwise op": (
        lambda b, x: b.op("add", x, b.op("broadcast_to", b.constant(2.0, x.dtype), shape=(8,))),
        ["add"],
    ),
}


@pytest.mark.parametrize("rule", EXACT)
def test_rule_applies_and_is_exact(rule: str) -> None:
    build, expected = EXACT[rule]
    graph = graph_of(build)
    simple = Simplify().run(graph)
    verify(simple)
    assert ops(simple) == expected
    before, after = (evaluate(g, [SPECIAL])[0]["y"] for g in (graph, simple))
    assert same_bits(before, after)


INEXACT: dict[str, Build] = {
    "x + 0 turns −0 into +0": lambda b, x: b.op("add", x, b.constant(0.0, x.dtype)),
    "x · 0 keeps NaN and signs": lambda b, x: b.op("multiply", x, b.constant(0.0, x.dtype)),
    "0 − x differs from −x at 0": lambda b, x: b.op("subtract", b.constant(0.0, x.dtype), x),
    "x − (−0) turns −0 into +0": lambda b, x: b.op("subtract", x, b.constant(-0.0, x.dtype)),
    "x / 3 is no product": lambda b, x: b.op("divide", x, b.constant(3.0, x.dtype)),
    "a sum over no axes starts from +0": lambda b, x: b.op("sum", x, axes=(), keepdims=False),
    "x / x is NaN at 0": lambda b, x: b.op("divide", x, x),
}


@pytest.mark.parametrize("case", INEXACT)
def test_what_would_change_a_bit_stays(case: str) -> None:
    graph = graph_of(INEXACT[case])
    assert Simplify().run(graph) is graph


POWERS = {
    3: (["square", "multiply"], 1.3),
    4: (["square", "square"], 1.92),
    -2: (["reciprocal", "square"], 1.92),
}
"""Exponent → the ops instead, and their error in units in the last place."""


@pytest.mark.parametrize("dtype", [float32, float64])
@pytest.mark.parametrize("exponent", POWERS)
def test_small_powers_are_products_with_the_special_values_of_powers(exponent: int, dtype: DType) -> None:
    """Below the normal range, and where squares or reciprocals leave it, too; the error is that of the comment."""
    made, bound = POWERS[exponent]
    limits = np.finfo(dtype.name)
    rng = np.random.default_rng(4)
    mantissas = np.ldexp(rng.uniform(1, 2, 100_000), rng.integers(limits.minexp // 4, limits.maxexp // 4 - 1, 100_000))
    everywhere = np.ldexp(
        rng.uniform(-2, 2, 100_000), rng.integers(limits.minexp - limits.nmant, limits.maxexp, 100_000)
    )
    x = np.concatenate([[0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0], mantissas, everywhere]).astype(dtype.name)
    graph = graph_of(lambda b, x: b.op("pow", x, b.constant(float(exponent), x.dtype)), dtype, x.shape)
    simple = Simplify().run(graph)
    assert ops(simple) == made
    found = evaluate(simple, [x])[0]["y"]
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.longdouble), np.longdouble(exponent))
        rounded = exact.astype(x.dtype)
        errors = np.abs(found - exact) / np.spacing(np.abs(rounded))
    regular = np.isfinite(rounded) & np.isfinite(found)
    np.testing.assert_array_equal(found[~regular], rounded[~regular])
    np.testing.assert_array_equal(np.signbit(found[regular]), np.signbit(rounded[regular]))
    assert 0.8 * bound < np.max(errors[regular]) <= bound


POWERS_THAT_STAY = [
    *((dtype, exponent) for dtype in (float32, float64) for exponent in (5, -3, 0.5, -0.5, 0)),
    *((dtype, exponent) for dtype in (float16, bfloat16) for exponent in (3, 4, -2)),
    *((int32, exponent) for exponent in (5, -1, -2)),
]


@pytest.mark.parametrize(("dtype", "exponent"), POWERS_THAT_STAY)
def test_powers_that_products_would_make_less_exact_or_wrong_stay(dtype: DType, exponent: float) -> None:
    number = float(exponent) if dtype.is_float else exponent
    graph = graph_of(lambda b, x: b.op("pow", x, b.constant(number, x.dtype)), dtype)
    assert Simplify().run(graph) is graph


def test_integer_powers_wrap_as_products_do() -> None:
    x = np.array([0, 1, -1, 2, -7, 2**31 - 1, -(2**31), 123_456], np.int32)
    for exponent in (3, 4):
        graph = graph_of(lambda b, x, n=exponent: b.op("pow", x, b.constant(n, x.dtype)), int32)
        simple = Simplify().run(graph)
        assert ops(simple) == POWERS[exponent][0]
        np.testing.assert_array_equal(evaluate(simple, [x])[0]["y"], evaluate(graph, [x])[0]["y"])


def test_integer_zero_is_neutral() -> None:
    graph = graph_of(lambda b, x: b.op("add", b.constant(0, int32), x), int32)
    assert ops(Simplify().run(graph)) == []


def test_simplify_is_idempotent() -> None:
    for build, _ in EXACT.values():
        once = Simplify().run(graph_of(build))
        assert Simplify().run(once) is once


def test_fold_evaluates_constants_once() -> None:
    graph = graph_of(lambda b, x: b.op("add", x, b.op("exp", b.op("sqrt", b.constant(2.0, float32)))))
    folded = Fold().run(graph)
    verify(folded)
    assert ops(folded) == ["add"]
    assert same_bits(evaluate(graph, [SPECIAL])[0]["y"], evaluate(folded, [SPECIAL])[0]["y"])


def test_fold_does_not_blow_constants_up() -> None:
    graph = graph_of(lambda b, x: b.op("add", x, b.op("broadcast_to", b.constant(2.0, float32), shape=(1000, 8))))
    assert Fold().run(graph) is graph


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -0.0])
def test_fold_keeps_special_values_bit_for_bit(value: float) -> None:
    graph = graph_of(lambda b, x: b.op("multiply", x, b.op("abs", b.constant(value, float32))))
    folded = Fold().run(graph)
    constant = next(n for n in folded.nodes if n.op is get_op("constant"))
    assert constant.attrs["value"].array.tobytes() == np.abs(np.float32(value)).tobytes()


def test_a_bias_stays_beside_its_product() -> None:
    """Exact; what lies along another axis stays where it is."""
    b = Builder()
    x, w = b.input("x", tensor_type(float32, (6, 4))), b.input("w", tensor_type(float32, (4, 5)))
    bias, other = b.input("b", tensor_type(float32, (5,))), b.input("c", tensor_type(float32, (3, 1)))
    steps = b.op("reshape", b.op("matmul", x, w), shape=(2, 3, 5))
    outputs = [("y", b.op("tanh", b.op("add", bias, steps))), ("z", b.op("add", steps, other))]
    graph = Graph.make("f", [x, w, bias, other], outputs, builder=b)
    result = Simplify().run(graph)
    verify(result)
    shapes = {(node.op.name, node.shape) for node in result.nodes}
    assert {("add", (6, 5)), ("add", (2, 3, 5)), ("tanh", (2, 3, 5))} <= shapes
    rng = np.random.default_rng(0)
    arguments = [rng.standard_normal(node.shape).astype(np.float32) for node in graph.inputs]
    for name, expected in evaluate(graph, arguments)[0].items():
        assert same_bits(evaluate(result, arguments)[0][name], expected)


def test_the_gradient_of_a_convolution_by_its_patches_has_channels_innermost() -> None:
    """Exact: the same sums in another order of the result; nothing is done where the channels come first."""
    b = Builder()
    g, w = b.input("g", tensor_type(float32, (2, 4, 4, 5))), b.input("w", tensor_type(float32, (3, 3, 6, 5)))
    windows = {"window": (3, 3), "strides": (1, 1), "dilation": (1, 1)}
    patches = b.op("einsum", g, w, subscripts="nxyo,uvio->nxyiuv")
    last = b.op("fold_patches", patches, axes=(1, 2), shape=(2, 6, 6, 6), **windows)
    first = b.op("einsum", g, w, subscripts="nxyo,uvio->nixyuv")
    first = b.op("fold_patches", first, axes=(2, 3), shape=(2, 6, 6, 6), **windows)
    graph = Graph.make("f", [g, w], [("last", last), ("first", first)], builder=b)
    result = Simplify().run(graph)
    verify(result)
    written = [node.attrs["subscripts"] for node in result.nodes if node.op.name == "einsum"]
    assert written == ["nxyo,uvio->nxyuvi", "nxyo,uvio->nixyuv"]
    rng = np.random.default_rng(0)
    arguments = [rng.integers(-4, 5, node.shape).astype(np.float32) for node in graph.inputs]
    for name, expected in evaluate(graph, arguments)[0].items():
        np.testing.assert_array_equal(evaluate(result, arguments)[0][name], expected)
    assert Simplify().run(result) is result
