"""Every loss against torch in random configurations: values, gradients, three optimizer steps of what is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import graphc as G
from graphc import nn
from graphc.ir.interp import evaluate
from tests.oracle.nn_parity import STEPS, TOLERANCES, Array, close
from tests.oracle.optimizers import any_optimizer
from tests.oracle.random_cases import Draw

pytestmark = pytest.mark.oracle
F = torch.nn.functional
CLASSES = 4
COUNT = 6
EPSILON = 1e-7
"""How far Keras keeps probabilities from 0 and 1."""


def one_hot(y: Any) -> Any:
    return F.one_hot(y, CLASSES).to(torch.float64)


def log_p(p: Any, logits: bool) -> Any:
    return F.log_softmax(p, -1) if logits else torch.log((p / p.sum(-1, keepdim=True)).clamp(EPSILON, 1 - EPSILON))


def huber(y: Any, p: Any, delta: float) -> Any:
    return F.huber_loss(p, y, reduction="none", delta=delta).mean(-1)


def signs(y: Any) -> Any:
    return 2 * y - 1 if ((y == 0) | (y == 1)).all() else y


def binary(y: Any, p: Any, from_logits: bool, label_smoothing: float) -> Any:
    y = y * (1 - label_smoothing) + label_smoothing / 2
    each = F.binary_cross_entropy_with_logits if from_logits else F.binary_cross_entropy
    return each(p if from_logits else p.clamp(EPSILON, 1 - EPSILON), y, reduction="none").mean(-1)


def categorical(y: Any, p: Any, from_logits: bool, label_smoothing: float) -> Any:
    smoothed = y * (1 - label_smoothing) + label_smoothing / CLASSES
    return -(smoothed * log_p(p, from_logits)).sum(-1)


def sparse(y: Any, p: Any, from_logits: bool) -> Any:
    return -log_p(p, from_logits).gather(-1, y[..., None])[..., 0]


def divergence(y: Any, p: Any) -> Any:
    y, p = y.clamp(EPSILON, 1), p.clamp(EPSILON, 1)
    return (y * torch.log(y / p)).sum(-1)


def hinge_of_classes(y: Any, p: Any) -> Any:
    return (((1 - y) * p).amax(-1) - (y * p).sum(-1) + 1).clamp(min=0)


# name → (one loss a sample or step in torch, what the targets are, what the predictions are, arguments)
KERAS: dict[str, tuple[Callable[..., Any], str, str, Callable[[Draw], dict[str, Any]]]] = {
    "MeanSquaredError": (lambda y, p: ((y - p) ** 2).mean(-1), "numbers", "numbers", lambda d: {}),
    "MeanAbsoluteError": (lambda y, p: (y - p).abs().mean(-1), "numbers", "numbers", lambda d: {}),
    "Huber": (huber, "numbers", "numbers", lambda d: {"delta": d.number_in(0.3, 2)}),
    "Hinge": (lambda y, p: (1 - signs(y) * p).clamp(min=0).mean(-1), "bits or signs", "numbers", lambda d: {}),
    "SquaredHinge": (
        lambda y, p: ((1 - signs(y) * p).clamp(min=0) ** 2).mean(-1),
        "bits or signs",
        "numbers",
        lambda d: {},
    ),
    "CategoricalHinge": (hinge_of_classes, "one-hot", "numbers", lambda d: {}),
    "BinaryCrossentropy": (
        binary,
        "bits",
        "logits or probabilities",
        lambda d: {"from_logits": d.flag(), "label_smoothing": d.one_of(0.0, 0.2)},
    ),
    "CategoricalCrossentropy": (
        categorical,
        "distributions",
        "logits or probabilities",
        lambda d: {"from_logits": d.flag(), "label_smoothing": d.one_of(0.0, 0.2)},
    ),
    "SparseCategoricalCrossentropy": (
        sparse,
        "classes",
        "logits or probabilities",
        lambda d: {"from_logits": d.flag()},
    ),
    "KLDivergence": (divergence, "distributions", "probabilities", lambda d: {}),
    "Poisson": (
        lambda y, p: (p - y * torch.log(p.clamp(min=EPSILON))).mean(-1),
        "counts",
        "probabilities",
        lambda d: {},
    ),
    "NegativeLogLikelihood": (lambda y, p: -p.gather(-1, y[..., None])[..., 0], "classes", "numbers", lambda d: {}),
}

TORCH: dict[str, tuple[str, str, Callable[[Draw], dict[str, Any]]]] = {
    "MSELoss": ("numbers", "numbers", lambda d: {}),
    "L1Loss": ("numbers", "numbers", lambda d: {}),
    "SmoothL1Loss": ("numbers", "numbers", lambda d: {"beta": d.number_in(0.3, 2)}),
    "HuberLoss": ("numbers", "numbers", lambda d: {"delta": d.number_in(0.3, 2)}),
    "BCELoss": ("bits", "probabilities", lambda d: {}),
    "BCEWithLogitsLoss": ("bits", "numbers", lambda d: {"pos_weight": d.one_of(None, 2.5)}),
    "KLDivLoss": ("distributions", "log-probabilities", lambda d: {}),
    "NLLLoss": ("classes", "log-probabilities", lambda d: {"ignore_index": d.one_of(-100, 1)}),
    "CrossEntropyLoss": (
        "classes",
        "numbers",
        lambda d: {
            "ignore_index": d.one_of(-100, 1),
            "label_smoothing": d.one_of(0.0, 0.2),
            "weight": d.one_of(None, 1),
        },
    ),
}


def targets(d: Draw, kind: str, shape: tuple[int, ...]) -> Array:
    """Targets of a kind for predictions of ``shape`` + classes."""
    classes = d.rng.integers(0, CLASSES, size=shape)
    if kind == "classes":
        return classes
    made = {
        "numbers": d.array(*shape, CLASSES),
        "counts": d.rng.poisson(2.0, size=(*shape, CLASSES)).astype(float),
        "bits": d.rng.integers(0, 2, size=(*shape, CLASSES)).astype(float),
        "one-hot": np.eye(CLASSES)[classes],
        "distributions": d.rng.dirichlet(np.ones(CLASSES), size=shape),
    }
    if kind == "bits or signs":
        return made["bits"] if d.flag() else 2 * made["bits"] - 1
    return made[kind]


def prepared(kind: str, arguments: dict[str, Any], x: Any) -> Any:
    """What a loss is given, from any numbers; for tensors of ours and of torch."""
    ours = isinstance(x, G.Tensor)
    if kind == "logits or probabilities":
        kind = "numbers" if arguments["from_logits"] else "probabilities"
    if kind == "probabilities":
        return G.sigmoid(x) if ours else torch.sigmoid(x)
    if kind == "log-probabilities":
        return G.log_softmax(x, 1 if ours else -1) if ours else F.log_softmax(x, 1)
    return x


def check(
    label: str,
    data: Array,
    truth: Array,
    ours: Callable[[G.Tensor, G.Tensor], G.Tensor],
    theirs: Callable[[Any, Any], Any],
    seed: int,
) -> None:
    """A product with a weight, and the loss of it: value, gradients, three steps."""
    start = np.random.default_rng(seed).normal(size=(data.shape[-1], CLASSES)) * 0.7
    for dtype, tolerance in TOLERANCES.items():
        optimizer = any_optimizer(np.random.default_rng(seed))
        with G.graph():
            x = G.input("x", data.shape, dtype)
            y = G.input("y", truth.shape, dtype if truth.dtype.kind == "f" else "int64")
            w = G.parameter("w", start.astype(dtype), dtype=dtype)
            loss = ours(x @ w, y)
            total = loss.sum() if loss.ndim else loss
            run = G.Step(dict(zip(("loss", "dx", "dw"), (loss, *G.grad(total, [x, w])), strict=True)))
            model = G.Model(run=run, train=optimizer.ours.minimize(total))
            given = {"x": data.astype(dtype), "y": truth.astype(dtype) if truth.dtype.kind == "f" else truth}
            got, _ = evaluate(model.entries["run"], given)
            states: dict[str, Array] = {}
            for _ in range(STEPS):
                states |= evaluate(model.entries["train"], given, states)[1]

        leaf_x = torch.tensor(given["x"].astype(float), requires_grad=True)
        leaf_w = torch.tensor(start.astype(dtype).astype(float), requires_grad=True)
        answer = torch.tensor(given["y"].astype(float) if truth.dtype.kind == "f" else truth)
        value = theirs(leaf_x @ leaf_w, answer)
        value.sum().backward()
        expected = {"loss": value.detach().numpy(), "dx": leaf_x.grad.numpy(), "dw": leaf_w.grad.numpy().copy()}
        step = optimizer.theirs([leaf_w])
        for _ in range(STEPS):
            leaf_w.grad = torch.zeros_like(leaf_w)
            theirs(leaf_x.detach() @ leaf_w, answer).sum().backward()
            step()
        close(got, expected, tolerance, f"{label} {dtype}")
        close({"w": states["w"]}, {"w": leaf_w.detach().numpy()}, tolerance, f"{label} {dtype} {optimizer.label}")


def reduced(each: Any, reduction: str, weight: Any, mask: Any) -> Any:
    """Keras' reduction."""
    shares = torch.ones_like(each)
    for one in (weight, mask):
        if one is not None:
            shares = shares * torch.tensor(one, dtype=each.dtype).reshape(*one.shape, *(1,) * (each.ndim - one.ndim))
    if reduction == "none":
        return each * shares
    total = (each * shares).sum()
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weight is not None:
        return total / shares.sum()
    return total / (each.numel() if mask is None else float(mask.sum()))


