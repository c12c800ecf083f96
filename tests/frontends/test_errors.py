"""What users get wrong while they build a graph: a typed error, a code, and their own line."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim


def x(shape: Any = (2, 3), dtype: str = "float32") -> G.Tensor:
    return G.input("x", shape, dtype)


_MISTAKES: list[tuple[str, type[Exception], str, Callable[[], Any]]] = [
    ("shapes", ValueError, "E211", lambda: x((2, 3)) + x((4,))),
    ("matmul shapes", ValueError, "E211", lambda: x((2, 3)) @ x((2, 3))),
    ("reshape", ValueError, "E211", lambda: x((2, 3)).reshape(4)),
    ("reshape -1", ValueError, "E211", lambda: x((2, 3)).reshape(4, -1)),
    ("concat", ValueError, "E211", lambda: G.concat([x((2, 3)), x((2, 4))], axis=0)),
    ("stack nothing", ValueError, "E211", lambda: G.stack([])),
    ("broadcast", ValueError, "E211", lambda: G.broadcast_to(x((2, 3)), (3, 3))),
    ("float with int", TypeError, "E212", lambda: x((2,)) + x((2,), "int64")),
    ("int with 1.5", TypeError, "E212", lambda: x((2,), "int64") + 1.5),
    ("bool with 1", TypeError, "E212", lambda: x((2,), "bool") + 1),
    ("300 in a byte", ValueError, "E212", lambda: x((2,), "uint8") + 300),
    ("condition", TypeError, "E212", lambda: G.where(x(), 1.0, 2.0)),
    ("unknown dtype", TypeError, "E213", lambda: G.input("x", (2,), "float31")),
    ("complex", TypeError, "E213", lambda: G.constant(1j)),
    ("text", TypeError, "E213", lambda: x() + "a"),
    ("None", TypeError, "E213", lambda: x() + None),
    ("ragged list", TypeError, "E213", lambda: G.constant([[1], [1, 2]])),
    ("masked array", TypeError, "E213", lambda: x() + np.ma.ones(3)),
    ("mean of integers", TypeError, "E213", lambda: x((2,), "int64").mean()),
    ("bits of floats", TypeError, "E21", lambda: x() << 1),
    ("exp of integers", TypeError, "E21", lambda: G.exp(x((2,), "int64"))),
    ("negative dimension", ValueError, "E214", lambda: G.input("x", (2, -3))),
    ("bool dimension", TypeError, "E214", lambda: G.input("x", (True, 3))),
    ("float dimension", TypeError, "E214", lambda: G.input("x", (2.0, 3))),
    ("dimension of a wrong name", ValueError, "E214", lambda: G.input("x", ("2x",))),
    ("max of nothing", ValueError, "E215", lambda: x((0, 3)).max(0)),
    ("2**80 elements", ValueError, "E216", lambda: G.input("x", (2**40, 2**40))),
    ("zeros beyond the limit", ValueError, "E216", lambda: G.zeros((2**31, 2**31))),
    ("axis", ValueError, "E217", lambda: x().sum(2)),
    ("axis twice", ValueError, "E217", lambda: x().sum((0, -2))),
    ("axis of a wrong kind", TypeError, "E217", lambda: x().sum(1.0)),
    ("permutation", ValueError, "E217", lambda: x().transpose(0, 0)),
    ("squeeze", ValueError, "E217", lambda: G.squeeze(x(), 0)),
    ("stride 0", ValueError, "E218", lambda: G.conv2d(x((1, 4, 4, 1)), np.ones((2, 2, 1, 1)), strides=0)),
    ("dilation 0", ValueError, "E218", lambda: G.conv2d(x((1, 4, 4, 1)), np.ones((2, 2, 1, 1)), dilation=0)),
    ("group 0", ValueError, "E218", lambda: G.conv2d(x((1, 4, 4, 1)), np.ones((2, 2, 1, 1)), groups=0)),
    ("layer stride 0", ValueError, "E218", lambda: nn.Conv2D(3, 2, strides=0)),
    ("padding", ValueError, "E218", lambda: G.max_pool(x((1, 4, 4, 1)), 2, padding="full")),
    ("kernel too large", ValueError, "E219", lambda: G.conv2d(x((1, 4, 4, 1)), np.ones((5, 5, 1, 1), np.float32))),
    ("window too large", ValueError, "E219", lambda: nn.MaxPooling2D(5)(x((1, 4, 4, 1)))),
    ("index", IndexError, "E220", lambda: x()[2]),
    ("constant take", IndexError, "E220", lambda: G.take(x(), [0, 5], axis=1)),
    ("division by 0", ValueError, "E221", lambda: x((2,), "int64") // 0),
    ("remainder by 0", ValueError, "E221", lambda: x((2,), "int64") % np.array([1, 0])),
    ("input name", ValueError, "E224", lambda: G.input("not a name", (2,))),
    ("two inputs of one name", ValueError, "E224", lambda: G.Model(f=x() + x())),
    ("two states of one name", ValueError, "E224", lambda: G.Model(f=G.parameter("w", 1.0) + G.parameter("w", 1.0))),
    (
        "two layers of one name",
        ValueError,
        "E224",
        lambda: G.Model(f=nn.Dense(3, name="a")(nn.Dense(3, name="a")(x()))),
    ),
    ("gradient of a vector", ValueError, "E225", lambda: G.grad(x((3,)), x((3,)))),
    ("gradient of integers", TypeError, "E225", lambda: G.grad(x((3,), "int64").sum(), x((3,)))),
    ("minimize without parameters", ValueError, "E225", lambda: optim.SGD().minimize(x().sum())),
    ("truth value", TypeError, "E227", lambda: bool(x() > 0)),
    ("and", TypeError, "E227", lambda: (x() > 0) and (x() < 1)),
    ("chained comparison", TypeError, "E227", lambda: 0 < x() < 1),
    ("float()", TypeError, "E227", lambda: float(x(()))),
    ("range()", TypeError, "E227", lambda: range(x((), "int64"))),
    ("asarray", TypeError, "E227", lambda: np.asarray(x())),
    ("symbolic loop", TypeError, "E228", lambda: list(x(("time", 3)))),
    ("symbolic range", TypeError, "E228", lambda: range(x(("time", 3)).shape[0])),
    ("symbolic int", TypeError, "E228", lambda: int(x(("time", 3)).shape[0])),
    ("loop of 10**9", ValueError, "E228", lambda: list(x((10**9,)))),
    ("LSTM of 0 steps", ValueError, "E228", lambda: nn.LSTM(4)(x((2, 0, 3)))),
    ("LSTM of 10**9 steps", ValueError, "E228", lambda: nn.LSTM(4)(x((2, 10**9, 3)))),
    (
        "statistics in symbolic steps",
        TypeError,
        "E228",
        lambda: nn.RNN(nn.GRUCell(4, activation=nn.BatchNormalization()))(x((2, "time", 3))),
    ),
    ("layer on an array", TypeError, "E213", lambda: nn.Dense(3)(np.ones((2, 3)))),
    ("layer on a vector", ValueError, "E211", lambda: nn.Dense(3)(x((3,)))),
    ("symbolic features", ValueError, "E214", lambda: nn.Dense(3)(x((3, "features")))),
    ("activation", ValueError, "E213", lambda: nn.Dense(3, activation="rellu")),
    ("initializer", ValueError, "E213", lambda: nn.Dense(3, kernel_initializer="glorot")),
    ("dropout rate", ValueError, "E213", lambda: nn.Dropout(1.5)),
    ("targets", ValueError, "E211", lambda: nn.losses.mean_squared_error(x((3,)), x((3, 3)))),
    ("float targets", TypeError, "E213", lambda: nn.losses.sparse_categorical_crossentropy(x((3,)), x((3, 3)))),
    ("momentum", ValueError, "E213", lambda: optim.SGD(0.1, momentum=2.0)),
    ("two clippings", ValueError, "E213", lambda: optim.SGD(0.1, clipnorm=1.0, clipvalue=1.0)),
    ("state without shape", ValueError, "E214", lambda: G.parameter("w")),
    ("state of symbolic shape", ValueError, "E340", lambda: G.parameter("w", shape=("n",))),
]


@pytest.mark.parametrize(("name", "kind", "code", "make"), _MISTAKES, ids=[mistake[0] for mistake in _MISTAKES])
def test_a_mistake_has_a_code_and_the_users_line(
    name: str, kind: type[Exception], code: str, make: Callable[[], Any]
) -> None:
    with pytest.raises(kind) as caught:
        make()
    error = caught.value
    assert isinstance(error, G.GraphcError)
    assert error.code.startswith(code)
    assert error.location is not None
    assert (error.location.file, error.location.line) == (__file__, make.__code__.co_firstlineno)
    assert str(error).startswith(f"{__file__}:{error.location.line}: ")


def line() -> int:
    return sys._getframe(1).f_lineno


def test_a_shape_mismatch_names_both_shapes_and_where_they_were_made() -> None:
    a, first = G.input("a", (2, 3)), line()
    b, second = G.input("b", (4,)), line()
    with pytest.raises(G.GraphcValueError) as caught:
        a * b
    text = str(caught.value)
    for part in ("(2, 3)", "(4,)", f"{__file__}:{first}", f"{__file__}:{second}"):
        assert part in text


def test_tensors_of_two_graphs() -> None:
    a, first = G.input("a", (2,)), line()
    with G.graph():
        b, second = G.input("b", (2,)), line()
        with pytest.raises(G.GraphcValueError, match="E223") as caught:
            a + b
        with pytest.raises(G.GraphcValueError, match="E223"):
            G.Model(f=a, g=b)
    text = str(caught.value)
    assert f"{__file__}:{first}" in text
    assert f"{__file__}:{second}" in text


def test_duplicate_inputs_are_named_with_both_lines() -> None:
    a, first = G.input("a", (2,)), line()
    b, second = G.input("a", (2,)), line()
    with pytest.raises(G.GraphcValueError, match="'a'") as caught:
        G.Model(f=a + b)
    assert f"{__file__}:{first}" in str(caught.value)
    assert f"{__file__}:{second}" in str(caught.value)


def test_hints_name_the_nearest() -> None:
    with pytest.raises(G.GraphcError, match="did you mean float32"):
        G.input("x", (2,), "flaot32")
    with pytest.raises(G.GraphcError, match="did you mean relu"):
        nn.Dense(3, activation="rel")


def test_a_size_of_zero_is_correct(value: Callable[..., Any]) -> None:
    empty = G.input("x", (0, 3))
    got = value(
        empty.sum(0), (empty @ np.ones((3, 2), np.float32)).shape[0] + G.zeros((2,)), x=np.zeros((0, 3), np.float32)
    )
    np.testing.assert_array_equal(got[0], np.zeros(3))
