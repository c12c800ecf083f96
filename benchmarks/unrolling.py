"""What a Python loop of T steps costs: building, compiling, running; and, where torch is installed, what it costs
there.

    python benchmarks/unrolling.py [--steps 16 64 256 1500] [--json FILE]

A hand-written LSTM cell with peepholes, batch 32, 64 features, 64 hidden units; forward and the gradient of every
parameter; one thread.  The rival is torch eager running the same cell step by step on the same weights; results are
compared before anything is timed.  The loss is over every step: gradients that come from the last one alone vanish into
subnormal numbers, on which every processor is slow.  Times are medians; runs of the two alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np

import graphc as G

BATCH, FEATURES, HIDDEN = 32, 64, 64
SHAPES = {"w": (FEATURES, 4 * HIDDEN), "u": (HIDDEN, 4 * HIDDEN), "b": (4 * HIDDEN,), "p": (HIDDEN,)}


def weights() -> dict[str, np.ndarray]:
    """The same weights for everyone."""
    rng = np.random.default_rng(0)
    return {name: (rng.standard_normal(shape) * 0.1).astype("float32") for name, shape in SHAPES.items()}


def build(steps: int) -> G.Model:
    """The loop, unrolled by Python, and its gradient."""
    x = G.input("x", (steps, BATCH, FEATURES))
    w, u, b, p = (G.parameter(name, value) for name, value in weights().items())
    h = c = G.zeros((BATCH, HIDDEN))
    outputs = []
    for t in range(steps):
        i, f, g, o = G.split(x[t] @ w + h @ u + b, 4, axis=1)
        i = G.sigmoid(i + p * c)
        c = G.sigmoid(f) * c + i * G.tanh(g)
        h = G.sigmoid(o) * G.tanh(c)
        outputs.append(h)
    loss = (G.stack(outputs) ** 2).mean()
    dw, du, db, dp = G.grad(loss, [w, u, b, p])
    return G.Model(step={"loss": loss, "w": dw, "u": du, "b": db, "p": dp})


def torch_step(steps: int):
    """The same in torch eager, or None where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    w, u, b, p = (torch.from_numpy(value).requires_grad_() for value in weights().values())

    def step(x: np.ndarray) -> dict[str, np.ndarray]:
        data = torch.from_numpy(x)
        h = c = torch.zeros(BATCH, HIDDEN)
        outputs = []
        for t in range(steps):
            i, f, g, o = (data[t] @ w + h @ u + b).chunk(4, dim=1)
            i = torch.sigmoid(i + p * c)
            c = torch.sigmoid(f) * c + i * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        loss = (torch.stack(outputs) ** 2).mean()
        dw, du, db, dp = torch.autograd.grad(loss, [w, u, b, p])
        return {"loss": loss.detach(), "w": dw, "u": du, "b": db, "p": dp}

    return step


def measure(steps: int) -> dict[str, float]:
    """Seconds to build and compile, code size, milliseconds a step for each."""
    start = time.perf_counter()
    model = build(steps)
    built = time.perf_counter()
    compiled = G.compile(model)
    done = time.perf_counter()
    x = np.random.default_rng(1).standard_normal((steps, BATCH, FEATURES)).astype("float32")
    rival = torch_step(steps)
    ours = compiled.step(x)
    if rival is not None:
        theirs = rival(x)
        for name, value in ours.items():
            scale = float(np.abs(value).max())
            np.testing.assert_allclose(value, np.asarray(theirs[name]), atol=2e-4 * scale, rtol=0)
    repeats = max(3, min(30, 2000 // steps))
    times: dict[str, list[float]] = {"graphc": [], "torch": []}
    for _ in range(repeats):
        for name, call in (("graphc", compiled.step), ("torch", rival)):
            if call is not None:
                start_call = time.perf_counter()
                call(x)
                times[name].append(time.perf_counter() - start_call)
    code = compiled.build.link("code.so", list(compiled.build.exports.values()))
    result = {
        "steps": steps,
        "build and gradient (s)": built - start,
        "compile (s)": done - built,
        "shared object (KB)": len(code) / 1024,
        "graphc (ms)": statistics.median(times["graphc"]) * 1e3,
    }
    if rival is not None:
        result["torch eager (ms)"] = statistics.median(times["torch"]) * 1e3
    return result


def main() -> None:
    """Measure each number of steps and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 64, 256, 1500])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(steps) for steps in options.steps]
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(f"{row[name]:.4g}" for name in names) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
