"""The text: constants, memory, length, and what a whole module holds."""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest

from graphc.backends.numpy.compile import compile_source
from graphc.backends.numpy.emit import emit_module
from graphc.backends.numpy.helpers import _round_bfloat16
from graphc.backends.numpy.library import helper_functions, helper_names
from graphc.backends.numpy.split import LONGEST
from graphc.errors import GraphcValueError
from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph, Module
from graphc.ir.state import State
from graphc.ir.types import ALL_DTYPES, bfloat16, bool_, float16, float32, float64, int8, int64, tensor_type
from graphc.ops.loop import make_loop

ROW = tensor_type(float32, (4,))


def _module(graph):
    return Module("model", {"entry": graph})


# -- constants ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (0, 3), (3, 0), (40, 5)])
def test_constants_keep_their_bits(element, shape, values):
    b = Builder()
    array = values(element, shape, 5)
    node = b.constant(ArrayValue(array, element), element)
    graph = Graph.make("entry", [], [("y", node), ("same", node)])
    entry = compile_source(emit_module(_module(graph)))["entry"]
    for result in (*entry().values(), *entry().values()):
        assert result.dtype == array.dtype and result.shape == array.shape
        assert result.tobytes() == array.tobytes() or not shape
        result[...] = 0  # the next call must not see this


def test_a_nan_with_a_payload_keeps_it():
    odd = np.array([0x7FC00001, 0xFFC00000, 0x3F800000], np.uint32).view(np.float32)
    b = Builder()
    graph = Graph.make("entry", [], [("y", b.constant(ArrayValue(odd, float32), float32))])
    assert compile_source(emit_module(_module(graph)))["entry"]().tobytes() == odd.tobytes()


@pytest.mark.parametrize(
    ("number", "element", "text"),
    [
        (0.1, float32, "x * 0.1"),
        (-0.0, float32, "x * -0.0"),
        (1 / 3, float64, "x * 0.3333333333333333"),
        (np.inf, float32, "x * np.inf"),
    ],
)
def test_scalar_constants_are_short(number, element, text, agree):
    b = Builder()
    x = b.input("x", tensor_type(element, (3,)))
    source = agree(
        Graph.make("entry", [x], [("y", b.op("multiply", x, b.constant(number, element)))]),
        [np.ones(3, element.storage)],
    )
    assert text in source


def test_a_repeated_constant_is_written_as_a_number(agree):
    b = Builder()
    x = b.input("x", ROW)
    halves = b.constant(np.full(4, 0.5, np.float32), float32)
    source = agree(Graph.make("entry", [x], [("y", b.op("multiply", x, halves))]), [np.ones(4, np.float32)])
    assert "x * 0.5" in source


# -- memory ------------------------------------------------------------------------------------------------------------


def test_dead_operands_are_overwritten_and_others_are_not():
    b = Builder()
    x = b.input("x", ROW)
    y = b.op("tanh", b.op("add", b.op("exp", x), x))
    source = emit_module(_module(Graph.make("entry", [x], [("y", y)])))
    assert "y = np.exp(x)\n" in source and "y += x\n" in source and "np.tanh(y, out=y)\n" in source
    z = b.op("exp", b.op("negative", x))
    kept = b.op("multiply", z, b.op("sin", z))
    assert "sin = np.sin(y)\n" in emit_module(_module(Graph.make("entry", [x], [("y", kept)])))


def test_what_a_view_shows_is_not_overwritten(agree):
    b = Builder()
    x = b.input("x", tensor_type(float32, (4, 4)))
    grown = b.op("exp", x)
    turned = b.op("transpose", grown, permutation=(1, 0))
    outputs = [
        ("a", b.op("negative", grown)),
        ("b", b.op("add", turned, b.op("sin", turned))),
        ("c", b.op("cos", grown)),
    ]
    agree(Graph.make("entry", [x], outputs), [np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)])


