"""Draws a graph on a canvas: boxes in clusters of layers and steps, repeats once, loops with their bodies inside.

Constants are written into the box that reads them.  A state variable is drawn again beside every reader:
one box with edges to all of them ties the whole picture into a knot, and Graphviz needs minutes to find that out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from graphc.ir.graph import Graph
from graphc.ir.node import NO_NOTE, Node
from graphc.ir.traverse import users
from graphc.render.fold import Place, is_step, places
from graphc.render.label import node_details, type_text
from graphc.render.loops import draw_loop
from graphc.render.picture import Canvas, ClusterPath, Details
from graphc.render.plan import Group, Plan, Value
from graphc.render.words import applied, body_text, constant_operand, small_print, state_words, step_text, title_of

_NEAR = 24
"""Boxes after which a value of the forward pass is named again instead of drawing a long edge."""

_CLONED_ABOVE = 6
"""Readers above which an input, too, is drawn beside each of them."""


@dataclass(slots=True)
class _Link:
    """Edges between two boxes that are drawn as one."""

    label: str
    source: Place | None
    target: Place | None
    source_trips: set[int] = field(default_factory=set)


class Region:
    """Draws one graph, or the body of a loop inside the frame ``outer``."""

    def __init__(
        self,
        canvas: Canvas,
        graph: Graph,
        plan: Plan,
        *,
        outer: ClusterPath = (),
        values: Mapping[Node, Value] | None = None,
        around: Region | None = None,
        loop: Node | None = None,
    ) -> None:
        self.canvas = canvas
        self.graph = graph
        self.plan = plan
        self.outer = outer
        # The body of a loop belongs to the layer and the role of the loop.
        note = around.graph.note(loop) if around is not None and loop is not None else NO_NOTE
        self.inside = note.scope
        self.base_role = note.role
        self.refers: bool = plan.frames or (around is not None and around.refers)
        self.values: dict[Node, Value] = dict(values or {})
        self.places = places(plan.repeats)
        self._loops: dict[Node, list[Value]] = {}
        self._groups: dict[Group, str] = {}
        self._links: dict[tuple[str, str, int], _Link] = {}
        self._clones: dict[tuple[str, Node], str] = {}
        self._saved: dict[tuple[int | None, str, int | None], str] = {}
        readers = users(graph.nodes)
        self._is_hub = {
            node: len({self._drawn_for(reader) for reader in readers[node]}) > _CLONED_ABOVE
            for node in graph.nodes
            if node.op.name in ("input", "iota")
        }

    # -- the walk ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw every node that the plan shows."""
        shown = [node for node in self.graph.nodes if self._is_shown(node)]
        for node in shown:
            if node not in self.values and self._drawn_for(node) is node:
                self.values[node] = self._draw(node)
        for node in shown:
            drawn = self._drawn_for(node)
            if drawn is not node and self.values[drawn].box is not None and drawn.op.name != "loop":
                # What the other trips read: carries, and values from elsewhere.  The first trip names the weights.
                self._connect_all(node, [o for o in node.inputs if o.op.name != "state"])
        self._emit_links()

    def _is_shown(self, node: Node) -> bool:
        return self.plan.shown is None or not node.inputs or node in self.plan.shown

    def _drawn_for(self, node: Node) -> Node:
        place = self.places.get(node)
        return node if place is None else place.node

    def draw_results(self) -> None:
        """Draw the outputs and the new values of state."""
        for name, node in self.graph.outputs:
            if self._is_shown(node):
                self._result("output", name, node, {"output": name, "type": repr(node.type)})
        together: dict[Node, list[tuple[Node, Node]]] = {}
        for variable, node in self.graph.updates:
            if self._is_shown(node):
                together.setdefault(self._drawn_for(node), []).append((variable, node))
        for pairs in together.values():
            states = [variable.attrs["state"] for variable, _ in pairs]
            details = {
                "new value of": [state.name for state in states],
                "type": repr(states[0].type),
                "kind": states[0].role,
            }
            title, layers = state_words(states[0].name)
            self._result("store", title, pairs[0][1], details, [*layers, "new value", *_and_more(pairs[1:])])
        self._emit_links()

    def _result(self, kind: str, title: str, node: Node, details: Details, lines: Sequence[str] = ()) -> None:
        value = self.value(node)
        box = self._box_of(value, node)
        home = self.canvas.cluster_of(box) if kind == "store" else None
        # A new value stands for those of all trips of its repeat: "last step" would be wrong there.
        reader = self.places.get(node) if kind == "store" else None
        self._link(node, box, value.label, self.canvas.box(kind, title, lines, home, details), reader)

    def _box_of(self, value: Value, node: Node) -> str:
        """A box for a value, even for a constant."""
        if value.box is not None:
            return value.box
        title = value.text if value.text is not None else ""
        if value.source is not None:
            return self._source_box(value.source, None)
        return self.canvas.box("constant", title, [], None, node_details(node, self.graph.note(node)))

    # -- nodes -------------------------------------------------------------------------------------------------------

    def value(self, node: Node) -> Value:
        """The value of a node that has been drawn."""
        return self.values[self._drawn_for(node)]

    def _draw(self, node: Node) -> Value:
        label = self._type_label(node)
        group = self.plan.merged.get(node)
        match node.op.name:
            case "constant" | "training" | "broadcast_to" if (text := constant_operand(node)) is not None:
                return Value(label, text=text)
            case "state":
                return Value(label, source=node)
            case "input" | "iota":
                return (
                    Value(label, source=node)
                    if self._is_hub[node]
                    else Value(label, self._source_box(node, self.outer))
                )
            case _ if group is not None:
                return self._draw_merged(node, group)
            case "result":
                return self._draw_result(node)
            case "loop":
                results = self._loops[node] = draw_loop(self, node)
                return Value(
                    label, next((value.box for value in results if value.box is not None), None), role=self.role(node)
                )
            case _:
                return Value(label, self._draw_op(node), role=self.role(node))

    def _type_label(self, node: Node) -> str:
        """The type, or nothing where a repeat's trips differ in it."""
        place = self.places.get(node)
        varies = place is not None and any(trip[place.row].type is not node.type for trip in place.repeat.trips)
        return "" if varies else type_text(node.type)

    def _draw_op(self, node: Node) -> str:
        note = self.graph.note(node)
        texts, first = self._constant_operands(node)
        details = node_details(node, note)
        if node.op.name == "fused":
            details["body"] = body_text(node.attrs["body"])
        title = title_of(node, note)
        lines = small_print(node, texts, self._moving_index(node))
        if first:
            lines.append(f"first step: {applied(node.op.name, first)}")
        box = self.canvas.box(self.role(node), title, lines, self.canvas.cluster(self.path(node)), details)
        self._connect_all(node, node.inputs, box)
        return box

    def _constant_operands(self, node: Node) -> tuple[list[str | None], list[str | None]]:
        """For each operand its text where it is a constant, in all steps; then those of the first, if it differs."""
        texts = [self.value(operand).text for operand in node.inputs]
        place = self.places.get(node)
        if place is None or not any(text is not None for text in texts):
            return texts, []
        always = list(texts)
        for trip in place.repeat.trips[1:]:
            for slot, operand in enumerate(trip[place.row].inputs):
                text = constant_operand(operand)
                always[slot] = text if text is None or text == always[slot] or always[slot] is None else "…"
                if text is not None and texts[slot] is None:
                    always[slot] = None
        return always, texts if any(a is None and t is not None for a, t in zip(always, texts, strict=True)) else []

    def _moving_index(self, node: Node) -> str | None:
        place = self.places.get(node)
        if place is None or node.op.name != "index":
            return None
        indices = [trip[place.row].attrs["index"] for trip in place.repeat.trips]
        step = indices[1] - indices[0]
        if all(later - earlier == step for earlier, later in pairwise(indices)):
            return step_text(indices[0], step)
        return "…"

    def _draw_merged(self, node: Node, group: Group) -> Value:
        box = self._groups.get(group)
        if box is None:
            box = self.canvas.box(group.kind, group.title, group.lines, self.canvas.cluster(group.path))
            self._groups[group] = box
        self._connect_all(node, node.inputs, box)
        return Value(self._type_label(node), box, role=self.role(node))

    def _draw_result(self, node: Node) -> Value:
        of = node.inputs[0]
        results = self._loops.get(self._drawn_for(of))
        if results is not None:
            return results[node.attrs["index"]]
        return Value(self._type_label(node), self.value(of).box, role=self.role(of))

    def role(self, node: Node) -> str:
        """``forward``, ``backward`` or ``update``."""
        role = self.graph.note(node).role
        return self.base_role if role == "forward" else role

    # -- clusters ----------------------------------------------------------------------------------------------------

    def path(self, node: Node) -> ClusterPath:
        """The clusters around a node, outermost first."""
        note, place = self.graph.note(node), self.places.get(node)
        frame: list[tuple[str, str, object]] = [("role", note.role, None)] if self.plan.frames else []
        scope = note.scope
        if scope[: len(self.inside)] == self.inside:
            scope = scope[len(self.inside) :]
        if place is None:
            layers: list[tuple[str, str, object]] = [
                ("step" if is_step(part) else "layer", part, None) for part in scope
            ]
        else:
            repeat = place.repeat
            bare = [part for part in scope if not is_step(part)]
            layers = [("layer", part, None) for part in repeat.scope]
            layers.append(("repeat", f"× {len(repeat.trips)} · {repeat.label}", repeat))
            layers += [("layer", part, None) for part in bare[len(repeat.scope) :]]
        return (*self.outer, *frame, *layers)

    # -- edges -------------------------------------------------------------------------------------------------------

    def _connect_all(self, node: Node, operands: Sequence[Node], box: str | None = None) -> None:
        """Edges from the operands of ``node`` to its box."""
        target = self.value(node).box if box is None else box
        if target is None:
            return
        for operand in dict.fromkeys(operands):
            value = self.value(operand)
            if value.source is not None:
                self._clone(value.source, target, value.label, self._alternatives(node, operand))
            elif value.box is not None and self.is_saved(value, node):
                if box is not None:
                    self._refer(operand, value, target, self._alternatives(node, operand))
            elif value.box is not None:
                self._link(operand, value.box, value.label, target, self.places.get(node))

    def is_saved(self, value: Value, reader: Node) -> bool:
        """Is the value of another pass than its reader?  An edge across the picture would say less than a name."""
        return self.refers and value.role != self.role(reader)

    def _alternatives(self, reader: Node, operand: Node) -> list[Node]:
        """What the other trips of a repeat read in the place of ``operand``: other weights, other gradients."""
        place = self.places.get(reader)
        if place is None:
            return []
        slot = reader.inputs.index(operand)
        others = dict.fromkeys(trip[place.row].inputs[slot] for trip in place.repeat.trips)
        drawn = dict.fromkeys(self._drawn_for(other) for other in others)
        return [other for other in drawn if other is not self._drawn_for(operand)]

    def _refer(self, node: Node, value: Value, target: str, alternatives: Sequence[Node]) -> None:
        """A small box that names a value of the forward pass, one in each cluster that reads it."""
        assert value.box is not None
        place = self.places.get(node)
        trip = None if place is None or self.canvas.is_repeated(target) else place.trip
        home = self.canvas.cluster_of(target)
        key = (home, value.box, trip)
        known = self._saved.get(key)
        if known is None or int(target[1:]) - int(known[1:]) > _NEAR:
            title = f"{self.canvas.tag(value.box)} {self.canvas.boxes[int(value.box[1:])].title}"
            lines = (
                []
                if place is None or trip is None
                else ["last step" if trip == len(place.repeat.trips) - 1 else f"step {trip}"]
            )
            lines += _and_more(alternatives)
            details = {**node_details(node, self.graph.note(node)), "refers to": value.box}
            self._saved[key] = self.canvas.box("saved", title, lines, home, details)
        self.canvas.edge(self._saved[key], target, _common_label(value.label, node, alternatives))

    def _clone(self, source: Node, target: str, label: str, alternatives: Sequence[Node] = ()) -> None:
        """A copy of an input or state variable beside its reader."""
        if (target, source) not in self._clones:
            clone = self._clones[target, source] = self._source_box(
                source, None, self.canvas.cluster_of(target), alternatives
            )
            self.canvas.edge(clone, target, _common_label(label, source, alternatives))

    def enter(self, value: Value, target: str, label: str) -> None:
        """An edge into a loop's frame."""
        if value.source is not None:
            self._clone(value.source, target, label)
        elif value.box is not None:
            self.canvas.edge(value.box, target, label)

    def _source_box(
        self, node: Node, path: ClusterPath | None, cluster: int | None = None, alternatives: Sequence[Node] = ()
    ) -> str:
        home = self.canvas.cluster(path) if path is not None else cluster
        details = node_details(node, self.graph.note(node))
        if node.op.name == "state":
            state = node.attrs["state"]
            details["state"] = state.name
            details["kind"] = state.role + ("" if state.trainable or state.role != "parameter" else ", frozen")
            title, layers = state_words(state.name)
            lines = [*layers, *([] if state.role == "parameter" else [state.role]), *_and_more(alternatives)]
            if alternatives:
                details["and"] = [other.attrs["state"].name for other in alternatives if other.op.name == "state"]
            return self.canvas.box("parameter", title, lines, home, details)
        if node.op.name == "input":
            return self.canvas.box("input", node.attrs["name"], [], home, details)
        return self.canvas.box("constant", title_of(node, self.graph.note(node)), small_print(node, ()), home, details)

    def _link(self, node: Node, source: str, label: str, target: str, reader: Place | None) -> None:
        place = self.places.get(node)
        lag = 0
        if place is not None and reader is not None and place.repeat is reader.repeat:
            lag = reader.trip - place.trip
        if source == target and not lag:
            return
        link = self._links.setdefault((source, target, lag), _Link(label, place, reader))
        if place is not None:
            link.source_trips.add(place.trip)

    def _emit_links(self) -> None:
        for (source, target, lag), link in self._links.items():
            if lag:
                when = "next step" if lag == 1 else f"{abs(lag)} steps {'later' if lag > 0 else 'before'}"
                self.canvas.edge(source, target, f"{link.label}, {when}", "carry", back=True)
                continue
            label = link.label
            if link.source is not None and link.target is None:
                trips, count = link.source_trips, len(link.source.repeat.trips)
                if len(trips) > 1:
                    label += f", {len(trips)} steps"
                elif trips == {count - 1}:
                    label += ", last step"
            self.canvas.edge(source, target, label)
        self._links.clear()


def _and_more(others: Sequence[object]) -> list[str]:
    return [f"and {len(others)} more"] if others else []


def _common_label(label: str, node: Node, others: Sequence[Node]) -> str:
    """The label of an edge that stands for several values: none where their types differ."""
    return label if all(other.type is node.type for other in others) else ""
