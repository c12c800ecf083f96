"""Every op that is not pointwise, in every dtype it takes, and the completeness of the table."""

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.autodiff.reverse import gradient
from graphc.backends.numpy.compile import compile_source
from graphc.backends.numpy.emit import emit_module
from graphc.backends.numpy.lowering.table import RULES, STRUCTURAL
from graphc.errors import UnsupportedOp
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.op import OpDef, OpKind, get_op, registered_ops
from graphc.ir.state import State
from graphc.ir.types import bfloat16, float16, float32, float64, int8, int32, int64, tensor_type, uint8
from graphc.ops.user import make_pointwise

# op → (attributes, shapes of the operands)
_REDUCTIONS = [
    ({"axes": (1,), "keepdims": False}, [(4, 5, 3)]),
    ({"axes": (0, 2), "keepdims": True}, [(4, 5, 3)]),
    ({"axes": (0, 1, 2), "keepdims": False}, [(4, 5, 3)]),
    ({"axes": (), "keepdims": False}, [(4, 5)]),
    ({"axes": (), "keepdims": False}, [()]),
]
_CHOICES = [({"axes": (axis,), "keepdims": keep}, [(4, 5)]) for axis in (0, 1) for keep in (False, True)]
_WINDOWS = {"axes": (1, 2), "window": (3, 2), "strides": (2, 1), "dilation": (1, 2)}
_CASES = {
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all"), _REDUCTIONS),
    **dict.fromkeys(("argmax", "argmin"), _CHOICES),
    "cumsum": [({"axis": axis, "reverse": reverse}, [(4, 5)]) for axis in (0, 1) for reverse in (False, True)],
    "reshape": [({"shape": (2, 10)}, [(4, 5)]), ({"shape": (1,)}, [()]), ({"shape": ()}, [(1, 1)])],
    "transpose": [({"permutation": p}, [(4, 5, 3)]) for p in ((0, 1, 2), (2, 1, 0), (0, 2, 1), (2, 0, 1))],
    "broadcast_to": [({"shape": (2, 4, 5)}, [(4, 1)]), ({"shape": (2, 3)}, [()])],
    "slice": [
        ({"starts": (1, 0), "stops": (4, 5), "steps": (2, 1)}, [(4, 5)]),
        ({"starts": (0, 2), "stops": (4, 2), "steps": (1, 1)}, [(4, 5)]),
        ({"starts": (), "stops": (), "steps": ()}, [()]),
    ],
    "index": [
        ({"axis": 0, "index": 2}, [(4, 5)]),
        ({"axis": 1, "index": 0}, [(4, 5)]),
        ({"axis": 0, "index": 3}, [(4,)]),
    ],
    "flip": [
        ({"axes": (0,)}, [(4, 5)]),
        ({"axes": (1,)}, [(4, 5)]),
        ({"axes": (0, 1)}, [(4, 5)]),
        ({"axes": ()}, [(4, 5)]),
    ],
    "concat": [({"axis": 1}, [(4, 5), (4, 2)]), ({"axis": 0}, [(4, 5)])],
    "stack": [({"axis": 1}, [(4, 5), (4, 5)]), ({"axis": 0}, [(), (), ()])],
    "pad": [({"low": (1, 0), "high": (0, 2)}, [(4, 5), ()]), ({"low": (), "high": ()}, [(), ()])],
    "patches": [(_WINDOWS, [(2, 7, 6, 2)]), ({"axes": (), "window": (), "strides": (), "dilation": ()}, [(3,)])],
    "fold_patches": [({**_WINDOWS, "shape": (2, 7, 6, 2)}, [(2, 3, 4, 2, 3, 2)])],
    "matmul": [({}, [(4, 5), (5, 3)]), ({}, [(2, 1, 4, 5), (3, 5, 2)]), ({}, [(3, 0), (0, 2)])],
    "einsum": [
        ({"subscripts": subscripts}, shapes)
        for subscripts, shapes in (
            ("ik,kj->ij", [(4, 5), (5, 3)]),
            ("ik,kj->ji", [(4, 5), (5, 3)]),
            ("abc,dcb->da", [(2, 3, 4), (5, 4, 3)]),
            ("abij,ijc->acb", [(2, 3, 4, 5), (4, 5, 6)]),
            ("bik,bkj->bij", [(2, 4, 5), (2, 5, 3)]),
            ("bqhd,bkhd->bhqk", [(2, 3, 4, 5), (2, 6, 4, 5)]),
            ("bi,bi->b", [(3, 4), (3, 4)]),
            ("bi,bij->bj", [(3, 4), (3, 4, 5)]),
            ("ngwcij,gijco->nwgo", [(2, 3, 4, 2, 3, 2), (3, 3, 2, 2, 5)]),
            ("i,j->ji", [(3,), (4,)]),
            ("i,i->", [(4,), (4,)]),
            ("ij,ij->ij", [(3, 4), (3, 4)]),
            (",ij->ji", [(), (3, 4)]),
        )
    ],
}


