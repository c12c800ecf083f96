"""A network that learns to learn: gradients through several steps of gradient descent (MAML).

Each task is a sine of its own amplitude and phase, of which ten points are shown.  The inner loop is what one would
write: a few steps of gradient descent on those points, unrolled in Python.  Its result is a function of the initial
weights and of the learning rates, so both are trained by its gradient, which contains the second derivatives of the
inner loss: ``G.grad`` of ``G.grad``.  What comes out are weights from which three steps suffice (Finn and others,
2017), and a learning rate for each weight (Li and others, 2017).

Beside it a network that was simply trained on the sines of all tasks, and then takes the same three steps with the best
of eight learning rates; and the same meta-training without the second derivatives (``first_order``).

    graphc compile examples/learning_to_learn.py --set inner_steps=5
    graphc render examples/learning_to_learn.py -o learning_to_learn.svg --stage rolled
    python examples/learning_to_learn.py

Data: synthetic, made here.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np

import graphc as G
from graphc import nn, optim

Weights = dict[str, G.Tensor]


def network(weights: Weights, x: G.Tensor) -> G.Tensor:
    """Two hidden layers, for all tasks at once: ``x`` is (tasks, points, 1), each weight (tasks, …)."""
    h = G.tanh(x @ weights["w1"] + weights["b1"])
    h = G.tanh(h @ weights["w2"] + weights["b2"])
    return h @ weights["w3"] + weights["b3"]


def model(
    tasks: int = 20, points: int = 10, hidden: int = 40, inner_steps: int = 3, first_order: bool = False
) -> G.Model:
    """``train`` improves what the inner loop leads to, ``pretrain`` the network as it is; ``adapt`` runs the loop."""
    sizes = [1, hidden, hidden, 1]
    start: Weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        start[f"w{layer}"] = G.parameter(f"w{layer}", "glorot_uniform", shape=(inputs, outputs))
        start[f"b{layer}"] = G.parameter(f"b{layer}", "zeros", shape=(1, outputs))
    constant = nn.initializers.Constant(0.03)
    rates = {name: G.parameter(f"rate/{name}", constant, shape=w.shape) for name, w in start.items()}
    shown_x, shown_y = (G.input(name, (tasks, points, 1)) for name in ("shown_x", "shown_y"))
    x, y = (G.input(name, (tasks, points, 1)) for name in ("x", "y"))

    def loss(weights: Weights, x: G.Tensor, y: G.Tensor) -> G.Tensor:
        return ((network(weights, x) - y) ** 2).mean(axis=(1, 2)).sum()

    # A copy of the weights for each task: the gradient of a sum over tasks is then each task's own.
    weights = {name: G.broadcast_to(w, (tasks, *w.shape)) for name, w in start.items()}
    along = [network(weights, x)]
    pretrain = optim.Adam(1e-3, name="plain").minimize(loss(weights, x, y) / tasks, list(start.values()))
    for _ in range(inner_steps):
        gradients = G.grad(loss(weights, shown_x, shown_y), weights)
        if first_order:
            gradients = {name: G.stop_gradient(gradient) for name, gradient in gradients.items()}
        weights = {name: w - rates[name] * gradients[name] for name, w in weights.items()}
        along.append(network(weights, x))
    train = optim.Adam(1e-3, global_clipnorm=10.0).minimize(loss(weights, x, y) / tasks)
    return G.Model(adapt=G.stack(along), train=train, pretrain=pretrain)


def sines(tasks: int, points: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Points of a sine for each task, some shown and some to predict."""
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    shown_x, x = rng.uniform(-5, 5, (2, tasks, points, 1))
    shown_y, y = (amplitude * np.sin(places + phase) for places in (shown_x, x))
    made = {"shown_x": shown_x, "shown_y": shown_y, "x": x, "y": y}
    return {name: value.astype("float32") for name, value in made.items()}


def errors(m, tasks: int, points: int, seed: int, rounds: int = 20) -> np.ndarray:
    """Mean squared error on fresh tasks before the inner loop and after each of its steps."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rounds):
        made = sines(tasks, points, rng)
        y = made.pop("y")
        found.append(((m.adapt(**made) - y) ** 2).mean(axis=(1, 2, 3)))
    return np.mean(found, axis=0)


def learn(kind: str, steps: int, backend: str = "llvm", seed: int = 0) -> np.ndarray:
    """Errors on fresh tasks after training: ``maml``, ``first order`` or ``plain``."""
    tasks, points = 20, 10
    m = G.compile(model(tasks, points, first_order=kind == "first order"), backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        made = sines(tasks, points, rng)
        if kind == "plain":
            m.pretrain(x=made["x"], y=made["y"])
        else:
            m.train(**made)
    if kind != "plain":
        return errors(m, tasks, points, seed=1000)
    # The learning rate of the plain network is the best of several, by tasks that are not those of the test.
    trials = {}
    for rate in (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2):
        _set_rates(m, rate)
        trials[rate] = errors(m, tasks, points, seed=2000)[-1]
    _set_rates(m, min(trials, key=trials.get))
    return errors(m, tasks, points, seed=1000)


def _set_rates(m, rate: float) -> None:
    for name, value in m.parameters.items():
        if name.startswith("rate/"):
            value[...] = rate


def main() -> int:
    """Train all three, and let them learn fresh tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    found = {}
    print("mean squared error on 400 fresh sines, after 0, 1, 2 and 3 steps on ten points:")
    for kind in ("plain", "first order", "maml"):
        begin = time.perf_counter()
        found[kind] = learn(kind, 20 if options.quick else options.steps, options.backend)
        shown = "  ".join(f"{error:.3f}" for error in found[kind])
        print(f"{kind:>12}: {shown}   {time.perf_counter() - begin:.1f} s")
    last = {kind: errors[-1] for kind, errors in found.items()}
    return 0 if options.quick or (last["maml"] < 0.1 * last["plain"] and last["maml"] < last["first order"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
