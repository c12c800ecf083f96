"""memory_budget: what fits, what is computed again for it, and what cannot be done."""

import re
from collections.abc import Callable
from itertools import pairwise

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


STEPS, BATCH, HIDDEN = 150, 4, 16


def weights(name: str, *shape: int) -> G.Tensor:
    rng = np.random.default_rng(sum(map(ord, name)))
    return G.parameter(name, (rng.standard_normal(shape) * 0.3).astype("float32"))


def gated(z: G.Tensor, c: G.Tensor | None) -> tuple[G.Tensor, G.Tensor]:
    """The state and the output of a long short-term memory."""
    i, f, g, o = (z[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
    new = G.sigmoid(i) * G.tanh(g)
    c = new if c is None else G.sigmoid(f) * c + new
    return c, G.sigmoid(o) * G.tanh(c)


def trained(loss: G.Tensor) -> G.Model:
    return G.Model(train=optim.Adam(0.01).minimize(loss))


def classified(x: G.Tensor, y: G.Tensor) -> G.Tensor:
    """The mean loss of a linear classifier."""
    return G.mean(nn.losses.sparse_categorical_crossentropy(y, nn.Dense(3)(x), from_logits=True))


def first_step_is_special(x: G.Tensor, y: G.Tensor, *, dropped: bool = False) -> G.Model:
    w, u = weights("w", 8, 4 * HIDDEN), weights("u", HIDDEN, 4 * HIDDEN)
    h = c = None
    for t in range(STEPS):
        c, h = gated(x[t] @ w if h is None else x[t] @ w + h @ u, c)
        h = nn.Dropout(0.2)(h) if dropped else h
    return trained(classified(h, y[-1]))


def dropout_in_the_loop(x: G.Tensor, y: G.Tensor) -> G.Model:
    return first_step_is_special(x, y, dropped=True)


def loss_in_the_loop(x: G.Tensor, y: G.Tensor) -> G.Model:
    w, u, v = weights("w", 8, HIDDEN), weights("u", HIDDEN, HIDDEN), weights("v", HIDDEN, 3)
    h, total = G.zeros((BATCH, HIDDEN)), 0.0
    for t in range(STEPS):
        h = G.tanh(x[t] @ w + h @ u)
        total = total + G.mean(nn.losses.sparse_categorical_crossentropy(y[t], h @ v, from_logits=True))
    return trained(total / STEPS)


def layers_in_one_loop(x: G.Tensor, y: G.Tensor) -> G.Model:
    sizes = (8, HIDDEN, HIDDEN, HIDDEN)
    ws = [weights(f"w{k}", a, b) for k, (a, b) in enumerate(pairwise(sizes))]
    us = [weights(f"u{k}", HIDDEN, HIDDEN) for k in range(3)]
    states = [G.zeros((BATCH, HIDDEN))] * 3
    for t in range(STEPS):
        row = x[t]
        for k in range(3):
            row = states[k] = G.tanh(row @ ws[k] + states[k] @ us[k])
    return trained(classified(states[-1], y[-1]))


def layers_one_after_another(x: G.Tensor, y: G.Tensor) -> G.Model:
    for _ in range(2):
        x = nn.LSTM(HIDDEN, return_sequences=True, time_major=True)(x)
    return trained(classified(x[-1], y[-1]))


def loss_of_every_step(x: G.Tensor, y: G.Tensor) -> G.Model:
    return trained(classified(nn.LSTM(HIDDEN, return_sequences=True, time_major=True)(x), y))


def dropout_between_layers(x: G.Tensor, y: G.Tensor) -> G.Model:
    for _ in range(2):
        x = nn.Dropout(0.2)(nn.LSTM(HIDDEN, return_sequences=True, time_major=True)(x))
    return trained(classified(x, y))


def reads_three_steps_back(x: G.Tensor, y: G.Tensor) -> G.Model:
    w, u, v = weights("w", 8, HIDDEN), weights("u", HIDDEN, HIDDEN), weights("v", HIDDEN, HIDDEN)
    seen = [G.zeros((BATCH, HIDDEN))] * 3
    for t in range(STEPS):
        seen.append(G.tanh(x[t] @ w + seen[-1] @ u + seen[-3] @ v))
    return trained(classified(seen[-1], y[-1]))


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


@pytest.mark.parametrize(
    ("build", "ratio"),
    [
        (first_step_is_special, 0.12),
        (dropout_in_the_loop, 0.12),
        (loss_in_the_loop, 0.2),
        (layers_in_one_loop, 0.25),
        (layers_one_after_another, 0.16),
        (loss_of_every_step, 0.16),
        (dropout_between_layers, 0.3),
        (reads_three_steps_back, 0.3),
    ],
)
def test_common_loops_fit_a_small_part_of_what_they_take(
    build: Callable[[G.Tensor, G.Tensor], G.Model], ratio: float
) -> None:
    def made() -> G.Model:
        with G.graph():
            return build(G.input("x", (STEPS, BATCH, 8)), G.input("y", (STEPS, BATCH), dtype="int64"))

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((STEPS, BATCH, 8)).astype("float32"), rng.integers(0, 3, (STEPS, BATCH))
    budget = int(ratio * lower(made().module).arena_bytes)
    plain, tight = G.compile(made()), G.compile(made(), memory_budget=budget)
    for _ in range(3):
        np.testing.assert_allclose(tight.train(x, y), plain.train(x, y), rtol=1e-5)
    for name, value in plain.parameters.items():
        np.testing.assert_allclose(tight.parameters[name], value, rtol=1e-4, atol=1e-5)


def test_blocks_do_not_hide_how_long_a_loop_is() -> None:
    free = lower(model(600, 16, 32).module).arena_bytes
    lower(model(600, 16, 32).module, Options(memory_budget=free // 12))


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
