"""A recurrent language model reads graphc's own documentation, and then writes some.

Character after character, an embedding and a GRU give the probabilities of the next one.  Two entry points share the
weights: ``train`` runs over windows of text, with dropout; ``step`` takes one character and the recurrent state, and
gives the probabilities and the next state, so that text of any length is read or written with one small call each.

The model is measured against a trigram model (interpolated Kneser–Ney) on the same split and alphabet.  Perplexity is
that of each held-out character given all before it, and it is measured with ``step``, as text is written: a model that
looked ahead could not cheat.  What is written below comes from the *saved folder*, which needs nothing but numpy.

    graphc compile examples/language_model.py
    python examples/language_model.py
    python examples/language_model.py --write text.npz && graphc train examples/language_model.py --data text.npz

Data: README.md and docs/ of this repository (Apache-2.0), a tenth of the paragraphs kept for validation and a tenth for
the test.  Which those are depends on each paragraph's own text only, so an edit of one page leaves the others alone.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

import graphc as G
from graphc import nn, optim

ALPHABET = "\n" + "".join(map(chr, range(32, 127))) + "·"
"""Line feed, the printable characters of ASCII, and one that stands for all others."""

ROOT = Path(__file__).resolve().parent.parent


HIDDEN = 160
"""Size of the recurrent state."""


def model(batch: int = 32, steps: int = 48, hidden: int = HIDDEN, width: int = 32, updates: int = 800) -> G.Model:
    """Windows x and the characters y that follow for training, one character and a state for ``step``."""
    embedding, dropout, scores = nn.Embedding(len(ALPHABET), width), nn.Dropout(0.2), nn.Dense(len(ALPHABET))
    recurrent = nn.GRU(hidden, return_sequences=True, return_state=True)

    x = G.input("x", (batch, steps), dtype="int64")
    y = G.input("y", (batch, steps), dtype="int64")
    read, _ = recurrent(dropout(embedding(x)))
    loss = nn.losses.sparse_categorical_crossentropy(y, scores(dropout(read)), from_logits=True)

    character = G.input("character", (1, 1), dtype="int64")
    state = G.input("state", (1, hidden))
    read, after = recurrent(embedding(character), initial_state=state)

    rate = optim.schedules.CosineDecay(1.5e-2, updates)
    return G.Model(
        step={"probabilities": G.softmax(scores(read)[0, 0]), "state": after},
        loss=loss,
        train=optim.Adam(rate, global_clipnorm=1.0).minimize(loss),
    )


class Text(NamedTuple):
    """The documentation as positions in ALPHABET."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def encoded(text: str) -> np.ndarray:
    """Positions in ALPHABET."""
    return np.array([ALPHABET.find(letter) % len(ALPHABET) for letter in text])


def documentation() -> Text:
    """Every page, split by paragraphs; each part begins with an empty line, which is the first context."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    parts: dict[str, list[str]] = {"train": [""], "validation": [""], "test": [""]}
    for page in pages:
        for paragraph in re.split(r"\n\s*\n", page.read_text(encoding="utf-8")):
            digit = zlib.crc32(paragraph.encode()) % 10
            parts[{8: "validation", 9: "test"}.get(digit, "train")].append(paragraph)
    return Text(**{name: encoded("\n\n".join(paragraphs)) for name, paragraphs in parts.items()})


# -- the trigram model ---------------------------------------------------------------------------------------------


class Trigram:
    """The next character from the two before it, by interpolated absolute discounting.

    Each order gives up a discount of every count to the order below, and the lowest one to the uniform distribution.

    Args:
        text: to count in.
        continuations: True lets the lower orders count contexts in place of occurrences (Kneser and Ney, 1995).
    """

    def __init__(self, text: np.ndarray, *, continuations: bool) -> None:
        three = np.zeros((len(ALPHABET),) * 3)
        np.add.at(three, (text[:-2], text[1:-1], text[2:]), 1)
        two = ((three > 0) if continuations else three).sum(axis=0)
        one = ((two > 0) if continuations else two).sum(axis=0)
        self.orders = [(counts, counts.sum(axis=-1), (counts > 0).sum(axis=-1)) for counts in (one, two, three)]

    def probability(self, discounts: tuple[float, ...], u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Of each w after the characters u and v, with a discount for each order."""
        p = np.full(w.shape, 1 / len(ALPHABET))
        for (counts, totals, kinds), discount, context in zip(self.orders, discounts, ((), (v,), (u, v)), strict=True):
            total = totals[context]
            kept = np.maximum(counts[(*context, w)] - discount, 0)
            p = np.where(total > 0, (kept + discount * kinds[context] * p) / np.maximum(total, 1), p)
        return p

    def perplexity(self, discounts: tuple[float, ...], text: np.ndarray) -> float:
        """Of each character of a text but the first two, given the two before it."""
        return float(np.exp(-np.log(self.probability(discounts, text[:-2], text[1:-1], text[2:])).mean()))


