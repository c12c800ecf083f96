"""Derivatives of pointwise ops: both forms against sympy, kinks, special points, broadcasting, second order."""

import numpy as np
import pytest
import sympy

import graphc.ops  # noqa: F401
from graphc.autodiff.forward import jvp
from graphc.autodiff.reverse import gradient, vjp
from graphc.ir.builder import Builder
from graphc.ir.dim import symbol
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.op import OpKind, get_op, registered_ops
from graphc.ir.types import bfloat16, float16, float32, float64, int32, tensor_type
from graphc.ops.derivatives import TAKEN
from graphc.ops.derive import TARGET, generate, main, parse
from graphc.ops.differentiate import differentiate
from graphc.ops.pointwise import partials_of
from graphc.ops.shapes import unbroadcast
from graphc.ops.stable_derivatives import STATED

INF = np.inf
SMOOTH = [
    op
    for op in registered_ops()
    if op.kind is OpKind.POINTWISE and op.differentiable and op.name not in ("cast", "select")
]


def test_generated_file_is_what_the_expressions_give():
    assert TARGET.read_text(encoding="utf-8") == generate()


def test_the_command_compares(capsys):
    assert main([]) == 0
    assert capsys.readouterr().err == ""


def test_every_pointwise_op_has_one_source_of_derivatives():
    for op in registered_ops():
        if op.kind is OpKind.POINTWISE and op.name != "cast":
            assert op.differentiable == (op.vjp is not None) == (op.jvp is not None)
            assert (op.name in TAKEN) + (op.name in STATED) == op.differentiable, op.name
    assert not set(TAKEN) & set(STATED)


# -- the derivative functions, run on exact numbers ------------------------------------------------------------------


class ExactBuilder:
    """Runs a derivative function on sympy numbers by the ops' own expressions."""

    def op(self, name, *values):
        if name == "isinf":
            return sympy.false
        if name == "select":
            return values[1] if values[0] == True else values[2]  # noqa: E712
        if name == "logical_and":
            return sympy.And(*values)
        if name == "floor_divide":
            return sympy.floor(values[0] / values[1])
        if name == "copysign":
            return abs(values[0]) * (1 if values[1] >= 0 else -1)
        names = sympy.symbols("x y z", real=True)
        value = parse(get_op(name)).subs(dict(zip(names, values, strict=False)), simultaneous=True)
        return value if value in (sympy.true, sympy.false) else value.evalf(45)

    def full_like(self, node, value):
        return sympy.Rational(value)


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_derivative_equals_that_of_the_expression(op):
    """To 35 digits; where a taken form holds an irrational constant, to its rounding."""
    low, high = op.extra.get("domain", (-3.0, 3.0))
    low, high = max(low, -3.0), min(high, 3.0)
    expression = parse(op)
    names = sympy.symbols("x y", real=True)[: op.arity]
    b = ExactBuilder()
    rounded = op.name in ("erf", "log2", "log10")
    for position in range(op.arity):
        partial = partials_of(op.name)[position]
        exact = differentiate(expression, names[position])
        for t in (0.0546875, 0.296875, 0.53125, 0.9375):
            for second in (-1.25, 0.34375, 2.5):
                values = tuple(sympy.Rational(v) for v in (low + (high - low) * t, second)[: op.arity])
                at = dict(zip(names, values, strict=True))
                expected = 3 * exact.subs(at, simultaneous=True).evalf(45)
                out = expression.subs(at, simultaneous=True).evalf(45)
                found = sympy.S.Zero if partial is None else partial(b, sympy.Integer(3), *values, out)
                bound = abs(expected) * sympy.Rational(1, 10 ** (15 if rounded else 35)) + sympy.Float(10) ** -40
                assert abs(sympy.re(found) - sympy.re(expected)) <= bound, (values, found, expected)


# -- in graphs -------------------------------------------------------------------------------------------------------


def run(b, inputs, outputs, arrays):
    graph = Graph.make("f", inputs, [(f"o{i}", node) for i, node in enumerate(outputs)])
    return list(evaluate(graph, arrays)[0].values())


