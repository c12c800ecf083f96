"""graphc without any network: values and derivatives of a formula.

The Rosenbrock function f(x, y) = (1 − x)² + 100·(y − x²)² has its minimum, 0, at (1, 1) in a narrow curved valley.  Its
gradient and Hessian come out of the graph, are compiled once, and Newton's method walks down the valley.

    python examples/gradient_of_formula.py
"""

from __future__ import annotations

import numpy as np

import graphc as G


def model() -> G.Model:
    """f, its gradient and its Hessian at a point p = (x, y), in float64."""
    p = G.input("p", (2,), dtype="float64")
    x, y = p[0], p[1]
    f = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    (gradient,) = G.grad(f, [p])
    return G.Model(value=f, derivatives={"gradient": gradient, "hessian": G.hessian(f, p)})


def main() -> int:
    """Newton's method from (−1.2, 1)."""
    m = G.compile(model())
    p = np.array([-1.2, 1.0])
    for step in range(10):
        derivatives = m.derivatives(p)
        print(f"step {step}: f({p[0]: .6f}, {p[1]: .6f}) = {float(m.value(p)):.3e}")
        p = p - np.linalg.solve(derivatives["hessian"], derivatives["gradient"])
    print(f"minimum at ({p[0]:.9f}, {p[1]:.9f})")
    return 0 if np.allclose(p, 1) else 1


if __name__ == "__main__":
    raise SystemExit(main())
