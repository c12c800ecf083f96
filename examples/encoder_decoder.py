"""An encoder and a decoder, each with weights of its own, turn words round: "loop" → "pool".

The encoder reads a word of three to eight letters into a state; masked steps leave the state alone, so that the words
of a batch may differ in length.  The decoder says the answer from that state, letter after letter, and an end mark.

* ``train`` forces the teacher: whatever the decoder would have said, its next input is the right letter.
* ``predict`` is greedy: the decoder reads what it has just said.  The argmax feeds the next embedding inside the graph,
  so nine steps of decoding are one call, and one compiled loop.

The data are 30,000 random words to learn from and 1,000 others to test on; a word counts as right where every letter
and the end mark are.

    graphc compile examples/encoder_decoder.py
    python examples/encoder_decoder.py
    python examples/encoder_decoder.py --write words.npz && graphc train examples/encoder_decoder.py --data words.npz
"""

from __future__ import annotations

import argparse
import string
import time
from pathlib import Path

import numpy as np
from _data import Split, batches, in_batches

import graphc as G
from graphc import nn, optim

LETTERS = string.ascii_lowercase
LONGEST = 8

PADDING, END, FIRST = 0, 1, 2
"""A token is padding, the mark at the end (which also starts the decoder), or a letter: FIRST is a, FIRST + 1 is b."""


def model(batch: int = 64, hidden: int = 128, width: int = 32, updates: int = 1872) -> G.Model:
    """Two GRUs with an embedding each; words as (batch, LONGEST) tokens, answers with one more."""
    tokens = FIRST + len(LETTERS)
    read, encoder = nn.Embedding(tokens, width, mask_zero=True), nn.GRU(hidden, return_state=True)
    reread, decoder = nn.Embedding(tokens, width), nn.GRU(hidden, return_sequences=True, return_state=True)
    score = nn.Dense(tokens)

    x = G.input("x", (batch, LONGEST), dtype="int64")
    y = G.input("y", (batch, LONGEST + 1), dtype="int64")
    _, thought = encoder(read(x))
    start = G.full((batch, 1), END, dtype="int64")

    said, _ = decoder(reread(G.concat([start, y[:, :-1]], axis=1)), initial_state=thought)
    losses = nn.losses.sparse_categorical_crossentropy(y, score(said), from_logits=True, reduction="none")
    counted = (y != PADDING).astype("float32")
    loss = (losses * counted).sum() / counted.sum()

    token, state, answer = start, thought, []
    for _ in range(LONGEST + 1):
        said, state = decoder(reread(token), initial_state=state)
        token = G.argmax(score(said), axis=-1)
        answer.append(token[:, 0])

    rate = optim.schedules.CosineDecay(1e-2, updates)
    return G.Model(
        predict=G.stack(answer, axis=1), loss=loss, train=optim.Adam(rate, global_clipnorm=1.0).minimize(loss)
    )


def encoded(words: list[str], length: int) -> np.ndarray:
    """Words as (words, length) tokens: an end mark where there is room, and padding."""
    tokens = np.full((len(words), length), PADDING, "int64")
    for row, word in zip(tokens, words, strict=True):
        row[: len(word)] = [FIRST + LETTERS.index(letter) for letter in word]
        row[len(word) : len(word) + 1] = END
    return tokens


def decoded(tokens: np.ndarray) -> list[str]:
    """What stands before the end mark of each row; ``?`` for a token that is no letter."""
    words = []
    for row in tokens:
        ends = np.flatnonzero(row == END)
        letters = row[: ends[0] if len(ends) else len(row)]
        words.append("".join(LETTERS[token - FIRST] if token >= FIRST else "?" for token in letters))
    return words


def words(count: int, rng: np.random.Generator) -> list[str]:
    """Different random words of three to LONGEST letters."""
    made: dict[str, None] = {}
    while len(made) < count:
        letters = (LETTERS[number] for number in rng.integers(0, len(LETTERS), rng.integers(3, LONGEST + 1)))
        made["".join(letters)] = None
    return list(made)


def data(train: int = 30_000, test: int = 1_000) -> Split:
    """Words and their reverses as tokens; no word is in both parts."""
    made = words(train + test, np.random.default_rng(0))
    x = encoded(made, LONGEST)
    y = encoded([word[::-1] for word in made], LONGEST + 1)
    return Split(x[:train], y[:train], x[train:], y[train:])


def learn(epochs: int = 4, backend: str = "llvm", seed: int = 0) -> float:
    """The share of the test words turned round without a mistake, after training."""
    batch, known = 64, data()
    m = G.compile(model(batch, updates=epochs * (len(known.y) // batch)), backend=backend, seed=seed)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = [m.train(known.x[rows], known.y[rows]) for rows in batches(len(known.y), batch, rng)]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    asked, answers = decoded(known.x_test), decoded(in_batches(m.predict, known.x_test, batch))
    print(", ".join(f"{word} → {answer}" for word, answer in zip(asked[1:5], answers[1:5], strict=True)))
    return float(np.mean([answer == word[::-1] for word, answer in zip(asked, answers, strict=True)]))


def main() -> int:
    """Train, and turn round words that the model has not seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    parser.add_argument("--write", type=Path, metavar="FILE.npz", help="write the words to learn from, and stop")
    options = parser.parse_args()
    if options.write:
        np.savez(options.write, x=data().x, y=data().y)
        return 0
    begin = time.perf_counter()
    share = learn(1 if options.quick else options.epochs, options.backend)
    print(f"{share:.1%} of 1,000 words the model has not seen are right, {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or share >= 0.98 else 1


if __name__ == "__main__":
    raise SystemExit(main())