def operands_of(b, arrays, element=float64):
    return [b.input(f"x{i}", tensor_type(element, array.shape)) for i, array in enumerate(arrays)]


def derivatives_at(name, *points, order=1):
    """The op's derivatives by each operand at scalar points; order 2 gives the Hessian row by row."""
    arrays = [np.asarray(point, np.float64) for point in points]
    b = Builder()
    inputs = operands_of(b, arrays)
    first = gradient(b, b.op(name, *inputs), inputs)
    outputs = first if order == 1 else [second for slope in first for second in gradient(b, slope, inputs)]
    return [float(value) for value in run(b, inputs, outputs, arrays)]


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_reverse_forward_and_differences_agree_with_broadcasting(op):
    rng = np.random.default_rng(5)
    low, high = op.extra.get("domain", (-2.0, 2.0))
    low, high = max(low, -2.0) + 0.25, min(high, 2.0) - 0.25
    if op.name == "acosh":
        low, high = 1.25, 2.0
    shapes = [(3, 1), (2, 1, 4)][: op.arity]
    arrays = [rng.uniform(low, high, shapes[0]), *(rng.uniform(0.5, 0.9, shape) for shape in shapes[1:])]
    b = Builder()
    inputs = operands_of(b, arrays)
    out = b.op(op.name, *inputs)
    cotangent = b.input("g", out.tensor)
    tangents = [b.input(f"t{i}", node.tensor) for i, node in enumerate(inputs)]
    pulled = vjp(b, [out], [cotangent], inputs)
    pushed = jvp(b, [out], inputs, tangents)
    g = rng.standard_normal(out.shape)
    ts = [rng.standard_normal(shape) for shape in shapes]
    *pulled_values, pushed_value = run(b, [*inputs, cotangent, *tangents], [*pulled, *pushed], [*arrays, g, *ts])
    step = 1e-6
    ahead, behind = (
        run(b, inputs, [out], [a + sign * step * t for a, t in zip(arrays, ts, strict=True)])[0] for sign in (1, -1)
    )
    np.testing.assert_allclose(pushed_value, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-7)
    assert all(value.shape == array.shape for value, array in zip(pulled_values, arrays, strict=True))
    # <g, J t> = <Jᵀ g, t>
    both = sum(float((value * t).sum()) for value, t in zip(pulled_values, ts, strict=True))
    assert both == pytest.approx(float((g * pushed_value).sum()), rel=1e-12)


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_second_derivatives_against_differences_of_the_first(op):
    points = {"acosh": 1.7, "asin": 0.3, "acos": 0.3, "atanh": 0.3}.get(op.name, 0.8)
    points = (points, 1.3)[: op.arity]
    hessian = derivatives_at(op.name, *points, order=2)
    step = 1e-6
    for column in range(op.arity):
        ahead, behind = (
            derivatives_at(op.name, *(p + sign * step * (i == column) for i, p in enumerate(points)))
            for sign in (1, -1)
        )
        expected = [(a - c) / (2 * step) for a, c in zip(ahead, behind, strict=True)]
        np.testing.assert_allclose(hessian[column :: op.arity], expected, rtol=1e-5, atol=1e-7)


def test_kinks_and_ties():
    assert derivatives_at("relu", 0.0) == [0]
    assert derivatives_at("abs", 0.0) == [0]
    assert derivatives_at("maximum", 2.0, 2.0) == [0.5, 0.5]
    assert derivatives_at("minimum", 2.0, 2.0) == [0.5, 0.5]
    assert derivatives_at("maximum", 2.0, 1.0) == [1, 0]
    assert derivatives_at("minimum", 2.0, 1.0) == [0, 1]
    assert derivatives_at("hypot", 0.0, 0.0) == [0, 0]
    assert derivatives_at("copysign", 0.0, 1.0) == [0, 0]
    assert derivatives_at("copysign", -3.0, -0.0) == [1, 0]
    assert derivatives_at("remainder", 7.5, -2.0) == [1, 4]


