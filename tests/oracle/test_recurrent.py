"""Recurrent layers against torch: a loop written after Keras' definitions, and torch's own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.oracle.nn_parity import Case, compare
from tests.oracle.random_recurrent import CASES

pytestmark = pytest.mark.oracle
COMPILED = {case.label for case in CASES[::23]}


def test_there_are_enough() -> None:
    assert len(CASES) >= 160
    assert len({case.label for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    compare(case, backends=("numpy", "llvm") if case.label in COMPILED else ())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_of_torch(kind: str) -> None:
    """PyTorch's own two-directional layers, whose packed sequences are our lengths."""
    features, units, steps = 3, 2, 4
    layer = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}[kind]
    order = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "RNN": [0]}[kind]

    def rows(array: Any) -> Any:
        return torch.cat([array.chunk(len(order), -1)[gate] for gate in order], -1)

    def reference(w: Any, x: Any, lengths: Any) -> Any:
        theirs = getattr(torch.nn, kind)(features, units, batch_first=True, bidirectional=True, dtype=torch.float64)
        values = {}
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            own = {key.rsplit("/", 1)[1]: value for key, value in w.items() if key.startswith(direction)}
            bias = own["bias"] if own["bias"].ndim == 2 else torch.stack([own["bias"], torch.zeros_like(own["bias"])])
            values[f"weight_ih_l0{suffix}"] = rows(own["kernel"]).T
            values[f"weight_hh_l0{suffix}"] = rows(own["recurrent_kernel"]).T
            values[f"bias_ih_l0{suffix}"], values[f"bias_hh_l0{suffix}"] = rows(bias[0]), rows(bias[1])
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = torch.func.functional_call(theirs, values, (packed,))
        return torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=steps)[0]

    case = Case(
        f"torch {kind}",
        lambda namespace: namespace.Bidirectional(getattr(namespace, layer)(units, return_sequences=True)),
        reference,
        (np.random.default_rng(7).normal(size=(3, steps, features)), np.array([2, steps, 1])),
        lambda own, x, lengths: own(x, lengths=lengths),
        keras=False,
    )
    compare(case)
