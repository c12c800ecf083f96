"""What pointwise ops share: registration, inference, and derivatives from the table of partial derivatives.

The ops themselves stand in ``arithmetic``, ``elementary``, ``logical``, ``integer`` and ``conversion``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.op import OpDef, OpKind, register
from graphc.ir.types import ALL_DTYPES, FLOATS, DType, TensorType, ValueType, tensor_type
from graphc.ops import derivatives, stable_derivatives
from graphc.ops.shapes import broadcast_node, broadcast_shapes, unbroadcast

Array = np.ndarray[Any, Any]
Compute = Callable[..., Any]
"""The op on NumPy arrays of its compute dtype."""

Partial = Callable[..., Node]
"""``partial(b, g, *inputs, out)``: ``g`` times the partial derivative of ``out`` by one input.

It is linear in ``g``, so it serves both modes: with a cotangent for ``g`` it is a step of reverse mode, with a
tangent one of forward mode.
"""


def check_operands(name: str, inputs: Sequence[ValueType], arity: int, dtypes: tuple[DType, ...]) -> list[TensorType]:
    """The operand types, after a check of their number and of each dtype.

    Raises:
        GraphcTypeError: E212.
    """
    if len(inputs) != arity:
        raise GraphcTypeError("E212", f"{name} takes {arity} input{'s' * (arity != 1)}, got {len(inputs)}")
    operands = []
    for operand in inputs:
        if not isinstance(operand, TensorType):
            raise GraphcTypeError(
                "E212", f"{name} takes tensors, got the results of a loop", hint="take one of them with result"
            )
        if operand.dtype not in dtypes:
            raise GraphcTypeError(
                "E212", f"{name} takes {describe_dtypes(dtypes)}, got {operand!r}", hint="cast it first"
            )
        operands.append(operand)
    return operands


def describe_dtypes(dtypes: tuple[DType, ...]) -> str:
    """The set of dtypes in words."""
    if dtypes == ALL_DTYPES:
        return "any dtype"
    return "floats" if dtypes == FLOATS else "one of " + ", ".join(element.name for element in dtypes)


def check_same_dtype(name: str, operands: Sequence[TensorType]) -> DType:
    """The one dtype of ``operands``; frontends have promoted by then.

    Raises:
        GraphcTypeError: E213.
    """
    element = operands[0].dtype
    for operand in operands[1:]:
        if operand.dtype is not element:
            raise GraphcTypeError(
                "E213",
                f"{name} takes operands of one dtype, got {element} and {operand.dtype}",
                hint="cast one of them",
            )
    return element


def register_pointwise(
    name: str,
    arity: int,
    dtypes: tuple[DType, ...],
    compute: Compute,
    summary: str,
    *,
    expression: str | None = None,
    result: DType | None = None,
    differentiable: bool = True,
    **extra: Any,
) -> OpDef:
    """Register an op whose operands have one dtype and broadcast together.

    Args:
        name: of the op.
        arity: number of operands.
        dtypes: what they may be.
        compute: the op in NumPy.
        summary: one line of documentation.
        expression: sympy text over ``x`` and ``y``.
        result: dtype of the result where it is not that of the operands.
        differentiable: False where the derivative is zero or does not exist.
        extra: facts for tests and tools: ``domain=(low, high)`` of the first operand where it is limited,
            ``discontinuous=True``.
    """

    def infer(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
        operands = check_operands(name, inputs, arity, dtypes)
        element = check_same_dtype(name, operands)
        return tensor_type(result or element, broadcast_shapes([operand.shape for operand in operands], name))

    def evaluate(attrs: Attrs, *arrays: Array, result: TensorType) -> Any:
        return compute(*arrays)

    return register(
        OpDef(
            name,
            OpKind.POINTWISE,
            infer,
            evaluate,
            vjp=pointwise_vjp if differentiable else None,
            jvp=pointwise_jvp if differentiable else None,
            dtypes=dtypes,
            expression=expression,
            summary=summary,
            arity=arity,
            differentiable=differentiable,
            extra=extra,
        )
    )


def partials_of(name: str) -> tuple[Partial | None, ...]:
    """The partial derivatives of the op ``name`` by each input; None where the derivative is zero."""
    stated = stable_derivatives.STATED.get(name)
    return stated if stated is not None else derivatives.TAKEN[name]


def apply_partials_reverse(
    b: Builder, node: Node, partials: Sequence[Partial | None], cotangent: Node | None
) -> list[Node | None]:
    """One step of reverse mode: the cotangents of the inputs of ``node``, each summed to its input's shape."""
    cotangents: list[Node | None] = []
    for partial, operand in zip(partials, node.inputs, strict=True):
        if partial is None or cotangent is None or not operand.dtype.is_float:
            cotangents.append(None)
        else:
            cotangents.append(_summed(b, partial(b, cotangent, *node.inputs, node), operand))
    return cotangents


def _summed(b: Builder, term: Node, operand: Node) -> Node:
    """``term`` summed to the shape of ``operand``; where the operand divides it, the sum is divided.

    The gradient by a denominator that is one number a row is then one division a row.  Half dtypes are divided first:
    their sums would overflow (those of float32 do where the terms are near its largest number).
    """
    summand, negated, divided = term, False, False
    if term.shape != operand.shape and not operand.dtype.is_half:
        if summand.op.name == "negative":
            summand, negated = summand.inputs[0], True
        if summand.op.name == "divide" and summand.inputs[1] is operand and summand.inputs[0].shape == term.shape:
            summand, divided = summand.inputs[0], True
    total = unbroadcast(b, summand, operand.tensor)
    if divided:
        total = b.op("divide", total, operand)
    return b.op("negative", total) if negated else total


def apply_partials_forward(
    b: Builder, node: Node, partials: Sequence[Partial | None], tangents: Sequence[Node | None]
) -> list[Node | None]:
    """One step of forward mode: the tangent of ``node``, repeated to its shape."""
    total: Node | None = None
    for partial, tangent in zip(partials, tangents, strict=True):
        if partial is not None and tangent is not None:
            term = partial(b, tangent, *node.inputs, node)
            total = term if total is None else b.op("add", total, term)
    return [None if total is None else broadcast_node(b, total, node.shape)]


def pointwise_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    """The vjp of every built-in pointwise op."""
    return apply_partials_reverse(b, node, partials_of(node.op.name), cotangents[0])


def pointwise_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    """The jvp of every built-in pointwise op."""
    return apply_partials_forward(b, node, partials_of(node.op.name), tangents)
