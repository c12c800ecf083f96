"""Gradient clipping: by value, by each gradient's norm, by the norm of all gradients together."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.frontends.dsl.elementwise import clip, maximum, sqrt, square
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor


def clip_by_value(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Each element kept between -limit and limit."""
    return [clip(gradient, -limit, limit) for gradient in gradients]


def clip_by_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Each gradient scaled down to the Euclidean length ``limit`` where it is longer."""
    return [gradient * (limit / maximum(sqrt(sum(square(gradient))), limit)) for gradient in gradients]


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean length of all gradients as one vector."""
    total = sum(square(gradients[0]))
    for gradient in gradients[1:]:
        total = total + sum(square(gradient))
    return sqrt(total)


def clip_by_global_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """All gradients scaled down by one factor, so that together they have the length ``limit`` at most."""
    length = global_norm(gradients)
    factor = limit / maximum(length, limit)
    return [gradient * factor.astype(gradient.dtype) for gradient in gradients]
