"""Contractions.

Floats accumulate in their compute dtype (float32 for the half dtypes), integers in their own and wrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, product
from graphc.ir.node import Node
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.types import NUMERIC, TensorType, tensor_type
from graphc.ops.rules import bilinear_jvp, check_dtype, check_same_dtype
from graphc.ops.shapes import broadcast_shapes, unbroadcast

_CAST_BOOL = "cast booleans to a number first"


def _check_numbers(op: str, inputs: Sequence[TensorType]) -> None:
    for operand in inputs:
        check_dtype(op, operand, NUMERIC, _CAST_BOOL)
    check_same_dtype(op, inputs)


# -- matmul ------------------------------------------------------------------------------------------------------------


def _infer_matmul(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    a, b = inputs
    _check_numbers("matmul", inputs)
    if a.rank < 2 or b.rank < 2:
        raise GraphcValueError("E211", f"matmul takes operands of rank 2 or more, got {a!r} and {b!r}")
    if a.shape[-1] != b.shape[-2]:
        raise GraphcValueError(
            "E211", f"matmul of {a!r} and {b!r}: the inner dimensions {a.shape[-1]} and {b.shape[-2]} differ"
        )
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]], "batch dimensions of matmul")
    return tensor_type(a.dtype, (*batch, a.shape[-2], b.shape[-1]))


def _evaluate_matmul(attrs: Attrs, a: Array, b: Array, *, result: TensorType) -> Array:
    product: Array = np.matmul(a, b)
    return product


def _swap_last(b: Builder, x: Node) -> Node:
    lead = tuple(range(x.rank - 2))
    return b.op("transpose", x, permutation=(*lead, x.rank - 1, x.rank - 2))


def _rows(b: Builder, x: Node) -> Node:
    """All leading dimensions as one."""
    return x if x.rank == 2 else b.op("reshape", x, shape=(product(x.shape[:-1]), x.shape[-1]))


def _matmul_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None]
    left, right = node.inputs
    to_left = unbroadcast(b, b.op("matmul", g, _swap_last(b, right)), left.tensor)
    if right.rank == 2:
        # A matrix shared by the whole batch: one tall product instead of a batch of them and a sum.
        return [to_left, b.op("matmul", _swap_last(b, _rows(b, left)), _rows(b, g))]
    return [to_left, unbroadcast(b, b.op("matmul", _swap_last(b, left), g), right.tensor)]


def _again(b: Builder, node: Node, left: Node, right: Node) -> Node:
    return b.make(node.op, (left, right), node.attrs)


# -- einsum ------------------------------------------------------------------------------------------------------------


def split_subscripts(subscripts: str) -> tuple[str, str, str]:
    """The letters of both operands and of the output: ``"ik,kj->ij"`` gives ``("ik", "kj", "ij")``.

    Raises:
        GraphcValueError: E211 where the text is not of that form, or a letter breaks the rules of this op.
    """
    operands, arrow, output = subscripts.partition("->")
    left, comma, right = operands.partition(",")
    letters = left + right + output
    if not arrow or not comma or (letters and not (letters.isalpha() and letters.isascii())):
        raise GraphcValueError(
            "E211",
            f"einsum subscripts {subscripts!r} are not of the form 'ik,kj->ij'",
            hint="two operands, explicit output",
        )
    for part in (left, right, output):
        if len(set(part)) != len(part):
            raise GraphcValueError("E211", f"einsum subscripts {subscripts!r}: a letter stands twice in {part!r}")
    for letter in letters:
        if letter not in left + right:
            raise GraphcValueError("E211", f"einsum subscripts {subscripts!r}: {letter!r} is in no operand")
        if letter not in output and not (letter in left and letter in right):
            raise GraphcValueError(
                "E211",
                f"einsum subscripts {subscripts!r}: {letter!r} is neither in the output nor in both operands",
                hint="sum over it first",
            )
    return left, right, output


def _infer_einsum(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    a, b = inputs
    _check_numbers("einsum", inputs)
    left, right, output = split_subscripts(attrs["subscripts"])
    sizes: dict[str, Dim] = {}
    for letters, operand in ((left, a), (right, b)):
        if len(letters) != operand.rank:
            raise GraphcValueError(
                "E211", f"einsum {attrs['subscripts']!r}: {letters!r} does not name the axes of {operand!r}"
            )
        for letter, dim in zip(letters, operand.shape, strict=True):
            if sizes.setdefault(letter, dim) != dim:
                raise GraphcValueError(
                    "E211",
                    f"einsum {attrs['subscripts']!r} of {a!r} and {b!r}: {letter!r} is {sizes[letter]} and {dim}",
                )
    return tensor_type(a.dtype, [sizes[letter] for letter in output])


def _evaluate_einsum(attrs: Attrs, a: Array, b: Array, *, result: TensorType) -> Array:
    # "optimize" lets NumPy use its matrix product, without which a convolution takes minutes.
    product: Array = np.einsum(attrs["subscripts"], a, b, optimize=True)
    return product


def _einsum_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None, None]
    left, right, output = split_subscripts(node.attrs["subscripts"])
    # Every letter of an operand is in the output or in the other operand, so no letter is ever missing here.
    return [
        b.op("einsum", g, node.inputs[1], subscripts=f"{output},{right}->{left}"),
        b.op("einsum", node.inputs[0], g, subscripts=f"{left},{output}->{right}"),
    ]


register(
    OpDef(
        "matmul",
        OpKind.CONTRACTION,
        _infer_matmul,
        _evaluate_matmul,
        _matmul_vjp,
        bilinear_jvp(_again),
        dtypes=NUMERIC,
        summary="matrix product over the last two axes, batch dimensions broadcast",
        arity=2,
    )
)
register(
    OpDef(
        "einsum",
        OpKind.CONTRACTION,
        _infer_einsum,
        _evaluate_einsum,
        _einsum_vjp,
        bilinear_jvp(_again),
        attributes=("subscripts",),
        dtypes=NUMERIC,
        summary="Einstein summation of two operands with an explicit output",
        arity=2,
    )
)
