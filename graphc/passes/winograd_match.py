"""The forms in which a 3×3 convolution stands in a graph: itself, and the gradients of its data and its kernel."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import float32, float64
from graphc.ops.linalg import split_subscripts

_WINDOW = {"window": (3, 3), "strides": (1, 1), "dilation": (1, 1)}


class Role(enum.Enum):
    """Which of the three is made, from the other two."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    KERNEL_GRADIENT = "kernel gradient"


@dataclass(frozen=True)
class View:
    """An operand, and its axes in the order in which this package speaks of them."""

    node: Node
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """In that order."""
        sizes = self.node.tensor.static_shape
        return tuple(sizes[axis] for axis in self.axes)

    def build(self, b: Builder) -> Node:
        """The operand with its axes in that order."""
        return _permuted(b, self.node, self.axes)


@dataclass(frozen=True)
class Convolution:
    """A 3×3 convolution of stride 1 of images without borders, or a gradient of one.

    Attributes:
        role: what is made.
        operands: those two that it is made from of data (images, height + 2, width + 2, channels), kernel (3, 3,
            channels, filters), and results or their gradient (images, height, width, filters).
        images: their number.
        sides: height and width of what is made, or, for the gradient of a kernel, of a result.
        channels: of the data.
        filters: channels of the results.
        places: where in the node's own shape each axis of what is made stands.
    """

    role: Role
    operands: tuple[View, View]
    images: int
    sides: tuple[int, int]
    channels: int
    filters: int
    places: tuple[int, ...]

    @property
    def multiplications(self) -> int:
        """Of the plain algorithm."""
        less = self.border
        return 9 * self.images * math.prod(side - less for side in self.sides) * self.channels * self.filters

    @property
    def border(self) -> int:
        """Rows and columns of zeros around the first operand."""
        return 2 if self.role is Role.INPUT_GRADIENT else 0

    def finish(self, b: Builder, made: Node) -> Node:
        """What is made, with its axes as the node has them."""
        return _permuted(b, made, tuple(self.places.index(axis) for axis in range(made.rank)))


def match(node: Node, inputs: Sequence[Node]) -> Convolution | None:
    """The convolution that a node is, if it is one.

    Args:
        node: an ``einsum`` or a ``fold_patches``.
        inputs: its operands, which may have been rewritten.
    """
    if node.dtype not in (float32, float64) or not node.tensor.is_static:
        return None
    if node.op.name == "fold_patches":
        return _input_gradient(node, inputs[0])
    for place in range(2):
        if inputs[place].op.name == "patches" and _is_window(inputs[place]):
            return _of_patches(node, inputs[place], inputs[1 - place], place)
    return None


def _is_window(node: Node) -> bool:
    return all(node.attrs[name] == value for name, value in _WINDOW.items())


def _of_patches(node: Node, patches: Node, other: Node, place: int) -> Convolution | None:
    """A product of patches with a kernel, or with the gradient of the results."""
    parts = split_subscripts(str(node.attrs["subscripts"]))
    seen, its, made = parts[place], parts[1 - place], parts[2]
    if (len(seen), len(its), len(made)) != (6, 4, 4):
        return None
    down, across = (seen[axis] for axis in patches.attrs["axes"])
    offsets, rest = seen[4:], [letter for letter in seen[:4] if letter not in (down, across)]
    # The letter that meets the other operand alone is summed over; the one that is kept stands in the result.
    summed = [letter for letter in rest if letter in its and letter not in made]
    kept = [letter for letter in rest if letter in made and letter not in its]
    if len(summed) != 1 or len(kept) != 1:
        return None
    image, channel = kept[0], summed[0]
    role = Role.FORWARD if set(offsets) <= set(its) else Role.KERNEL_GRADIENT
    if role is Role.KERNEL_GRADIENT:
        image, channel = channel, image
    (filters,) = set(its) - {*seen} or {""}
    wanted = {
        Role.FORWARD: (offsets + channel + filters, image + down + across + filters),
        Role.KERNEL_GRADIENT: (image + down + across + filters, offsets + channel + filters),
    }[role]
    if not filters or set(its) != set(wanted[0]) or set(made) != set(wanted[1]):
        return None
    data = View(patches.inputs[0], tuple(map(seen.index, image + down + across + channel)))
    second = View(other, tuple(map(its.index, wanted[0])))
    images, high, wide, channels = data.shape
    return Convolution(
        role,
        (data, second),
        images,
        (high - 2, wide - 2),
        channels,
        second.shape[3],
        tuple(map(made.index, wanted[1])),
    )


def _input_gradient(node: Node, patches: Node) -> Convolution | None:
    """The sum of patches that each are a product of a result's gradient and the kernel."""
    if not _is_window(node) or node.rank != 4:
        return None
    order = tuple(range(patches.rank))
    if patches.op.name == "transpose":
        order, patches = patches.attrs["permutation"], patches.inputs[0]
    if patches.op.name != "einsum":
        return None
    parts = split_subscripts(str(patches.attrs["subscripts"]))
    made = "".join(parts[2][axis] for axis in order)
    down, across = (made[axis] for axis in node.attrs["axes"])
    offsets, rest = made[4:], [letter for letter in made[:4] if letter not in (down, across)]
    place = 0 if down in parts[0] else 1
    gradient, kernel = parts[place], parts[1 - place]
    image = [letter for letter in rest if letter in gradient and letter not in kernel]
    channel = [letter for letter in rest if letter in kernel and letter not in gradient]
    filters = [letter for letter in gradient if letter not in made]
    if not (len(image) == len(channel) == len(filters) == 1):
        return None
    results, window = image[0] + down + across + filters[0], offsets + channel[0] + filters[0]
    if (set(gradient), len(gradient), set(kernel), len(kernel)) != (set(results), 4, set(window), 4):
        return None
    views = (
        View(patches.inputs[place], tuple(map(gradient.index, results))),
        View(patches.inputs[1 - place], tuple(map(kernel.index, window))),
    )
    images, high, wide, count = views[0].shape
    places = tuple(map(made.index, image[0] + down + across + channel[0]))
    return Convolution(Role.INPUT_GRADIENT, views, images, (high + 2, wide + 2), views[1].shape[2], count, places)


def _permuted(b: Builder, node: Node, permutation: tuple[int, ...]) -> Node:
    if permutation == tuple(range(node.rank)):
        return node
    return b.op("transpose", node, permutation=permutation)
