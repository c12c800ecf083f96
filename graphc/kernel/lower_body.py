"""From a body of nodes to one kernel: which axes its results run over, and what is stored where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.kernel import lower_pointwise, lower_reduce
from graphc.kernel.affine import ZERO, IndexMap, axes_of
from graphc.kernel.body import Body, has_rule
from graphc.kernel.builder import KernelBuilder, NotOneKernel
from graphc.kernel.views import Place, View, size_of

# Importing the rules fills the table of graphc.kernel.body.
_RULE_MODULES = (lower_pointwise, lower_reduce)


def build_body(
    builder: KernelBuilder, nodes: Sequence[Node], results: Sequence[Node], places: Mapping[Node, Place]
) -> None:
    """Store ``results`` to the builder's destinations, in order.

    The largest result gives the kernel's domain; the others must run over some of its axes.

    Raises:
        NotOneKernel: where the body does not fit one rectangular domain.
    """
    if not all(node in places or has_rule(node) for node in nodes):
        raise NotOneKernel
    body = Body(builder, nodes, places)
    order = sorted(range(len(results)), key=lambda number: -size_of(results[number].tensor.static_shape))
    main = order[0]
    domain = domain_axes(builder, builder.destinations[main])
    indices: dict[int, IndexMap] = {main: domain}
    values = {main: body.value(results[main], domain)}
    own = axes_of(domain)
    for number in order[1:]:
        node = results[number]
        index = _index_of(body, node, results[main], domain)
        if index is None or not axes_of(index) <= own or not _covers(index, node, builder.extents):
            raise NotOneKernel
        indices[number] = index
        values[number] = body.value(node, index)
    for number in range(len(results)):
        builder.store(number, indices[number], values[number], sorted(axes_of(indices[number])))


def domain_axes(builder: KernelBuilder, destination: View) -> IndexMap:
    """New axes over the destination, outermost first in memory, so that writes are as sequential as they can be."""
    order = sorted(range(len(destination.shape)), key=lambda dimension: -abs(destination.strides[dimension]))
    made = {dimension: builder.axis(destination.shape[dimension]) for dimension in order}
    return tuple(made[dimension] for dimension in range(len(destination.shape)))


def _index_of(body: Body, node: Node, main: Node, domain: IndexMap) -> IndexMap | None:
    """The index at which a further result is stored: where it is needed anyway, or where what it is made of is."""
    known = body.known_index(node)
    if known is not None:
        return known
    if node.tensor.static_size == 1:
        return (ZERO,) * node.rank
    natural: dict[Node, IndexMap] = {main: domain}
    for inner in body.nodes:
        index = body.known_index(inner) or natural.get(inner) or _derived(inner, natural)
        # An operand's index may be that of another use: x is read by columns in x_k · y_i and by rows in x_i + z_ik.
        if index is not None and _covers(index, inner, body.builder.extents):
            natural[inner] = index
        if inner is node:
            break
    found = natural.get(node)
    if found is None and node.shape == main.shape:
        return domain
    return found


def _covers(index: IndexMap, node: Node, extents: Sequence[int]) -> bool:
    """Does the index run over every element of ``node`` just once: axes of its own, and all its extent, a dimension?"""
    seen: set[int] = set()
    for map_, extent in zip(index, node.tensor.static_shape, strict=True):
        low = high = map_.offset
        count = 1
        for axis in axes_of((map_,)):
            if axis in seen:
                return False
            seen.add(axis)
            reach = map_.coefficients[axis] * (extents[axis] - 1)
            low, high = low + min(0, reach), high + max(0, reach)
            count *= extents[axis]
        if (low, high, count) != (0, extent - 1, extent):
            return False
    return True


def _derived(node: Node, natural: Mapping[Node, IndexMap]) -> IndexMap | None:
    """The index of a node from the indices of its operands, for the ops that keep dimensions as they are."""
    if node.op.kind is OpKind.REDUCTION:
        source = natural.get(node.inputs[0])
        if source is None:
            return None
        if node.attrs["keepdims"]:
            return tuple(ZERO if d in node.attrs["axes"] else map_ for d, map_ in enumerate(source))
        return tuple(map_ for d, map_ in enumerate(source) if d not in node.attrs["axes"])
    if node.op.kind is not OpKind.POINTWISE:
        return None
    shape = node.tensor.static_shape
    index = [ZERO] * len(shape)
    missing = {d for d, extent in enumerate(shape) if extent != 1}
    for operand in node.inputs:
        source = natural.get(operand)
        if source is None:
            continue
        lead = len(shape) - operand.rank
        for d, map_ in enumerate(source):
            if lead + d in missing and operand.shape[d] == shape[lead + d]:
                index[lead + d] = map_
                missing.discard(lead + d)
    return None if missing else tuple(index)
