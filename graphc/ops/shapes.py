"""Broadcasting: the shape rule that pointwise ops, ``broadcast_to`` and batch dimensions share, and its transpose."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.types import Shape, TensorType


def broadcast_shapes(shapes: Sequence[Shape], what: str = "operands") -> Shape:
    """The shape that ``shapes`` have together under NumPy's rule, aligned at the last axis.

    A literal 1 gives way to any dimension.  A symbolic dimension meets only the identical dimension or a literal 1: a
    symbol that happens to be 1 at run time does not broadcast.

    Args:
        shapes: any number of shapes; none give the scalar shape.
        what: what the shapes belong to, for the error message.

    Raises:
        GraphcValueError: E211 where two dimensions do not fit, with both shapes.
    """
    result: Shape = ()
    for shape in shapes:
        result = shape if not result else _broadcast_two(result, shape, what)
    return result


def _broadcast_two(left: Shape, right: Shape, what: str) -> Shape:
    if left == right:
        return left
    rank = max(len(left), len(right))
    padded_left = (1,) * (rank - len(left)) + left
    padded_right = (1,) * (rank - len(right)) + right
    dims: list[Dim] = []
    for ours, theirs in zip(padded_left, padded_right, strict=True):
        if theirs in (ours, 1):
            dims.append(ours)
        elif ours == 1:
            dims.append(theirs)
        else:
            hint = None
            if not isinstance(ours, int) or not isinstance(theirs, int):
                hint = "a symbolic dimension fits only itself or a literal 1"
            raise GraphcValueError(
                "E211",
                f"{what}: the shapes {format_shape(left)} and {format_shape(right)} "
                f"do not broadcast: {ours} against {theirs}",
                hint=hint,
            )
    return tuple(dims)


def format_shape(shape: Shape) -> str:
    """The shape as people write it: ``(batch, 3)``, ``(3,)``, ``()``."""
    inside = ", ".join(str(dim) for dim in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


def broadcast_axes(from_shape: Shape, to_shape: Shape) -> tuple[int, ...]:
    """The axes of ``to_shape`` along which a tensor of ``from_shape`` is repeated, new leading axes included."""
    lead = len(to_shape) - len(from_shape)
    stretched = [lead + axis for axis, dim in enumerate(from_shape) if dim == 1 and to_shape[lead + axis] != 1]
    return (*range(lead), *stretched)


def unbroadcast(b: Builder, cotangent: Node, to_type: TensorType) -> Node:
    """The transpose of broadcasting: ``cotangent`` summed over the axes along which ``to_type`` was repeated."""
    if cotangent.shape == to_type.shape:
        return cotangent
    axes = broadcast_axes(to_type.shape, cotangent.shape)
    lead = len(cotangent.shape) - len(to_type.shape)
    # Axes that came in front are dropped; axes of length 1 that were stretched stay.
    if axes == tuple(range(lead)):
        return b.op("sum", cotangent, axes=axes, keepdims=False)
    if lead == 0:
        return b.op("sum", cotangent, axes=axes, keepdims=True)
    return b.op("reshape", b.op("sum", cotangent, axes=axes, keepdims=False), shape=to_type.shape)


def broadcast_node(b: Builder, value: Node, shape: Shape) -> Node:
    """``value`` repeated to ``shape``; itself where it has that shape."""
    return value if value.shape == shape else b.op("broadcast_to", value, shape=shape)
