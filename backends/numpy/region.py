"""Writing a region: one statement for each node that is not part of another's expression, and ``for`` for loops."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence

from graphc.backends.numpy.code import Block, Comment, Item
from graphc.backends.numpy.literals import dtype_expression, typed_scalar, weak_scalar
from graphc.backends.numpy.lowering.movement import element, is_filled
from graphc.backends.numpy.lowering.pointwise import operands_of, ufunc_of, update_in_place
from graphc.backends.numpy.lowering.table import RULES
from graphc.backends.numpy.module import ModuleScope
from graphc.backends.numpy.names import NamePool, identifier
from graphc.backends.numpy.plan import LoopPlan, RegionPlan, Variable
from graphc.backends.numpy.syntax import (
    assign,
    assign_to,
    binary,
    call,
    literal,
    numpy,
    store_into,
    tuple_of,
    variable,
)
from graphc.backends.numpy.wording import base_name, carry_hint, describe, hints_of, plural
from graphc.ir.dim import Dim
from graphc.ir.node import Node, Note
from graphc.ir.op import OpKind
from graphc.ir.types import int64

_INT64 = dtype_expression(int64)


class RegionWriter:
    """Writes the nodes of a function, region by region; the scope that lowering rules read operands from.

    Attributes:
        items: the statements so far, of the block being written.
        pool: names of the function.
        symbols: the variable that holds each symbolic dimension.
        symbols_read: those of them that the code reads.
    """

    def __init__(self, module: ModuleScope, pool: NamePool, symbols: Mapping[str, str]) -> None:
        self.module = module
        self.pool = pool
        self.symbols = symbols
        self.symbols_read: dict[str, None] = {}
        self.items: list[Item] = []
        self._values: dict[Node, ast.expr] = {}
        self._numbers: dict[Node, Node] = {}
        self._vacancies: Mapping[Variable, Sequence[tuple[str, Variable]]] = {}
        self._counters: dict[Node, str] = {}
        self._counters_read: set[str] = set()
        self._comment: str | None = None

    # -- the scope of lowering rules --------------------------------------------------------------------------------

    def value(self, node: Node) -> ast.expr:
        """The value of ``node``; a scalar constant carries its dtype."""
        node = self._numbers.get(node, node)
        found = self._values.get(node)
        if found is not None:
            return found
        if node in self._counters:
            return call(_INT64, self._count(self._counters[node]))
        if node.op.name == "constant":
            held = node.attrs["value"]
            return typed_scalar(held) if node.rank == 0 else variable(self.module.constant(held))
        raise KeyError(node)

    def weak(self, node: Node) -> ast.expr:
        """The same, but a scalar constant or loop counter is a plain Python number."""
        node = self._numbers.get(node, node)
        if not self.is_number(node):
            return self.value(node)
        return self._count(self._counters[node]) if node in self._counters else weak_scalar(node.attrs["value"])

    def is_number(self, node: Node) -> bool:
        """True where ``weak`` gives something that is a Python number at run time."""
        node = self._numbers.get(node, node)
        return node in self._counters or (node.op.name == "constant" and node.rank == 0)

    def helper(self, name: str) -> ast.expr:
        """A helper function."""
        return self.module.helper(name)

    def dim(self, dim: Dim) -> ast.expr:
        """A dimension as an integer, or as an expression in the sizes of the arguments."""
        if isinstance(dim, int):
            return literal(dim)
        total: ast.expr | None = None
        for monomial, factor in dim.terms:
            term: ast.expr | None = None if abs(factor) == 1 and monomial else literal(abs(factor))
            for name, power in monomial:
                for _ in range(power):
                    symbol = self._symbol(name)
                    term = symbol if term is None else binary(term, ast.Mult(), symbol)
            assert term is not None
            if total is None:
                total = term if factor > 0 else ast.UnaryOp(ast.USub(), term)
            else:
                total = binary(total, ast.Add() if factor > 0 else ast.Sub(), term)
        assert total is not None
        return total

    def _symbol(self, name: str) -> ast.expr:
        self.symbols_read[name] = None
        return variable(self.symbols[name])

    def _count(self, counter: str) -> ast.expr:
        self._counters_read.add(counter)
        return variable(counter)

    # -- statements --------------------------------------------------------------------------------------------------

    def bind(self, node: Node, value: ast.expr) -> None:
        """Say what expression holds ``node``."""
        self._values[node] = value

    def name_variable(self, held: Variable, base: str) -> str:
        """Give a variable a name like ``base``."""
        held.name = self.pool.take(identifier(base))
        return held.name

    def remark(self, note: Note) -> None:
        """A comment that names the user's line and the layer, where they are not those of the statement before."""
        text = describe(note)
        if text and text != self._comment:
            self.items.append(Comment(text))
            self._comment = text

    def write(
        self, plan: RegionPlan, hints: Mapping[Variable, str], stacked: Mapping[Node, Sequence[ast.expr]]
    ) -> None:
        """Write the nodes of a region.

        Args:
            plan: of the region.
            hints: names that variables should have.
            stacked: node → the places (``stack[t]``) that its value is also written to.
        """
        for position, node in enumerate(plan.graph.nodes):
            note = plan.graph.note(node)
            if node.op.name == "loop":
                self._write_loop(plan, node, hints, note)
            elif node.op.name == "result":
                self.bind(node, variable(plan.variables[node].name))
            elif node.op.kind is not OpKind.SOURCE or node.op.name in RULES:
                self._write_node(plan, position, node, hints, note, len(stacked.get(node, ())) == 1)
            for place in stacked.get(node, ()):
                self.remark(note)
                assert isinstance(place, ast.Subscript)
                self.items.append(store_into(place.value, place.slice, self.weak(node)))
            self._expire(plan, position)

    def _expire(self, plan: RegionPlan, position: int) -> None:
        for held in plan.expiring.get(position, ()):
            if held.name and not held.expired:
                held.expired = True
                if not held.lent:
                    self.pool.release(held.name)

    def _write_node(
        self, plan: RegionPlan, position: int, node: Node, hints: Mapping[Variable, str], note: Note, stacked: bool
    ) -> None:
        if node in plan.inlined:
            self.bind(node, RULES[node.op.name](self, node))
            return
        held = plan.variables[node]
        if stacked and held.last == position:
            # Nobody but the stack wants it: no name is needed.
            self.bind(node, RULES[node.op.name](self, node))
            return
        place = plan.reused.get(node)
        if place is not None:
            function = ufunc_of(node)
            assert function is not None
            self.remark(note)
            self.items.append(update_in_place(node, function, operands_of(self, node), place))
            self.bind(node, variable(held.name))
            return
        expression = RULES[node.op.name](self, node)
        self._expire(plan, position)
        self._name(held, hints.get(held) or base_name(node, note))
        self.remark(note)
        self.items.append(assign(held.name, expression))
        self.bind(node, variable(held.name))

    def _name(self, held: Variable, base: str) -> None:
        # In a loop the next value of a carry takes the carry's name as soon as the present value is dead.
        for name, before in self._vacancies.get(held, ()):
            if before.expired:
                held.name, held.lent = name, True
                return
        self.name_variable(held, base)

    # -- loops -------------------------------------------------------------------------------------------------------

    def _write_loop(self, plan: RegionPlan, node: Node, hints: Mapping[Variable, str], note: Note) -> None:
        loop = plan.loops[node]
        body = loop.parts.body
        inner_hints = hints_of(loop.body, {})
        count = len(loop.parts.carries)
        self.remark(note)
        for index, (held, initial) in enumerate(zip(loop.carries, loop.parts.carries, strict=True)):
            if index in loop.adopted:
                continue
            self.name_variable(held, hints.get(held) or carry_hint(loop, index, inner_hints))
            start = RULES[initial.op.name](self, initial) if is_filled(initial) else self.value(initial)
            self.items.append(assign(held.name, start))
        counter = self.pool.take(identifier(body.inputs[0].attrs["name"]))
        self._counters[body.inputs[0]] = counter
        stacked: dict[Node, list[ast.expr]] = {}
        for held, value in zip(loop.stacks, body.output_nodes[count:], strict=True):
            inside = loop.body.variables.get(value)
            base = inner_hints.get(inside) if inside is not None else None
            base = base or base_name(value, body.note(value))
            self.name_variable(held, hints.get(held) or plural(base))
            shape = tuple_of(self.dim(dim) for dim in (loop.parts.trips, *value.shape))
            self.items.append(assign(held.name, call(numpy("empty"), shape, dtype_expression(value.dtype))))
            place = ast.Subscript(variable(held.name), self._count(counter), ast.Load())
            stacked.setdefault(value, []).append(place)
        outer_items, outer_vacancies = self.items, self._vacancies
        self.items = []
        self._enter_body(loop)
        self.write(loop.body, inner_hints, stacked)
        self._pass_on(loop)
        target = ast.Name(counter if counter in self._counters_read else "_", ast.Store())
        header = ast.For(target, call(variable("range"), self.dim(loop.parts.trips)), [], [], lineno=0)
        outer_items.append(Block(header, self.items))
        self.items, self._vacancies = outer_items, outer_vacancies
        self._comment = None
        self._release_body(loop)
        self.pool.release(counter)

    def _enter_body(self, loop: LoopPlan) -> None:
        """Bind the inputs of the body: carries to their variables, the rest to expressions of the outside."""
        inside, parts = loop.body.variables, loop.parts
        carry_inputs = parts.body.inputs[1 : 1 + len(parts.carries)]
        vacancies: dict[Variable, list[tuple[str, Variable]]] = {}
        for held, node, following in zip(loop.carries, carry_inputs, parts.body.output_nodes, strict=False):
            inside[node].name, inside[node].lent = held.name, True
            self.bind(node, variable(held.name))
            if following in inside and inside[following] is not inside[node]:
                vacancies.setdefault(inside[following], []).append((held.name, inside[node]))
        self._vacancies = vacancies
        rest = iter(parts.body.inputs[1 + len(parts.carries) :])
        for outer, node in zip(parts.invariants, rest, strict=False):
            if self.is_number(outer):
                self._numbers[node] = self._numbers.get(outer, outer)
            else:
                self.bind(node, self.value(outer))
        counter = self._counters[parts.body.inputs[0]]
        loop_operands = {operand for inner in loop.body.loops for operand in inner.inputs}
        uses = Counter(operand for inside_node in parts.body.nodes for operand in inside_node.inputs)
        uses.update(parts.body.output_nodes)
        for outer, (axis, start, step), node in zip(parts.sequences, parts.slices, rest, strict=True):
            value = element(self.value(outer), axis, self._position(counter, start, step))
            if uses[node] > 1 or node in loop_operands:
                base = (
                    f"{value.value.id}_{counter}"
                    if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name)
                    else "element"
                )
                self.items.append(assign(self.name_variable(inside[node], base), value))
                value = variable(inside[node].name)
            self.bind(node, value)

    def _position(self, counter: str, start: Dim, step: int) -> ast.expr:
        """``start + step * t``."""
        if step == 0:
            return self.dim(start)
        count = self._count(counter)
        if abs(step) == 1 and start == 0 and step > 0:
            return count
        scaled = count if abs(step) == 1 else binary(literal(abs(step)), ast.Mult(), count)
        if step < 0:
            return binary(self.dim(start), ast.Sub(), scaled)
        return scaled if start == 0 else binary(scaled, ast.Add(), self.dim(start))

    def _pass_on(self, loop: LoopPlan) -> None:
        """Assign the next values of the carries to their variables, all at once where one reads another."""
        pairs = []
        for held, value in zip(loop.carries, loop.parts.body.output_nodes, strict=False):
            expression = self.value(value)
            if not (isinstance(expression, ast.Name) and expression.id == held.name):
                pairs.append((held.name, expression))
        targets = {name for name, _ in pairs}
        crossing = any(
            isinstance(inner, ast.Name) and inner.id in targets
            for _, expression in pairs
            for inner in ast.walk(expression)
        )
        if crossing and len(pairs) > 1:
            left = ast.Tuple([ast.Name(name, ast.Store()) for name, _ in pairs], ast.Store())
            self.items.append(assign_to(left, tuple_of(expression for _, expression in pairs)))
            return
        self.items.extend(assign(name, expression) for name, expression in pairs)

    def _release_body(self, loop: LoopPlan) -> None:
        """The names of the body's own variables are free after the loop."""
        for held in dict.fromkeys(loop.body.variables.values()):
            if held.name and not held.lent and not held.expired:
                held.expired = True
                self.pool.release(held.name)
