"""The functions named as those of ``torch.nn.functional`` against them: values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import graphc as G
from graphc import nn
from graphc.ir.interp import evaluate
from tests.oracle.nn_parity import close

pytestmark = pytest.mark.oracle
_rng = np.random.default_rng(3)
FLAT, IMAGE, SOUND, VOLUME = (_rng.normal(size=shape) for shape in ((4, 6), (2, 4, 7, 6), (2, 4, 9), (1, 2, 5, 4, 6)))
KERNEL, BIAS = _rng.normal(size=(6, 2, 3, 3)), _rng.normal(size=6)
CLASSES, BITS = _rng.integers(0, 6, size=4), _rng.integers(0, 2, size=(4, 6)).astype(float)
SHARES = _rng.dirichlet(np.ones(6), size=4)

PLAIN = "relu relu6 elu selu silu gelu leaky_relu sigmoid tanh softplus softsign hardtanh logsigmoid"
CASES: dict[str, tuple[np.ndarray[Any, Any], Callable[..., Any]]] = {
    **{name: (3 * FLAT, lambda F, x, name=name: getattr(F, name)(x)) for name in PLAIN.split()},
    "softmax": (FLAT, lambda F, x: F.softmax(x, dim=0)),
    "softmin": (FLAT, lambda F, x: F.softmin(x, dim=1)),
    "log_softmax": (FLAT, lambda F, x: F.log_softmax(x, dim=1)),
    "gelu of tanh": (FLAT, lambda F, x: F.gelu(x, approximate="tanh")),
    "hardtanh with limits": (3 * FLAT, lambda F, x: F.hardtanh(x, -0.5, 2.0)),
    "normalize": (FLAT, lambda F, x: F.normalize(x, p=2, dim=1)),
    "layer_norm": (FLAT, lambda F, x: F.layer_norm(x, (6,), eps=1e-3)),
    "pad": (IMAGE, lambda F, x: F.pad(x, (1, 2, 0, 3), value=1.5)),
    "conv2d": (IMAGE, lambda F, x, k, b: F.conv2d(x, k, b, stride=2, padding=1, groups=2)),
    "conv1d": (SOUND, lambda F, x, k, b: F.conv1d(x, k[:, :, 0], b, dilation=2, groups=2)),
    "linear": (FLAT, lambda F, x, k, b: F.linear(x, k[:, 0, 0, :1] * b, b)),
    "max_pool1d": (SOUND, lambda F, x: F.max_pool1d(x, 3, 2, 1)),
    "max_pool2d": (IMAGE, lambda F, x: F.max_pool2d(x, (2, 3))),
    "max_pool3d": (VOLUME, lambda F, x: F.max_pool3d(x, 2)),
    "avg_pool1d": (SOUND, lambda F, x: F.avg_pool1d(x, 3, padding=1, count_include_pad=False)),
    "avg_pool2d": (IMAGE, lambda F, x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool3d": (VOLUME, lambda F, x: F.avg_pool3d(x, 2, stride=1)),
    "mse_loss": (FLAT, lambda F, x, y: F.mse_loss(x, y)),
    "l1_loss": (FLAT, lambda F, x, y: F.l1_loss(x, y, reduction="sum")),
    "smooth_l1_loss": (FLAT, lambda F, x, y: F.smooth_l1_loss(x, y, beta=0.5)),
    "huber_loss": (FLAT, lambda F, x, y: F.huber_loss(x, y, delta=0.5)),
    "binary_cross_entropy_with_logits": (FLAT, lambda F, x, y: F.binary_cross_entropy_with_logits(x, y)),
    "binary_cross_entropy": (FLAT, lambda F, x, y: F.binary_cross_entropy(F.softmax(x, dim=1), y)),
    "kl_div": (FLAT, lambda F, x, y: F.kl_div(F.log_softmax(x, dim=1), y, reduction="batchmean")),
    "cross_entropy": (FLAT, lambda F, x, c: F.cross_entropy(x, c, label_smoothing=0.1)),
    "nll_loss": (FLAT, lambda F, x, c: F.nll_loss(F.log_softmax(x, dim=1), c, ignore_index=2)),
}
OTHERS = {"k": KERNEL, "b": BIAS, "y": BITS, "c": CLASSES}


@pytest.mark.parametrize("name", CASES)
def test_function(name: str) -> None:
    data, function = CASES[name]
    wanted = [
        argument for argument in function.__code__.co_varnames[2 : function.__code__.co_argcount] if argument != "name"
    ]
    others = [SHARES if name == "kl_div" else OTHERS[argument] for argument in wanted]
    x = G.input("x", data.shape, "float64")
    # The two have other names for one thing.
    ours = function(nn.functional, x, *(G.constant(other) for other in others))
    gradient = G.grad((ours * ours).sum(), x)
    got, _ = evaluate(G.Model(run={"value": ours, "gradient": gradient}).entries["run"], [data])
    leaf = torch.tensor(data, requires_grad=True)
    theirs = function(torch.nn.functional, leaf, *(torch.tensor(other) for other in others))
    (theirs * theirs).sum().backward()
    close(got, {"value": theirs.detach().numpy(), "gradient": leaf.grad.numpy()}, 1e-10, name)


def test_dropout_and_tables() -> None:
    x = G.input("x", (64, 64))
    dropped = nn.functional.dropout(x, p=0.25)
    model = G.compile(G.Model(predict=dropped, run=G.Step(dropped, training=True)), backend="numpy")
    ones = np.ones((64, 64), np.float32)
    assert set(np.unique(model.run(ones))) == {np.float32(0), np.float32(1 / 0.75)}
    np.testing.assert_array_equal(model.predict(ones), ones)
    rows = nn.functional.embedding(G.constant([2, 0]), G.constant(FLAT))
    np.testing.assert_array_equal(evaluate(G.Model(run=rows).entries["run"], [])[0]["run"], FLAT[[2, 0]])
    assert nn.functional.one_hot(G.constant([1, 0]), 3).shape == (2, 3)
