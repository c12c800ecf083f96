"""Decisions before a line is written: what is inlined, how long names live, what goes into dead operands.

A *variable* is a name in the generated function; a *storage* is the memory behind it.  Views have variables of their
own over the storage of what they look at.  A storage may be overwritten only if this function made it and nothing
reads it afterwards, under any name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from graphc.backends.numpy.lowering.movement import is_filled, is_view
from graphc.backends.numpy.lowering.pointwise import ufunc_of
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType, TupleType
from graphc.ops.loop_parts import LoopParts

_DEEPEST_INLINE = 3
"""Views and scalar arithmetic used once are written into their user's expression, so many inside each other."""


@dataclass(slots=True, eq=False)
class Storage:
    """Memory behind one or more variables.

    Attributes:
        owned: made by this function and shared with nobody: it may be overwritten when it is dead.
        last: position of the last read of anything that may lie in it.
    """

    owned: bool
    last: int


@dataclass(slots=True, eq=False)
class Variable:
    """A name in the generated function.

    Attributes:
        storage: what it refers to.
        last: position of the last statement that reads the name.
        whole: it refers to all of its storage, not to a view.
        name: given when the statement that binds it is written.
        lent: the name belongs to a variable outside the loop whose body this is.
        expired: the last read has been written.
    """

    storage: Storage
    last: int
    whole: bool
    name: str = ""
    lent: bool = False
    expired: bool = False


@dataclass(slots=True, eq=False)
class LoopPlan:
    """What is decided about one loop.

    Attributes:
        parts: its operands by role.
        body: plan of the body.
        carries: variable of each carry as the function sees it, before and after the loop.
        stacks: variable of each stacked result.
        adopted: carries that take over the variable of their initial value.
    """

    parts: LoopParts
    body: RegionPlan
    carries: list[Variable]
    stacks: list[Variable]
    adopted: set[int]


@dataclass(slots=True, eq=False)
class RegionPlan:
    """Decisions for the nodes of one region.

    Attributes:
        graph: the region.
        inlined: nodes that are written inside the expression of their only user.
        variables: the variable that holds each other node.
        reused: node → which of its operands it overwrites.
        loops: plans of its loops.
        expiring: position → variables whose names are free after it.
    """

    graph: Graph
    inlined: set[Node] = field(default_factory=set)
    variables: dict[Node, Variable] = field(default_factory=dict)
    reused: dict[Node, int] = field(default_factory=dict)
    loops: dict[Node, LoopPlan] = field(default_factory=dict)
    expiring: dict[int, list[Variable]] = field(default_factory=dict)


def plan_region(
    graph: Graph, kept: Iterable[Node], owned_inputs: Iterable[Node] = (), at_end: Iterable[Node] = ()
) -> RegionPlan:
    """Plan a region.

    Args:
        graph: prepared for NumPy.
        kept: nodes whose values are read after the last node.
        owned_inputs: inputs whose storage belongs to the region: the carries that a loop may overwrite.
        at_end: nodes among ``kept`` that may be written inside the statement at the end that reads them.
    """
    return _Planner(graph, list(kept), set(owned_inputs), set(at_end)).run()


