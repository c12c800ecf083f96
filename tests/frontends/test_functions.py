"""The array functions against NumPy and SciPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import graphc as G

Run = Callable[..., Any]
X = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
M = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: G.sum(x, axis=1), lambda x: np.sum(x, 1)),
        (lambda x: G.prod(x, axis=(0, 2), keepdims=True), lambda x: np.prod(x, (0, 2), keepdims=True)),
        (lambda x: G.mean(x), lambda x: np.mean(x)),
        (lambda x: G.mean(x, (0, -1)), lambda x: np.mean(x, (0, 2))),
        (lambda x: G.var(x, 1, correction=1), lambda x: np.var(x, 1, ddof=1)),
        (lambda x: G.std(x, -1, keepdims=True), lambda x: np.std(x, -1, keepdims=True)),
        (lambda x: G.max(x, 2), lambda x: np.max(x, 2)),
        (lambda x: G.min(x), lambda x: np.min(x)),
        (lambda x: G.any(x > 1, 1), lambda x: np.any(x > 1, 1)),
        (lambda x: G.all(x > -1, 0), lambda x: np.all(x > -1, 0)),
        (lambda x: G.argmax(x), lambda x: np.argmax(x)),
        (lambda x: G.argmin(x, 1), lambda x: np.argmin(x, 1)),
        (lambda x: G.argmax(x, keepdims=True), lambda x: np.argmax(x, keepdims=True)),
        (lambda x: G.cumulative_sum(x, 1), lambda x: np.cumsum(x, 1)),
        (lambda x: G.count_nonzero(x > 0, 1), lambda x: np.count_nonzero(x > 0, 1)),
        (lambda x: G.norm(x, -1), lambda x: np.linalg.norm(x, axis=-1)),
        (lambda x: G.logsumexp(x, (0, 2)), lambda x: scipy.special.logsumexp(x, (0, 2))),
        (lambda x: G.softmax(x, 1), lambda x: scipy.special.softmax(x, 1)),
        (lambda x: G.log_softmax(100 * x), lambda x: scipy.special.log_softmax(100 * x, -1)),
        (lambda x: G.sigmoid(x), scipy.special.expit),
        (lambda x: G.log_sigmoid(x), scipy.special.log_expit),
        (lambda x: G.erf(x), scipy.special.erf),
        (lambda x: G.gelu(x), lambda x: x * scipy.special.ndtr(x)),
        (
            lambda x: G.gelu(x, approximate=True),
            lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        ),
        (lambda x: G.silu(x), lambda x: x * scipy.special.expit(x)),
        (lambda x: G.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
        (
            lambda x: G.selu(x),
            lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(x)),
        ),
        (lambda x: G.leaky_relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (lambda x: G.softsign(x), lambda x: x / (1 + abs(x))),
        (lambda x: G.hard_sigmoid(x), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
        (lambda x: G.hard_tanh(x), lambda x: np.clip(x, -1, 1)),
        (lambda x: G.relu6(9 * x), lambda x: np.clip(9 * x, 0, 6)),
        (lambda x: G.softmin(x), lambda x: scipy.special.softmax(-x, -1)),
        (lambda x: G.step(x), lambda x: (x > 0).astype(np.float32)),
        (lambda x: G.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5)),
        (lambda x: G.clip(x, max=0.5), lambda x: np.minimum(x, 0.5)),
        (lambda x: G.where(x > 0, x, -1), lambda x: np.where(x > 0, x, -1)),
        (lambda x: G.hypot(x, 2.0), lambda x: np.hypot(x, 2.0)),
        (lambda x: G.round(3 * x), lambda x: np.round(3 * x)),
        (lambda x: G.astype(3 * x, "int32"), lambda x: (3 * x).astype(np.int32)),
        (lambda x: G.transpose(x), lambda x: x.T),
        (lambda x: G.permute_dims(x, (1, 2, 0)), lambda x: x.transpose(1, 2, 0)),
        (lambda x: G.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
        (lambda x: G.moveaxis(x, (0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
        (lambda x: G.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1))),
        (lambda x: G.squeeze(G.expand_dims(x, 1)), lambda x: x),
        (lambda x: G.concat([x, x + 1], axis=1), lambda x: np.concatenate([x, x + 1], 1)),
        (lambda x: G.concat([x, x], axis=None), lambda x: np.concatenate([x, x], None)),
        (lambda x: G.stack(G.unstack(x, 1), axis=-1), lambda x: np.moveaxis(x, 1, -1)),
        (lambda x: G.split(x, 2, axis=2)[1], lambda x: np.split(x, 2, 2)[1]),
        (lambda x: G.split(x, [1, 3], axis=2)[1], lambda x: np.split(x, [1, 3], 2)[1]),
        (lambda x: G.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3))),
        (lambda x: G.tile(x, (3, 1, 1, 1)), lambda x: np.tile(x, (3, 1, 1, 1))),
        (lambda x: G.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1)),
        (lambda x: G.repeat(x, 2), lambda x: np.repeat(x, 2)),
        (lambda x: G.roll(x, 1), lambda x: np.roll(x, 1)),
        (lambda x: G.roll(x, (-1, 6), axis=(1, 2)), lambda x: np.roll(x, (-1, 6), (1, 2))),
        (lambda x: G.flip(x, 1), lambda x: np.flip(x, 1)),
        (
            lambda x: G.pad(x, ((0, 0), (1, 2), (3, 0)), 7.0),
            lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), constant_values=7),
        ),
        (lambda x: G.tril(x, -1), lambda x: np.tril(x, -1)),
        (lambda x: G.triu(x, 1), lambda x: np.triu(x, 1)),
        (lambda x: G.diagonal(x), lambda x: np.diagonal(x, axis1=-2, axis2=-1)),
        (lambda x: G.trace(x), lambda x: np.trace(x, axis1=-2, axis2=-1)),
        (lambda x: G.eye(3, 4) + x, lambda x: np.eye(3, 4) + x),
        (lambda x: G.arange(4) + G.astype(x, "int64"), lambda x: np.arange(4) + x.astype(int)),
        (lambda x: G.arange(1, 9, 2, dtype="float32") * x, lambda x: np.arange(1, 9, 2) * x),
        (lambda x: G.linspace(0, 1, 4) * x, lambda x: np.linspace(0, 1, 4) * x),
        (lambda x: G.full_like(x, 3) + G.zeros((3, 4)) + G.ones_like(x), lambda x: np.full_like(x, 4)),
    ],
)
def test_against_numpy(ours: Callable[..., Any], theirs: Callable[..., Any], value: Run) -> None:
    got, expected = value(ours(G.input("x", X.shape)), x=X), theirs(X)
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def test_stable_functions_at_the_edges(value: Run) -> None:
    rows = np.array([[-np.inf, -np.inf], [-np.inf, 0.0], [np.inf, 1.0], [1000.0, 1000.0]], np.float32)
    x = G.input("x", rows.shape)
    total, shares, logs = value(G.logsumexp(x, 1), G.softmax(x), G.log_softmax(x), x=rows)
    np.testing.assert_allclose(total, [-np.inf, 0.0, np.inf, 1000 + np.log(2)])
    np.testing.assert_allclose(shares[[1, 3]], [[0, 1], [0.5, 0.5]])
    np.testing.assert_allclose(logs[3], [-np.log(2)] * 2, rtol=1e-6)
    assert np.isnan(shares[0]).all()


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba,cb", [(3, 2), (4, 3)]),
        ("bij,bjk,bkl->bil", [(2, 3, 4), (2, 4, 5), (2, 5, 3)]),
        ("i,i->", [(3,), (3,)]),
        ("i,j->ij", [(3,), (2,)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("iij->ji", [(3, 3, 2)]),
        ("ijk->kj", [(2, 3, 4)]),
        ("ij->", [(2, 3)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (4, 2)]),
        ("...i,...i", [(2, 1, 3), (4, 3)]),
        ("i...->...", [(3, 2, 2)]),
        ("ij,ij,ij->j", [(2, 3), (2, 3), (2, 3)]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 2), (2, 5)]),
        ("ij,k->i", [(2, 3), (4,)]),
        ("ij,jk->ik", [(2, 1), (3, 4)]),
    ],
)
def test_einsum(subscripts: str, shapes: list[tuple[int, ...]], value: Run) -> None:
    arrays = [np.random.default_rng(n).normal(size=shape) for n, shape in enumerate(shapes)]
    tensors = [G.input(f"x{n}", shape, "float64") for n, shape in enumerate(shapes)]
    got = value(G.einsum(subscripts, *tensors), **{f"x{n}": array for n, array in enumerate(arrays)})
    np.testing.assert_allclose(got, np.einsum(subscripts, *arrays), rtol=1e-12)


@pytest.mark.parametrize("subscripts", ["ij,jk->il", "ij->ii", "ij", "ij,jk,kl", "i$j,jk", "ij,kj->ik"])
def test_einsum_that_does_not_fit(subscripts: str) -> None:
    with pytest.raises(G.GraphcError, match="E211"):
        G.einsum(subscripts, G.input("x", (2, 3)), G.input("y", (3, 4)))


@pytest.mark.parametrize(
    ("left", "right"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((5, 2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 2))],
)
def test_matmul_and_dot(left: tuple[int, ...], right: tuple[int, ...], value: Run) -> None:
    a, b = np.ones(left) + np.arange(left[-1]), np.random.default_rng(0).normal(size=right)
    x, y = G.input("x", left, "float64"), G.input("y", right, "float64")
    got = value(G.matmul(x, y), G.dot(x, y), G.outer(x, y), x=a, y=b)
    for ours, theirs in zip(got, [np.matmul(a, b), np.dot(a, b), np.outer(a, b)], strict=True):
        np.testing.assert_allclose(ours, theirs)


@pytest.mark.parametrize("axes", [0, 1, 2, ((0, 2), (1, 2)), ((-1,), (0,))])
def test_tensordot(axes: Any, value: Run) -> None:
    a, b = np.random.default_rng(3).normal(size=(4, 2, 4)), np.random.default_rng(4).normal(size=(4, 4, 4))
    if axes == 2:
        b = np.random.default_rng(4).normal(size=(2, 4, 3))
    x, y = G.input("x", a.shape, "float64"), G.input("y", b.shape, "float64")
    np.testing.assert_allclose(value(G.tensordot(x, y, axes), x=a, y=b), np.tensordot(a, b, axes), rtol=1e-12)


def _convolved(x: Any, k: Any, stride: int, pads: tuple[int, int], dilation: int) -> Any:
    """A loop over output positions: NHWC data, HWIO kernel."""
    x = np.pad(x, ((0, 0), pads, pads, (0, 0)))
    span = (k.shape[0] - 1) * dilation + 1
    rows = [range(0, size - span + 1, stride) for size in x.shape[1:3]]
    out = np.zeros((x.shape[0], len(rows[0]), len(rows[1]), k.shape[3]))
    for i, top in enumerate(rows[0]):
        for j, left in enumerate(rows[1]):
            patch = x[:, top : top + span : dilation, left : left + span : dilation]
            out[:, i, j] = np.tensordot(patch, k, 3)
    return out


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "pads"),
    [
        (1, "valid", 1, (0, 0)),
        (2, "same", 1, (0, 1)),
        (1, "same", 2, (2, 2)),
        (2, 1, 1, (1, 1)),
        (3, ((1, 2), (1, 2)), 1, (1, 2)),
    ],
)
def test_conv2d(stride: int, padding: Any, dilation: int, pads: tuple[int, int], value: Run) -> None:
    a, k = np.random.default_rng(5).normal(size=(2, 8, 8, 3)), np.random.default_rng(6).normal(size=(3, 3, 3, 4))
    x = G.input("x", a.shape, "float64")
    last = G.conv2d(x, G.constant(k), stride, padding, dilation)
    first = G.conv2d(
        G.transpose(x, (0, 3, 1, 2)),
        G.constant(k.transpose(3, 2, 0, 1)),
        stride,
        padding,
        dilation,
        data_format="channels_first",
    )
    got = value(last, first, x=a)
    expected = _convolved(a, k, stride, pads, dilation)
    np.testing.assert_allclose(got[0], expected, atol=1e-12)
    np.testing.assert_allclose(got[1], expected.transpose(0, 3, 1, 2), atol=1e-12)


def test_transposed_convolution_is_the_transpose(value: Run) -> None:
    k = np.random.default_rng(7).normal(size=(3, 3, 2, 4))
    for size, stride, padding in [(9, 1, "valid"), (10, 2, "same"), (9, 2, 1), (9, 3, "valid")]:
        x = G.input("x", (1, size, size, 2), "float64")
        y = G.conv2d(x, G.constant(k), stride, padding)
        g = G.input("g", y.shape, "float64")
        back = G.conv2d_transpose(g, G.constant(k), stride, padding)
        cotangent = np.random.default_rng(8).normal(size=y.shape)
        ours, theirs = value(back, G.vjp(y, x, g), x=np.zeros(x.shape), g=cotangent)
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert G.conv2d_transpose(G.input("z", (1, 5, 5, 4)), k.astype(np.float32), 2, "same").shape == (1, 10, 10, 2)


def test_pooling(value: Run) -> None:
    a = np.random.default_rng(9).normal(size=(1, 4, 6, 2)).astype(np.float32)
    x = G.input("x", a.shape)
    blocks = a.reshape(1, 2, 2, 3, 2, 2)
    got = value(
        G.max_pool(x, 2),
        G.average_pool(x, 2),
        G.global_average_pool(x),
        G.global_max_pool(x),
        G.average_pool(x, 3, 1, "same"),
        G.max_pool(x, 3, 1, "same"),
        x=a,
    )
    np.testing.assert_allclose(got[0], blocks.max((2, 4)))
    np.testing.assert_allclose(got[1], blocks.mean((2, 4)), rtol=1e-5)
    np.testing.assert_allclose(got[2], a.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(got[3], a.max((1, 2)))
    np.testing.assert_allclose(got[4][0, 0, 0], a[0, :2, :2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(got[5][0, 3, 5], a[0, 2:, 4:].max((0, 1)))


def test_random_numbers(value: Run) -> None:
    uniform, normal, coins = (
        G.random_uniform((4000,), -1, 3),
        G.random_normal((4000,), 2.0, 0.5),
        G.random_bernoulli((4000,), 0.3),
    )
    again = G.random_uniform((4000,), -1, 3)
    u, n, c, a = value(uniform, normal, coins, again)
    assert u.min() >= -1 and u.max() < 3
    assert abs(u.mean() - 1) < 0.1
    assert abs(n.mean() - 2) < 0.05
    assert abs(n.std() - 0.5) < 0.05
    assert abs(c.mean() - 0.3) < 0.05
    assert (u != a).any()


def test_random_numbers_depend_on_seed_and_step(value: Run) -> None:
    x = G.random_uniform((5,))
    fixed = G.random_uniform((5,), seed=7)
    draws = {
        (seed, step): value(x, fixed, states={"random/seed_step": np.array([seed, step])})
        for seed in (0, 1)
        for step in (0, 1)
    }
    assert len({draw[0].tobytes() for draw in draws.values()}) == 4
    assert draws[0, 0][1].tobytes() == draws[1, 0][1].tobytes() != draws[0, 1][1].tobytes()


def test_pointwise_from_sympy(value: Run, check_gradients: Callable[..., None]) -> None:
    import sympy

    x, y = sympy.symbols("x y")
    swish = G.pointwise("my_swish", x / (1 + sympy.exp(-x * y)), [x, y])
    a, b = G.input("a", (3,), "float64"), G.input("b", (), "float64")
    data = {"a": np.array([-1.0, 0.5, 2.0]), "b": np.array(1.5)}
    out = swish(a, b)
    np.testing.assert_allclose(value(out, **data), data["a"] / (1 + np.exp(-1.5 * data["a"])))
    check_gradients(out.sum(), [a, b], **data)
