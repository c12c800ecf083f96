"""Graphs and modules: what the passes rewrite and the backends compile."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from graphc.errors import GraphcKeyError, GraphcValueError, nearest
from graphc.ir.builder import Builder
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.state import State
from graphc.ir.traverse import creation_order
from graphc.ir.types import TensorType


@dataclass(frozen=True, eq=False)
class Graph:
    """One entry point, or the body of a region: inputs → outputs and updates of state.

    Reads of a state variable see its value from before the call; all updates are committed last.

    Attributes:
        name: of the entry point.
        inputs: ``input`` nodes in call order, whether they are used or not.
        outputs: (name, node) in order; names are unique.
        updates: (``state`` node, new value) in order.
        nodes: every reachable node and every input, in creation order, which is topological.
        notes: side table for people: node → :class:`Note`.
    """

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[tuple[str, Node], ...]
    updates: tuple[tuple[Node, Node], ...]
    nodes: tuple[Node, ...]
    notes: Mapping[Node, Note] = field(repr=False)

    @classmethod
    def make(
        cls,
        name: str,
        inputs: Iterable[Node],
        outputs: Iterable[tuple[str, Node]],
        updates: Iterable[tuple[Node, Node]] = (),
        *,
        builder: Builder | None = None,
        order: Sequence[Node] | None = None,
        notes: Mapping[Node, Note] | None = None,
    ) -> Graph:
        """A graph over the nodes that outputs and updates reach.

        Args:
            builder: where the notes of the nodes are found.
            order: a topological order that covers the reachable nodes; by default the order in which they were made.
            notes: notes that take the place of the builder's.
        """
        inputs, outputs, updates = tuple(inputs), tuple(outputs), tuple(updates)
        roots = [*inputs, *(node for _, node in outputs), *(node for pair in updates for node in pair)]
        live = creation_order(roots)
        if order is not None:
            keep = set(live)
            live = tuple(dict.fromkeys(node for node in order if node in keep))
            if len(live) != len(keep):
                raise ValueError("the order given does not cover the graph")
        table = {} if builder is None else builder.notes_of(live)
        if notes is not None:
            table |= {node: note for node in live if (note := notes.get(node, NO_NOTE)) is not NO_NOTE}
        return cls(name, inputs, outputs, updates, live, table)

    @classmethod
    def of_order(
        cls,
        name: str,
        inputs: Iterable[Node],
        outputs: Iterable[tuple[str, Node]],
        updates: Iterable[tuple[Node, Node]],
        order: tuple[Node, ...],
        builder: Builder,
    ) -> Graph:
        """As :meth:`make`, for someone who knows the order already: all nodes that are reached, and no others."""
        return cls(name, tuple(inputs), tuple(outputs), tuple(updates), order, builder.notes_of(order))

    @property
    def output_nodes(self) -> tuple[Node, ...]:
        """The output values in order."""
        return tuple(node for _, node in self.outputs)

    @property
    def roots(self) -> tuple[Node, ...]:
        """Outputs and new state values: what must be computed."""
        return (*self.output_nodes, *(value for _, value in self.updates))

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The state variables read or updated, in the order of their first appearance."""
        return tuple(node.attrs["state"] for node in self.nodes if node.op.name == "state")

    def note(self, node: Node) -> Note:
        """What is known about ``node`` for people."""
        return self.notes.get(node, NO_NOTE)

    @cached_property
    def structure(self) -> Hashable:
        """The graph up to the identity of its nodes: equal exactly for equal graphs."""
        position = {node: index for index, node in enumerate(self.nodes)}
        rows = tuple(
            (node.op.name, _structural(node.attrs.key), tuple(position[operand] for operand in node.inputs), node.type)
            for node in self.nodes
        )
        return (
            rows,
            tuple(position[node] for node in self.inputs),
            tuple((name, position[node]) for name, node in self.outputs),
            tuple((position[variable], position[value]) for variable, value in self.updates),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and (self is other or self.structure == other.structure)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.structure)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)


def _structural(key: Hashable) -> Hashable:
    """An attribute key in which state variables are compared by name and type."""
    if isinstance(key, State):
        return ("state", key.name, key.type)
    if isinstance(key, tuple):
        return tuple(map(_structural, key))
    return key


@dataclass(frozen=True)
class Module:
    """A model: named entry points over shared state variables.

    Attributes:
        name: of the model.
        entries: entry point name → graph, in the user's order.
        declared: state variables to have in any case, first and in this order: what passes leave unused stays a
            parameter.
        states: every state variable, by name, in the order of their first appearance.
    """

    name: str
    entries: Mapping[str, Graph]
    declared: tuple[State, ...] = ()
    states: Mapping[str, State] = field(init=False)

    def __post_init__(self) -> None:
        states: dict[str, State] = {state.name: state for state in self.declared}
        for graph in self.entries.values():
            for state in graph.states:
                if states.setdefault(state.name, state) is not state:
                    raise GraphcValueError(
                        "E224", f"two state variables are called {state.name!r}", hint="give one of them another name"
                    )
        object.__setattr__(self, "states", states)

    def entry(self, name: str) -> Graph:
        """The entry point called ``name``."""
        graph = self.entries.get(name)
        if graph is None:
            close = nearest(name, self.entries)
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(self.entries)}"
            raise GraphcKeyError("E448", f"no entry point {name!r}", hint=hint)
        return graph

    def input_types(self, name: str) -> dict[str, TensorType]:
        """Name → type of an entry point's inputs."""
        return {node.attrs["name"]: node.tensor for node in self.entry(name).inputs}
