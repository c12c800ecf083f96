"""A small convolutional network on handwritten digits.

    python examples/digits_cnn.py

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI ML hand-written digits, CC BY 4.0), which come inside the package.
"""

from __future__ import annotations

import argparse

import numpy as np

import graphc as G
from graphc import nn, optim


def model(batch: int = 32, size: int = 8, filters: int = 16, rate: float = 0.25) -> G.Model:
    """Two convolutions with max pooling, dropout, one dense layer; images as (batch, rows, columns, 1)."""
    x = G.input("x", (batch, size, size, 1))
    y = G.input("y", (batch,), dtype="int64")
    h = nn.Conv2D(filters, kernel_size=(3, 3), padding="same", activation="relu")(x)
    h = nn.MaxPooling2D(pool_size=(2, 2))(h)
    h = nn.Conv2D(2 * filters, kernel_size=(3, 3), padding="same", activation="relu")(h)
    h = nn.MaxPooling2D(pool_size=(2, 2))(h)
    h = nn.Dropout(rate)(nn.Flatten()(h))
    logits = nn.Dense(10)(h)
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, loss=loss, train=optim.Adam(2e-3).minimize(loss))


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test images as (images, rows, columns, 1) in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    x = (data.images[order] / 16).astype("float32")[..., None]
    y = data.target[order].astype("int64")
    return x[:1437], y[:1437], x[1437:], y[1437:]


def accuracy(m, x: np.ndarray, y: np.ndarray, batch: int) -> float:
    """Share of images whose largest score is at the label; the last batch is filled up by repeating images."""
    right = 0
    for start in range(0, len(y), batch):
        rows = np.arange(start, start + batch) % len(y)
        count = min(batch, len(y) - start)
        right += int((m.predict(x[rows]).argmax(axis=1)[:count] == y[rows][:count]).sum())
    return right / len(y)


def main() -> int:
    """Compile in memory, train, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    options = parser.parse_args()
    batch = 32
    m = G.compile(model(batch=batch), backend=options.backend)
    x, y, x_test, y_test = digits()
    rng = np.random.default_rng(0)
    for epoch in range(options.epochs):
        order = rng.permutation(len(y))
        losses = [
            m.train(x[order[s : s + batch]], y[order[s : s + batch]]) for s in range(0, len(y) - batch + 1, batch)
        ]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    share = accuracy(m, x_test, y_test, batch)
    print(f"test accuracy {share:.1%} on {len(y_test)} digits the model has not seen")
    return 0 if share >= 0.95 else 1


if __name__ == "__main__":
    raise SystemExit(main())
