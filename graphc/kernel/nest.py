"""What one loop nest is; :mod:`graphc.kernel.nests` plans it."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.kernel.loopir import Map, Store, ValueId


@dataclass(frozen=True)
class Kept:
    """A value that a stage writes to memory of one row, where what follows reads it (:mod:`graphc.kernel.kept`).

    Attributes:
        value: which one.
        place: where it lies, in elements.
        offset: where its memory begins within the nest's, in bytes.
    """

    value: ValueId
    place: Map
    offset: int


@dataclass(frozen=True)
class Nest:
    """Loops with reductions between them, and what happens innermost.

    Attributes:
        order: the loops, outermost first.
        vector: the axis of the lanes, in ``order``; None where there are none, or where an enclosing nest has them.
        lanes: vector length in elements; 1 where ``vector`` is None.
        stages: ``stages[d]`` are the nests that reduce before the loops deeper than the first ``d`` start.
        reduces: the reductions this nest computes (of a stage).
        stores: what it writes (of a step): innermost, or behind the stages of the loops that a store runs over.
        scan: the scan it computes along the last of ``order``.
        keeps: values that it writes down on its way (of a stage).
        working_bytes: memory for all that its stages keep (of a step).
        by_rows: where its stage sums columns one row after the other, or so many side by side; 0 where each column is
            summed by itself (of a step).
    """

    order: tuple[int, ...]
    vector: int | None
    lanes: int
    stages: tuple[tuple[Nest, ...], ...]
    reduces: tuple[ValueId, ...] = ()
    stores: tuple[Store, ...] = ()
    scan: ValueId | None = None
    keeps: tuple[Kept, ...] = ()
    working_bytes: int = 0
    by_rows: int = 0

    def stores_at(self, depth: int) -> tuple[Store, ...]:
        """The stores that run inside of the first ``depth`` loops and outside of the others."""
        return tuple(store for store in self.stores if self.depth_of(store) == depth)

    def depth_of(self, store: Store) -> int:
        """How many loops, from the outermost one, hold all axes of a store."""
        return max((self.order.index(axis) + 1 for axis in store.axes), default=0)
