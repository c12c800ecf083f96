"""One neuron: y = g(w0 + Xᵀw), trained to tell malignant from benign tumours.

    python examples/perceptron.py

Data: scikit-learn's breast cancer data (UCI, CC BY 4.0): 569 cases of 30 measurements.
"""

from __future__ import annotations

import numpy as np

import graphc as G
from graphc import nn, optim


def model(batch: int = 569, features: int = 30) -> G.Model:
    """A weighted sum of the inputs through a sigmoid, written out by hand."""
    x = G.input("x", (batch, features))
    y = G.input("y", (batch,))
    w = G.parameter("w", np.zeros((features, 1), "float32"))
    w0 = G.parameter("w0", np.zeros((), "float32"))
    z = w0 + (x @ w)[:, 0]
    loss = nn.losses.binary_crossentropy(y, z, from_logits=True)
    return G.Model(predict=G.sigmoid(z), loss=loss, train=optim.SGD(1.0).minimize(loss))


def main() -> int:
    """Train on all cases and report how many are classified rightly."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = ((data.data - data.data.mean(axis=0)) / data.data.std(axis=0)).astype("float32")
    y = data.target.astype("float32")
    m = G.compile(model(*x.shape))
    for step in range(200):
        loss = m.train(x, y)
        if step % 50 == 0:
            print(f"step {step}: loss {loss:.4f}")
    share = float(((m.predict(x) > 0.5) == (y > 0.5)).mean())
    print(f"{share:.1%} of {len(y)} cases right")
    return 0 if share > 0.97 else 1


if __name__ == "__main__":
    raise SystemExit(main())
