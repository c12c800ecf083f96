"""Why gradients vanish and explode: ‖∂h_t/∂h_k‖ through an unrolled RNN, GRU and LSTM, against t − k.

The derivative through one step of a vanilla network is diag(tanh′)·U, and the chain rule multiplies one for each step.
With a U that is r times a rotation, the product shrinks as r^(t−k) for r < 1, and for r > 1 it grows until tanh
flattens.  With gates the factors become numbers that the network itself decides upon: ∂c_t/∂c_k of an LSTM is, but for
what comes back through h, the product of its forget gates, and ∂h_t/∂h_k of a GRU that of its z.  Half open, as they
are at first, they forget faster than a vanilla network may; near 1, they carry a gradient far.

Both modes of differentiation are used.  Reverse mode goes from the last step to all earlier ones at once: the batch
holds one sequence as many times as there are units, with the identity matrix for a cotangent, so that a single vjp
gives the whole matrix ∂h_T/∂h_k for every k.  Forward mode goes from the first step to all later ones: one jvp gives
∂h_t/∂h_0·v for every t.  At their common corner, ∂h_T/∂h_0·v, they must agree.

    graphc render examples/vanishing_gradients.py --stage rolled --entry reverse -o backwards.svg
    python examples/vanishing_gradients.py            # prints a table, draws vanishing_gradients.png

Data: one random sequence.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import graphc as G
from graphc import nn

CELLS = {"rnn": nn.SimpleRNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def model(cell: str = "rnn", steps: int = 50, hidden: int = 32, features: int = 8) -> G.Model:
    """Derivatives of the states, a part of the state at a time: ``h``, and ``c`` of an LSTM.

    ``reverse`` gives the matrices ∂h_T/∂h_k, k = 0 … T, as (T + 1, hidden, hidden); ``forward`` gives ∂h_t/∂h_0·v, t =
    1 … T, as (T, hidden).
    """
    x = G.input("x", (steps, features))
    step = CELLS[cell](hidden, name=cell)
    start = [G.input(f"{part}0", (hidden, hidden)) for part in step.state_names]
    states = [start]
    for t in range(steps):
        _, after = step(G.broadcast_to(x[t], (hidden, features)), states[-1])
        states.append(after)
    v = G.input("v", (hidden,))
    reverse, forward = {}, {}
    for number, part in enumerate(step.state_names):
        run = [state[number] for state in states]
        reverse[part] = G.stack(G.vjp(run[-1], run, G.eye(hidden)))
        tangents = G.jvp(run[1:], run[0], G.broadcast_to(v, (hidden, hidden)))
        forward[part] = G.stack(tangents)[:, 0]
    return G.Model(reverse=reverse, forward=forward)


def derivatives(m, x: np.ndarray, v: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What both entry points give for the zero state; a lone result under the name ``h``."""
    hidden = len(v)
    parts = 2 if "lstm/bias" in m.parameters else 1
    start = [np.zeros((hidden, hidden), "float32")] * parts
    found = m.reverse(x, *start), m.forward(x, *start, v)
    reverse, forward = (each if isinstance(each, dict) else {"h": each} for each in found)
    return reverse, forward


def curves(steps: int = 50, hidden: int = 32, seed: int = 0) -> tuple[dict[str, np.ndarray], float]:
    """‖∂h_T/∂h_k‖₂ by T − k for each network, and the largest relative difference between the two modes."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((steps, 8)).astype("float32")
    v = rng.standard_normal(hidden).astype("float32")
    norms, apart = {}, 0.0

    def measure(name: str, m, part: str = "h", scale: float = 0.01) -> None:
        """With small inputs, so that tanh and σ are straight, unless ``scale`` says otherwise."""
        nonlocal apart
        reverse, forward = derivatives(m, np.float32(scale) * inputs, v)
        norms[name] = np.linalg.norm(reverse[part], 2, axis=(1, 2))[::-1]
        corner, other = reverse[part][0] @ v, forward[part][-1]
        apart = max(apart, float(np.abs(corner - other).max() / np.abs(corner).max()))

    m = G.compile(model("rnn", steps=steps, hidden=hidden), seed=seed)
    rotation = m.parameters["rnn/recurrent_kernel"].copy()  # Keras starts with an orthogonal matrix
    for radius in (0.9, 1.0, 1.1):
        m.parameters["rnn/recurrent_kernel"][...] = radius * rotation
        measure(f"RNN, r = {radius}", m)
    m.parameters["rnn/recurrent_kernel"][...] = rotation
    measure("RNN, r = 1, large x", m, scale=1)
    m = G.compile(model("gru", steps=steps, hidden=hidden), seed=seed)
    measure("GRU, z = 0.5", m)
    m.parameters["gru/bias"][0, :hidden] = 4
    measure("GRU, z = 0.98", m)
    m = G.compile(model("lstm", steps=steps, hidden=hidden), seed=seed)
    measure("LSTM, f = 0.73, c", m, "c")
    m.parameters["lstm/bias"][: 2 * hidden] = np.repeat([-4, 4], hidden)
    measure("LSTM, f = 0.98, c", m, "c")
    measure("LSTM, f = 0.98, h", m)
    return norms, apart


def draw(norms: dict[str, np.ndarray], path: Path) -> None:
    """One curve a network, on a logarithmic scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    colors = {"RNN": "#d55e00", "GRU": "#009e73", "LSTM": "#0072b2"}
    styles = ["-", "--", ":", "-."]
    count = dict.fromkeys(colors, 0)
    for name, values in norms.items():
        kind = name.partition(",")[0]
        axes.semilogy(values, styles[count[kind]], color=colors[kind], label=name)
        count[kind] += 1
    axes.set_xlabel("t − k")
    axes.set_ylabel("‖∂h$_t$/∂h$_k$‖")
    axes.set_ylim(1e-6, 1e3)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=100)


def main() -> int:
    """Print and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("vanishing_gradients.png"))
    options = parser.parse_args()
    begin = time.perf_counter()
    norms, apart = curves()
    lags = (1, 5, 10, 20, 30, 50)
    print("t − k".rjust(20), *(f"{lag:>8}" for lag in lags))
    for name, values in norms.items():
        print(name.rjust(20), *(f"{values[lag]:8.1e}" for lag in lags))
    print(f"forward and reverse mode differ by {apart:.0e} at most; {time.perf_counter() - begin:.1f} s")
    draw(norms, options.output)
    print(f"drew {options.output}")
    shrinks, grows = norms["RNN, r = 0.9"][50] < 0.01, norms["RNN, r = 1.1"][50] > 10
    return 0 if shrinks and grows and norms["LSTM, f = 0.98, c"][50] > 0.1 and apart < 1e-3 else 1


if __name__ == "__main__":
    raise SystemExit(main())
