"""Recurrent cells written by hand on a bare builder: what ``roll`` and differentiation are tested on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import graphc.ops  # noqa: F401  (fills the op registry)
from graphc.autodiff.reverse import gradient, zeros
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, float32, tensor_type


@dataclass
class Expr:
    """A node with just enough operators to write a cell legibly."""

    b: Builder
    node: Node

    def _wrap(self, op: str, *others: "Expr | float", **attrs: object) -> "Expr":
        operands = [o.node if isinstance(o, Expr) else self.b.constant(o, self.node.dtype) for o in others]
        return Expr(self.b, self.b.op(op, self.node, *operands, **attrs))

    def __add__(self, other: "Expr | float") -> "Expr":
        return self._wrap("add", other)

    def __sub__(self, other: "Expr | float") -> "Expr":
        return self._wrap("subtract", other)

    def __rsub__(self, other: float) -> "Expr":
        return Expr(self.b, self.b.op("subtract", self.b.constant(other, self.node.dtype), self.node))

    def __mul__(self, other: "Expr | float") -> "Expr":
        return self._wrap("multiply", other)

    def __matmul__(self, other: "Expr") -> "Expr":
        return self._wrap("matmul", other)

    def sigmoid(self) -> "Expr":
        return self._wrap("sigmoid")

    def tanh(self) -> "Expr":
        return self._wrap("tanh")

    def at(self, index: int, axis: int = 0) -> "Expr":
        return self._wrap("index", axis=axis, index=index)

    def columns(self, start: int, stop: int) -> "Expr":
        rows = self.node.shape[0]
        return self._wrap("slice", starts=(0, start), stops=(rows, stop), steps=(1, 1))


class Maker:
    """A builder with parameters whose values depend on their names only."""

    def __init__(self, dtype: DType = float32) -> None:
        self.b = Builder()
        self.dtype = dtype
        self.parameters: list[Expr] = []

    def input(self, name: str, *shape: int) -> Expr:
        return Expr(self.b, self.b.input(name, tensor_type(self.dtype, shape)))

    def parameter(self, name: str, *shape: int) -> Expr:
        rng = np.random.default_rng(sum(map(ord, name)) + len(shape))
        value = (rng.standard_normal(shape) * 0.4).astype(self.dtype.storage)
        made = Expr(self.b, self.b.state(State(name, tensor_type(self.dtype, shape), value)))
        self.parameters.append(made)
        return made

    def zeros(self, *shape: int) -> Expr:
        return Expr(self.b, zeros(self.b, tensor_type(self.dtype, shape)))

    def stack(self, parts: Sequence[Expr], axis: int = 0) -> Expr:
        return Expr(self.b, self.b.op("stack", *(p.node for p in parts), axis=axis))

    def concat(self, parts: Sequence[Expr], axis: int = 0) -> Expr:
        return Expr(self.b, self.b.op("concat", *(p.node for p in parts), axis=axis))

    def total(self, x: Expr) -> Expr:
        squared = self.b.op("square", x.node)
        return Expr(self.b, self.b.op("sum", squared, axes=tuple(range(x.node.rank)), keepdims=False))

    def training(self, inputs: Sequence[Expr], loss: Expr, *, to_inputs: bool = False) -> Graph:
        """The joint graph: loss and the gradient of every parameter (and of the inputs)."""
        wrt = [p.node for p in self.parameters] + ([x.node for x in inputs] if to_inputs else [])
        gradients = gradient(self.b, loss.node, wrt)
        outputs = [("loss", loss.node), *((f"g{i}", g) for i, g in enumerate(gradients))]
        return Graph.make("train", [x.node for x in inputs], outputs, builder=self.b)


def lstm(
    steps: int,
    batch: int = 3,
    features: int = 4,
    hidden: int = 5,
    *,
    peephole: bool = False,
    all_outputs: bool = False,
    to_inputs: bool = False,
    axis: int = 0,
    dtype: DType = float32,
) -> Graph:
    """An LSTM with its gates in one product; ``axis`` is where time stands in the input."""
    m = Maker(dtype)
    x = m.input("x", *((steps, batch, features) if axis == 0 else (batch, steps, features)))
    w, u, bias = (
        m.parameter("w", features, 4 * hidden),
        m.parameter("u", hidden, 4 * hidden),
        m.parameter("b", 4 * hidden),
    )
    p = m.parameter("p", hidden) if peephole else None
    h = c = m.zeros(batch, hidden)
    outputs = []
    for t in range(steps):
        z = x.at(t, axis) @ w + h @ u + bias
        i, f, g, o = (z.columns(k * hidden, (k + 1) * hidden) for k in range(4))
        i = (i + p * c if p is not None else i).sigmoid()
        c = f.sigmoid() * c + i * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    result = m.stack(outputs, axis) if all_outputs else h
    return m.training([x], m.total(result), to_inputs=to_inputs)


def gru(steps: int, batch: int = 3, features: int = 4, hidden: int = 5, *, to_inputs: bool = False) -> Graph:
    """A GRU with six separate matrices, every output used."""
    m = Maker()
    x = m.input("x", steps, batch, features)
    wz, wr, wn = (m.parameter(n, features, hidden) for n in ("wz", "wr", "wn"))
    uz, ur, un = (m.parameter(n, hidden, hidden) for n in ("uz", "ur", "un"))
    v = m.parameter("v", hidden, 2)
    h = m.zeros(batch, hidden)
    outputs = []
    for t in range(steps):
        xt = x.at(t)
        z = (xt @ wz + h @ uz).sigmoid()
        r = (xt @ wr + h @ ur).sigmoid()
        n = (xt @ wn + (r * h) @ un).tanh()
        h = (1.0 - z) * n + z * h
        outputs.append(h @ v)
    return m.training([x], m.total(m.stack(outputs)), to_inputs=to_inputs)


def minimal_gated_unit(
    steps: int, batch: int = 3, features: int = 4, hidden: int = 5, *, to_inputs: bool = False
) -> Graph:
    """A cell that no library has: one gate, and the state of two steps ago in the candidate."""
    m = Maker()
    x = m.input("x", steps, batch, features)
    w, u, k = m.parameter("w", features, hidden), m.parameter("u", hidden, hidden), m.parameter("k", hidden)
    h = before = m.zeros(batch, hidden)
    for t in range(steps):
        f = (x.at(t) @ w + h @ u).sigmoid()
        candidate = (f * h @ u + before * k).tanh()
        before, h = h, (1.0 - f) * h + f * candidate
    return m.training([x], m.total(h), to_inputs=to_inputs)


CELLS: dict[str, Callable[[int], Graph]] = {
    "lstm": lambda steps: lstm(steps),
    "lstm, peepholes": lambda steps: lstm(steps, peephole=True),
    "lstm, gradient to x": lambda steps: lstm(steps, to_inputs=True),
    "lstm, every output": lambda steps: lstm(steps, all_outputs=True),
    "lstm, every output, batch first, gradient to x": lambda steps: lstm(
        steps, all_outputs=True, to_inputs=True, axis=1
    ),
    "gru": gru,
    "gru, gradient to x": lambda steps: gru(steps, to_inputs=True),
    "minimal gated unit": lambda steps: minimal_gated_unit(steps),
    "minimal gated unit, gradient to x": lambda steps: minimal_gated_unit(steps, to_inputs=True),
}
