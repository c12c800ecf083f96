"""What joins values of many steps, such as ``stack([h_0, h_1, …])``: one op on what loops stack, however many steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import int64
from graphc.passes.roll_search import cut_axis
from graphc.passes.roll_verify import LoopPlan

Member = tuple[int, int, int]
"""A node that is in a loop: (loop, trip, row)."""

_MOST_TURNS = 4
_SCATTERED = 8
"""Elements from which on they are taken by a list of their positions."""

_SHORTEST_RUN = 4
"""Trips in order, of so many elements, that are worth a part of their own: in a random order two or three often are."""


class Rolled(Protocol):
    """What a joiner asks of the graph that is being rolled.

    Attributes:
        stacked: for each loop row → its stacked result.
    """

    stacked: list[dict[int, Node]]

    @property
    def builder(self) -> Builder:
        """What makes the new graph."""

    @property
    def plans(self) -> Sequence[LoopPlan]:
        """The loops."""

    def member(self, node: Node) -> Member | None:
        """Where in a loop an old node is."""

    def outside_value(self, node: Node) -> Node:
        """The new node for an old one outside of the loop."""


class Joiner:
    """Makes the ``stack`` or ``concat`` of old nodes."""

    def __init__(self, rolled: Rolled) -> None:
        self.rolled = rolled
        self.b = rolled.builder

    def join(self, name: str, nodes: Sequence[Node], axis: int) -> Node:
        """The new ``stack`` or ``concat`` of old nodes.

        Where consecutive trips of a loop stand side by side, or in turns with those of other rows, it takes them as
        slices of the loops' own stacks.
        """
        members = [member if self._is_stacked(member := self.rolled.member(node)) else None for node in nodes]
        parts: list[Node] = []
        loose: list[Node] = []
        for first, length, step, turns in _runs(members):
            group = [member for member in members[first : first + turns] if member is not None]
            is_short = length * turns < _SHORTEST_RUN and len(nodes) >= _SCATTERED
            if length == 1 or not group or is_short:
                loose.extend(nodes[first : first + length * turns])
                continue
            if loose:
                parts.extend(self._loose(name, loose, axis))
                loose = []
            parts.append(self._trips(name, group, length, step, axis))
        if loose:
            parts.extend(self._loose(name, loose, axis))
        if len(parts) == 1:
            return parts[0]
        return self.b.op("concat", *parts, axis=axis)

    def _is_stacked(self, member: Member | None) -> bool:
        return member is not None and member[2] in self.rolled.stacked[member[0]]

    def _trips(self, name: str, group: Sequence[Member], length: int, step: int, axis: int) -> Node:
        """``length`` trips of each row of a group, side by side along ``axis``."""
        whole = [self._run_of_trips(member, length, step, axis) for member in group]
        made = whole[0] if len(whole) == 1 else self.b.op(name, *whole, axis=axis + 1)
        if name == "stack" and len(whole) == 1:
            return made
        shape = made.shape
        return self.b.op("reshape", made, shape=(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))

    def _run_of_trips(self, first: Member, length: int, step: int, axis: int) -> Node:
        """Trips ``t, t+step, …`` of one row of a loop, stacked along ``axis``."""
        number, trip, row = first
        whole = self.rolled.stacked[number][row]
        low = trip if step > 0 else trip - (length - 1)
        if (low, length) != (0, self.rolled.plans[number].trips):
            whole = self._cut(whole, 0, low, low + length)
        if step < 0:
            whole = self.b.op("flip", whole, axes=(0,))
        return self._moved(whole, 0, axis)

    # -- what is in no run of trips --------------------------------------------------------------------------------

    def _loose(self, name: str, nodes: Sequence[Node], axis: int) -> list[Node]:
        """Parts of the result, along ``axis``, for nodes of which the trips are in no order, or that are in no loop."""
        if name == "concat":
            return [self.rolled.outside_value(node) for node in nodes]
        if len(nodes) >= _SCATTERED:
            made = self._elements(nodes, axis) or self._windows(nodes, axis)
            if made is not None:
                return [made]
        return [self.b.op("stack", *(self.rolled.outside_value(node) for node in nodes), axis=axis)]

    def _elements(self, nodes: Sequence[Node], axis: int) -> Node | None:
        """Elements of one tensor, or trips of one row and a few nodes beside, in any order."""
        b, rolled = self.b, self.rolled
        first = nodes[0]
        if first.op.name == "index" and all(_is_element(node, like=first) for node in nodes):
            source, along = rolled.outside_value(first.inputs[0]), first.attrs["axis"]
            positions = [node.attrs["index"] for node in nodes]
        else:
            members = {node: member for node in nodes if self._is_stacked(member := rolled.member(node)) and member}
            beside = [node for node in dict.fromkeys(nodes) if node not in members]
            rows = {(number, row) for number, _, row in members.values()}
            if len(rows) != 1 or len(beside) >= _SCATTERED:
                return None
            ((number, row),) = rows
            source, along = rolled.stacked[number][row], 0
            place = {node: trip for node, (_, trip, _) in members.items()}
            if beside:
                place |= {node: rolled.plans[number].trips + position for position, node in enumerate(beside)}
                more = b.op("stack", *(rolled.outside_value(node) for node in beside), axis=0)
                source = b.op("concat", source, more, axis=0)
            positions = [place[node] for node in nodes]
        numbers = b.make("constant", (), {"value": ArrayValue(np.array(positions, np.int64), int64)})
        return self._moved(b.op("take", source, numbers, axis=along), along, axis)

    def _windows(self, nodes: Sequence[Node], axis: int) -> Node | None:
        """Windows of one tensor side by side: a view of it."""
        first = nodes[0]
        if any(node.op.name != "slice" or node.inputs[0] is not first.inputs[0] for node in nodes):
            return None
        along = cut_axis(first)
        if along is None or any(node.type is not first.type or cut_axis(node) != along for node in nodes):
            return None
        width = first.tensor.static_shape[along]
        starts = [int(node.attrs["starts"][along]) for node in nodes]
        steps = {after - before for before, after in pairwise(starts)}
        if len(steps) > 1 or abs(step := steps.pop()) != width:
            return None
        low, shape = min(starts), first.shape
        whole = self._cut(self.rolled.outside_value(first.inputs[0]), along, low, low + len(nodes) * width)
        whole = self.b.op("reshape", whole, shape=(*shape[:along], len(nodes), width, *shape[along + 1 :]))
        if step < 0:
            whole = self.b.op("flip", whole, axes=(along,))
        return self._moved(whole, along, axis)

    # -- views -----------------------------------------------------------------------------------------------------

    def _cut(self, whole: Node, axis: int, low: int, high: int) -> Node:
        """Elements ``low … high−1`` along an axis."""
        shape = whole.shape
        if (low, high) == (0, shape[axis]):
            return whole
        starts = tuple(low if place == axis else 0 for place in range(len(shape)))
        stops = tuple(high if place == axis else size for place, size in enumerate(shape))
        return self.b.op("slice", whole, starts=starts, stops=stops, steps=(1,) * len(shape))

    def _moved(self, whole: Node, source: int, target: int) -> Node:
        """With axis ``source`` at ``target``."""
        if source == target:
            return whole
        others = [axis for axis in range(whole.rank) if axis != source]
        return self.b.op("transpose", whole, permutation=(*others[:target], source, *others[target:]))


def _is_element(node: Node, like: Node) -> bool:
    """Is a node an element of the same tensor, along the same axis, as another one?"""
    if node.op.name != "index" or node.inputs[0] is not like.inputs[0]:
        return False
    return node.attrs["axis"] == like.attrs["axis"] and isinstance(node.attrs["index"], int)


def _runs(members: Sequence[Member | None]) -> list[tuple[int, int, int, int]]:
    """Split a list into (first position, length, step of the trip, turns).

    Within a run ``turns`` members stand side by side ``length`` times, their trips moving by ``step``, which is ±1.
    What fits nowhere is a run of its own.
    """
    runs: list[tuple[int, int, int, int]] = []
    position = 0
    while position < len(members):
        options = [
            (_length(members, position, step, turns), step, turns)
            for turns in range(1, _MOST_TURNS + 1)
            for step in (1, -1)
        ]
        length, step, turns = max((one for one in options if one[0] > 1), key=_covered, default=(1, 1, 1))
        runs.append((position, length, step, turns))
        position += length * turns
    return runs


def _covered(option: tuple[int, int, int]) -> tuple[int, int]:
    """How much a run covers; of two that cover the same, the one of fewer members side by side."""
    length, _, turns = option
    return length * turns, -turns


def _length(members: Sequence[Member | None], first: int, step: int, turns: int) -> int:
    """How often ``turns`` members from ``first`` on come again, each time ``step`` trips on."""
    position = first + turns
    while position < len(members):
        here, before = members[position], members[position - turns]
        if here is None or before is None or here != (before[0], before[1] + step, before[2]):
            break
        position += 1
    return (position - first) // turns
