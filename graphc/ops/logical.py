"""Comparisons, logic and ``select``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.attrs import Attrs
from graphc.ir.op import OpDef, OpKind, register
from graphc.ir.types import ALL_DTYPES, TensorType, ValueType, bool_, tensor_type
from graphc.ops.pointwise import (
    Compute,
    check_operands,
    check_same_dtype,
    pointwise_jvp,
    pointwise_vjp,
    register_pointwise,
)
from graphc.ops.shapes import broadcast_shapes

Array = np.ndarray[Any, Any]


def _comparison(name: str, arity: int, compute: Compute, summary: str, expression: str | None) -> None:
    register_pointwise(
        name,
        arity,
        ALL_DTYPES,
        compute,
        summary,
        expression=expression,
        result=bool_,
        differentiable=False,
        discontinuous=True,
    )


def _logic(name: str, arity: int, compute: Compute, summary: str, expression: str) -> None:
    register_pointwise(
        name, arity, (bool_,), compute, summary, expression=expression, differentiable=False, discontinuous=True
    )


_comparison("equal", 2, np.equal, "x == y", "Eq(x, y)")
_comparison("not_equal", 2, np.not_equal, "x != y", "Ne(x, y)")
_comparison("less", 2, np.less, "x < y", "x < y")
_comparison("less_equal", 2, np.less_equal, "x <= y", "x <= y")
_comparison("greater", 2, np.greater, "x > y", "x > y")
_comparison("greater_equal", 2, np.greater_equal, "x >= y", "x >= y")
_comparison("isnan", 1, np.isnan, "true for NaN", None)
_comparison("isinf", 1, np.isinf, "true for the infinities", None)
_comparison("isfinite", 1, np.isfinite, "true for neither NaN nor an infinity", None)

_logic("logical_not", 1, np.logical_not, "not x", "Not(x)")
_logic("logical_and", 2, np.logical_and, "x and y", "And(x, y)")
_logic("logical_or", 2, np.logical_or, "x or y", "Or(x, y)")
_logic("logical_xor", 2, np.logical_xor, "x or y, not both", "Xor(x, y)")


def _infer_select(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
    condition, *branches = check_operands("select", inputs, 3, ALL_DTYPES)
    check_operands("the condition of select", [condition], 1, (bool_,))
    element = check_same_dtype("select", branches)
    return tensor_type(element, broadcast_shapes([operand.shape for operand in (condition, *branches)], "select"))


def _evaluate_select(attrs: Attrs, condition: Array, x: Array, y: Array, *, result: TensorType) -> Any:
    return np.where(condition, x, y)


register(
    OpDef(
        "select",
        OpKind.POINTWISE,
        _infer_select,
        _evaluate_select,
        vjp=pointwise_vjp,
        jvp=pointwise_jvp,
        expression="Piecewise((y, x), (z, True))",
        summary="the second operand where the first is true, else the third",
        arity=3,
        extra={"discontinuous": True},
    )
)
