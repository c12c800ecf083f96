"""What ``stepwise`` knows of a graph before it builds anything: where time stands in each tensor, and when each value
can be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.errors import UnsupportedOp
from graphc.ir.dim import Poly, divide_exact, product, symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import TensorType
from graphc.ops.linalg import split_subscripts
from graphc.ops.loop_parts import LoopParts

FOLDS = {
    "sum": "add",
    "max": "maximum",
    "min": "minimum",
    "prod": "multiply",
    "any": "logical_or",
    "all": "logical_and",
}
"""Reduction → the op that combines the results of two steps."""


@dataclass(frozen=True)
class Layout:
    """Where time stands in a tensor: dimension ``axis`` is ``outer`` · time · ``inner``, in row-major order."""

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def is_plain(self) -> bool:
        """Is the dimension time alone?"""
        return self.outer == self.inner == 1


@dataclass
class Plan:
    """The plan for one graph.

    Attributes:
        graph: what is planned.
        name: of the dimension.
        layouts: the *series*: nodes that have a value a step.
        phases: for each node when it is there: before the loop over the steps of this phase, or in it.
        stacked: series that lie in memory from their phase on: inputs, results of loops, and stacks read backwards.
        folded: nodes of fixed size that combine all steps; the loop of the phase before makes them.
        wanted: other series that their phase's loop must leave in memory.
    """

    graph: Graph
    name: str
    layouts: dict[Node, Layout] = field(default_factory=dict)
    phases: dict[Node, int] = field(default_factory=dict)
    stacked: set[Node] = field(default_factory=set)
    folded: set[Node] = field(default_factory=set)
    wanted: set[Node] = field(default_factory=set)

    @classmethod
    def of(cls, graph: Graph, name: str) -> Plan:
        """The plan of a graph.

        Raises:
            UnsupportedOp: what cannot be done step by step (E334), with the user's line.
        """
        plan = cls(graph, name)
        for node in graph.nodes:
            if isinstance(node.type, TensorType):
                plan._find_layout(node)
            plan._find_phase(node)
        for node in graph.output_nodes:
            plan._want(node)
        return plan

    def is_free(self, node: Node) -> bool:
        """Is the series the same at every step, or the step's number, so that each phase makes it anew?"""
        return node.op.name in ("iota", "broadcast_to") and not any(one in self.layouts for one in node.inputs)

    def is_computed(self, node: Node) -> bool:
        """Is it a series that lies in no memory of its own?"""
        return node in self.layouts and node not in self.stacked

    def _want(self, node: Node) -> None:
        if self.is_computed(node):
            self.wanted.add(node)

    def fail(self, node: Node, why: str) -> UnsupportedOp:
        """What to raise for a node."""
        name = self.name
        lines = self.graph.note(node).locations
        return UnsupportedOp(
            "E334",
            f"{node.op.name}: {why}, which cannot be done for a size {name!r} that only the call says",
            lines[0] if lines else None,
            f"give it a value when compiling: --dim {name}=N, or dims={{{name!r}: N}}",
        )

    # -- layouts ---------------------------------------------------------------------------------------------------

    def _find_layout(self, node: Node) -> None:
        """Where time stands in the node's shape."""
        shape = node.tensor.shape
        found = [axis for axis, dim in enumerate(shape) if isinstance(dim, Poly)]
        if not found:
            return
        if len(found) > 1:
            raise self.fail(node, f"its shape ({', '.join(map(str, shape))}) has {self.name} twice")
        (axis,) = found
        count = divide_exact(shape[axis], symbol(self.name))
        if not isinstance(count, int):
            raise self.fail(node, f"a dimension is {shape[axis]}")
        operands = [self.layouts[one] for one in node.inputs if one in self.layouts]
        if count == 1:
            self.layouts[node] = Layout(axis)
        elif node.op.name == "reshape":
            before = operands[0]
            outer = before.outer * product(node.inputs[0].shape[: before.axis])
            ahead = divide_exact(outer, product(shape[:axis]))
            if not isinstance(ahead, int) or count % ahead:
                raise self.fail(node, f"its shape is ({', '.join(map(str, shape))})")
            self.layouts[node] = Layout(axis, ahead, count // ahead)
        else:
            blocks = sorted({(one.outer, one.inner) for one in operands})
            if len(blocks) > 1 or (blocks and blocks[0][0] * blocks[0][1] != count):
                raise self.fail(node, f"a dimension is {shape[axis]}")
            self.layouts[node] = Layout(axis, *(blocks[0] if blocks else (1, count)))

    # -- phases ----------------------------------------------------------------------------------------------------

    def _find_phase(self, node: Node) -> None:
        """When the node is there, and which of its operands must lie in memory by then."""
        name = node.op.name
        series = [one for one in node.inputs if one in self.layouts]
        ready = max((self.phases[one] for one in node.inputs), default=0)
        phase = reads = ready
        if name == "loop":
            self._check_loop(node)
            phase = reads = self._in_memory(node, ready)
        elif name == "flip" and node in self.layouts and self.layouts[node].axis in node.attrs["axes"]:
            if len(node.attrs["axes"]) > 1 or not self.layouts[node].is_plain:
                raise self.fail(node, "it turns several dimensions")
            self.stacked.add(node)
            phase = reads = self._in_memory(node, ready)
        elif name in ("input", "result"):
            if node in self.layouts:
                self.stacked.add(node)
                if not self.layouts[node].is_plain:
                    raise self.fail(node, f"its shape is {node.shape}")
        elif series and node not in self.layouts:
            self._check_fold(node)
            self.folded.add(node)
            phase = ready + 1
        elif node in self.layouts:
            self._check_step(node)
        self.phases[node] = phase
        # A later phase reads what an earlier one leaves in memory.
        late = (one for one in series if self.is_computed(one) and reads > self.phases[one])
        self.wanted.update(one for one in late if not self.is_free(one))

    def _in_memory(self, node: Node, ready: int) -> int:
        """The phase of what reads its operands in memory; a series comes there at the end of its own phase."""
        for one in node.inputs:
            if self.is_computed(one):
                self.wanted.add(one)
                ready = max(ready, self.phases[one] + 1)
        return ready

    # -- what can be done step by step -----------------------------------------------------------------------------

    def _check_loop(self, node: Node) -> None:
        loop = LoopParts.of(node)
        time = symbol(self.name)
        if loop.trips is not time:
            if any(one in self.layouts for one in node.inputs) or not isinstance(loop.trips, int):
                raise self.fail(node, f"a loop of {loop.trips} steps works on all of {self.name}")
            return
        for one in (*loop.carries, *loop.invariants):
            if one in self.layouts:
                raise self.fail(node, f"each step reads all of {one.type!r}")
        for one, (axis, start, step) in zip(loop.sequences, loop.slices, strict=True):
            places = ((0, 1), (time - 1, -1))
            if self.layouts.get(one) != Layout(axis) or (start, step) not in places:
                raise self.fail(node, f"steps read {one.type!r} from {start} by {step}")
        pending = [loop.body]
        while pending:
            region = pending.pop()
            for inner in region.nodes:
                if isinstance(inner.type, TensorType) and not inner.type.is_static:
                    raise self.fail(node, f"each step works on all of {inner.type!r}")
                pending.extend(value for value in inner.attrs.values() if isinstance(value, Graph))

    def _check_fold(self, node: Node) -> None:
        """Complain where a value of fixed size cannot be put together step by step."""
        name, time = node.op.name, symbol(self.name)
        series = [one for one in node.inputs if one in self.layouts]
        first = self.layouts[series[0]]
        if name == "matmul":
            kept = [self._is_kept(node, position) for position in range(2)]
            fits = len(series) == 2 and self._same_blocks(series) and not any(kept)
        elif name == "einsum":
            letters = self._letters(node)
            fits = len(series) == 2 and len(set(letters)) == 1 and letters[0] not in _result_letters(node)
            fits = fits and self._same_blocks(series)
        elif name == "index":
            fits = first.is_plain and node.attrs["axis"] == first.axis and node.attrs["index"] in (0, time - 1)
        elif name == "scatter_add":
            fits = node.inputs[0] not in self.layouts and len(series) == 2 and self._is_aligned(node)
        else:
            fits = name in FOLDS and first.axis in node.attrs["axes"]
        if not fits:
            raise self.fail(node, f"{series[0].type!r} to {node.type!r}")

    def _same_blocks(self, series: Sequence[Node]) -> bool:
        return len({(self.layouts[one].outer, self.layouts[one].inner) for one in series}) == 1

    def _letters(self, node: Node) -> list[str]:
        """The letters of an ``einsum`` that stand for time, one a series."""
        sides = split_subscripts(str(node.attrs["subscripts"]))
        pairs = zip(sides, node.inputs, strict=False)
        return [letters[self.layouts[one].axis] for letters, one in pairs if one in self.layouts]

    def _is_aligned(self, node: Node) -> bool:
        """Do indices and updates of a scatter have time at the same place?"""
        indices, updates = node.inputs[1:]
        place, other = self.layouts[indices], self.layouts[updates]
        return other == Layout(place.axis + int(node.attrs["axis"]), place.outer, place.inner)

    def _check_step(self, node: Node) -> None:
        """Complain where the steps of a series cannot be computed one by one."""
        layout, name, kind, attrs = self.layouts[node], node.op.name, node.op.kind, node.attrs
        given = [(one, self.layouts[one]) for one in node.inputs if one in self.layouts]
        from_the_end = node.rank - layout.axis
        if kind is OpKind.POINTWISE or name == "broadcast_to":
            fits = all(one.rank - its.axis == from_the_end for one, its in given)
        elif name in ("reshape", "stop_gradient", "random_uniform"):
            fits = True
        elif name == "transpose":
            fits = attrs["permutation"][layout.axis] == given[0][1].axis
        elif name == "iota":
            fits = layout.is_plain or attrs["axis"] != layout.axis
        elif name == "flip":
            fits = layout.axis not in attrs["axes"]
        elif name == "matmul":
            fits = all(self._is_kept(node, place) for place in range(2) if node.inputs[place] in self.layouts)
        elif kind is OpKind.REDUCTION and "axes" in attrs:
            fits = given[0][1].axis not in attrs["axes"]
        elif name == "einsum":
            fits = set(self._letters(node)) == {_result_letters(node)[layout.axis]}
        elif name in ("patches", "fold_patches"):
            fits = given[0][1] == layout and layout.axis not in attrs["axes"]
        elif name in ("cumsum", "argsort"):
            fits = attrs["axis"] != layout.axis
        elif name in ("pad", "slice"):
            fits = given[0][1] == layout and self._leaves(node, layout.axis)
        elif name == "concat":
            fits = len(given) == len(node.inputs) and attrs["axis"] != layout.axis
        elif name in ("index", "stack"):
            fits = len(given) == len(node.inputs) and attrs["axis"] != (
                given[0][1].axis if name == "index" else layout.axis
            )
        elif name == "take":
            fits = node.inputs[0] not in self.layouts
        else:
            fits = name in ("take_along_axis", "scatter_add_along_axis") and len(given) == len(node.inputs)
            fits = fits and attrs["axis"] != layout.axis and all(its == layout for _, its in given)
        if not fits:
            raise self.fail(node, f"it gives {node.type!r}")

    def _leaves(self, node: Node, axis: int) -> bool:
        """Does a ``pad`` or ``slice`` leave the dimension as it is?"""
        names = ("low", "high") if node.op.name == "pad" else ("starts",)
        untouched = all(node.attrs[name][axis] == 0 for name in names)
        return untouched and node.shape[axis] is node.inputs[0].shape[axis]

    def _is_kept(self, node: Node, position: int) -> bool:
        """Does a product keep the time of its operand, in place of summing over it?"""
        operand = node.inputs[position]
        summed = operand.rank - 1 if position == 0 or operand.rank == 1 else operand.rank - 2
        return operand not in self.layouts or self.layouts[operand].axis != summed


def _result_letters(node: Node) -> str:
    return split_subscripts(str(node.attrs["subscripts"]))[2]
