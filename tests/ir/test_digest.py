"""The digest of a module: equal for equal content, whatever the process; different where anything counts differs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as G
import graphc.ops
from graphc.ir.builder import Builder
from graphc.ir.digest import NoDigest, module_digest
from graphc.ir.graph import Graph, Module
from graphc.ir.op import OpDef, OpKind, get_op
from graphc.ir.state import State
from graphc.ir.types import float32, float64, tensor_type

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """\
import sympy
import graphc as G
import graphc.ops  # noqa: F401  (fills the op registry)
x = G.input("x", (4, 3))
w = G.parameter("w", shape=(3, 3))
s = sympy.Symbol("s")
swish = G.pointwise("swish", s / (1 + sympy.exp(-s)))
h = G.zeros((4, 3))
for step in range(3):
    h = swish(x + h @ w)
loss = G.sum(h * h)
(dw,) = G.grad(loss, [w])
model = G.Model(predict=h, train=G.Step(loss, [(w, w - 0.1 * dw)], training=True))
"""


def constant(array, element=float32):
    """The module of one constant."""
    b = Builder()
    return Module("m", {"f": Graph.make("f", [], [("y", b.constant(np.asarray(array), element))], builder=b)})


def digest_elsewhere(path, seed):
    program = (
        "import runpy, sys; from graphc.ir.digest import module_digest\n"
        "print(module_digest(runpy.run_path(sys.argv[1])['model'].module))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_it_is_the_same_in_every_process_and_folder(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(PROGRAM, encoding="utf-8")
    one = digest_elsewhere(tmp_path / "one" / "model.py", "1")
    assert one == digest_elsewhere(tmp_path / "two" / "model.py", "2")
    # An error message of the compiled code may name the line.
    (tmp_path / "two" / "model.py").write_text("\n" + PROGRAM, encoding="utf-8")
    assert one != digest_elsewhere(tmp_path / "two" / "model.py", "1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1.0, np.nextafter(np.float32(1), np.float32(2))),
        (np.nan, -np.float32(np.nan)),
        ([1.0], 1.0),
        ([[1.0, 2.0]], [[1.0], [2.0]]),
        ([1.0, 2.0], [2.0, 1.0]),
    ],
)
def test_constants_differ_in_their_last_bit_and_in_their_shape(one, other):
    assert module_digest(constant(one)) == module_digest(constant(one))
    assert module_digest(constant(one)) != module_digest(constant(other))


def test_dtypes_differ():
    assert module_digest(constant(1.0)) != module_digest(constant(1.0, float64))


def graph(op="exp", name="f", input_name="x", output="y", shape=(3,), updates=(), states=(), **attrs):
    b = Builder()
    x = b.new_input(input_name, tensor_type(float32, shape))
    y = b.op(op, x, **attrs)
    held = [b.state(state) for state in states]
    pairs = [(held[position], y) for position in updates]
    return Module("m", {name: Graph.make(name, [x], [(output, y)], pairs, builder=b)}, tuple(states))


def state(name="w", role="parameter", trainable=True, element=float32):
    return State(name, tensor_type(element, (3,)), np.zeros(3), role, trainable)


BASE = {"op": "sum", "axes": (0,), "keepdims": False}


@pytest.mark.parametrize(
    "change",
    [
        {"op": "max"},
        {"name": "g"},
        {"input_name": "z"},
        {"output": "z"},
        {"shape": (4,)},
        {"keepdims": True},
        {"axes": ()},
        {"states": (state(),)},
    ],
)
def test_whatever_the_graph_says_counts(change):
    assert module_digest(graph(**BASE)) != module_digest(graph(**{**BASE, **change}))


@pytest.mark.parametrize(
    "change",
    [{"name": "v"}, {"role": "slot"}, {"trainable": False}, {"element": float64}],
)
def test_states_count_but_for_their_initial_values(change):
    plain = State("w", tensor_type(float32, (3,)), np.ones(3))
    assert module_digest(graph(states=(plain,))) == module_digest(graph(states=(state(),)))
    assert module_digest(graph(states=(plain,))) != module_digest(graph(states=(state(**change),)))


def test_updates_and_the_order_of_states_count():
    both = (state("w"), state("v"))
    digests = {
        module_digest(graph(states=both)),
        module_digest(graph(states=both, updates=(0,))),
        module_digest(graph(states=both, updates=(1,))),
        module_digest(graph(states=both, updates=(0, 1))),
        module_digest(graph(states=both[::-1])),
    }
    assert len(digests) == 5


def test_the_order_of_the_nodes_counts():
    def module(order):
        b = Builder()
        x = b.new_input("x", tensor_type(float32, (3,)))
        values = {op: b.op(op, x) for op in order}
        return Module("m", {"f": Graph.make("f", [x], [("y", values["exp"]), ("z", values["sin"])], builder=b)})

    assert module_digest(module(["exp", "sin"])) != module_digest(module(["sin", "exp"]))


def test_regions_count():
    def module(factor):
        x = G.input("x", (3,))
        doubled = G.custom_gradient(lambda v: v * factor, lambda v, value, cotangent: cotangent)
        return G.Model(f=doubled(x)).module

    assert module_digest(module(2.0)) == module_digest(module(2.0))
    assert module_digest(module(2.0)) != module_digest(module(3.0))


def test_a_formula_of_the_user_counts_whatever_its_name():
    import sympy

    x = sympy.Symbol("x")

    def module(expression):
        return G.Model(f=G.pointwise("mine", expression)(G.input("x", (3,)))).module

    one, other = (module_digest(module(expression)) for expression in (x**2 + 1, x**2 + 2))
    assert one == module_digest(module(x**2 + 1))
    assert one != other


def test_an_op_from_elsewhere_has_no_digest():
    exp = get_op("exp")

    def infer(attrs, inputs):
        return inputs[0]

    stranger = OpDef("exp", OpKind.POINTWISE, infer, exp.evaluate)
    b = Builder()
    x = b.new_input("x", tensor_type(float32, (3,)))
    module = Module("m", {"f": Graph.make("f", [x], [("y", b.make(stranger, [x]))], builder=b)})
    with pytest.raises(NoDigest, match="exp is not graphc's own"):
        module_digest(module)
