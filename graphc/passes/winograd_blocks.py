"""Images, or strips of an image, of which a convolution works off some at a time.

The transformed tiles of all images are four times as large as the data, and have to be written and read.  A block's
stay in a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.ir.builder import Builder
from graphc.ir.node import Node, Note
from graphc.ir.types import TensorType
from graphc.ops.loop_parts import make_loop
from graphc.ops.rules import zeros
from graphc.passes.segments import OuterBody, flat

Make = Callable[[Builder, Sequence[Node], Sequence[Node]], Node]
"""Called with a builder, what every block reads, and a block (images, height, width, c) of each operand."""

Step = Callable[[Builder, Sequence[Node], Sequence[Node]], Node]
"""Called with a builder, what every step reads (first the sum so far, if there is one), and an element of each
sequence.
"""


@dataclass(frozen=True)
class Blocks:
    """How images are cut into blocks.

    Operands are (count, images / count, height, width, c) or, in strips, (images, strips, height, width, c).  Zeros
    fill up the blocks, and the last rows and columns.

    A block has images from all over the batch, each some way behind the one before: where a team cuts a batch in parts,
    each of its members finds its own part of the images in every block.

    Attributes:
        images: their number.
        tiles: of an image's results, down and across.
        count: images of a block.
        rows: rows of tiles of a block; a strip has less than an image.
        note: of what the loops are made for.
    """

    images: int
    tiles: tuple[int, int]
    count: int
    rows: int
    note: Note

    @classmethod
    def of(cls, images: int, sides: tuple[int, int], tile_bytes: int, block_bytes: int, note: Note) -> Blocks:
        """Blocks whose tiles, each of ``tile_bytes`` when transformed, take ``block_bytes`` or less where that can be.

        Args:
            sides: height and width of an image's results.
        """
        high, wide = (-(-side // 2) for side in sides)
        each = high * wide * tile_bytes
        if each > block_bytes:
            return cls(images, (high, wide), 1, _block_size(high, block_bytes // (wide * tile_bytes)), note)
        return cls(images, (high, wide), _block_size(images, block_bytes // each), high, note)

    @property
    def strips(self) -> int:
        """Of an image."""
        return -(-self.tiles[0] // self.rows)

    def of_data(self, b: Builder, x: Node, border: int = 0) -> Node:
        """The data that each block reads: (images, height, width, c) in blocks.

        Args:
            border: rows and columns of zeros around the data.
        """
        rows, strips = 2 * self.rows, self.strips
        x = self._padded(b, x, rows * strips + 2, 2 * self.tiles[1] + 2, border)
        if strips == 1:
            return self._grouped(b, x)
        # Two rows of data are read for the strip above and for that below.
        geometry = {"axes": (1,), "window": (rows + 2,), "strides": (rows,), "dilation": (1,)}
        return b.op("transpose", b.op("patches", x, **geometry), permutation=(0, 1, 4, 2, 3))

    def of_results(self, b: Builder, y: Node) -> Node:
        """The results of each block: (images, height, width, c) in blocks."""
        rows = 2 * self.rows
        y = self._padded(b, y, rows * self.strips, 2 * self.tiles[1])
        if self.strips == 1:
            return self._grouped(b, y)
        return b.op("reshape", y, shape=(self.images, self.strips, rows, *y.shape[2:]))

    def _grouped(self, b: Builder, x: Node) -> Node:
        return b.op("reshape", x, shape=(self.count, x.tensor.static_shape[0] // self.count, *x.shape[1:]))

    def _padded(self, b: Builder, x: Node, high: int, wide: int, border: int = 0) -> Node:
        """Whole blocks of images of this size: ``border`` zeros above and on the left, the others behind."""
        _, height, width, _ = x.tensor.static_shape
        behind = (-self.images % self.count, high - height - border, wide - width - border, 0)
        if not border and not any(behind):
            return x
        return b.op("pad", x, b.constant(0, x.dtype), low=(0, border, border, 0), high=behind)

    def each(self, b: Builder, make: Make, shared: Sequence[Node], operands: Sequence[Node]) -> Node:
        """What ``make`` makes of all blocks: images; the last, and the last rows and columns, may be surplus."""
        if self.strips == 1:
            made = self._stacked(b, make, shared, operands, axis=1)
            return flat(b, b.op("transpose", made, permutation=(1, 0, 2, 3, 4)))

        def strip(b: Builder, shared: Sequence[Node], parts: Sequence[Node]) -> Node:
            made = make(b, shared, _as_images(b, parts))
            return b.op("reshape", made, shape=made.shape[1:])

        def image(b: Builder, shared: Sequence[Node], parts: Sequence[Node]) -> Node:
            return flat(b, self._stacked(b, strip, shared, parts))

        return self._stacked(b, image, shared, operands)

    def sum(self, b: Builder, make: Make, operands: Sequence[Node], type_: TensorType) -> Node:
        """The sum, of type ``type_``, of what ``make`` makes of each block."""
        is_whole = self.strips == 1

        def block(b: Builder, totals: Sequence[Node], parts: Sequence[Node]) -> Node:
            made = make(b, (), parts if is_whole else _as_images(b, parts))
            return b.op("add", totals[0], made) if totals else made

        def image(b: Builder, totals: Sequence[Node], parts: Sequence[Node]) -> Node:
            return self._summed(b, block, totals, parts)

        totals = () if is_whole and self.count == self.images else (zeros(b, type_),)
        return self._summed(b, block if is_whole else image, totals, operands, axis=int(is_whole))

    def _stacked(
        self, b: Builder, step: Step, shared: Sequence[Node], sequences: Sequence[Node], axis: int = 0
    ) -> Node:
        """The values of a loop over an axis of sequences."""
        if sequences[0].shape[axis] == 1:
            made = step(b, shared, _first(b, sequences, axis))
            return b.op("reshape", made, shape=(1, *made.shape))
        return self._loop(b, step, (), shared, sequences, axis)

    def _summed(self, b: Builder, step: Step, totals: Sequence[Node], sequences: Sequence[Node], axis: int = 0) -> Node:
        """The last sum of a loop over an axis of sequences."""
        if sequences[0].shape[axis] == 1:
            return step(b, totals, _first(b, sequences, axis))
        return self._loop(b, step, totals, (), sequences, axis)

    def _loop(
        self,
        b: Builder,
        step: Step,
        carries: Sequence[Node],
        shared: Sequence[Node],
        sequences: Sequence[Node],
        axis: int,
    ) -> Node:
        body = OuterBody(carries, shared, sequences, axis)
        with body.b.noted(self.note, self.note.role):
            made = step(body.b, (*body.carries, *body.invariants), body.sequences)
        trips = sequences[0].tensor.static_shape[axis]
        return make_loop(b, trips, body.close([made]), carries, shared, sequences, [(axis, 0, 1)] * len(sequences))[0]


def _first(b: Builder, sequences: Sequence[Node], axis: int) -> list[Node]:
    return [b.op("index", one, axis=axis, index=0) for one in sequences]


def _as_images(b: Builder, parts: Sequence[Node]) -> list[Node]:
    """(height, width, c) → (1, height, width, c)."""
    return [b.op("reshape", one, shape=(1, *one.shape)) for one in parts]


def _block_size(count: int, most: int) -> int:
    """Of the sizes up to ``most``, down to half of that, the one whose blocks leave the least room."""
    if count <= most:
        return count
    return min(range(max(most, 1), most // 2, -1), key=lambda size: -count % size)
