"""Loops: carries, slices, stacked results, and calls that need not be repeated.

A carry lives in one of three ways.  One that the body leaves alone is its own initial value.  One that is also a
stacked result (before or after the step) lives in the stacked buffer, which gets a slot more: step t reads slot t and
writes slot t + 1.  Any other has a buffer of its own, which the producer of the next value overwrites where nothing
reads the old value later, and which is copied to otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.ir.attrs import ArrayValue
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import TupleType, int64
from graphc.kernel.destinations import Root, last_reads
from graphc.kernel.emit import Emitter
from graphc.kernel.loopir import AnyKernel
from graphc.kernel.moves import Move, emit_moves
from graphc.kernel.program import Call, Copy, Loop, Ref, Step
from graphc.kernel.region import Region, node_rule
from graphc.kernel.views import Place, Uniform, View, indexed, whole


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the body's ``node`` must lie at the end of a step."""

    node: Node
    view: View


@node_rule("loop")
def _lower_loop(region: Region, node: Node) -> None:
    if node.attrs["trips"]:
        _LoopLowering(region, node).lower()
        return
    assert isinstance(node.type, TupleType)
    count = node.attrs["carries"]
    stacked = [
        region.emitter.temporary("nothing", part.dtype, part.static_shape) for part in node.type.elements[count:]
    ]
    region.values[node] = (*region.places(node.inputs[:count]), *stacked)


class _LoopLowering:
    """One loop node."""

    def __init__(self, region: Region, node: Node) -> None:
        self.region = region
        self.node = node
        self.emitter = region.emitter
        self.origin = region.origin(node)
        attrs = node.attrs
        self.trips: int = attrs["trips"]
        self.live = "size" in attrs
        self.body: Graph = attrs["body"]
        self.count: int = attrs["carries"]
        self.operands = region.places(node.inputs)
        self.inner = Region(self.emitter, self.body, region.depth + 1, region)
        self.carries = self.body.inputs[1 : 1 + self.count]
        outputs = self.body.output_nodes
        self.next, self.stacked = outputs[: self.count], outputs[self.count :]
        self.results: list[Place | None] = [None] * len(outputs)
        self.moves: list[_Target] = []
        self.slots: list[_Target] = []

    def lower(self) -> None:
        """Emit what comes before the loop, the loop, and set the node's value."""
        self._bind_sources()
        self._bind_carries()
        self._bind_stacked()
        inner = self.inner
        inner.destinations.plan(self.body.nodes, self.body.output_nodes)
        outside, mark = self.emitter.steps, len(self.emitter.buffers)
        self.emitter.steps = []
        inner.lower(self.body.nodes)
        for target in self.slots:
            place = inner.place(target.node)
            if place != target.view:
                self.emitter.copy(target.view, place, self.origin)
        moves: list[Move] = [(target.view, inner.place(target.node)) for target in self.moves]
        emit_moves(self.emitter, moves, self.origin)
        steps, self.emitter.steps = self.emitter.steps, outside
        fixed, repeated = hoist(self.emitter, steps, self.region.depth, mark)
        outside.extend(fixed)
        if repeated:
            outside.append(Loop(self.trips, tuple(repeated), self.live))
        self.region.values[self.node] = tuple(place for place in self.results if place is not None)

    def _bind_sources(self) -> None:
        """The step number, the invariants, and each sequence's element."""
        attrs, depth = self.node.attrs, self.region.depth
        inputs, values = self.body.inputs, self.inner.values
        self.inner.bounds[inputs[0]] = self.trips
        if any(inputs[0] in node.inputs for node in self.body.nodes) or inputs[0] in self.body.output_nodes:
            place = self.emitter.constant(ArrayValue(np.arange(self.trips, dtype=np.int64), int64))
            if isinstance(place, Uniform):
                values[inputs[0]] = Uniform(place.dtype, place.bits, ())
            else:
                values[inputs[0]] = whole(place.buffer, int64, ()).with_loop_stride(depth, 1)
        else:
            values[inputs[0]] = Uniform(int64, bytes(8), ())
        first = 1 + self.count + attrs["invariants"]
        values.update(zip(inputs[1 + self.count : first], self.operands[self.count : first - 1], strict=True))
        for node, place, (axis, start, step) in zip(
            inputs[first:], self.operands[first - 1 :], attrs["slices"], strict=True
        ):
            if isinstance(place, Uniform):
                values[node] = Uniform(place.dtype, place.bits, node.tensor.static_shape)
            else:
                if self.live and step < 0:
                    # From the last of the steps that there are, wherever that is.
                    first = indexed(place, axis, -1)
                    first = replace(first, live=first.live + place.strides[axis])
                else:
                    first = indexed(place, axis, start)
                values[node] = first.with_loop_stride(depth, step * place.strides[axis])

    def _bind_carries(self) -> None:
        last = last_reads(self.body.nodes, self.carries, self.body.output_nodes)
        for number, (carry, following) in enumerate(zip(self.carries, self.next, strict=True)):
            initial = self.operands[number]
            stacked = [k for k, node in enumerate(self.stacked) if node is following or node is carry]
            free = [k for k in stacked if self.results[self.count + k] is None]
            if following is carry:
                self.inner.values[carry] = initial
                self.results[number] = initial
            elif free and carry.tensor.static_size:
                self._bind_slots(number, free, initial)
            else:
                self._bind_own_buffer(number, last[carry], initial)

    def _bind_slots(self, number: int, stacked: Sequence[int], initial: Place) -> None:
        carry, following = self.carries[number], self.next[number]
        depth, shape = self.region.depth, carry.tensor.static_shape
        slots = self.emitter.temporary("slots", carry.dtype, (self.trips + 1, *shape))
        size = carry.tensor.static_size
        first = whole(slots.buffer, carry.dtype, shape)
        self.emitter.copy(first, initial, self.origin)
        self.inner.values[carry] = first.with_loop_stride(depth, size)
        after = whole(slots.buffer, carry.dtype, shape, size).with_loop_stride(depth, size)
        self.inner.destinations.request(following, Root(after))
        self.slots.append(_Target(following, after))
        last = whole(slots.buffer, carry.dtype, shape, 0 if self.live else self.trips * size)
        self.results[number] = replace(last, live=size) if self.live else last
        for k in stacked:
            offset = size if self.stacked[k] is following else 0
            self.results[self.count + k] = whole(slots.buffer, carry.dtype, (self.trips, *shape), offset)

    def _bind_own_buffer(self, number: int, last_read: int, initial: Place) -> None:
        carry, following = self.carries[number], self.next[number]
        view = self._claimed(number, carry)
        if not view.is_contiguous:
            view = self.emitter.temporary("carry", carry.dtype, carry.tensor.static_shape)
        self.emitter.copy(view, initial, self.origin)
        self.inner.values[carry] = view
        self.results[number] = view
        self.inner.destinations.request(following, Root(view, last_read))
        self.moves.append(_Target(following, view))

    def _bind_stacked(self) -> None:
        for k, node in enumerate(self.stacked):
            number = self.count + k
            if self.results[number] is not None:
                continue
            view = self._claimed(number, node, self.trips)
            self.results[number] = view
            slot = indexed(view, 0, 0).with_loop_stride(self.region.depth, view.strides[0])
            self.inner.destinations.request(node, Root(slot))
            self.slots.append(_Target(node, slot))

    def _claimed(self, number: int, node: Node, *lead: int) -> View:
        """Memory for one result of the loop: where it is wanted, or a temporary."""
        result = self.region.result_node(self.node, number)
        if result is None:
            return self.emitter.temporary("loop", node.dtype, (*lead, *node.tensor.static_shape))
        return self.region.claim(result, self.operands)


