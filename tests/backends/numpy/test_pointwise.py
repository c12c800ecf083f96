"""Every pointwise op in every dtype: from inputs, from memory it may overwrite, on scalars, with constants."""

import numpy as np
import pytest

import graphc.ops  # noqa: F401
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.op import OpDef, OpKind, registered_ops
from graphc.ir.types import ALL_DTYPES, DType, bool_, float16, float32, int32, int64, tensor_type

# Their source computes something else than the reference does, if only in its last bit.
_ROUNDED = {"erf"}
# The sign of a zero among equal operands is NumPy's choice, and it makes a different one in place.
_LOOSE = _ROUNDED | {"maximum", "minimum", "relu"}


def _pairs() -> list[tuple[str, DType]]:
    return [
        (op.name, element)
        for op in registered_ops()
        if op.kind is OpKind.POINTWISE and not op.user_defined and op.name != "cast"
        for element in op.dtypes
    ]


def _operands(op: OpDef, element: DType) -> list[DType]:
    return [bool_, element, element] if op.name == "select" else [element] * (op.arity or 1)


def _owned(b: Builder, node):
    """The same value in memory that the function owns."""
    return b.op("select", b.constant(True, bool_), node, node)


@pytest.mark.parametrize(("name", "element"), _pairs(), ids=lambda value: str(value))
def test_op(name, element, agree, values):
    op = next(op for op in registered_ops() if op.name == name)
    b = Builder()
    shapes = [(5, 7), (7,), (5, 1)]
    dtypes = _operands(op, element)
    inputs = [b.input(f"x{i}", tensor_type(dtype, shapes[i])) for i, dtype in enumerate(dtypes)]
    equal = [b.input(f"y{i}", tensor_type(dtype, (5, 7))) for i, dtype in enumerate(dtypes)]
    scalars = [b.input(f"s{i}", tensor_type(dtype, ())) for i, dtype in enumerate(dtypes)]
    outputs = [
        ("plain", b.op(name, *inputs)),
        ("scalar", b.op(name, *scalars)),
        ("mixed", b.op(name, *[scalars[0], *equal[1:]])),
        ("transposed", b.op(name, *[b.op("transpose", node, permutation=(1, 0)) for node in equal])),
        ("first", b.op(name, *[_owned(b, equal[0]), *equal[1:]])),
    ]
    if len(dtypes) > 1:
        overlapping = _owned(b, b.op("flip", equal[-1], axes=(0,)))
        same = _owned(b, b.op("flip", equal[-1], axes=(1,)))
        outputs.append(("twice", b.op(name, *[*equal[:-2], same, same])))
        flipped = b.op("flip", overlapping, axes=(1,))
        outputs.append(("last", b.op(name, *[*equal[:-1], _owned(b, equal[-1])])))
        outputs.append(("views", b.op(name, *[*equal[:-2], overlapping, flipped])))
        constant = b.constant(2, element) if element is not bool_ else b.constant(True, bool_)
        outputs.append(("constant", b.op(name, *[*equal[:-1], constant])))
        outputs.append(("constant scalar", b.op(name, *[*scalars[:-1], constant])))
    graph = Graph.make("entry", [*inputs, *equal, *scalars], outputs, builder=b)
    arrays = [values(node.dtype, node.shape, seed) for seed, node in enumerate(graph.inputs)]
    agree(graph, arrays, exact=name not in _LOOSE)


