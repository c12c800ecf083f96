"""narrow: loops stack data, and not windows over it.

The windows of a 3×3 convolution are a view with nine numbers for each of the data.  In a loop the gradient of a kernel
reads the windows that the forward step made: the forward loop would stack them, nine times as large as what they are
windows over.  It stacks the data, and the loop that reads it opens the windows again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.passes.base import Pass, map_regions
from graphc.passes.loops import AfterLoop, LoopParts, edit_loops


@dataclass(frozen=True)
class Narrow(Pass):
    """Move ``patches`` from loops that stack them to those that read them."""

    name: ClassVar[str] = "narrow"

    def run(self, graph: Graph) -> Graph:
        """The graph with thinner stacks."""
        return map_regions(graph, _narrow)


def _narrow(graph: Graph) -> Graph:
    return edit_loops(rewrite(edit_loops(graph, _stack_data), _open_behind, ("index",)), _open_inside)


def _stack_data(b: Builder, parts: LoopParts) -> AfterLoop | bool:
    """Stack what windows are made of; behind the loop they are windows over the stack."""
    windows = [s for s in parts.stacks if s.value.op.name == "patches" and s.result in parts.used]
    if not windows:
        return False
    for stack in windows:
        parts.stack_result(stack.value.inputs[0])

    def after(stacked: Mapping[Node, Node]) -> None:
        for stack in windows:
            assert stack.result is not None
            attrs = _moved(stack.value.attrs, 1)
            parts.replaced[stack.result] = b.make("patches", [stacked[stack.value.inputs[0]]], attrs)

    for stack in windows:
        parts.stacks.remove(stack)
    return after


def _open_inside(b: Builder, parts: LoopParts) -> bool:
    """Read the data of windows that a loop reads step by step, and open them in its body."""
    replaced: dict[Node, Node] = {}
    for part in list(parts.sequences):
        windows = part.outer
        if windows.op.name != "patches" or part.axis != 0 or 0 in windows.attrs["axes"]:
            continue
        data = windows.inputs[0]
        inner = parts.new_sequence(data, data.tensor.with_shape(data.shape[1:]))
        parts.sequences[-1].start, parts.sequences[-1].step = part.start, part.step
        replaced[part.inner] = parts.body.make("patches", [inner], _moved(windows.attrs, -1))
    if replaced:
        parts.substitute(replaced)
    return bool(replaced)


def _open_behind(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
    """One step's windows: those over its data."""
    (windows,) = inputs
    if windows.op.name != "patches" or node.attrs["axis"] != 0 or 0 in windows.attrs["axes"]:
        return None
    return b.make("patches", [b.make("index", windows.inputs, node.attrs)], _moved(windows.attrs, -1))


def _moved(attrs: Attrs, places: int) -> Attrs:
    """The attributes of ``patches`` over a tensor with so many axes more before those of its windows."""
    return attrs.replace(axes=tuple(axis + places for axis in attrs["axes"]))
