"""Tensors: operators, promotion, scalars, and what a tensor refuses."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G

Run = Callable[..., Any]
A = np.array([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]], np.float32)
B = np.array([2.0, -1.0, 0.5], np.float32)
K = np.array([[7, -3, 2], [1, 0, -8]], np.int64)
J = np.array([2, 3, -5], np.int64)

_ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
_COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("op", [*_ARITHMETIC, *_COMPARISONS])
def test_operators_of_floats_broadcast_as_numpy(op: Callable[..., Any], value: Run) -> None:
    x, y = G.input("x", (2, 3)), G.input("y", (3,))
    np.testing.assert_allclose(value(op(x, y), x=A, y=B), op(A, B), rtol=1e-6)
    np.testing.assert_allclose(value(op(x, 2.0), x=A), op(A, np.float32(2)), rtol=1e-6)
    np.testing.assert_allclose(value(op(2.0, x), x=A), op(np.float32(2), A), rtol=1e-6)
    np.testing.assert_allclose(value(op(A, y), y=B), op(A, B), rtol=1e-6)


@pytest.mark.parametrize(
    "op", [operator.add, operator.mul, operator.floordiv, operator.mod, operator.and_, operator.xor]
)
def test_operators_of_integers(op: Callable[..., Any], value: Run) -> None:
    x, y = G.input("x", (2, 3), "int64"), G.input("y", (3,), "int64")
    np.testing.assert_array_equal(value(op(x, y), x=K, y=J), op(K, J))
    np.testing.assert_array_equal(value(op(x, 3), x=K), op(K, 3))


def test_unary_operators(value: Run) -> None:
    x, n, b = G.input("x", (2, 3)), G.input("n", (2, 3), "int64"), G.input("b", (3,), "bool")
    mask = np.array([True, False, True])
    got = value(-x, +x, abs(x), ~n, ~b, x**2, 2**x, x @ x.T, x=A, n=K, b=mask)
    expected = [-A, A, abs(A), ~K, ~mask, A**2, np.float32(2) ** A, A @ A.T]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_scalars_take_the_dtype_of_the_tensor() -> None:
    half = G.input("h", (2,), "float16")
    assert (half + 1).dtype is G.float16
    assert (half * 2.5).dtype is G.float16
    assert (half * np.float64(2.5)).dtype is G.float16
    assert (G.input("n", (2,), "int32") + 1).dtype is G.int32


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        ("float32", "float64", "float64"),
        ("float16", "bfloat16", "float32"),
        ("int32", "int64", "int64"),
        ("uint8", "int8", "int32"),
        ("uint8", "int64", "int64"),
    ],
)
def test_promotion_of_arrays(left: str, right: str, result: str) -> None:
    assert (G.input("x", (2,), left) + G.input("y", (2,), right)).dtype.name == result


def test_arrays_keep_their_dtype() -> None:
    assert (G.input("x", (2,)) + np.ones(2)).dtype is G.float64


def test_attributes_and_methods() -> None:
    x = G.input("x", ("batch", 3, 4))
    assert [str(dim) for dim in x.shape] == ["batch", "3", "4"]
    assert (x.ndim, str(x.size), x.dtype.name, x.name) == (3, "12*batch", "float32", "x")
    assert x.T.shape == (4, 3, x.shape[0])
    assert x.mT.shape == (x.shape[0], 4, 3)
    assert x.reshape(-1, 12).shape == x.reshape((x.shape[0], 12)).shape
    assert x.transpose(2, 0, 1).shape == (4, x.shape[0], 3)
    assert x.sum(axis=(1, 2)).shape == x.max((1, 2)).shape == (x.shape[0],)
    assert repr(x) == "Tensor('x', input, shape=(batch, 3, 4), dtype=float32)"
    assert repr(x.mean().named("level")) == "Tensor('level', divide, shape=(), dtype=float32)"
    assert hash(x) == hash(x.node)


def test_len_and_iteration(value: Run) -> None:
    x = G.input("x", (2, 3))
    assert len(x) == 2
    rows = list(x)
    assert [row.shape for row in rows] == [(3,), (3,)]
    np.testing.assert_array_equal(value(rows[1], x=A), A[1])


def test_a_tensor_is_immutable() -> None:
    x = G.input("x", ())
    with pytest.raises(AttributeError):
        x.node = x.node
    with pytest.raises(AttributeError):
        del x.builder


def test_symbols_compare_and_broadcast_by_identity() -> None:
    x, y = G.input("x", ("batch", 3)), G.input("y", ("batch", 1))
    assert (x + y).shape == x.shape
    with pytest.raises(G.GraphcValueError, match="E211"):
        x + G.input("z", ("other", 3))


def test_constants_are_exact(value: Run) -> None:
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    payload = np.array([0x7FC12345], np.uint32).view(np.float32)
    got = value(G.constant(special), G.constant(payload))
    assert got[0].tobytes() == special.tobytes()
    assert got[1].tobytes() == payload.tobytes()
    assert G.constant(1.5).dtype is G.float32
    assert G.constant([1, 2]).dtype is G.int64
    assert G.constant(True).dtype is G.bool_
    assert G.constant(np.float64(1)).dtype is G.float64
    assert G.constant(1, "bfloat16").dtype is G.bfloat16


def test_tensors_of_the_same_meaning_are_one_node() -> None:
    x = G.input("x", (3,))
    assert (x + 1).node is (x + 1).node
    assert G.input("x", (3,)).node is not x.node


UFUNCS = [name for name in dir(np) if isinstance(getattr(np, name), np.ufunc)]


@pytest.mark.parametrize("name", ["tanh", "arctan2", "power", "rint", "absolute", "maximum", "logaddexp", "expm1"])
def test_numpys_functions_compute_what_they_do_of_arrays(name: str, value: Run) -> None:
    function = getattr(np, name)
    x = G.input("x", (2, 3))
    more = [np.abs(B)] * (function.nin - 1)
    np.testing.assert_allclose(value(function(x, *more), x=np.abs(A)), function(np.abs(A), *more), rtol=1e-6)


def test_numpys_functions_of_an_array_and_a_tensor(value: Run) -> None:
    x = G.input("x", (2, 3))
    np.testing.assert_allclose(value(np.arctan2(A, x), x=A + 1), np.arctan2(A, A + 1), rtol=1e-6)
    np.testing.assert_allclose(value(A.T @ x, x=A), A.T @ A, rtol=1e-6)


@pytest.mark.parametrize("name", UFUNCS)
def test_every_function_of_numpy_works_or_says_that_it_is_none(name: str) -> None:
    function = getattr(np, name)
    tensors = [G.input("x", (3, 3)), G.input("i", (3, 3), "int64"), G.input("b", (3, 3), "bool")]
    errors = []
    for x in tensors:
        try:
            assert isinstance(function(*[x] * function.nin), G.Tensor)
            return
        except G.GraphcTypeError as error:
            errors.append(error)
    for error in errors:
        assert error.code == "E213" and f"numpy.{function.__name__}" in str(error)
        assert error.location is not None and error.location.file == __file__


@pytest.mark.parametrize(
    ("mistake", "code", "words"),
    [
        (lambda x: np.add.reduce(x), "E227", "numpy.add.reduce"),
        (lambda x: operator.iadd(np.ones((2, 3), np.float32), x), "E227", r"not a \+= x"),
        (lambda x: G.exp([x, x]), "E213", "a list that holds tensors"),
        (lambda x: x - [x, x], "E213", "stack"),
        (lambda x: np.concatenate([x, x]), "E227", "graphc's own functions"),
    ],
)
def test_what_numpy_cannot_do_with_a_tensor(mistake: Callable[..., Any], code: str, words: str) -> None:
    with pytest.raises(G.GraphcTypeError, match=words) as caught:
        mistake(G.input("x", (2, 3)))
    assert caught.value.code == code
    assert caught.value.location is not None and caught.value.location.file == __file__


def test_sympys_functions_are_for_symbols() -> None:
    sympy = pytest.importorskip("sympy")
    with pytest.raises(G.GraphcTypeError, match=r"graphc\.pointwise") as caught:
        sympy.tanh(G.input("x", (2, 3)))
    assert caught.value.location is not None and caught.value.location.file == __file__
