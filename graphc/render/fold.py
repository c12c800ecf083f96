"""Finds what repeats in a graph, so that a picture shows it once.

The searches, from the surest: steps that the frontend marked (scope parts ``step N``), what an optimizer does to each
parameter, the loops that :mod:`graphc.passes.roll` can prove, and, where a graph is still too large to read, plain runs
of nodes that look alike, such as the equal blocks of a deep network.  Folding is for the eye only: it never has to be a
correct loop, so unlike ``roll`` it may merge steps that use different weights.
"""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType
from graphc.passes.roll_search import Candidate, find_candidates, fingerprint, fingerprints
from graphc.passes.roll_verify import plan_loops

_STEP = re.compile(r"step \d+")

MINIMUM_TRIPS = 3
_MINIMUM_NODES = 12
_MINIMUM_UPDATE = 4


@dataclass(frozen=True, eq=False, slots=True)
class Repeat:
    """Nodes that are drawn once: ``trips[t][row]`` stands in the place of ``trips[0][row]``.

    Attributes:
        trips: for each trip its nodes; all trips look alike row by row.
        scope: the layers around the whole repeat.
        label: what the trips are called.
    """

    trips: tuple[tuple[Node, ...], ...]
    scope: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a folded node stands."""

    repeat: Repeat
    trip: int
    row: int

    @property
    def node(self) -> Node:
        """The node that is drawn for it."""
        return self.repeat.trips[0][self.row]


def is_step(part: str) -> bool:
    """True for the scope part of one step of an unrolled loop."""
    return _STEP.fullmatch(part) is not None


def find_repeats(graph: Graph, *, alike: bool = False, updates_only: bool = False) -> list[Repeat]:
    """Disjoint repeats of a graph, in the order of their first nodes.

    Args:
        alike: also merge runs of nodes that merely look alike.
        updates_only: merge the updates of the parameters and nothing else.
    """
    repeats = _update_runs(graph) if updates_only else _marked_steps(graph)
    if updates_only:
        return repeats
    repeats += _update_runs(graph)
    taken = {node for repeat in repeats for trip in repeat.trips for node in trip}
    repeats += _proved_loops(graph, taken)
    if alike:
        taken = {node for repeat in repeats for trip in repeat.trips for node in trip}
        repeats += _similar_runs(graph, taken)
    position = {node: index for index, node in enumerate(graph.nodes)}
    return sorted(repeats, key=lambda repeat: position[repeat.trips[0][0]])


def places(repeats: Sequence[Repeat]) -> dict[Node, Place]:
    """Where each folded node stands."""
    return {
        node: Place(repeat, number, row)
        for repeat in repeats
        for number, trip in enumerate(repeat.trips)
        for row, node in enumerate(trip)
    }


# -- steps that the frontend marked ---------------------------------------------------------------------------------


def _marked_steps(graph: Graph) -> list[Repeat]:
    """Consecutive steps of one loop (same layers around, same role) whose nodes look alike, row by row."""
    loops: dict[tuple[tuple[str, ...], str], dict[str, list[Node]]] = {}
    for node in graph.nodes:
        note = graph.note(node)
        if node.op.kind is OpKind.SOURCE or not any(map(is_step, note.scope)):
            continue
        depth = next(index for index, part in enumerate(note.scope) if is_step(part))
        loop = loops.setdefault((note.scope[:depth], note.role), {})
        loop.setdefault(note.scope[depth], []).append(node)
    found = []
    for (scope, _role), steps in loops.items():
        names = list(steps)
        looks = [_look(graph, steps[name], len(scope) + 1) for name in names]
        for first, stop in _equal_runs(looks):
            trips = tuple(tuple(steps[name]) for name in names[first:stop])
            if len(trips) >= MINIMUM_TRIPS and len(trips) * len(trips[0]) >= _MINIMUM_NODES:
                found.append(Repeat(trips, scope, _range_text(names[first], names[stop - 1])))
    return found


def _range_text(first: str, last: str) -> str:
    return f"steps {first.removeprefix('step ')} … {last.removeprefix('step ')}"


def _look(graph: Graph, nodes: Sequence[Node], depth: int) -> Hashable:
    return tuple((fingerprint(node), graph.note(node).scope[depth:]) for node in nodes)


def _equal_runs(looks: Sequence[Hashable]) -> list[tuple[int, int]]:
    runs, first = [], 0
    for index in range(1, len(looks) + 1):
        if index == len(looks) or looks[index] != looks[first]:
            runs.append((first, index))
            first = index
    return runs


# -- loops that roll can prove ---------------------------------------------------------------------------------------


def _proved_loops(graph: Graph, taken: Container[Node]) -> list[Repeat]:
    sequence = _sequence(graph, taken)
    if len(sequence) < _MINIMUM_NODES:
        return []
    plans = plan_loops(sequence, MINIMUM_TRIPS, _MINIMUM_NODES)
    return [_repeat(graph, sequence, plan.start, plan.period, plan.trips) for plan in plans]


def _sequence(graph: Graph, taken: Container[Node]) -> list[Node]:
    return [node for node in graph.nodes if node.op.kind is not OpKind.SOURCE and node not in taken]


def _repeat(
    graph: Graph, sequence: Sequence[Node], start: int, period: int, count: int, label: str = "repeated"
) -> Repeat:
    trips = tuple(tuple(sequence[start + number * period :][:period]) for number in range(count))
    scopes = [tuple(part for part in graph.note(node).scope if not is_step(part)) for trip in trips for node in trip]
    return Repeat(trips, _common_prefix(scopes), label)


def _common_prefix(scopes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    low, high = min(scopes), max(scopes)
    length = next((i for i, (a, c) in enumerate(zip(low, high, strict=False)) if a != c), min(len(low), len(high)))
    return low[:length]


# -- what an optimizer does to each parameter ------------------------------------------------------------------------


def _update_runs(graph: Graph) -> list[Repeat]:
    """An optimizer does the same to every parameter, whatever its shape."""
    marked = [node for node in graph.nodes if graph.note(node).role == "update" and node.op.kind is not OpKind.SOURCE]
    # Scalars (step counts, rates) are computed once, often amid the first parameter's update.
    marked = [node for node in marked if not (isinstance(node.type, TensorType) and node.rank == 0)]
    if len(marked) < _MINIMUM_UPDATE:
        return []
    numbers: dict[Hashable, int] = {}
    prints = np.array([numbers.setdefault(_ops(node), len(numbers)) for node in marked], dtype=np.int64)
    candidates = [_aligned(marked, candidate) for candidate in find_candidates(prints, 2, _MINIMUM_UPDATE)]
    return _runs(graph, marked, candidates, "each parameter")


def _aligned(sequence: Sequence[Node], candidate: Candidate) -> Candidate:
    """The candidate cut where the fewest values cross from trip to trip: where one parameter ends."""
    position = {node: index for index, node in enumerate(sequence)}
    best, fewest = candidate, -1
    for start in range(
        candidate.start, min(candidate.start + candidate.period, candidate.stop - 2 * candidate.period + 1)
    ):
        crossing = 0
        for index in range(start, candidate.stop):
            trip = (index - start) // candidate.period
            crossing += sum(
                start <= position.get(operand, -1) < start + trip * candidate.period
                for operand in sequence[index].inputs
            )
        if fewest < 0 or crossing < fewest:
            best, fewest = Candidate(start, candidate.stop, candidate.period), crossing
    return best


def _ops(node: Node) -> Hashable:
    """The op, and of a fused group its ops: no shapes, no constants."""
    body = node.attrs.get("body")
    inside = tuple(member.op.name for member in body.nodes) if isinstance(body, Graph) else ()
    return node.op.name, len(node.inputs), inside


# -- runs that look alike --------------------------------------------------------------------------------------------


def _similar_runs(graph: Graph, taken: Container[Node]) -> list[Repeat]:
    sequence = _sequence(graph, taken)
    if len(sequence) < _MINIMUM_NODES:
        return []
    return _runs(graph, sequence, find_candidates(fingerprints(sequence), MINIMUM_TRIPS, _MINIMUM_NODES), "repeated")


def _runs(graph: Graph, sequence: Sequence[Node], candidates: Sequence[Candidate], label: str) -> list[Repeat]:
    """Candidates that do not overlap, the longest first."""
    free = [True] * len(sequence)
    found = []
    for candidate in candidates:
        count = (candidate.stop - candidate.start) // candidate.period
        stop = candidate.start + count * candidate.period
        if all(free[candidate.start : stop]):
            free[candidate.start : stop] = [False] * (stop - candidate.start)
            found.append(_repeat(graph, sequence, candidate.start, candidate.period, count, label))
    return found
