"""Random optimizers, and the same ones in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import optim


@dataclass(frozen=True)
class Pair:
    """An optimizer of ours, and a function from torch's parameters to a function that makes one step."""

    label: str
    ours: optim.Optimizer
    theirs: Callable[[Sequence[Any]], Callable[[], None]]


KINDS = ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop")


def any_optimizer(rng: np.random.Generator, kind: str | None = None, *, clipped: bool = True) -> Pair:
    """One at random, with PyTorch's names of arguments.

    Its small constants are not very small: where a gradient is zero but for rounding, the rounding would be divided by
    itself.
    """
    import torch

    chosen = kind or str(rng.choice(KINDS))

    def number(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    rate, eps, decay = number(0.005, 0.05), number(0.01, 0.1), number(0.01, 0.5)
    options: dict[str, Any]
    if chosen == "SGD":
        momentum = float(rng.choice([0.0, 0.9]))
        options = {"momentum": momentum, "nesterov": bool(momentum) and bool(rng.integers(2))}
    elif chosen == "Adagrad":
        options = {"initial_accumulator_value": decay, "eps": eps}
    elif chosen == "RMSprop":
        options = {"alpha": number(0.8, 0.99), "eps": eps, "momentum": float(rng.choice([0.0, 0.7]))}
        options["centered"] = bool(rng.integers(2))
    else:
        options = {"betas": (number(0.5, 0.9), number(0.9, 0.999)), "eps": eps}
        options |= {"weight_decay": decay} if chosen == "AdamW" else {}
    clipping: dict[str, float] = {}
    if clipped and rng.integers(3) == 0:
        clipping = {str(rng.choice(["clipnorm", "global_clipnorm", "clipvalue"])): number(0.05, 0.5)}

    def theirs(parameters: Sequence[Any]) -> Callable[[], None]:
        made = getattr(torch.optim, chosen)(parameters, lr=rate, **options)

        def step() -> None:
            _clip(parameters, clipping)
            made.step()

        return step

    ours = getattr(optim, chosen)(lr=rate, **options, **clipping)
    return Pair(f"{chosen}({rate}, {options}, {clipping})", ours, theirs)


def _clip(parameters: Sequence[Any], clipping: dict[str, float]) -> None:
    """Clip gradients in place, as torch or (by the norm of each) Keras has it."""
    import torch

    if "clipvalue" in clipping:
        torch.nn.utils.clip_grad_value_(parameters, clipping["clipvalue"])
    for group, limit in [
        (parameters, clipping.get("global_clipnorm")),
        *(([p], clipping.get("clipnorm")) for p in parameters),
    ]:
        if limit is not None:
            # torch's own divides by the norm plus 1e-6.
            norm = torch.sqrt(sum((one.grad**2).sum() for one in group))
            for one in group:
                one.grad *= min(1.0, limit / float(norm)) if norm > 0 else 1.0
