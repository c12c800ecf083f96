"""Lowers one entry point: its inputs and outputs, and the updates of state, behind the last check of an index.

The order of an entry is: everything but *update kernels* that must wait; copies to outputs; those, which overwrite
state in place; copies of whatever new state lies elsewhere.  An update kernel is a pointwise, fused or scattering
node that nothing but updates reads.  It may write a state variable in place if it reads it only at the position that
it writes, and if no later step reads the old value.  It runs earlier, where it stands, if nothing speaks against that
(:mod:`graphc.kernel.update_order`): what it reads is then in the cache, and its memory is free sooner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import users
from graphc.kernel.destinations import Root
from graphc.kernel.emit import Emitter, Origin, ProgramBuilder
from graphc.kernel.memory import plan_memory
from graphc.kernel.moves import emit_moves
from graphc.kernel.program import Entry, Loop
from graphc.kernel.region import Region
from graphc.kernel.update_order import early_updates
from graphc.kernel.views import VIEW_OPS, Place, View, indexed, whole
from graphc.ops.indexing import SCATTERS


def lower_entry(program: ProgramBuilder, module: Module, graph: Graph) -> Entry:
    """One entry point with its memory plan."""
    return _EntryLowering(program, module, graph).lower()


class _EntryLowering:
    def __init__(self, program: ProgramBuilder, module: Module, graph: Graph) -> None:
        self.module = module
        self.graph = graph
        self.emitter = Emitter(program, module.states)
        self.region = Region(self.emitter, graph, 0)
        self.outputs: list[View] = []

    def lower(self) -> Entry:
        """Emit all steps in the order described above."""
        graph, region, emitter = self.graph, self.region, self.emitter
        self._bind()
        late = self._update_kernels()
        region.destinations.plan(graph.nodes, graph.output_nodes, [value for _, value in graph.updates])
        early = early_updates(graph, late)
        later = {node for producer, pairs in late.items() for node in (producer, *(part for _, part in pairs))}
        for node in graph.nodes:
            if node in early:
                self._lower_update(node, late.pop(node))
            elif node not in later:
                region.lower([node])
        for node in late:
            if node.op.name in SCATTERS:
                region.check(node, node.inputs[1], node.shape[node.attrs["axis"]])
        for (_, node), view in zip(graph.outputs, self.outputs, strict=True):
            place = region.place(node)
            if place == view:
                continue
            if is_series(node):
                self._copy_steps(view, place, node)
            else:
                emitter.copy(view, place, region.origin(node))
        held = self._hold_old_state(late)
        self._lower_updates(late)
        moves = [
            (self._state_view(variable), held.get(value) or region.place(value)) for variable, value in graph.updates
        ]
        emit_moves(emitter, moves, Origin("commit", "commit"))
        steps = tuple(emitter.steps)
        buffers = tuple(emitter.buffers)
        return Entry(
            graph.name,
            {node.attrs["name"]: node.tensor for node in graph.inputs},
            {name: node.tensor for name, node in graph.outputs},
            buffers,
            steps,
            plan_memory(buffers, steps, emitter.program.kernels),
            tuple(variable.attrs["state"].name for variable, _ in graph.updates),
        )

    def _copy_steps(self, target: View, source: Place, node: Node) -> None:
        """Copy what the call has of an output, a step at a time."""
        emitter = self.emitter
        outside, emitter.steps = emitter.steps, []
        rows = [
            indexed(place, 0, 0).with_loop_stride(0, place.strides[0]) if isinstance(place, View) else place
            for place in (target, source)
        ]
        row = rows[1] if isinstance(rows[1], View) else replace(rows[1], shape=rows[1].shape[1:])
        assert isinstance(rows[0], View)
        emitter.copy(rows[0], row, self.region.origin(node))
        steps, emitter.steps = emitter.steps, outside
        emitter.steps.append(Loop(target.shape[0], tuple(steps), live=True))

    def _bind(self) -> None:
        for position, node in enumerate(self.graph.inputs):
            type_ = node.tensor
            number = self.emitter.buffer(node.attrs["name"], type_.dtype, type_.static_size, "input", position)
            self.region.values[node] = whole(number, type_.dtype, type_.static_shape)
        for position, (name, node) in enumerate(self.graph.outputs):
            number = self.emitter.buffer(name, node.dtype, node.tensor.static_size, "output", position)
            view = whole(number, node.dtype, node.tensor.static_shape)
            self.outputs.append(view)
            self.region.destinations.request(node, Root(view))

    def _state_view(self, variable: Node) -> View:
        return self.emitter.state(variable.attrs["state"])

    # -- updates ---------------------------------------------------------------------------------------------------

    def _update_kernels(self) -> dict[Node, list[tuple[Node, Node]]]:
        """The nodes that can write state in place, each with its updates (state node, new value)."""
        graph = self.graph
        if not graph.updates:
            return {}
        readers = users(graph.nodes)
        updated: dict[Node, list[Node]] = {}
        for variable, value in graph.updates:
            updated.setdefault(value, []).append(variable)
        shown = set(graph.output_nodes)
        late: dict[Node, list[tuple[Node, Node]]] = {}
        for value in updated:
            producer = value.inputs[0] if value.op.name == "result" else value
            if producer in late or not _may_be_late(producer):
                continue
            parts = [reader for reader in readers[producer] if reader.op.name == "result"]
            values = parts or [producer]
            alone = len(parts) == len(readers[producer]) and not any(readers[part] for part in parts)
            if alone and all(len(updated.get(part, ())) == 1 and part not in shown for part in values):
                late[producer] = [(updated[part][0], part) for part in values]
        return late

    def _hold_old_state(self, late: dict[Node, list[tuple[Node, Node]]]) -> dict[Node, Place]:
        """Copies of old state that becomes another variable's new state, made before update kernels overwrite it."""
        overwritten = {self._state_view(variable).buffer for pairs in late.values() for variable, _ in pairs}
        held: dict[Node, Place] = {}
        for variable, value in self.graph.updates:
            place = self.region.values.get(value)
            if not isinstance(place, View) or place.buffer not in overwritten or place == self._state_view(variable):
                continue
            copy = self.emitter.temporary("old", place.dtype, place.shape)
            self.emitter.copy(copy, place, self.region.origin(value))
            held[value] = copy
        return held

    def _lower_updates(self, late: dict[Node, list[tuple[Node, Node]]]) -> None:
        """The update kernels, each after all that read the state it overwrites."""
        nodes = list(late)
        writes = [{self._state_view(variable).buffer for variable, _ in late[node]} for node in nodes]
        order, demoted = _safe_order([self._buffers_read(node) for node in nodes], writes)
        for number in order:
            node = nodes[number]
            self._lower_update(node, late[node], in_place=number not in demoted)

    def _lower_update(self, node: Node, pairs: Sequence[tuple[Node, Node]], *, in_place: bool = True) -> None:
        """An update kernel, with the variables and new values that it gives."""
        region = self.region
        if in_place:
            for variable, value in pairs:
                region.destinations.request(value, Root(self._state_view(variable), region.position))
        region.lower([node])
        region.lower([part for _, part in pairs if part is not node])

    def _buffers_read(self, node: Node) -> set[int]:
        places = self.region.places(node.inputs)
        return {place.buffer for place in places if isinstance(place, View)}


