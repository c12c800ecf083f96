"""recompute: large values are stored only where that is less work than to compute them again, and read together.

A normalization keeps for its gradient what it has centred and what it has scaled, and the one is the other divided by
a number a channel.  Over arrays that no cache holds, a kernel that reads such a value computes it again, from what it
reads anyway or from something else of that size:

    y = x / s;  g(y, x, s)    →    g(x / s, x, s)           y is neither written nor read

This is rematerialization (Chen et al., *Training deep nets with sublinear memory cost*, 2016) of values that cost a few
operations of :data:`graphc.ops.simple.SIMPLE_OPS`.  Then sums along the same axes that read the same arrays, as the
gradients of a normalization's factors are, become one kernel.  The operations and their operands stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

from graphc.ir.attrs import AttrValue
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import Shape
from graphc.ops.simple import SIMPLE_OPS, SLOW_OPS
from graphc.passes.base import Pass, map_regions
from graphc.passes.flat import FlatGraph, Kernel, is_kernel, largest_result, nbytes
from graphc.passes.fuse_groups import REDUCTIONS

_MOST_OPS = 8
"""Operations that a value may cost."""

_WRITTEN = 2
"""What a byte that is written costs in bytes that are read: its line is read before."""

_SLOW = 0.5
"""What a byte of a quotient or a root costs in bytes that are read: it is computed hardly faster."""

_MOST_SUMS = 4
"""Sums that share a walk: each holds its part of a row in registers."""

_NEAR = 16
"""Kernels that add up what another one adds up, among which one is looked for that it can join."""


@dataclass(frozen=True)
class Recompute(Pass):
    """Compute large values again in the kernels that read them, and sums that read the same ones at once.

    Attributes:
        smallest: bytes of the values looked at: smaller ones stay in a second-level cache.
        cap: members of a kernel.
        most: values that are looked at: each may make kernels of their own out of kernels that were equal.
    """

    name: ClassVar[str] = "recompute"
    smallest: int = 1 << 20
    cap: int = 200
    most: int = 500

    def run(self, graph: Graph) -> Graph:
        """The graph in which less is stored and read."""
        return map_regions(graph, self._run_region)

    def _run_region(self, graph: Graph) -> Graph:
        if not any(is_kernel(node) and self._is_large(node) for node in graph.nodes):
            return graph
        flat = FlatGraph(graph)
        for value in [value for value in flat.stored if nbytes(value) >= self.smallest][: self.most]:
            if self._is_dear(flat, value):
                flat.drop(value)
        self._join_sums(flat)
        return flat.emit() if any(kernel.is_changed for kernel in flat.kernels.values()) else graph

    def _is_large(self, kernel: Node) -> bool:
        return max(largest_result(kernel), *map(nbytes, kernel.inputs), 0) >= self.smallest

    # -- computing again -------------------------------------------------------------------------------------------

    def _is_dear(self, flat: FlatGraph, value: Node) -> bool:
        """Is it less work to compute a value wherever it is read than to store it?"""
        maker, readers = flat.maker.get(value), flat.readers[value]
        if maker is None or not readers or value in flat.fixed or any(map(_has_product, readers)):
            return False
        steps, sources = flat.walk([value])
        if len(steps) > _MOST_OPS or any(step.op.name not in SIMPLE_OPS for step in steps):
            return False
        if any(len(kernel.steps) + len(steps) > self.cap or not _walks(kernel, value) for kernel in readers):
            return False
        size = nbytes(value)
        before = (len(readers) + _WRITTEN) * size
        if flat.kept(maker) == [value]:
            before += sum(map(nbytes, maker.reads))
        after = sum(nbytes(source) for kernel in readers for source in sources - kernel.reads)
        slow = sum(step.op.name in SLOW_OPS and step.shape == value.shape for step in steps)
        after += int(_SLOW * slow * len(readers) * size)
        return after < before and _kept_longer(flat, readers, sources, self.smallest) <= size + size // 8

    # -- sums ------------------------------------------------------------------------------------------------------

    def _join_sums(self, flat: FlatGraph) -> None:
        """Join kernels that only add up along the same axes, where one reads most of what another one reads."""
        known: dict[Kernel, tuple[Shape, AttrValue]] = {}
        for kernel in flat.kernels.values():
            form = _sum_form(flat, kernel)
            if form is None:
                continue
            reads = sorted(kernel.reads, key=attrgetter("serial"))
            large = [value for value in reads if nbytes(value) >= self.smallest]
            others = [other for value in large for other in flat.readers[value] if known.get(other) == form]
            target = next((other for other in others[:_NEAR] if self._fits(flat, other, kernel, large)), None)
            if target is None:
                known[kernel] = form
            else:
                flat.join(target, kernel)

    def _fits(self, flat: FlatGraph, target: Kernel, kernel: Kernel, large: Collection[Node]) -> bool:
        if len(target.steps) + len(kernel.steps) > self.cap:
            return False
        if sum(step.op.name in REDUCTIONS for step in (*target.steps, *kernel.steps)) > _MOST_SUMS:
            return False
        if not large or 2 * len(target.reads.intersection(large)) < len(large):
            return False
        return all(flat.position(value) < target.position for value in kernel.reads)


def _has_product(kernel: Kernel) -> bool:
    """Are values read many times, by the tiles of a product?"""
    return any(step.op.kind is OpKind.CONTRACTION for step in kernel.steps)


def _walks(kernel: Kernel, value: Node) -> bool:
    """Does a kernel read a value once an element, not again and again beside something larger?"""
    readers = [step for step in kernel.steps if value in step.inputs]
    return all(step.shape == value.shape or step.op.name in REDUCTIONS for step in readers)


def _kept_longer(flat: FlatGraph, readers: Collection[Kernel], sources: Collection[Node], smallest: int) -> float:
    """Bytes that have to be kept longer where ``readers`` read ``sources``; a state of ``smallest`` cannot."""
    end = max(kernel.position for kernel in readers)
    late = [source for source in sources if flat.last[source] < end]
    nodes = [flat.stored[source] for source in late]
    if any(node in flat.updated and nbytes(node) >= smallest for node in nodes):
        # The new value of the state would have to wait for its last reader.
        return math.inf
    # What the caller holds is there in any case.
    return sum(nbytes(source) for source, node in zip(late, nodes, strict=True) if node.op.kind is not OpKind.SOURCE)


def _sum_form(flat: FlatGraph, kernel: Kernel) -> tuple[Shape, AttrValue] | None:
    """What a kernel that only adds up walks: shape and axes; None for any other kernel."""
    sums = [step for step in kernel.steps if step.op.name in REDUCTIONS]
    if not sums or any(step.op.name != "sum" for step in sums) or _has_product(kernel):
        return None
    forms = {(step.inputs[0].shape, step.attrs["axes"]) for step in sums}
    shape, axes = next(iter(forms))
    if len(forms) > 1 or any(result.shape == shape for result in flat.kept(kernel)):
        return None
    return shape, axes
