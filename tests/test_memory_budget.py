"""memory_budget: what fits, what is computed again for it, and what cannot be done."""

import re

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.budget import parse_bytes
from graphc.config import Options
from graphc.driver import lower
from graphc.ir.graph import Module


def model(steps: int = 200, batch: int = 4, hidden: int = 16) -> G.Model:
    x = G.input("x", (steps, batch, 8))
    y = G.input("y", (batch,), dtype="int64")
    logits = nn.Dense(3)(nn.LSTM(hidden, time_major=True)(x))
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, train=optim.SGD(0.1).minimize(loss))


def arena(budget: int | None = None) -> int:
    return lower(model().module, Options(memory_budget=budget)).arena_bytes


def test_a_budget_is_kept_and_the_training_step_stays_the_same() -> None:
    free = arena()
    assert arena(free) == free, "a budget that is no limit changes nothing"
    assert arena(free // 8) <= free // 8

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 4, 8)).astype("float32"), np.arange(4) % 3
    plain, tight = G.compile(model()), G.compile(model(), memory_budget=free // 8)
    for _ in range(3):
        np.testing.assert_allclose(tight.train(x, y), plain.train(x, y), rtol=1e-5)
    for name, value in plain.parameters.items():
        np.testing.assert_allclose(tight.parameters[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_a_budget_that_nothing_fits_says_what_would(backend: str) -> None:
    module = model().module
    for entry in module.entries:
        alone = Module("alone", {entry: module.entry(entry)}, tuple(module.states.values()))
        with pytest.raises(G.GraphcValueError, match=rf"{entry}: .*\[E341\]") as caught:
            G.compile(alone, backend=backend, memory_budget="1KB")
        (least,) = re.findall(r"take ([\d,]+) bytes", str(caught.value))
        G.compile(alone, backend=backend, memory_budget=int(least.replace(",", "")))


def test_sizes() -> None:
    assert parse_bytes(None) is None
    assert [parse_bytes(text) for text in (5, "5", "5B", "1kb", "1.5 MiB", "2GB")] == [
        5,
        5,
        5,
        1000,
        3 << 19,
        2 * 10**9,
    ]
    for wrong in (0, -1, "", "MB", "5 parsecs", True, "nan"):
        with pytest.raises(G.GraphcValueError, match=r"\[E106\]"):
            parse_bytes(wrong)
