"""Movement that is not a view: stack, concat, pad, whose operands land in regions of the result; fold_patches."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.node import Node
from graphc.ir.types import float32
from graphc.kernel.affine import combined
from graphc.kernel.builder import KernelBuilder
from graphc.kernel.destinations import region_of
from graphc.kernel.region import Region, node_rule
from graphc.kernel.views import Place, Uniform, View, broadcast, size_of, sliced


@node_rule("stack", "concat")
def _lower_join(region: Region, node: Node) -> None:
    places = region.places(node.inputs)
    if isinstance(places[0], Uniform) and all(
        isinstance(place, Uniform) and place.bits == places[0].bits for place in places
    ):
        region.values[node] = Uniform(node.dtype, places[0].bits, node.tensor.static_shape)
        return
    target = region.claim(node, places)
    for position, place in enumerate(places):
        _put(region, node, position, target, place)
    region.values[node] = target


def _put(region: Region, node: Node, position: int, target: View, place: Place) -> None:
    """Copy an operand into its region, unless it was computed there."""
    part = region_of(node, position, target)
    assert part is not None
    if place != part:
        region.emitter.copy(part, place, region.origin(node))


@node_rule("pad")
def _lower_pad(region: Region, node: Node) -> None:
    source, value = region.places(node.inputs)
    target = region.claim(node, (source, value))
    _put(region, node, 0, target, source)
    # Two slabs a dimension: inside the source along earlier dimensions, the whole result along later ones.
    inner, outer = list(source.shape), list(target.shape)
    for dimension, (low, high) in enumerate(zip(node.attrs["low"], node.attrs["high"], strict=True)):
        for start, count in ((0, low), (outer[dimension] - high, high)):
            if not count:
                continue
            starts = [*node.attrs["low"][:dimension], start, *([0] * (len(outer) - dimension - 1))]
            shape = (*inner[:dimension], count, *outer[dimension + 1 :])
            slab = sliced(target, starts, shape)
            filling = Uniform(value.dtype, value.bits, shape) if isinstance(value, Uniform) else broadcast(value, shape)
            region.emitter.copy(slab, filling, region.origin(node))
    region.values[node] = target


@node_rule("fold_patches")
def _lower_fold_patches(region: Region, node: Node) -> None:
    source = region.place(node.inputs[0])
    attrs, origin = node.attrs, region.origin(node)
    target = region.claim(node, (source,))
    region.values[node] = target
    spans = zip(attrs["window"], attrs["strides"], attrs["dilation"], strict=True)
    overlaps = any((window - 1) * dilation + 1 > stride for window, stride, dilation in spans)
    # Half dtypes add up in float32 and are rounded once.
    total = region.emitter.temporary("folded", float32, target.shape) if overlaps and node.dtype.is_half else target
    region.emitter.copy(total, Uniform(total.dtype, bytes(total.dtype.itemsize), total.shape), origin)
    if size_of(source.shape):

        def build(builder: KernelBuilder, operands: Sequence[Place]) -> None:
            _build_fold(builder, operands[0], node, overlaps)

        region.emitter.call(origin, (node.op, attrs.key), build, (source,), (total,))
    if total is not target:
        region.emitter.copy(target, total, origin)


def _build_fold(builder: KernelBuilder, source: Place, node: Node, overlaps: bool) -> None:
    """Each element of the windows goes where ``patches`` would have read it.

    For one offset into the windows no two positions write the same element: the offsets are outside of the axes that
    the windows move along, and inside of those before, so that what is added up stays in the cache.
    """
    rank, first = node.rank, min(node.attrs["axes"])
    before = builder.axes(source.shape[:first])
    offsets = builder.axes(source.shape[rank:])
    index = (*before, *builder.axes(source.shape[first:rank]), *offsets)
    target = list(index[:rank])
    for number, axis in enumerate(node.attrs["axes"]):
        factors = (node.attrs["strides"][number], node.attrs["dilation"][number])
        target[axis] = combined((index[axis], offsets[number]), factors)
    value = builder.const(source.dtype, source.bits) if isinstance(source, Uniform) else builder.load(source, index)
    value = builder.cast(value, builder.destinations[0].dtype)
    builder.store(0, tuple(target), value, range(len(builder.extents)), accumulate=overlaps)
