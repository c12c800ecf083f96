"""Copy memory: three symbols are shown, and are to be repeated after 50 to 100 empty steps.

Nobody says in advance how long it will be: a mark, repeated three times, asks for the symbols.  (With the delay always
the same, a network need only turn its state like a clock, and a vanilla one can learn that; Henaff, Szlam and LeCun,
2016.)  A network without memory guesses one of eight symbols: ln 8 = 2.079 nats, one sequence right in 512.  So does
the vanilla recurrent network, however long it is trained.  The LSTM repeats all of them, on sequences it has not seen.

    graphc compile examples/copy_memory.py --set cell=rnn
    python examples/copy_memory.py

Data: random sequences, none of them seen twice.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

import graphc as G
from graphc import nn, optim

SYMBOLS, SHOWN, SHORTEST, LONGEST = 8, 3, 50, 100
STEPS = SHOWN + LONGEST + SHOWN
EMPTY, MARK = SYMBOLS, SYMBOLS + 1

UPDATES = {"lstm": 6000, "rnn": 3000}
"""With 3,000 the LSTM gets there from most beginnings, with 6,000 from every one that was tried."""


def rnn(x: G.Tensor, hidden: int) -> G.Tensor:
    """All states of a vanilla network, from an orthogonal recurrent matrix."""
    w = G.parameter("W", shape=(x.shape[-1], hidden))
    u = G.parameter("U", nn.initializers.Orthogonal(), shape=(hidden, hidden))
    b = G.parameter("b", np.zeros(hidden, "float32"))
    h = G.zeros((x.shape[1], hidden))
    states = []
    for t in range(x.shape[0]):
        h = G.tanh(x[t] @ w + h @ u + b)
        states.append(h)
    return G.stack(states)


def lstm(x: G.Tensor, hidden: int) -> G.Tensor:
    """All outputs of an LSTM, its gates i, f, o and the candidate side by side in one product.

    At first little is written (i = 0.27) and much is kept (f = 0.98), so that the gradient reaches far back.
    """
    w = G.parameter("W", shape=(x.shape[-1], 4 * hidden))
    u = G.parameter("U", nn.initializers.Orthogonal(), shape=(hidden, 4 * hidden))
    b = G.parameter("b", np.repeat(np.float32([-1, 4, 0, 0]), hidden))
    h = c = G.zeros((x.shape[1], hidden))
    states = []
    for t in range(x.shape[0]):
        i, f, o, candidate = G.split(x[t] @ w + h @ u + b, 4, axis=1)
        c = G.sigmoid(f) * c + G.sigmoid(i) * G.tanh(candidate)
        h = G.sigmoid(o) * G.tanh(c)
        states.append(h)
    return G.stack(states)


def model(cell: str = "lstm", batch: int = 32, hidden: int = 64, rate: float = 1e-2, updates: int = 6000) -> G.Model:
    """A recurrent layer, and the score of each symbol at each step; only marked steps count in the loss."""
    x = G.input("x", (STEPS, batch), dtype="int64")
    y = G.input("y", (STEPS, batch), dtype="int64")
    h = {"rnn": rnn, "lstm": lstm}[cell](G.one_hot(x, SYMBOLS + 2), hidden)
    scores = nn.Dense(SYMBOLS)(h)
    surprise = -(G.one_hot(y, SYMBOLS) * G.log_softmax(scores)).sum(axis=-1)
    asked = (x == MARK).astype("float32")
    loss = (asked * surprise).sum() / asked.sum()
    optimizer = optim.Adam(optim.schedules.CosineDecay(rate, updates), global_clipnorm=1.0)
    return G.Model(predict=scores, loss=loss, train=optimizer.minimize(loss))


def sequences(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """What is shown (STEPS, batch), and the symbol to say at each marked step."""
    symbols = rng.integers(0, SYMBOLS, (SHOWN, batch))
    delay = rng.integers(SHORTEST, LONGEST + 1, batch)
    x = np.full((STEPS, batch), EMPTY)
    y = np.zeros_like(x)
    x[:SHOWN] = symbols
    for position in range(SHOWN):
        place = SHOWN + delay + position, np.arange(batch)
        x[place], y[place] = MARK, symbols[position]
    return x, y


def learn(cell: str, updates: int, rate: float = 1e-2, hidden: int = 64, seed: int = 0) -> tuple[float, float]:
    """On unseen sequences, after training: nats a symbol, and the share of sequences repeated without a mistake."""
    batch = 32
    rng = np.random.default_rng(seed)
    m = G.compile(model(cell, batch, hidden, rate, updates), seed=seed)
    for _ in range(updates):
        m.train(*sequences(rng, batch))
    tests = [sequences(rng, batch) for _ in range(50)]
    loss = float(np.mean([m.loss(*test) for test in tests]))
    exact = [((m.predict(x).argmax(axis=2) == y) | (x != MARK)).all(axis=0).mean() for x, y in tests]
    return loss, float(np.mean(exact))


def main() -> int:
    """Train both cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, help="by default as many as the cell needs")
    parser.add_argument("--quick", action="store_true", help="20 updates, to see that it runs")
    options = parser.parse_args()
    print(f"without memory: {math.log(SYMBOLS):.3f} nats a symbol, {1 / SYMBOLS**SHOWN:.1%} exact")
    exact = {}
    for cell, rate in (("lstm", 1e-2), ("rnn", 1e-3), ("rnn", 3e-3)):
        begin = time.perf_counter()
        loss, exact[cell] = learn(cell, 20 if options.quick else options.updates or UPDATES[cell], rate)
        seconds = time.perf_counter() - begin
        print(f"{cell:>4}, learning rate {rate}: {loss:.3f} nats, {exact[cell]:.1%} exact, {seconds:.1f} s")
    good = exact["lstm"] > 0.99 and exact["rnn"] < 0.05
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
