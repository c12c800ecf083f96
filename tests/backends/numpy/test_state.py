"""State: reads see old values, writes come last, and nobody sees a value change under it."""

import numpy as np
import pytest

from graphc.backends.numpy.compile import compile_source
from graphc.backends.numpy.emit import emit_module
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.state import State
from graphc.ir.types import bfloat16, float16, float32, int64, tensor_type

ROW = tensor_type(float32, (3, 3))


def _state(b, name, type_=ROW):
    return b.state(State(name, type_, np.zeros(type_.shape, type_.dtype.storage)))


def _start(*names):
    return {
        name: np.random.default_rng(seed).standard_normal((3, 3)).astype(np.float32) for seed, name in enumerate(names)
    }


@pytest.mark.parametrize(
    "updates",
    [
        lambda b, p, q: [(p, q), (q, p)],
        lambda b, p, q: [(p, b.op("transpose", q, permutation=(1, 0))), (q, b.op("flip", p, axes=(0,)))],
        lambda b, p, q: [(p, b.op("transpose", p, permutation=(1, 0))), (q, p)],
        lambda b, p, q: [(p, b.op("subtract", p, q)), (q, b.op("add", q, p))],
        lambda b, p, q: [(p, b.op("subtract", p, b.op("flip", p, axes=(0, 1))))],
        lambda b, p, q: [
            (p, b.op("multiply", p, b.op("index", b.op("index", q, axis=0, index=0), axis=0, index=1))),
            (q, p),
        ],
        lambda b, p, q: [(p, b.op("exp", p)), (q, b.op("negative", b.op("exp", p)))],
        lambda b, p, q: [(p, p), (q, b.op("broadcast_to", b.constant(2.0, float32), shape=(3, 3)))],
        lambda b, p, q: [(q, b.op("broadcast_to", b.op("index", p, axis=0, index=0), shape=(3, 3))), (p, q)],
        lambda b, p, q: [],
    ],
)
def test_updates_see_old_values(updates, agree):
    b = Builder()
    p, q = _state(b, "p"), _state(b, "q")
    outputs = [
        ("p", p),
        ("transposed", b.op("transpose", q, permutation=(1, 0))),
        ("row", b.op("index", p, axis=0, index=1)),
        ("corner", b.op("index", b.op("index", q, axis=0, index=0), axis=0, index=0)),
        ("sum", b.op("add", p, q)),
    ]
    agree(Graph.make("entry", [], outputs, updates(b, p, q)), [], _start("p", "q"), exact=True)


def test_an_update_that_is_also_an_output(agree):
    b = Builder()
    p, q = _state(b, "p"), _state(b, "q")
    x = b.input("x", ROW)
    new = b.op("subtract", p, b.op("multiply", x, q))
    outputs = [("new", new), ("same", new), ("x", x), ("also x", x), ("flipped", b.op("flip", new, axes=(0,)))]
    agree(Graph.make("entry", [x], outputs, [(p, new), (q, new)]), [_start("x")["x"]], _start("p", "q"), exact=True)


def test_a_counter(agree):
    b = Builder()
    count = _state(b, "step", tensor_type(int64))
    grown = b.op("add", count, b.constant(1, int64))
    agree(Graph.make("entry", [], [("old", count)], [(count, grown)]), [], {"step": np.array(41)}, exact=True)
    agree(Graph.make("entry", [], [("new", grown)], [(count, grown)]), [], {"step": np.array(41)}, exact=True)


def test_updates_alone(agree):
    b = Builder()
    p = _state(b, "p")
    agree(Graph.make("entry", [], [], [(p, b.op("negative", p))]), [], _start("p"), exact=True)
    b = Builder()
    p, q = _state(b, "p"), _state(b, "q")
    source = agree(Graph.make("entry", [], [], [(p, q)]), [], _start("p", "q"), exact=True)
    assert "p = parameters" not in source, "what is only written need not be read"


@pytest.mark.parametrize("element", [float16, bfloat16], ids=str)
def test_half_dtypes(element, agree, values):
    b = Builder()
    row = tensor_type(element, (3, 3))
    p, q, x = _state(b, "p", row), _state(b, "q", row), b.input("x", row)
    new = b.op("subtract", p, b.op("multiply", x, q))
    graph = Graph.make("entry", [x], [("p", p), ("new", new), ("x", x)], [(p, new), (q, p)])
    states = {name: values(element, (3, 3), seed, special=False) for seed, name in enumerate("pq")}
    agree(graph, [values(element, (3, 3), 7, special=False)], states)


def test_entry_points_share_state():
    b = Builder()
    p = _state(b, "layer/p")
    x = b.input("x", ROW)
    read = Graph.make("read", [x], [("y", b.op("add", p, x))])
    write = Graph.make("write", [x], [], [(p, b.op("add", p, x))])
    entries = compile_source(emit_module(Module("m", {"read": read, "write": write})))
    parameters = {"layer/p": np.zeros((3, 3), np.float32)}
    one = np.ones((3, 3), np.float32)
    assert entries["write"](one, parameters) == {}
    np.testing.assert_array_equal(entries["read"](one, parameters), 2 * one)
    np.testing.assert_array_equal(parameters["layer/p"], one)
