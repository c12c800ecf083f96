"""Rules for pointwise ops, for values that depend on the position alone, and for movement of computed values."""

from __future__ import annotations

from graphc.ir.attrs import make_attrs
from graphc.ir.node import Node
from graphc.kernel.affine import ZERO, IndexMap, combined, reshaped
from graphc.kernel.body import Body, Steps, rule
from graphc.kernel.builder import NotOneKernel
from graphc.kernel.loopir import Map
from graphc.kernel.views import Uniform


def aligned(index: IndexMap, operand: Node) -> IndexMap:
    """The index into an operand that is broadcast to the result at ``index``."""
    shape = operand.tensor.static_shape
    return tuple(
        ZERO if extent == 1 else map_ for extent, map_ in zip(shape, index[len(index) - len(shape) :], strict=True)
    )


@rule("pointwise")
def _pointwise(body: Body, node: Node, index: IndexMap) -> Steps:
    args = []
    for operand in node.inputs:
        args.append((yield operand, aligned(index, operand)))
    return body.builder.apply(node.op.name, args, node.dtype, node.attrs)


@rule("cast")
def _cast(body: Body, node: Node, index: IndexMap) -> Steps:
    # The result's dtype says it all: casts that lowering adds and casts of the graph are the same values.
    value = yield node.inputs[0], index
    return body.builder.cast(value, node.dtype)


@rule("stop_gradient")
def _identity(body: Body, node: Node, index: IndexMap) -> Steps:
    return (yield node.inputs[0], index)


@rule("iota")
def _iota(body: Body, node: Node, index: IndexMap) -> Steps:
    yield from ()
    return body.builder.cast(body.builder.index(index[node.attrs["axis"]]), node.dtype)


@rule("random_uniform")
def _random_uniform(body: Body, node: Node, index: IndexMap) -> Steps:
    key, *offset = node.inputs
    seed = yield key, (ZERO,)
    step = yield key, (Map((), 1),)
    strides = [1] * node.rank
    for dimension in range(node.rank - 2, -1, -1):
        strides[dimension] = strides[dimension + 1] * node.shape[dimension + 1]
    position = body.builder.index(combined(index, strides))
    attrs = make_attrs({"stream": node.attrs["stream"]})
    arguments = [seed, step, position]
    for operand in offset:
        arguments.append((yield operand, ()))
    return body.builder.apply("random_uniform", tuple(arguments), node.dtype, attrs)


# -- movement of computed values -----------------------------------------------------------------------------------


@rule("transpose")
def _transpose(body: Body, node: Node, index: IndexMap) -> Steps:
    permutation = node.attrs["permutation"]
    source = [ZERO] * len(index)
    for dimension, origin in enumerate(permutation):
        source[origin] = index[dimension]
    return (yield node.inputs[0], tuple(source))


@rule("broadcast_to")
def _broadcast_to(body: Body, node: Node, index: IndexMap) -> Steps:
    return (yield node.inputs[0], aligned(index, node.inputs[0]))


@rule("slice")
def _slice(body: Body, node: Node, index: IndexMap) -> Steps:
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    source = tuple(combined((map_,), (step,), start) for map_, start, step in zip(index, starts, steps, strict=True))
    return (yield node.inputs[0], source)


@rule("index")
def _index(body: Body, node: Node, index: IndexMap) -> Steps:
    axis = node.attrs["axis"]
    return (yield node.inputs[0], (*index[:axis], Map((), node.attrs["index"]), *index[axis:]))


@rule("flip")
def _flip(body: Body, node: Node, index: IndexMap) -> Steps:
    axes, shape = node.attrs["axes"], node.tensor.static_shape
    source = tuple(
        combined((map_,), (-1,), shape[axis] - 1) if axis in axes else map_ for axis, map_ in enumerate(index)
    )
    return (yield node.inputs[0], source)


@rule("patches")
def _patches(body: Body, node: Node, index: IndexMap) -> Steps:
    operand = node.inputs[0]
    source = list(index[: operand.rank])
    per_axis = zip(
        node.attrs["axes"], node.attrs["strides"], node.attrs["dilation"], index[operand.rank :], strict=True
    )
    for axis, stride, dilation, inside in per_axis:
        source[axis] = combined((source[axis], inside), (stride, dilation))
    return (yield operand, tuple(source))


@rule("reshape")
def _reshape(body: Body, node: Node, index: IndexMap) -> Steps:
    operand = node.inputs[0]
    source = reshaped(index, node.tensor.static_shape, operand.tensor.static_shape, body.builder.extents)
    if source is None:
        raise NotOneKernel
    return (yield operand, source)


# -- elements at positions from the data ---------------------------------------------------------------------------


@rule("take")
def _take(body: Body, node: Node, index: IndexMap) -> Steps:
    source, indices = node.inputs
    axis = node.attrs["axis"]
    position = yield indices, index[axis : axis + indices.rank]
    rest = (*index[:axis], ZERO, *index[axis + indices.rank :])
    return _gathered(body, source, rest, axis, position)


@rule("take_along_axis")
def _take_along_axis(body: Body, node: Node, index: IndexMap) -> Steps:
    source, indices = node.inputs
    axis = node.attrs["axis"]
    position = yield indices, aligned(index, indices)
    rest = list(aligned((*index[:axis], ZERO, *index[axis + 1 :]), source))
    rest[axis] = ZERO
    return _gathered(body, source, tuple(rest), axis, position)


def _gathered(body: Body, source: Node, rest: IndexMap, axis: int, position: int) -> int:
    place = body.view(source)
    if isinstance(place, Uniform):
        return body.builder.const(place.dtype, place.bits)
    return body.builder.gather(place, rest, position, place.strides[axis])