@pytest.mark.parametrize("target", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("source", ALL_DTYPES, ids=str)
def test_cast(source, target, agree, values):
    b = Builder()
    x, s = b.input("x", tensor_type(source, (40,))), b.input("s", tensor_type(source, ()))
    cast = b.op("cast", x, dtype=target)
    again = b.op("cast", cast, dtype=source)
    number = target is not bool_
    outputs = [("x", cast), ("again", again), ("s", b.op("cast", s, dtype=target))]
    outputs.append(("own", b.op("add", cast, cast) if number else b.op("logical_not", cast)))
    graph = Graph.make("entry", [x, s], outputs, builder=b)
    array = values(source, (40,), 3)
    if source.bits > 16 and source.is_float:
        limits = np.array(
            [127.5, 128.0, -129.0, 255.9, 256.0, 2.0**31, -(2.0**31) - 2048, 2.0**63, -(2.0**63), 1e30, -1e30]
        )
        array[: len(limits)] = limits
    agree(graph, [array, array[5]], exact=True)


@pytest.mark.parametrize("divisor", [0, 1, -1, 2, -3, 7])
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "pow"])
@pytest.mark.parametrize("element", [int32, int64], ids=str)
def test_integer_constants(name, element, divisor, agree, values):
    b = Builder()
    x = b.input("x", tensor_type(element, (60,)))
    y = b.op(name, x, b.constant(divisor, element))
    agree(Graph.make("entry", [x], [("y", y)]), [values(element, (60,))], exact=True)


@pytest.mark.parametrize("amount", [0, 1, 31, 32, -1, 100])
def test_constant_shifts(amount, agree, values):
    b = Builder()
    x = b.input("x", tensor_type(int32, (40,)))
    outputs = [
        (name, b.op(name, x, b.constant(amount, int32))) for name in ("bitwise_left_shift", "bitwise_right_shift")
    ]
    agree(Graph.make("entry", [x], outputs), [values(int32, (40,))], exact=True)


def test_half_constants_keep_their_digits(agree):
    # 0.1 as float16 is 0.0999755859375: arithmetic in float32 must see that, not 0.1.
    b = Builder()
    x = b.input("x", tensor_type(float16, (2000,)))
    y = b.op("multiply", x, b.constant(0.1, float16))
    agree(Graph.make("entry", [x], [("y", y)]), [np.linspace(0, 60000, 2000, dtype=np.float16)], exact=True)


def test_erf_is_accurate():
    import mpmath

    from graphc.backends.numpy.helpers import _erf

    with mpmath.workdps(30):
        points = np.concatenate([np.linspace(-6.5, 6.5, 261), 10.0 ** np.linspace(-300, 1, 60)])
        exact = np.array([float(mpmath.erf(mpmath.mpf(float(x)))) for x in points])
    np.testing.assert_allclose(_erf(points), exact, rtol=1e-15)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0])
    np.testing.assert_array_equal(_erf(special), [1.0, -1.0, np.nan, 0.0, -0.0])
    assert np.signbit(_erf(np.array([-0.0])))[0]


def test_erf_coefficients_are_those_of_its_function():
    """The table is the Chebyshev expansion of (x + 3) exp(x²) erfc(x) in (x − 3)/(x + 3)."""
    import ast
    import inspect

    import mpmath

    from graphc.backends.numpy.helpers import _erf

    stated = [
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(_erf)))
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    with mpmath.workdps(40):
        points = 120
        angles = [mpmath.pi * (j + mpmath.mpf(1) / 2) / points for j in range(points)]
        heights = []
        for angle in angles:
            t = mpmath.cos(angle)
            x = 3 * (1 + t) / (1 - t)
            heights.append((x + 3) * mpmath.exp(x * x) * mpmath.erfc(x))
        for order in range(25):
            total = sum(height * mpmath.cos(order * angle) for height, angle in zip(heights, angles, strict=True))
            coefficient = abs(float(2 * total / points))
            assert any(abs(coefficient - number) <= 1e-15 + 1e-14 * coefficient for number in stated), (
                order,
                coefficient,
            )


def test_quiet_overflow(agree):
    b = Builder()
    x = b.input("x", tensor_type(float32, (3,)))
    y = b.op("divide", b.op("exp", x), b.op("subtract", x, x))
    agree(Graph.make("entry", [x], [("y", y)]), [np.array([1000.0, -1000.0, 0.0], np.float32)], exact=True)
