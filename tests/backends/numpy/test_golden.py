"""What the README shows: the source of an LSTM and of a training step, as text."""

from contextlib import contextmanager

import numpy as np

from graphc.autodiff.reverse import gradient
from graphc.backends.numpy.emit import emit_module
from graphc.errors import Location
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Note
from graphc.ir.state import State
from graphc.ir.types import float32, int64, tensor_type
from graphc.passes.pipeline import run_pipeline


@contextmanager
def _line(b, line, *scope, file="model.py"):
    with b.noted(Note((Location(f"/home/someone/{file}", line),), scope), "forward"):
        yield


def _parameter(b, name, *shape):
    size = int(np.prod(shape))
    initial = np.linspace(-0.5, 0.5, size, dtype=np.float32).reshape(shape)
    return b.state(State(name, tensor_type(float32, shape), initial))


def _states(graph):
    return {state.name: state.initial_value() for state in graph.states}


def lstm(steps=16, batch=4, features=3, hidden=5):
    b = Builder()
    x = b.input("x", tensor_type(float32, (steps, batch, features)))
    kernel, recurrent = (
        _parameter(b, "lstm/kernel", features, 4 * hidden),
        _parameter(b, "lstm/recurrent", hidden, 4 * hidden),
    )
    bias = _parameter(b, "lstm/bias", 4 * hidden)
    with _line(b, 12, "lstm"):
        h = c = b.op("broadcast_to", b.constant(0.0, float32), shape=(batch, hidden))
    for step in range(steps):
        with _line(b, 14, "lstm", f"step {step}"):
            xt = b.op("index", x, axis=0, index=step)
            gates = b.op("add", b.op("add", b.op("matmul", xt, kernel), b.op("matmul", h, recurrent)), bias)
            b.replace_note(gates, Note(b.note(gates).locations, b.note(gates).scope, "forward", "gates"))
        with _line(b, 15, "lstm", f"step {step}"):
            i, f, g, o = (
                b.op("slice", gates, starts=(0, k * hidden), stops=(batch, (k + 1) * hidden), steps=(1, 1))
                for k in range(4)
            )
            c = b.op(
                "add", b.op("multiply", b.op("sigmoid", f), c), b.op("multiply", b.op("sigmoid", i), b.op("tanh", g))
            )
            b.replace_note(c, Note(b.note(c).locations, b.note(c).scope, "forward", "c"))
        with _line(b, 16, "lstm", f"step {step}"):
            h = b.op("multiply", b.op("sigmoid", o), b.op("tanh", c))
            b.replace_note(h, Note(b.note(h).locations, b.note(h).scope, "forward", "h"))
    return Graph.make("predict", [x], [("h", h)], builder=b)


def mlp_train(batch=8, features=6, hidden=5, classes=3):
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (batch, features))), b.input("y", tensor_type(int64, (batch,)))
    w1, b1 = _parameter(b, "hidden/kernel", features, hidden), _parameter(b, "hidden/bias", hidden)
    w2, b2 = _parameter(b, "logits/kernel", hidden, classes), _parameter(b, "logits/bias", classes)
    with _line(b, 8, "hidden"):
        h = b.op("relu", b.op("add", b.op("matmul", x, w1), b1))
    with _line(b, 9, "logits"):
        logits = b.op("add", b.op("matmul", h, w2), b2)
    with _line(b, 10, "loss"):
        top = b.op("reshape", b.op("max", logits, axes=(1,), keepdims=False), shape=(batch, 1))
        shifted = b.op("subtract", logits, top)
        normaliser = b.op("log", b.op("sum", b.op("exp", shifted), axes=(1,), keepdims=False))
        column = b.op("reshape", y, shape=(batch, 1))
        chosen = b.op("reshape", b.op("take_along_axis", shifted, column, axis=1), shape=(batch,))
        losses = b.op("subtract", normaliser, chosen)
        total = b.op("sum", losses, axes=(0,), keepdims=False)
        loss = b.op("divide", total, b.constant(batch, float32))
    updates = []
    parameters = [w1, b1, w2, b2]
    with _line(b, 11):
        for parameter, slope in zip(parameters, gradient(b, loss, parameters), strict=True):
            step = b.op("multiply", b.constant(0.1, float32), slope)
            updates.append((parameter, b.op("subtract", parameter, step)))
    return Graph.make("train", [x, y], [("loss", loss)], updates, builder=b)


def test_lstm(golden, agree):
    graph = run_pipeline(lstm(), check=True)
    x = np.random.default_rng(0).standard_normal((16, 4, 3)).astype(np.float32)
    agree(graph, [x], _states(graph))
    golden("backends/numpy/lstm.py.txt", emit_module(Module("lstm", {"predict": graph})))


def test_one_lstm_step(golden, agree):
    graph = run_pipeline(lstm(steps=1), check=True)
    x = np.random.default_rng(0).standard_normal((1, 4, 3)).astype(np.float32)
    agree(graph, [x], _states(graph))
    golden("backends/numpy/lstm-step.py.txt", emit_module(Module("lstm_step", {"predict": graph})))


def test_mlp_training_step(golden, agree):
    graph = run_pipeline(mlp_train(), check=True)
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((8, 6)).astype(np.float32), generator.integers(0, 3, 8)
    agree(graph, [x, y], _states(graph))
    golden("backends/numpy/mlp-train.py.txt", emit_module(Module("mlp", {"train": graph})))
