"""Ops without inputs: arguments, state, constants, positions, and the training switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.types import NUMERIC, TensorType, bool_, tensor_type
from graphc.ops.rules import check_axis, check_dtype


def _unbound(name: str) -> Callable[..., Array]:
    def evaluate(attrs: Attrs, *, result: TensorType) -> Array:
        raise GraphcValueError("E902", f"{name} of type {result!r} has no value of its own: the evaluator binds it")

    return evaluate


def _infer_input(attrs: Attrs, _inputs: Sequence[Any]) -> TensorType:
    return tensor_type(attrs["dtype"], attrs["shape"])


def _infer_state(attrs: Attrs, _inputs: Sequence[Any]) -> TensorType:
    declared: TensorType = attrs["state"].type
    return declared


def _infer_constant(attrs: Attrs, _inputs: Sequence[Any]) -> TensorType:
    declared: TensorType = attrs["value"].type
    return declared


def _evaluate_constant(attrs: Attrs, *, result: TensorType) -> Array:
    carrier: Array = attrs["value"].carrier
    return carrier


def _infer_iota(attrs: Attrs, _inputs: Sequence[Any]) -> TensorType:
    made = tensor_type(attrs["dtype"], attrs["shape"])
    check_dtype("iota", made, NUMERIC)
    check_axis("iota", attrs["axis"], made.rank)
    return made


def _evaluate_iota(attrs: Attrs, *, result: TensorType) -> Array:
    shape, axis = result.static_shape, attrs["axis"]
    column = [1] * len(shape)
    column[axis] = shape[axis]
    positions = np.arange(shape[axis], dtype=np.int64).astype(result.dtype.compute)
    return np.broadcast_to(positions.reshape(column), shape)


def _infer_training(_attrs: Attrs, _inputs: Sequence[Any]) -> TensorType:
    return tensor_type(bool_)


register(
    OpDef(
        "input",
        OpKind.SOURCE,
        _infer_input,
        _unbound("input"),
        attributes=("name", "dtype", "shape"),
        summary="argument of the entry point",
        arity=0,
    )
)
register(
    OpDef(
        "state",
        OpKind.SOURCE,
        _infer_state,
        _unbound("state"),
        attributes=("state",),
        summary="value of a state variable at the call",
        arity=0,
    )
)
register(
    OpDef(
        "constant",
        OpKind.SOURCE,
        _infer_constant,
        _evaluate_constant,
        attributes=("value",),
        summary="an array known when the graph is built",
        arity=0,
    )
)
register(
    OpDef(
        "iota",
        OpKind.SOURCE,
        _infer_iota,
        _evaluate_iota,
        attributes=("shape", "axis", "dtype"),
        dtypes=NUMERIC,
        summary="position along an axis, counted from 0; wraps in narrow integers",
        arity=0,
    )
)
register(
    OpDef(
        "training",
        OpKind.SOURCE,
        _infer_training,
        _unbound("training"),
        dtypes=(bool_,),
        summary="boolean scalar: does this entry point train? bound for each entry point",
        arity=0,
        differentiable=False,
    )
)
