"""Random programs over rows: softmaxes, reductions along either axis, broadcasts, picks, and their gradients.

Rows are long enough for groups that walk the same rows to become one kernel, with values kept between the walks; some
arrays are square, so that rows and columns are easily taken for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest

import graphc as G

T = TypeVar("T")

SHAPES = ((5, 80), (70, 70), (3, 200), (9, 67), (130, 65), (2, 3000))

_POINTWISE: tuple[Callable[[G.Tensor], G.Tensor], ...] = (
    G.exp,
    G.tanh,
    G.sigmoid,
    G.sin,
    G.abs,
    G.relu,
    lambda v: v * v,
    lambda v: v * 0.3 + 1,
    lambda v: G.sqrt(G.abs(v) + 0.5),
)
_PAIRS: tuple[Callable[[G.Tensor, G.Tensor], G.Tensor], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    G.maximum,
)


def random_rows(rng: np.random.Generator, shape: tuple[int, int]) -> G.Model:
    """A program of some values of ``shape``, and of one for each row and each column."""

    def pick(options: Sequence[T]) -> T:
        return options[int(rng.integers(len(options)))]

    x, y, places = G.input("x", shape), G.input("y", shape), G.input("places", (shape[0], 2), "int64")
    full, rows, columns = [x, y], [G.sum(y, axis=1, keepdims=True)], [G.max(x, axis=0, keepdims=True)]
    if shape[0] == shape[1]:
        full.append(G.transpose(x))
    for _ in range(int(rng.integers(6, 18))):
        value = pick(full)
        match int(rng.integers(10)):
            case 0 | 1 | 2:
                full.append(pick(_POINTWISE)(G.tanh(value)))
            case 3 | 4:
                full.append(pick(_PAIRS)(value, pick(full)))
            case 5 | 6:
                rows.append(pick((G.sum, G.max, G.mean, G.min))(value, axis=1, keepdims=True))
            case 7:
                columns.append(pick((G.sum, G.max, G.mean))(value, axis=0, keepdims=True))
            case 8:
                row = pick(rows)
                full.append(pick((value / (1 + G.abs(row)), G.tanh(value - row), G.tanh(value + 0.1 * pick(columns)))))
            case _:
                full.append(G.softmax(value, pick((0, 1))))
    picked = G.take_along_axis(G.log_softmax(pick(full), 1) * 0.5, places, 1)
    loss = G.sum(full[-1] * y) / shape[1] + G.sum(picked) + 0.01 * G.sum(x * y)
    results = {"last": full[-1], "mean": G.mean(pick(full)), "row": rows[-1], "column": columns[-1], "picked": picked}
    return G.Model(f={**results, "loss": loss, "gradient": G.grad(loss, x)})


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    with G.graph():
        model = random_rows(rng, shape)
    given = {
        "x": rng.normal(size=shape).astype("float32"),
        "y": rng.normal(size=shape).astype("float32"),
        "places": rng.integers(0, shape[1], (shape[0], 2)),
    }
    plain = G.compile(model, backend="numpy", disable=("fuse", "gather", "scatter", "simplify")).f
    expected, found = plain(**given), G.compile(model).f(**given)
    for name, value in expected.items():
        scale = 1 + float(np.abs(value).max())
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=2e-4 * scale, err_msg=f"seed {seed}: {name}")


@pytest.mark.parametrize("seed", range(16))
def test_random_programs_over_rows(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1300, 25))
def test_more_random_programs_over_rows(first: int) -> None:
    for seed in range(first, first + 25):
        check(seed)
