"""An LSTM reads handwritten digits row by row.

The model is a plain Python loop over the eight rows of an image, so it arrives unrolled; graphc differentiates it,
finds the loops again, forward and backward, and compiles one training step (forward, backward, Adam) to native code.
What is trained below is the *written folder*: it needs nothing but numpy.

    graphc compile examples/digits_lstm.py        # writes the folder ./digits_lstm
    python examples/digits_lstm.py                # compiles, trains, tests, draws

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI ML hand-written digits, CC BY 4.0), which come inside the package.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import graphc as G
from graphc import nn, optim


def model(steps: int = 8, batch: int = 32, hidden: int = 64, updates: int = 2640) -> G.Model:
    """One LSTM layer over the rows, one dense layer on its last state; the learning rate falls over ``updates``."""
    x = G.input("x", (steps, batch, 8))
    y = G.input("y", (batch,), dtype="int64")
    h = nn.LSTM(hidden, return_sequences=True, time_major=True)(x)
    logits = nn.Dense(10)(nn.Dropout(0.3)(h[-1]))
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    rate = optim.schedules.CosineDecay(8e-3, updates)
    return G.Model(predict=logits, loss=loss, train=optim.Adam(rate).minimize(loss))


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images, time first as (rows, images, pixels of a row) in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    x = (data.images[order] / 16).astype("float32").transpose(1, 0, 2)
    y = data.target[order].astype("int64")
    return x[:, :1437], y[:1437], x[:, 1437:], y[1437:]


def accuracy(m, x: np.ndarray, y: np.ndarray, batch: int) -> float:
    """Share of images whose largest score is at the label; the last batch is filled up by repeating images."""
    right = 0
    for start in range(0, len(y), batch):
        rows = np.arange(start, start + batch) % len(y)
        scores = m.predict(np.ascontiguousarray(x[:, rows]))
        count = min(batch, len(y) - start)
        right += int((scores.argmax(axis=1)[:count] == y[rows][:count]).sum())
    return right / len(y)


def train(m, x: np.ndarray, y: np.ndarray, *, batch: int, epochs: int, seed: int = 0) -> list[float]:
    """Mean loss of each epoch."""
    rng = np.random.default_rng(seed)
    history = []
    for _ in range(epochs):
        order = rng.permutation(len(y))
        losses = []
        for start in range(0, len(y) - batch + 1, batch):
            rows = order[start : start + batch]
            losses.append(float(m.train(np.ascontiguousarray(x[:, rows]), y[rows])))
        history.append(float(np.mean(losses)))
    return history


def main() -> int:
    """Compile, save, import, train, test, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build"), help="folder for the artifact and the diagram"
    )
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    options = parser.parse_args()
    batch = 32

    x, y, x_test, y_test = digits()
    begin = time.perf_counter()
    steps = options.epochs * (len(y) // batch)
    built = model(batch=batch, updates=steps)
    compiled = G.compile(built, backend=options.backend, name="digits_lstm")
    options.output.mkdir(parents=True, exist_ok=True)
    folder = compiled.save(options.output / "digits_lstm", force=True)
    print(f"compiled to {folder} in {time.perf_counter() - begin:.1f} s")

    sys.path.insert(0, str(options.output))
    import digits_lstm  # the folder just written: from here on no compiler is involved

    m = digits_lstm.Model()
    begin = time.perf_counter()
    history = train(m, x, y, batch=batch, epochs=options.epochs)
    print(f"trained {steps} steps in {time.perf_counter() - begin:.1f} s, loss {history[0]:.3f} → {history[-1]:.3f}")
    share = accuracy(m, x_test, y_test, batch)
    print(f"test accuracy {share:.1%} on {len(y_test)} digits the model has not seen")
    m.save_weights(options.output / "digits_lstm.safetensors")

    from graphc.render import render

    picture = render(built.module, options.output / "digits_lstm.svg", stage="rolled", entry="train")
    print(f"drew {picture}")
    return 0 if share >= 0.96 else 1


if __name__ == "__main__":
    raise SystemExit(main())
