"""Batch normalization while training and afterwards, and what an artifact keeps of it.

The chemical measurements of a wine differ by four orders of magnitude: proline is about 750, hue about 1.  A network
that takes them as they are learns slowly and unsurely; one that begins with batch normalization learns at once, and
needs no scaling of the data before.

* ``train`` normalizes by the mean and variance of its batch, and blends these into two running statistics;
* ``predict`` uses the running statistics: a wine gets the same answer alone as in company;
* ``predict_by_batch`` shows the difference: the training form (``training=True``), which depends on the company;
* the running statistics are state of the model: they are saved in the artifact and found there after loading.

    graphc compile examples/batch_normalization.py
    python examples/batch_normalization.py

Data: scikit-learn's 178 wines of three growers (UCI, CC BY 4.0; inside the package, BSD-3).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _data import Split, accuracy, batches, split

import graphc as G
from graphc import nn, optim


def model(normalized: bool = True, batch: int = 16, features: int = 13) -> G.Model:
    """Two hidden layers, with batch normalization in front of each, or without."""
    x = G.input("x", (batch, features))
    y = G.input("y", (batch,), dtype="int64")
    network = nn.Sequential()
    for width in (32, 32):
        if normalized:
            network.add(nn.BatchNormalization(momentum=0.9))
        network.add(nn.Dense(width, activation="relu"))
    network.add(nn.Dense(3))
    logits = network(x)
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    train = optim.Adam(3e-3).minimize(loss)
    return G.Model(predict=logits, predict_by_batch=network(x, training=True), loss=loss, train=train)


def wines() -> Split:
    """128 + 50 wines, unscaled, and who grew each."""
    from sklearn.datasets import load_wine

    data = load_wine()
    return split(data.data.astype("float32"), data.target.astype("int64"), test=50)


def learn(normalized: bool, epochs: int, backend: str = "llvm", seed: int = 0):
    """The trained model and the share of the test wines that it gets right."""
    batch = 16
    m = G.compile(model(normalized, batch), backend=backend, seed=seed)
    data = wines()
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in batches(len(data.y), batch, rng):
            m.train(data.x[rows], data.y[rows])
    return m, accuracy(m.predict, data.x_test, data.y_test, batch)


def alone_and_in_company(m) -> dict[str, bool]:
    """For each form, whether a wine gets the same answer among other wines."""
    x = wines().x_test
    first, second = x[:16].copy(), x[16:32].copy()
    second[0] = first[0]
    return {
        form: bool(np.allclose(getattr(m, form)(first)[0], getattr(m, form)(second)[0], rtol=1e-5, atol=1e-5))
        for form in ("predict", "predict_by_batch")
    }


def main() -> int:
    """Train with and without, look at both forms, save and load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    epochs = 2 if options.quick else options.epochs
    plain = np.mean([learn(False, epochs, options.backend, seed)[1] for seed in range(3)])
    runs = [learn(True, epochs, options.backend, seed) for seed in range(3)]
    m, share = runs[0][0], np.mean([share for _, share in runs])
    print(f"50 unseen wines after {epochs} epochs, mean of three seeds:")
    print(f"  {plain:.0%} right without batch normalization, {share:.0%} with it")

    same = alone_and_in_company(m)
    for form, alike in same.items():
        print(f"{form}: the same wine in other company gets {'the same' if alike else 'another'} answer")

    data = wines()
    running = m.parameters["batch_normalization/moving_mean"]
    print(f"mean proline {data.x[:, -1].mean():.0f}, its running mean {running[-1]:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        loaded = G.load(m.save(Path(folder) / "wines"))
        kept = np.array_equal(loaded.parameters["batch_normalization/moving_mean"], running)
        answers = np.array_equal(loaded.predict(data.x_test[:16]), m.predict(data.x_test[:16]))
    print(f"saved and loaded: statistics {'equal' if kept else 'differ'}, answers {'equal' if answers else 'differ'}")
    print(f"{time.perf_counter() - begin:.1f} s")
    right = kept and answers and same == {"predict": True, "predict_by_batch": False}
    return 0 if right and (options.quick or (share >= 0.9 and share > plain)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
