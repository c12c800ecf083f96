"""A convolutional network in PyTorch's spelling tells two photographs apart by small colour patches.

``Conv2d(in_channels, out_channels, kernel_size, stride)``, ``ReLU``, ``MaxPool2d`` and ``Linear`` have PyTorch's
argument names, defaults and layout: images are (batch, channels, rows, columns).  They stand beside Keras' layers.

The patches are 16×16 pixels of a Chinese temple and of a flower.  Those to learn from come from the upper part of each
photograph, those to test on from the lower quarter, so that no pixel is seen twice.

    graphc compile examples/photographs_torch_cnn.py
    python examples/photographs_torch_cnn.py

Data: china.jpg and flower.jpg inside scikit-learn (photographs by danielbuechele and vultilion on Flickr, CC BY 2.0).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import Split, accuracy, batches

import graphc as G
from graphc import nn, optim


class Network:
    """What a PyTorch user would write as an ``nn.Module``."""

    def __init__(self, d: int = 16, classes: int = 2) -> None:
        """Make the layers; their weights are made when the first tensor comes."""
        self.features = nn.Sequential(
            [
                nn.Conv2d(in_channels=3, out_channels=d, kernel_size=(3, 3), stride=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(in_channels=d, out_channels=2 * d, kernel_size=(3, 3), stride=2),
                nn.ReLU(),
                nn.Flatten(),
            ]
        )
        self.classifier = nn.Linear(2 * d * 3 * 3, classes)

    def forward(self, x: G.Tensor) -> G.Tensor:
        """Scores of the classes for images of (batch, 3, 16, 16)."""
        return self.classifier(self.features(x))


def model(d: int = 16, batch: int = 50) -> G.Model:
    """The network, and a step of Adam on the cross-entropy of its scores."""
    x = G.input("x", (batch, 3, 16, 16))
    y = G.input("y", (batch,), dtype="int64")
    scores = Network(d).forward(x)
    loss = nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)
    return G.Model(predict=scores, loss=loss, train=optim.Adam(lr=1e-3).minimize(loss))


def patches(size: int = 16, train: int = 2000, test: int = 500) -> Split:
    """As many patches of each photograph, channels first, and which photograph they are of."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    parts = {}
    for label, name in enumerate(("china.jpg", "flower.jpg")):
        picture = (load_sample_image(name) / 255).astype("float32").transpose(2, 0, 1)
        edge = picture.shape[1] * 3 // 4
        for part, region, count in (("train", picture[:, :edge], train), ("test", picture[:, edge:], test)):
            tops = rng.integers(0, region.shape[1] - size, count)
            lefts = rng.integers(0, region.shape[2] - size, count)
            corners = zip(tops, lefts, strict=True)
            parts[part, label] = [region[:, top : top + size, left : left + size] for top, left in corners]
    x, x_test = (np.stack(parts[part, 0] + parts[part, 1]) for part in ("train", "test"))
    y, y_test = (np.repeat([0, 1], count) for count in (train, test))
    return Split(x, y, x_test, y_test)


def learn(epochs: int, backend: str = "llvm", seed: int = 0) -> float:
    """The share of the test patches that are given to the right photograph."""
    batch = 50
    m = G.compile(model(batch=batch), backend=backend, seed=seed)
    data = patches()
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = [m.train(data.x[rows], data.y[rows]) for rows in batches(len(data.y), batch, rng)]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    return accuracy(m.predict, data.x_test, data.y_test, batch)


def main() -> int:
    """Compile in memory, train, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    share = learn(1 if options.quick else options.epochs, options.backend)
    print(f"test accuracy {share:.1%} on 1,000 patches of unseen ground, {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or share >= 0.95 else 1


if __name__ == "__main__":
    raise SystemExit(main())