def test_random_chains_of_views_and_updates(agree):
    """Many small graphs in which views, in-place work and several readers meet."""
    for seed in range(60):
        generator = np.random.default_rng(seed)
        b = Builder()
        x = b.input("x", tensor_type(float64, (4, 4)))
        nodes = [x]
        for _ in range(14):
            a = nodes[max(0, len(nodes) - 1 - int(generator.integers(0, 3)))]
            c = nodes[int(generator.integers(0, len(nodes)))]
            choice = generator.integers(0, 8)
            if choice == 0:
                made = b.op("transpose", a, permutation=(1, 0))
            elif choice == 1:
                made = b.op("flip", a, axes=(int(generator.integers(0, 2)),))
            elif choice == 2:
                row = b.op("index", a, axis=0, index=int(generator.integers(0, 4)))
                made = b.op("broadcast_to", row, shape=(4, 4))
            elif choice == 3:
                made = b.op("reshape", b.op("reshape", a, shape=(2, 8)), shape=(4, 4))
            elif choice == 4:
                made = b.op("matmul", a, c)
            elif choice == 5:
                made = b.op("subtract", c, a)
            else:
                made = b.op(["sin", "add"][choice - 6], *([a] if choice == 6 else [a, c]))
            nodes.append(made)
        picks = generator.choice(len(nodes), 3, replace=False)
        outputs = [(f"y{i}", nodes[i]) for i in sorted({*picks.tolist(), len(nodes) - 1})]
        agree(Graph.make("entry", [x], outputs), [generator.standard_normal((4, 4))])


# -- long functions ----------------------------------------------------------------------------------------------------


def _longest_block(source):
    return max(
        len(getattr(node, "body", ()))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.For, ast.With))
    )


def test_long_functions_are_cut(agree):
    b = Builder()
    x = b.input("x", ROW)
    p = b.state(State("p", ROW, np.zeros(4, np.float32)))
    value, kept = x, []
    for step in range(3000):
        value = b.op("sin", b.op("add", value, x if step % 3 else p))
        if step % 11 == 0:
            kept.append(value)
    for other in reversed(kept):
        value = b.op("add", value, other)
    graph = Graph.make(
        "entry", [x], [("y", value), ("p", p), ("sum", b.op("sum", value, axes=(0,), keepdims=False))], [(p, value)]
    )
    source = agree(graph, [np.linspace(0, 1, 4, dtype=np.float32)], {"p": np.ones(4, np.float32)})
    assert _longest_block(source) <= LONGEST
    assert "_entry_part_2(" in source


def test_long_loop_bodies_are_cut(agree):
    inner = Builder()
    t, c, v, s = (
        inner.input("t", tensor_type(int64)),
        inner.input("c", ROW),
        inner.input("v", ROW),
        inner.input("s", ROW),
    )
    value = inner.op("multiply", c, inner.op("cast", t, dtype=float32))
    early = inner.op("exp", value)
    for _ in range(700):
        value = inner.op("sin", inner.op("add", inner.op("multiply", value, v), s))
    body = Graph.make("body", [t, c, v, s], [("c", inner.op("add", value, early)), ("y", value)])
    b = Builder()
    x, seq = b.input("x", ROW), b.input("s", tensor_type(float32, (3, 4)))
    final, stacked = make_loop(b, 3, body, [x], [b.op("cos", x)], [seq], [(0, 2, -1)])
    y = b.op("add", final, x)
    for _ in range(700):
        y = b.op("sin", b.op("add", y, final))
    graph = Graph.make("entry", [x, seq], [("y", y), ("stacked", stacked)])
    source = agree(graph, [np.linspace(-1, 1, 4, dtype=np.float32), np.ones((3, 4), np.float32)])
    assert _longest_block(source) <= LONGEST


@pytest.mark.slow(ci=False)
def test_a_chain_of_200_000_nodes():
    b = Builder()
    x = b.input("x", ROW)
    value = x
    for _ in range(100_000):
        value = b.op("sin", b.op("add", value, x))
    source = emit_module(_module(Graph.make("entry", [x], [("y", value)])))
    assert _longest_block(source) <= LONGEST
    expected = start = np.linspace(0, 1, 4, dtype=np.float32)
    for _ in range(100_000):
        expected = np.sin(expected + start)
    np.testing.assert_array_equal(compile_source(source)["entry"](start), expected)


