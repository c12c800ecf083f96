"""Penalties on parameters and activities, which training adds to the loss."""

from __future__ import annotations

from collections.abc import Callable

from graphc.frontends.dsl.session import session_of
from graphc.frontends.dsl.tensor import Tensor
from graphc.ir.node import Node
from graphc.ir.traverse import creation_order


def add_penalty(anchor: Tensor, penalty: Callable[[Tensor], Tensor]) -> None:
    """Make losses that are minimized and depend on ``anchor`` contain the scalar ``penalty(anchor)``."""
    builder = anchor.builder
    # Neither closure holds the anchor: the session forgets both together.
    session_of(builder).add_penalty(anchor.node, lambda node: penalty(Tensor(node, builder)).node)


def penalties(loss: Tensor) -> list[Tensor]:
    """The penalties that belong to ``loss`` and are not in it yet, in the order in which their anchors were made.

    Those on a parameter that is not trainable do not count.
    """
    session = session_of(loss.builder)
    if not session.has_penalties:
        return []
    order = creation_order([loss.node])
    found: dict[Node, None] = {}
    for node in order:
        found |= dict.fromkeys(session.penalties(node))
    inside = set(order)
    return [Tensor(node, loss.builder) for node in found if node not in inside]


def penalized(loss: Tensor) -> Tensor:
    """``loss`` with its penalties added: what ``minimize`` goes down, and Keras reports."""
    for penalty in penalties(loss):
        loss = loss + penalty.astype(loss.dtype)
    return loss
