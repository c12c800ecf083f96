"""Destination passing: a value is computed right where its reader wants it.

An output, a slot of a stacked result, a carry, or the region of a ``stack``, ``concat`` or ``pad`` is a
*destination*; so is a scatter's result, for what it is added to and nobody else reads.  Requests are collected before
anything is lowered, from readers to producers; the memory behind them is claimed when the first producer is lowered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.kernel.emit import Emitter
from graphc.kernel.views import INVERTIBLE_VIEW_OPS, VIEW_OPS, View, indexed, sliced, unmoved
from graphc.ops.indexing import SCATTERS

FREE = -1
"""A destination whose memory holds nothing that anybody reads."""


@dataclass(frozen=True, slots=True)
class Root:
    """Memory that was there before: where a value ends up.

    Attributes:
        view: the memory.
        last_read: position of the last node that reads what lies there now.
    """

    view: View
    last_read: int = FREE


@dataclass(frozen=True, slots=True)
class Claim:
    """Memory for a result.

    Attributes:
        view: the memory.
        guarded: the node being lowered may itself be reading what lies there: its writer must make sure that it can.
    """

    view: View
    guarded: bool = False


class Destinations:
    """The requests of one region."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._roots: dict[Node, Root] = {}
        self._parents: dict[Node, tuple[Node, int]] = {}
        self._settled: dict[Node, View] = {}

    def request(self, node: Node, root: Root) -> None:
        """``node`` is wanted at ``root``, unless it is wanted elsewhere already."""
        self._roots.setdefault(node, root)

    def plan(self, nodes: Sequence[Node], outputs: Sequence[Node], updated: Sequence[Node] = ()) -> None:
        """Pass the requests on from readers to producers.

        Args:
            nodes: of the region.
            outputs: what of them is read behind the region.
            updated: new values of state variables.
        """
        shown = {*outputs, *updated}
        readers = Counter(operand for node in nodes for operand in node.inputs)
        for node in reversed(nodes):
            name = node.op.name
            if name in ("stack", "concat"):
                wanted: Sequence[Node] = node.inputs
            elif name in SCATTERS and node not in updated:
                # What is added to is computed where the sums will be, if nobody else reads it: neither itself nor what
                # it may share memory with. (An update is written over the state's old value.)
                base = node.inputs[0]
                wanted = (base,) if readers[base] == 1 and base not in shown and _is_computed(base) else ()
            elif name == "pad" or (
                name in INVERTIBLE_VIEW_OPS and (self._is_wanted(node) or _is_rearranged(node, readers))
            ):
                wanted = node.inputs[:1]
            else:
                continue
            for position, operand in enumerate(wanted):
                if not self._is_wanted(operand):
                    self._parents[operand] = (node, position)
        for node in nodes:
            if _is_turned(node) and not self._is_wanted(node.inputs[0]):
                self._parents[node.inputs[0]] = (node, 0)
                self._want_operand(node.inputs[0])

    def _want_operand(self, node: Node) -> None:
        """Pass a request on through views."""
        while node.op.name in INVERTIBLE_VIEW_OPS and not self._is_wanted(node.inputs[0]):
            self._parents[node.inputs[0]] = (node, 0)
            (node,) = node.inputs

    def _is_wanted(self, node: Node) -> bool:
        return node in self._roots or node in self._parents

    def claim(self, node: Node, position: int) -> Claim:
        """Memory for ``node`` at ``position``: where it is wanted, if that is free by now, or a temporary."""
        settled = self._settled.get(node)
        if settled is not None:
            return Claim(settled)
        chain: list[tuple[Node, int]] = []
        top = node
        while top not in self._settled and top not in self._roots and top in self._parents:
            parent, operand = self._parents[top]
            chain.append((top, operand))
            top = parent
        view = self._settled.get(top)
        if view is None:
            root = self._roots.get(top)
            if root is not None and root.last_read == position and not chain:
                return Claim(root.view, guarded=True)
            is_free = root is not None and root.last_read < position
            view = root.view if root is not None and is_free else self._temporary(top)
            self._settled[top] = view
        for child, operand in reversed(chain):
            region = region_of(self._parents[child][0], operand, view)
            view = self._temporary(child) if region is None else region
            self._settled[child] = view
        return Claim(view)

    def settle(self, node: Node, view: View) -> View:
        """Decide a guarded claim."""
        self._settled[node] = view
        return view

    def evade(self, node: Node) -> View:
        """Decide a guarded claim by taking other memory."""
        return self.settle(node, self._temporary(node))

    def _temporary(self, node: Node) -> View:
        return self._emitter.temporary(node.op.name, node.dtype, node.tensor.static_shape)


