"""Random graphs and random recurrent loops, the same for the same seed, on whose values all backends must agree.

A graph grows node by node; a node stays only if its value is moderate and finite.  At the end the whole graph, with its
gradients, is evaluated with artificial rounding errors (:mod:`tests.shadow`); if an error could change a decision on
the way, the attempt is dropped and the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401  (fills the registry)
from graphc.autodiff.reverse import gradient
from graphc.errors import GraphcError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate, evaluate_node
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    from_carrier,
    int8,
    int32,
    int64,
    round_to,
    tensor_type,
    to_carrier,
    uint8,
)
from graphc.ir.verify import verify
from tests.optable import Array
from tests.random_ops import PROPOSALS
from tests.shadow import allowed_errors, disagreement, shadow_result

LARGEST = 30.0
_ATTEMPTS = 200
_WEIGHTS = [weight for weight, _ in PROPOSALS]


class GraphMaker:
    """A builder with a pool of nodes whose values are known.

    Attributes:
        b: the builder.
        rng: decides everything.
        pool: nodes to take operands from, in order of creation.
        values: their values in carrier form.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.b = Builder()
        self.rng = rng
        self.pool: list[Node] = []
        self.values: dict[Node, Any] = {}
        self.inputs: list[Node] = []
        self.states: list[Node] = []
        self.arrays: list[Array] = []

    # -- choosing --------------------------------------------------------------------------------------------------

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def one_of(self, options: Sequence[Any]) -> Any:
        """One of several things."""
        return options[int(self.rng.integers(len(options)))]

    def shape(self, low: int = 0, high: int = 3) -> tuple[int, ...]:
        """A small shape; one of twenty has a dimension of 0."""
        dims = [self.number(1, 5) for _ in range(self.number(low, high))]
        if dims and self.rng.random() < 0.05:
            dims[self.number(0, len(dims) - 1)] = 0
        return tuple(dims)

    def pick(self, accept: Callable[[Node], bool]) -> Node | None:
        """A node of the pool; new ones are likelier, so that graphs get deep."""
        fitting = [node for node in self.pool if accept(node)]
        if not fitting:
            return None
        place = 1.0 - self.rng.random() ** 2 if self.rng.random() < 0.7 else self.rng.random()
        return fitting[min(int(place * len(fitting)), len(fitting) - 1)]

    def float_node(self, low: int = 0, high: int = 4) -> Node | None:
        """A floating-point node of a rank between ``low`` and ``high``."""
        return self.pick(lambda node: node.dtype.is_float and low <= node.rank <= high)

    def any_node(self, low: int = 0, high: int = 4) -> Node | None:
        """A node of any dtype."""
        return self.pick(lambda node: low <= node.rank <= high)

    def integer_node(self) -> Node | None:
        """An integer node."""
        return self.pick(lambda node: node.dtype.is_integer)

    # -- making ----------------------------------------------------------------------------------------------------

    def constant(self, values: Any, element: DType) -> Node:
        """A constant whose value is known."""
        return self.known(self.b.constant(values, element))

    def op(self, name: str, *inputs: Node, **attrs: Any) -> Node:
        """A node whose value is known."""
        return self.known(self.b.op(name, *inputs, **attrs))

    def known(self, node: Node) -> Node:
        """``node`` with its value, and those of its new inputs, worked out."""
        stack = [node]
        while stack:
            top = stack[-1]
            waiting = [operand for operand in top.inputs if operand not in self.values]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if top not in self.values:
                self.values[top] = evaluate_node(top, [self.values[operand] for operand in top.inputs])
        return node

    def is_moderate(self, node: Node) -> bool:
        """Finite and not large, as far as floats go."""
        value = self.values[node]
        return not node.dtype.is_float or bool(
            np.all(np.isfinite(value)) and np.max(np.abs(value), initial=0.0) <= LARGEST
        )

    def add(self, node: Node) -> bool:
        """Take a node into the pool if its value is moderate."""
        if node in self.pool or not self.is_moderate(node):
            return False
        self.pool.append(node)
        return True

    def source(self, element: DType, shape: tuple[int, ...], *, state: bool = False) -> None:
        """A new argument or state variable with random values."""
        if element is bool_:
            drawn: Array = self.rng.integers(0, 2, shape)
        elif element.is_integer:
            drawn = self.rng.integers(0 if element is uint8 else -9, 10, shape)
        else:
            drawn = self.rng.uniform(-2, 2, shape)
        array = from_carrier(round_to(np.asarray(drawn).astype(element.compute), element), element)
        if state:
            node = self.b.state(State(f"s{len(self.states)}", tensor_type(element, shape), array))
            self.states.append(node)
        else:
            node = self.b.new_input(f"x{len(self.inputs)}", tensor_type(element, shape))
            self.inputs.append(node)
            self.arrays.append(array)
        self.values[node] = to_carrier(array, element)
        self.pool.append(node)


# -- graphs ------------------------------------------------------------------------------------------------------------

