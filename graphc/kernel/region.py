"""Lowers the nodes of one graph, loop body or fused body to calls, in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from typing import cast

from graphc.errors import UnsupportedOp
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType, TupleType, int64
from graphc.kernel.body import has_rule
from graphc.kernel.builder import KernelBuilder, NotInPlace, NotOneKernel
from graphc.kernel.destinations import Destinations, Root
from graphc.kernel.emit import Build, Emitter, Origin
from graphc.kernel.lower_body import build_body
from graphc.kernel.views import VIEW_OPS, Place, Uniform, View, moved, size_of, unmoved

NodeRule = Callable[["Region", Node], None]

NODE_RULES: dict[str, NodeRule] = {}
"""Op name → how a node that is not simply one kernel is lowered."""


def node_rule(*names: str) -> Callable[[NodeRule], NodeRule]:
    """Register a function as the lowering of the ops ``names``."""

    def add(function: NodeRule) -> NodeRule:
        for name in names:
            NODE_RULES[name] = function
        return function

    return add


class Region:
    """One graph being lowered.

    Attributes:
        emitter: where calls go.
        graph: what is lowered.
        depth: number of loops around it.
        values: where the value of each node lies (a tuple for nodes with several results).
        destinations: where values are wanted.
        bounds: limits below which the non-negative values of a node are known to lie, such as a loop's step number.
        position: of the node being lowered.
    """

    def __init__(self, emitter: Emitter, graph: Graph, depth: int, parent: Region | None = None) -> None:
        self.emitter = emitter
        self.graph = graph
        self.depth = depth
        self.values: dict[Node, Place | tuple[Place, ...]] = {}
        self.destinations = Destinations(emitter)
        self.bounds: dict[Node, int] = {}
        self.position = 0
        self._parent = parent
        self._checked: set[tuple[Place, int]] = set()
        self._results: dict[Node, dict[int, Node]] = {}
        for node in graph.nodes:
            if node.op.name == "result":
                self._results.setdefault(node.inputs[0], {})[node.attrs["index"]] = node

    def place(self, node: Node) -> Place:
        """Where the one value of ``node`` lies."""
        return cast(Place, self.values[node])

    def places(self, nodes: Sequence[Node]) -> list[Place]:
        """Where the values of ``nodes`` lie."""
        return [self.place(node) for node in nodes]

    def result_node(self, node: Node, index: int) -> Node | None:
        """The node that takes result ``index`` of ``node``, if there is one; the node itself if it has one result."""
        return self._results.get(node, {}).get(index) if isinstance(node.type, TupleType) else node

    def origin(self, node: Node, name: str | None = None) -> Origin:
        """What a call for ``node`` computes, for people."""
        note = self.graph.note(node)
        scope = "/".join(note.scope)
        text = f"{scope}: {node.op.name}" if scope else node.op.name
        return Origin(name or node.op.name, text, note.locations[0] if note.locations else None)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def lower(self, nodes: Sequence[Node]) -> None:
        """Lower ``nodes``, which follow the graph's order."""
        for node in nodes:
            if node not in self.values:
                self.lower_node(node)
            self.position += 1

    def lower_node(self, node: Node) -> None:
        """Lower one node whose inputs have been lowered."""
        name = node.op.name
        found = NODE_RULES.get(name)
        if found is not None:
            found(self, node)
        elif name in VIEW_OPS:
            self._lower_view(node)
        elif has_rule(node):
            self._lower_single(node)
        else:
            locations = self.graph.note(node).locations
            reason = "is composite and must be decomposed" if node.op.kind is OpKind.COMPOSITE else "has no kernel"
            raise UnsupportedOp("E901", f"{name} {reason}", locations[0] if locations else None)

    def _lower_view(self, node: Node) -> None:
        source = self.place(node.inputs[0])
        place = moved(node, source)
        if place is not None:
            self.values[node] = place
            return
        # Only a reshape gets here: its elements are laid out anew, in the order of the result.
        target = self.destinations.claim(node, self.position).view
        operand = unmoved(node, target)
        if operand is None or (isinstance(source, View) and source.buffer == target.buffer):
            target = self.destinations.evade(node)
            operand = cast(View, unmoved(node, target))
        self.destinations.settle(node, target)
        self.emitter.copy(operand, source, self.origin(node))
        self.values[node] = target

    def _lower_single(self, node: Node) -> None:
        inputs = node.inputs

        def build(builder: KernelBuilder, operands: Sequence[Place]) -> None:
            build_body(builder, (node,), (node,), dict(zip(inputs, operands, strict=True)))

        operands = self.places(inputs)
        if node.op.name in ("take", "take_along_axis"):
            limit = inputs[0].shape[node.attrs["axis"]]
            self.check(node, inputs[1], limit)
            if limit == 0:
                # No index is in range: the call fails at the check, or there are no indices and no result.
                self.values[node] = Uniform(node.dtype, bytes(node.dtype.itemsize), node.tensor.static_shape)
                return
        (self.values[node],) = self.write(self.origin(node), (node.op, node.attrs.key), build, operands, (node,))

    # -- kernels that write the values of nodes --------------------------------------------------------------------

    def write(
        self,
        origin: Origin,
        key: Hashable,
        build: Build,
        operands: Sequence[Place],
        results: Sequence[Node | TensorType],
    ) -> list[View]:
        """Call one kernel that computes ``results`` (a type where nobody takes the result), each where it is wanted.

        Raises:
            NotOneKernel: the body does not fit one kernel.
        """
        views: list[View] = []
        in_place: list[int | None] = []
        guarded: list[int] = []
        for number, result in enumerate(results):
            if isinstance(result, TensorType):
                views.append(self.emitter.temporary("unused", result.dtype, result.static_shape))
                in_place.append(None)
                continue
            claim = self.destinations.claim(result, self.position)
            view, taken = claim.view, None
            if claim.guarded:
                same = [place for place in operands if isinstance(place, View) and place.buffer == view.buffer]
                if all(place == same[0] and is_same_memory(place, view) for place in same):
                    guarded.append(number)
                    taken = operands.index(same[0]) if same else None
                else:
                    view = self.destinations.evade(result)
            views.append(view)
            in_place.append(taken)
        if all(view.size == 0 for view in views):
            return views
        try:
            self.emitter.call(origin, key, build, operands, views, in_place)
        except NotInPlace:
            for number in guarded:
                views[number] = self.destinations.evade(cast(Node, results[number]))
            self.emitter.call(origin, key, build, operands, views)
            return views
        for number in guarded:
            self.destinations.settle(cast(Node, results[number]), views[number])
        return views

    def claim(self, node: Node, operands: Sequence[Place]) -> View:
        """Memory for ``node`` that holds none of ``operands``: for values that are written bit by bit."""
        claim = self.destinations.claim(node, self.position)
        if not claim.guarded:
            return claim.view
        if any(isinstance(place, View) and place.buffer == claim.view.buffer for place in operands):
            return self.destinations.evade(node)
        return self.destinations.settle(node, claim.view)

    def inline(self, body: Graph, operands: Sequence[Place], results: Sequence[Node | None]) -> tuple[Place, ...]:
        """Lower the nodes of ``body`` one by one, as if they stood here."""
        inner = Region(self.emitter, body, self.depth, self)
        inner.values.update(zip(body.inputs, operands, strict=True))
        for node, result in zip(body.output_nodes, results, strict=True):
            claim = self.destinations.claim(result, self.position) if result is not None else None
            if claim is not None and not claim.guarded:
                inner.destinations.request(node, Root(claim.view))
        inner.destinations.plan(body.nodes, body.output_nodes)
        inner.lower(body.nodes)
        return tuple(inner.places(body.output_nodes))

    # -- indices from the data -------------------------------------------------------------------------------------

    def check(self, node: Node, indices: Node, limit: int) -> None:
        """Emit the check that ``indices`` lie in [0, limit), once."""
        place = self.place(indices)
        if size_of(place.shape) == 0 or self._is_checked(place, limit) or self._is_bounded(indices, limit):
            return
        self._checked.add((place, limit))
        self.emitter.check_index(place, limit, self.origin(node, "check_index"))

    def _is_bounded(self, indices: Node, limit: int) -> bool:
        """Is it known without a look at the data that the indices lie in [0, limit)?"""
        source = indices
        while source.op.name in VIEW_OPS:
            source = source.inputs[0]
        bound = self.bounds.get(source)
        match source.op.name:
            case "constant":
                array = source.attrs["value"].array
                return bool(array.size) and int(array.min()) >= 0 and int(array.max()) < limit
            case "argmax" | "argmin":
                bound = source.inputs[0].shape[source.attrs["axes"][0]]
            case "argsort":
                bound = source.shape[source.attrs["axis"]]
            case "iota" if source.dtype is int64:
                bound = source.shape[source.attrs["axis"]]
        return bound is not None and bound <= limit

    def _is_checked(self, place: Place, limit: int) -> bool:
        region: Region | None = self
        while region is not None:
            if (place, limit) in region._checked:
                return True
            region = region._parent
        return False


