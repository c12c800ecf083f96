"""A network with one hidden layer by hand, its gradients next to those derived on paper.

loss = ((σ(x·W1 + b1)·W2 + b2) − y)².  On paper, with h = σ(x·W1 + b1) and e = h·W2 + b2 − y:

    ∂loss/∂b2 = 2e        ∂loss/∂W2 = hᵀ·2e
    ∂loss/∂b1 = (2e·W2ᵀ) ∘ h(1 − h)        ∂loss/∂W1 = xᵀ·∂loss/∂b1

    python examples/hidden_layer.py
"""

from __future__ import annotations

import numpy as np

import graphc as G


def model(features: int = 3, hidden: int = 4) -> G.Model:
    """The loss, its four gradients, and (x + y)·z with the gradients of a textbook's first example."""
    x = G.input("x", (1, features))
    y = G.input("y", (1, 1))
    rng = np.random.default_rng(0)
    w1 = G.parameter("W1", rng.standard_normal((features, hidden)).astype("float32"))
    b1 = G.parameter("b1", np.zeros(hidden, "float32"))
    w2 = G.parameter("W2", rng.standard_normal((hidden, 1)).astype("float32"))
    b2 = G.parameter("b2", np.zeros(1, "float32"))
    prediction = G.sigmoid(x @ w1 + b1) @ w2 + b2
    loss = ((prediction - y) ** 2).sum()
    dw1, db1, dw2, db2 = G.grad(loss, [w1, b1, w2, b2])
    a, b, c = (G.input(name, ()) for name in ("a", "b", "c"))
    f = (a + b) * c
    da, db, dc = G.grad(f, [a, b, c])
    return G.Model(
        predict=prediction,
        gradients={"loss": loss, "W1": dw1, "b1": db1, "W2": dw2, "b2": db2},
        product={"f": f, "a": da, "b": db, "c": dc},
    )


def by_hand(p: dict, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients as derived on paper."""
    h = 1 / (1 + np.exp(-(x @ p["W1"] + p["b1"])))
    e = h @ p["W2"] + p["b2"] - y
    db1 = (2 * e @ p["W2"].T) * h * (1 - h)
    return {"loss": (e**2).sum(), "W1": x.T @ db1, "b1": db1[0], "W2": h.T @ (2 * e), "b2": 2 * e[0]}


def main() -> int:
    """Print both side by side."""
    m = G.compile(model())
    x, y = np.array([[0.5, -1.0, 2.0]], "float32"), np.array([[1.0]], "float32")
    found = m.gradients(x, y)
    expected = by_hand(m.parameters, x, y)
    for name, value in expected.items():
        left, right = (np.array2string(np.ravel(v)[:3], precision=6) for v in (found[name], value))
        print(f"{name:>4}  compiled {left}  by hand {right}")
    agree = all(np.allclose(found[name], value, rtol=1e-5, atol=1e-6) for name, value in expected.items())
    a, b, c = np.float32(-2), np.float32(5), np.float32(-4)
    product = m.product(a, b, c)
    print(f"(a + b)·c at (-2, 5, -4): f = {product['f']}, gradients {product['a']}, {product['b']}, {product['c']}")
    return 0 if agree and [float(product[k]) for k in "fabc"] == [-12, -4, -4, 3] else 1


if __name__ == "__main__":
    raise SystemExit(main())
