"""A small convolutional network on handwritten digits, with images that are varied while it learns.

Two convolutions with max pooling, dropout, one dense layer.  1,437 images are few: each epoch sees them moved by up to
one pixel and made a little brighter or darker, which is NumPy between the calls of the compiled training step.

    graphc compile examples/digits_cnn.py
    python examples/digits_cnn.py

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI, CC BY 4.0; inside the package, BSD-3).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import accuracy, batches, digits

import graphc as G
from graphc import nn, optim


def model(batch: int = 32, size: int = 8, filters: int = 32, rate: float = 0.4) -> G.Model:
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


def varied(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images moved by up to one pixel each way, zeros moving in, and up to a tenth brighter or darker."""
    rows, columns = x.shape[1:3]
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = rng.integers(0, 3, (len(x), 2))
    moved = [
        image[down : down + rows, right : right + columns] for image, (down, right) in zip(framed, corners, strict=True)
    ]
    brightness = rng.uniform(0.9, 1.1, (len(x), 1, 1, 1))
    return (np.stack(moved) * brightness).astype("float32")


def learn(epochs: int, backend: str = "llvm", seed: int = 0) -> float:
    """The share of right answers on the test images, after training."""
    batch = 32
    m = G.compile(model(batch=batch), backend=backend, seed=seed)
    data = digits()
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = [m.train(varied(data.x[rows], rng), data.y[rows]) for rows in batches(len(data.y), batch, rng)]
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    return accuracy(m.predict, data.x_test, data.y_test, batch)


def main() -> int:
    """Compile in memory, train, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    share = learn(1 if options.quick else options.epochs, options.backend)
    print(f"test accuracy {share:.1%} on 360 digits the model has not seen, {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or share >= 0.98 else 1


if __name__ == "__main__":
    raise SystemExit(main())
