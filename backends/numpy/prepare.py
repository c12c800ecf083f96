"""A graph in the form that reads well as NumPy: no kernels, no composites, nothing that broadcasting does by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from graphc.backends.numpy.lowering.table import RULES, STRUCTURAL
from graphc.errors import UnsupportedOp
from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import RecordingBuilder, inline, rebuilt, rewrite
from graphc.ops.shapes import broadcast_shapes

_INTEGER_IDENTITIES = frozenset({"floor", "ceil", "trunc", "round"})
_REDUCTIONS = frozenset({"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"})


def prepare(graph: Graph) -> Graph:
    """``graph``, and the bodies of its loops, with kernels inlined, composites decomposed and idle ops taken out.

    Loops nest as deep as a user's Python nests, so recursion over bodies is bounded; nothing recurses over nodes.

    Raises:
        UnsupportedOp: an op has neither a rule here nor a decomposition (E333).
    """
    return _without_idle_ops(_decomposed(_without_kernels(graph)))


def _without_kernels(graph: Graph) -> Graph:
    if not any(node.op.name == "fused" for node in graph.nodes):
        return graph
    b = RecordingBuilder(graph)
    table: dict[Node, Node] = {}
    results: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if node.op.name == "fused":
            inlined = inline(b, node.attrs["body"], [table[operand] for operand in node.inputs])
            results[node] = inlined
            table[node] = inlined[0]
        elif node.op.name == "result" and node.inputs[0] in results:
            table[node] = results[node.inputs[0]][node.attrs["index"]]
        else:
            operands = [table[operand] for operand in node.inputs]
            unchanged = all(new is old for new, old in zip(operands, node.inputs, strict=True))
            table[node] = node if unchanged else b.make(node.op, operands, node.attrs)
            b.place(table[node])
            b.set_note(table[node], graph.notes.get(node, NO_NOTE))
    return rebuilt(graph, table, b)


def _decomposed(graph: Graph) -> Graph:
    while True:
        changed = rewrite(graph, _decompose)
        if changed is graph:
            return graph
        # A decomposition may be made of composites again.
        graph = changed


def _decompose(b: Builder, node: Node, operands: Sequence[Node]) -> Node | None:
    if node.op.name in RULES or node.op.name in STRUCTURAL:
        return None
    if node.op.decompose is None:
        raise UnsupportedOp("E333", f"the NumPy backend has no rule for {node.op.name}")
    # The rule reads types from a node that stands on the rewritten operands.
    rewritten = Node(node.op, tuple(operands), node.attrs, node.type, node.serial)
    return node.op.decompose(b, rewritten, operands)


def _without_idle_ops(graph: Graph) -> Graph:
    uses = Counter(operand for node in graph.nodes for operand in node.inputs)
    uses.update(graph.roots)
    return rewrite(graph, lambda b, node, operands: _simpler(b, node, operands, uses))


def _simpler(b: Builder, node: Node, operands: Sequence[Node], uses: Mapping[Node, int]) -> Node | None:
    match node.op.name:
        case "loop":
            body = node.attrs["body"]
            prepared = prepare(body)
            return None if prepared is body else b.make(node.op, operands, node.attrs.replace(body=prepared))
        case "constant" if node.rank and node.attrs["value"].is_uniform:
            return b.op("broadcast_to", b.constant(_scalar(node.attrs["value"]), node.dtype), shape=node.shape)
        case "stop_gradient":
            return operands[0]
        case "cast" | "reshape" | "broadcast_to" if operands[0].type is node.type:
            return operands[0]
        case name if name in _INTEGER_IDENTITIES and node.dtype.is_integer:
            return operands[0]
        case "reshape" if uses[node.inputs[0]] == 1:
            return _keeping_dims(b, node, operands[0])
        case _ if node.op.kind is OpKind.POINTWISE:
            return _broadcasting(b, node, operands)
    return None


def _scalar(value: ArrayValue) -> ArrayValue:
    """The one value of a uniform constant, with its bits."""
    return ArrayValue(value.array.reshape(-1)[0], value.type.dtype)


def _keeping_dims(b: Builder, node: Node, x: Node) -> Node | None:
    """A reduction whose dropped axes come back as ones keeps them from the start."""
    if x.op.name not in _REDUCTIONS or x.attrs["keepdims"]:
        return None
    axes = x.attrs["axes"]
    kept = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.inputs[0].shape))
    return b.make(x.op, x.inputs, x.attrs.replace(keepdims=True)) if axes and kept == node.shape else None


def _broadcasting(b: Builder, node: Node, operands: Sequence[Node]) -> Node | None:
    """Operands that are repeated to a shape stay as they are where the others have that shape anyway."""
    current = list(operands)
    for position, operand in enumerate(current):
        if operand.op.name != "broadcast_to":
            continue
        trial = [*current[:position], operand.inputs[0], *current[position + 1 :]]
        if broadcast_shapes([other.shape for other in trial]) == node.shape:
            current = trial
    return b.make(node.op, current, node.attrs) if current != list(operands) else None
