"""Random programs of loops, the same for the same seed: layers of random cells one after another and side by side, in
both directions, gates in one product, layer normalization, dropout, masks, windows, decoders that feed themselves,
attention, loops in loops, a loss at every step, steps that are apart from the others.

They are what :mod:`tests.generators` makes of one loop, and are held to the same rules: values are moderate, and no
rounding error can change a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphc.autodiff.reverse import gradient
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.traverse import users
from graphc.ir.types import int64
from tests.generators import GraphMaker, is_fit, run_layer
from tests.loop_program_parts import Program, Rows
from tests.optable import Array

_ATTEMPTS = 200
_LARGEST = 2500
"""Nodes of a graph, gradients included."""


def random_loop_program(seed: int) -> tuple[Graph, list[Array]]:
    """A graph of one to three stages of loops, each unrolled 1 to 40 times, with gradients; and its arguments.

    Args:
        seed: equal seeds give equal graphs.
    """
    for attempt in range(_ATTEMPTS):
        made = _attempt(np.random.default_rng([seed, attempt, 2]))
        if made is not None:
            return made
    raise AssertionError(f"seed {seed}: no program in {_ATTEMPTS} attempts")


def _attempt(rng: np.random.Generator) -> tuple[Graph, list[Array]] | None:
    program = Program(GraphMaker(rng))
    m, b = program.m, program.b
    rows = program.first_rows()
    for _ in range(m.number(1, 3)):
        rows = m.one_of(_STAGES)(program, rows)
    result = program.result(rows)
    total = b.op("sum", b.op("square", result), axes=tuple(range(result.rank)), keepdims=False)
    wrt = [node for node in (*m.states, *m.inputs) if node.dtype.is_float and rng.random() < 0.8]
    gradients = gradient(b, total, wrt)
    outputs = [("loss", total), ("result", result), *((f"g{k}", node) for k, node in enumerate(gradients))]
    updates = []
    if rng.random() < 0.4:
        step = b.constant(0.0625, program.element)
        new = [(s, b.op("subtract", s, b.op("multiply", step, g))) for s, g in zip(wrt, gradients, strict=True)]
        updates = [pair for pair in new if pair[0].op.name == "state"]
    graph = Graph.make("program", m.inputs, outputs, updates, builder=b)
    if len(graph) > _LARGEST:
        return None
    if rng.random() < 0.15:
        graph = reordered(graph, lambda _: rng.random())
    return (graph, m.arrays) if is_fit(graph, m.arrays) else None


def reordered(graph: Graph, priority: Callable[[Node], float]) -> Graph:
    """The graph as an importer would build it from a file whose nodes stand in another topological order."""
    readers = users(graph.nodes)
    waiting = {node: len(set(node.inputs)) for node in graph.nodes}
    ready = [node for node in graph.nodes if not waiting[node]]
    b = Builder()
    made: dict[Node, Node] = {}
    while ready:
        node = ready.pop(min(range(len(ready)), key=lambda place: priority(ready[place])))
        made[node] = b.make(node.op, [made[operand] for operand in node.inputs], node.attrs)
        for reader in readers[node]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return Graph.make(
        graph.name,
        [made[node] for node in graph.inputs],
        [(name, made[node]) for name, node in graph.outputs],
        [(made[variable], made[value]) for variable, value in graph.updates],
    )


# -- stages ------------------------------------------------------------------------------------------------------------


def _layer(p: Program, rows: Rows) -> Rows:
    """A random cell over the rows, maybe in reverse, maybe with ragged ends."""
    return run_layer(p.m, p.element, rows, p.batch, p.m.number(1, 4))


def _both_directions(p: Program, rows: Rows) -> Rows:
    """Two cells, one of which starts at the end; joined step by step."""
    hidden = p.m.number(1, 3)
    joined = p.m.one_of(("concat", "add", "multiply"))
    directions: list[Rows] = []
    for order in (rows, rows[::-1]):
        cell, parameters = p.cell(rows[0].shape[1], hidden)
        state, seen = [p.zeros(hidden)] * p.m.number(1, 2), []
        for row in order:
            state = cell(row, parameters, state)
            seen.append(state[0])
        directions.append(seen)
    pairs = zip(directions[0], directions[1][::-1], strict=True)
    if joined == "concat":
        return [p.b.op("concat", left, right, axis=1) for left, right in pairs]
    return [p.b.op(joined, left, right) for left, right in pairs]


def _in_one_loop(p: Program, rows: Rows) -> Rows:
    """Two cells in one Python loop, the second fed by the first, and maybe the first by the second."""
    hidden = p.m.number(1, 3)
    first, one = p.cell(rows[0].shape[1], hidden)
    second, two = p.cell(hidden, hidden)
    feeds_back = p.m.rng.random() < 0.5
    lower, upper = [p.zeros(hidden)], [p.zeros(hidden)]
    seen = []
    for row in rows:
        lower = first(row, one, [p.b.op("add", lower[0], upper[0])] if feeds_back else lower)
        upper = second(lower[0], two, upper)
        seen.append(upper[0])
    return seen


def _side_by_side(p: Program, rows: Rows) -> Rows:
    """Two layers over the same rows."""
    hidden = p.m.number(1, 3)
    left, right = (run_layer(p.m, p.element, rows, p.batch, hidden) for _ in range(2))
    return [p.b.op("multiply", a, b) for a, b in zip(left, right, strict=True)]


def _joined_operand(p: Program, rows: Rows) -> Rows:
    """h ← tanh(concat(x, h) · W), with several W or one."""
    hidden, width = p.m.number(1, 4), rows[0].shape[1]
    gates = [p.parameter(width + hidden, hidden) for _ in range(p.m.number(1, 3))]
    state, seen = p.zeros(hidden), []
    for row in rows:
        both = p.b.op("concat", row, state, axis=1)
        parts = [p.weighted(both, gate) for gate in gates]
        state = parts[0]
        for part in parts[1:]:
            state = p.b.op("multiply", p.b.op("sigmoid", state), part)
        seen.append(state)
    return seen


def _gates_in_one_product(p: Program, rows: Rows) -> Rows:
    """An LSTM with its gates in one product; with peepholes, normalized, or a bias, each of them or not."""
    b, hidden, width = p.b, p.m.number(1, 4), rows[0].shape[1]
    w, u, bias, peephole = p.parameter(width, 4 * hidden), p.parameter(hidden, 4 * hidden), *_gate_vectors(p, hidden)
    is_normalized = p.m.rng.random() < 0.3
    state, cell, seen = p.zeros(hidden), p.zeros(hidden), []
    for row in rows:
        product = b.op("add", b.op("matmul", row, w), b.op("matmul", state, u))
        product = product if bias is None else b.op("add", product, bias)
        product = p.normalized(product) if is_normalized else product
        i, f, g, o = (p.columns(product, place * hidden, hidden) for place in range(4))
        if peephole is not None:
            i = b.op("add", i, b.op("multiply", peephole, cell))
        kept = b.op("multiply", b.op("sigmoid", f), cell)
        cell = b.op("add", kept, b.op("multiply", b.op("sigmoid", i), b.op("tanh", g)))
        state = b.op("multiply", b.op("sigmoid", o), b.op("tanh", cell))
        seen.append(state)
    return seen


def _gate_vectors(p: Program, hidden: int) -> tuple[Node | None, Node | None]:
    """A bias of all gates, and a peephole's weights."""
    bias = p.parameter(4 * hidden) if p.m.rng.random() < 0.7 else None
    return bias, p.parameter(hidden) if p.m.rng.random() < 0.3 else None