_SOURCES = (float32, float32, float32, float64, float64, float16, bfloat16, int32, int64, int8, uint8, bool_)


def random_graph(seed: int) -> tuple[Graph, list[Array]]:
    """A graph of 20 to 200 nodes with the gradients of a scalar, and its arguments.

    Args:
        seed: equal seeds give equal graphs.
    """
    for attempt in range(_ATTEMPTS):
        made = _attempt(np.random.default_rng([seed, attempt]))
        if made is not None:
            return made
    raise AssertionError(f"seed {seed}: no graph in {_ATTEMPTS} attempts")


def _attempt(rng: np.random.Generator) -> tuple[Graph, list[Array]] | None:
    m = GraphMaker(rng)
    for position in range(m.number(3, 6)):
        m.source(float32 if position == 0 else m.one_of(_SOURCES), m.shape(1 if position == 0 else 0))
    for _ in range(m.number(0, 2)):
        element, shape = m.one_of((float32, float64, *_SOURCES)), m.shape()
        # Variables of one type may change places.
        for _ in range(m.number(1, 2)):
            m.source(element, shape, state=True)
    target = m.number(12, 80)
    for _ in range(4 * target):
        if len(m.pool) >= target:
            break
        propose = PROPOSALS[_weighted(rng)][1]
        try:
            made = propose(m)
        except GraphcError:
            continue  # shapes that do not fit: the next proposal
        if made is not None:
            m.add(made)
    return _finished(m)


def _weighted(rng: np.random.Generator) -> int:
    cumulative = np.cumsum(_WEIGHTS)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _finished(m: GraphMaker) -> tuple[Graph, list[Array]] | None:
    used = {operand for node in m.pool for operand in node.inputs}
    leaves = [node for node in m.pool if node not in used and node.op.name not in ("input", "state")]
    if not leaves:
        return None
    outputs = [(f"y{k}", node) for k, node in enumerate(leaves)]
    wrt = [node for node in (*m.inputs, *m.states) if node.dtype.is_float]
    parts = [node for node in leaves if node.dtype.is_float and all(node.shape)]
    table: dict[Node, Node] = {}
    if parts and wrt:
        total = None
        for part in parts:
            whole = m.b.op("sum", m.b.op("cast", part, dtype=float64), axes=tuple(range(part.rank)), keepdims=False)
            total = whole if total is None else m.b.op("add", total, whole)
        assert total is not None
        gradients = gradient(m.b, total, wrt)
        outputs += [("total", total), *((f"g{k}", node) for k, node in enumerate(gradients))]
        table = dict(zip(wrt, gradients, strict=True))
    if m.rng.random() < 0.15:
        outputs += [("again", m.one_of(leaves)), ("given", m.one_of([*m.inputs, *m.states]))]
    updates = [(s, new) for s in m.states if (new := _new_value(m, s, table.get(s))) is not None]
    graph = Graph.make("random", m.inputs, outputs, updates, builder=m.b)
    return (graph, m.arrays) if 20 <= len(graph) <= 200 and is_fit(graph, m.arrays) else None


def _new_value(m: GraphMaker, variable: Node, derivative: Node | None) -> Node | None:
    """A step down the gradient, or any value of the type: also an argument, another variable, or an output."""
    if m.rng.random() < 0.3:
        return m.pick(lambda node: node.type is variable.type and node is not variable)
    if derivative is None:
        return None
    step = m.b.op("multiply", m.b.constant(0.125, variable.dtype), derivative)
    return m.b.op("subtract", variable, step)


def is_fit(graph: Graph, arrays: Sequence[Array]) -> bool:
    """Whether correct backends must agree: everything finite, moderate, and no decision within rounding errors."""
    verify(graph)
    made, updated = evaluate(graph, arrays)
    roots = [*graph.outputs, *((v.attrs["state"].name, n) for v, n in graph.updates)]
    for name, node in roots:
        value = to_carrier(updated[name] if name in updated else made[name], node.dtype)
        if node.dtype.is_float and not (np.isfinite(value).all() and np.max(np.abs(value), initial=0) < 1e4):
            return False
    allowed = allowed_errors(graph, arrays)
    if allowed is None:
        return False
    # The reference itself, which rounds as the dtypes say, must lie within what is allowed.
    return disagreement(graph, (made, updated), shadow_result(graph, arrays), allowed) is None


# -- loops -------------------------------------------------------------------------------------------------------------

_GATES = ("tanh", "sigmoid", "sin", "atan")


def random_loop_graph(seed: int) -> tuple[Graph, list[Array]]:
    """A random recurrent cell, unrolled 1 to 40 times, with a ragged start or end, and its gradients.

    Args:
        seed: equal seeds give equal graphs.
    """
    for attempt in range(_ATTEMPTS):
        made = _loop_attempt(np.random.default_rng([seed, attempt, 1]))
        if made is not None:
            return made
    raise AssertionError(f"seed {seed}: no loop in {_ATTEMPTS} attempts")