def _is_computed(node: Node) -> bool:
    """Is it a kernel's result, in memory of its own?"""
    if node.op.name == "result":
        (node,) = node.inputs
    return node.op.name == "fused" or node.op.kind in (OpKind.POINTWISE, OpKind.REDUCTION, OpKind.CONTRACTION)


def _is_rearranged(node: Node, readers: Mapping[Node, int]) -> bool:
    """A reshape that is no view of what it reshapes, since axes were exchanged: whoever computes that may write it in
    the new order at once.

    Rows must stay rows, or it would be written from one line of the cache to the next; and nobody else may read it.
    """
    if node.op.name != "reshape" or node.inputs[0].op.name != "transpose":
        return False
    exchanged = node.inputs[0]
    source = exchanged.inputs[0]
    permutation = exchanged.attrs["permutation"]
    is_computed = source.op.name not in (*VIEW_OPS, "input", "state", "constant")
    return is_computed and readers[source] == 1 and permutation[-1] == len(permutation) - 1


def region_of(parent: Node, operand: int, view: View) -> View | None:
    """Where operand number ``operand`` of ``parent`` lies if the parent lies at ``view``; None if nowhere."""
    attrs = parent.attrs
    match parent.op.name:
        case "stack":
            return indexed(view, attrs["axis"], operand)
        case "concat":
            axis = attrs["axis"]
            starts = [0] * len(view.shape)
            starts[axis] = sum(before.shape[axis] for before in parent.inputs[:operand])
            return sliced(view, starts, parent.inputs[operand].tensor.static_shape)
        case "pad":
            return sliced(view, attrs["low"], parent.inputs[0].tensor.static_shape)
        case "scatter_add" | "scatter_add_along_axis":
            return view
        case _:
            return unmoved(parent, view)


def last_reads(nodes: Sequence[Node], carries: Sequence[Node], outputs: Sequence[Node]) -> Mapping[Node, int]:
    """For each carry the position of the last node that may read its old value, through any view of it.

    Outputs are read after everything else.
    """
    aliases: dict[Node, tuple[Node, ...]] = {carry: (carry,) for carry in carries}
    last = dict.fromkeys(carries, FREE)
    for position, node in enumerate(nodes):
        for operand in node.inputs:
            for carry in aliases.get(operand, ()):
                last[carry] = position
        source = aliased(node)
        if source is not None and source in aliases:
            aliases[node] = aliases[source]
    for node in outputs:
        for carry in aliases.get(node, ()):
            last[carry] = len(nodes)
    return last


def _is_turned(node: Node) -> bool:
    """A reshape of what is flipped is a copy, unless that is written from its end."""
    return node.op.name == "reshape" and node.inputs[0].op.name == "flip"


def aliased(node: Node) -> Node | None:
    """The node whose memory the value of ``node`` may be."""
    if node.op.name in VIEW_OPS:
        return node.inputs[0]
    if node.op.name == "result" and node.inputs[0].op.name == "loop":
        loop, index = node.inputs[0], node.attrs["index"]
        # A carry that the body leaves alone is its own initial value.
        return loop.inputs[index] if index < loop.attrs["carries"] else None
    return None
