"""A cell that no library has, with an activation that no library has: trained, drawn and exported in under 30 lines.

The cell is a minimal gated unit (Zhou et al., 2016): one gate f decides what is forgotten and what the candidate sees.

    f  = σ(x Wf + h Uf + bf)        h' = (1 − f) ∘ h + f ∘ squash(x Wh + (f ∘ h) Uh)

Its activation squash(s) = s / √(1 + s²) is a sympy expression, from which graphc takes the derivative and the code.
``nn.RNN`` does with the cell what it does with ``nn.LSTMCell``.  docs/CUSTOM_CELLS.md explains each line.

    graphc compile examples/custom_cell.py
    python examples/custom_cell.py

Data: scikit-learn's 1,797 digits of 8×8 pixels (UCI, CC BY 4.0; inside the package, BSD-3), read row by row.
"""

import numpy as np
import sympy
from _data import accuracy, batches, digits

import graphc as G
from graphc import nn, optim
from graphc.render import render

s = sympy.Symbol("s")
squash = G.pointwise("squash", s / sympy.sqrt(1 + s**2))


class MinimalGatedUnit(nn.Cell):
    """From a row and a state to the next state, which is also the output."""

    def build(self, shape):
        """The weights, for inputs of ``shape``: (batch, features)."""
        self.wf, self.wh = (self.add_weight(name, (shape[-1], self.units)) for name in ("wf", "wh"))
        self.uf, self.uh = (self.add_weight(name, (self.units, self.units), "orthogonal") for name in ("uf", "uh"))
        self.bf = self.add_weight("bf", (self.units,), "ones")

    def call(self, x, states):
        """One step: the output, and a list with each part of the state."""
        h = states[0]
        f = G.sigmoid(x @ self.wf + h @ self.uf + self.bf)
        h = (1 - f) * h + f * squash(x @ self.wh + (f * h) @ self.uh)
        return h, [h]


def model(batch=32, units=48):
    """The cell over the eight rows of an image, and ten scores."""
    x, y = G.input("x", (batch, 8, 8)), G.input("y", (batch,), dtype="int64")
    scores = nn.Dense(10)(nn.RNN(MinimalGatedUnit(units))(x))
    loss = nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)
    return G.Model(predict=scores, loss=loss, train=optim.Adam(4e-3).minimize(loss))


if __name__ == "__main__":
    data, rng, m = digits(), np.random.default_rng(0), G.compile(model())
    for _ in range(20):
        losses = [m.train(data.x[rows, ..., 0], data.y[rows]) for rows in batches(len(data.y), 32, rng)]
    print(f"loss {np.mean(losses):.4f}, right {accuracy(m.predict, data.x_test[..., 0], data.y_test, 32):.1%}")
    print("wrote", m.save("build/cell", force=True), render(model().module, "build/cell.svg", stage="source"))
