"""``Model``: named entry points over shared state, ready to be compiled."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.session import Companion, session_of
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail
from graphc.ir.builder import Builder
from graphc.ir.collector import collector_paused
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.rewrite import rewrite
from graphc.ir.state import State
from graphc.ir.traverse import creation_order, reachable
from graphc.ir.types import bool_
from graphc.ops.specialize import decide, specialize_loop

Outputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]

_RESERVED = ("load_weights", "parameters", "save_weights")
"""What a compiled model has besides its entry points."""


class Step:
    """An entry point that also changes state: its outputs, and the new value of each state variable.

    All values are computed from the state before the call; the new ones are written last.

    Args:
        outputs: a tensor, or a tuple, list or dict of tensors.
        updates: pairs of a state variable's tensor and its new value.
        training: what ``G.training`` is inside.

    Raises:
        GraphcTypeError: E212, what is to be updated is not a state variable, or the dtype differs.
        GraphcValueError: E211 where the new value has another shape; E224 where a variable is updated twice.
    """

    def __init__(self, outputs: Outputs, updates: Iterable[tuple[Tensor, Any]] = (), *, training: bool = False) -> None:
        self.outputs = outputs
        self.training = training
        self.updates: tuple[tuple[Tensor, Tensor], ...] = tuple(_checked_update(*pair) for pair in updates)
        seen: set[Node] = set()
        for variable, _ in self.updates:
            if variable.node in seen:
                raise fail(
                    GraphcValueError, "E224", f"the state variable {variable.name!r} is updated twice", None, variable
                )
            seen.add(variable.node)

    def __repr__(self) -> str:
        return f"Step({self.outputs!r}, updates of {', '.join(str(variable.name) for variable, _ in self.updates)})"


def _checked_update(variable: Tensor, value: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(variable, Tensor) or variable.state is None:
        raise fail(
            GraphcTypeError,
            "E212",
            f"only a state variable can be updated, got {variable!r}",
            "make it with G.state or G.parameter",
        )
    new = as_tensor(value, variable.dtype, variable.builder)
    if new.dtype is not variable.dtype:
        message = f"{variable.name!r} holds {variable.dtype}, its new value is {new.dtype}"
        raise fail(GraphcTypeError, "E212", message, "cast it", variable, new)
    if new.shape != variable.shape:
        raise fail(
            GraphcValueError,
            "E211",
            f"{variable.name!r} has shape {variable.shape}, its new value {new.shape}",
            None,
            variable,
            new,
        )
    return variable, new


class Model:
    """Named entry points.

    Args:
        entry_points: name → a tensor, a tuple, list or dict of tensors, or a :class:`Step` such as an optimizer's
            ``minimize`` makes. An entry point's arguments are the inputs it depends on, in the order in which they were
            made.  One output goes by the entry point's name, several by the keys of the dict, or by their own names
            (:meth:`Tensor.named`), or by ``<entry>_<position>``.

    Attributes:
        name: of the model; ``model`` until someone gives it another.
        entries: entry point → graph.

    Raises:
        GraphcValueError: E224 for names that stand twice or cannot be names, E223 for tensors of different graphs.
    """

    def __init__(self, **entry_points: Outputs | Step) -> None:
        if not entry_points:
            raise fail(GraphcTypeError, "E224", "a model needs at least one entry point", "e.g. Model(predict=y)")
        self.name = "model"
        steps = {name: _as_step(name, value) for name, value in entry_points.items()}
        named = {name: _named_outputs(name, step.outputs) for name, step in steps.items()}
        everything = [tensor for outputs in named.values() for _, tensor in outputs]
        everything += [tensor for step in steps.values() for pair in step.updates for tensor in pair]
        builder = common_builder(everything)
        with collector_paused():
            graphs = {name: _open_graph(builder, name, named[name], step) for name, step in steps.items()}
            streams = _dense_streams(graphs.values())
            self.entries: dict[str, Graph] = {
                name: _bound(graph, steps[name].training, streams) for name, graph in graphs.items()
            }
        for graph in self.entries.values():
            _check_inputs(builder, graph)
        _check_states(builder, self.entries.values())
        session_of(builder).forget_names()

    @property
    def module(self) -> Module:
        """The entry points as the compiler takes them."""
        return Module(self.name, self.entries)

    @property
    def states(self) -> Mapping[str, State]:
        """Every state variable by name."""
        return self.module.states

    def __repr__(self) -> str:
        lines = [f"Model {self.name!r}"]
        for name, graph in self.entries.items():
            arguments = ", ".join(f"{node.attrs['name']}: {node.type!r}" for node in graph.inputs)
            results = ", ".join(
                f"{node.type!r}" if len(graph.outputs) == 1 else f"{label}: {node.type!r}"
                for label, node in graph.outputs
            )
            lines.append(
                f"  {name}({arguments}) -> {results}" + (f", {len(graph.updates)} updates" if graph.updates else "")
            )
        parameters = [state for state in self.states.values() if state.role == "parameter"]
        total = sum(state.type.static_size for state in parameters)
        lines.append(f"  {len(parameters)} parameters, {total:,} numbers")
        return "\n".join(lines)


def _as_step(name: str, value: Any) -> Step:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise fail(GraphcValueError, "E224", f"an entry point becomes a method, so its name cannot be {name!r}")
    if name in _RESERVED:
        raise fail(
            GraphcValueError, "E224", f"an entry point cannot be called {name!r}: a compiled model has that already"
        )
    return value if isinstance(value, Step) else Step(value)


def _named_outputs(entry: str, outputs: Any) -> list[tuple[str, Tensor]]:
    if isinstance(outputs, Tensor):
        return [(entry, outputs)]
    if isinstance(outputs, Mapping):
        pairs = list(outputs.items())
    elif isinstance(outputs, (tuple, list)):
        pairs = [(_own_name(tensor) or f"{entry}_{position}", tensor) for position, tensor in enumerate(outputs)]
    else:
        pairs = []
    if not pairs or any(not isinstance(tensor, Tensor) for _, tensor in pairs):
        raise fail(
            GraphcTypeError,
            "E213",
            f"the entry point {entry!r} must be tensors or an optimizer's step, got {outputs!r}",
        )
    names = [name for name, _ in pairs]
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name or any(not character.isprintable() for character in name):
            raise fail(GraphcValueError, "E224", f"the name of an output must be printable text, got {name!r}")
        if name in names[:position]:
            hint = "give the outputs as a dict, or name them with .named(...)"
            raise fail(
                GraphcValueError, "E224", f"two outputs of {entry!r} are called {name!r}", hint, pairs[position][1]
            )
    return pairs


def _own_name(tensor: Any) -> str | None:
    if not isinstance(tensor, Tensor) or tensor.node.op.name in ("input", "state"):
        return None
    return tensor.name


def _open_graph(builder: Builder, name: str, outputs: Sequence[tuple[str, Tensor]], step: Step) -> Graph:
    """The entry point with ``training`` still free."""
    updates = {variable.node: value.node for variable, value in step.updates}
    roots = [tensor.node for _, tensor in outputs]
    _add_companions(builder, roots, updates, step.training)
    order = _order([*roots, *updates, *updates.values()])
    inputs = [node for node in order if node.op.name == "input"]
    named = [(label, tensor.node) for label, tensor in outputs]
    return Graph.of_order(name, inputs, named, updates.items(), order, builder)


def _order(roots: Sequence[Node]) -> tuple[Node, ...]:
    """Creation order, but for nodes that no input or state reaches: those come right before their first reader.

    Such nodes (constants, mostly) may be shared with a model built earlier, which must not show in this one.
    """
    owned: set[Node] = set()
    waiting: set[Node] = set()
    placed: list[Node] = []
    for node in creation_order(roots):
        if owned.isdisjoint(node.inputs) and node.op.name not in ("input", "state"):
            waiting.add(node)
            continue
        if not waiting.isdisjoint(node.inputs):
            _place_waiting(node, waiting, placed)
        owned.add(node)
        placed.append(node)
    for root in roots:
        if root in waiting:
            _place_waiting(root, waiting, placed)
            waiting.remove(root)
            placed.append(root)
    return tuple(placed)


def _place_waiting(reader: Node, waiting: set[Node], placed: list[Node]) -> None:
    """Place what waits for ``reader``, inputs first."""
    pending = [operand for operand in reversed(reader.inputs) if operand in waiting]
    while pending:
        top = pending[-1]
        before = [operand for operand in top.inputs if operand in waiting]
        if before:
            pending.extend(reversed(before))
            continue
        pending.pop()
        if top in waiting:
            waiting.remove(top)
            placed.append(top)


def _add_companions(builder: Builder, roots: Sequence[Node], updates: dict[Node, Node], training: bool) -> None:
    """Add what the nodes of an entry bring along: running statistics, the state of stateful layers, the random step.

    What the user updates stays as it is.
    """
    session = session_of(builder)
    anchors = session.anchors()
    if not anchors:
        return
    chosen = frozenset(updates)
    seen: set[Node] = set()
    made: set[Companion] = set()
    while True:
        fresh = [node for node in creation_order([*roots, *updates.values()]) if node not in seen]
        if not fresh:
            return
        seen.update(fresh)
        for node in fresh:
            if node not in anchors:
                continue
            for companion in session.companions(node):
                # One update may hang on several nodes: a layer called twice on one tensor, once with ``training=True``.
                if companion.variable not in chosen and companion not in made and (training or companion.always):
                    made.add(companion)
                    updates[companion.variable] = _following(builder, companion, updates.get(companion.variable))


def _following(builder: Builder, companion: Companion, before: Node | None) -> Node:
    """A variable's new value, where other nodes of the entry have already given it ``before``."""
    variable, value = companion.variable, companion.value
    if companion.momentum is not None:
        old = variable if before is None else before
        kept = builder.op("multiply", old, builder.constant(companion.momentum, variable.dtype))
        added = builder.op("multiply", value, builder.constant(1.0 - companion.momentum, variable.dtype))
        return builder.op("add", kept, added)
    if before is None or before is value:
        return value
    name = variable.attrs["state"].name
    message = f"the entry point gives the state variable {name!r} two new values: a stateful layer is called twice"
    error = GraphcValueError("E224", message, hint="pass the state on yourself: initial_state=")
    raise builder.locate(error, [before, value])


