"""A vanilla recurrent network, written as a Python loop, learns a grammar and then speaks it.

    h = tanh(Whh h + Wxh x)        y = Why h

and, as language models are often introduced, with σ in place of tanh and a softmax on y.  The loop arrives unrolled;
what the compiler makes of it, a loop again, is printed below.

The grammar is Reber's (1967), on which Cleeremans, Servan-Schreiber and McClelland (1989) showed that such a network
becomes an automaton.  The last letter does not say what may follow; the state must remember where in the grammar we
are.  Nobody can predict the letters better than their entropy, so that is what the loss is held against, and against
the best predictor that sees the last letter only.  Then the compiled `step` generates strings letter by letter, its
state going in and coming out, and the share of grammatical ones is counted.

    graphc compile examples/vanilla_rnn.py --set activation=sigmoid
    graphc render examples/vanilla_rnn.py -o rnn.svg --stage rolled --entry predict
    python examples/vanilla_rnn.py

Data: drawn from the grammar.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import graphc as G
from graphc import nn, optim

LETTERS = "BTPSXVE"
# Where each letter leads from each place; the string ends with E, and the next one begins.
GRAMMAR = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 0},
)


def model(activation: str = "tanh", steps: int = 24, batch: int = 32, hidden: int = 16, updates: int = 3000) -> G.Model:
    """One hidden layer that reads a letter and predicts the next; `step` is the same cell for one letter."""
    act = {"tanh": G.tanh, "sigmoid": G.sigmoid}[activation]
    orthogonal = nn.initializers.Orthogonal()
    w_xh = G.parameter("W_xh", shape=(len(LETTERS), hidden))
    w_hh = G.parameter("W_hh", orthogonal, shape=(hidden, hidden))
    w_hy = G.parameter("W_hy", shape=(hidden, len(LETTERS)))

    letters = G.input("letters", (steps + 1, batch), dtype="int64")
    x = G.one_hot(letters[:-1], len(LETTERS))
    h = G.zeros((batch, hidden))
    scores = []
    for t in range(steps):
        h = act(h @ w_hh + x[t] @ w_xh)
        scores.append(h @ w_hy)
    logits = G.stack(scores)
    loss = nn.losses.sparse_categorical_crossentropy(letters[1:], logits, from_logits=True)

    before = G.input("before", (batch, hidden))
    letter = G.input("letter", (batch,), dtype="int64")
    after = act(before @ w_hh + G.one_hot(letter, len(LETTERS)) @ w_xh)
    return G.Model(
        predict=logits,
        loss=loss,
        step={"after": after, "probabilities": G.softmax(after @ w_hy)},
        train=optim.Adam(optim.schedules.CosineDecay(1e-2, updates)).minimize(loss),
    )


def speak(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Letters (steps + 1, batch), one string after the other, and how many could stand at each place but the first."""
    letters = np.zeros((steps + 1, batch), "int64")
    choices = np.zeros((steps, batch))
    for column in range(batch):
        place = 0
        for t in range(steps + 1):
            ways = list(GRAMMAR[place].items())
            letter, place = ways[rng.integers(len(ways))]
            letters[t, column] = LETTERS.index(letter)
            if t:
                choices[t - 1, column] = len(ways)
    return letters, choices


def last_letter_loss(letters: np.ndarray) -> float:
    """Cross-entropy in nats of the best prediction from the last letter alone."""
    counts = np.zeros((len(LETTERS), len(LETTERS)))
    np.add.at(counts, (letters[:-1].ravel(), letters[1:].ravel()), 1)
    chances = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return float(-np.log(chances[letters[:-1], letters[1:]]).mean())


def grammatical(text: str) -> bool:
    """Whether the grammar allows the string."""
    place = 0
    for letter in text:
        if letter not in GRAMMAR[place]:
            return False
        place = GRAMMAR[place][letter]
    return place == 0


def generate(m, rng: np.random.Generator, batch: int, hidden: int, longest: int = 60) -> list[str]:
    """A string a column: from B on, each next letter drawn from what the network predicts, up to E."""
    state = np.zeros((batch, hidden), "float32")
    letter = np.full(batch, LETTERS.index("B"))
    texts = np.full((longest, batch), "B")
    for t in range(1, longest):
        result = m.step(state, letter)
        state = result["after"]
        below = result["probabilities"].cumsum(axis=1) < rng.random((batch, 1))
        letter = np.minimum(below.sum(axis=1), len(LETTERS) - 1)
        texts[t] = np.array(list(LETTERS))[letter]
    return [text.partition("E")[0] + "E" for text in map("".join, texts.T)]


def learn(activation: str, updates: int, seed: int = 0) -> tuple[float, float, list[str]]:
    """Nats a letter on strings it has not seen, the grammatical share of what it says, and some of that."""
    steps, batch, hidden = 24, 32, 16
    rng = np.random.default_rng(seed)
    m = G.compile(model(activation, steps, batch, hidden, updates), seed=seed)
    letters, _ = speak(rng, steps, 64 * batch)
    for _ in range(updates):
        m.train(np.ascontiguousarray(letters[:, rng.integers(letters.shape[1], size=batch)]))
    test, _ = unseen(steps)
    parts = np.split(test, test.shape[1] // batch, axis=1)
    loss = float(np.mean([m.loss(np.ascontiguousarray(part)) for part in parts]))
    texts = [text for _ in range(32) for text in generate(m, rng, batch, hidden)]
    return loss, sum(map(grammatical, texts)) / len(texts), texts


def unseen(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Letters and choices of 6,400 strings to test on."""
    return speak(np.random.default_rng(12345), steps, 6400)


def show_loop() -> None:
    """Print what the compiler makes of the unrolled steps."""
    from graphc.driver import schedule
    from graphc.ir.printer import print_graph

    source = model().module
    print(f"predict as written: {len(source.entry('predict').nodes)} nodes; rolled:")
    print(print_graph(schedule(source, until="accumulate").entry("predict")))


def main() -> int:
    """Show the loop, train both forms, compare with the entropy, generate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--quick", action="store_true", help="100 updates, to see that it runs")
    options = parser.parse_args()
    show_loop()
    test, choices = unseen(24)
    entropy = float(np.log(choices).mean())
    print(f"nats a letter: {last_letter_loss(test):.3f} from the last letter alone, {entropy:.3f} is the entropy")
    good = True
    for activation in ("tanh", "sigmoid"):
        begin = time.perf_counter()
        loss, share, texts = learn(activation, 100 if options.quick else options.updates)
        seconds = time.perf_counter() - begin
        print(f"{activation}: {loss:.3f}; {share:.1%} of {len(texts)} strings it says are grammatical; {seconds:.1f} s")
        print("  " + " ".join(texts[:6]))
        good = good and share >= 0.97
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
