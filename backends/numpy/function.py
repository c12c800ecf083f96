"""Writing one entry point: arguments and state, the nodes, and last what is returned and what is committed."""

from __future__ import annotations

import ast
from collections import Counter

from graphc.backends.numpy.code import Blank, Block, Comment, Item, function
from graphc.backends.numpy.lowering.movement import is_view
from graphc.backends.numpy.lowering.pointwise import may_warn
from graphc.backends.numpy.module import ModuleScope
from graphc.backends.numpy.names import NamePool, identifier
from graphc.backends.numpy.plan import RegionPlan, Storage, Variable, plan_region
from graphc.backends.numpy.prepare import prepare
from graphc.backends.numpy.region import RegionWriter
from graphc.backends.numpy.split import split_function
from graphc.backends.numpy.syntax import (
    ELLIPSIS,
    assign,
    attribute,
    call,
    literal,
    method,
    numpy,
    store_into,
    subscript,
    variable,
)
from graphc.backends.numpy.wording import hints_of
from graphc.errors import GraphcValueError
from graphc.ir.dim import Poly
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import bfloat16

_PARTIAL_VIEWS = frozenset({"slice", "index", "broadcast_to", "patches"})
"""Views that look at less, or at one element many times: to return one would keep or share more than it shows."""


def write_function(module: ModuleScope, graph: Graph, name: str) -> list[Item]:
    """The definition of an entry point, preceded by those of its parts where it is too long for one function."""
    return _FunctionWriter(module, prepare(graph), name).write()