def is_same_memory(one: View, other: View) -> bool:
    """Do two views start at the same place and hold equally many elements of one type?  Their shapes may differ."""
    return (
        one.dtype is other.dtype
        and one.size == other.size
        and (one.buffer, one.offset, one.loop_strides, one.live)
        == (other.buffer, other.offset, other.loop_strides, other.live)
    )


@node_rule("fused")
def _lower_fused(region: Region, node: Node) -> None:
    body: Graph = node.attrs["body"]
    outputs = body.output_nodes
    types = node.type.elements if isinstance(node.type, TupleType) else (node.tensor,)
    results = [region.result_node(node, index) for index in range(len(outputs))]
    captured = [inner for inner in body.nodes if inner.op.name in ("constant", "state")]
    operands = region.places(node.inputs)
    inputs = (*body.inputs, *captured)
    for inner in captured:
        region.lower_node(inner)
        operands.append(region.place(inner))

    def build(builder: KernelBuilder, places: Sequence[Place]) -> None:
        build_body(builder, body.nodes, outputs, dict(zip(inputs, places, strict=True)))

    names = list(dict.fromkeys(inner.op.name for inner in body.nodes if has_rule(inner)))
    origin = region.origin(node, "_".join(names[:4]))
    wanted = [result if result is not None else type_ for result, type_ in zip(results, types, strict=True)]
    places: tuple[Place, ...] | None = None
    # Indices from the data must be checked before the kernel that uses them.
    if not any(inner.op.kind is OpKind.INDEXING for inner in body.nodes):
        with contextlib.suppress(NotOneKernel):
            places = tuple(region.write(origin, ("fused", body), build, operands, wanted))
    if places is None:
        places = region.inline(body, region.places(node.inputs), results)
    region.values[node] = places if isinstance(node.type, TupleType) else places[0]


@node_rule("result")
def _lower_result(region: Region, node: Node) -> None:
    results = cast(tuple[Place, ...], region.values[node.inputs[0]])
    region.values[node] = results[node.attrs["index"]]
