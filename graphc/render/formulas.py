"""Turns the nodes of a graph into sympy expressions, a line for each value that deserves a name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import users
from graphc.render.label import attribute_lines, clipped, shape_text
from graphc.render.terms import latex_name, product_of, term

if TYPE_CHECKING:
    import sympy

_LONGEST = 7
"""Operations in one formula."""

_BRIEF = frozenset({"transpose", "negative", "broadcast_to", "index", "slice"})
"""Ops that are written again at each use: a name would be longer."""
_SILENT = frozenset({"cast", "stop_gradient"})
_SUMMED = frozenset({"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"})


class Formulas:
    """The formulas of a graph.

    Args:
        graph: without regions.
        derived: output that is a derivative → name of what is differentiated (empty for a cotangent), and the node
            with respect to which.
        bars: input that stands for a cotangent → the value it belongs to.
    """

    def __init__(self, graph: Graph, derived: Mapping[str, tuple[str, Node]], bars: Mapping[Node, Node]) -> None:
        self.graph = graph
        self.bars = bars
        self.lines: list[tuple[Node, sympy.Expr, sympy.Expr]] = []
        self.latex_names: dict[Any, str] = {}
        self._taken: dict[str, int] = {}
        self._values: dict[Node, Any] = {}
        self._sizes: dict[Node, int] = {}
        self._plain: dict[Node, str] = {}
        self._readers = users(graph.nodes)
        self._count = 0
        self._labels: dict[Node, str] = {}
        for name, node in graph.outputs:
            if name not in derived:
                self._labels.setdefault(node, name)
        for name, node in graph.outputs:
            # Inputs keep their own names.
            if name not in derived and not node.inputs:
                self._labels.pop(node, None)
        for node in graph.nodes:
            self._add(node)
        for name, node in graph.outputs:
            self._add_result(name, node, derived)
        for variable, node in graph.updates:
            self.lines.append((node, term("function", "new", self._values[variable]), self._values[node]))

    def plain_name(self, node: Node) -> str:
        """The name of an input or a state variable."""
        return self._plain[node]

    def _add_result(self, name: str, node: Node, derived: Mapping[str, tuple[str, Node]]) -> None:
        if name in derived:
            of, wrt = derived[name]
            variable = self._symbol_of(wrt)
            left = term("partial", "", self._named(of, 0), variable) if of else term("bar", "", variable)
            self.lines.append((node, left, self._values[node]))
        elif self._labels.get(node) != name:
            self.lines.append((node, self._symbol(name, node.rank), self._values[node]))

    # -- names -------------------------------------------------------------------------------------------------------

    def _symbol(self, name: str, rank: int) -> Any:
        import sympy

        count = self._taken[name] = self._taken.get(name, 0) + 1
        unique = name if count == 1 else f"{name}'{count}"
        made = sympy.Symbol(unique, commutative=rank == 0)
        self.latex_names[made] = latex_name(name) + ("'" * (count - 1))
        return made

    def _named(self, name: str, rank: int) -> Any:
        """The symbol of an output, as it stands on the left of its own formula."""
        import sympy

        made = sympy.Symbol(name, commutative=rank == 0)
        self.latex_names.setdefault(made, latex_name(name))
        return made

    def _symbol_of(self, source: Node) -> Any:
        """The symbol of an input or state variable; one that a derivative does not need may be gone from the graph."""
        for node, value in self._values.items():
            same = node is source or (node.op is source.op and node.attrs.key == source.attrs.key)
            if same and not node.inputs:
                return value
        return self._symbol(_source_name(source), source.rank)

    # -- nodes -------------------------------------------------------------------------------------------------------

    def _add(self, node: Node) -> None:
        if node.op.name in ("input", "state"):
            if node in self.bars:
                self._values[node] = term("bar", "", self._value_of_bar(node))
            else:
                self._plain[node] = clipped(_source_name(node), 60)
                self._values[node] = self._symbol(_source_name(node), node.rank)
            self._sizes[node] = 0
            return
        expression = self._expression(node, [self._values[operand] for operand in node.inputs])
        is_operation = node.op.kind is not OpKind.SOURCE and node.op.name not in _SILENT and not self._is_implied(node)
        size = sum(self._sizes[operand] for operand in node.inputs) + is_operation
        label = self._labels.get(node)
        is_short = size <= _LONGEST and (len(self._readers[node]) < 2 or node.op.name in _BRIEF)
        if label is None and (is_short or not is_operation):
            self._values[node], self._sizes[node] = expression, size
            return
        symbol = self._symbol(label or self.graph.note(node).name or self._next_name(), node.rank)
        self.lines.append((node, symbol, expression))
        self._values[node], self._sizes[node] = symbol, 0

    def _next_name(self) -> str:
        self._count += 1
        return f"z_{self._count}"

    def _is_implied(self, node: Node) -> bool:
        """Is a broadcast understood unwritten?  Only where each reader has another operand of the full shape."""
        if node.op.name != "broadcast_to" or not self._readers[node]:
            return False
        return all(
            reader.op.kind is OpKind.POINTWISE
            and any(other.op.name != "broadcast_to" and other.type is reader.type for other in reader.inputs)
            for reader in self._readers[node]
        )

    def _value_of_bar(self, node: Node) -> Any:
        label = node.attrs["name"].removeprefix("bar ")
        return self._named(label, node.rank)

    def _expression(self, node: Node, operands: Sequence[Any]) -> Any:
        import sympy

        match node.op.name:
            case "constant":
                return self._constant(node)
            case name if name in _SILENT:
                return operands[0]
            case "broadcast_to":
                if self._is_implied(node):
                    return operands[0]
                return term("function", f"broadcast|{shape_text(node.shape)}", operands[0])
            case "add":
                return sympy.Add(*operands)
            case "subtract":
                return sympy.Add(operands[0], sympy.Mul(-1, operands[1]))
            case "negative":
                return sympy.Mul(-1, operands[0])
            case "multiply":
                return product_of(operands)
            case "square":
                return term("power", "", operands[0], sympy.Integer(2)) if node.rank else operands[0] ** 2
            case "pow":
                return term("power", "", *operands) if node.rank else operands[0] ** operands[1]
            case "divide":
                if operands[1].is_commutative:
                    return sympy.Mul(sympy.Pow(operands[1], -1), operands[0])
                return term("quotient", "", *operands)
            case "reciprocal":
                return term("quotient", "", sympy.Integer(1), operands[0])
            case "matmul":
                return sympy.Mul(*operands)
            case "transpose":
                return self._transposed(node, operands[0])
            case "reshape" if _squeezed(node.shape) == _squeezed(node.inputs[0].shape):
                return operands[0]
            case "index" | "slice":
                return term("part", attribute_lines(node)[0].strip("[]"), operands[0])
            case name if name in _SUMMED:
                whole = len(node.attrs["axes"]) == node.inputs[0].rank
                return term(
                    "function", name if whole else f"{name}|{','.join(map(str, node.attrs['axes']))}", operands[0]
                )
            case name:
                return term("function", clipped(name, 40), *operands)

    def _constant(self, node: Node) -> Any:
        import sympy

        value = node.attrs["value"]
        if not value.is_uniform:
            return self._symbol("C", node.rank)
        number = value.scalar()
        if isinstance(number, bool):
            return sympy.Integer(int(number))
        if isinstance(number, int) or (math.isfinite(number) and abs(number) < 1e15 and number == int(number)):
            return sympy.Integer(int(number))
        return sympy.Float(f"{number:.6g}", 6)

    def _transposed(self, node: Node, operand: Any) -> Any:
        permutation = node.attrs["permutation"]
        rank = len(permutation)
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        if rank >= 2 and permutation == swapped:
            return term("transpose", "", operand)
        return term("function", f"transpose|{','.join(map(str, permutation))}", operand)


def _squeezed(shape: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dim for dim in shape if dim != 1)


def _source_name(node: Node) -> str:
    name: str = node.attrs["state"].name if node.op.name == "state" else node.attrs["name"]
    return name
