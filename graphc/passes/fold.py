"""fold: what depends on constants only is computed now, by the reference evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_node
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, get_op
from graphc.ir.types import TensorType
from graphc.passes.base import Pass, rewrite_with_regions

_FOLDED_KINDS = frozenset({OpKind.POINTWISE, OpKind.REDUCTION, OpKind.MOVEMENT, OpKind.CONTRACTION, OpKind.SCAN})


@dataclass(frozen=True)
class Fold(Pass):
    """Fold nodes whose inputs are all constants.

    Attributes:
        limit: elements up to which a result may be larger than its largest input.  ``broadcast_to`` of a scalar, say,
            costs nothing as an op and would cost memory as a constant.
        work_limit: elements of inputs times result above which folding could take noticeable time.
    """

    name: ClassVar[str] = "fold"
    limit: int = 64
    work_limit: int = 1 << 24

    def run(self, graph: Graph) -> Graph:
        """The graph with constant subexpressions evaluated."""
        constant = get_op("constant")
        return rewrite_with_regions(graph, lambda b, node, inputs: self._fold(b, node, inputs, constant))

    def _fold(self, b: Builder, node: Node, inputs: Sequence[Node], constant: OpDef) -> Node | None:
        for operand in inputs:
            if operand.op is not constant:
                return None
        if (
            # (A broadcast costs nothing as an op, and memory as a constant.)
            node.op.name == "broadcast_to"
            or node.op.kind not in _FOLDED_KINDS
            or not inputs
            or not isinstance(node.type, TensorType)
            or not node.type.is_static
        ):
            return None
        largest = max(operand.tensor.static_size for operand in inputs)
        size = node.type.static_size
        if size > max(largest, self.limit) or size * largest > self.work_limit:
            return None
        moved = Node(node.op, tuple(inputs), node.attrs, node.type, node.serial)
        value = evaluate_node(moved, [operand.attrs["value"].carrier for operand in inputs])
        return b.make("constant", (), {"value": ArrayValue.from_carrier(value, node.type.dtype)})
