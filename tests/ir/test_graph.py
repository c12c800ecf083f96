"""Nodes, builders, graphs: interning, notes, order, structural equality, the verifier, rewriting."""

import gc

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.errors import GraphcValueError, VerificationError
from graphc.ir.bind import bind_dimensions
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.op import get_op
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.rewrite import rewrite
from graphc.ir.state import State
from graphc.ir.types import float32, float64, int32, tensor_type
from graphc.ir.verify import verify
from tests.cells import CELLS, lstm

F3 = tensor_type(float32, (3,))


def test_equal_structures_are_one_node() -> None:
    b = Builder()
    x = b.input("x", F3)
    assert b.op("add", x, x) is b.op("add", x, x)
    assert b.op("sum", x, axes=(0,), keepdims=False) is not b.op("sum", x, axes=(0,), keepdims=True)


def test_constants_are_told_apart_by_dtype_and_bits() -> None:
    b = Builder()
    made = [
        b.constant(0.0, float32),
        b.constant(-0.0, float32),
        b.constant(0.0, float64),
        b.constant(0, int32),
        b.constant(np.float32("nan"), float32),
        b.constant(np.uint32(0x7FC00001).view(np.float32), float32),
    ]
    assert len(set(made)) == len(made)
    assert b.constant(np.float32("nan"), float32) is made[4]


def test_attributes_tell_true_from_one() -> None:
    b = Builder()
    x = b.input("x", F3)
    one = b.make("sum", [x], {"axes": (0,), "keepdims": True})
    assert one.attrs["keepdims"] is True
    assert one.attrs.replace(keepdims=1) is not one.attrs


def test_nodes_are_frozen() -> None:
    x = Builder().input("x", F3)
    with pytest.raises(AttributeError):
        x.op = get_op("add")  # type: ignore[misc]


def test_dropped_nodes_are_freed_without_recursion() -> None:
    b = Builder()
    y = b.input("x", F3)
    for _ in range(100_000):
        y = b.op("tanh", y)
    del y
    gc.collect()
    b.input("other", F3)
    assert len(b._table) < 10


def test_order_is_creation_order() -> None:
    graph = lstm(4)
    serials = [node.serial for node in graph.nodes]
    assert serials == sorted(serials)
    assert set(graph.inputs) <= set(graph.nodes)


def test_unused_inputs_stay_inputs() -> None:
    b = Builder()
    x, y = b.input("x", F3), b.input("y", F3)
    graph = Graph.make("f", [x, y], [("out", b.op("tanh", x))], builder=b)
    verify(graph)
    assert len(graph.inputs) == 2


def test_every_user_line_of_a_shared_node_is_kept() -> None:
    b = Builder(track_locations=True)
    x = b.input("x", F3)
    first = b.op("tanh", x)
    second = b.op("tanh", x)
    assert first is second
    lines = [place.line for place in b.note(first).locations]
    assert len(lines) == 2 and lines[1] == lines[0] + 1
    assert all(place.file == __file__ for place in b.note(first).locations)


def test_a_shape_error_names_both_shapes_and_their_lines() -> None:
    b = Builder(track_locations=True)
    x = b.input("x", tensor_type(float32, (3, 4)))
    y = b.input("y", tensor_type(float32, (5, 6)))
    with pytest.raises(GraphcValueError) as caught:
        b.op("add", x, y)
    error = caught.value
    assert error.code == "E211"
    assert error.location is not None and error.location.file == __file__
    assert "3" in error.message and "5" in error.message and error.message.count(__file__) == 2


