"""What every node of a sequence reads, as one array of integers: what ``roll`` proves its loops on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.ir.node import Node
from graphc.ir.types import TensorType
from graphc.passes.roll_search import IntArray

FAR = np.int64(1) << np.int64(40)
"""Positions of sources are multiples of this: no step between two of them looks like a step in the sequence."""


class Columns:
    """For every node of the sequence what it reads, as numbers: positions of inputs, then the index of an ``index``
    node, counted from beyond every position so that it is never taken for one.

    Attributes:
        last_reader: position of a node with several results → position of the last node that takes one.
    """

    def __init__(self, sequence: Sequence[Node]) -> None:
        self.sequence = sequence
        self.position = {node: index for index, node in enumerate(sequence)}
        sources: dict[Node, int] = {}
        flat: list[int] = []
        bounds = [0]
        far = int(FAR)
        self.last_reader: dict[int, int] = {}
        for here, node in enumerate(sequence):
            for operand in node.inputs:
                place = self.position.get(operand)
                if place is not None and not isinstance(operand.type, TensorType):
                    self.last_reader[place] = here
                flat.append(place if place is not None else -far * (sources.setdefault(operand, len(sources)) + 1))
            if node.op.name == "index":
                flat.append(far + node.attrs["index"])
            bounds.append(len(flat))
        self.flat: IntArray = np.array(flat, dtype=np.int64)
        self.bounds = bounds

    def table(self, start: int, period: int, trips: int) -> IntArray:
        """One row a trip, one column an input."""
        part = self.flat[self.bounds[start] : self.bounds[start + period * trips]]
        return part.reshape(trips, -1)

    def widths(self, start: int, period: int) -> list[int]:
        """Columns of each row of the body."""
        return [self.bounds[start + row + 1] - self.bounds[start + row] for row in range(period)]