def trigram_perplexity(text: Text) -> float:
    """Of the test text, by the trigram model whose kind of counts and discounts do best on the validation text."""
    steps = np.arange(0.1, 1.0, 0.1)
    candidates = [
        (model.perplexity(discounts, text.validation), model.perplexity(discounts, text.test))
        for model in (Trigram(text.train, continuations=kind) for kind in (True, False))
        for discounts in itertools.product(steps, steps, steps)
    ]
    return min(candidates)[1]


# -- the recurrent model -------------------------------------------------------------------------------------------


def read_on(m, character: int, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of what follows, and the next state."""
    made = m.step(np.array([[character]]), state)
    return made["probabilities"], made["state"]


def start() -> np.ndarray:
    """The state before any text."""
    return np.zeros((1, HIDDEN), "float32")


def perplexity(m, text: np.ndarray) -> float:
    """Of each character but the first two, given all before it."""
    state, logarithms = start(), []
    for position, character in enumerate(text[:-1]):
        probabilities, state = read_on(m, character, state)
        if position > 0:
            logarithms.append(np.log(probabilities[text[position + 1]]))
    return float(np.exp(-np.mean(logarithms)))


def write(m, begin: str, length: int, rng: np.random.Generator, temperature: float = 0.5) -> str:
    """``begin`` and ``length`` more characters, drawn one after the other; a low temperature draws the likely ones."""
    state, text = start(), list(encoded(begin))
    for character in text:
        probabilities, state = read_on(m, character, state)
    for _ in range(length):
        p = probabilities.astype("float64") ** (1 / temperature)
        text.append(rng.choice(len(p), p=p / p.sum()))
        probabilities, state = read_on(m, text[-1], state)
    return "".join(ALPHABET[character] for character in text)


def windows(text: np.ndarray, count: int, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pieces of the text from random positions, and the same moved on by one character."""
    rows = rng.integers(0, len(text) - steps, count)[:, None] + np.arange(steps)
    return text[rows], text[rows + 1]


def trained(text: Text, updates: int, backend: str = "llvm", seed: int = 0):
    """The compiled model after ``updates`` steps."""
    batch, steps = 32, 48
    m = G.compile(model(batch, steps, updates=updates), backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    losses = []
    for update in range(1, updates + 1):
        losses.append(m.train(*windows(text.train, batch, steps, rng)))
        if update % 200 == 0:
            print(f"step {update}: perplexity while training {np.exp(np.mean(losses[-200:])):.2f}")
    return m


def main() -> int:
    """Train, compare with the trigram model, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="folder for the trained artifact; by default none is kept")
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="50 steps, to see that it runs")
    parser.add_argument("--write", type=Path, metavar="FILE.npz", help="write windows to learn from, and stop")
    options = parser.parse_args()
    begin = time.perf_counter()
    text = documentation()
    print(", ".join(f"{name} {len(part):,}" for name, part in text._asdict().items()), "characters")
    if options.write:
        x, y = windows(text.train, 10_000, 48, np.random.default_rng(0))
        np.savez(options.write, x=x, y=y)
        return 0
    baseline = trigram_perplexity(text)
    m = trained(text, 50 if options.quick else options.updates, options.backend)
    found = perplexity(m, text.test)
    print(f"perplexity of the test text: {found:.2f}; of the trigram model: {baseline:.2f}")

    with tempfile.TemporaryDirectory() as scratch:
        folder = m.save(options.output or Path(scratch) / "writer", force=True)
        print(write(G.load(folder), "\n\nThe graph ", 400, np.random.default_rng(0)).strip())
    print(f"{time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or found < baseline else 1


if __name__ == "__main__":
    raise SystemExit(main())
