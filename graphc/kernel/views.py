"""Where values lie: a view of a buffer, or one number that stands for a whole tensor.

A *view* is a buffer, an element offset, and a stride a dimension (0 where broadcast, negative where flipped).
Movement ops are arithmetic on views wherever strides can express them, and then cost nothing at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphc.ir.node import Node
from graphc.ir.types import DType
from graphc.kernel.program import Ref


@dataclass(frozen=True, slots=True)
class View:
    """A strided piece of a buffer.

    Attributes:
        buffer: index into the entry's buffers (while a kernel is built: number of the operand).
        dtype: element type.
        offset: of the first element, in elements.
        shape: static.
        strides: elements between neighbours along each dimension; 0 where a dimension has size 1, so that equal views
            compare equal.
        loop_strides: elements a trip of each enclosing loop, outermost first, without trailing zeros.
        live: elements for each step that the call has, where the place depends on their number.
    """

    buffer: int
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    loop_strides: tuple[int, ...] = ()
    live: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return size_of(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """True where the elements lie in row-major order without gaps."""
        return self.strides == contiguous_strides(self.shape)

    def ref(self, offset: int = 0) -> Ref:
        """The pointer to its element ``offset`` elements after the first."""
        return Ref(self.buffer, self.offset + offset, self.loop_strides, self.live)

    def with_loop_stride(self, depth: int, stride: int) -> View:
        """The view that also moves by ``stride`` elements a trip of the loop at nesting ``depth``."""
        moves = [*self.loop_strides, *([0] * (depth + 1 - len(self.loop_strides)))]
        moves[depth] += stride
        while moves and not moves[-1]:
            moves.pop()
        return replace(self, loop_strides=tuple(moves))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A tensor whose elements all equal one constant: it needs no memory.  ``bits`` is the value in storage form."""

    dtype: DType
    bits: bytes
    shape: tuple[int, ...]


Place = View | Uniform

VIEW_OPS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "index", "flip", "patches", "stop_gradient"})
"""Movement ops that are views of their operand (reshape only where the strides allow it)."""

INVERTIBLE_VIEW_OPS = frozenset({"reshape", "transpose", "flip", "stop_gradient"})
"""Views that hold each element exactly once: a destination of the result is a destination of the operand."""


def size_of(shape: Sequence[int]) -> int:
    """Number of elements of a static shape."""
    total = 1
    for extent in shape:
        total *= extent
    return total


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides, 0 for dimensions of size 1 or for an empty tensor."""
    strides = [0] * len(shape)
    step = 1
    for dimension in range(len(shape) - 1, -1, -1):
        if shape[dimension] != 1:
            strides[dimension] = step
        step *= shape[dimension]
    return tuple(strides) if step else (0,) * len(shape)


def whole(buffer: int, dtype: DType, shape: Sequence[int], offset: int = 0) -> View:
    """The contiguous view of a buffer, from ``offset`` on."""
    return View(buffer, dtype, offset, tuple(shape), contiguous_strides(shape))


def reshaped_strides(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> tuple[int, ...] | None:
    """Strides of the row-major reshape to ``target``, or None where only a copy can do it."""
    if size_of(shape) == 0:
        return (0,) * len(target)
    # Runs of dimensions that already lie as one: (elements, stride of the innermost).
    runs: list[tuple[int, int]] = []
    for extent, stride in zip(shape, strides, strict=True):
        if extent == 1:
            continue
        if runs and runs[-1][1] == stride * extent:
            runs[-1] = (runs[-1][0] * extent, stride)
        else:
            runs.append((extent, stride))
    result = [0] * len(target)
    remaining, step = 1, 0
    for dimension in range(len(target) - 1, -1, -1):
        extent = target[dimension]
        if extent == 1:
            continue
        if remaining == 1:
            remaining, step = runs.pop()
        if remaining % extent:
            return None
        result[dimension] = step
        step *= extent
        remaining //= extent
    return tuple(result)


def _restrided(view: View, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> View:
    clean = tuple(0 if extent == 1 else stride for extent, stride in zip(shape, strides, strict=True))
    return View(view.buffer, view.dtype, view.offset + offset, tuple(shape), clean, view.loop_strides, view.live)


def sliced(view: View, starts: Sequence[int], shape: Sequence[int], steps: Sequence[int] | None = None) -> View:
    """``shape`` elements from ``starts`` on, every ``steps``-th of them."""
    offset = sum(start * stride for start, stride in zip(starts, view.strides, strict=True))
    moved = view.strides if steps is None else [a * b for a, b in zip(view.strides, steps, strict=True)]
    return _restrided(view, shape, moved, offset)


def indexed(view: View, axis: int, position: int) -> View:
    """The element at ``position`` along ``axis``, which is dropped."""
    shape = (*view.shape[:axis], *view.shape[axis + 1 :])
    strides = (*view.strides[:axis], *view.strides[axis + 1 :])
    return _restrided(view, shape, strides, position * view.strides[axis])


def broadcast(view: View, shape: Sequence[int]) -> View:
    """NumPy's broadcast to ``shape``."""
    lead = len(shape) - len(view.shape)
    strides = [0] * lead + [
        stride if extent == target else 0
        for extent, stride, target in zip(view.shape, view.strides, shape[lead:], strict=True)
    ]
    return _restrided(view, shape, strides)


