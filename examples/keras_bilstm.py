"""A Keras listing of which only the import line is changed: a bidirectional LSTM judges short reviews.

The listing stands in ``listing()`` as it was published.  It is compiled, trained and measured under Keras' names too;
every step is native code of the forward pass, the backward pass (with one dropout mask a sequence for the inputs and
one for the state, in each direction) and Adam.

The reviews are made up, but not easy: what is praised or blamed may be denied ("not", "hardly", "nobody would say
that"), and of two clauses one decides ("although", "but", "even though").  Which words occur says little: a logistic
regression on word counts, also measured below, stays far behind.  No test review is among those learned from.

    graphc compile examples/keras_bilstm.py
    python examples/keras_bilstm.py
    python examples/keras_bilstm.py --write reviews.npz && graphc train examples/keras_bilstm.py --data reviews.npz
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from _data import Split, split

import graphc as G
from graphc import nn, optim
from graphc.nn import LSTM, Bidirectional, Dense, Dropout, Embedding, Sequential

VOCAB_SIZE = 10_000
EMBEDDING_DIM = 128
LSTM_UNITS = 64
MAX_LEN = 16


def listing() -> Sequential:
    """The listing, as it was published."""
    model_lstm = Sequential([
        Embedding(input_dim=VOCAB_SIZE, output_dim=EMBEDDING_DIM, input_length=MAX_LEN),
        Bidirectional(LSTM(units=LSTM_UNITS, dropout=0.2, recurrent_dropout=0.2)),
        Dense(64, activation='relu'),
        Dropout(0.5),
        Dense(1, activation='sigmoid')
    ])  # fmt: skip
    model_lstm.summary()
    return model_lstm


def model(batch: int = 32) -> G.Model:
    """The listing's network with its training step as a model of its own, for the command line."""
    x = G.input("x", (batch, MAX_LEN), dtype="int64")
    y = G.input("y", (batch, 1))
    prediction = listing()(x)
    loss = nn.losses.binary_crossentropy(y, prediction)
    return G.Model(predict=prediction, loss=loss, train=optim.Adam(1e-3).minimize(loss))


# -- reviews -------------------------------------------------------------------------------------------------------

WORDS = """
    acting plot music ending script camera cast story dialogue pace humour lighting editing sound
    good great wonderful brilliant moving clever fresh charming funny superb gripping elegant honest fine
    bad poor dreadful boring clumsy stale dull awful tedious shallow weak messy tired lazy
"""
SUBJECTS, PRAISE, BLAME = (line.split() for line in WORDS.strip().splitlines())
DENIALS = ("not", "hardly", "never")
DEGREES = ("", "", "very", "really", "quite", "rather")


def clause(rng: np.random.Generator) -> tuple[str, bool]:
    """A clause such as "the plot was hardly very clever", and whether it praises."""
    praises, denied = bool(rng.integers(2)), rng.random() < 0.25
    words = (
        "the",
        rng.choice(SUBJECTS),
        rng.choice(["was", "is", "seemed"]),
        rng.choice(DENIALS) if denied else "",
        rng.choice(DEGREES),
        rng.choice(PRAISE if praises else BLAME),
    )
    return " ".join(filter(None, words)), praises != denied


def review(rng: np.random.Generator) -> tuple[str, bool]:
    """One or two clauses, and whether they praise all in all."""
    (first, one), (second, two) = clause(rng), clause(rng)
    return [
        (first, one),
        (f"nobody would say that {first}", not one),
        (f"although {first} {second}", two),
        (f"{first} but {second}", two),
        (f"{first} even though {second}", one),
    ][rng.integers(5)]


def reviews(count: int = 7_360) -> dict[str, bool]:
    """Different reviews, and whether each praises."""
    rng = np.random.default_rng(0)
    made: dict[str, bool] = {}
    while len(made) < count:
        text, praises = review(rng)
        made[text] = praises
    return made


def data(test: int = 960) -> Split:
    """Reviews as numbers of words, zeros before the first word as ``pad_sequences`` has it."""
    made = reviews()
    numbers = {word: number for number, word in enumerate(sorted({w for text in made for w in text.split()}), start=1)}
    x = np.zeros((len(made), MAX_LEN), "int64")
    for row, text in zip(x, made, strict=True):
        words = text.split()
        row[-len(words) :] = [numbers[word] for word in words]
    return split(x, np.array(list(made.values()), "float32")[:, None], test)


def baseline(known: Split) -> float:
    """Share of test reviews that a logistic regression on word counts gets right."""
    from sklearn.linear_model import LogisticRegression

    counts, counts_test = (
        np.stack([np.bincount(row, minlength=known.x.max() + 1) for row in x]) for x in (known.x, known.x_test)
    )
    return float(LogisticRegression(max_iter=500).fit(counts, known.y[:, 0]).score(counts_test, known.y_test[:, 0]))


def learn(epochs: int = 5, backend: str = "llvm", seed: int = 0) -> float:
    """The share of test reviews judged rightly, after training."""
    known = data()
    model_lstm = listing()
    model_lstm.seed = seed
    model_lstm.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"], backend=backend)
    model_lstm.fit(known.x, known.y, epochs=epochs, validation_split=0.1, verbose=2, seed=seed)
    _, share = model_lstm.evaluate(known.x_test, known.y_test)
    return float(share)


def main() -> int:
    """Summary, training, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it runs")
    parser.add_argument("--write", type=Path, metavar="FILE.npz", help="write the reviews to learn from, and stop")
    options = parser.parse_args()
    if options.write:
        np.savez(options.write, x=data().x, y=data().y)
        return 0
    begin = time.perf_counter()
    share = learn(1 if options.quick else options.epochs, options.backend)
    print(f"{share:.1%} of 960 reviews the model has not seen, {time.perf_counter() - begin:.1f} s")
    if options.quick:
        return 0
    print(f"a logistic regression on word counts judges {baseline(data()):.1%} of them rightly")
    return 0 if share >= 0.97 else 1


if __name__ == "__main__":
    raise SystemExit(main())
