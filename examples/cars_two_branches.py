"""How far a car goes on a gallon: a model of two branches, one for numbers and one for categories.

Cylinders and model year come as codes, for which an embedding learns a vector each; the origin comes one-hot; weight,
power and the like are numbers.  Each branch makes 16 features of its own, and a merge layer joins them: ``Concatenate``
side by side, ``Add``, ``Multiply`` and ``Average`` element by element.

    graphc compile examples/cars_two_branches.py --set merge=multiply
    graphc render examples/cars_two_branches.py -o cars.svg
    python examples/cars_two_branches.py

Data: the 392 cars of Auto MPG (UCI, CC BY 4.0) that come inside mlxtend (BSD-3).
"""

from __future__ import annotations

import argparse
import time
from functools import cache
from typing import NamedTuple

import numpy as np
from _data import batches

import graphc as G
from graphc import nn, optim

MERGES = {
    "concatenate": nn.Concatenate,
    "add": nn.Add,
    "multiply": nn.Multiply,
    "average": nn.Average,
}
CYLINDERS, FIRST_YEAR, YEARS, ORIGINS = (3, 4, 5, 6, 8), 70, 13, 3


def model(merge: str = "concatenate", batch: int = 24, width: int = 16) -> G.Model:
    """Miles per gallon, standardized, from four numbers and three categories of a car."""
    numbers = G.input("numbers", (batch, 4))
    cylinders = G.input("cylinders", (batch,), dtype="int64")
    year = G.input("year", (batch,), dtype="int64")
    origin = G.input("origin", (batch,), dtype="int64")
    y = G.input("y", (batch,))

    measured = nn.Dense(width, activation="tanh", name="numbers")(numbers)
    codes = nn.Concatenate(name="codes")(
        [
            nn.Embedding(len(CYLINDERS), 3, name="cylinders")(cylinders),
            nn.Embedding(YEARS, 3, name="year")(year),
            G.one_hot(origin, ORIGINS),
        ]
    )
    categories = nn.Dense(width, activation="tanh", name="categories")(codes)
    joined = MERGES[merge]()([measured, categories])
    prediction = nn.Dense(1, name="miles")(nn.Dense(width, activation="tanh", name="both")(joined))[:, 0]
    loss = nn.losses.mean_squared_error(y, prediction)
    return G.Model(predict=prediction, loss=loss, train=optim.Adam(3e-3).minimize(loss))


class Cars(NamedTuple):
    """What is known of some cars, by the model's inputs, and their miles per gallon."""

    inputs: dict[str, np.ndarray]
    miles: np.ndarray


@cache
def cars() -> tuple[Cars, Cars]:
    """312 cars to learn from, and 72 others; their numbers are standardized by the former."""
    from mlxtend.data import autompg_data

    table, miles = autompg_data()
    order = np.random.default_rng(0).permutation(len(miles))
    train, test = order[:312], order[312:384]
    numbers = table[:, 1:5]
    mean, deviation = numbers[train].mean(axis=0), numbers[train].std(axis=0)

    def chosen(rows: np.ndarray) -> Cars:
        inputs = {
            "numbers": ((numbers[rows] - mean) / deviation).astype("float32"),
            "cylinders": np.searchsorted(CYLINDERS, table[rows, 0]),
            "year": (table[rows, 5] - FIRST_YEAR).astype("int64"),
            "origin": (table[rows, 6] - 1).astype("int64"),
        }
        return Cars(inputs, miles[rows])

    return chosen(train), chosen(test)


def taken(inputs: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Some of the examples of every input."""
    return {name: array[rows] for name, array in inputs.items()}


def learn(merge: str, epochs: int, backend: str = "llvm", seed: int = 0) -> float:
    """Root of the mean squared error on the test cars, in miles per gallon."""
    batch = 24
    m = G.compile(model(merge, batch), backend=backend, seed=seed)
    train, test = cars()
    mean, deviation = train.miles.mean(), train.miles.std()
    y = ((train.miles - mean) / deviation).astype("float32")
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in batches(len(y), batch, rng):
            m.train(**taken(train.inputs, rows), y=y[rows])
    blocks = np.arange(len(test.miles)).reshape(-1, batch)
    predicted = np.concatenate([m.predict(**taken(test.inputs, rows)) for rows in blocks]) * deviation + mean
    return float(np.sqrt(((predicted - test.miles) ** 2).mean()))


def main() -> int:
    """Train one model for each way to merge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    options = parser.parse_args()
    begin = time.perf_counter()
    errors = {}
    for merge in MERGES:
        errors[merge] = learn(merge, 2 if options.quick else options.epochs, options.backend)
        print(f"{merge:>12}: off by {errors[merge]:.2f} miles per gallon on 72 unseen cars (root of the mean square)")
    print(f"{'':>12}  they differ from their mean by {cars()[1].miles.std():.2f}")
    print(f"compiled and trained {len(errors)} models in {time.perf_counter() - begin:.1f} s")
    return 0 if options.quick or max(errors.values()) < 3.8 else 1


if __name__ == "__main__":
    raise SystemExit(main())