def _number_of_cases():
    return [
        (name, element, case)
        for name, cases in _CASES.items()
        for element in get_op(name).dtypes
        for case in range(len(cases))
    ]


@pytest.mark.parametrize(("name", "element", "case"), _number_of_cases(), ids=str)
def test_op(name, element, case, agree, values):
    attrs, shapes = _CASES[name][case]
    b = Builder()
    inputs = [b.input(f"x{i}", tensor_type(element, shape)) for i, shape in enumerate(shapes)]
    node = b.op(name, *inputs, **attrs)
    outputs = [("y", node)]
    if node.dtype.is_float or node.dtype.is_integer:
        # The result in an expression: what follows may overwrite it only if it is nobody else's.
        outputs.append(("negated", b.op("negative", node)))
        outputs.append(("again", node))
    graph = Graph.make("entry", inputs, outputs, builder=b)
    inexact = name in ("sum", "prod", "cumsum", "matmul", "einsum", "fold_patches")
    arrays = [
        values(element, shape, seed, special=not (inexact and element.is_float)) for seed, shape in enumerate(shapes)
    ]
    agree(graph, arrays, exact=not inexact)


@pytest.mark.parametrize("element", get_op("argsort").dtypes, ids=str)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_argsort(element, descending, axis, agree, values):
    b = Builder()
    x = b.input("x", tensor_type(element, (6, 9)))
    order = b.op("argsort", x, axis=axis, descending=descending)
    agree(Graph.make("entry", [x], [("order", order)]), [values(element, (6, 9))])


@pytest.mark.parametrize("element", get_op("iota").dtypes, ids=str)
def test_iota(element, agree):
    b = Builder()
    outputs = [
        ("line", b.op("iota", shape=(300,), axis=0, dtype=element)),
        ("rows", b.op("iota", shape=(3, 4), axis=0, dtype=element)),
        ("columns", b.op("negative", b.op("iota", shape=(3, 4), axis=1, dtype=element))),
    ]
    agree(Graph.make("entry", [], outputs), [], exact=True)


@pytest.mark.parametrize("element", get_op("scatter_add").dtypes, ids=str)
@pytest.mark.parametrize("indices", [int8, int32, int64, uint8], ids=str)
def test_gather_and_scatter(element, indices, agree, values):
    b = Builder()
    x = b.input("x", tensor_type(element, (4, 6, 3)))
    places = b.input("places", tensor_type(indices, (2, 5)))
    along = b.input("along", tensor_type(indices, (4, 2, 3)))
    updates = b.input("updates", tensor_type(element, (4, 2, 5, 3)))
    few = b.input("few", tensor_type(element, (4, 2, 3)))
    outputs = [
        ("taken", b.op("take", x, places, axis=1)),
        ("scattered", b.op("scatter_add", x, places, updates, axis=1)),
        ("along", b.op("take_along_axis", x, along, axis=1)),
        ("scattered along", b.op("scatter_add_along_axis", x, along, few, axis=1)),
    ]
    graph = Graph.make("entry", [x, places, along, updates, few], outputs)
    generator = np.random.default_rng(1)
    arrays = [
        values(element, (4, 6, 3), special=False),
        generator.integers(0, 6, (2, 5)).astype(indices.storage),
        generator.integers(0, 6, (4, 2, 3)).astype(indices.storage),
        values(element, (4, 2, 5, 3), special=False),
        values(element, (4, 2, 3), special=False),
    ]
    agree(graph, arrays, exact=True)


@pytest.mark.parametrize("wrong", [-1, 6, 2**40, -(2**40)])
@pytest.mark.parametrize("name", ["take", "take_along_axis", "scatter_add", "scatter_add_along_axis"])
def test_index_out_of_range_leaves_state_alone(name, wrong):
    b = Builder()
    table = b.state(State("table", tensor_type(float32, (6,)), np.zeros(6, np.float32)))
    places = b.input("places", tensor_type(int64, (3,)))
    updates = b.input("updates", tensor_type(float32, (3,)))
    operands = (table, places) if name.startswith("take") else (table, places, updates)
    y = b.op(name, *operands, axis=0)
    grown = b.op("add", table, b.constant(1.0, float32))
    graph = Graph.make("entry", [places, updates], [("y", y)], [(table, grown)])
    entry = compile_source(emit_module(Module("m", {"entry": graph})))["entry"]
    parameters = {"table": np.arange(6, dtype=np.float32)}
    with pytest.raises(IndexError, match=rf"{name}: index {wrong} at position \(1,\) is not in \[0, 6\)"):
        entry(np.array([1, wrong, 2]), np.ones(3, np.float32), parameters)
    np.testing.assert_array_equal(parameters["table"], np.arange(6))


@pytest.mark.parametrize("element", [float32, float64], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,), (1001,)])
def test_random_uniform(element, shape, agree):
    b = Builder()
    key = b.input("key", tensor_type(int64, (2,)))
    draws = [
        (f"stream {s}", b.op("random_uniform", key, shape=shape, stream=s, dtype=element)) for s in (0, 7, 2**32 - 1)
    ]
    for seed, step in ((0, 0), (-5, 2**40 + 3), (2**62 + 12345, -1)):
        agree(Graph.make("entry", [key], draws), [np.array([seed, step])], exact=True)


