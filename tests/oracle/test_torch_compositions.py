"""Losses and normalisations written with the array functions of ``graphc.frontends.dsl``, against torch in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from graphc.frontends import dsl
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate

pytestmark = pytest.mark.oracle

TOLERANCE = 1e-10
LABELS = np.asarray([2, 0, 4, 1])

COMPOSITIONS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "softmax": (lambda x: dsl.softmax(x, axis=-1), lambda torch, x: torch.softmax(x, -1)),
    "softmax over the first axis": (lambda x: dsl.softmax(x, axis=0), lambda torch, x: torch.softmax(x, 0)),
    "log_softmax": (lambda x: dsl.log_softmax(x, axis=-1), lambda torch, x: torch.log_softmax(x, -1)),
    "logsumexp": (lambda x: dsl.logsumexp(x, axis=1), lambda torch, x: torch.logsumexp(x, 1)),
    "cross-entropy": (
        lambda x: (
            -dsl.mean(
                dsl.sum(dsl.log_softmax(x, axis=-1) * dsl.one_hot(dsl.constant(LABELS), 5, dtype=dsl.float64), axis=-1)
            )
        ),
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.from_numpy(LABELS)),
    ),
    "layer normalisation": (
        lambda x: (x - dsl.mean(x, axis=-1, keepdims=True)) / dsl.sqrt(dsl.var(x, axis=-1, keepdims=True) + 1e-5),
        lambda torch, x: torch.nn.functional.layer_norm(x, (5,)),
    ),
    "gelu": (dsl.gelu, lambda torch, x: torch.nn.functional.gelu(x)),
    "silu": (dsl.silu, lambda torch, x: torch.nn.functional.silu(x)),
    "log_sigmoid": (dsl.log_sigmoid, lambda torch, x: torch.nn.functional.logsigmoid(x)),
    "elu": (dsl.elu, lambda torch, x: torch.nn.functional.elu(x)),
    "norm": (dsl.norm, lambda torch, x: torch.linalg.norm(x)),
    "standard deviation": (lambda x: dsl.std(x, axis=0), lambda torch, x: torch.std(x, 0, correction=0)),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("shift", [0.0, 800.0], ids=["ordinary", "large"])
def test_composition(name: str, shift: float) -> None:
    """Value and gradient of a weighted sum; numbers around 800 would overflow an exponential."""
    import torch

    ours, theirs = COMPOSITIONS[name]
    rng = np.random.default_rng(len(name))
    data = rng.standard_normal((4, 5)) * 2 + shift
    x = dsl.input("x", (4, 5), dtype=dsl.float64)
    made = ours(x)
    weight = rng.standard_normal(made.shape)
    gradient = dsl.grad(dsl.sum(made * dsl.constant(weight, dtype=dsl.float64)), x)
    graph = Graph.make("f", [x.node], [("value", made.node), ("gradient", gradient.node)])
    outputs, _ = evaluate(graph, [data])

    argument = torch.from_numpy(data.copy()).requires_grad_()
    expected = theirs(torch, argument)
    (expected * torch.from_numpy(np.asarray(weight))).sum().backward()
    for got, wanted in ((outputs["value"], expected.detach().numpy()), (outputs["gradient"], argument.grad.numpy())):
        scale = max(1.0, float(np.max(np.abs(wanted))))
        # Where a mean is taken off numbers around 800, the digits that are left are the problem's, not ours.
        tolerance = TOLERANCE * (1 + shift)
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=name)
