"""Six forms of the LSTM, each a Python loop as a lecture writes it, on the same handwritten digits.

    standard                 i, f, o = σ(x W + h U + b),  c̃ = tanh(x W + h U + b),  c = f∘c + i∘c̃,  h = o∘tanh(c)
    no bias                  the same without b
    forget bias              the same with 1 added to the forget gate's sum, so that the cell remembers from the start
    peepholes, diagonal      i and f see the cell, each unit its own, before the step, o sees it after the step
    peepholes, full          the same with matrices: every gate sees the whole cell
    gates on [x, h]          one product with x and h joined, and h = o∘c without a tanh

None of them is known to the compiler, and none costs more than the layer of a library: what a step does is found and
fused, whatever it is.  (Ready-made they are nn.LSTM, nn.PeepholeLSTMCell and nn.ConcatLSTMCell.)

    graphc compile examples/lstm_variants.py --set "variant=peepholes, full"
    python examples/lstm_variants.py

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI ML hand-written digits, CC BY 4.0), read row by row.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import numpy as np
from _data import accuracy, batches, digits

import graphc as G
from graphc import nn, optim

GATES = ("i", "f", "o", "c")


def matrices(letter: str, shape: tuple[int, int], gates: tuple[str, ...] = GATES) -> dict[str, G.Tensor]:
    """A matrix for each gate, called ``W_i`` and so on."""
    return {gate: G.parameter(f"{letter}_{gate}", shape=shape) for gate in gates}


def vectors(letter: str, size: int, gates: tuple[str, ...] = GATES) -> dict[str, G.Tensor]:
    """A vector for each gate, zero at first."""
    return {gate: G.parameter(f"{letter}_{gate}", np.zeros(size, "float32")) for gate in gates}


def standard(x: G.Tensor, hidden: int, bias: bool = True, forget_bias: float = 0.0) -> G.Tensor:
    """The last h of Hochreiter and Schmidhuber's cell with the forget gate of Gers et al. (2000); x by step first."""
    w, u = matrices("W", (x.shape[-1], hidden)), matrices("U", (hidden, hidden))
    b = vectors("b", hidden) if bias else dict.fromkeys(GATES, 0.0)
    h = c = G.zeros((x.shape[1], hidden))
    for t in range(x.shape[0]):
        i = G.sigmoid(x[t] @ w["i"] + h @ u["i"] + b["i"])
        f = G.sigmoid(x[t] @ w["f"] + h @ u["f"] + b["f"] + forget_bias)
        o = G.sigmoid(x[t] @ w["o"] + h @ u["o"] + b["o"])
        candidate = G.tanh(x[t] @ w["c"] + h @ u["c"] + b["c"])
        c = f * c + i * candidate
        h = o * G.tanh(c)
    return h


def peepholes(x: G.Tensor, hidden: int, diagonal: bool = True) -> G.Tensor:
    """The last h where the gates see the cell (Gers and Schmidhuber, 2000)."""
    w, u, b = matrices("W", (x.shape[-1], hidden)), matrices("U", (hidden, hidden)), vectors("b", hidden)
    seen = ("i", "f", "o")
    p = vectors("P", hidden, seen) if diagonal else matrices("P", (hidden, hidden), seen)
    look = (lambda c, weights: c * weights) if diagonal else G.matmul
    h = c = G.zeros((x.shape[1], hidden))
    for t in range(x.shape[0]):
        i = G.sigmoid(x[t] @ w["i"] + h @ u["i"] + look(c, p["i"]) + b["i"])
        f = G.sigmoid(x[t] @ w["f"] + h @ u["f"] + look(c, p["f"]) + b["f"])
        c = f * c + i * G.tanh(x[t] @ w["c"] + h @ u["c"] + b["c"])
        o = G.sigmoid(x[t] @ w["o"] + h @ u["o"] + look(c, p["o"]) + b["o"])
        h = o * G.tanh(c)
    return h


def joined(x: G.Tensor, hidden: int) -> G.Tensor:
    """The last h where every gate reads [x, h] and the output is o∘c."""
    w, b = matrices("W", (x.shape[-1] + hidden, hidden)), vectors("b", hidden)
    h = c = G.zeros((x.shape[1], hidden))
    for t in range(x.shape[0]):
        xh = G.concat([x[t], h], axis=1)
        i, f, o = (G.sigmoid(xh @ w[gate] + b[gate]) for gate in ("i", "f", "o"))
        c = f * c + i * G.tanh(xh @ w["c"] + b["c"])
        h = o * c
    return h


VARIANTS = {
    "standard": standard,
    "no bias": partial(standard, bias=False),
    "forget bias": partial(standard, forget_bias=1.0),
    "peepholes, diagonal": peepholes,
    "peepholes, full": partial(peepholes, diagonal=False),
    "gates on [x, h]": joined,
}


def model(variant: str = "standard", batch: int = 32, hidden: int = 64, updates: int = 1320) -> G.Model:
    """One of the variants over the rows of an image, one dense layer on its last h."""
    x = G.input("x", (batch, 8, 8, 1))
    y = G.input("y", (batch,), dtype="int64")
    rows = G.moveaxis(x[..., 0], 1, 0)
    h = VARIANTS[variant](rows, hidden)
    logits = nn.Dense(10)(nn.Dropout(0.3)(h))
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    optimizer = optim.Adam(optim.schedules.CosineDecay(8e-3, updates))
    return G.Model(predict=logits, loss=loss, train=optimizer.minimize(loss))


def learn(variant: str, epochs: int, seed: int = 0) -> tuple[float, float]:
    """Share of unseen digits told rightly after training, and milliseconds that an update takes."""
    batch, data = 32, digits()
    rng = np.random.default_rng(seed)
    updates = epochs * (len(data.y) // batch)
    m = G.compile(model(variant, batch, updates=updates), seed=seed)
    begin = time.perf_counter()
    for _ in range(epochs):
        for rows in batches(len(data.y), batch, rng):
            m.train(data.x[rows], data.y[rows])
    return accuracy(m.predict, data.x_test, data.y_test, batch), (time.perf_counter() - begin) / updates * 1000


def main() -> int:
    """Train each variant in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="two variants and one epoch, to see that it runs")
    options = parser.parse_args()
    good = True
    for variant in list(VARIANTS)[: 2 if options.quick else None]:
        begin = time.perf_counter()
        share, cost = learn(variant, 1 if options.quick else options.epochs)
        print(f"{variant:>20}: {share:.1%} right, {cost:.2f} ms an update, {time.perf_counter() - begin:.1f} s")
        good = good and share >= 0.95
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
