"""matmul and einsum: values against NumPy, accumulation, derivatives, errors."""

import numpy as np
import pytest

from graphc.errors import GraphcError
from graphc.ir.builder import Builder
from graphc.ir.types import bfloat16, bool_, float16, float32, int8, tensor_type
from graphc.ops.composite import vjp_region

from .helpers import check_derivatives, f64, infer, region, run, run_half

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def matmul(b, x, y):
    return b.op("matmul", x, y)


def einsum(subscripts):
    return lambda b, x, y: b.op("einsum", x, y, subscripts=subscripts)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (6, 4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (1, 4, 5)),
        ((3, 0), (0, 5)),
        ((0, 4), (4, 5)),
    ],
)
def test_matmul(left, right):
    x, y = normal(*left), normal(*right)
    np.testing.assert_allclose(run(matmul, x, y), x @ y)
    check_derivatives(matmul, x, y)


def test_integers_wrap():
    x = np.full((1, 3), 100, np.int8)
    np.testing.assert_array_equal(run(matmul, x, np.ones((3, 1), np.int8)), [[np.int8(300 - 256)]])
    np.testing.assert_array_equal(run(einsum("ik,kj->ij"), x, np.ones((3, 1), np.int8)), [[np.int8(300 - 256)]])


@pytest.mark.parametrize("element", [float16, bfloat16])
@pytest.mark.parametrize("build", [matmul, einsum("ik,kj->ij")])
def test_halves_accumulate_in_float32(element, build):
    ones = np.ones((1, 4096))
    assert run_half(build, element, ones, ones.T) == 4096.0


SUBSCRIPTS = {
    "ik,kj->ij": ((3, 4), (4, 5)),
    "bik,bkj->bij": ((2, 3, 4), (2, 4, 5)),
    "i,j->ij": ((3,), (4,)),
    "ij,ij->": ((3, 4), (3, 4)),
    "ij,j->ji": ((3, 4), (4,)),
    ",ij->ji": ((), (3, 4)),
    "nxyigu,ugio->ngxyo": ((2, 3, 2, 2, 2, 3), (3, 2, 2, 4)),
}


@pytest.mark.parametrize("subscripts", SUBSCRIPTS)
def test_einsum(subscripts):
    x, y = (normal(*shape) for shape in SUBSCRIPTS[subscripts])
    np.testing.assert_allclose(run(einsum(subscripts), x, y), np.einsum(subscripts, x, y))
    check_derivatives(einsum(subscripts), x, y)


def test_a_shared_matrix_gets_one_product_instead_of_a_batch():
    graph = region(matmul, [f64("batch", "time", 4), f64(4, 5)])
    derivative, _ = vjp_region(graph, [0])
    products = [node for node in derivative.nodes if node.op.name == "matmul"]
    assert sorted(node.rank for node in products) == [2, 3]
    assert not any(node.op.name == "sum" for node in derivative.nodes)
    assert [node.type for node in derivative.output_nodes] == [node.type for node in graph.inputs]


def test_symbolic_shapes():
    assert str(infer("matmul", f64("batch", 1, 3, 4), f64("time", 4, 5))) == "float64[batch,time,3,5]"
    assert str(infer("einsum", f64("batch", "time"), f64("time", 3), subscripts="bt,tf->fb")) == "float64[3,batch]"


@pytest.mark.parametrize(
    ("left", "right", "code", "words"),
    [
        (f64(3), f64(3, 4), "E211", ("float64[3]", "float64[3,4]")),
        (f64(2, 3), f64(4, 5), "E211", ("float64[2,3]", "float64[4,5]")),
        (f64(2, 2, 3), f64(3, 3, 5), "E211", ("(2,)", "(3,)")),
        (f64("batch", 2, 3), f64(4, 3, 5), "E211", ("batch", "4")),
        (f64(2, 3), tensor_type(float32, (3, 4)), "E213", ("float32",)),
        (tensor_type(bool_, (2, 3)), tensor_type(bool_, (3, 4)), "E213", ("bool",)),
    ],
)
def test_matmul_errors(left, right, code, words):
    with pytest.raises(GraphcError) as caught:
        infer("matmul", left, right)
    assert caught.value.code == code
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "subscripts",
    ["ik,kj", "ik->i", "ii,ij->ij", "ik,kj->iz", "ik,kj->i", "ik,kj->iij", "i.,kj->ij", "ikl,kj->ij", "ij,kj->ik"],
)
def test_einsum_subscript_errors(subscripts):
    with pytest.raises(GraphcError) as caught:
        infer("einsum", f64(2, 3), f64(4, 5), subscripts=subscripts)
    assert caught.value.code == "E211"


def test_integer_products_have_no_cotangent():
    b = Builder()
    x = b.input("x", tensor_type(int8, (2, 2)))
    node = b.op("matmul", x, x)
    assert node.op.vjp(b, node, [None]) == [None, None]
