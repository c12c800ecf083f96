"""What generated source looks like: the text for an LSTM, unrolled and as a loop, and for a training step.

The graphs are written by hand, so that the text depends on this backend alone.
"""

from contextlib import contextmanager

import numpy as np

from graphc.backends.numpy.emit import emit_module
from graphc.errors import Location
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Note
from graphc.ir.state import State
from graphc.ir.types import float32, int64, tensor_type
from graphc.ops.loop import make_loop
from graphc.passes.pipeline import run_pipeline

STEPS, BATCH, FEATURES, HIDDEN = 16, 4, 3, 5
ROW = tensor_type(float32, (BATCH, HIDDEN))
SHAPES = {"kernel": (FEATURES, 4 * HIDDEN), "recurrent": (HIDDEN, 4 * HIDDEN), "bias": (4 * HIDDEN,)}


@contextmanager
def _line(b, line, *scope, role="forward"):
    with b.noted(Note((Location("/home/someone/model.py", line),), scope), role):
        yield


def _called(b, node, name):
    note = b.note(node)
    b.replace_note(node, Note(note.locations, note.scope, note.role, name))
    return node


def _parameter(b, name, *shape):
    initial = np.linspace(-0.5, 0.5, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return b.state(State(name, tensor_type(float32, shape), initial))


def _states(graph):
    return {state.name: state.initial_value() for state in graph.states}


def _cell(b, x, h, c, kernel, recurrent, bias, step=0):
    layer = ("lstm", f"step {step}")
    with _line(b, 14, *layer):
        gates = b.op("add", b.op("add", b.op("matmul", x, kernel), b.op("matmul", h, recurrent)), bias)
        _called(b, gates, "gates")
    with _line(b, 15, *layer):
        i, f, g, o = (
            b.op("slice", gates, starts=(0, k * HIDDEN), stops=(BATCH, (k + 1) * HIDDEN), steps=(1, 1))
            for k in range(4)
        )
        kept = b.op("multiply", b.op("sigmoid", f), c)
        c = _called(b, b.op("add", kept, b.op("multiply", b.op("sigmoid", i), b.op("tanh", g))), "c")
    with _line(b, 16, *layer):
        h = _called(b, b.op("multiply", b.op("sigmoid", o), b.op("tanh", c)), "h")
    return h, c


def _start(b):
    x = b.input("x", tensor_type(float32, (STEPS, BATCH, FEATURES)))
    weights = [_parameter(b, f"lstm/{name}", *shape) for name, shape in SHAPES.items()]
    with _line(b, 12, "lstm"):
        zeros = b.op("broadcast_to", b.constant(0.0, float32), shape=(BATCH, HIDDEN))
    return x, weights, zeros


def unrolled(steps):
    b = Builder()
    x, weights, zeros = _start(b)
    h = c = zeros
    for step in range(steps):
        h, c = _cell(b, b.op("index", x, axis=0, index=step), h, c, *weights, step)
    return Graph.make("predict", [x], [("h", h)], builder=b)


def as_a_loop():
    inner = Builder()
    t, h, c = inner.input("t", tensor_type(int64)), inner.input("h", ROW), inner.input("c", ROW)
    weights = [inner.input(f"v{i}", tensor_type(float32, shape)) for i, shape in enumerate(SHAPES.values())]
    x = inner.input("s0", tensor_type(float32, (BATCH, FEATURES)))
    next_h, next_c = _cell(inner, x, h, c, *weights)
    results = [("h", next_h), ("c", next_c), ("hs", next_h)]
    body = Graph.make("body", [t, h, c, *weights, x], results, builder=inner)
    b = Builder()
    x, weights, zeros = _start(b)
    with _line(b, 13, "lstm"):
        h, _, hs = make_loop(b, STEPS, body, [zeros, zeros], weights, [x], [(0, 0, 1)])
    return Graph.make("predict", [x], [("h", h), ("all", hs)], builder=b)


def training_step(batch=8, features=6, hidden=5, outputs=2):
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (batch, features))), b.input("y", tensor_type(float32, (batch, outputs)))
    w1, b1 = _parameter(b, "hidden/kernel", features, hidden), _parameter(b, "hidden/bias", hidden)
    w2, b2 = _parameter(b, "out/kernel", hidden, outputs), _parameter(b, "out/bias", outputs)
    with _line(b, 8, "hidden"):
        h = b.op("tanh", b.op("add", b.op("matmul", x, w1), b1))
    with _line(b, 9, "out"):
        out = b.op("add", b.op("matmul", h, w2), b2)
    with _line(b, 10):
        error = _called(b, b.op("subtract", out, y), "error")
        total = b.op("sum", b.op("square", error), axes=(0, 1), keepdims=False)
        loss = b.op("multiply", total, b.constant(1 / (batch * outputs), float32))
    with _line(b, 10, role="backward"):
        g = b.op("multiply", error, b.constant(2 / (batch * outputs), float32))
    with _line(b, 9, "out", role="backward"):
        to_w2, to_b2 = b.op("matmul", _turned(b, h), g), b.op("sum", g, axes=(0,), keepdims=False)
        to_h = b.op("matmul", g, _turned(b, w2))
    with _line(b, 8, "hidden", role="backward"):
        g = b.op("multiply", to_h, b.op("subtract", b.constant(1.0, float32), b.op("square", h)))
        to_w1, to_b1 = b.op("matmul", _turned(b, x), g), b.op("sum", g, axes=(0,), keepdims=False)
    updates = []
    with _line(b, 11, role="update"):
        for parameter, slope in ((w1, to_w1), (b1, to_b1), (w2, to_w2), (b2, to_b2)):
            updates.append((parameter, b.op("subtract", parameter, b.op("multiply", b.constant(0.1, float32), slope))))
    return Graph.make("train", [x, y], [("loss", loss)], updates, builder=b)


def _turned(b, node):
    return b.op("transpose", node, permutation=(1, 0))


def _array(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_lstm_as_a_loop(golden, agree):
    graph = as_a_loop()
    agree(graph, [_array(STEPS, BATCH, FEATURES)], _states(graph))
    golden("backends/numpy/lstm.py.txt", emit_module(Module("lstm", {"predict": graph})))


def test_one_lstm_step(golden, agree):
    graph = unrolled(1)
    agree(graph, [_array(STEPS, BATCH, FEATURES)], _states(graph))
    golden("backends/numpy/lstm-step.py.txt", emit_module(Module("lstm_step", {"predict": graph})))


def test_mlp_training_step(golden, agree):
    graph = training_step()
    agree(graph, [_array(8, 6), _array(8, 2)], _states(graph))
    golden("backends/numpy/mlp-train.py.txt", emit_module(Module("mlp", {"train": graph})))


def test_the_pipeline_finds_the_loop(agree):
    graph = run_pipeline(unrolled(STEPS), check=True)
    source = agree(graph, [_array(STEPS, BATCH, FEATURES)], _states(graph))
    assert "for t in range(" in source
    assert len(source.splitlines()) < 60
