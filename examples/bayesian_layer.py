"""A dense layer whose weights are distributions: what the network has not seen, it does not claim to know.

Each weight has a normal distribution of its own, N(μ, σ²) with σ = softplus(ρ) ("mean field").  A call draws weights
as μ + σ·ε with ε from N(0, 1), so the draw can be differentiated by μ and ρ (Kingma and Welling, 2014; Blundell and
others, 2015).  Training lowers

    −log-likelihood of the data + KL(distribution of the weights ‖ prior),

the KL in closed form.  No library has this layer: ``BayesianDense`` is twenty lines on ``nn.Layer``.

The data are 80 noisy points of a sine between −1 and 1.  There the functions that are drawn agree; further out each
goes its own way, and their spread says so.  A network with ordinary weights is as sure of its one answer everywhere.

    graphc compile examples/bayesian_layer.py
    python examples/bayesian_layer.py

Data: synthetic, made here.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise

import numpy as np

import graphc as G
from graphc import nn, optim

POINTS, NOISE = 80, 0.1
PLACES = {"0 to 1, among the data": (0, 1), "1 to 1.5": (1, 1.5), "1.5 to 2": (1.5, 2), "2 to 3": (2, 3)}
"""Where the drawn functions are compared, on both sides of 0."""


class BayesianDense(nn.Layer):
    """x·W + b with W and b drawn anew; the first axis of ``x`` counts draws, each of which has weights of its own."""

    def __init__(self, units: int, prior: float = 1.0, **options: object) -> None:
        """As many outputs as ``units``; ``prior`` is the standard deviation of a weight before any data."""
        super().__init__(**options)
        self.units, self.prior = units, prior

    def build(self, shape: tuple[int, ...]) -> None:
        """The distribution of the weights; the bias is the last row."""
        size = (shape[-1] + 1, self.units)
        self.mean = self.add_weight("mean", size, nn.initializers.RandomNormal(stddev=1.0))
        self.rho = self.add_weight("rho", size, nn.initializers.Constant(-5.0))

    def call(self, x: G.Tensor) -> G.Tensor:
        """(draws, batch, features) → (draws, batch, units)."""
        noise = G.random_normal((x.shape[0], *self.mean.shape))
        weights = self.mean + G.softplus(self.rho) * noise
        return x @ weights[:, :-1] + weights[:, -1:]

    def divergence(self) -> G.Tensor:
        """KL of the weights' distribution from the prior N(0, prior²), in nats."""
        deviation = G.softplus(self.rho) / self.prior
        return (0.5 * (deviation**2 + (self.mean / self.prior) ** 2 - 1) - G.log(deviation)).sum()


def model(hidden: int = 32, draws: int = 16, functions: int = 200, points: int = POINTS, steps: int = 30000) -> G.Model:
    """``train`` on all points with some draws of the weights; ``predict`` gives many functions at the points."""
    x = G.input("x", (points,))
    y = G.input("y", (points,))
    first, second = BayesianDense(hidden, prior=3.0), BayesianDense(1)

    def drawn(count: int) -> G.Tensor:
        return second(G.softplus(first(G.broadcast_to(x[None, :, None], (count, points, 1)))))[:, :, 0]

    errors = (drawn(draws) - y) / NOISE
    likelihood = -(0.5 * errors**2 + math.log(NOISE * math.sqrt(2 * math.pi))).sum() / draws
    divergence = first.divergence() + second.divergence()
    rate = optim.schedules.CosineDecay(5e-3, steps)
    outputs = {"log_likelihood": likelihood, "divergence": divergence}
    train = optim.Adam(rate).minimize(divergence - likelihood, outputs=outputs)
    return G.Model(predict=drawn(functions), train=train)


def truth(x: np.ndarray) -> np.ndarray:
    """What the points are of."""
    return np.sin(3 * x)


def figures(steps: int, backend: str = "llvm", seed: int = 0) -> tuple[float, dict[str, tuple[float, float]]]:
    """The share of fresh points in the 90 % interval, and error and spread of the drawn functions at each place."""
    m = G.compile(model(steps=steps), backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, POINTS).astype("float32")
    y = (truth(x) + NOISE * rng.standard_normal(POINTS)).astype("float32")
    for step in range(steps):
        out = m.train(x, y)
        if (step + 1) % 10000 == 0:
            likelihood, divergence = float(out["log_likelihood"]), float(out["divergence"])
            print(f"step {step + 1}: log-likelihood {likelihood:.1f}, KL {divergence:.1f} nats")
    made = {}
    for name, (low, high) in PLACES.items():
        places = np.linspace(low, high, POINTS // 2, dtype="float32")
        places = np.concatenate([-places, places])
        functions = m.predict(places)
        error = np.sqrt(((functions.mean(axis=0) - truth(places)) ** 2).mean())
        made[name] = float(error), float(functions.std(axis=0).mean())
    # Points as those of the training: the noise comes on top of the spread.
    functions = m.predict(x)
    fresh = truth(x) + NOISE * rng.standard_normal((1000, POINTS))
    interval = 1.645 * np.sqrt(functions.var(axis=0) + NOISE**2)
    return float((abs(fresh - functions.mean(axis=0)) < interval).mean()), made


def main() -> int:
    """Train, and compare where there were data with where there were none."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30000)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    covered, found = figures(20 if options.quick else options.steps, options.backend)
    for place, (error, spread) in found.items():
        print(f"{place:<28} error {error:.3f}, spread of the functions {spread:.3f}")
    print(f"fresh points in the 90 % interval: {covered:.0%}, {time.perf_counter() - begin:.1f} s")
    spreads = [spread for _, spread in found.values()]
    growing = all(after > 1.5 * before for before, after in pairwise(spreads))
    return 0 if options.quick or (growing and 0.85 < covered < 0.97) else 1


if __name__ == "__main__":
    raise SystemExit(main())
