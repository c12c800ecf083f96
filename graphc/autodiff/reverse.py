"""Reverse mode: vector–Jacobian products as a graph.

The walk goes through the forward nodes in reverse creation order (Griewank and Walther, *Evaluating Derivatives*, 2008,
chapter 3), so the backward graph of an unrolled loop has the same nodes for every step, in the same order, and ``roll``
finds it.  For the same reason a value that many steps read collects its cotangents as one running sum, and pieces of
one tensor (``x[t]`` for every t) are put back together by one ``stack`` or ``concat`` instead of a sum of T arrays that
are zero almost everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.autodiff.recorded import reverse_rule
from graphc.clock import timed
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.node import Node, Note
from graphc.ir.notes import NoteContext
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType, TupleType
from graphc.ops.pieces import Piece, assemble


def zeros(b: Builder, type_: TensorType) -> Node:
    """A tensor of zeros: a scalar constant, broadcast."""
    zero = b.constant(0, type_.dtype)
    return zero if not type_.shape else b.op("broadcast_to", zero, shape=type_.shape)


def ones(b: Builder, type_: TensorType) -> Node:
    """A tensor of ones."""
    one = b.constant(1, type_.dtype)
    return one if not type_.shape else b.op("broadcast_to", one, shape=type_.shape)


def active_nodes(order: Sequence[Node], wrt: Sequence[Node]) -> set[Node]:
    """The nodes of ``order`` that a differentiable path connects to ``wrt``."""
    active: set[Node] = set(wrt)
    for node in order:
        if (
            not active.isdisjoint(node.inputs)
            and node not in active
            and node.op.differentiable
            and _carries_derivative(node)
        ):
            active.add(node)
    return active


def _carries_derivative(node: Node) -> bool:
    type_ = node.type
    if isinstance(type_, TupleType):
        return any(element.dtype.is_float for element in type_.elements)
    return type_.dtype.is_float


@timed("differentiate")
def vjp(
    b: Builder,
    outputs: Sequence[Node],
    cotangents: Sequence[Node | None],
    wrt: Sequence[Node],
    order: Sequence[Node] | None = None,
) -> list[Node]:
    """The cotangents of ``wrt`` for given cotangents of ``outputs``: vᵀ·J.

    Args:
        b: the builder that holds the graph; derivative nodes are made in it.
        outputs: floating-point nodes.
        cotangents: one an output, of its type; None stands for zero.
        wrt: floating-point nodes.
        order: what ``creation_order`` gives for ``outputs``, where the caller knows it.

    Returns:
        One node for each of ``wrt``, of its type; zeros where the outputs do not depend on it.
    """
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and cotangent.type is not output.type:
            raise GraphcValueError("E211", f"the cotangent has type {cotangent.type!r}, its output {output.type!r}")
    for node in wrt:
        if not node.dtype.is_float:
            raise GraphcTypeError(
                "E225",
                f"cannot differentiate with respect to a tensor of {node.dtype}",
                hint="cast it to a float dtype first",
            )
    order = creation_order(outputs) if order is None else order
    walk = _Walk(b, active_nodes(order, wrt))
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in walk.active:
            walk.add(output, cotangent)
    before = b.context
    try:
        walk.back(order, set(wrt))
    finally:
        b.context = before
    return [found if (found := walk.total(node)) is not None else zeros(b, node.tensor) for node in wrt]


class _Walk:
    """One walk from outputs back to what they depend on.

    Attributes:
        active: nodes that get a cotangent, and nodes with several results whose results get one.
    """

    def __init__(self, b: Builder, active: set[Node]) -> None:
        self.b = b
        self.active = active
        self._sums: dict[Node, Node] = {}
        self._pieces: dict[Node, list[Piece]] = {}
        self._tuples: dict[Node, dict[int, Node]] = {}
        self._contexts: dict[int, tuple[Note, NoteContext]] = {}

    def add(self, node: Node, cotangent: Node) -> None:
        """Add to the cotangent of ``node``."""
        before = self._sums.get(node)
        self._sums[node] = cotangent if before is None else self.b.op("add", before, cotangent)

    def total(self, node: Node) -> Node | None:
        """What has reached ``node``, pieces put together; None for nothing."""
        pieces = self._pieces.pop(node, None)
        if pieces is not None:
            for assembled in assemble(self.b, pieces, node.tensor):
                self.add(node, assembled)
        return self._sums.get(node)

    def back(self, order: Sequence[Node], wanted: set[Node]) -> None:
        """Give every active node its cotangent, readers first; those of ``wanted`` are kept."""
        active = self.active
        for node in reversed(order):
            if node not in active:
                continue
            self._enter(node)
            if isinstance(node.type, TupleType):
                parts = self._tuples.pop(node, None)
                if parts:
                    self._spread_results(node, [parts.get(index) for index in range(len(node.type.elements))])
                continue
            cotangent = self.total(node)
            if cotangent is None:
                continue
            if node not in wanted:
                # (A node asked for may also lie on the way to another.)
                del self._sums[node]
            if node.op.name == "result":
                self._tuples.setdefault(node.inputs[0], {})[node.attrs["index"]] = cotangent
                active.add(node.inputs[0])
            else:
                self._spread(node, cotangent)

    def _enter(self, node: Node) -> None:
        """What is made from here on belongs to the line and layer of ``node``."""
        note = self.b.note(node)
        # Notes are shared by the nodes of a line.  (The note is held, so that its id stays its own.)
        known = self._contexts.get(id(note))
        if known is None:
            known = self._contexts[id(note)] = (note, NoteContext.of(note, "backward"))
        self.b.context = known[1]

    def _spread(self, node: Node, cotangent: Node) -> None:
        """Pass a node's cotangent on to its active inputs."""
        active, inputs = self.active, node.inputs
        if node.op.vjp is None or active.isdisjoint(inputs):
            return
        if node.op.name in ("index", "slice"):
            # Held back as a piece until all pieces of the input are known.
            self._pieces.setdefault(inputs[0], []).append((node, cotangent))
            return
        found = reverse_rule(self.b, node, cotangent, [operand in active for operand in inputs])
        for operand, value in zip(inputs, found, strict=True):
            if value is not None:
                self.add(operand, value)

    def _spread_results(self, node: Node, cotangents: Sequence[Node | None]) -> None:
        if node.op.vjp is None:
            return
        for operand, cotangent in zip(node.inputs, node.op.vjp(self.b, node, cotangents), strict=True):
            if cotangent is not None and operand in self.active:
                self.add(operand, cotangent)


def gradient(b: Builder, output: Node, wrt: Sequence[Node], order: Sequence[Node] | None = None) -> list[Node]:
    """∂output/∂wrt for a scalar floating-point ``output``.

    Args:
        b: the builder that holds the graph.
        output: what is differentiated.
        wrt: floating-point nodes.
        order: what ``creation_order`` gives for ``output``, where the caller knows it.

    Raises:
        GraphcValueError: ``output`` is not a scalar (E225).
        GraphcTypeError: ``output`` is not floating-point, or no differentiable op leads to it (E225).
    """
    if output.rank != 0:
        raise GraphcValueError(
            "E225",
            f"a gradient needs a scalar, got shape {output.shape}",
            hint="reduce it first, e.g. with .sum() or .mean(), or use vjp",
        )
    if not output.dtype.is_float:
        raise GraphcTypeError(
            "E225",
            f"cannot differentiate a result of dtype {output.dtype}",
            hint="cast it to a float dtype, or differentiate before the comparison",
        )
    return vjp(b, [output], [ones(b, output.tensor)], wrt, order)
