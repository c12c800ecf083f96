"""A network that says how sure it is: its outputs are the mean and the log-variance of a normal distribution.

How fast a disease progresses can be told from ten measurements only roughly, and for some patients more roughly than
for others.  The network's two outputs are the parameters of N(mean, exp(log-variance)); the loss is the negative
log-likelihood of what was observed,

    ½ (log-variance + (y − mean)² / exp(log-variance) + log 2π)

(Nix and Weigend, 1994).  Whether its intervals can be trusted shows on patients it has not seen: 80 of 100 should lie
in an 80 % interval.  Each tenth of the patients is left out once, so that all of them are tested.  Beside it stands the
same network with one variance for all, which it learns as well.

    graphc compile examples/mean_and_variance.py
    graphc render examples/mean_and_variance.py --stage equations -o likelihood.html --set hidden=4
    python examples/mean_and_variance.py

Data: scikit-learn's diabetes data (Efron and others, 2004; inside the package, BSD-3): 442 patients.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import NormalDist

import numpy as np
from _data import batches, in_batches

import graphc as G
from graphc import nn, optim

BATCH = 36


def model(
    hidden: int = 16, own_variance: bool = True, decay: float = 0.02, batch: int = BATCH, features: int = 10
) -> G.Model:
    """Mean and log-variance of the target; ``own_variance=False`` learns one log-variance for everybody."""
    x = G.input("x", (batch, features))
    y = G.input("y", (batch,))
    h = nn.Dense(hidden, activation="tanh", kernel_regularizer=nn.regularizers.L2(decay))(x)
    outputs = nn.Dense(2, kernel_regularizer=nn.regularizers.L2(decay))(h)
    mean = outputs[:, 0]
    log_variance = outputs[:, 1]
    if not own_variance:
        log_variance = G.broadcast_to(G.parameter("log_variance", 0.0, shape=()), (batch,))
    squares = (y - mean) ** 2 * G.exp(-log_variance)
    loss = 0.5 * (log_variance + squares + math.log(2 * math.pi)).mean()
    distribution = G.stack([mean, G.exp(0.5 * log_variance)], axis=1)
    return G.Model(predict=distribution, loss=loss, train=optim.Adam(3e-3).minimize(loss))


def patients() -> tuple[np.ndarray, np.ndarray]:
    """Ten measurements of each patient, and the progression of the disease, both standardized."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    x, y = data.data / data.data.std(axis=0), (data.target - data.target.mean()) / data.target.std()
    order = np.random.default_rng(0).permutation(len(y))
    return x[order].astype("float32"), y[order].astype("float32")


def figures(own_variance: bool, epochs: int, folds: int = 10, backend: str = "llvm") -> dict[str, float]:
    """Mean log-likelihood of unseen patients, and the share of them inside intervals of each size."""
    x, y = patients()
    fold = np.arange(len(y)) % 10
    found, seen = [], []
    m = G.compile(model(own_variance=own_variance), backend=backend)
    start = {name: np.array(value) for name, value in m.parameters.items()}
    for left_out in range(folds):
        for name, value in start.items():
            m.parameters[name][...] = value
        train, rng = np.flatnonzero(fold != left_out), np.random.default_rng(left_out)
        for _ in range(epochs):
            for rows in batches(len(train), BATCH, rng):
                m.train(x[train[rows]], y[train[rows]])
        found.append(in_batches(m.predict, x[fold == left_out], BATCH).astype("float64"))
        seen.append(y[fold == left_out])
    mean, deviation = np.concatenate(found).T
    score = (np.concatenate(seen) - mean) / deviation
    made = {"log-likelihood": float(np.mean(-0.5 * score**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)))}
    for size in (50, 80, 95):
        made[f"{size} %"] = float(np.mean(abs(score) < NormalDist().inv_cdf(0.5 + size / 200)))
    if own_variance:  # are the patients of whom it is unsure those of whom it is wrong?
        error, order, quarter = score * deviation, np.argsort(deviation), len(deviation) // 4
        made["error, surest quarter"] = float(np.sqrt((error[order[:quarter]] ** 2).mean()))
        made["error, least sure"] = float(np.sqrt((error[order[-quarter:]] ** 2).mean()))
    return made


def main() -> int:
    """Both networks, cross-validated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one fold, two epochs, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    epochs, folds = (2, 1) if options.quick else (options.epochs, 10)
    own, common = (figures(kind, epochs, folds, options.backend) for kind in (True, False))
    print(f"{'442 unseen patients':<28}{'own variance':>14}{'one for all':>14}")
    for name, value in own.items():
        other = f"{common[name]:>14.3f}" if name in common else ""
        print(f"{'in the interval of ' * name.endswith('%') + name:<28}{value:>14.3f}{other}")
    print(f"{time.perf_counter() - begin:.1f} s")
    calibrated = all(abs(own[f"{size} %"] - size / 100) < 0.05 for size in (50, 80, 95))
    return 0 if options.quick or (calibrated and own["log-likelihood"] > common["log-likelihood"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
