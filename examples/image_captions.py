"""Image captioning: a convolutional network looks at a digit, a recurrent one spells what it is: "seven".

One to many: the picture comes once, as the decoder's first state, and the caption leaves character by character.  No
class is predicted anywhere; the caption counts as right where all six characters are those of the digit's name.

``train`` gives the decoder the right characters so far (teacher forcing); ``predict`` gives it its own, inside the
graph.  The convolutional part starts at random and learns from the characters alone.

    graphc compile examples/image_captions.py
    python examples/image_captions.py
    python examples/image_captions.py --write c.npz && graphc train examples/image_captions.py --data c.npz

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI, CC BY 4.0; inside the package, BSD-3).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _data import batches, digits, in_batches

import graphc as G
from graphc import nn, optim

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ALPHABET = " " + "".join(sorted(set("".join(NAMES))))
LENGTH = 6
"""Of the longest name, and a blank that ends it."""


def model(batch: int = 32, filters: int = 16, hidden: int = 64, width: int = 16, updates: int = 880) -> G.Model:
    """Two convolutions with pooling make the state from which a GRU spells."""
    image = G.input("image", (batch, 8, 8, 1))
    caption = G.input("caption", (batch, LENGTH), dtype="int64")

    seen = nn.MaxPooling2D()(nn.Conv2D(filters, 3, padding="same", activation="relu")(image))
    seen = nn.MaxPooling2D()(nn.Conv2D(2 * filters, 3, padding="same", activation="relu")(seen))
    feature = nn.Dense(hidden, activation="tanh")(nn.Dropout(0.3)(nn.Flatten()(seen)))

    embedding, score = nn.Embedding(len(ALPHABET), width), nn.Dense(len(ALPHABET))
    decoder = nn.GRU(hidden, return_sequences=True, return_state=True)
    start = G.zeros((batch, 1), dtype="int64")

    said, _ = decoder(embedding(G.concat([start, caption[:, :-1]], axis=1)), initial_state=feature)
    loss = nn.losses.sparse_categorical_crossentropy(caption, score(said), from_logits=True)

    character, state, spelt = start, feature, []
    for _ in range(LENGTH):
        said, state = decoder(embedding(character), initial_state=state)
        character = G.argmax(score(said), axis=-1)
        spelt.append(character[:, 0])

    rate = optim.schedules.CosineDecay(4e-3, updates)
    return G.Model(predict=G.stack(spelt, axis=1), loss=loss, train=optim.Adam(rate).minimize(loss))


def captions(labels: np.ndarray) -> np.ndarray:
    """The names as (labels, LENGTH) positions in ALPHABET."""
    return np.array([[ALPHABET.index(letter) for letter in NAMES[label].ljust(LENGTH)] for label in labels])


def spelled(characters: np.ndarray) -> list[str]:
    """Rows of positions in ALPHABET as text."""
    return ["".join(ALPHABET[letter] for letter in row) for row in characters]


def learn(epochs: int = 20, backend: str = "llvm", seed: int = 0) -> float:
    """The share of test images whose caption is right in every character, after training."""
    batch, data = 32, digits()
    texts = captions(data.y)
    m = G.compile(model(batch, updates=epochs * (len(texts) // batch)), backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        losses = [m.train(data.x[rows], texts[rows]) for rows in batches(len(texts), batch, rng)]
        if epoch % 5 == 0:
            print(f"epoch {epoch}: loss {np.mean(losses):.4f}")
    found = spelled(in_batches(m.predict, data.x_test, batch))
    for image, caption in zip(data.x_test[:3], found, strict=False):
        print("\n".join("  " + "".join(" .:-=+*#%@"[int(9 * pixel)] * 2 for pixel in row) for row in image[..., 0]))
        print(f"  {caption}\n")
    right = spelled(captions(data.y_test))
    return float(np.mean([caption == name for caption, name in zip(found, right, strict=True)]))


def main() -> int:
    """Train, and caption images that the model has not seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    parser.add_argument("--write", type=Path, metavar="FILE.npz", help="write what there is to learn from, and stop")
    options = parser.parse_args()
    if options.write:
        data = digits()
        np.savez(options.write, image=data.x, caption=captions(data.y))
        return 0
    begin = time.perf_counter()
    share = learn(1 if options.quick else options.epochs, options.backend)
    print(f"{share:.1%} of 360 images the model has not seen, {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or share >= 0.97 else 1


if __name__ == "__main__":
    raise SystemExit(main())
