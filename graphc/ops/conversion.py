"""``cast`` between dtypes, and ``stop_gradient``.

A float becomes an integer by truncation; what lies outside the integer's range becomes its nearest end, and NaN
becomes 0.  An integer wraps to a narrower one.  To bool means ``!= 0`` (so NaN is true).  Anything becomes a half dtype
by way of float32: float64 and int64 values are rounded twice, as hardware without a direct conversion does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, register
from graphc.ir.types import ALL_DTYPES, DType, TensorType, ValueType, bool_
from graphc.ops.pointwise import check_operands

Array = np.ndarray[Any, Any]


def cast_array(x: Array, target: DType) -> Array:
    """``x`` in the compute dtype of ``target``, by the rules above."""
    if target is bool_:
        return np.asarray(x != 0)
    if target.is_integer and x.dtype.kind == "f":
        return _saturate(x, target)
    return x.astype(target.compute)


def _saturate(x: Array, target: DType) -> Array:
    """Float to integer: every comparison is exact, since both limits are powers of two or zero."""
    limits = np.iinfo(target.storage)
    whole = np.trunc(x.astype(np.float64))
    low, beyond = float(limits.min), float(limits.max // 2 + 1) * 2.0
    inside = (whole >= low) & (whole < beyond)
    converted = np.where(inside, whole, 0.0).astype(target.storage)
    converted = np.where(whole < low, target.storage.type(limits.min), converted)
    return np.where(whole >= beyond, target.storage.type(limits.max), converted)


def _infer_cast(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
    (operand,) = check_operands("cast", inputs, 1, ALL_DTYPES)
    target = attrs["dtype"]
    if not isinstance(target, DType):
        raise GraphcTypeError("E212", f"cast needs a dtype, got {target!r}")
    return operand.with_dtype(target)


def _evaluate_cast(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return cast_array(x, result.dtype)


def _cast_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (cotangent,) = cotangents
    source = node.inputs[0].dtype
    if cotangent is None or not (source.is_float and node.dtype.is_float):
        return [None]
    return [b.op("cast", cotangent, dtype=source)]


def _cast_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    (tangent,) = tangents
    if tangent is None or not node.dtype.is_float:
        return [None]
    return [b.op("cast", tangent, dtype=node.dtype)]


register(
    OpDef(
        "cast",
        OpKind.POINTWISE,
        _infer_cast,
        _evaluate_cast,
        vjp=_cast_vjp,
        jvp=_cast_jvp,
        attributes=("dtype",),
        summary="the value in another dtype",
        arity=1,
        extra={"discontinuous": True},
    )
)


def _infer_stop_gradient(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
    return check_operands("stop_gradient", inputs, 1, ALL_DTYPES)[0]


def _evaluate_stop_gradient(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    return x


register(
    OpDef(
        "stop_gradient",
        OpKind.POINTWISE,
        _infer_stop_gradient,
        _evaluate_stop_gradient,
        expression="x",
        summary="x, a constant to differentiation",
        arity=1,
        differentiable=False,
    )
)
