"""What the stages of random programs of loops share (:mod:`tests.loop_programs`)."""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.node import Node
from graphc.ir.types import float32, float64, int64
from tests.generators import GraphMaker, random_cell

Rows = list[Node]
"""One value a step, all of shape (batch, width)."""


class Program:
    """What the stages share: the maker, one dtype, and the streams drawn so far."""

    def __init__(self, m: GraphMaker) -> None:
        self.m, self.b = m, m.b
        self.element = m.one_of((float32, float64))
        self.batch = m.number(1, 3)
        self.streams = 0
        self.key: Node | None = None

    def first_rows(self) -> Rows:
        """The rows of a new argument, or of one argument each."""
        m, steps, width = self.m, self.m.number(1, 40), self.m.number(1, 4)
        if m.rng.random() < 0.1:
            for _ in range(steps):
                m.source(self.element, (self.batch, width))
            return m.inputs[-steps:]
        axis = m.number(0, 1)
        m.source(self.element, (steps, self.batch, width) if axis == 0 else (self.batch, steps, width))
        return self.rows_of(m.inputs[-1], axis)

    def rows_of(self, whole: Node, axis: int) -> Rows:
        """A tensor step by step, by indices or by slices."""
        b, steps = self.b, whole.shape[axis]
        if self.m.rng.random() < 0.8:
            return [b.op("index", whole, axis=axis, index=step) for step in range(steps)]
        rows = []
        for step in range(steps):
            starts, stops = [0] * whole.rank, list(whole.shape)
            starts[axis], stops[axis] = step, step + 1
            part = b.op("slice", whole, starts=tuple(starts), stops=tuple(stops), steps=(1,) * whole.rank)
            rows.append(b.op("reshape", part, shape=(*whole.shape[:axis], *whole.shape[axis + 1 :])))
        return rows

    def parameter(self, *shape: int) -> Node:
        """A new state variable."""
        self.m.source(self.element, shape, state=True)
        return self.m.states[-1]

    def weighted(self, row: Node, weight: Node) -> Node:
        """tanh(row · weight)."""
        return self.b.op("tanh", self.b.op("matmul", row, weight))

    def zeros(self, width: int) -> Node:
        """A state of zeros."""
        return self.b.op("broadcast_to", self.b.constant(0, self.element), shape=(self.batch, width))

    def cell(self, width: int, hidden: int) -> tuple[Callable[..., list[Node]], list[Node]]:
        """A random cell and parameters for it."""
        cell = random_cell(self.m, self.element)
        return cell, [self.parameter(width, hidden), self.parameter(hidden, hidden), self.parameter(hidden)]

    def columns(self, whole: Node, start: int, count: int) -> Node:
        """Some columns of a matrix."""
        stops = (whole.shape[0], start + count)
        return self.b.op("slice", whole, starts=(0, start), stops=stops, steps=(1, 1))

    def normalized(self, row: Node) -> Node:
        """Each row shifted and scaled to a mean of 0 and a variance of nearly 1."""
        b = self.b
        share = b.constant(1 / row.shape[1], self.element)
        mean = b.op("multiply", share, b.op("sum", row, axes=(1,), keepdims=True))
        apart = b.op("subtract", row, mean)
        variance = b.op("multiply", share, b.op("sum", b.op("square", apart), axes=(1,), keepdims=True))
        return b.op("divide", apart, b.op("sqrt", b.op("add", variance, b.constant(0.25, self.element))))

    def draw(self, shape: tuple[int, ...]) -> Node:
        """Random numbers from a stream of their own."""
        if self.key is None:
            self.m.source(int64, (2,))
            self.key = self.m.inputs[-1]
        dtype = self.m.one_of((float32, float64))
        drawn = self.b.op("random_uniform", self.key, shape=shape, stream=self.streams, dtype=dtype)
        self.streams += 1
        return drawn

    def result(self, rows: Rows) -> Node:
        """What the program gives: the last row, all of them, a few, or their sum."""
        b, m = self.b, self.m
        match m.one_of(("last", "stack", "stack", "sum", "two", "targets")):
            case "last":
                return rows[-1]
            case "stack":
                return b.op("stack", *rows, axis=m.number(0, 2))
            case "sum":
                total = rows[0]
                for row in rows[1:]:
                    total = b.op("add", total, row)
                return total
            case "targets":
                return self.loss_by_steps(rows)
            case _:
                return b.op("add", m.one_of(rows), m.one_of(rows))

    def loss_by_steps(self, rows: Rows) -> Node:
        """The sum of a loss at every step, each against a row of a new argument: (batch, width)."""
        self.m.source(self.element, (len(rows), *rows[0].shape))
        targets = self.m.inputs[-1]
        total = self.zeros(rows[0].shape[1])
        for step, row in enumerate(rows):
            target = self.b.op("index", targets, axis=0, index=step)
            total = self.b.op("add", total, self.b.op("square", self.b.op("subtract", row, target)))
        return total
