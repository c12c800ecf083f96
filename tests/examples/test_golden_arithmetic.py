"""Arithmetic that can be done by hand: a small convolution, and a network with one hidden layer, to the last digit."""

from itertools import product

import mpmath
import numpy as np
import pytest

import graphc as G
from tests.examples.loading import example

both_backends = pytest.mark.parametrize("backend", ["llvm", "numpy"])

# -- convolution ------------------------------------------------------------------------------------------------------

IMAGE = [[1, 3, 5, 2, 4], [6, 0, 2, 1, 3], [6, 3, 1, 3, 6], [7, 3, 2, 1, 3], [5, 3, 0, 0, 2]]
CONVOLVED = [
    ["-0.7", "5.5", "2.1", "4.8"],
    ["0.3", "0.6", "2.7", "5.0"],
    ["1.9", "1.2", "2.0", "6.4"],
    ["3.1", "0.5", "1.1", "3.7"],
]
"""Each worked out on paper, as in 0.2·1 + 0.7·3 − 0.5·6 + 0.7·0 = −0.7 and 0.2·3 + 0.7·5 − 0.5·0 + 0.7·2 = 5.5."""


def by_loops(
    x: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> np.ndarray:
    """The definition, one output at a time, in integers; ``x`` is (rows, columns, channels)."""
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    taps_down, taps_right, depth, filters = kernel.shape
    rows = (x.shape[0] - dilation * (taps_down - 1) - 1) // stride + 1
    columns = (x.shape[1] - dilation * (taps_right - 1) - 1) // stride + 1
    made = np.zeros((rows, columns, filters), np.int64)
    for row, column, number in product(range(rows), range(columns), range(filters)):
        first = number // (filters // groups) * depth
        top, left = row * stride, column * stride
        window = x[top : top + dilation * taps_down : dilation, left : left + dilation * taps_right : dilation]
        window = window[:taps_down, :taps_right, first : first + depth]
        made[row, column, number] = (window * kernel[..., number]).sum()
    return made


@both_backends
def test_the_small_convolution(backend: str) -> None:
    file = example("convolution_arithmetic")
    m = G.compile(file.model(), backend=backend)
    assert file.IMAGE.tolist() == IMAGE
    found = m.convolve(file.IMAGE[None, :, :, None])
    assert [[f"{value:.1f}" for value in row] for row in found] == CONVOLVED
    np.testing.assert_allclose(found, np.array(CONVOLVED, float), rtol=0, atol=1e-6)
    # Ten times the filter is in whole numbers, which leave nothing to rounding.
    m.parameters["filter"][:, :, 0, 0] = [[2, 7], [-5, 7]]
    found = m.convolve(file.IMAGE[None, :, :, None])
    assert found.tolist() == [[int(text.replace(".", "")) for text in row] for row in CONVOLVED]


@both_backends
def test_six_filters_over_an_image_in_every_layout(backend: str) -> None:
    m = G.compile(example("convolution_arithmetic").model(), backend=backend)
    rng = np.random.default_rng(0)
    image = rng.integers(-4, 5, (32, 32, 3))
    filters, each = rng.integers(-4, 5, (5, 5, 3, 6)), rng.integers(-4, 5, (5, 5, 1, 6))
    m.parameters["filters"][...] = filters
    m.parameters["filters_of_one_channel"][...] = each
    found = m.layouts(image[None].astype("float32"))
    expected = {
        "plain": by_loops(image, filters),
        "stride": by_loops(image, filters, stride=3),
        "padding": by_loops(image, filters, padding=2),
        "same": by_loops(image, filters, padding=2),
        "dilation": by_loops(image, filters, dilation=2),
        "all": by_loops(image, filters, stride=2, padding=1, dilation=3),
        "groups": by_loops(image, each, groups=3),
    }
    # The transposed convolution is the derivative of the plain one: it spreads what that one gathers.
    spread = np.zeros((32, 32, 3), np.int64)
    for row, column in product(range(28), range(28)):
        spread[row : row + 5, column : column + 5] += (filters * expected["plain"][row, column]).sum(axis=-1)
    assert found.pop("transposed")[0].tolist() == spread.tolist()
    assert {name: array.shape for name, array in found.items()} == {
        "plain": (1, 28, 28, 6),
        "stride": (1, 10, 10, 6),
        "padding": (1, 32, 32, 6),
        "same": (1, 32, 32, 6),
        "dilation": (1, 24, 24, 6),
        "all": (1, 11, 11, 6),
        "groups": (1, 28, 28, 6),
    }
    for name, array in found.items():
        assert array[0].tolist() == expected[name].tolist(), name


# -- one hidden layer -------------------------------------------------------------------------------------------------

EXACT = {
    # x·W1 + b1 = (0, 0), so h = (½, ½) and h(1 − h) = (¼, ¼): every number below is exact.
    "x": [[1.0, -2.0]],
    "y": [[5.0]],
    "W1": [[2.0, 4.0], [1.0, 2.0]],
    "b1": [0.0, 0.0],
    "W2": [[3.0], [-1.0]],
    "b2": [1.0],
}
EXACT_GRADIENTS = {
    "loss": 9.0,
    "e": [[-6.0]],
    "p": [[-6.0]],
    "W2": [[-3.0], [-3.0]],
    "b2": [-6.0],
    "h": [[-18.0, 6.0]],
    "s": [[-4.5, 1.5]],
    "W1": [[-4.5, 1.5], [9.0, -3.0]],
    "b1": [-4.5, 1.5],
}


def small_network(backend: str, dtype: str, values: dict) -> tuple[dict, G.Model]:
    """The gradients of the example for these inputs and parameters, and the compiled model."""
    m = G.compile(example("hidden_layer").model(features=2, hidden=2, dtype=dtype), backend=backend)
    for name in ("W1", "b1", "W2", "b2"):
        m.parameters[name][...] = values[name]
    return m.gradients(np.array(values["x"], dtype), np.array(values["y"], dtype)), m


@both_backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_a_hidden_layer_where_they_are_exact(backend: str, dtype: str) -> None:
    found, m = small_network(backend, dtype, EXACT)
    assert {name: np.asarray(value).tolist() for name, value in found.items()} == EXACT_GRADIENTS
    assert m.predict(np.array(EXACT["x"], dtype)).tolist() == [[2.0]]


@both_backends
def test_gradients_of_a_hidden_layer_to_the_last_digits(backend: str) -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=np.shape(value)) for name, value in EXACT.items()}
    found, _ = small_network(backend, "float64", values)
    with mpmath.workdps(50):
        x, y, w1, b1, w2, b2 = (mpmath.matrix(np.atleast_2d(values[name]).tolist()) for name in EXACT)
        h = (x * w1 + b1).apply(lambda s: 1 / (1 + mpmath.exp(-s)))
        e = (h * w2 + b2 - y)[0]
        ds = mpmath.matrix([[2 * e * w2[unit] * h[unit] * (1 - h[unit]) for unit in range(2)]])
        exact = {
            "loss": mpmath.matrix([e**2]),
            "e": mpmath.matrix([2 * e]),
            "p": mpmath.matrix([2 * e]),
            "W2": h.T * (2 * e),
            "b2": mpmath.matrix([2 * e]),
            "h": w2.T * (2 * e),
            "s": ds,
            "W1": x.T * ds,
            "b1": ds,
        }
        expected = {name: [float(number) for number in value] for name, value in exact.items()}
    for name, numbers in expected.items():
        np.testing.assert_allclose(np.ravel(found[name]), numbers, rtol=1e-14, err_msg=name)


@both_backends
def test_the_example_derives_the_same_by_hand(backend: str) -> None:
    found, _ = small_network(backend, "float64", EXACT)
    derived = example("hidden_layer").by_hand(
        {name: np.array(value) for name, value in EXACT.items()}, np.array(EXACT["x"]), np.array(EXACT["y"])
    )
    assert {name: np.asarray(value).tolist() for name, (_, value) in derived.items()} == {
        name: np.asarray(value).tolist() for name, value in found.items()
    }


@both_backends
def test_sum_times_factor(backend: str) -> None:
    m = G.compile(example("hidden_layer").model(), backend=backend)
    made = m.product(np.float32(-2), np.float32(5), np.float32(-4))
    assert {name: float(value) for name, value in made.items()} == {"f": -12.0, "x": -4.0, "y": -4.0, "z": 3.0}
