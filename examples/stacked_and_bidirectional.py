"""Recurrent layers on top of each other, in both directions, with any cell: which bracket has no partner?

In `)(())(` the first bracket and the last one have none.  To know it of an opening bracket, one must have seen what
follows; to know it of a closing one, what came before.  So a network that reads forwards only cannot do better than
guess at the first kind, however deep it is, and one that reads in both directions, with weights of its own for each,
can do it.  The outputs of the directions are joined by concatenation, sum, product or mean.

    graphc compile examples/stacked_and_bidirectional.py --set cell=gru --set depth=3 --set merge=sum
    graphc compile examples/stacked_and_bidirectional.py --set merge=none        # forwards only
    python examples/stacked_and_bidirectional.py

Data: random strings of 24 brackets, labels from a stack.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import graphc as G
from graphc import nn, optim

CELLS = {"rnn": nn.SimpleRNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def model(
    cell: str = "lstm",
    depth: int = 2,
    merge: str = "concat",
    joined: bool = False,
    steps: int = 24,
    batch: int = 32,
    hidden: int = 16,
    updates: int = 1000,
) -> G.Model:
    """A score for each bracket, from layers of the given cell, each reading the sequence that the one below gives.

    ``merge`` joins the directions, or is ``none`` for forwards only; ``joined`` stacks the cells within one layer, so
    that the two directions meet at the top only.
    """
    x = G.input("x", (batch, steps), dtype="int64")
    y = G.input("y", (batch, steps))
    h = G.one_hot(x, 2)
    for _ in range(1 if joined else depth):
        inner = [CELLS[cell](hidden) for _ in range(depth)] if joined else CELLS[cell](hidden)
        layer = nn.RNN(inner, return_sequences=True)
        h = (layer if merge == "none" else nn.Bidirectional(layer, merge_mode=merge))(h)
    scores = nn.Dense(1)(h)[:, :, 0]
    loss = nn.losses.binary_crossentropy(y, scores, from_logits=True)
    optimizer = optim.Adam(optim.schedules.CosineDecay(1e-2, updates), global_clipnorm=1.0)
    return G.Model(predict=scores, loss=loss, train=optimizer.minimize(loss))


def brackets(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Strings of ( = 0 and ) = 1, and 1 at each bracket without a partner."""
    x = rng.integers(0, 2, (batch, steps))
    y = np.ones((batch, steps), "float32")
    for row in range(batch):
        open_ones: list[int] = []
        for t in range(steps):
            if x[row, t] == 0:
                open_ones.append(t)
            elif open_ones:
                y[row, [t, open_ones.pop()]] = 0
    return x, y


def learn(updates: int, seed: int = 0, **settings) -> tuple[float, float]:
    """Share of brackets told rightly on unseen strings after training: opening ones, closing ones."""
    steps, batch = 24, 32
    rng = np.random.default_rng(seed)
    m = G.compile(model(steps=steps, batch=batch, updates=updates, **settings), seed=seed)
    for _ in range(updates):
        m.train(*brackets(rng, steps, batch))
    tests = [brackets(rng, steps, batch) for _ in range(50)]
    x = np.concatenate([part for part, _ in tests])
    right = np.concatenate([(m.predict(part) > 0) == (answer > 0.5) for part, answer in tests])
    return float(right[x == 0].mean()), float(right[x == 1].mean())


NETWORKS: dict[str, dict] = {
    "lstm, 2 layers, forwards only": {"merge": "none"},
    "rnn, 1 layer, concat": {"cell": "rnn", "depth": 1},
    "lstm, 1 layer, concat": {"depth": 1},
    "lstm, 2 layers, concat": {},
    "lstm, 2 layers, sum": {"merge": "sum"},
    "lstm, 2 layers, mul": {"merge": "mul"},
    "lstm, 2 layers, ave": {"merge": "ave"},
    "lstm, 2 cells in a layer, concat": {"joined": True},
    "gru, 3 layers, concat": {"cell": "gru", "depth": 3},
}


def main() -> int:
    """Train each network and print its share of right answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="two networks and 20 updates, to see that it runs")
    options = parser.parse_args()
    good = True
    for name, settings in list(NETWORKS.items())[: 2 if options.quick else None]:
        begin = time.perf_counter()
        opening, closing = learn(20 if options.quick else options.updates, **settings)
        print(f"{name:>32}: ( {opening:.1%}, ) {closing:.1%} right, {time.perf_counter() - begin:.1f} s")
        good = good and closing > 0.99 and (opening > 0.99) == (settings.get("merge") != "none")
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
