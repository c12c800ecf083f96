"""grad, vjp, jvp, Hessians, and gradients of the user's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G

Run = Callable[..., Any]
A = np.array([0.3, -1.2, 2.0])


def test_grad_keeps_the_form_of_wrt(value: Run) -> None:
    x, y = G.input("x", (3,), "float64"), G.input("y", (3,), "float64")
    loss = (x * x * y).sum()
    table = G.grad(loss, {"x": x, "y": y})
    pair = G.grad(loss, (x, y))
    assert isinstance(pair, tuple)
    got = value(G.grad(loss, x), G.grad(loss, [y])[0], table["x"], pair[1], x=A, y=A + 1)
    for ours, theirs in zip(got, [2 * A * (A + 1), A**2, 2 * A * (A + 1), A**2], strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_what_is_not_used_has_gradient_zero(value: Run) -> None:
    x, unused = G.input("x", (3,), "float64"), G.parameter("unused", np.ones((2, 2)))
    got = value(*G.grad((x * x).sum(), [x, unused]), x=A)
    np.testing.assert_allclose(got[0], 2 * A)
    np.testing.assert_array_equal(got[1], np.zeros((2, 2)))


def test_stop_gradient_means_zero(value: Run) -> None:
    x = G.input("x", (3,), "float64")
    np.testing.assert_array_equal(value(G.grad(G.stop_gradient(x).sum(), x), x=A), np.zeros(3))
    np.testing.assert_allclose(value(G.grad((G.stop_gradient(x) * x).sum(), x), x=A), A)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: (x > 0).any(),
        lambda x: G.argmax(x),
        lambda x: G.floor(x).sum(),
        lambda x: (x > 0).astype("float64").sum(),
        lambda x: G.where(x > 0, 1.0, 2.0).sum(),
        lambda x: 3.0,
    ],
)
def test_outputs_that_have_no_gradient(make: Callable[[Any], Any]) -> None:
    x = G.input("x", (3,), "float64")
    with pytest.raises(G.GraphcError, match="E225"):
        G.grad(make(x), x)


def test_wrt_must_be_floating_tensors() -> None:
    x, n = G.input("x", (3,)), G.input("n", (3,), "int64")
    for wrt in (n, [x, 1.0], "x"):
        with pytest.raises(G.GraphcTypeError, match="E225"):
            G.grad((x * n.astype("float32")).sum(), wrt)


def test_vjp_and_jvp_agree(value: Run) -> None:
    x = G.input("x", (3,), "float64")
    y = G.stack([G.sin(x[0] * x[1]), G.exp(x[2]) * x[0]])
    u, v = np.array([2.0, -1.0]), np.array([0.5, 1.0, -2.0])
    back, ahead = value(G.vjp(y, x, u), G.jvp(y, x, v), x=A)
    np.testing.assert_allclose(back @ v, u @ ahead, rtol=1e-12)
    jacobian = value(G.jacobian(y, x), x=A)
    np.testing.assert_allclose(jacobian @ v, ahead, rtol=1e-12)
    np.testing.assert_allclose(value(G.jacobian(x, x), x=A), np.eye(3))


def test_several_outputs(value: Run) -> None:
    x = G.input("x", (3,), "float64")
    outputs = {"a": x * 2, "b": x.sum()}
    np.testing.assert_allclose(value(G.vjp(outputs, x, [None, 1.0]), x=A), np.ones(3))
    tangents = G.jvp(outputs, [x], [np.ones(3)])
    assert list(tangents) == ["a", "b"]
    np.testing.assert_allclose(value(tangents["b"], x=A), 3.0)
    with pytest.raises(G.GraphcValueError, match="E225"):
        G.vjp(outputs, x, [1.0])


def test_second_derivatives(value: Run) -> None:
    x = G.input("x", (3,), "float64")
    f = (x**3).sum() + x[0] * x[1] * x[2]
    expected = np.diag(6 * A) + np.array([[0, A[2], A[1]], [A[2], 0, A[0]], [A[1], A[0], 0]])
    v = np.array([1.0, -2.0, 0.5])
    hessian, product, nested = value(G.hessian(f, x), G.hvp(f, x, v), G.grad((G.grad(f, x) * v).sum(), x), x=A)
    np.testing.assert_allclose(hessian, expected, rtol=1e-12)
    np.testing.assert_allclose(product, expected @ v, rtol=1e-12)
    np.testing.assert_allclose(nested, expected @ v, rtol=1e-12)


def test_a_jacobian_that_is_too_large() -> None:
    x = G.input("x", (5000,))
    with pytest.raises(G.GraphcValueError, match="E225"):
        G.jacobian(x * x, x)


def test_custom_gradient(value: Run) -> None:
    reversal = G.custom_gradient(lambda x: x * x, lambda x, y, g: -g * x)
    x = G.input("x", (3,), "float64")
    y = reversal(x).sum()
    first = G.grad(y, x)
    got = value(y, first, G.grad(first.sum(), x), G.jvp(y, x, np.ones(3)), x=A)
    np.testing.assert_allclose(got[0], (A * A).sum())
    np.testing.assert_allclose(got[1], -A)
    np.testing.assert_allclose(got[2], -np.ones(3))
    np.testing.assert_allclose(got[3], -A.sum())


def test_custom_gradient_of_several_arguments(value: Run) -> None:
    def clip_backward(x: G.Tensor, limit: G.Tensor, y: G.Tensor, g: G.Tensor) -> tuple[Any, ...]:
        return G.clip(g, -limit, limit), None

    clipped = G.custom_gradient(lambda x, limit: x, clip_backward)
    x, limit = G.input("x", (3,), "float64"), G.input("limit", (), "float64")
    loss = (clipped(x, limit) ** 2).sum()
    np.testing.assert_allclose(value(G.grad(loss, x), x=A, limit=np.array(1.0)), np.clip(2 * A, -1, 1))
    with pytest.raises(G.UnsupportedOp, match="not linear"):
        G.jvp(loss, x, np.ones(3))


def test_a_custom_function_sees_its_arguments_alone() -> None:
    x, w = G.input("x", (3,)), G.parameter("w", np.ones(3))
    with pytest.raises(G.GraphcValueError, match="E223"):
        G.custom_gradient(lambda x: x * w, lambda x, y, g: g)(x)
    with pytest.raises(G.GraphcValueError, match="E223"):
        G.custom_gradient(lambda x: x + G.parameter("v", 1.0), lambda x, y, g: g)(x)
    with pytest.raises(G.GraphcValueError, match="E225"):
        G.custom_gradient(lambda x: x, lambda x, y, g: g.sum())(x)


def test_backward_nodes_say_where_they_come_from() -> None:
    x = G.input("x", (3,))
    y = G.sin(x)
    derivative = G.grad(y.sum(), x)
    note = derivative.builder.note(derivative.node)
    assert note.role == "backward"
    assert note.locations[0].file == __file__
