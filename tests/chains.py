"""Very long chains: ``python -m tests.chains KIND NODES BACKEND`` does to one all that a compiler does, and reports.

It runs in a process of its own, so that the time and the largest memory are the chain's alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

import graphc.ops  # noqa: F401  (fills the registry)
from graphc.autodiff.reverse import gradient
from graphc.driver import compile as compile_model
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.types import float64, tensor_type

WIDTH = 4


def pointwise(b: Builder, x: Node, w: Node, nodes: int) -> Node:
    """x ← sin(x), x ← x + w, x ← x · w, …: one operation a node, in a period that ``roll`` finds."""
    for count in range(nodes):
        x = b.op("sin", x) if count % 3 == 0 else b.op("add" if count % 3 == 1 else "multiply", x, w)
    return x


def products(b: Builder, x: Node, w: Node, nodes: int) -> Node:
    """x ← tanh(x @ w + w): small matrix products."""
    for _ in range(nodes // 3):
        x = b.op("tanh", b.op("add", b.op("matmul", x, w), w))
    return x


def aperiodic(b: Builder, x: Node, w: Node, nodes: int) -> Node:
    """A mixture without a period, which nothing can roll; every step is a contraction, so that errors die out."""
    rng = np.random.default_rng(1)
    before = x
    half, rows = b.constant(0.5, float64), b.constant(1 / WIDTH, float64)
    for count, kind in enumerate(rng.integers(0, 8, nodes)):
        match int(kind):
            case 0:
                made = b.op("matmul", x, w)
            case 1:
                made = b.op("tanh", x)
            case 2:
                made = b.op("multiply", b.op("add", x, before), half)
            case 3:
                made = b.op("multiply", x, b.constant(0.9 + (count % 101) / 1010, float64))
            case 4:
                made = b.op("transpose", x, permutation=(1, 0))
            case 5:
                made = b.op("sin", x)
            case 6:
                made = b.op("subtract", x, b.op("multiply", b.op("sum", x, axes=(0,), keepdims=True), rows))
            case _:
                made = b.op("multiply", b.op("add", x, w), half)
        x, before = made, x
    return x


CHAINS: Mapping[str, Callable[[Builder, Node, Node, int], Node]] = {
    "pointwise": pointwise,
    "products": products,
    "aperiodic": aperiodic,
}

FORWARD_SHARE: Mapping[str, float] = {"pointwise": 0.334, "products": 0.273, "aperiodic": 0.247}
"""Of all nodes those of the chain itself; the others are its gradient."""


def chain(kind: str, nodes: int) -> tuple[Graph, list[np.ndarray]]:
    """A chain of about ``nodes`` nodes, its gradient included, as an entry point; and arguments for it."""
    b = Builder()
    type_ = tensor_type(float64, (WIDTH, WIDTH))
    x, w = b.input("x", type_), b.input("w", type_)
    end = CHAINS[kind](b, x, w, int(nodes * FORWARD_SHARE[kind]))
    total = b.op("sum", end, axes=(0, 1), keepdims=False)
    outputs = [("total", total), *((f"g{k}", node) for k, node in enumerate(gradient(b, total, [x, w])))]
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (WIDTH, WIDTH)), rng.uniform(0.1, 0.35, (WIDTH, WIDTH))]
    return Graph.make("chain", [x, w], outputs, builder=b), arrays


def main(kind: str, nodes: int, backend: str) -> dict[str, float]:
    """Build, differentiate, print, compile and run a chain of about ``nodes`` nodes; processor seconds a step.

    Reading the text back and the reference's answer are checks, outside the time that is taken.
    """
    steps: dict[str, float] = {}
    start = last = time.process_time()

    def done(step: str) -> None:
        nonlocal last
        now = time.process_time()
        steps[step] = round(now - last, 3)
        last = now

    graph, arrays = chain(kind, nodes)
    steps["nodes"] = len(graph)
    done("build and differentiate")
    text = print_graph(graph)
    done("print")
    model = compile_model(Module("chain", {"run": graph}), backend=backend)
    done("compile")
    got = model.run(*arrays)
    done("run")
    steps["seconds"] = round(time.process_time() - start, 3)
    assert parse_graph(text) == graph
    expected, _ = evaluate(graph, arrays)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
    steps["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return steps


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