class _FunctionWriter:
    def __init__(self, module: ModuleScope, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name
        pool = NamePool()
        pool.take("parameters")
        self.has_training = any(node.op.name == "training" for node in graph.nodes)
        if self.has_training:
            pool.take("training")
        self.arguments = [pool.take(identifier(node.attrs["name"])) for node in graph.inputs]
        self.pool = pool
        symbols = {name: pool.take(identifier(name)) for name in _symbols(graph)}
        self.region = RegionWriter(module, pool, symbols)
        read = {operand for node in graph.nodes for operand in node.inputs} | set(graph.roots)
        self.state_reads = [node for node in graph.nodes if node.op.name == "state" and node in read]
        self.updated = {variable_ for variable_, _ in graph.updates}
        at_end = [value for variable_, value in graph.updates if self._fits_commit(variable_, value)]
        self.plan: RegionPlan = plan_region(graph, graph.roots, at_end=at_end)

    # -- the parts of the function -----------------------------------------------------------------------------------

    def write(self) -> list[Item]:
        head = self._bind_arguments()
        self.region.items = []
        self.region.write(self.plan, self._hints(), {})
        result = self._prepare_outputs()
        if self.graph.updates:
            self._commit()
        self.region.items.append(ast.Return(result))
        head = [*self._bind_symbols(), *head]
        parameters, defaults = self._signature()
        block = function(self.name, parameters, defaults, self._docstring())
        parts, body = split_function(f"_{self.name}", [*head, *self.region.items])
        block.body.extend(self._silenced(body))
        definitions: list[Item] = []
        for part in parts:
            definitions += [part, Blank(2)]
        return [*definitions, block]

    def _silenced(self, body: list[Item]) -> list[Item]:
        """The body without NumPy's warnings, where it computes anything whose special values are meant."""
        pending = [self.graph]
        while pending:
            region = pending.pop()
            if any(may_warn(node) for node in region.nodes):
                call_ = call(numpy("errstate"), all=literal("ignore"))
                return [Block(ast.With([ast.withitem(call_)], [], lineno=0), body)]
            pending.extend(value for node in region.nodes for value in node.attrs.values() if isinstance(value, Graph))
        return body

    def _signature(self) -> tuple[list[str], list[ast.expr]]:
        parameters, defaults = [*self.arguments, "parameters"], []
        if not self.graph.states:
            defaults.append(literal(None))
        if self.has_training:
            parameters.append("training")
            defaults = [*(defaults or [literal(None)]), literal(False)]
        return parameters, defaults

    def _docstring(self) -> str:
        """Types of arguments and results."""
        inputs = ", ".join(
            f"{name}: {node.type!r}" for name, node in zip(self.arguments, self.graph.inputs, strict=True)
        )
        outputs = ", ".join(f"{name}: {node.type!r}" for name, node in self.graph.outputs)
        return f"({inputs}) -> {outputs or 'nothing'}"

    def _hints(self) -> dict[Variable, str]:
        names = {node: name for name, node in self.graph.outputs if node.op.kind is not OpKind.SOURCE}
        return hints_of(self.plan, names)

    # -- arguments and state -----------------------------------------------------------------------------------------

    def _bind_arguments(self) -> list[Item]:
        items: list[Item] = []
        for name, node in zip(self.arguments, self.graph.inputs, strict=True):
            self.region.bind(node, variable(name))
            if node.dtype is bfloat16:
                items.append(assign(name, call(self.region.helper("_from_bfloat16"), variable(name))))
        for node in self.state_reads:
            name = self.pool.take(identifier(node.attrs["state"].name))
            value: ast.expr = subscript(variable("parameters"), literal(node.attrs["state"].name))
            if node.dtype is bfloat16:
                value = call(self.region.helper("_from_bfloat16"), value)
            items.append(assign(name, value))
            self.region.bind(node, variable(name))
        for node in self.graph.nodes:
            if node.op.name == "training":
                self.region.bind(node, call(numpy("bool_"), variable("training")))
        return items

    def _bind_symbols(self) -> list[Item]:
        """Assignments of the symbolic dimensions that the code reads, from the shapes of arguments.

        Raises:
            GraphcValueError: no argument has the symbol itself as a dimension (E340).
        """
        items: list[Item] = []
        for symbol in self.region.symbols_read:
            for name, node in zip(self.arguments, self.graph.inputs, strict=True):
                axis = next(
                    (i for i, dim in enumerate(node.shape) if isinstance(dim, Poly) and str(dim) == symbol), None
                )
                if axis is not None:
                    size = subscript(attribute(variable(name), "shape"), literal(axis))
                    items.append(assign(self.region.symbols[symbol], size))
                    break
            else:
                raise GraphcValueError(
                    "E340",
                    f"no argument of {self.graph.name!r} has the dimension {symbol!r}",
                    hint=f"bind it: --dim {symbol}=32",
                )
        return items

    # -- results -----------------------------------------------------------------------------------------------------

    def _storage(self, node: Node) -> Storage | None:
        held = self.plan.variables.get(node)
        return None if held is None else held.storage

    def _prepare_outputs(self) -> ast.expr:
        """The expression to return; what lies in memory that is not the result's own is copied first."""
        shared = Counter(self._storage(node) for node in dict.fromkeys(self.graph.output_nodes))
        values: list[tuple[str, ast.expr]] = []
        taken: dict[Node, ast.expr] = {}
        for name, node in self.graph.outputs:
            if node in taken:
                values.append((name, method(taken[node], "copy")))
                continue
            value = self._result(node, shared)
            if self.graph.updates and _is_copy(value):
                # It may show state that is about to change.
                held = self.pool.take(identifier(name))
                self.region.items.append(assign(held, value))
                value = variable(held)
            taken[node] = value
            values.append((name, value))
        if len(values) == 1:
            return values[0][1]
        return ast.Dict([literal(name) for name, _ in values], [value for _, value in values])

    def _result(self, node: Node, shared: Counter[Storage | None]) -> ast.expr:
        value = self.region.value(node)
        if node.dtype is bfloat16:
            return call(self.region.helper("_to_bfloat16"), value)
        source = node
        partial = False
        while is_view(source):
            partial = partial or source.op.name in _PARTIAL_VIEWS
            source = source.inputs[0]
        if node.rank == 0:
            return call(numpy("array" if source.op.kind is OpKind.SOURCE else "asarray"), value)
        storage = self._storage(node)
        own = storage is not None and storage.owned and shared[storage] == 1 and not partial
        return value if own else method(value, "copy")

    # -- updates -----------------------------------------------------------------------------------------------------

    def _fits_commit(self, state: Node, value: Node) -> bool:
        """True where ``value`` may be computed in the statement that commits it: it reads no other updated variable."""
        if value.op.name not in ("add", "subtract", "multiply") or value.dtype.is_half or value.rank == 0:
            return False
        pending, seen = [value], {value}
        while pending:
            for operand in pending.pop().inputs:
                if operand.op.name == "state" and operand in self.updated and operand is not state:
                    return False
                # What may be inlined is read then too, and a view shows what is in the state then.
                follow = is_view(operand) or (operand.op.kind is OpKind.POINTWISE and operand.rank == 0)
                if follow and operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
        return True

    def _commit(self) -> None:
        """Write new values into the state; whatever still shows another variable's old value is copied before."""
        region = self.region
        memory = {self._storage(state): state for state in self.updated if state in self.plan.variables}
        committed: list[tuple[Node, Node, ast.expr]] = []
        for state, value in self.graph.updates:
            expression = region.weak(value)
            source = memory.get(self._storage(value))
            if source is not None and source is not state:
                name = self.pool.take(identifier(f"new_{state.attrs['state'].name}"))
                region.items.append(assign(name, method(expression, "copy")))
                expression = variable(name)
            committed.append((state, value, expression))
        region.items.append(Comment("state is written last, when nothing can fail any more"))
        for state, value, expression in committed:
            if value.dtype is bfloat16:
                expression = call(region.helper("_to_bfloat16"), expression)
            target = subscript(variable("parameters"), literal(state.attrs["state"].name))
            region.items.append(store_into(target, ELLIPSIS, expression))


def _is_copy(value: ast.expr) -> bool:
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    return value.func.attr in ("copy", "array")


def _symbols(graph: Graph) -> list[str]:
    """The symbols that occur in the shapes of arguments or of any value, in order of first occurrence."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        shapes = [node.type.shape] if hasattr(node.type, "shape") else [element.shape for element in node.type.elements]
        for shape in shapes:
            for dim in shape:
                if isinstance(dim, Poly):
                    found.update(dict.fromkeys(dim.symbols))
    return list(found)
