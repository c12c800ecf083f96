"""Pointwise ops: universal functions and operators of NumPy where these mean the same, helpers where they do not."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.lowering.base import Rule, Scope, meets_array, rounded, wide
from graphc.backends.numpy.syntax import binary, call, compare, literal, method, numpy
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import DType, bfloat16, bool_, float16, float32


@dataclass(frozen=True, slots=True)
class Ufunc:
    """A NumPy function that can write its result into an operand.

    Attributes:
        function: its name in NumPy.
        operator: the Python operator that means the same, for source that reads well.
        exact: True where results for half dtypes need no rounding, so that it may work on them directly.
        zero: True where the function takes a zero as second operand.
    """

    function: str
    operator: ast.operator | ast.cmpop | ast.unaryop | None = None
    exact: bool = False
    zero: bool = False


_COMMUTATIVE = frozenset(
    {"add", "multiply", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor"}
)

_UFUNCS: dict[str, Ufunc] = {
    "negative": Ufunc("negative", ast.USub(), exact=True),
    "abs": Ufunc("abs", exact=True),
    "sign": Ufunc("sign", exact=True),
    "square": Ufunc("square"),
    "reciprocal": Ufunc("reciprocal"),
    "floor": Ufunc("floor", exact=True),
    "ceil": Ufunc("ceil", exact=True),
    "trunc": Ufunc("trunc", exact=True),
    "round": Ufunc("rint", exact=True),
    "relu": Ufunc("maximum", exact=True, zero=True),
    "softplus": Ufunc("logaddexp", zero=True),
    "add": Ufunc("add", ast.Add()),
    "subtract": Ufunc("subtract", ast.Sub()),
    "multiply": Ufunc("multiply", ast.Mult()),
    "divide": Ufunc("divide", ast.Div()),
    "floor_divide": Ufunc("floor_divide", ast.FloorDiv()),
    "remainder": Ufunc("remainder", ast.Mod()),
    "pow": Ufunc("power"),
    "maximum": Ufunc("maximum", exact=True),
    "minimum": Ufunc("minimum", exact=True),
    "copysign": Ufunc("copysign", exact=True),
    "atan2": Ufunc("arctan2"),
    "hypot": Ufunc("hypot"),
    "logaddexp": Ufunc("logaddexp"),
    "equal": Ufunc("equal", ast.Eq(), exact=True),
    "not_equal": Ufunc("not_equal", ast.NotEq(), exact=True),
    "less": Ufunc("less", ast.Lt(), exact=True),
    "less_equal": Ufunc("less_equal", ast.LtE(), exact=True),
    "greater": Ufunc("greater", ast.Gt(), exact=True),
    "greater_equal": Ufunc("greater_equal", ast.GtE(), exact=True),
    "isnan": Ufunc("isnan", exact=True),
    "isinf": Ufunc("isinf", exact=True),
    "isfinite": Ufunc("isfinite", exact=True),
    "logical_not": Ufunc("logical_not", ast.Invert(), exact=True),
    "logical_and": Ufunc("logical_and", ast.BitAnd(), exact=True),
    "logical_or": Ufunc("logical_or", ast.BitOr(), exact=True),
    "logical_xor": Ufunc("logical_xor", ast.BitXor(), exact=True),
    "bitwise_invert": Ufunc("invert", ast.Invert(), exact=True),
    "bitwise_and": Ufunc("bitwise_and", ast.BitAnd(), exact=True),
    "bitwise_or": Ufunc("bitwise_or", ast.BitOr(), exact=True),
    "bitwise_xor": Ufunc("bitwise_xor", ast.BitXor(), exact=True),
    "asin": Ufunc("arcsin"),
    "acos": Ufunc("arccos"),
    "atan": Ufunc("arctan"),
    "asinh": Ufunc("arcsinh"),
    "acosh": Ufunc("arccosh"),
    "atanh": Ufunc("arctanh"),
    **{
        name: Ufunc(name)
        for name in [
            "sqrt",
            "exp",
            "expm1",
            "log",
            "log1p",
            "log2",
            "log10",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
        ]
    },
}

_INTEGER_HELPERS = {"floor_divide": "_floor_divide", "remainder": "_remainder", "pow": "_integer_power"}
_SHIFTS = {
    "bitwise_left_shift": ("_left_shift", ast.LShift()),
    "bitwise_right_shift": ("_right_shift", ast.RShift()),
}


def ufunc_of(node: Node) -> Ufunc | None:
    """The universal function that computes ``node`` from its operands as they are, or None."""
    found = _UFUNCS.get(node.op.name)
    if found is None or (node.inputs[0].dtype.is_integer and node.op.name in _INTEGER_HELPERS):
        return None
    if node.op.name == "pow" and _constant(node.inputs[1]) in (None, 0.5):
        return None
    return found if found.exact or not node.inputs[0].dtype.is_half else None


def operands_of(scope: Scope, node: Node) -> list[ast.expr]:
    """The operands of a pointwise node; constants as plain numbers where they meet an array."""
    read = scope.weak if meets_array(scope, node.inputs) else scope.value
    return [read(operand) for operand in node.inputs]


def _lower_ufunc(scope: Scope, node: Node) -> ast.expr:
    found = _UFUNCS[node.op.name]
    if ufunc_of(node) is not None:
        return apply(node, found, operands_of(scope, node))
    weak = meets_array(scope, node.inputs)
    operands = [
        scope.weak(operand) if weak and scope.is_number(operand) else wide(scope, operand) for operand in node.inputs
    ]
    return rounded(scope, apply(node, found, operands), node.dtype)


def apply(node: Node, found: Ufunc, operands: Sequence[ast.expr], **keywords: ast.expr) -> ast.expr:
    """The function or operator on operands of its compute dtype; with keywords (``out``) always the function."""
    if found.zero:
        operands = [*operands, _zero_like(node)]
    elif found.operator is not None and not keywords:
        return _operator(found.operator, operands)
    return call(numpy(found.function), *operands, **keywords)


def _zero_like(node: Node) -> ast.expr:
    element = node.dtype
    zero = literal(0.0 if element.is_float else 0)
    # A scalar would make a Python number decide the dtype in NumPy 1.
    return zero if node.rank else call(dtype_expression(element), zero)


def _operator(operator: ast.operator | ast.cmpop | ast.unaryop, operands: Sequence[ast.expr]) -> ast.expr:
    match operator:
        case ast.unaryop():
            return ast.UnaryOp(operator, operands[0])
        case ast.cmpop():
            return compare(operands[0], operator, operands[1])
        case ast.operator():
            return binary(operands[0], operator, operands[1])


def update_in_place(node: Node, found: Ufunc, operands: Sequence[ast.expr], place: int) -> ast.stmt:
    """A statement that computes ``node`` into its operand number ``place``."""
    target = operands[place]
    assert isinstance(target, ast.Name)
    operator = found.operator
    if isinstance(operator, ast.operator) and (place == 0 or node.op.name in _COMMUTATIVE):
        return ast.AugAssign(ast.Name(target.id, ast.Store()), operator, operands[1 - place])
    return ast.Expr(apply(node, found, operands, out=target))


# -- ops that are not one universal function --------------------------------------------------------------------------


def _lower_integer_or_ufunc(scope: Scope, node: Node) -> ast.expr:
    x, y = node.inputs
    divisor = _constant(y)
    if not node.dtype.is_integer:
        if node.op.name != "pow" or divisor not in (None, 0.5):
            return _lower_ufunc(scope, node)
        return rounded(scope, call(scope.helper("_power"), wide(scope, x), wide(scope, y)), node.dtype)
    if node.op.name != "pow" and divisor is not None and divisor not in (0, -1):
        return _operator(_UFUNCS[node.op.name].operator or ast.FloorDiv(), operands_of(scope, node))
    return call(scope.helper(_INTEGER_HELPERS[node.op.name]), scope.value(x), scope.value(y))


def _constant(node: Node) -> float | int | bool | None:
    return node.attrs["value"].scalar() if node.op.name == "constant" and node.rank == 0 else None


def _lower_shift(scope: Scope, node: Node) -> ast.expr:
    helper, operator = _SHIFTS[node.op.name]
    x, amount = node.inputs
    count = _constant(amount)
    if count is not None and 0 <= count < node.dtype.bits:
        return binary(*_pair(operands_of(scope, node), operator))
    return call(scope.helper(helper), scope.value(x), scope.value(amount))


def _pair(operands: Sequence[ast.expr], operator: ast.operator) -> tuple[ast.expr, ast.operator, ast.expr]:
    return operands[0], operator, operands[1]


def _lower_sigmoid(scope: Scope, node: Node) -> ast.expr:
    return rounded(scope, call(scope.helper("_sigmoid"), wide(scope, node.inputs[0])), node.dtype)


def _lower_erf(scope: Scope, node: Node) -> ast.expr:
    return rounded(scope, call(scope.helper("_erf"), wide(scope, node.inputs[0])), node.dtype)


def _lower_select(scope: Scope, node: Node) -> ast.expr:
    condition, *branches = node.inputs
    read = scope.weak if meets_array(scope, branches) else scope.value
    return call(numpy("where"), scope.value(condition), *(read(branch) for branch in branches))


def _lower_cast(scope: Scope, node: Node) -> ast.expr:
    (x,) = node.inputs
    source, target = x.dtype, node.dtype
    value = scope.value(x)
    if source is target or (source is bfloat16 and target is float32):
        return value
    if target is bool_:
        return compare(value, ast.NotEq(), literal(0.0 if source.is_float else 0))
    if target.is_integer and source.is_float:
        return call(scope.helper("_to_integer"), value, dtype_expression(target))
    if target.is_half:
        return rounded(scope, _as_single(value, source), target)
    return method(value, "astype", dtype_expression(target))


def _as_single(value: ast.expr, source: DType) -> ast.expr:
    """A value as float32, by way of which everything becomes a half dtype."""
    held_as_single = source in (float32, bfloat16, float16)
    return value if held_as_single else method(value, "astype", dtype_expression(float32))


def _lower_stop_gradient(scope: Scope, node: Node) -> ast.expr:
    return scope.value(node.inputs[0])


RULES: dict[str, Rule] = {
    **dict.fromkeys(_UFUNCS, _lower_ufunc),
    **dict.fromkeys(_INTEGER_HELPERS, _lower_integer_or_ufunc),
    **dict.fromkeys(_SHIFTS, _lower_shift),
    "sigmoid": _lower_sigmoid,
    "erf": _lower_erf,
    "select": _lower_select,
    "cast": _lower_cast,
    "stop_gradient": _lower_stop_gradient,
}


def may_warn(node: Node) -> bool:
    """True where NumPy could warn of what the op means: an overflow, an invalid value, a division by zero."""
    if node.op.kind in (OpKind.REDUCTION, OpKind.SCAN, OpKind.CONTRACTION):
        return node.dtype.is_float or node.rank == 0
    if node.op.kind is not OpKind.POINTWISE:
        return node.op.name in ("fold_patches", "scatter_add", "scatter_add_along_axis")
    # Comparisons of float64 with NaN and casts warn in some versions: only what handles no floats at all is certain.
    handles_floats = node.dtype.is_float or any(operand.dtype.is_float for operand in node.inputs)
    return handles_floats or node.rank == 0 or node.op.name in _INTEGER_HELPERS
