"""How long it takes from a recurrence written as a Python loop to something that can be called.

A process of its own for :mod:`tests.test_compile_time`: ``python -m tests.compile_time lstm 16 256`` prints a line of
seconds a length.
"""

import sys
import time

import numpy as np

import graphc as G
from graphc import nn, optim

BATCH, FEATURES, HIDDEN = 32, 64, 64


def lstm(steps: int) -> G.Model:
    """One step of Adam on an LSTM whose cell is written out."""
    x, y = G.input("x", (steps, BATCH, FEATURES)), G.input("y", (BATCH,), dtype="int64")
    w, u, b = _gates(4)
    h = c = G.zeros((BATCH, HIDDEN))
    for t in range(steps):
        z = x[t] @ w + h @ u + b
        i, f, g, o = (z[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = G.sigmoid(f) * c + G.sigmoid(i) * G.tanh(g)
        h = G.sigmoid(o) * G.tanh(c)
    return _trained(h, y)


def gru(steps: int) -> G.Model:
    """The same of a GRU."""
    x, y = G.input("x", (steps, BATCH, FEATURES)), G.input("y", (BATCH,), dtype="int64")
    w, u, b = _gates(3)
    h = G.zeros((BATCH, HIDDEN))
    for t in range(steps):
        z, r, n = G.split(x[t] @ w + b, 3, axis=1)
        hz, hr, hn = G.split(h @ u, 3, axis=1)
        z = G.sigmoid(z + hz)
        h = z * h + (1 - z) * G.tanh(n + G.sigmoid(r + hr) * hn)
    return _trained(h, y)


def _gates(count: int) -> tuple[G.Tensor, G.Tensor, G.Tensor]:
    return (
        _parameter("w", FEATURES, count * HIDDEN),
        _parameter("u", HIDDEN, count * HIDDEN),
        _parameter("b", count * HIDDEN),
    )


def _parameter(name: str, *shape: int) -> G.Tensor:
    return G.parameter(name, (np.random.default_rng(0).standard_normal(shape) * 0.05).astype("float32"))


def _trained(h: G.Tensor, y: G.Tensor) -> G.Model:
    loss = nn.losses.sparse_categorical_crossentropy(y, h @ _parameter("v", HIDDEN, 10), from_logits=True)
    return G.Model(train=optim.Adam(1e-3).minimize(loss))


if __name__ == "__main__":
    for steps in map(int, sys.argv[2:]):
        start = time.process_time()
        G.compile({"lstm": lstm, "gru": gru}[sys.argv[1]](steps))
        print(time.process_time() - start)
