"""When each kernel runs: close to where its ops stood, and what updates state as soon as it can."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import users


def unit_keys(
    graph: Graph,
    members: Mapping[Hashable, Sequence[Node]],
    unit_of: Mapping[Node, Hashable],
    followers: Mapping[Hashable, Sequence[Hashable]],
    waiting: Mapping[Hashable, int],
) -> dict[Hashable, int]:
    """For each unit a key; of those that are ready, the one with the least key runs next.

    A unit stands where its last member stood, so that liveness stays short.  One that gives a state its new value
    stands behind the last one that reads the old value: an optimizer's step, which stands at the end of a program,
    then takes a gradient that was just computed from operands that are still in the cache, and frees them.

    Args:
        graph: the program.
        members: the nodes of each unit, in order.
        unit_of: the unit of each node.
        followers: the units that read each unit.
        waiting: how many units each one reads.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    keys = {unit: position[nodes[-1]] for unit, nodes in members.items()}
    if not graph.updates:
        return keys
    reached, readers = _reached(keys, followers, waiting), users(graph.nodes)
    for unit, variables in _updating(graph, unit_of).items():
        reading = {unit_of[reader] for variable in variables for reader in _readers(readers, variable)}
        keys[unit] = max((reached[reader] for reader in reading if reader != unit), default=-1)
    # Nobody waits for a view, which is there with what it is a view of, nor for a constant.
    for node in reversed(graph.nodes):
        if node.op.kind in (OpKind.SOURCE, OpKind.MOVEMENT):
            keys[node] = min((keys[follower] for follower in followers[node]), default=keys[node])
    return keys


def _reached(
    keys: Mapping[Hashable, int], followers: Mapping[Hashable, Sequence[Hashable]], waiting: Mapping[Hashable, int]
) -> dict[Hashable, int]:
    """For each unit the largest key among its own and those of all that it depends on: it cannot run before them."""
    reached = dict(keys)
    left = dict(waiting)
    ready = [unit for unit, count in left.items() if not count]
    while ready:
        unit = ready.pop()
        for follower in followers[unit]:
            reached[follower] = max(reached[follower], reached[unit])
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    return reached


def _updating(graph: Graph, unit_of: Mapping[Node, Hashable]) -> dict[Hashable, list[Node]]:
    """Unit → the variables that it gives new values; not those whose new value is some other variable's old one."""
    found: dict[Hashable, list[Node]] = {}
    for variable, value in graph.updates:
        if value.op.kind not in (OpKind.SOURCE, OpKind.MOVEMENT):
            found.setdefault(unit_of[value], []).append(variable)
    return found


def _readers(readers: Mapping[Node, Sequence[Node]], variable: Node) -> list[Node]:
    """What reads a variable, also through views of it."""
    found: list[Node] = []
    pending = list(readers[variable])
    while pending:
        node = pending.pop()
        found.append(node)
        if node.op.kind is OpKind.MOVEMENT:
            pending.extend(readers[node])
    return found
