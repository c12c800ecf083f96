"""Which update kernels may run where they stand, and not at the end of a call.

A call that fails because of an index leaves all state as it was, so the first write to any state comes after the last
check of an index.  And whoever reads the old value of a state variable comes before the kernel that overwrites it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.kernel.destinations import aliased, last_reads
from graphc.kernel.views import VIEW_OPS

_CHECKED = frozenset({"take", "take_along_axis", "scatter_add", "scatter_add_along_axis"})
"""Ops whose second operand holds indices that are checked."""


def early_updates(graph: Graph, late: Mapping[Node, Sequence[tuple[Node, Node]]]) -> set[Node]:
    """The update kernels that may run where they stand: after all checks and all other readers of what they overwrite.

    Args:
        graph: the entry point.
        late: for each update kernel the state variables that it gives new values, each with that value.
    """
    if not late:
        return set()
    checks_end = _last_check(graph, late)
    variables = [variable for pairs in late.values() for variable, _ in pairs]
    last = last_reads(graph.nodes, variables, graph.roots)
    shown = _shown_by_regions(graph)
    early: set[Node] = set()
    read_at_the_end: set[Node] = set()
    for position, node in enumerate(graph.nodes):
        if node not in late:
            continue
        own = {variable for variable, _ in late[node]}
        if position > checks_end and own.isdisjoint(read_at_the_end | shown) and all(last[v] <= position for v in own):
            early.add(node)
        else:
            read_at_the_end.update(_origin(operand) for operand in node.inputs)
    return early


def _shown_by_regions(graph: Graph) -> set[Node]:
    """What a region may give back as a view: its results lie wherever that does."""
    found: set[Node] = set()
    for node in graph.nodes:
        if node.op.name == "fused" and any(
            out.op.name in ("input", *VIEW_OPS) for out in node.attrs["body"].output_nodes
        ):
            found.update(_origin(operand) for operand in node.inputs)
    return found


def _last_check(graph: Graph, late: Mapping[Node, object]) -> int:
    """The position of the last node that may check an index which no node before it has checked."""
    last = -1
    checked: set[tuple[Node, int]] = set()
    for position, node in enumerate(graph.nodes):
        if node.op.name in _CHECKED:
            check = node.inputs[1], node.inputs[0].tensor.static_shape[node.attrs["axis"]]
            if check not in checked:
                last = len(graph.nodes) if node in late else max(last, position)
                checked.add(check)
        elif not node.attrs.is_light and any(inner.op.name in _CHECKED for inner in _inner_nodes(node)):
            last = max(last, position)
    return last


def _inner_nodes(region: Node) -> Iterator[Node]:
    """The nodes of a region's bodies, and of those in them."""
    pending = [value for value in region.attrs.values() if isinstance(value, Graph)]
    while pending:
        for node in pending.pop().nodes:
            yield node
            if not node.attrs.is_light:
                pending += [value for value in node.attrs.values() if isinstance(value, Graph)]


def _origin(node: Node) -> Node:
    """The node whose memory the value of ``node`` may be."""
    while (source := aliased(node)) is not None:
        node = source
    return node
