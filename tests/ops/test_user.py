"""Pointwise ops that users define by a sympy expression."""

import math

import numpy as np
import pytest
import sympy

import graphc.ops  # noqa: F401
from graphc.autodiff.forward import jvp
from graphc.autodiff.reverse import gradient, vjp
from graphc.errors import GraphcTypeError, GraphcValueError, UnsupportedOp
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.op import get_op, registered_ops
from graphc.ir.traverse import creation_order
from graphc.ir.types import bfloat16, float32, float64, int32, tensor_type
from graphc.ops.user import make_pointwise

x, y = sympy.symbols("x y")

EXPRESSIONS = {
    "swish": x / (1 + sympy.exp(-x)),
    "mish": x * sympy.tanh(sympy.log(1 + sympy.exp(x))),
    "gelu": x / 2 * (1 + sympy.erf(x / sympy.sqrt(2))),
    "hard_swish": x * sympy.Min(sympy.Max(x + 3, 0), 6) / 6,
    "selu": sympy.Piecewise((1.0507 * x, x > 0), (1.7581 * (sympy.exp(x) - 1), True)),
    "bump": sympy.Piecewise((sympy.exp(-1 / (1 - x**2)), (x > -1) & (x < 1)), (0, True)),
    "rational": (x**3 - 2 * x + sympy.Rational(1, 3)) / (x**2 + sympy.pi),
    "powers": x**2 * y**-3 + sympy.sqrt(y) + y ** sympy.Rational(-1, 2) + y**x + sympy.E**y,
    "trigonometry": sympy.sec(x) + sympy.sin(x) * sympy.atan2(y, x) + sympy.sinc(x * y) + sympy.acot(y) + sympy.coth(y),
    "steps": sympy.Heaviside(x) * y + sympy.floor(x) * y + sympy.sign(x) * y**2 + sympy.Abs(x * y),
    "modulo": sympy.Mod(x, 3) * y + sympy.frac(x) + sympy.ceiling(y),
    "logistic_powers": sympy.exp(-x) / (1 + sympy.exp(-x)) ** 3 + sympy.log(1 + y),
    "hyperbolic": sympy.asinh(x) + sympy.atan(y) * sympy.erfc(x) - sympy.log(y) / sympy.log(2),
}


