"""Small models on a bare builder, for the tests of drawing."""

import numpy as np

import graphc.ops  # noqa: F401  (fills the op registry)
from graphc.autodiff.reverse import gradient
from graphc.errors import Location
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node, Note
from graphc.ir.state import State
from graphc.ir.types import float32, tensor_type
from tests.cells import lstm

HOSTILE = '"><script>alert(1)</script>]; x -> y; // %s \\N {<b>} \n\r\t\0 ]]> &amp; \u202e \U0001f600 $\\input{x}$ -->'
"""Everything that means something to DOT, XML, HTML, JSON, LaTeX or a terminal."""


def parameter(b: Builder, name: str, *shape: int) -> Node:
    """A trainable state variable."""
    value = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return b.state(State(name, tensor_type(float32, shape), value))


def mlp() -> Module:
    """Two layers with a squared error: ``predict`` and ``train`` by gradient descent."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 3)))
    y = b.input("y", tensor_type(float32, (4, 2)))
    h = x
    weights: list[Node] = []
    for number, (rows, columns) in enumerate(((3, 5), (5, 2))):
        with b.scope(f"dense_{number}"):
            kernel = parameter(b, f"dense_{number}/kernel", rows, columns)
            bias = parameter(b, f"dense_{number}/bias", columns)
            h = b.op("tanh", b.op("add", b.op("matmul", h, kernel), bias))
            weights += [kernel, bias]
    loss = b.op("sum", b.op("square", b.op("subtract", h, y)), axes=(0, 1), keepdims=False)
    updates = []
    for weight, slope in zip(weights, gradient(b, loss, weights), strict=True):
        with b.noted(Note((), ("sgd",)), "update"):
            updates.append((weight, b.op("subtract", weight, b.op("multiply", slope, b.full_like(slope, 0.1)))))
    predict = Graph.make("predict", [x], [("y_hat", h)], builder=b)
    train = Graph.make("train", [x, y], [("loss", loss)], updates, builder=b)
    return Module("mlp", {"predict": predict, "train": train})


def recurrent(steps: int) -> Module:
    """A hand-written cell without any scope, unrolled, with its gradient."""
    return Module("cell", {"train": lstm(steps)})


def marked(steps: int) -> Module:
    """A cell whose steps are marked as the recurrent layers mark theirs."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (steps, 2, 3)))
    with b.scope("rnn"):
        kernel, recurrent_kernel = parameter(b, "rnn/kernel", 3, 4), parameter(b, "rnn/recurrent", 4, 4)
        h = b.op("broadcast_to", b.constant(0.0, float32), shape=(2, 4))
        for step in range(steps):
            with b.scope(f"step {step}"):
                part = b.op("matmul", b.op("index", x, axis=0, index=step), kernel)
                h = b.op("tanh", b.op("add", part, b.op("matmul", h, recurrent_kernel)))
    return Module("marked", {"predict": Graph.make("predict", [x], [("h", h)], builder=b)})


def logistic() -> Module:
    """y = sigmoid(w0 + Xᵀ w), and a squared error."""
    b = Builder()
    x = b.input("X", tensor_type(float32, (5, 7)))
    t = b.input("t", tensor_type(float32, (7, 1)))
    w, w0 = parameter(b, "w", 5, 1), parameter(b, "w0")
    y = b.op("sigmoid", b.op("add", w0, b.op("matmul", b.op("transpose", x, permutation=(1, 0)), w)))
    loss = b.op("sum", b.op("square", b.op("subtract", y, t)), axes=(0, 1), keepdims=False)
    return Module(
        "logistic",
        {
            "predict": Graph.make("predict", [x], [("y", y)], builder=b),
            "loss": Graph.make("loss", [x, t], [("loss", loss)], builder=b),
        },
    )


def hostile() -> Module:
    """Names that try to break out of every format."""
    b = Builder()
    x = b.input(HOSTILE, tensor_type(float32, (2, 3)))
    w = parameter(b, HOSTILE + "/w", 3, 4)
    y = b.op("tanh", b.op("matmul", x, w))
    b.replace_note(y, Note((Location(HOSTILE, 3, HOSTILE),), (HOSTILE, "</script>"), "forward", HOSTILE))
    return Module(HOSTILE, {"predict": Graph.make(HOSTILE, [x], [(HOSTILE, y)], builder=b)})


def chain(count: int) -> Graph:
    """A graph in which nothing repeats."""
    b = Builder()
    x = b.input("x", tensor_type(float32, (2,)))
    rng = np.random.default_rng(7)
    value = x
    for number in range(count):
        scaled = b.op("multiply", value, b.constant(float(number + 2), float32))
        ops = ("sin", "cos", "tanh", "square", "relu", "sigmoid", "negative", "abs")
        value = b.op("add", b.op(ops[int(rng.integers(len(ops)))], scaled), value)
    return Graph.make("chain", [x], [("y", value)], builder=b)
