"""Gather, scatter and sorting: values against NumPy, bounds, derivatives, errors."""

import numpy as np
import pytest

from graphc.errors import GraphcError, GraphcIndexError
from graphc.ir.types import float32, float64, int32, int64, tensor_type

from .helpers import check_derivatives, f64, infer, run

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))


def op(name, **attrs):
    return lambda b, *inputs: b.op(name, *inputs, **attrs)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_take_and_scatter_add(axis, shape, dtype):
    indices = RNG.integers(0, X.shape[axis], shape).astype(dtype)
    taken = run(op("take", axis=axis), X, indices)
    np.testing.assert_array_equal(taken, np.take(X, indices, axis))
    updates = RNG.standard_normal(taken.shape)
    expected = X.copy()
    for place in np.ndindex(indices.shape):
        where = (slice(None),) * axis
        expected[(*where, int(indices[place]))] += updates[(*where, *place)]
    np.testing.assert_allclose(run(op("scatter_add", axis=axis), X, indices, updates), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_along_axis(axis):
    x = X[..., 0]
    shape = (6, 4) if axis == 0 else (3, 6)
    indices = RNG.integers(0, x.shape[axis], shape)
    updates = RNG.standard_normal(shape)
    np.testing.assert_array_equal(
        run(op("take_along_axis", axis=axis), x, indices), np.take_along_axis(x, indices, axis)
    )
    expected = x.copy()
    for place in np.ndindex(shape):
        target = list(place)
        target[axis] = indices[place]
        expected[tuple(target)] += updates[place]
    np.testing.assert_allclose(run(op("scatter_add_along_axis", axis=axis), x, indices, updates), expected)


def test_derivatives():
    repeated = np.array([[0, 2, 2], [1, 0, 2]])
    check_derivatives(op("take", axis=0), X, repeated)
    check_derivatives(op("take", axis=1), X, repeated)
    check_derivatives(op("scatter_add", axis=1), X, np.array([3, 3]), RNG.standard_normal((3, 2, 5)))
    x = X[..., 0]
    along = np.array([[0, 1, 1], [3, 3, 0], [2, 2, 2]])
    check_derivatives(op("take_along_axis", axis=1), x, along)
    check_derivatives(op("scatter_add_along_axis", axis=1), x, along, RNG.standard_normal((3, 3)))
    check_derivatives(
        lambda b, u: b.op("scatter_add", b.constant(X[0], float64), b.constant([1, 1], int64), u, axis=0), X[0, :2]
    )


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (np.array([0, -1]), "index -1 at position (1,) is not in [0, 4)"),
        (np.array([[0, 1], [4, 9]]), "index 4 at position (1, 0) is not in [0, 4)"),
        (np.array(4), "index 4 at position () is not in [0, 4)"),
        (np.array([200], np.uint8), "index 200 at position (0,)"),
    ],
)
def test_an_index_out_of_bounds_is_an_error_of_the_call(indices, words):
    with pytest.raises(GraphcIndexError) as caught:
        run(op("take", axis=1), X, indices)
    assert caught.value.code == "E456"
    assert words in str(caught.value)
    with pytest.raises(GraphcIndexError):
        run(op("scatter_add", axis=1), X, indices, np.zeros((3, *indices.shape, 5)))


def test_bounds_along_an_axis():
    wrong = np.array([[0, 4]])
    for build, arrays in [
        (op("take_along_axis", axis=1), (X[:1, :, 0], wrong)),
        (op("scatter_add_along_axis", axis=1), (X[:1, :, 0], wrong, np.zeros((1, 2)))),
    ]:
        with pytest.raises(GraphcIndexError) as caught:
            run(build, *arrays)
        assert caught.value.code == "E456"


def test_argsort_is_stable_with_nan_last():
    x = np.array([2.0, np.nan, 1.0, 2.0, -np.inf, np.nan, np.inf, 1.0, -0.0, 0.0])
    assert run(op("argsort", axis=0, descending=False), x).tolist() == [4, 8, 9, 2, 7, 0, 3, 6, 1, 5]
    assert run(op("argsort", axis=0, descending=True), x).tolist() == [6, 0, 3, 2, 7, 8, 9, 4, 1, 5]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, bool])
def test_argsort_of_integers(dtype):
    x = np.array([[0, 127, 5, 5, 0]]).astype(dtype)
    if dtype in (np.int8, np.int64):
        x[0, 2] = np.iinfo(dtype).min
    for descending in (False, True):
        found = run(op("argsort", axis=1, descending=descending), x)[0].tolist()
        assert found == sorted(range(5), key=lambda k: (-int(x[0, k]) if descending else int(x[0, k]), k))


def test_symbolic_shapes():
    indices = tensor_type(int32, ("batch", 2))
    assert str(infer("take", f64("vocabulary", 8), indices, axis=0)) == "float64[batch,2,8]"
    assert str(infer("argsort", f64("batch", 3), axis=0, descending=False)) == "int64[batch,3]"


F, INDICES = f64(3, 4), tensor_type(int64, (2,))


@pytest.mark.parametrize(
    ("name", "types", "attrs", "code"),
    [
        ("take", (F, f64(2)), {"axis": 0}, "E213"),
        ("take", (F, INDICES), {"axis": 2}, "E217"),
        ("scatter_add", (F, INDICES, f64(3, 4)), {"axis": 0}, "E211"),
        ("scatter_add", (F, INDICES, tensor_type(float32, (2, 4))), {"axis": 0}, "E213"),
        ("take_along_axis", (F, INDICES), {"axis": 0}, "E211"),
        ("take_along_axis", (F, tensor_type(int64, (2, 3))), {"axis": 0}, "E211"),
        ("scatter_add_along_axis", (F, tensor_type(int64, (2, 4)), f64(3, 4)), {"axis": 0}, "E211"),
        ("argsort", (f64(),), {"axis": 0, "descending": False}, "E217"),
    ],
)
def test_errors(name, types, attrs, code):
    with pytest.raises(GraphcError) as caught:
        infer(name, *types, **attrs)
    assert caught.value.code == code