def _dense_streams(graphs: Iterable[Graph]) -> dict[int, int]:
    """The streams of a model's random ops numbered from 0 in creation order, alike however much was built before."""
    draws: set[Node] = set()
    pending = list(graphs)
    while pending:
        nodes = pending.pop().nodes
        draws.update(node for node in nodes if node.op.name == "random_uniform")
        pending.extend(node.attrs["body"] for node in nodes if node.op.name == "loop")
    ordered = dict.fromkeys(node.attrs["stream"] for node in sorted(draws, key=lambda node: node.serial))
    return {stream: position for position, stream in enumerate(ordered)}


def _bound(graph: Graph, training: bool, streams: Mapping[int, int]) -> Graph:
    """The graph with ``training`` known: what the other mode alone needs is gone, inputs and state included."""

    def rule(builder: Builder, node: Node, operands: Sequence[Node]) -> Node | None:
        name = node.op.name
        if name == "training":
            return builder.constant(training, bool_)
        if name == "random_uniform":
            return builder.make(node.op, operands, node.attrs.replace(stream=streams[node.attrs["stream"]]))
        if name == "loop":
            return specialize_loop(builder, node, operands, rule)
        # (What the user wrote with a constant condition stays as it is.)
        return None if operands and operands[0] is node.inputs[0] else decide(builder, node, operands)

    if not any(node.op.name in ("training", "random_uniform", "loop") for node in graph.nodes):
        return graph
    made = rewrite(graph, rule)
    live = reachable([*made.roots, *(variable for variable, _ in made.updates)])
    inputs = [node for node in made.inputs if node in live]
    return Graph.make(made.name, inputs, made.outputs, made.updates, order=made.nodes, notes=made.notes)


def _twice(builder: Builder, what: str, name: str, first: Node, second: Node) -> GraphcError:
    return builder.locate(
        GraphcValueError("E224", f"two {what} are called {name!r}", hint="give one of them another name"),
        [first, second],
    )


def _check_inputs(builder: Builder, graph: Graph) -> None:
    seen: dict[str, Node] = {}
    for node in graph.inputs:
        name = node.attrs["name"]
        if seen.setdefault(name, node) is not node:
            raise _twice(builder, f"inputs of {graph.name!r}", name, seen[name], node)


def _check_states(builder: Builder, graphs: Iterable[Graph]) -> None:
    seen: dict[str, tuple[State, Node]] = {}
    for graph in graphs:
        for node in graph.nodes:
            if node.op.name != "state":
                continue
            state = node.attrs["state"]
            other, place = seen.setdefault(state.name, (state, node))
            if other is not state:
                raise _twice(builder, "state variables", state.name, place, node)
