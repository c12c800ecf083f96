"""The shape of the tile of sums that a contraction holds in registers."""

from __future__ import annotations

from graphc.kernel.target import Target

_ADDRESS_CYCLES = 4.0
"""Of a row whose address has nothing to do with that of the row before; reading through it takes more of them."""


def register_tile(
    tallest: int, apart: int, rows: int, columns: int, terms: int, lanes: int, target: Target
) -> tuple[int, int]:
    """Rows, up to ``tallest``, and vectors of the register tile with the least estimated time.

    Where ``apart``, so many rows lie at one distance; of a tile that has others every row has an address of its own.
    """
    vectors = -(-columns // lanes)
    best: tuple[float, int, int] | None = None
    for width in range(1, min(vectors, 8) + 1):
        for height in range(1, tallest + 1):
            if height * width + width + 1 > target.vector_registers:
                break
            cost = 0.0
            for tiles_down, down in ((rows // height, height), (1, rows % height)):
                for tiles_across, across in ((vectors // width, width), (1, vectors % width)):
                    cost += tiles_down * tiles_across * tile_cycles(down, across, terms)
                    if apart and apart % height:
                        cost += tiles_down * tiles_across * down * (_ADDRESS_CYCLES + terms / 4)
            if best is None or cost < best[0]:
                best = (cost, height, width)
    assert best is not None
    return best[1], best[2]


def tile_cycles(down: int, across: int, terms: int) -> float:
    """Two multiply-adds and two loads a cycle, four cycles a term of one chain, and some to enter a tile."""
    if not down or not across:
        return 0.0
    return terms * max(down * across / 2, (down + across) / 2, 4.0) + 2.0 * down * across + 30.0
