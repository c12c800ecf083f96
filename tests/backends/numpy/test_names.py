"""The text: names and comments, and that nothing from outside gets into it raw."""

import ast
import traceback

import numpy as np
import pytest

from graphc.backends.numpy.compile import compile_source
from graphc.backends.numpy.emit import emit_module
from graphc.backends.numpy.names import NamePool, identifier
from graphc.errors import Location
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Note
from graphc.ir.state import State
from graphc.ir.types import float32, int64, tensor_type

ROW = tensor_type(float32, (4,))


def _module(graph):
    return Module("model", {"entry": graph})


# -- names -------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "lambda",
    "np",
    "parameters",
    "sum",
    "x y",
    "x-y",
    "x_y",
    "2x",
    "",
    "π",
    "𝔁",
    "__class__",
    "_sigmoid",
    "_constant_1",
    "x\nimport os",
    "'; raise SystemExit",
    '"""',
    "\ud800",
    "t",
    "total",
    "match",
    "None",
]


def test_hostile_names(agree):
    b = Builder()
    inputs = [b.input(name, ROW) for name in HOSTILE]
    total = inputs[0]
    for node in inputs[1:]:
        total = b.op("add", b.op("sigmoid", total), node)
    states = {name: np.full(4, 0.5, np.float32) for name in HOSTILE}
    updates = []
    for name in HOSTILE:
        state = b.state(State(name, ROW, np.zeros(4, np.float32)))
        total = b.op("multiply", total, state)
        updates.append((state, b.op("add", state, total)))
    outputs = [(name, b.op("multiply", total, node)) for name, node in zip(HOSTILE, inputs, strict=True)]
    graph = Graph.make("entry", inputs, outputs, updates, builder=b)
    arrays = [np.full(4, k, np.float32) / 10 for k in range(len(inputs))]
    source = agree(graph, arrays, states)
    source.encode("utf-8")
    assert "import os" not in [
        ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import)
    ]


def test_hostile_entry_and_module_names():
    b = Builder()
    x = b.input("x", ROW)
    graph = Graph.make("g", [x], [("y", b.op("sigmoid", x))])
    source = emit_module(Module('bad """ name\n\\', dict.fromkeys(HOSTILE, graph)))
    entries = compile_source(source)
    assert list(entries) == HOSTILE
    for entry in entries.values():
        np.testing.assert_allclose(entry(np.zeros(4, np.float32)), 0.5)


def test_hostile_notes(agree):
    b = Builder()
    x = b.input("x", ROW)
    place = Location("/tmp/a\nraise SystemExit\r\n.py", 3)
    y = b.op("negative", b.op("exp", x))
    b.replace_note(
        y, Note((place,), ("layer\u2028\x00\x0c\nraise SystemExit", "-*- coding: latin1 -*-"), "backward", "a b\nc")
    )
    z = b.op("exp", y)
    source = agree(Graph.make("entry", [x], [("z", z)], builder=b), [np.zeros(4, np.float32)])
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]
    assert "backward" in source


def test_identifier():
    assert identifier("lstm/kernel") == "lstm_kernel"
    assert identifier("class") == "class_"
    assert identifier("") == "value"
    assert identifier("3d") == "value_3d"
    assert identifier("__x__") == "x"
    assert identifier("ﬁt") == "fit"


def test_pool_gives_names_back():
    pool = NamePool(["taken"])
    assert [pool.take("x"), pool.take("x"), pool.take("x")] == ["x", "x_2", "x_3"]
    pool.release("x_2")
    assert [pool.take("x"), pool.take("x"), pool.take("taken"), pool.take("x_5"), pool.take("x")] == [
        "x_2",
        "x_4",
        "taken_2",
        "x_5",
        "x_6",
    ]


# -- comments and lines ------------------------------------------------------------------------------------------------


def test_comments_name_the_users_lines_without_the_folder():
    b = Builder()
    x = b.input("x", ROW)
    with b.noted(Note((Location("/home/ann/lstm.py", 14),), ("lstm", "step 3")), "forward"):
        y = b.op("exp", b.op("sin", x))
    with b.noted(Note((Location("/home/ann/lstm.py", 15),)), "backward"):
        z = b.op("tanh", y)
    source = emit_module(_module(Graph.make("entry", [x], [("z", z)], builder=b)))
    lines = [line.strip() for line in source.splitlines()]
    assert lines.count("# lstm.py:14 (lstm)") == 1
    assert lines.count("# lstm.py:15 (backward)") == 1
    assert "ann" not in source


def test_tracebacks_show_generated_lines():
    b = Builder()
    x, places = b.input("x", ROW), b.input("places", tensor_type(int64, (2,)))
    graph = Graph.make("entry", [x, places], [("y", b.op("take", x, places, axis=0))])
    entry = compile_source(emit_module(_module(graph)))["entry"]
    with pytest.raises(IndexError) as caught:
        entry(np.zeros(4, np.float32), np.array([0, 9]))
    assert "np.take(x, _check_indices('take', places, 4), axis=0)" in "".join(traceback.format_exception(caught.value))
