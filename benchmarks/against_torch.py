"""graphc beside torch eager on library layers.

The same weights and inputs, results compared first, runs alternating, one thread, medians.

    pip install ".[bench]" && python benchmarks/against_torch.py

"train" is forward, backward and an SGD update.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch

import graphc as G
from graphc import nn, optim

RATE = 0.01


def lstm(steps: int = 64, batch: int = 32, features: int = 128, hidden: int = 256) -> tuple[G.Model, torch.nn.Module]:
    """An LSTM over (steps, batch, features) with a dense layer on its last step."""
    x = G.input("x", (steps, batch, features))
    y = G.input("y", (batch,), dtype="int64")
    logits = nn.Dense(10)(nn.LSTM(hidden, time_major=True)(x))

    class Rival(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(features, hidden)
            self.dense = torch.nn.Linear(hidden, 10)

        def forward(self, data: torch.Tensor) -> torch.Tensor:
            return self.dense(self.lstm(data)[0][-1])

    return _model(y, logits), Rival()


def mlp(batch: int = 64) -> tuple[G.Model, torch.nn.Module]:
    """784-512-512-10 with relu."""
    x = G.input("x", (batch, 784))
    y = G.input("y", (batch,), dtype="int64")
    h = nn.Dense(512, activation="relu")(nn.Dense(512, activation="relu")(x))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    return _model(y, nn.Dense(10)(h)), torch.nn.Sequential(
        linear(784, 512), relu(), linear(512, 512), relu(), linear(512, 10)
    )


def _model(y: G.Tensor, logits: G.Tensor) -> G.Model:
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, train=optim.SGD(RATE).minimize(loss))


def copy_weights(compiled, rival: torch.nn.Module) -> None:
    """Give torch our weights: transposed kernels; torch's second LSTM bias is zero."""
    states = compiled.module.states
    ours = [np.array(compiled.parameters[name]) for name, state in states.items() if state.role == "parameter"]
    with torch.no_grad():
        if hasattr(rival, "lstm"):
            kernel, recurrent, bias, dense, dense_bias = ours
            rival.lstm.weight_ih_l0.copy_(torch.from_numpy(kernel.T))
            rival.lstm.weight_hh_l0.copy_(torch.from_numpy(recurrent.T))
            rival.lstm.bias_ih_l0.copy_(torch.from_numpy(bias))
            rival.lstm.bias_hh_l0.zero_()
            rival.dense.weight.copy_(torch.from_numpy(dense.T))
            rival.dense.bias.copy_(torch.from_numpy(dense_bias))
            return
        for parameter, value in zip(rival.parameters(), ours, strict=True):
            parameter.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))


def alternate(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def measure(name: str, make: Callable[[], tuple[G.Model, torch.nn.Module]], repeats: int) -> list[dict[str, object]]:
    """Rows of the table for one workload."""
    model, rival = make()
    compiled = G.compile(model)
    copy_weights(compiled, rival)
    rng = np.random.default_rng(0)
    shapes = {key: type_.shape for key, type_ in model.module.input_types("train").items()}
    x = rng.standard_normal(shapes["x"]).astype("float32")
    y = rng.integers(0, 10, shapes["y"])
    data, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.SGD(rival.parameters(), lr=RATE)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def torch_predict() -> torch.Tensor:
        with torch.no_grad():
            return rival(data)

    def torch_train() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(rival(data), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    np.testing.assert_allclose(compiled.predict(x), torch_predict().numpy(), rtol=1e-4, atol=1e-4)
    for _ in range(3):
        np.testing.assert_allclose(float(compiled.train(x, y)), torch_train(), rtol=1e-3)
    rows = []
    for kind, ours, theirs in (
        ("predict", lambda: compiled.predict(x), torch_predict),
        ("train", lambda: compiled.train(x, y), torch_train),
    ):
        found = alternate({"graphc": ours, "torch": theirs}, repeats)
        times = {f"{who} (ms)": value for who, value in found.items()}
        rows.append({"workload": f"{name}, {kind}", **times, "torch / graphc": found["torch"] / found["graphc"]})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        *measure("LSTM T64 B32 H256", lstm, options.repeats),
        *measure("MLP B64", mlp, options.repeats),
    ]
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(v if isinstance(v, str) else f"{v:.3g}" for v in row.values()) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