def transposed(view: View, permutation: Sequence[int]) -> View:
    """Output dimension ``i`` is dimension ``permutation[i]``."""
    return _restrided(view, [view.shape[d] for d in permutation], [view.strides[d] for d in permutation])


def flipped(view: View, axes: Sequence[int]) -> View:
    """The order of elements reversed along ``axes``."""
    if view.size == 0:
        return view
    offset = sum((view.shape[axis] - 1) * view.strides[axis] for axis in axes)
    strides = [-stride if axis in axes else stride for axis, stride in enumerate(view.strides)]
    return _restrided(view, view.shape, strides, offset)


def windows(view: View, node: Node) -> View:
    """The ``patches`` node's view: positions along its axes, window offsets as new last dimensions."""
    axes = node.attrs["axes"]
    strides = list(view.strides)
    steps = dict(zip(axes, node.attrs["strides"], strict=True))
    for axis, step in steps.items():
        strides[axis] *= step
    strides += [view.strides[axis] * step for axis, step in zip(axes, node.attrs["dilation"], strict=True)]
    return _restrided(view, node.tensor.static_shape, strides)


def moved(node: Node, source: Place) -> Place | None:
    """The place of the movement op ``node`` as a view of ``source``; None where only a copy can do it."""
    shape = node.tensor.static_shape
    if isinstance(source, Uniform):
        return Uniform(source.dtype, source.bits, shape)
    attrs = node.attrs
    match node.op.name:
        case "stop_gradient":
            return source
        case "reshape":
            strides = reshaped_strides(source.shape, source.strides, shape)
            return None if strides is None else _restrided(source, shape, strides)
        case "transpose":
            return transposed(source, attrs["permutation"])
        case "broadcast_to":
            return broadcast(source, shape)
        case "slice":
            if source.size == 0 or 0 in shape:
                return _restrided(source, shape, (0,) * len(shape))
            return sliced(source, attrs["starts"], shape, attrs["steps"])
        case "index":
            return indexed(source, attrs["axis"], attrs["index"])
        case "flip":
            return flipped(source, attrs["axes"])
        case "patches":
            return windows(source, node)
        case name:
            raise AssertionError(f"{name} is not a view")


def unmoved(node: Node, destination: View) -> View | None:
    """Where the operand of an invertible view must lie for the result to lie at ``destination``; None if nowhere."""
    shape = node.inputs[0].tensor.static_shape
    match node.op.name:
        case "stop_gradient":
            return destination
        case "reshape":
            strides = reshaped_strides(destination.shape, destination.strides, shape)
            return None if strides is None else _restrided(destination, shape, strides)
        case "transpose":
            permutation = node.attrs["permutation"]
            inverse = [permutation.index(d) for d in range(len(permutation))]
            return transposed(destination, inverse)
        case "flip":
            return flipped(destination, node.attrs["axes"])
        case name:
            raise AssertionError(f"{name} cannot be inverted")
