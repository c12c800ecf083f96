"""winograd: 3×3 convolutions of stride 1, and their gradients, with 16 multiplications for four results instead of 36.

For a tile of 2×2 results, which reads 4×4 of the data (Lavin, Gray: *Fast Algorithms for Convolutional Neural
Networks*, CVPR 2016, F(2×2, 3×3)):

    y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A

The sum over channels stands inside the brackets, so the 16 places of ⊙ are 16 products of matrices, tiles × channels by
channels × filters.  The gradient of the data is a convolution itself, and that of the kernel the same steps transposed:

    ∂w = Gᵀ [Σ (Bᵀ x B) ⊙ (A ∂y Aᵀ)] G

Data and results are transformed by additions alone.  Where that costs more than it saves (few channels, few tiles), and
for other windows, strides and half precision, a convolution stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import tensor_type
from graphc.passes.base import Pass, rewrite_with_regions
from graphc.passes.winograd_blocks import Blocks
from graphc.passes.winograd_match import Convolution, Role, match
from graphc.passes.winograd_tiles import kernel_of, results_of, tiles_of_data, tiles_of_kernel, tiles_of_results


@dataclass(frozen=True)
class Winograd(Pass):
    """Rewrite convolutions for which it pays.

    Attributes:
        worth: what the rewritten convolution may take of the time of the plain one, as ``_cost`` estimates it.
        block_bytes: transformed tiles of a block.  Of 1 MB they stay in the second-level cache of one core; of 4 MB
            there is enough for a team to share, which is worth more than the 3% that one core loses.
    """

    name: ClassVar[str] = "winograd"
    worth: float = 0.85
    block_bytes: int = 1 << 22

    def run(self, graph: Graph) -> Graph:
        """The graph with products of transformed tiles."""
        return rewrite_with_regions(graph, self._rule, ("einsum", "fold_patches"))

    def _rule(self, b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        conv = match(node, inputs)
        if conv is None or _cost(conv) > self.worth * _plain_cost(conv):
            return None
        tile_bytes = 16 * (conv.channels + conv.filters) * node.dtype.itemsize
        blocks = Blocks.of(conv.images, conv.sides, tile_bytes, self.block_bytes, b.note(node))
        return conv.finish(b, _MAKERS[conv.role](b, conv, blocks))


def _plain_cost(conv: Convolution) -> float:
    """Multiplications of the plain algorithm; the patches that a gradient of data adds up take a fifth more."""
    return conv.multiplications * (1.2 if conv.role is Role.INPUT_GRADIENT else 1.0)


def _cost(conv: Convolution) -> float:
    """Multiplications that would take as long: those of the products, and some for each element that is transformed."""
    high, wide = conv.sides
    tiles = conv.images * -(-high // 2) * -(-wide // 2)
    channels, filters = conv.channels, conv.filters
    return 16 * (1.1 * tiles * channels * filters + 5 * tiles * (channels + filters) + 8 * channels * filters)


def _convolution(b: Builder, conv: Convolution, blocks: Blocks) -> Node:
    """Results, from data and kernel; or the gradient of the data, from that of the results: their convolution, inside a
    border of zeros, with the kernel turned round.
    """
    x, kernel = (view.build(b) for view in conv.operands)
    if conv.role is Role.INPUT_GRADIENT:
        kernel = b.op("transpose", b.op("flip", kernel, axes=(0, 1)), permutation=(0, 1, 3, 2))

    def make(b: Builder, shared: Sequence[Node], parts: Sequence[Node]) -> Node:
        (data,) = parts
        images, height, width, _ = data.tensor.static_shape
        made = b.op("matmul", tiles_of_data(b, data), shared[0])
        return results_of(b, made, images, (height // 2 - 1, width // 2 - 1))

    made = blocks.each(b, make, [tiles_of_kernel(b, kernel)], [blocks.of_data(b, x, conv.border)])
    stops = (conv.images, *conv.sides, kernel.shape[3])
    return made if made.shape == stops else b.op("slice", made, starts=(0,) * 4, stops=stops, steps=(1,) * 4)


def _kernel_gradient(b: Builder, conv: Convolution, blocks: Blocks) -> Node:
    x, g = (view.build(b) for view in conv.operands)

    def make(b: Builder, _: Sequence[Node], parts: Sequence[Node]) -> Node:
        data, results = parts
        left = b.op("transpose", tiles_of_data(b, data), permutation=(0, 2, 1))
        return b.op("matmul", left, tiles_of_results(b, results))

    type_ = tensor_type(x.dtype, (16, conv.channels, conv.filters))
    return kernel_of(b, blocks.sum(b, make, [blocks.of_data(b, x), blocks.of_results(b, g)], type_))


_MAKERS = {Role.FORWARD: _convolution, Role.INPUT_GRADIENT: _convolution, Role.KERNEL_GRADIENT: _kernel_gradient}
