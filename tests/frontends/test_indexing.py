"""Indexing means what it means in NumPy."""

from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as G
from graphc.ir.interp import evaluate

Run = Callable[..., Any]


def indexed(array: np.ndarray[Any, Any], key: Any) -> np.ndarray[Any, Any]:
    with G.graph():
        model = G.Model(out=G.input("x", array.shape, array.dtype.name)[key])
        return evaluate(model.entries["out"], [array] if model.entries["out"].inputs else [])[0]["out"]


@given(
    st.shared(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), key="shape"),
    st.shared(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), key="shape").flatmap(
        lambda shape: hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    ),
)
@settings(max_examples=150)
def test_basic_indexing(shape: tuple[int, ...], key: Any) -> None:
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    np.testing.assert_array_equal(indexed(array, key), array[key])


@given(
    st.integers(0, 2),
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=4), elements=st.integers(-3, 2)),
)
@settings(max_examples=40)
def test_one_constant_array_of_indices(axis: int, indices: np.ndarray[Any, Any]) -> None:
    array = np.arange(27.0).reshape(3, 3, 3)
    key = (slice(None),) * axis + (indices,)
    np.testing.assert_array_equal(indexed(array, key), array[key])


def test_an_index_from_the_data(value: Run) -> None:
    x, i = G.input("x", (4, 4)), G.input("i", (2,), "int64")
    array, indices = np.arange(16, dtype=np.float32).reshape(4, 4), np.array([3, 0])
    rows, columns = value(x[i], x[::-1, i[:1]], x=array, i=indices)
    np.testing.assert_array_equal(rows, array[indices])
    np.testing.assert_array_equal(columns, array[::-1][:, indices[:1]])
    with pytest.raises(G.GraphcIndexError, match="E456"):
        value(x[i], x=array, i=np.array([0, 4]))


@pytest.mark.parametrize("key", [5, -6, (0, 3), (slice(None), -4), [0, 5], np.array([-6])])
def test_a_constant_index_out_of_bounds(key: Any) -> None:
    x = G.input("x", (5, 3))
    with pytest.raises(G.GraphcIndexError, match="E220"):
        x[key]


@pytest.mark.parametrize("key", [1.5, True, "a", (0, 0, 0), (..., ...), (0, [1]), ([0], [1])])
def test_what_is_no_index(key: Any) -> None:
    with pytest.raises(G.GraphcError, match="E220") as caught:
        G.input("x", (5, 3))[key]
    assert isinstance(caught.value, (TypeError, IndexError))


def test_a_mask_is_refused_with_advice() -> None:
    x = G.input("x", (3,))
    with pytest.raises(G.GraphcTypeError, match="where"):
        x[x > 0]


def test_a_step_of_zero() -> None:
    with pytest.raises(G.GraphcValueError, match="E218"):
        G.input("x", (3,))[::0]


def test_what_was_stacked_is_not_unstacked_again() -> None:
    rows = [G.input(f"x{n}", (3,)) for n in range(4)]
    assert G.stack(rows)[2].node is rows[2].node
    assert G.stack(rows, axis=1)[:, -1].node is rows[3].node
    assert G.stack(rows)[-1].node is rows[3].node


def test_symbolic_axes() -> None:
    x = G.input("x", ("time", 3))
    assert x[0].shape == (3,)
    assert x[-1].shape == (3,)
    assert str(x[1:].shape[0]) == "time - 1"
    assert str(x[:-2].shape[0]) == "time - 2"
    assert x[::-1].shape == x.shape
    with pytest.raises(G.GraphcValueError, match="E214"):
        x[::2]


def test_gathering_functions(value: Run) -> None:
    generator = np.random.default_rng(0)
    array = generator.normal(size=(3, 4)).astype(np.float32)
    indices = generator.integers(0, 4, (3, 2))
    x, i = G.input("x", (3, 4)), G.input("i", (3, 2), "int64")
    values, places = G.top_k(x, 2)
    got = value(
        G.take_along_axis(x, i, 1),
        G.sort(x),
        G.argsort(x, axis=0, descending=True),
        values,
        places,
        G.one_hot(i, 4),
        G.embedding(i, x.T),
        G.scatter_add(G.zeros((4, 4)), i[:, 0], x),
        x=array,
        i=indices,
    )
    order = np.argsort(-array, axis=1, kind="stable")[:, :2]
    scattered = np.zeros((4, 4), np.float32)
    np.add.at(scattered, indices[:, 0], array)
    expected = [
        np.take_along_axis(array, indices, 1),
        np.sort(array),
        np.argsort(-array, axis=0, kind="stable"),
        np.take_along_axis(array, order, 1),
        order,
        np.eye(4)[indices],
        array.T[indices],
        scattered,
    ]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_gradients_of_indices_into_a_symbolic_axis() -> None:
    x = G.input("x", ("time", 3))
    loss = (x[0] * x[-1]).sum() + x[1:].sum()
    assert G.grad(loss, x).shape == x.shape
