"""Traversals of graphs.  All are iterative: a graph may be one chain of 200,000 nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from graphc.ir.node import Node

_SERIAL = attrgetter("serial")


def reachable(outputs: Iterable[Node]) -> set[Node]:
    """Every node that ``outputs`` depend on, themselves included.  A set: never iterate it where order reaches
    output.
    """
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.inputs)
    return seen


def creation_order(outputs: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes reachable from ``outputs`` in the order they were made; inputs always come before their users."""
    return tuple(sorted(reachable(outputs), key=_SERIAL))


def post_order(outputs: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes that ``outputs`` depend on, inputs before users, each output's new nodes together."""
    done: dict[Node, None] = {}
    stack = [(node, False) for node in reversed(list(outputs))]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend((operand, False) for operand in reversed(node.inputs) if operand not in done)
    return tuple(done)


def level_order(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes, given in a topological order, by their distance from the sources; in the order given within a
    distance.
    """
    level: dict[Node, int] = {}
    for node in nodes:
        level[node] = 1 + max((level[operand] for operand in node.inputs), default=0)
    return tuple(sorted(nodes, key=level.__getitem__))


def users(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """For each node the nodes that read it, in order; a node that reads it twice stands once."""
    table: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for operand in dict.fromkeys(node.inputs):
            if operand in table:
                table[operand].append(node)
    return table


def last_use(nodes: Sequence[Node]) -> dict[Node, int]:
    """For each node the position of its last reader in ``nodes`` (its own position where it has none)."""
    table = {node: position for position, node in enumerate(nodes)}
    for position, node in enumerate(nodes):
        for operand in node.inputs:
            if operand in table:
                table[operand] = position
    return table