def is_series(node: Node) -> bool:
    """Is it a stack with a row for each step that the call has?"""
    while node.op.name == "reshape":
        node = node.inputs[0]
    if node.op.name != "result":
        return False
    loop = node.inputs[0]
    return "size" in loop.attrs and node.attrs["index"] >= loop.attrs["carries"]


def _may_be_late(producer: Node) -> bool:
    name = producer.op.name
    if name == "fused":
        # Checks of indices come before the first write to any state.
        return not any(node.op.kind is OpKind.INDEXING for node in producer.attrs["body"].nodes)
    return name in SCATTERS or (producer.op.kind is OpKind.POINTWISE and name not in VIEW_OPS)


def _safe_order(reads: Sequence[set[int]], writes: Sequence[set[int]]) -> tuple[list[int], set[int]]:
    """An order in which every buffer is overwritten after all others have read it.

    Returns:
        The order, and those that must not overwrite anything because they stand in a circle.
    """
    writer = {buffer: number for number, written in enumerate(writes) for buffer in written}
    followers: list[list[int]] = [[] for _ in reads]
    waiting = [0] * len(reads)
    for number, read in enumerate(reads):
        for buffer in sorted(read):
            other = writer.get(buffer)
            if other is not None and other != number:
                followers[number].append(other)
                waiting[other] += 1
    order: list[int] = []
    demoted: set[int] = set()
    placed = [False] * len(reads)
    ready = deque(number for number, count in enumerate(waiting) if not count)
    first = 0
    while len(order) < len(reads):
        if not ready:
            while placed[first]:
                first += 1
            demoted.add(first)
            ready.append(first)
        number = ready.popleft()
        if placed[number]:
            continue
        placed[number] = True
        order.append(number)
        for follower in followers[number]:
            waiting[follower] -= 1
            if not waiting[follower] and not placed[follower]:
                ready.append(follower)
    return order, demoted