class _Planner:
    def __init__(self, graph: Graph, kept: list[Node], owned_inputs: set[Node], at_end: set[Node]) -> None:
        self.nodes = graph.nodes
        self.end = len(graph.nodes)
        self.kept = kept
        self.owned_inputs = owned_inputs
        self.at_end = at_end
        self.plan = RegionPlan(graph)
        self.uses = Counter(operand for node in graph.nodes for operand in node.inputs)
        self.uses.update(graph.output_nodes)
        self.uses.update(value for _, value in graph.updates)
        self.carry_uses = Counter(
            operand for node in graph.nodes if node.op.name == "loop" for operand in LoopParts.of(node).carries
        )
        # A graph takes each result once, since equal nodes are one node.
        self.results = {(node.inputs[0], node.attrs["index"]): node for node in graph.nodes if node.op.name == "result"}
        self.last: dict[Node, int] = {}
        self.storage_last: dict[Node, int] = {}

    def run(self) -> RegionPlan:
        self._choose_inlined()
        self._find_last_reads()
        for position, node in enumerate(self.nodes):
            if node not in self.plan.inlined:
                self._place(position, node)
        seen: dict[Variable, None] = {}
        for variable in self.plan.variables.values():
            seen.setdefault(variable)
        for loop in self.plan.loops.values():
            seen.update(dict.fromkeys((*loop.carries, *loop.stacks)))
        for variable in seen:
            self.plan.expiring.setdefault(variable.last, []).append(variable)
        return self.plan

    # -- what is inlined, and when everything is read last ----------------------------------------------------------

    def _choose_inlined(self) -> None:
        depth: dict[Node, int] = {}
        barred = set(self.kept) - self.at_end
        for node in self.nodes:
            if node.op.name == "loop":
                # A loop would evaluate the expression again at every step.
                barred.update(node.inputs)
        users = {operand: node for node in self.nodes for operand in node.inputs}
        for node in self.nodes:
            if is_filled(node) and self.uses[node] == self.carry_uses[node]:
                # Written where a loop starts from it.
                self.plan.inlined.add(node)
            if self.uses[node] != 1 or node in barred or not isinstance(node.type, TensorType):
                continue
            if not (is_view(node) or is_filled(node) or node in self.at_end or _is_scalar_step(node, users.get(node))):
                continue
            level = 1 + max((depth.get(operand, 0) for operand in node.inputs), default=0)
            if level <= _DEEPEST_INLINE:
                depth[node] = level
                self.plan.inlined.add(node)

    def _find_last_reads(self) -> None:
        """Backwards, so that what an inlined node reads is known to be read where its user stands."""
        last, storage_last = self.last, self.storage_last
        for node in self.kept:
            last[node] = self.end
        for position in range(self.end - 1, -1, -1):
            node = self.nodes[position]
            read = last.get(node, position) if node in self.plan.inlined else position
            whole = max(storage_last.get(node, position), last.get(node, position))
            last.setdefault(node, position)
            storage_last[node] = whole
            for operand in node.inputs:
                last[operand] = max(last.get(operand, read), read)
            if is_view(node):
                storage_last[node.inputs[0]] = max(storage_last.get(node.inputs[0], whole), whole)

    # -- variables ---------------------------------------------------------------------------------------------------

    def _storage_of(self, node: Node) -> Storage:
        """The storage behind a node, through inlined views."""
        while node in self.plan.inlined and is_view(node):
            node = node.inputs[0]
        found = self.plan.variables.get(node)
        return found.storage if found is not None else Storage(False, self.end)

    def _place(self, position: int, node: Node) -> None:
        variables, last = self.plan.variables, self.last[node]
        if node.op.name == "loop":
            self._place_loop(position, node)
        elif node.op.name == "result":
            loop = self.plan.loops[node.inputs[0]]
            index = node.attrs["index"]
            variables[node] = (*loop.carries, *loop.stacks)[index]
        elif node.op.kind is OpKind.SOURCE:
            variables[node] = Variable(Storage(node in self.owned_inputs, self.storage_last[node]), last, True)
        elif is_view(node):
            variables[node] = Variable(self._storage_of(node.inputs[0]), last, False)
        elif (place := self._reusable(position, node)) is not None:
            self.plan.reused[node] = place
            variable = variables[node.inputs[place]]
            variable.last, variable.storage.last = last, self.storage_last[node]
            variables[node] = variable
        else:
            # NumPy gives immutable scalars where the rank is 0; iota is a broadcast view.
            variables[node] = Variable(Storage(node.rank > 0, self.storage_last[node]), last, True)

    def _reusable(self, position: int, node: Node) -> int | None:
        """The operand that ``node`` may overwrite with its own value."""
        if node.rank == 0 or ufunc_of(node) is None:
            return None
        found: int | None = None
        for place, operand in enumerate(node.inputs):
            variable = self.plan.variables.get(operand)
            if variable is None or operand in self.plan.inlined or not variable.whole or not variable.storage.owned:
                continue
            dead = variable.storage.last == position
            if dead and operand.shape == node.shape and operand.dtype.carrier == node.dtype.carrier:
                if operand in self.owned_inputs:
                    # Into a carry: the chance is good that this becomes its next value.
                    return place
                found = place if found is None else found
        return found

    # -- loops -------------------------------------------------------------------------------------------------------

    def _place_loop(self, position: int, node: Node) -> None:
        assert isinstance(node.type, TupleType)
        parts = LoopParts.of(node)
        body = parts.body
        count = len(parts.carries)
        next_values = body.output_nodes[:count]
        carry_inputs = body.inputs[1 : 1 + count]
        adopted = self._adoptable(position, parts)
        # Each carry that starts as zeros gets zeros of its own.
        own = adopted | {index for index, initial in enumerate(parts.carries) if is_filled(initial)}
        body_plan, fresh = self._plan_body(body, next_values, carry_inputs, own)
        adopted &= own
        carries: list[Variable] = []
        for index, initial in enumerate(parts.carries):
            last, memory = self._last_reads_of_result(position, node, index)
            if index in adopted:
                variable = self.plan.variables[initial]
                variable.last, variable.storage.last = last, memory
            else:
                owned = index in own or (index in fresh and isinstance(parts.trips, int) and parts.trips > 0)
                variable = Variable(Storage(owned, memory), last, True)
                if not owned:
                    # The result may be any operand of the loop, or a view of one.
                    for operand in node.inputs:
                        self._storage_of(operand).owned = False
            carries.append(variable)
        stacks = []
        for index in range(count, len(node.type.elements)):
            last, memory = self._last_reads_of_result(position, node, index)
            stacks.append(Variable(Storage(True, memory), last, True))
        self.plan.loops[node] = LoopPlan(parts, body_plan, carries, stacks, adopted)

    def _last_reads_of_result(self, position: int, loop: Node, index: int) -> tuple[int, int]:
        """When one result of a loop is read last, by name and under any name."""
        reader = self.results.get((loop, index))
        return (position, position) if reader is None else (self.last[reader], self.storage_last[reader])

    def _adoptable(self, position: int, parts: LoopParts) -> set[int]:
        """Carries that start in memory which is theirs alone."""
        once = Counter(self._storage_of(operand) for operand in (*parts.carries, *parts.invariants, *parts.sequences))
        result = set()
        for index, initial in enumerate(parts.carries):
            variable = self.plan.variables.get(initial)
            if variable is None or not variable.whole or not variable.storage.owned or once[variable.storage] != 1:
                continue
            if self.last[initial] == position and self.storage_last[initial] == position == variable.storage.last:
                result.add(index)
        return result

    @staticmethod
    def _plan_body(
        body: Graph, next_values: tuple[Node, ...], carry_inputs: tuple[Node, ...], own: set[int]
    ) -> tuple[RegionPlan, set[int]]:
        """Plan the body with as many carries its own as can be.

        ``own``, the carries that start in memory of their own, is cut down to those whose next value is again memory of
        their own at every step.

        Returns:
            The plan, and the carries whose next value is such memory.
        """
        while True:
            plan = plan_region(body, next_values, [carry_inputs[index] for index in own])
            storages = Counter(plan.variables[value].storage for value in next_values if value in plan.variables)
            fresh = set()
            for index, value in enumerate(next_values):
                variable = plan.variables.get(value)
                if (
                    variable is not None
                    and variable.whole
                    and variable.storage.owned
                    and storages[variable.storage] == 1
                ):
                    fresh.add(index)
            if own <= fresh:
                return plan, fresh
            own &= fresh


def _is_scalar_step(node: Node, user: Node | None) -> bool:
    """True for scalar arithmetic, and for a reduction to a scalar that scalar arithmetic goes on with."""
    if node.rank != 0:
        return False
    if node.op.kind is OpKind.REDUCTION:
        return user is not None and user.op.kind is OpKind.POINTWISE and user.rank == 0
    return node.op.kind is OpKind.POINTWISE