def compiled(op, arrays, outputs):
    """Values of ``outputs(b, node, inputs)`` for an op on float64 arrays."""
    b = Builder()
    inputs = [b.input(f"x{i}", tensor_type(float64, np.shape(array))) for i, array in enumerate(arrays)]
    nodes = outputs(b, b.make(op, inputs), inputs)
    graph = Graph.make("f", inputs, [(f"o{i}", node) for i, node in enumerate(nodes)])
    return list(evaluate(graph, [np.asarray(array, np.float64) for array in arrays])[0].values())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_value_decomposition_and_derivatives(name):
    expression = EXPRESSIONS[name]
    op = make_pointwise(name, expression)
    symbols = sorted(expression.free_symbols, key=str)
    for point in [(0.4, 1.7), (-0.7, 2.2), (2.3, 0.6)]:
        point = point[: op.arity]

        def outputs(b, node, inputs):
            tangents = [b.constant(1.0, float64)] * len(inputs)
            return [node, op.decompose(b, node, inputs), *jvp(b, [node], inputs, tangents), *gradient(b, node, inputs)]

        value, decomposed, pushed, *slopes = compiled(op, point, outputs)
        real = {s: sympy.Symbol(s.name, real=True) for s in symbols}
        at = {real[s]: sympy.Rational(v) for s, v in zip(symbols, point, strict=True)}
        exact = float(expression.xreplace(real).subs(at).evalf(30))
        assert float(value) == pytest.approx(exact, rel=1e-14)
        assert float(decomposed) == float(value)
        for position, slope in enumerate(slopes):
            step = 1e-6
            ahead, behind = (
                float(
                    compiled(op, [p + sign * step * (i == position) for i, p in enumerate(point)], lambda b, n, i: [n])[
                        0
                    ]
                )
                for sign in (1, -1)
            )
            assert float(slope) == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-7)
        assert float(pushed) == pytest.approx(float(sum(slopes)), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", ["swish", "mish", "gelu", "logistic_powers"])
def test_stable_at_large_values(name):
    op = make_pointwise(name, EXPRESSIONS[name].subs(y, 0))
    far = np.array([-1000.0, -100, 100, 1000])
    value, slope = compiled(
        op, [far], lambda b, n, i: [n, *vjp(b, [n], [b.op("broadcast_to", b.constant(1, float64), shape=(4,))], i)]
    )
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    np.testing.assert_allclose(slope, [0, 0, 0, 0] if name == "logistic_powers" else [0, 0, 1, 1], atol=1e-12)


def test_second_derivative():
    op = make_pointwise("swish", EXPRESSIONS["swish"])
    (value,) = compiled(op, [0.3], lambda b, n, i: gradient(b, gradient(b, n, i)[0], i))
    assert float(value) == pytest.approx(float(sympy.diff(EXPRESSIONS["swish"], x, 2).subs(x, 0.3)), rel=1e-13)


def test_decomposition_uses_stable_ops():
    b = Builder()
    node = b.input("x", tensor_type(float64, ()))
    expected = {
        1 / (1 + sympy.exp(-x)): "sigmoid",
        sympy.exp(x) / (1 + sympy.exp(x)): "sigmoid",
        sympy.log(1 + sympy.exp(x)): "softplus",
        sympy.log(1 + x): "log1p",
        sympy.exp(x) - 1: "expm1",
        sympy.Mod(x, 3): "remainder",
        sympy.floor(x / 3): "floor_divide",
        x / 3: "divide",
        x / 4: "multiply",
    }
    for expression, name in expected.items():
        op = make_pointwise("f", expression)
        assert op.decompose(b, b.make(op, [node]), [node]).op.name == name, expression


def test_parameters_give_the_order_and_may_be_unused():
    op = make_pointwise("f", x - 2 * y, [y, x])
    assert float(compiled(op, [1.0, 10.0], lambda b, n, i: [n])[0]) == 8
    op = make_pointwise("g", sympy.Integer(7) + x * 0, [x, y])
    values = compiled(op, [np.zeros((2, 1)), np.zeros(3)], lambda b, n, i: [n, op.decompose(b, n, i)])
    assert all(value.shape == (2, 3) and (value == 7).all() for value in values)


def test_symbols_are_real():
    op = make_pointwise("f", sympy.sqrt(x**2) + sympy.conjugate(x) + sympy.Abs(x))
    assert float(compiled(op, [-3.0], lambda b, n, i: [n])[0]) == 3


def test_half_dtypes_round_once():
    op = make_pointwise("f", (x + 1) ** 2 - x**2 - 2 * x)
    b = Builder()
    node = b.input("x", tensor_type(bfloat16, (1,)))
    made = b.make(op, [node])
    graph = Graph.make("f", [node], [("a", made), ("b", op.decompose(b, made, [node]))])
    values, _ = evaluate(graph, [np.array([0x4140], np.uint16)])  # 12
    assert values["a"].tolist() == values["b"].tolist() == [0x3F80]
    assert vjp(b, [made], [b.input("g", made.tensor)], [node])[0].type is node.type


def test_wide_sums_and_deep_nests():
    wide = sympy.Add(*(sympy.sin(k * x) for k in range(1, 1500)))
    (value,) = compiled(make_pointwise("wide", wide), [0.5], lambda b, n, i: [n])
    assert float(value) == pytest.approx(sum(math.sin(k * 0.5) for k in range(1, 1500)), abs=1e-9)
    deep = x
    for _ in range(60):
        deep = sympy.sin(deep) + sympy.Rational(1, 2)
    value, slope = compiled(make_pointwise("deep", deep), [0.5], lambda b, n, i: [n, *gradient(b, n, i)])
    expected, product = 0.5, 1.0
    for _ in range(60):
        product *= math.cos(expected)
        expected = math.sin(expected) + 0.5
    assert float(value) == pytest.approx(expected, rel=1e-13) and float(slope) == pytest.approx(product, rel=1e-9)


def test_the_name_of_a_builtin_op_is_not_taken():
    op = make_pointwise("softplus", x**2)
    assert op.name != "softplus" and get_op("softplus").expression is not None
    assert op not in list(registered_ops())


def test_only_builtin_ops_remain():
    b = Builder()
    node = b.input("x", tensor_type(float32, (2,)))
    op = make_pointwise("swish", EXPRESSIONS["swish"])
    made = b.make(op, [node])
    assert all(not part.op.user_defined for part in creation_order([op.decompose(b, made, [node])]))


def test_errors():
    with pytest.raises(GraphcTypeError, match="never parsed") as caught:
        make_pointwise("f", "x + 1")
    assert caught.value.code == "E212" and caught.value.hint
    with pytest.raises(GraphcTypeError, match="got bool"):
        make_pointwise("f", True)
    with pytest.raises(UnsupportedOp, match="gamma"):
        make_pointwise("f", sympy.gamma(x))
    with pytest.raises(UnsupportedOp, match="mystery"):
        make_pointwise("f", sympy.Function("mystery")(x))
    with pytest.raises(UnsupportedOp, match="not a real number"):
        make_pointwise("f", sympy.I * x)
    with pytest.raises(GraphcValueError, match="1 to 8"):
        make_pointwise("f", sympy.Integer(3))
    with pytest.raises(GraphcValueError, match="1 to 8"):
        make_pointwise("f", sympy.Add(*sympy.symbols("a:9")))
    with pytest.raises(GraphcValueError, match="'y'"):
        make_pointwise("f", x + y, [x])
    with pytest.raises(GraphcValueError, match="same name"):
        make_pointwise("f", x + sympy.Symbol("x", positive=True))
    with pytest.raises(GraphcValueError, match="identifier"):
        make_pointwise("f g", x)
    b = Builder()
    with pytest.raises(GraphcTypeError, match="f takes floats"):
        b.make(make_pointwise("f", x + 1), [b.input("i", tensor_type(int32, (2,)))])
