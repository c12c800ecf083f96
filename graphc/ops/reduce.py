"""Reductions and the running sum.

``sum`` and ``prod`` of integers keep their dtype and wrap; of booleans they are an error (cast first).
``max`` and ``min`` of nothing are an error, and a NaN wins in both, as it does in ``argmax`` and ``argmin``.
An empty ``axes`` reduces nothing.  Half dtypes accumulate in float32 and round once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import product
from graphc.ir.node import Node
from graphc.ir.op import Array, EvaluateRule, InferRule, OpDef, OpKind, VjpRule, register
from graphc.ir.types import NUMERIC, DType, Shape, TensorType, bool_, int64, tensor_type
from graphc.ops.rules import check_axes, check_axis, check_dtype, linear_jvp

_CAST_BOOL = "cast booleans to an integer dtype first, or use any or all"


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """``shape`` after a reduction over ``axes``."""
    if keepdims:
        return tuple(1 if axis in axes else dim for axis, dim in enumerate(shape))
    return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


def _check_not_empty(op: str, x: TensorType, axes: Sequence[int]) -> None:
    if any(x.shape[axis] == 0 for axis in axes):
        raise GraphcValueError("E215", f"{op} over the empty axes {tuple(axes)} of {x!r} has no value")


def _infer(op: str, dtypes: Sequence[DType], *, of_nothing: bool) -> InferRule:
    hint = _CAST_BOOL if bool_ not in dtypes else None

    def infer(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
        (x,) = inputs
        check_dtype(op, x, dtypes, hint if x.dtype is bool_ else None)
        axes = check_axes(op, attrs["axes"], x.rank)
        if not of_nothing:
            _check_not_empty(op, x, axes)
        return tensor_type(x.dtype, reduced_shape(x.shape, axes, attrs["keepdims"]))

    return infer


def _infer_arg(op: str) -> InferRule:
    def infer(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
        (x,) = inputs
        check_dtype(op, x, NUMERIC, _CAST_BOOL if x.dtype is bool_ else None)
        axes = check_axes(op, attrs["axes"], x.rank)
        if len(axes) != 1:
            raise GraphcValueError("E217", f"{op} works along one axis, got {axes}")
        _check_not_empty(op, x, axes)
        return tensor_type(int64, reduced_shape(x.shape, axes, attrs["keepdims"]))

    return infer


def _evaluate(function: Callable[..., Array]) -> EvaluateRule:
    def evaluate(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
        return function(x, axis=attrs["axes"], keepdims=attrs["keepdims"])

    return evaluate


def _evaluate_in_dtype(function: Callable[..., Array]) -> EvaluateRule:
    def evaluate(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
        # NumPy would widen small integers; ours wrap in their own dtype.
        return function(x, axis=attrs["axes"], keepdims=attrs["keepdims"], dtype=x.dtype)

    return evaluate


def _evaluate_arg(function: Callable[..., Array]) -> EvaluateRule:
    def evaluate(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
        return function(x, axis=attrs["axes"][0], keepdims=attrs["keepdims"]).astype(np.int64)

    return evaluate


def _expand(b: Builder, node: Node, value: Node) -> Node:
    """``value`` of a reduction's result shape with the reduced axes back as ones."""
    shape = reduced_shape(node.inputs[0].shape, node.attrs["axes"], True)
    return value if value.shape == shape else b.op("reshape", value, shape=shape)


def _spread(b: Builder, node: Node, value: Node) -> Node:
    """``value`` of a reduction's result shape, repeated to the input's shape."""
    x, expanded = node.inputs[0], _expand(b, node, value)
    return expanded if expanded.shape == x.shape else b.op("broadcast_to", expanded, shape=x.shape)


def _sum_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    return [None if g is None else _spread(b, node, g)]


# -- max, min --------------------------------------------------------------------------------------------------------


def _winners(b: Builder, node: Node) -> tuple[Node, Node]:
    """Where the input equals the extremum, and how often it does (with the result's shape)."""
    mask = b.op("equal", node.inputs[0], _expand(b, node, node))
    count = b.op("sum", b.op("cast", mask, dtype=node.dtype), axes=node.attrs["axes"], keepdims=node.attrs["keepdims"])
    return mask, count


def _extremum_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None]
    mask, count = _winners(b, node)
    share = _spread(b, node, b.op("divide", g, count))
    return [b.op("select", mask, share, b.full_like(share, 0))]


def _extremum_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    (t,) = tangents
    if t is None:
        return [None]
    mask, count = _winners(b, node)
    chosen = b.op("select", mask, t, b.full_like(t, 0))
    return [b.op("divide", b.op("sum", chosen, axes=node.attrs["axes"], keepdims=node.attrs["keepdims"]), count)]


# -- prod ------------------------------------------------------------------------------------------------------------


def exclusive_products(b: Builder, x: Node, axes: Sequence[int]) -> Node:
    """For each element the product of all *others* over ``axes``, of the shape of ``x``.

    Made of products alone, never a division, so it and all its derivatives hold with any number of zeros.
    """
    kept = [axis for axis in range(x.rank) if axis not in axes]
    order = (*kept, *axes)
    moved = b.op("transpose", x, permutation=order)
    lead = tuple(x.shape[axis] for axis in kept)
    length = product(x.shape[axis] for axis in axes)
    rows = b.op("reshape", moved, shape=(*lead, length))
    others = _others_by_scans(b, rows, length) if isinstance(length, int) else _others_by_pairs(b, rows)
    back = tuple(order.index(axis) for axis in range(x.rank))
    return b.op("transpose", b.op("reshape", others, shape=moved.shape), permutation=back)


