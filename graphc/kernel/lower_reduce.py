"""Rules for reductions, running sums and contractions."""

from __future__ import annotations

from typing import cast

from graphc.ir.node import Node
from graphc.ir.types import DType, float32
from graphc.kernel.affine import ZERO, IndexMap, axes_of, plain_axis
from graphc.kernel.body import Body, Steps, rule
from graphc.kernel.builder import NotOneKernel
from graphc.kernel.loopir import Combine, Map, ValueId

_OF_NOTHING = {"sum": 0, "prod": 1, "any": False, "all": True}


@rule("sum", "prod", "max", "min", "any", "all", "argmax", "argmin")
def _reduction(body: Body, node: Node, index: IndexMap) -> Steps:
    (operand,) = node.inputs
    axes, shape = node.attrs["axes"], operand.tensor.static_shape
    combine = cast(Combine, node.op.name)
    if any(shape[axis] == 0 for axis in axes):
        return body.builder.number(node.dtype, _OF_NOTHING[combine])
    kept_dimensions = [d for d in range(operand.rank) if d not in axes]
    maps = [index[d] for d in kept_dimensions] if node.attrs["keepdims"] else index
    source = body.reduction_index(operand, dict(zip(kept_dimensions, maps, strict=True)))
    value = yield operand, source
    own = [axis for d in axes if (axis := plain_axis(source[d])) is not None]
    if combine in ("argmax", "argmin") and not own:
        return body.builder.number(node.dtype, 0)
    return body.builder.reduce(combine, value, sorted(own), node.dtype)


@rule("cumsum")
def _cumsum(body: Body, node: Node, index: IndexMap) -> Steps:
    value = yield node.inputs[0], index
    dimension = node.attrs["axis"]
    if node.shape[dimension] == 1:
        return value
    axis = plain_axis(index[dimension])
    if axis is None or axis in axes_of(map_ for d, map_ in enumerate(index) if d != dimension):
        raise NotOneKernel
    return body.builder.scan(value, axis, node.attrs["reverse"], node.dtype)


@rule("matmul")
def _matmul(body: Body, node: Node, index: IndexMap) -> Steps:
    left, right = node.inputs
    batch, row, column = index[:-2], index[-2], index[-1]
    inner = body.builder.axis(left.shape[-1]) if left.shape[-1] else ZERO
    left_index = (*_batch(batch, left), ZERO if left.shape[-2] == 1 else row, inner)
    right_index = (*_batch(batch, right), inner, ZERO if right.shape[-1] == 1 else column)
    return (yield from _contraction(body, node, (left, left_index), (right, right_index), [(left.shape[-1], inner)]))


def _batch(batch: IndexMap, operand: Node) -> IndexMap:
    shape = operand.tensor.static_shape[:-2]
    return tuple(
        ZERO if extent == 1 else map_ for extent, map_ in zip(shape, batch[len(batch) - len(shape) :], strict=True)
    )


@rule("einsum")
def _einsum(body: Body, node: Node, index: IndexMap) -> Steps:
    left, right = node.inputs
    operands, result = node.attrs["subscripts"].split("->")
    left_letters, right_letters = operands.split(",")
    extents: dict[str, int] = {}
    for letters, operand in ((left_letters, left), (right_letters, right)):
        for letter, extent in zip(letters, operand.tensor.static_shape, strict=True):
            extents[letter] = extent
    position: dict[str, Map] = dict(zip(result, index, strict=True))
    summed = [letter for letter in left_letters if letter not in position]
    for letter in summed:
        position[letter] = body.builder.axis(extents[letter]) if extents[letter] else ZERO

    def at(letters: str) -> IndexMap:
        return tuple(position[letter] for letter in letters)

    inner = [(extents[letter], position[letter]) for letter in summed]
    return (yield from _contraction(body, node, (left, at(left_letters)), (right, at(right_letters)), inner))


def _contraction(
    body: Body, node: Node, left: tuple[Node, IndexMap], right: tuple[Node, IndexMap], inner: list[tuple[int, Map]]
) -> Steps:
    """The sum of products over the axes ``inner``; in float32 for half dtypes, whose products are never rounded."""
    builder = body.builder
    if any(extent == 0 for extent, _ in inner):
        return builder.number(node.dtype, 0)
    dtype: DType = float32 if node.dtype.is_half else node.dtype
    first: ValueId = builder.cast((yield left), dtype)
    second: ValueId = builder.cast((yield right), dtype)
    axes = [axis for _, map_ in inner if (axis := plain_axis(map_)) is not None]
    product = builder.apply("multiply", (first, second), dtype)
    return builder.cast(builder.reduce("sum", product, axes, dtype), node.dtype)