@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("name", KERAS)
def test_losses_of_keras(name: str, number: int) -> None:
    d = Draw(name, number)
    each, truth_kind, kind, draw_arguments = KERAS[name]
    arguments, lead = draw_arguments(d), d.sizes(d.size(1, 2), 2, 4)
    reduction = d.one_of("sum_over_batch_size", "sum", "none", "mean_with_sample_weight")
    weight = d.rng.random(lead[: d.size(1, len(lead))]) + 0.2 if d.flag() else None
    mask = d.mask(*lead) if len(lead) == 2 and d.flag() else None

    def ours(x: G.Tensor, y: G.Tensor) -> G.Tensor:
        prediction = prepared(kind, arguments, x)
        if mask is not None:
            prediction = nn.with_mask(prediction, G.constant(mask))
        return getattr(nn.losses, name)(reduction=reduction, **arguments)(y, prediction, weight)

    def theirs(x: Any, y: Any) -> Any:
        return reduced(each(y, prepared(kind, arguments, x), **arguments), reduction, weight, mask)

    label = f"{name} {arguments} {reduction}"
    check(label, d.array(*lead, 3), targets(d, truth_kind, lead), ours, theirs, number)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", TORCH)
def test_losses_of_torch(name: str, number: int) -> None:
    d = Draw(name, number)
    truth_kind, kind, draw_arguments = TORCH[name]
    arguments = {**draw_arguments(d), "reduction": d.one_of("mean", "sum", "none")}
    batch = d.size(3, 5)
    if arguments.get("weight") is not None:
        arguments["weight"] = d.rng.random(CLASSES) + 0.2

    def made(namespace: Any, tensor: Callable[[Any], Any]) -> Any:
        wrapped = {
            key: tensor(value) if key in ("weight", "pos_weight") and value is not None else value
            for key, value in arguments.items()
        }
        return getattr(namespace, name)(**wrapped)

    check(
        f"{name} {arguments}",
        d.array(batch, 3),
        targets(d, truth_kind, (batch,)),
        lambda x, y: made(nn, lambda value: value)(prepared(kind, arguments, x), y),
        lambda x, y: made(torch.nn, torch.tensor)(prepared(kind, arguments, x), y),
        number,
    )