def _others_by_scans(b: Builder, rows: Node, length: int) -> Node:
    """What stands before times what stands after, each by log2(length) doubling steps (Hillis, Steele 1986)."""
    before = _product_before(b, rows, length)
    last = rows.rank - 1
    after = _product_before(b, b.op("flip", rows, axes=(last,)), length)
    return b.op("multiply", before, b.op("flip", after, axes=(last,)))


def _product_before(b: Builder, rows: Node, length: int) -> Node:
    running, shift = _shifted(b, rows, min(1, length)), 1
    while shift < length:
        running = b.op("multiply", running, _shifted(b, running, shift))
        shift *= 2
    return running


def _shifted(b: Builder, rows: Node, shift: int) -> Node:
    """``rows`` moved right by ``shift``, ones coming in."""
    *lead, length = rows.shape
    none = (0,) * len(lead)
    head = b.op("slice", rows, starts=(*none, 0), stops=(*lead, length - shift), steps=(1,) * rows.rank)
    return b.op("pad", head, b.full_like(rows, 1), low=(*none, shift), high=(*none, 0))


def _others_by_pairs(b: Builder, rows: Node) -> Node:
    """The same for a symbolic length, which has no known number of steps: a square with ones on its diagonal."""
    *lead, length = rows.shape
    square = (*lead, length, length)
    position = [b.op("iota", shape=(length, length), axis=axis, dtype=int64) for axis in (0, 1)]
    repeated = b.op("broadcast_to", b.op("reshape", rows, shape=(*lead, 1, length)), shape=square)
    masked = b.op("select", b.op("equal", *position), b.full_like(rows, 1), repeated)
    return b.op("prod", masked, axes=(rows.rank,), keepdims=False)


def _prod_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None]
    return [b.op("multiply", _spread(b, node, g), exclusive_products(b, node.inputs[0], node.attrs["axes"]))]


def _prod_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    (t,) = tangents
    if t is None:
        return [None]
    terms = b.op("multiply", t, exclusive_products(b, node.inputs[0], node.attrs["axes"]))
    return [b.op("sum", terms, axes=node.attrs["axes"], keepdims=node.attrs["keepdims"])]


# -- cumsum ----------------------------------------------------------------------------------------------------------


def _infer_cumsum(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (x,) = inputs
    check_dtype("cumsum", x, NUMERIC, _CAST_BOOL if x.dtype is bool_ else None)
    check_axis("cumsum", attrs["axis"], x.rank)
    checked: TensorType = x
    return checked


def _evaluate_cumsum(attrs: Attrs, x: Array, *, result: TensorType) -> Array:
    axis = attrs["axis"]
    if attrs["reverse"]:
        return np.flip(np.cumsum(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis=axis, dtype=x.dtype)


def _cumsum_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    (g,) = cotangents
    if g is None:
        return [None]
    return [b.op("cumsum", g, axis=node.attrs["axis"], reverse=not node.attrs["reverse"])]


# -- registration ----------------------------------------------------------------------------------------------------


def _register_numbers(
    name: str, function: Callable[..., Array], vjp: VjpRule, jvp: VjpRule, summary: str, *, of_nothing: bool
) -> None:
    register(
        OpDef(
            name,
            OpKind.REDUCTION,
            _infer(name, NUMERIC, of_nothing=of_nothing),
            _evaluate_in_dtype(function) if of_nothing else _evaluate(function),
            vjp,
            jvp,
            attributes=("axes", "keepdims"),
            dtypes=NUMERIC,
            summary=summary,
            arity=1,
        )
    )


def _register_fixed(
    name: str, infer: InferRule, evaluate: EvaluateRule, dtypes: tuple[DType, ...], summary: str
) -> None:
    register(
        OpDef(
            name,
            OpKind.REDUCTION,
            infer,
            evaluate,
            attributes=("axes", "keepdims"),
            dtypes=dtypes,
            summary=summary,
            arity=1,
            differentiable=False,
        )
    )


_register_numbers(
    "sum", np.sum, _sum_vjp, linear_jvp, "sum over axes; integers keep their dtype and wrap", of_nothing=True
)
_register_numbers(
    "prod", np.prod, _prod_vjp, _prod_jvp, "product over axes; integers keep their dtype and wrap", of_nothing=True
)
_register_numbers(
    "max",
    np.max,
    _extremum_vjp,
    _extremum_jvp,
    "largest value over axes; NaN wins, ties share the cotangent",
    of_nothing=False,
)
_register_numbers(
    "min",
    np.min,
    _extremum_vjp,
    _extremum_jvp,
    "smallest value over axes; NaN wins, ties share the cotangent",
    of_nothing=False,
)
_register_fixed(
    "any", _infer("any", (bool_,), of_nothing=True), _evaluate(np.any), (bool_,), "is any value over axes true?"
)
_register_fixed(
    "all", _infer("all", (bool_,), of_nothing=True), _evaluate(np.all), (bool_,), "are all values over axes true?"
)
_register_fixed(
    "argmax", _infer_arg("argmax"), _evaluate_arg(np.argmax), NUMERIC, "position of the first largest value; NaN wins"
)
_register_fixed(
    "argmin", _infer_arg("argmin"), _evaluate_arg(np.argmin), NUMERIC, "position of the first smallest value; NaN wins"
)
register(
    OpDef(
        "cumsum",
        OpKind.SCAN,
        _infer_cumsum,
        _evaluate_cumsum,
        _cumsum_vjp,
        linear_jvp,
        attributes=("axis", "reverse"),
        dtypes=NUMERIC,
        summary="running sum along an axis, each element included",
        arity=1,
    )
)