def test_where_the_taken_form_would_fail():
    assert derivatives_at("softplus", 1000.0) == [1] and derivatives_at("softplus", -1000.0) == [0]
    assert derivatives_at("sigmoid", 1000.0) == [0] and derivatives_at("sigmoid", -1000.0) == [0]
    assert derivatives_at("logaddexp", 1000.0, -1000.0) == [1, 0]
    assert derivatives_at("logaddexp", -INF, -INF) == [0.5, 0.5]
    assert derivatives_at("logaddexp", -INF, 1.0) == [0, 1]
    np.testing.assert_allclose(derivatives_at("logaddexp", 2.0, 2.0, order=2), [0.25, -0.25, -0.25, 0.25])
    assert derivatives_at("asinh", 1e200) == [1e-200]
    np.testing.assert_allclose(derivatives_at("atan2", 3e-200, 4e-200), [1.6e199, -1.2e199])
    x = 1 - 2.0**-50
    np.testing.assert_allclose(derivatives_at("asin", x), [1 / np.sqrt(2.0**-50 * (1 + x))], rtol=1e-15)


def test_pow_at_zero():
    assert derivatives_at("pow", 0.0, 0.0) == [0, 0]
    assert derivatives_at("pow", 0.0, 1.0) == [1, 0]
    assert derivatives_at("pow", 0.0, 2.0) == [0, 0]
    assert derivatives_at("pow", 0.0, 2.0, order=2)[0] == 2
    assert derivatives_at("pow", -2.0, 3.0)[0] == 12
    # At y = 0 away from x = 0 the guard must not cut the mixed derivative 1/x.
    np.testing.assert_allclose(derivatives_at("pow", 2.0, 0.0, order=2), [0, 0.5, 0.5, np.log(2) ** 2])


def test_guarded_branches_give_no_nan():
    b = Builder()
    x = b.input("x", tensor_type(float64, (3,)))
    zero, one = b.full_like(x, 0.0), b.full_like(x, 1.0)
    positive = b.op("greater", x, zero)
    safe = b.op("log", b.op("select", positive, x, one))
    (slope,) = vjp(b, [b.op("select", positive, safe, zero)], [b.op("broadcast_to", one, shape=(3,))], [x])
    assert run(b, [x], [slope], [np.array([-1.0, 0, 2])])[0].tolist() == [0, 0, 0.5]


def test_cast_and_stop_gradient():
    b = Builder()
    x = b.input("x", tensor_type(float32, (2,)))
    wide = b.op("square", b.op("cast", x, dtype=float64))
    g = b.input("g", wide.tensor)
    (slope,) = vjp(b, [wide], [g], [x])
    assert slope.type is x.type
    assert run(b, [x, g], [slope], [np.array([1, 3], np.float32), np.array([1.0, 2])])[0].tolist() == [2, 12]
    through_integer = b.op("cast", b.op("cast", x, dtype=int32), dtype=float32)
    stopped = b.op("multiply", x, b.op("stop_gradient", x))
    h = b.input("h", x.tensor)
    a, c = vjp(b, [through_integer], [h], [x])[0], vjp(b, [stopped], [h], [x])[0]
    values = run(b, [x, h], [a, c], [np.array([1.5, 3], np.float32), np.ones(2, np.float32)])
    assert [value.tolist() for value in values] == [[0, 0], [1.5, 3]]


@pytest.mark.parametrize("element", [float16, bfloat16, float32])
def test_derivatives_keep_the_dtype(element):
    for op in SMOOTH:
        b = Builder()
        inputs = [b.input(f"x{i}", tensor_type(element, (2,))) for i in range(op.arity)]
        out = b.make(op, inputs)
        for cotangent, operand in zip(vjp(b, [out], [b.input("g", out.tensor)], inputs), inputs, strict=True):
            assert cotangent.type is operand.type


def test_unbroadcast():
    n = symbol("n")
    b = Builder()
    g = b.input("g", tensor_type(float64, (n, 2, 3)))
    for shape in [(), (3,), (1,), (2, 1), (n, 1, 3), (1, 1, 1), (n, 2, 3), (1, 2, 3)]:
        target = tensor_type(float64, shape)
        assert unbroadcast(b, g, target).type is target