_IMAGE = {"strides": (2, 1), "padding": ((1, 1), (0, 2)), "dilation": (1, 2)}


def _composites(b, x, kernel, layout, kernel_layout):
    shared = {**_IMAGE, "layout": layout}
    convolution = b.op("conv", x, kernel, **shared, groups=1, kernel_layout=kernel_layout)
    return [
        ("conv", convolution),
        ("max_pool", b.op("max_pool", x, **shared, window=(3, 2))),
        ("average_pool", b.op("average_pool", x, **shared, window=(3, 2), count_include_pad=False)),
    ]


@pytest.mark.parametrize("element", [float16, bfloat16, float32, float64], ids=str)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_convolution_and_pooling(element, layout, agree, values):
    b = Builder()
    last = layout == "NHWC"
    shape, window = ((2, 7, 8, 3), (3, 2, 3, 4)) if last else ((2, 3, 7, 8), (4, 3, 3, 2))
    x, kernel = b.input("x", tensor_type(element, shape)), b.input("kernel", tensor_type(element, window))
    outputs = _composites(b, x, kernel, layout, "HWIO" if last else "OIHW")
    graph = Graph.make("entry", [x, kernel], outputs)
    agree(graph, [values(element, shape, special=False), values(element, window, special=False)])


def test_gradient_of_a_convolution(agree, values):
    b = Builder()
    x, kernel = b.input("x", tensor_type(float64, (2, 7, 8, 4))), b.input("kernel", tensor_type(float64, (3, 2, 2, 6)))
    y = b.op("conv", x, kernel, **_IMAGE, layout="NHWC", kernel_layout="HWIO", groups=2)
    total = b.op("sum", b.op("sin", y), axes=(0, 1, 2, 3), keepdims=False)
    slopes = gradient(b, total, [x, kernel])
    graph = Graph.make("entry", [x, kernel], [("x", slopes[0]), ("kernel", slopes[1])])
    agree(graph, [values(float64, x.shape, special=False), values(float64, kernel.shape, special=False)])


def test_a_users_op(agree, values):
    import sympy

    u, v = sympy.symbols("u v")
    op = make_pointwise("bump", sympy.exp(-(u**2)) * sympy.Max(v, 0) + 1, [u, v])
    b = Builder()
    x, y = b.input("x", tensor_type(float16, (3, 4))), b.input("y", tensor_type(float16, (4,)))
    graph = Graph.make("entry", [x, y], [("z", b.make(op, (x, y)))])
    agree(graph, [values(float16, (3, 4), special=False), values(float16, (4,), special=False)])


def test_an_op_without_a_rule_is_named():
    def infer(attrs, inputs):
        return inputs[0]

    op = OpDef("mystery", OpKind.POINTWISE, infer, lambda attrs, x, result: x, user_defined=True)
    b = Builder()
    x = b.input("x", tensor_type(float32, (3,)))
    graph = Graph.make("entry", [x], [("y", b.make(op, (x,)))])
    with pytest.raises(UnsupportedOp, match="mystery"):
        emit_module(Module("m", {"entry": graph}))


@pytest.mark.parametrize("element", [float32, float64], ids=str)
def test_padding_value_from_the_data(element, agree, values):
    b = Builder()
    x, v = b.input("x", tensor_type(element, (2, 3))), b.input("v", tensor_type(element, ()))
    outputs = [
        ("data", b.op("pad", x, v, low=(1, 0), high=(0, 2))),
        ("zero", b.op("pad", x, b.constant(0.0, element), low=(1, 0), high=(0, 2))),
        ("minus infinity", b.op("pad", x, b.constant(-np.inf, element), low=(0, 1), high=(0, 0))),
        ("minus zero", b.op("pad", x, b.constant(-0.0, element), low=(0, 1), high=(0, 0))),
    ]
    agree(Graph.make("entry", [x, v], outputs), [values(element, (2, 3)), values(element, ())], exact=True)


def test_every_op_has_a_rule_or_a_decomposition():
    missing = [
        op.name
        for op in registered_ops()
        if op.name not in RULES and op.name not in STRUCTURAL and op.decompose is None and not op.user_defined
    ]
    assert not missing
    unknown = [name for name in (*RULES, *STRUCTURAL) if get_op(name).name != name]
    assert not unknown


def test_every_op_is_tested():
    elsewhere = {
        "argsort",
        "iota",
        "random_uniform",
        "take",
        "take_along_axis",
        "scatter_add",
        "scatter_add_along_axis",
    }
    tested = set(_CASES) | elsewhere | STRUCTURAL
    left = [
        op.name
        for op in registered_ops()
        if op.kind not in (OpKind.POINTWISE, OpKind.COMPOSITE) and op.name not in tested
    ]
    assert not left