def test_a_chain_of_views_does_not_nest(agree):
    b = Builder()
    value = x = b.input("x", ROW)
    for _ in range(3000):
        value = b.op("flip", b.op("reshape", b.op("reshape", value, shape=(2, 2)), shape=(4,)), axes=(0,))
    agree(Graph.make("entry", [x], [("y", value)]), [np.arange(4, dtype=np.float32)])


# -- the whole module --------------------------------------------------------------------------------------------------


def test_only_numpy_is_imported_and_only_what_is_used_is_there():
    b = Builder()
    x = b.input("x", ROW)
    source = emit_module(_module(Graph.make("entry", [x], [("y", b.op("erf", x))])))
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["_erf", "entry"]
    assert "np.errstate" not in emit_module(_module(Graph.make("entry", [x], [("y", b.op("flip", x, axes=(0,)))])))


def test_helpers_bring_what_they_call():
    names = [function.name for function in helper_functions(["_random_uniform"])]
    assert names == ["_philox", "_random_uniform"]
    assert all(name.startswith("_") for name in helper_names())


def test_text_does_not_depend_on_the_hash_seed():
    script = (
        "import sys; sys.path.insert(0, 'tests/backends/numpy')\n"
        "from test_golden import training_step, unrolled\n"
        "from graphc.backends.numpy.emit import emit_module\n"
        "from graphc.ir.graph import Module\n"
        "from graphc.passes.pipeline import run_pipeline\n"
        "print(emit_module(Module('m', {'p': run_pipeline(unrolled(9)), 't': run_pipeline(training_step())})))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    texts = set()
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=root, check=True
        )
        texts.add(done.stdout)
    assert len(texts) == 1 and "def p(" in texts.pop()


def test_symbolic_dimensions_are_read_from_arguments():
    batch = symbol("batch")
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (batch, 3))), b.input("y", tensor_type(float32, (2 * batch, 3)))
    flat = b.op("reshape", x, shape=(3 * batch,))
    column = b.op("iota", shape=(batch,), axis=0, dtype=int64)
    part = b.op("slice", y, starts=(batch - 1, 0), stops=(2 * batch - 1, 3), steps=(1, 1))
    graph = Graph.make("entry", [x, y], [("flat", flat), ("column", column), ("part", part)])
    entry = compile_source(emit_module(_module(graph)))["entry"]
    for size in (1, 4):
        rows, more = np.ones((size, 3), np.float32), np.arange(6 * size, dtype=np.float32).reshape(2 * size, 3)
        result = entry(rows, more)
        assert result["flat"].shape == (3 * size,)
        np.testing.assert_array_equal(result["column"], np.arange(size))
        np.testing.assert_array_equal(result["part"], more[size - 1 : 2 * size - 1])
    lonely = Graph.make("entry", [y], [("column", column)])
    with pytest.raises(GraphcValueError, match="batch"):
        emit_module(_module(lonely))


def test_the_training_switch_is_an_argument():
    b = Builder()
    x = b.input("x", ROW)
    y = b.op("select", b.make("training"), b.op("negative", x), x)
    entry = compile_source(emit_module(_module(Graph.make("entry", [x], [("y", y)]))))["entry"]
    one = np.ones(4, np.float32)
    np.testing.assert_array_equal(entry(one), one)
    np.testing.assert_array_equal(entry(one, training=True), -one)


def test_rounding_to_bfloat16_is_that_of_the_reference():
    from graphc.ir.types import round_to

    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    edges = np.array(
        [0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x00008000, 0x00018000, 0x00007FFF], np.uint32
    )
    single = np.concatenate([bits, edges]).view(np.float32)
    assert _round_bfloat16(single).tobytes() == round_to(single, bfloat16).tobytes()


def test_narrow_constants(agree):
    b = Builder()
    x, y, z = (
        b.input("x", tensor_type(int8, (3,))),
        b.input("y", tensor_type(float16, (3,))),
        b.input("z", tensor_type(bool_, (3,))),
    )
    outputs = [
        ("x", b.op("add", x, b.constant(-128, int8))),
        ("y", b.op("maximum", y, b.constant(0.1, float16))),
        ("z", b.op("logical_xor", z, b.constant(True, bool_))),
    ]
    agree(
        Graph.make("entry", [x, y, z], outputs),
        [np.array([1, -1, 127], np.int8), np.ones(3, np.float16), np.array([True, False, True])],
    )