def _masked_ends(p: Program, rows: Rows) -> Rows:
    """Sequences of different lengths: beyond its end a row of the batch keeps its state."""
    b, hidden = p.b, p.m.number(1, 3)
    cell, parameters = p.cell(rows[0].shape[1], hidden)
    p.m.source(int64, (p.batch,))
    ends = b.op("abs", p.m.inputs[-1])
    state, seen = [p.zeros(hidden)], []
    for step, row in enumerate(rows):
        inside = b.op("reshape", b.op("less", b.constant(step, int64), ends), shape=(p.batch, 1))
        state = [b.op("select", inside, cell(row, parameters, state)[0], state[0])]
        seen.append(state[0])
    return seen


def _windows(p: Program, rows: Rows) -> Rows:
    """Windows of two or three neighbouring rows, side by side."""
    b, size, stride = p.b, min(p.m.number(2, 3), len(rows)), p.m.number(1, 2)
    whole = b.op("stack", *rows, axis=1)
    made = []
    for first in range(0, len(rows) - size + 1, stride):
        starts, stops = (0, first, 0), (p.batch, first + size, whole.shape[2])
        window = b.op("slice", whole, starts=starts, stops=stops, steps=(1, 1, 1))
        made.append(b.op("reshape", window, shape=(p.batch, size * whole.shape[2])))
    return made


def _dropout(p: Program, rows: Rows) -> Rows:
    """Each row masked by numbers of its own."""
    twice = p.m.rng.random() < 0.3
    dropped = []
    for row in rows:
        for _ in range(2 if twice else 1):
            drawn = p.draw(row.shape)
            keep = p.b.op("less", drawn, p.b.constant(0.75, drawn.dtype))
            row = p.b.op("select", keep, row, p.b.constant(0, p.element))
        dropped.append(row)
    return _layer(p, dropped) if p.m.rng.random() < 0.7 else dropped


def _masked_state(p: Program, rows: Rows) -> Rows:
    """A cell whose state is masked by random numbers at every step."""
    hidden = p.m.number(1, 3)
    cell, parameters = p.cell(rows[0].shape[1], hidden)
    state, seen = [p.zeros(hidden)], []
    for row in rows:
        drawn = p.draw((p.batch, hidden))
        keep = p.b.op("cast", p.b.op("less", drawn, p.b.constant(0.5, drawn.dtype)), dtype=p.element)
        state = cell(row, parameters, [p.b.op("multiply", state[0], keep)])
        seen.append(state[0])
    return seen


