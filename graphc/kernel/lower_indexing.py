"""Scatters, sorting, and sources."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.node import Node
from graphc.ir.types import float32, int64
from graphc.kernel.affine import ZERO, IndexMap
from graphc.kernel.builder import KernelBuilder
from graphc.kernel.loopir import Intrinsic, Param, Scatter, ValueId
from graphc.kernel.region import Region, node_rule
from graphc.kernel.views import Place, Uniform, View, size_of


@node_rule("constant")
def _lower_constant(region: Region, node: Node) -> None:
    region.values[node] = region.emitter.constant(node.attrs["value"])


@node_rule("state")
def _lower_state(region: Region, node: Node) -> None:
    region.values[node] = region.emitter.state(node.attrs["state"])


@node_rule("scatter_add", "scatter_add_along_axis")
def _lower_scatter(region: Region, node: Node) -> None:
    base, indices, updates = region.places(node.inputs)
    axis, origin = node.attrs["axis"], region.origin(node)
    region.check(node, node.inputs[1], node.shape[axis])
    target = _scatter_target(region, node, base, (indices, updates))
    region.values[node] = target
    # Half dtypes add up in float32 and are rounded once.
    is_half = node.dtype.is_half
    total = region.emitter.temporary("scattered", float32, target.shape) if is_half else target
    if total != base:
        region.emitter.copy(total, base, origin)
    if size_of(updates.shape) and size_of(target.shape):

        def build(builder: KernelBuilder, operands: Sequence[Place]) -> None:
            _build_scatter(builder, node, *operands)

        region.emitter.call(origin, (node.op, node.attrs.key), build, (indices, updates), (total,))
    if is_half:
        region.emitter.copy(target, total, origin)


def _scatter_target(region: Region, node: Node, base: Place, others: Sequence[Place]) -> View:
    """Memory for the sums: that of the base itself where it may be overwritten and nothing else is read from it."""
    claim = region.destinations.claim(node, region.position)
    if not claim.guarded:
        return claim.view
    buffer = claim.view.buffer
    apart = all(isinstance(place, Uniform) or place.buffer != buffer for place in others)
    on_base = isinstance(base, Uniform) or base.buffer != buffer or base == claim.view
    return region.destinations.settle(node, claim.view) if apart and on_base else region.destinations.evade(node)


def _build_scatter(builder: KernelBuilder, node: Node, indices: Place, updates: Place) -> None:
    """``target[..., index, ...] += update`` over the updates, one after the other."""
    axis, target = node.attrs["axis"], builder.destinations[0]
    index = builder.axes(updates.shape)
    has_own_axes = node.op.name == "scatter_add"
    rank = len(indices.shape) if has_own_axes else 1
    along = index[axis : axis + rank] if has_own_axes else index
    rest = (*index[:axis], ZERO, *index[axis + rank :])
    position = builder.cast(_element(builder, indices, along), int64)
    value = builder.cast(_element(builder, updates, index), target.dtype)
    scatter = Scatter(position, target.strides[axis])
    builder.store(0, rest, value, range(len(builder.extents)), accumulate=True, scatter=scatter)


def _element(builder: KernelBuilder, place: Place, index: IndexMap) -> ValueId:
    return builder.const(place.dtype, place.bits) if isinstance(place, Uniform) else builder.load(place, index)


@node_rule("argsort")
def _lower_argsort(region: Region, node: Node) -> None:
    origin, shape = region.origin(node), node.tensor.static_shape
    target = region.claim(node, region.places(node.inputs))
    region.values[node] = target
    if size_of(shape) == 0:
        return
    emitter = region.emitter
    source = emitter.contiguous(region.place(node.inputs[0]), origin)
    order = target if target.is_contiguous else emitter.temporary("order", int64, shape)
    axis = node.attrs["axis"]
    length = shape[axis]
    scratch = emitter.temporary("scratch", int64, (2 * length,))
    sizes = (size_of(shape[:axis]), length, size_of(shape[axis + 1 :]), int(node.attrs["descending"]))
    params = (Param(source.dtype, "in"), Param(int64, "out"), Param(int64, "out"))
    emitter.intrinsic(origin, Intrinsic("argsort", params, sizes, "argsort"), (source, order, scratch))
    if order is not target:
        emitter.copy(target, order, origin)