# -- calls that do the same in every trip --------------------------------------------------------------------------


def hoist(emitter: Emitter, steps: Sequence[Step], depth: int, mark: int) -> tuple[list[Step], list[Step]]:
    """Split a loop's body into what can run once before the loop and what must be repeated.

    A call runs once if none of its pointers moves with the loop, nothing it reads is written in what is repeated, and
    what it writes is the body's own memory (buffers from ``mark`` on), written by it alone.
    """
    writers: dict[int, int] = {}
    for step in steps:
        for ref in _written(emitter.program.kernels, step):
            writers[ref.buffer] = writers.get(ref.buffer, 0) + 1
    fixed: list[Step] = []
    repeated: list[Step] = []
    done: set[int] = set()
    for step in steps:
        refs = (
            [] if isinstance(step, Loop) else list(step.args if isinstance(step, Call) else (step.target, step.source))
        )
        written = list(_written(emitter.program.kernels, step))
        targets = {ref.buffer for ref in written}
        stays = (
            not isinstance(step, Loop)
            and all(len(ref.strides) <= depth for ref in refs)
            and all(ref.buffer >= mark and writers[ref.buffer] == 1 for ref in written)
            and all(ref.buffer in targets or ref.buffer not in writers or ref.buffer in done for ref in refs)
        )
        if stays:
            fixed.append(step)
            done |= targets
        else:
            repeated.append(step)
    return fixed, repeated


def _written(kernels: Sequence[AnyKernel], step: Step) -> Iterable[Ref]:
    """The pointers through which a step writes, those of nested loops included."""
    pending = [step]
    while pending:
        current = pending.pop()
        if isinstance(current, Loop):
            pending.extend(current.body)
        elif isinstance(current, Copy):
            yield current.target
        else:
            params = kernels[current.kernel].params
            yield from (ref for ref, param in zip(current.args, params, strict=True) if param.mode != "in")