def _dense(p: Program, rows: Rows) -> Rows:
    """All rows as one tensor, through a product, and apart again."""
    axis = p.m.number(0, 1)
    whole = p.b.op("stack", *rows, axis=axis)
    weight = p.parameter(rows[0].shape[1], p.m.number(1, 4))
    return p.rows_of(p.weighted(whole, weight), axis)


def _attention(p: Program, rows: Rows) -> Rows:
    """A decoder that attends to all rows, for as many steps as it likes."""
    width = rows[0].shape[1]
    memory = p.b.op("stack", *rows, axis=1)
    cell, parameters = p.cell(width, width)
    state, seen = [p.zeros(width)], []
    for _ in range(p.m.number(1, 12)):
        query = p.b.op("reshape", state[0], shape=(p.batch, 1, width))
        scores = p.b.op("sum", p.b.op("multiply", memory, query), axes=(2,), keepdims=True)
        top = p.b.op("stop_gradient", p.b.op("max", scores, axes=(1,), keepdims=True))
        powers = p.b.op("exp", p.b.op("subtract", scores, top))
        share = p.b.op("divide", powers, p.b.op("sum", powers, axes=(1,), keepdims=True))
        context = p.b.op("sum", p.b.op("multiply", share, memory), axes=(1,), keepdims=False)
        state = cell(context, parameters, state)
        seen.append(state[0])
    return seen


def _decoder(p: Program, rows: Rows) -> Rows:
    """A decoder that starts from the last row and reads the embedding of its own likeliest word."""
    hidden, words, width = rows[-1].shape[1], p.m.number(2, 5), p.m.number(1, 3)
    cell, parameters = p.cell(width, hidden)
    table, out = p.parameter(words, width), p.parameter(hidden, words)
    state, seen = [rows[-1]], []
    word = p.b.op("broadcast_to", p.b.constant(0, int64), shape=(p.batch,))
    for _ in range(p.m.number(1, 20)):
        state = cell(p.b.op("take", table, word, axis=0), parameters, state)
        word = p.b.op("argmax", p.b.op("matmul", state[0], out), axes=(1,), keepdims=False)
        seen.append(state[0])
    return seen


def _projected_feedback(p: Program, rows: Rows) -> Rows:
    """A decoder that reads its own output through a projection."""
    width = rows[-1].shape[1]
    cell, parameters = p.cell(width, width)
    back = p.parameter(width, width)
    state, seen = [rows[-1]], []
    for _ in range(p.m.number(1, 30)):
        state = cell(p.weighted(state[0], back), parameters, state)
        seen.append(state[0])
    return seen


def _some_rows(p: Program, rows: Rows) -> Rows:
    """Every second or third row, from either end; the rest is dropped."""
    stride, first = p.m.number(1, 3), p.m.number(0, 2)
    chosen = rows[first::stride] or rows[:1]
    return chosen[::-1] if p.m.rng.random() < 0.5 else chosen


def _numbered(p: Program, rows: Rows) -> Rows:
    """Rows scaled by a number that depends on the step."""
    numbers = p.m.rng.uniform(0.5, 1.5, len(rows))
    return [
        p.b.op("multiply", row, p.b.constant(number, p.element))
        for row, number in zip(rows, numbers.tolist(), strict=True)
    ]


def _neighbours(p: Program, rows: Rows) -> Rows:
    """Rows with the one some steps before them added."""
    distance = p.m.number(1, 3)
    return [p.b.op("add", row, rows[step - distance]) if step >= distance else row for step, row in enumerate(rows)]


def _nested(p: Program, rows: Rows) -> Rows:
    """A loop over a few rows in a loop, the state handed on or added up."""
    rows = rows[: p.m.number(2, 8)]
    hidden = p.m.number(1, 3)
    cell, parameters = p.cell(rows[0].shape[1], hidden)
    hands_on = p.m.rng.random() < 0.5
    state, seen = p.zeros(hidden), []
    for _ in range(p.m.number(2, 6)):
        inner = [state] if hands_on else [p.zeros(hidden)]
        for row in rows:
            inner = cell(row, parameters, inner)
        state = inner[0] if hands_on else p.b.op("tanh", p.b.op("add", state, inner[0]))
        seen.append(state)
    return seen


_STAGES: Sequence[Callable[[Program, Rows], Rows]] = (
    _layer,
    _layer,
    _both_directions,
    _in_one_loop,
    _side_by_side,
    _joined_operand,
    _gates_in_one_product,
    _masked_ends,
    _windows,
    _dropout,
    _masked_state,
    _dense,
    _attention,
    _decoder,
    _projected_feedback,
    _some_rows,
    _numbered,
    _neighbours,
    _nested,
)
