"""A network with one hidden layer by hand, its gradients next to those derived on paper; then it learns XOR.

loss = ((σ(x·W1 + b1)·W2 + b2) − y)² in steps, and what each step passes back to what it was made of:

    s = x·W1 + b1        ∂s/∂W1: xᵀ        ∂s/∂b1: 1
    h = σ(s)             ∂h/∂s: h(1 − h)
    p = h·W2 + b2        ∂p/∂h: W2ᵀ        ∂p/∂W2: hᵀ        ∂p/∂b2: 1
    e = p − y            ∂e/∂p: 1
    loss = e²            ∂loss/∂e: 2e

The chain rule multiplies these from the end to the start; ``G.grad`` does it, by any tensor on the way.  Below that
the first example of every textbook, f = (x + y)·z.

    graphc render examples/hidden_layer.py --stage equations -o equations.html
    python examples/hidden_layer.py
"""

from __future__ import annotations

import argparse

import numpy as np

import graphc as G

XOR = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 0)]


def model(features: int = 2, hidden: int = 4, rate: float = 0.3, dtype: str = "float32") -> G.Model:
    """The prediction, the loss with all its gradients, a step down the gradient, and (x + y)·z with its gradients."""
    x = G.input("x", (1, features), dtype)
    y = G.input("y", (1, 1), dtype)
    rng = np.random.default_rng(0)
    w1 = G.parameter("W1", rng.standard_normal((features, hidden)), dtype=dtype)
    b1 = G.parameter("b1", np.zeros(hidden), dtype=dtype)
    w2 = G.parameter("W2", rng.standard_normal((hidden, 1)), dtype=dtype)
    b2 = G.parameter("b2", np.zeros(1), dtype=dtype)

    s = x @ w1 + b1
    h = G.sigmoid(s)
    p = h @ w2 + b2
    e = p - y
    loss = (e**2).sum()

    gradients = G.grad(loss, {"e": e, "p": p, "W2": w2, "b2": b2, "h": h, "s": s, "W1": w1, "b1": b1})
    step = [(w, w - rate * gradients[name]) for name, w in (("W1", w1), ("b1", b1), ("W2", w2), ("b2", b2))]

    scalars = {name: G.input(name, (), dtype) for name in ("x", "y", "z")}
    f = (scalars["x"] + scalars["y"]) * scalars["z"]
    return G.Model(
        predict=p,
        gradients={"loss": loss, **gradients},
        train=G.Step(loss, step),
        product={"f": f, **G.grad(f, scalars)},
    )


def by_hand(parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """The gradients as derived on paper: tensor → formula, value."""
    h = 1 / (1 + np.exp(-(x @ parameters["W1"] + parameters["b1"])))
    e = h @ parameters["W2"] + parameters["b2"] - y
    de = 2 * e
    dp = de * 1
    dh = dp @ parameters["W2"].T
    ds = dh * h * (1 - h)
    return {
        "loss": ("e²", (e**2).sum()),
        "e": ("2e", de),
        "p": ("∂e · 1", dp),
        "b2": ("∂p · 1", dp[0]),
        "W2": ("hᵀ · ∂p", h.T @ dp),
        "h": ("∂p · W2ᵀ", dh),
        "s": ("∂h ∘ h(1 − h)", ds),
        "b1": ("∂s · 1", ds[0]),
        "W1": ("xᵀ · ∂s", x.T @ ds),
    }


def shown(value: np.ndarray) -> str:
    """The numbers of one gradient in a row, but for those beyond the fourth."""
    return np.array2string(np.ravel(value)[:4], precision=5, suppress_small=True)


def main() -> int:
    """Print both side by side, train, and print the product's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    m = G.compile(model(), backend=parser.parse_args().backend)

    x, y = np.array([[0.5, -1.0]], "float32"), np.array([[1.0]], "float32")
    found, derived = m.gradients(x, y), by_hand(m.parameters, x, y)
    print(f"{'∂loss/∂':>8}  {'on paper':<14} {'worked out':<40} compiled")
    for name, (formula, value) in derived.items():
        print(f"{name:>8}  {formula:<14} {shown(value):<40} {shown(found[name])}")
    agree = all(np.allclose(found[name], value, rtol=1e-5, atol=1e-6) for name, (_, value) in derived.items())

    cases = [(np.array([x], "float32"), np.array([[y]], "float32")) for x, y in XOR]
    losses = [sum(float(m.train(x, y)) for x, y in cases) for _ in range(2000)]
    print(f"\nXOR: loss of the four cases {losses[0]:.3f} → {losses[-1]:.1e}")
    answers = [float(m.predict(x)[0, 0]) for x, _ in cases]
    print("     " + ", ".join(f"{x} → {answer:.3f}" for (x, _), answer in zip(XOR, answers, strict=True)))
    learned = all(abs(answer - y) < 0.1 for (_, y), answer in zip(XOR, answers, strict=True))

    made = {name: float(value) for name, value in m.product(np.float32(-2), np.float32(5), np.float32(-4)).items()}
    print(f"\nf = (x + y)·z at (−2, 5, −4): f = {made['f']:g}, ∂f/∂x = ∂f/∂y = {made['x']:g}, ∂f/∂z = {made['z']:g}")
    return 0 if agree and learned and made == {"f": -12, "x": -4, "y": -4, "z": 3} else 1


if __name__ == "__main__":
    raise SystemExit(main())
