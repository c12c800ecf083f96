"""Recurrent networks by the shape of what goes in and what comes out, each on a task about sine waves.

    one to one      a phase                   → the sine of it          no recurrence: a network as any other
    one to many     a frequency and a phase   → the wave, step by step  the state is all the network has to go by
    many to one     a noisy wave              → its frequency           the answer is read off the last state
    many to many    a noisy wave              → the wave without noise  an answer at each step, from what came before

The cell is the same in all of them, h = tanh(x W + h U + b), written out below; only the loop around it differs.  (In
the fifth shape, many to many with an encoder and a decoder, the answer begins when the question has ended.)

    graphc compile examples/rnn_shapes.py --set shape=one_to_many
    graphc render examples/rnn_shapes.py --stage rolled --set shape=many_to_one -o many_to_one.svg
    python examples/rnn_shapes.py

Data: waves of 40 samples with a random phase, and noise of a standard deviation of 0.5 where the task has any.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import graphc as G
from graphc import nn, optim

INPUTS = {"one_to_one": 1, "one_to_many": 2, "many_to_one": 1, "many_to_many": 1}

LIMITS = {"one_to_one": 0.01, "one_to_many": 0.08, "many_to_one": 0.02, "many_to_many": 0.13}
"""What each must reach."""


def cell(features: int, hidden: int):
    """The step tanh(x W + h U + b) as a function of (x, h); x is None where nothing is read."""
    w = G.parameter("W", shape=(features, hidden))
    u = G.parameter("U", nn.initializers.Orthogonal(), shape=(hidden, hidden))
    b = G.parameter("b", np.zeros(hidden, "float32"))

    def step(x: G.Tensor | None, h: G.Tensor) -> G.Tensor:
        recurrent = h @ u + b
        return G.tanh(recurrent if x is None else recurrent + x @ w)

    return step


def model(
    shape: str = "many_to_many", steps: int = 40, batch: int = 32, hidden: int = 32, updates: int = 4000
) -> G.Model:
    """One of the four shapes; a wave is (steps, batch, 1)."""
    many_in, many_out = shape.startswith("many"), shape.endswith("many")
    features = INPUTS[shape]
    x = G.input("x", (steps, batch, features) if many_in else (batch, features))
    y = G.input("y", (steps, batch, 1) if many_out else (batch, 1))
    step = cell(features, hidden)
    states = [step(x[0] if many_in else x, G.zeros((batch, hidden)))]
    if many_in or many_out:
        for t in range(1, steps):
            states.append(step(x[t] if many_in else None, states[-1]))
    v = G.parameter("V", shape=(hidden, 1))
    answer = (G.stack(states) if many_out else states[-1]) @ v
    loss = nn.losses.mean_squared_error(y, answer)
    optimizer = optim.Adam(optim.schedules.CosineDecay(5e-3, updates), global_clipnorm=1.0)
    return G.Model(predict=answer, loss=loss, train=optimizer.minimize(loss))


def task(shape: str, rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and answers; frequencies are from 1 to 4 periods in the 40 steps and enter as a number from −1 to 1."""
    phase = rng.uniform(0, 2 * np.pi, batch)
    speed = rng.uniform(-1, 1, batch)
    turns = (2.5 + 1.5 * speed) / 40
    wave = np.sin(phase + 2 * np.pi * turns * np.arange(steps)[:, None])[..., None]
    angle = phase / np.pi - 1
    noisy = wave + 0.5 * rng.standard_normal(wave.shape)
    x, y = {
        "one_to_one": (angle[:, None], wave[0]),
        "one_to_many": (np.stack([speed, angle], axis=1), wave),
        "many_to_one": (noisy, speed[:, None]),
        "many_to_many": (noisy, wave),
    }[shape]
    return x.astype("float32"), y.astype("float32")


def learn(shape: str, updates: int, seed: int = 0) -> float:
    """The mean squared error on unseen waves after training, as a share of the answers' variance."""
    steps, batch = 40, 32
    rng = np.random.default_rng(seed)
    m = G.compile(model(shape, steps, batch, updates=updates), seed=seed)
    for _ in range(updates):
        m.train(*task(shape, rng, steps, batch))
    tests = [task(shape, rng, steps, batch) for _ in range(50)]
    error = np.mean([m.loss(*test) for test in tests])
    return float(error / np.var(np.concatenate([y.ravel() for _, y in tests])))


def main() -> int:
    """Train all four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--quick", action="store_true", help="100 updates, to see that it runs")
    options = parser.parse_args()
    print("error as a share of the variance (1 is always saying the mean; the noise itself is 0.5):")
    good = True
    for shape, limit in LIMITS.items():
        begin = time.perf_counter()
        error = learn(shape, 100 if options.quick else options.updates)
        print(f"{shape:>12}: {error:.4f}, {time.perf_counter() - begin:.1f} s")
        good = good and error < limit
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