@pytest.mark.parametrize("cell", CELLS)
def test_text_form_round_trips(cell: str) -> None:
    graph = CELLS[cell](5)
    text = print_graph(graph)
    again = parse_graph(text)
    verify(again)
    assert again == graph
    assert print_graph(again) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph", "expected string"),
        ('graph "f" { %0 = input(name="x", dtype=float32, shape=(3,)) : float32[4] }', "is written as"),
        ('graph "f" { %0 = nothing() : float32[3] }', "unknown op"),
        ('graph "f" { %0 = tanh(%7) : float32[3] }', "defined above"),
        ('graph "f" { output "y" = %0 }', "defined above"),
        ('graph "f" { %0 = sum() : float32[] }', "takes 1 inputs"),
        ("@", "unexpected text"),
        (
            'graph "f" { %0 = input(name="x", dtype=float32, shape=' + "(" * 100 + "3" + ")" * 100 + ") : float32[3] }",
            "nested",
        ),
    ],
)
def test_text_that_is_no_graph(text: str, message: str) -> None:
    with pytest.raises(GraphcValueError, match=message) as caught:
        parse_graph(text)
    assert caught.value.code == "E290"


def test_verifier_refuses_a_node_of_the_wrong_type() -> None:
    b = Builder()
    x = b.input("x", F3)
    good = b.op("tanh", x)
    bad = Node(good.op, good.inputs, good.attrs, tensor_type(float32, (4,)), good.serial + 1)
    with pytest.raises(VerificationError, match="infers"):
        verify(Graph.make("f", [x], [("y", bad)], builder=b))


def test_verifier_refuses_an_input_that_is_not_listed_and_names_that_repeat() -> None:
    b = Builder()
    x, y = b.input("x", F3), b.input("y", F3)
    total = b.op("add", x, y)
    with pytest.raises(VerificationError, match="does not list"):
        verify(Graph.make("f", [x], [("z", total)], builder=b))
    with pytest.raises(VerificationError, match="twice"):
        verify(Graph.make("f", [x, y], [("z", total), ("z", x)], builder=b))


def test_rewriting_reuses_what_is_untouched_and_keeps_the_order() -> None:
    graph = lstm(4)
    assert rewrite(graph, lambda b, node, inputs: None) is graph
    changed = rewrite(graph, lambda b, node, inputs: b.op("sin", *inputs) if node.op.name == "tanh" else None)
    verify(changed)
    assert [n.op.name for n in changed.nodes] == ["sin" if n.op.name == "tanh" else n.op.name for n in graph.nodes]
    shared = set(graph.nodes) & set(changed.nodes)
    assert {n.op.name for n in shared} >= {"input", "state", "constant"}


def test_two_states_of_one_name_are_an_error() -> None:
    b = Builder()
    states = [State("w", F3, np.zeros(3, np.float32)) for _ in range(2)]
    total = b.op("add", b.state(states[0]), b.state(states[1]))
    with pytest.raises(GraphcValueError, match="two state variables are called 'w'"):
        Module("m", {"f": Graph.make("f", [], [("y", total)], builder=b)})


def test_reads_see_the_old_state_and_updates_the_new() -> None:
    b = Builder()
    p, q = (b.state(State(n, F3, np.full(3, v, np.float32))) for n, v in (("p", 1), ("q", 2)))
    graph = Graph.make("swap", [], [("p", p)], [(p, q), (q, p)], builder=b)
    verify(graph)
    outputs, updates = evaluate(graph, {})
    assert outputs["p"][0] == 1 and updates["p"][0] == 2 and updates["q"][0] == 1


def test_binding_dimensions_infers_shapes_anew() -> None:
    b = Builder()
    x = b.input("x", tensor_type(float32, ("batch", 3)))
    y = b.op("matmul", x, b.op("transpose", x, permutation=(1, 0)))
    module = Module("m", {"f": Graph.make("f", [x], [("y", y)], builder=b)})
    bound = bind_dimensions(module, {"batch": 5})
    verify(bound.entries["f"])
    assert bound.entries["f"].outputs[0][1].shape == (5, 5)
    with pytest.raises(GraphcValueError, match="symbolic"):
        bind_dimensions(module, {})
    with pytest.raises(GraphcValueError, match="did you mean batch"):
        bind_dimensions(module, {"bacth": 5})