def _loop_attempt(rng: np.random.Generator) -> tuple[Graph, list[Array]] | None:
    m = GraphMaker(rng)
    b, element = m.b, m.one_of((float32, float64))
    steps, batch, width, hidden = m.number(1, 40), m.number(1, 3), m.number(1, 4), m.number(1, 4)
    axis = m.number(0, 1)
    m.source(element, (steps, batch, width) if axis == 0 else (batch, steps, width))
    x = m.inputs[0]
    layers, reached = m.number(1, 2), x
    wrt = [x] if rng.random() < 0.5 else []
    for _ in range(layers):
        rows = [b.op("index", reached, axis=axis, index=step) for step in range(steps)]
        seen = run_layer(m, element, rows, batch, hidden)
        reached = b.op("stack", *seen, axis=axis)
    result = b.op("stack", *seen, axis=m.number(0, 2)) if rng.random() < 0.5 else seen[-1]
    if rng.random() < 0.3 and len(seen) > 2 and result.rank == 2:
        result = b.op("add", result, seen[m.number(0, len(seen) - 1)])
    total = b.op("sum", b.op("square", result), axes=tuple(range(result.rank)), keepdims=False)
    gradients = gradient(b, total, [*m.states, *wrt])
    outputs = [("loss", total), ("result", result), *((f"g{k}", node) for k, node in enumerate(gradients))]
    updates = []
    if rng.random() < 0.5:
        updates = [
            (s, b.op("subtract", s, b.op("multiply", b.constant(0.0625, element), g)))
            for s, g in zip(m.states, gradients, strict=False)
        ]
    graph = Graph.make("loops", m.inputs, outputs, updates, builder=b)
    return (graph, m.arrays) if is_fit(graph, m.arrays) else None


def run_layer(m: GraphMaker, element: DType, rows: Sequence[Node], batch: int, hidden: int) -> list[Node]:
    """The outputs of a recurrent layer over ``rows``, in their order.

    It may run backwards, treat its first or last step apart, look at the row before, or have a weight for each step.
    """
    b, rng, steps = m.b, m.rng, len(rows)
    first = len(m.states)
    for shape in ((rows[0].shape[-1], hidden), (hidden, hidden), (hidden,)):
        m.source(element, shape, state=True)
    parameters = m.states[first:]
    cell = random_cell(m, element)
    if rng.random() < 0.25:
        m.source(element, (steps, hidden), state=True)
        weights: Node | None = m.states[-1]
    else:
        weights = None
    looks_back = rng.random() < 0.25
    zero = b.op("broadcast_to", b.constant(0, element), shape=(batch, hidden))
    carried = [zero] * m.number(1, 3)
    order = range(steps) if rng.random() < 0.75 else range(steps - 1, -1, -1)
    apart = {place for place in (0, steps - 1) if rng.random() < 0.3}
    seen: dict[int, Node] = {}
    for count, step in enumerate(order):
        row = b.op("negative", rows[step]) if count in apart else rows[step]
        if looks_back and step:
            row = b.op("add", row, b.op("multiply", b.constant(0.5, element), rows[step - 1]))
        carried = cell(row, parameters, carried)
        if weights is not None:
            carried[0] = b.op("multiply", carried[0], b.op("index", weights, axis=0, index=step))
        seen[step] = carried[0]
    return [seen[step] for step in range(steps)]


Cell = Callable[[Node, Sequence[Node], Sequence[Node]], list[Node]]


def random_cell(m: GraphMaker, element: DType) -> Cell:
    """A few random instructions over the step's input, the parameters and the carries: the same ones every step."""
    b = m.b
    instructions = [
        (
            m.one_of(("add", "multiply", "subtract", "gate", "gate", "mix", "product")),
            m.number(0, 99),
            m.number(0, 99),
            m.one_of(_GATES),
        )
        for _ in range(m.number(2, 7))
    ]
    uses_step_product = m.rng.random() < 0.9

    def cell(row: Node, parameters: Sequence[Node], carries: Sequence[Node]) -> list[Node]:
        w, u, bias = parameters
        known = [*carries]
        entering = b.op("add", b.op("matmul", carries[0], u), bias)
        known.append(b.op("add", b.op("matmul", row, w), entering) if uses_step_product else entering)
        for kind, left, right, gate in instructions:
            p, q = known[-1 - left % len(known)], known[right % len(known)]
            match kind:
                case "gate":
                    made = b.op(gate, p)
                case "mix":
                    share = b.op("sigmoid", p)
                    rest = b.op("subtract", b.constant(1, element), share)
                    made = b.op("add", b.op("multiply", share, q), b.op("multiply", rest, known[-1]))
                case "product":
                    made = b.op("matmul", b.op("tanh", p), u)
                case _:
                    made = b.op(kind, p, q)
            known.append(made)
        following = b.op("tanh", known[-1])
        return [following, *carries[:-1]]

    return cell
