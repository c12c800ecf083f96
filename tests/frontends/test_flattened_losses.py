"""Losses over scores flattened to (batch·time, classes), as language models have them, at sizes that each call says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.errors import UnsupportedOp

CLASSES = 6
LOSSES: dict[str, tuple[bool, Callable[[Any, Any], Any]]] = {}
"""Name → are the targets class numbers, and the loss of (targets, scores), both flat."""


def loss_over(**options: bool) -> Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]:
    def add(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        LOSSES[function.__name__] = (options["numbers"], function)
        return function

    return add


@loss_over(numbers=True)
def sparse(y: Any, scores: Any) -> Any:
    return nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True).mean()


@loss_over(numbers=False)
def one_hot(y: Any, scores: Any) -> Any:
    return nn.losses.categorical_crossentropy(y, scores, from_logits=True).mean()


@loss_over(numbers=True)
def padded_steps_left_out(y: Any, scores: Any) -> Any:
    each = nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)
    counts = G.where(y > 0, 1.0, 0.0)
    return (each * counts).sum() / G.maximum(counts.sum(), 1.0)


@loss_over(numbers=False)
def written_out(y: Any, scores: Any) -> Any:
    return -(y * G.log(G.maximum(G.softmax(scores, axis=-1), 1e-7))).sum(axis=1).mean()


@loss_over(numbers=False)
def one_axis_left(y: Any, scores: Any) -> Any:
    chances = G.sigmoid(G.reshape(scores, (-1,)))
    return nn.losses.binary_crossentropy(G.reshape(y, (-1,)), chances).mean()


def model_of(name: str, batch: Any, time: Any) -> G.Model:
    numbers, loss = LOSSES[name]
    with G.graph():
        x = G.input("x", (batch, time, 4))
        scores = nn.Dense(CLASSES)(nn.LSTM(5, return_sequences=True)(x))
        y = G.input("y", (batch, time), "int64") if numbers else G.input("y", (batch, time, CLASSES))
        flat = G.reshape(y, (-1,) if numbers else (-1, CLASSES))
        return G.Model(predict=scores, train=optim.SGD(0.1).minimize(loss(flat, G.reshape(scores, (-1, CLASSES)))))


@pytest.mark.parametrize("open_sizes", [{"time": 9}, {"time": 9, "batch": (4, 8)}], ids=["steps", "steps and rows"])
@pytest.mark.parametrize("name", LOSSES)
def test_training_at_sizes_never_seen(name: str, open_sizes: dict[str, Any]) -> None:
    sized = G.compile(model_of(name, "batch" if "batch" in open_sizes else 3, "time"), max_dims=open_sizes)
    rng = np.random.default_rng(0)
    for batch, time in [(3, 7), (3, 1)] if "batch" not in open_sizes else [(3, 7), (7, 2)]:
        fixed = G.compile(model_of(name, batch, time), backend="numpy")
        for parameter, value in fixed.parameters.items():
            sized.parameters[parameter][...] = value
        x = rng.normal(size=(batch, time, 4)).astype("float32")
        if LOSSES[name][0]:
            y = rng.integers(0, CLASSES, (batch, time))
        else:
            y = rng.random((batch, time, CLASSES)).astype("float32")
        for _ in range(2):
            np.testing.assert_allclose(sized.train(x, y), fixed.train(x, y), rtol=1e-4)
        for parameter, value in fixed.parameters.items():
            np.testing.assert_allclose(sized.parameters[parameter], value, rtol=1e-3, atol=1e-5)


def test_what_is_dropped_from_flat_rows_is_each_steps_own() -> None:
    with G.graph():
        x = G.input("x", (4, "time", 50))
        rows = nn.Dropout(0.25)(G.reshape(x, (-1, 50)), training=True)
        model = G.compile(G.Model(predict=G.reshape(rows, (4, -1, 50))), max_dims={"time": 9})
    kept = model.predict(np.ones((4, 9, 50), "float32"))
    assert set(np.unique(kept)) == {np.float32(0), np.float32(4 / 3)}
    assert 0.7 < (kept > 0).mean() < 0.8
    assert not any(np.array_equal(kept[:, 0], kept[:, step]) for step in range(1, 9))


def test_rows_in_two_orders_do_not_meet() -> None:
    with G.graph():
        x, y = G.input("x", (3, "time", 5)), G.input("y", ("time", 3, 5))
        mixed = G.reshape(x, (-1, 5)) * G.reshape(y, (-1, 5))
        with pytest.raises(UnsupportedOp, match=r"what lies along a dimension of 3\*time comes in two orders.*E334"):
            G.compile(G.Model(predict=mixed.sum(axis=1).mean()), max_dims={"time": 9})
