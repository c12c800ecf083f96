"""Turns nodes into the values of one kernel, asking for each node only at the positions where something needs it.

A rule says how the element of a node at an index is computed from elements of its inputs; rules are generators that
yield ``(input, index)`` and are sent the value, so that a body of any depth needs no recursion.  The same node at the
same index is one value.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.kernel.affine import IndexMap, axes_of, plain_axis
from graphc.kernel.builder import KernelBuilder, NotOneKernel
from graphc.kernel.loopir import Map, ValueId
from graphc.kernel.views import VIEW_OPS, Place, Uniform, View, moved

Request = tuple[Node, IndexMap]
Steps = Generator[Request, ValueId, ValueId]
Rule = Callable[["Body", Node, IndexMap], Steps]

RULES: dict[str, Rule] = {}
"""Op name → how one element of it is computed; pointwise ops share the rule ``"pointwise"``."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of the ops ``names``."""

    def add(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return add


def has_rule(node: Node) -> bool:
    """Can this node be part of a kernel's body?"""
    return node.op.kind is OpKind.POINTWISE or node.op.name in RULES


class Body:
    """One kernel's nodes on their way to values.

    Args:
        builder: the kernel.
        nodes: the body in topological order.
        places: abstract places of the operands: of the body's inputs, and of the constants and states it reads.
    """

    def __init__(self, builder: KernelBuilder, nodes: Sequence[Node], places: Mapping[Node, Place]) -> None:
        self.builder = builder
        self.nodes = nodes
        self.places: dict[Node, Place] = dict(places)
        self._values: dict[tuple[Node, IndexMap], ValueId] = {}
        self._indices: dict[Node, list[IndexMap]] = {}
        self._walked: dict[tuple[int, ...], dict[IndexMap, None]] = {}
        for node in nodes:
            if node not in self.places and node.op.name in VIEW_OPS:
                source = self.places.get(node.inputs[0])
                place = None if source is None else moved(node, source)
                if place is not None:
                    self.places[node] = place

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self, node: Node, index: IndexMap) -> ValueId:
        """The value of ``node`` at ``index``."""
        if (node, index) in self._values:
            return self._values[node, index]
        stack: list[tuple[Node, IndexMap, Steps]] = [(node, index, self._start(node, index))]
        answer: ValueId | None = None
        while stack:
            node, index, steps = stack[-1]
            try:
                request = next(steps) if answer is None else steps.send(answer)
            except StopIteration as stop:
                stack.pop()
                answer = stop.value
                self._remember(node, index, stop.value)
                continue
            answer = self._values.get(request)
            if answer is None:
                stack.append((*request, self._start(*request)))
        return self._values[node, index]

    def _remember(self, node: Node, index: IndexMap, value: ValueId) -> None:
        self._values[node, index] = value
        self._indices.setdefault(node, []).append(index)

    def _start(self, node: Node, index: IndexMap) -> Steps:
        self._walked.setdefault(node.tensor.static_shape, {})[index] = None
        place = self.places.get(node)
        if place is not None:
            return _held(self, place, index)
        name = "pointwise" if node.op.kind is OpKind.POINTWISE and node.op.name not in RULES else node.op.name
        found = RULES.get(name)
        if found is None:
            raise NotOneKernel
        return found(self, node, index)

    def view(self, node: Node) -> Place:
        """Where a node lies that is an operand or a view of one."""
        place = self.places.get(node)
        if place is None:
            raise NotOneKernel
        return place

    # -- indices ---------------------------------------------------------------------------------------------------

    def known_index(self, node: Node) -> IndexMap | None:
        """An index of distinct plain axes at which ``node`` has been asked for, if there is one."""
        for index in self._indices.get(node, ()):
            if is_plain(node, index):
                return index
        return None

    def reduction_index(self, operand: Node, kept: Mapping[int, Map]) -> IndexMap:
        """The index of a reduction's operand: ``kept`` where dimensions are kept, axes of its own along the others.

        Axes at which the operand, or anything of its shape, has been asked for already are used again, so that a body
        walks one row several times and not several rows: what two walks need is then one value.
        """
        shape = operand.tensor.static_shape
        outside = axes_of(kept.values())
        known: list[IndexMap] = [*self._indices.get(operand, ()), *self._walked.get(shape, ())]
        reduced = [d for d, extent in enumerate(shape) if d not in kept and extent != 1]
        for index in known:
            axes = [plain_axis(index[d]) for d in reduced]
            separate = len(set(axes)) == len(axes) and outside.isdisjoint(axes)
            extents = [None if axis is None else self.builder.extents[axis] for axis in axes]
            if (
                separate
                and extents == [shape[d] for d in reduced]
                and all(index[d] == map_ for d, map_ in kept.items())
            ):
                return index
        return tuple(kept[d] if d in kept else self.builder.axis(extent) for d, extent in enumerate(shape))


def is_plain(node: Node, index: IndexMap) -> bool:
    """Is the index one distinct axis for each dimension that has more than one element?"""
    axes = [plain_axis(map_) for map_, extent in zip(index, node.tensor.static_shape, strict=True) if extent != 1]
    return None not in axes and len(set(axes)) == len(axes)


def _held(body: Body, place: Place, index: IndexMap) -> Steps:
    """An operand, or a view of one: a load."""
    yield from ()
    if isinstance(place, Uniform):
        return body.builder.const(place.dtype, place.bits)
    return body.builder.load(place, index)


def abstract(place: Place, number: int) -> Place:
    """The place as a kernel sees it: operand ``number``, wherever it lies."""
    if isinstance(place, Uniform):
        return place
    return View(number, place.dtype, 0, place.shape, place.strides)
