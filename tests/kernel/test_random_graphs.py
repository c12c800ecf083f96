"""Random graphs, plain and fused, run to what the reference evaluator computes; equal graphs lower to equal text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.types import DType, bfloat16, float16, float32, float64
from graphc.kernel.lower import lower_module
from graphc.kernel.printer import print_program
from graphc.passes.fuse import Fuse
from tests.kernel.checks import check_graph, state, typed
from tests.kernel.test_loops import loop

UNARY = ("tanh", "sin", "negative", "sigmoid", "relu", "abs")
BINARY = ("add", "subtract", "multiply", "maximum")


class _Maker:
    """Grows a graph by random ops on random earlier values; every value has a few small dimensions."""

    def __init__(self, draw: np.random.Generator, element: DType, b: Builder) -> None:
        self.draw = draw
        self.element = element
        self.b = b
        self.pool: list[Node] = []

    def pick(self, rank: int = 0) -> Node:
        fitting = [node for node in self.pool if node.rank >= rank]
        return fitting[int(self.draw.integers(len(fitting)))] if fitting else self.pool[0]

    def grow(self) -> None:
        made = getattr(self, "_" + str(self.draw.choice(CHOICES)))()
        if made.tensor.static_size <= 500 and made.rank <= 4:
            self.pool.append(made)

    def _unary(self) -> Node:
        return self.b.op(str(self.draw.choice(UNARY)), self.pick())

    def _binary(self) -> Node:
        x = self.pick()
        fitting = [
            y
            for y in self.pool
            if y.rank <= x.rank and all(m in (1, n) for m, n in zip(y.shape[::-1], x.shape[::-1], strict=False))
        ]
        y = fitting[int(self.draw.integers(len(fitting)))]
        return self.b.op(str(self.draw.choice(BINARY)), *((x, y) if self.draw.integers(2) else (y, x)))

    def _select(self) -> Node:
        x, y = self.pick(), self.b.constant(0.5, self.element)
        return self.b.op("select", self.b.op("less", x, y), x, self.b.op("square", x))

    def _reduce(self) -> Node:
        x = self.pick()
        axes = tuple(axis for axis in range(x.rank) if self.draw.integers(2))
        return self.b.op(str(self.draw.choice(["sum", "max"])), x, axes=axes, keepdims=bool(self.draw.integers(2)))

    def _softmax(self) -> Node:
        x = self.pick(1)
        if not x.rank:
            return self._unary()
        e = self.b.op("exp", self.b.op("subtract", x, self.b.op("max", x, axes=(x.rank - 1,), keepdims=True)))
        return self.b.op("divide", e, self.b.op("sum", e, axes=(x.rank - 1,), keepdims=True))

    def _transpose(self) -> Node:
        x = self.pick()
        return self.b.op("transpose", x, permutation=tuple(int(axis) for axis in self.draw.permutation(x.rank)))

    def _reshape(self) -> Node:
        x = self.pick()
        size = x.tensor.static_size
        factors = [n for n in range(1, size + 1) if size % n == 0]
        first = int(self.draw.choice(factors))
        return self.b.op("reshape", x, shape=(first, size // first) if self.draw.integers(2) else (size,))

    def _slice(self) -> Node:
        x = self.pick()
        starts = [int(self.draw.integers(0, n)) for n in x.shape]
        stops = [int(self.draw.integers(start, n)) + 1 for start, n in zip(starts, x.shape, strict=True)]
        steps = [int(self.draw.integers(1, 3)) for _ in x.shape]
        return self.b.op("slice", x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))

    def _index(self) -> Node:
        x = self.pick(1)
        if not x.rank:
            return self._binary()
        axis = int(self.draw.integers(x.rank))
        return self.b.op("index", x, axis=axis, index=int(self.draw.integers(x.shape[axis])))

    def _flip(self) -> Node:
        x = self.pick()
        return self.b.op("flip", x, axes=tuple(axis for axis in range(x.rank) if self.draw.integers(2)))

    def _broadcast(self) -> Node:
        x = self.pick()
        return self.b.op("broadcast_to", x, shape=(2, *x.shape))

    def _join(self) -> Node:
        x = self.pick(1)
        if not x.rank or self.draw.integers(2):
            same = [node for node in self.pool if node.shape == x.shape]
            parts = [same[int(self.draw.integers(len(same)))] for _ in range(3)]
            return self.b.op("stack", *parts, axis=int(self.draw.integers(x.rank + 1)))
        axis = int(self.draw.integers(x.rank))
        return self.b.op("concat", x, self.b.op("cos", x), x, axis=axis)

    def _pad(self) -> Node:
        x = self.pick()
        low = tuple(int(self.draw.integers(0, 3)) for _ in x.shape)
        high = tuple(int(self.draw.integers(0, 3)) for _ in x.shape)
        return self.b.op("pad", x, self.b.constant(-1.0, self.element), low=low, high=high)

    def _patches(self) -> Node:
        x = self.pick(1)
        if not x.rank or x.shape[-1] < 3:
            return self._unary()
        attrs = {"axes": (x.rank - 1,), "window": (2,), "strides": (int(self.draw.integers(1, 3)),), "dilation": (1,)}
        windows = self.b.op("patches", x, **attrs)
        return windows if self.draw.integers(2) else self.b.op("fold_patches", windows, **attrs, shape=x.shape)

    def _matmul(self) -> Node:
        x = self.pick(2)
        if x.rank < 2:
            return self._unary()
        order = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
        return self.b.op("sigmoid", self.b.op("matmul", x, self.b.op("transpose", x, permutation=order)))

    def _cumsum(self) -> Node:
        x = self.pick(1)
        return self.b.op("cumsum", x, axis=0, reverse=bool(self.draw.integers(2))) if x.rank else self._unary()

    def _loop(self) -> Node:
        x, trips = self.pick(), int(self.draw.integers(1, 4))
        inner_seed = int(self.draw.integers(1000))

        def step(b: Builder, t: Node, s: Node, r: Node, w: Node) -> tuple[list[Node], list[Node]]:
            maker = _Maker(np.random.default_rng(inner_seed), self.element, b)
            maker.pool = [s, r, w]
            for _ in range(4):
                maker.grow()
            same = [node for node in maker.pool if node.shape == s.shape]
            following = [b.op("tanh", same[-1]) if inner_seed % 3 else same[-1], same[inner_seed % len(same)]]
            return following, [maker.pool[-1], following[inner_seed % 2]]

        results = loop(self.b, step, trips, [x, self.b.op("cos", x)], [x])
        return results[int(self.draw.integers(len(results)))]


CHOICES = tuple(name[1:] for name in vars(_Maker) if name.startswith("_") and not name.startswith("__"))


def random_graph(seed: int, element: DType, size: int) -> Graph:
    draw = np.random.default_rng(seed)
    b = Builder()
    maker = _Maker(draw, element, b)
    inputs = [b.input(f"x{i}", typed(element, *shape)) for i, shape in enumerate([(3, 4), (4,), (2, 3, 4)])]
    states = [b.state(state(name, 3, 4, element=element)) for name in ("p", "q")]
    maker.pool += [*inputs, *states]
    for _ in range(size):
        maker.grow()
    outputs = [(f"y{i}", maker.pool[int(draw.integers(len(maker.pool)))]) for i in range(3)]
    fitting = [node for node in maker.pool if node.shape == (3, 4)]
    updates = [(variable, fitting[int(draw.integers(len(fitting)))]) for variable in states]
    return Graph.make("f", inputs, outputs, updates, builder=b)


@given(seed=st.integers(0, 2**32), element=st.sampled_from([float64, float64, float64, float32, float16, bfloat16]))
@settings(max_examples=120)
def test_random_graphs(seed: int, element: DType) -> None:
    size = 6 if element.is_half else 20
    graph = random_graph(seed, element, size)
    check_graph(graph)
    check_graph(Fuse().run(graph))


@pytest.mark.parametrize("seed", [3, 4])
def test_lowering_is_deterministic(seed: int) -> None:
    texts = [
        print_program(lower_module(Module("m", {"f": Fuse().run(random_graph(seed, float32, 30))}))) for _ in range(2)
    ]
    assert texts[0] == texts[1]
