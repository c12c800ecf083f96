"""Loops that feed one another step by step become one, so that what they hand over need not be kept for all steps.

The layers of a recurrent network are such loops, and so are their gradients: each reads what the one before it has
stacked, at the same step or at one a few steps later.  In one loop (loop jamming; Allen and Kennedy, *Optimizing
compilers for modern architectures*, 2001, chapter 6) a step makes the value and reads it at once, and the forward loop
for all layers is run again, segment by segment, by the backward loop for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import RecordingBuilder, inline, rebuilt
from graphc.ir.traverse import users
from graphc.ir.types import int64
from graphc.ops.loop_parts import LoopParts, make_loop
from graphc.passes.checkpoint_pairs import Pair, Span, find_pair, is_early, is_stack_of
from graphc.passes.checkpoint_plan import trips_of


def jammed(graph: Graph, least: int) -> Graph:
    """The graph with one loop for two, as long as there are two of which one feeds the other for ``least`` steps."""
    while (pair := find_pair(graph, least)) is not None:
        graph = _Jam(graph, pair).run()
    return graph


class _Jam:
    """Makes one loop of two.

    Attributes:
        spans: the steps that the first loop makes before the second begins, with it, and after it.
        wanted: for each of them, the outputs of the first loop's body that others than the second loop read of it.
        parts: for each of them, the values of those.
        carries: of the first loop, as far as it has come.
    """

    def __init__(self, graph: Graph, pair: Pair) -> None:
        self.graph, self.pair = graph, pair
        self.b = RecordingBuilder(graph)
        self.table: dict[Node, Node] = {}
        self.source, self.loop = LoopParts.of(pair.first), LoopParts.of(pair.second)
        (low, high), self.trips = pair.together, trips_of(self.source)
        self.spans: list[Span] = [(0, low), (low, high), (high, self.trips)]
        self.wanted = self._wanted()
        self.parts: list[dict[int, Node]] = []
        self.carries: list[Node] = []

    def run(self) -> Graph:
        """The graph with the two loops as one."""
        pair, nodes = self.pair, self.graph.nodes
        # What needs the first loop waits until the second one can be run, too.
        place = nodes.index(pair.second)
        waiting: dict[Node, None] = {}
        for node in nodes[:place]:
            needs = _is_result(node, pair.first) or any(operand in waiting for operand in node.inputs)
            if needs and not is_early(node, pair.first, pair.early):
                waiting[node] = None
        ready = [node for node in nodes[:place] if node not in waiting]
        for node in [*ready, pair.second, *waiting, *nodes[place + 1 :]]:
            note = self.graph.note(node)
            if node is pair.first or node is pair.second:
                with self.b.noted(note, note.role):
                    self._begin() if node is pair.first else self._together()
            elif _is_result(node, pair.first):
                self._result(node)
            elif not _is_result(node, pair.second):
                self._copy(node)
        return rebuilt(self.graph, self.table, self.b)

    # -- what is read of the first loop --------------------------------------------------------------------------------

    def _wanted(self) -> list[list[int]]:
        graph, pair = self.graph, self.pair
        readers = users(graph.nodes)
        roots = {*graph.output_nodes, *(value for _, value in graph.updates)}
        wanted: list[list[int]] = [[], [], []]
        for stack in readers[pair.first]:
            if not is_stack_of(stack, pair.first):
                continue
            read = [(0, self.trips)] if stack in roots else []
            for reader in readers[stack]:
                places = [place for place, operand in enumerate(reader.inputs) if operand is stack]
                read += [self._read(reader, place) for place in places if reader is not pair.second]
            for span, outputs in zip(self.spans, wanted, strict=True):
                if any(self._span_of(one) in (span, None) for one in read):
                    outputs.append(stack.attrs["index"])
        return wanted

    def _read(self, reader: Node, place: int) -> Span:
        """The steps of a stack that a node reads, whose operand of that number it is."""
        if reader.op.name == "index" and reader.attrs["axis"] == 0:
            return reader.attrs["index"], reader.attrs["index"] + 1
        if reader.op.name == "loop" and "size" not in reader.attrs:
            loop = LoopParts.of(reader)
            position = place - len(loop.carries) - len(loop.invariants)
            axis, start, step = loop.slices[position] if position >= 0 else (-1, 0, 0)
            if axis == 0 and isinstance(start, int) and isinstance(loop.trips, int):
                last = start + step * (loop.trips - 1)
                return min(start, last), max(start, last) + 1
        return 0, self.trips

    def _span_of(self, read: Span) -> Span | None:
        """The span that has all steps that are read; None where they are of several."""
        return next(((low, high) for low, high in self.spans if low <= read[0] and read[1] <= high), None)

    # -- the new loops -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The steps of the first loop before the second one begins."""
        self.source = self.source.with_operands([self.table[operand] for operand in self.pair.first.inputs])
        self.carries = list(self.source.carries)
        self._alone(0)

    def _alone(self, number: int) -> None:
        """The steps of a span that only the first loop makes."""
        (low, high), wanted = self.spans[number], self.wanted[number]
        self.parts.append({})
        if low == high:
            return
        # (Written out, for whoever looks for loops to cut reads single steps more easily than other loops.)
        b, source, count = self.b, self.source, len(self.carries)
        rows: list[list[Node]] = [[] for _ in wanted]
        for trip in range(low, high):
            elements = [
                b.op("index", sequence, axis=axis, index=start + step * trip)
                for sequence, (axis, start, step) in zip(source.sequences, source.slices, strict=True)
            ]
            outputs = inline(b, source.body, [b.constant(trip, int64), *self.carries, *source.invariants, *elements])
            self.carries = outputs[:count]
            for known, output in zip(rows, wanted, strict=True):
                known.append(outputs[output])
        self.parts[-1] = {output: b.op("stack", *known, axis=0) for output, known in zip(wanted, rows, strict=True)}

    def _together(self) -> None:
        """The loop for both, and the steps of the first one behind it."""
        pair, source, n, m = self.pair, self.source, len(self.source.carries), len(self.loop.carries)
        before = m + len(self.loop.invariants)
        own = [operand for operand in range(before, len(pair.second.inputs)) if operand not in pair.fed]
        slices = [(axis, start + step * pair.early, step) for axis, start, step in source.slices]
        mine = {place: self.table[node] for place, node in enumerate(pair.second.inputs) if place not in pair.fed}
        made = make_loop(
            self.b,
            trips_of(self.loop),
            self._body(own),
            [*self.carries, *(mine[place] for place in range(m))],
            [*source.invariants, *(mine[place] for place in range(m, before))],
            [*source.sequences, *(mine[place] for place in own)],
            [*slices, *(self.loop.slices[place - before] for place in own)],
        )
        self.carries = made[:n]
        behind = n + m + len(self.wanted[1])
        self.parts.append(dict(zip(self.wanted[1], made[n + m : behind], strict=True)))
        results = [*made[n : n + m], *made[behind:]]
        self.table |= {node: results[node.attrs["index"]] for node in self.graph.nodes if _is_result(node, pair.second)}
        self._alone(2)

    def _body(self, own: Sequence[int]) -> Graph:
        """One step of both: the carries, invariants and sequences of the first, in each case, and then the second's."""
        source, loop, pair = self.source, self.loop, self.pair
        n, m = len(source.carries), len(loop.carries)
        b = Builder()
        t = b.input("t", source.body.inputs[0].tensor)
        theirs = [b.input(f"a{place}", node.tensor) for place, node in enumerate(source.body.inputs[1:])]
        step = b.op("add", t, b.constant(pair.early, int64)) if pair.early else t
        values = inline(b, source.body, [step, *theirs])
        mine = [
            values[pair.fed[place]] if place in pair.fed else b.input(f"b{place}", node.tensor)
            for place, node in enumerate(loop.body.inputs[1:])
        ]
        following = inline(b, loop.body, [t, *mine])
        outputs = [*values[:n], *following[:m], *(values[k] for k in self.wanted[1]), *following[m:]]
        before, inner = m + len(loop.invariants), n + len(source.invariants)
        inputs = [t, *theirs[:n], *mine[:m], *theirs[n:inner], *mine[m:before], *theirs[inner:]]
        inputs += [mine[place] for place in own]
        return Graph.make("body", inputs, [(f"o{place}", node) for place, node in enumerate(outputs)], builder=b)

    # -- everything else -----------------------------------------------------------------------------------------------

    def _result(self, node: Node) -> None:
        """What a result of the first loop has become, where that is one node."""
        number = node.attrs["index"]
        if not is_stack_of(node, self.pair.first):
            self.table[node] = self.carries[number]
            return
        parts = [part[number] for part in self.parts if number in part]
        if sum(int(part.shape[0]) for part in parts) == self.trips:
            self.table[node] = self.b.op("concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def _copy(self, node: Node) -> None:
        """A node that is no part of the two loops, with what it reads of the first one's stacks from their parts."""
        operands, attrs = [self.table.get(operand) for operand in node.inputs], node.attrs
        for place, operand in enumerate(node.inputs):
            if not is_stack_of(operand, self.pair.first):
                continue
            span = self._span_of(self._read(node, place))
            if span is None:
                continue
            operands[place] = self.parts[self.spans.index(span)][operand.attrs["index"]]
            if node.op.name == "index":
                attrs = attrs.replace(index=attrs["index"] - span[0])
            elif node.op.name == "loop" and span[0]:
                slices, position = list(attrs["slices"]), place - len(node.inputs)
                axis, start, step = slices[position]
                slices[position] = (axis, start - span[0], step)
                attrs = attrs.replace(slices=tuple(slices))
        known = tuple(operand for operand in operands if operand is not None)
        assert len(known) == len(operands)
        made = node if known == node.inputs and attrs is node.attrs else self.b.make(node.op, known, attrs)
        self.b.place(made)
        if made is not node:
            self.b.set_note(made, self.graph.note(node))
        self.table[node] = made


def _is_result(node: Node, loop: Node) -> bool:
    return node.op.name == "result" and node.inputs[0] is loop
