"""Rows of the ops that move, reduce, multiply, look up and slide over elements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.ir.types import ALL_DTYPES, FLOATS, INTEGERS, NUMERIC, DType, bool_, int8, int32, int64, uint8
from tests.optable import Array, Operand, Row, Values, between, choice, distinct, edge, given

_SMALL = between(-3, 3)
_WRAPPING = between(-100, 100)


def _positions(limit: int) -> Values:
    """Indices in [0, limit), with repetitions."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        return rng.integers(0, limit, shape)

    return draw


# -- movement ----------------------------------------------------------------------------------------------------------


def _moving(op: str, *cases: tuple[Sequence[tuple[int, ...]], dict[str, Any]]) -> Iterator[Row]:
    """Rows of an op that only moves elements, on ordinary and on special values."""
    for number, (shapes, attrs) in enumerate(cases):
        smooth = tuple(Operand(shape, _SMALL) for shape in shapes)
        yield Row(op, f"{number}: {list(shapes)}", smooth, ALL_DTYPES, attrs, moves=True)
        if number == 0:
            special = tuple(Operand(shape, edge) for shape in shapes)
            yield Row(op, "special values", special, ALL_DTYPES, attrs, smooth=False, moves=True)


def _movement() -> Iterator[Row]:
    yield from _moving(
        "reshape",
        ([(2, 3, 4)], {"shape": (4, 6)}),
        ([(6,)], {"shape": (1, 6, 1)}),
        ([(1, 1)], {"shape": ()}),
        ([()], {"shape": (1,)}),
        ([(0, 3)], {"shape": (2, 0, 5)}),
    )
    yield from _moving(
        "transpose",
        ([(2, 3, 4)], {"permutation": (2, 0, 1)}),
        ([(17, 9)], {"permutation": (1, 0)}),
        ([(1, 4, 1)], {"permutation": (1, 2, 0)}),
        ([()], {"permutation": ()}),
        ([(0, 3)], {"permutation": (1, 0)}),
    )
    yield from _moving(
        "broadcast_to",
        ([(3, 1)], {"shape": (2, 3, 4)}),
        ([()], {"shape": (5,)}),
        ([(4,)], {"shape": (4,)}),
        ([(1,)], {"shape": (0,)}),
        ([(1, 1)], {"shape": (1, 1, 7)}),
    )
    yield from _moving(
        "flip",
        ([(3, 4)], {"axes": (0, 1)}),
        ([(2, 3, 5)], {"axes": (1,)}),
        ([(0, 2)], {"axes": (1,)}),
        ([(1,)], {"axes": (0,)}),
        ([()], {"axes": ()}),
    )
    yield from _moving(
        "slice",
        ([(6, 7)], {"starts": (1, 0), "stops": (5, 7), "steps": (1, 2)}),
        ([(9,)], {"starts": (2,), "stops": (9,), "steps": (3,)}),
        ([(5, 4)], {"starts": (0, 0), "stops": (5, 4), "steps": (1, 1)}),
        ([(4, 3)], {"starts": (2, 1), "stops": (2, 3), "steps": (1, 1)}),
        ([(1,)], {"starts": (0,), "stops": (1,), "steps": (5,)}),
        ([()], {"starts": (), "stops": (), "steps": ()}),
    )
    yield from _moving(
        "index",
        ([(4, 3)], {"axis": 0, "index": 2}),
        ([(2, 3, 5)], {"axis": 2, "index": 0}),
        ([(1,)], {"axis": 0, "index": 0}),
        ([(0, 3)], {"axis": 1, "index": 2}),
    )
    yield from _moving(
        "concat",
        ([(2, 3), (2, 1), (2, 0)], {"axis": 1}),
        ([(2,), (3,)], {"axis": 0}),
        ([(2, 2)], {"axis": 0}),
        ([(0, 2), (0, 2)], {"axis": 1}),
    )
    yield from _moving(
        "stack",
        ([(2, 3), (2, 3)], {"axis": 1}),
        ([(), (), ()], {"axis": 0}),
        ([(4,)], {"axis": 1}),
        ([(0,), (0,)], {"axis": 0}),
    )
    yield from _moving(
        "pad",
        ([(2, 3), ()], {"low": (1, 0), "high": (0, 2)}),
        ([(3,), ()], {"low": (0,), "high": (0,)}),
        ([(0,), ()], {"low": (2,), "high": (1,)}),
        ([(), ()], {"low": (), "high": ()}),
    )
    yield from _moving(
        "patches",
        ([(2, 7)], {"axes": (1,), "window": (3,), "strides": (2,), "dilation": (1,)}),
        ([(6, 5)], {"axes": (0, 1), "window": (2, 3), "strides": (1, 2), "dilation": (3, 1)}),
        ([(4, 2)], {"axes": (), "window": (), "strides": (), "dilation": ()}),
        ([(3,)], {"axes": (0,), "window": (3,), "strides": (4,), "dilation": (1,)}),
    )
    folded = (
        ((2, 3, 3), {"axes": (1,), "window": (3,), "strides": (2,), "dilation": (1,), "shape": (2, 7)}),
        ((3, 2, 2, 3), {"axes": (0, 1), "window": (2, 3), "strides": (1, 2), "dilation": (3, 1), "shape": (6, 5)}),
        ((2, 2), {"axes": (0,), "window": (2,), "strides": (3,), "dilation": (1,), "shape": (6,)}),
    )
    for shape, attrs in folded:
        yield Row("fold_patches", str(shape), (Operand(shape, _SMALL),), NUMERIC, attrs)


# -- reductions --------------------------------------------------------------------------------------------------------

_REDUCED = (
    ((3, 4, 5), (1,)),
    ((3, 4, 5), (0, 2)),
    ((3, 4, 5), (0, 1, 2)),
    ((6, 7), ()),
    ((), ()),
    ((1, 1), (0,)),
    ((0, 3), (1,)),
    ((5, 67), (1,)),
    ((67, 5), (0,)),
)
_OF_NOTHING = (((3, 0), (1,)), ((0, 0), (0,)), ((0,), (0,)))


def _near_one(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    if not dtype.is_float:
        return np.asarray(_SMALL(rng, shape, dtype))
    return rng.uniform(0.7, 1.4, shape) * rng.choice((-1.0, 1.0), shape)


def _reductions() -> Iterator[Row]:
    values: dict[str, tuple[Values, tuple[DType, ...]]] = {
        "sum": (_SMALL, NUMERIC),
        "prod": (_near_one, NUMERIC),
        "max": (distinct, NUMERIC),
        "min": (distinct, NUMERIC),
        "any": (_SMALL, (bool_,)),
        "all": (_SMALL, (bool_,)),
    }
    for op, (draw, dtypes) in values.items():
        shapes = _REDUCED if op in ("max", "min") else (*_REDUCED, *_OF_NOTHING)
        for shape, axes in shapes:
            for keepdims in (False, True):
                label = f"{shape} over {axes}{' kept' if keepdims else ''}"
                yield Row(op, label, (Operand(shape, draw),), dtypes, {"axes": axes, "keepdims": keepdims})
    for op in ("sum", "prod"):
        yield Row(
            op, "wrapping", (Operand((40,), _WRAPPING),), INTEGERS, {"axes": (0,), "keepdims": False}, smooth=False
        )
        zeros = Operand((4, 5), choice(0, 0.5, 2))
        yield Row(op, "zeros", (zeros,), NUMERIC, {"axes": (1,), "keepdims": False}, smooth=False)
    for op in ("max", "min"):
        for number, draw in enumerate((edge, choice(-1, 0, 1))):
            operand = Operand((9, 13), draw)
            yield Row(
                op,
                ("special values", "ties")[number],
                (operand,),
                NUMERIC,
                {"axes": (1,), "keepdims": False},
                smooth=False,
            )
    yield Row(
        "sum",
        "special values",
        (Operand((2, 2), given([[np.inf, 1.0], [np.nan, -np.inf]])),),
        FLOATS,
        {"axes": (1,), "keepdims": False},
        smooth=False,
    )
    for op in ("any", "all"):
        for number in (0, 1):
            yield Row(
                op,
                f"only {bool(number)}",
                (Operand((3, 35), choice(number)),),
                (bool_,),
                {"axes": (1,), "keepdims": False},
            )
    for op in ("argmax", "argmin"):
        for shape, axis in (((3, 4), 0), ((3, 4), 1), ((67,), 0), ((2, 1, 3), 1), ((0, 3), 1)):
            for keepdims in (False, True):
                attrs = {"axes": (axis,), "keepdims": keepdims}
                yield Row(
                    op,
                    f"{shape} along {axis}{' kept' if keepdims else ''}",
                    (Operand(shape, distinct),),
                    NUMERIC,
                    attrs,
                )
        for label, draw in (("special values", edge), ("ties", choice(-1, 0, 1))):
            yield Row(op, label, (Operand((9, 21), draw),), NUMERIC, {"axes": (1,), "keepdims": False}, smooth=False)
    for shape, axis in (((4, 5), 0), ((4, 5), 1), ((2, 3, 4), 1), ((70,), 0), ((1,), 0), ((0, 2), 0), ((2, 0), 0)):
        for reverse in (False, True):
            attrs = {"axis": axis, "reverse": reverse}
            yield Row(
                "cumsum",
                f"{shape} along {axis}{' reversed' if reverse else ''}",
                (Operand(shape, _SMALL),),
                NUMERIC,
                attrs,
            )
    yield Row("cumsum", "wrapping", (Operand((40,), _WRAPPING),), INTEGERS, {"axis": 0, "reverse": False})


# -- contractions ------------------------------------------------------------------------------------------------------


def _contractions() -> Iterator[Row]:
    products = (
        ((2, 3), (3, 4)),
        ((1, 1), (1, 1)),
        ((5, 2, 3), (3, 4)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((0, 2, 3), (0, 3, 1)),
        ((17, 33), (33, 19)),
        ((1, 40), (40, 1)),
    )
    for left, right in products:
        yield Row("matmul", f"{left}×{right}", (Operand(left, _SMALL), Operand(right, _SMALL)), NUMERIC)
    yield Row("matmul", "wrapping", (Operand((3, 9), _WRAPPING), Operand((9, 4), _WRAPPING)), INTEGERS)
    sums = (
        ("ik,kj->ij", (2, 3), (3, 4)),
        ("bki,bkj->jbi", (2, 5, 3), (2, 5, 4)),
        ("i,j->ij", (3,), (4,)),
        ("i,i->", (7,), (7,)),
        ("ij,ij->ji", (3, 4), (3, 4)),
        ("abc,cd->dab", (2, 3, 4), (4, 5)),
        ("ij,->ij", (3, 4), ()),
        ("nxyiuv,uvio->nxyo", (1, 2, 3, 2, 2, 3), (2, 3, 2, 4)),
        ("ab,bc->ac", (0, 3), (3, 2)),
        ("ab,bc->ac", (2, 0), (0, 3)),
        ("abc,bca->cab", (2, 3, 4), (3, 4, 2)),
    )
    for subscripts, left, right in sums:
        attrs = {"subscripts": subscripts}
        yield Row(
            "einsum", f"{subscripts} {left} {right}", (Operand(left, _SMALL), Operand(right, _SMALL)), NUMERIC, attrs
        )


# -- indexing ----------------------------------------------------------------------------------------------------------


def _indexing() -> Iterator[Row]:
    for shape, at, axis in (
        ((5, 3), (4,), 0),
        ((5, 3), (2, 2), 1),
        ((6,), (), 0),
        ((2, 5, 3), (7,), 1),
        ((4, 3), (0,), 0),
        ((3, 0), (2,), 0),
        ((1,), (3,), 0),
    ):
        taken = (*shape[:axis], *at, *shape[axis + 1 :])
        for index in (int8, int32, int64, uint8) if len(at) == 1 and shape == (5, 3) else (int64,):
            where = Operand(at, _positions(shape[axis]), index)
            label = f"{shape} at {at} along {axis} {index}"
            attrs = {"axis": axis}
            yield Row("take", label, (Operand(shape, _SMALL), where), ALL_DTYPES, attrs, moves=True)
            yield Row("scatter_add", label, (Operand(shape, _SMALL), where, Operand(taken, _SMALL)), NUMERIC, attrs)
    for shape, axis, count in (
        ((5, 3), 0, 4),
        ((5, 3), 1, 6),
        ((4,), 0, 1),
        ((2, 3, 4), 1, 2),
        ((3, 2), 0, 0),
        ((0, 2), 1, 2),
    ):
        along = tuple(count if place == axis else dim for place, dim in enumerate(shape))
        where = Operand(along, _positions(shape[axis]), int32 if count == 4 else int64)
        label, attrs = f"{shape} {count} along {axis}", {"axis": axis}
        yield Row("take_along_axis", label, (Operand(shape, _SMALL), where), ALL_DTYPES, attrs, moves=True)
        yield Row(
            "scatter_add_along_axis", label, (Operand(shape, _SMALL), where, Operand(along, _SMALL)), NUMERIC, attrs
        )
    for descending in (False, True):
        for shape, axis in (((20,), 0), ((3, 7), 0), ((3, 7), 1), ((2, 5, 2), 1), ((0, 3), 1), ((3, 0), 1), ((1,), 0)):
            attrs = {"axis": axis, "descending": descending}
            yield Row(
                "argsort",
                f"{shape} along {axis}{' down' if descending else ''}",
                (Operand(shape, distinct),),
                ALL_DTYPES,
                attrs,
            )
        for label, draw in (("special values", edge), ("ties", choice(-1, 0, 1))):
            attrs = {"axis": 1, "descending": descending}
            yield Row(
                "argsort",
                f"{label}{' down' if descending else ''}",
                (Operand((4, 33), draw),),
                ALL_DTYPES,
                attrs,
                smooth=False,
            )


# -- convolution and pooling -------------------------------------------------------------------------------------------


def _convolutions() -> Iterator[Row]:
    none, one = (0, 0), (1, 1)
    # layout, data, kernel, strides, padding, dilation, groups
    cases: tuple[
        tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[Any, ...], tuple[int, ...], int], ...
    ] = (
        ("NWC", (2, 7, 2), (3, 2, 3), (1,), ((1, 1),), (1,), 1),
        ("NCW", (2, 2, 7), (3, 2, 2), (2,), ((0, 1),), (2,), 1),
        ("NHWC", (1, 5, 6, 2), (2, 3, 2, 4), (1, 2), (one, none), (1, 1), 1),
        ("NHWC", (2, 4, 4, 4), (3, 3, 1, 4), (1, 1), (one, one), (1, 1), 4),
        ("NCHW", (2, 4, 5, 5), (6, 2, 3, 2), (2, 1), (none, (1, 0)), (1, 2), 2),
        ("NDHWC", (1, 3, 3, 4, 2), (2, 2, 2, 2, 2), (1, 1, 2), (none, one, none), (1, 1, 1), 1),
        ("NCHW", (0, 2, 4, 4), (3, 2, 1, 1), (1, 1), (none, none), (1, 1), 1),
    )
    for layout, data, kernel, strides, padding, dilation, groups in cases:
        count = len(strides)
        channels_last = layout.endswith("C")
        attrs = {
            "strides": strides,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "layout": layout,
            "kernel_layout": f"{layout[1:-1]}IO" if channels_last else f"OI{layout[2:]}",
        }
        label = f"{layout} {data} {kernel} {groups} groups"
        yield Row("conv", label, (Operand(data, _SMALL), Operand(kernel, _SMALL)), NUMERIC, attrs)
        outer = kernel[-1] if channels_last else kernel[0]
        given_shape = (*data[:-1], outer) if channels_last else (data[0], outer, *data[2:])
        for extra in (0, 1):
            more = {**attrs, "output_padding": (extra,) + (0,) * (count - 1)}
            yield Row(
                "conv_transpose",
                f"{label} + {extra}",
                (Operand(given_shape, _SMALL), Operand(kernel, _SMALL)),
                NUMERIC,
                more,
            )


def _pooling() -> Iterator[Row]:
    cases: tuple[
        tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[Any, ...], tuple[int, ...]], ...
    ] = (
        ("NWC", (2, 7, 2), (2,), (2,), ((0, 0),), (1,)),
        ("NHWC", (1, 5, 6, 2), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1)),
        ("NCHW", (2, 2, 6, 5), (2, 2), (1, 2), ((0, 0), (0, 0)), (2, 1)),
        ("NCDHW", (1, 2, 3, 4, 3), (2, 2, 2), (1, 1, 1), ((0, 0), (1, 0), (0, 0)), (1, 1, 1)),
    )
    for layout, data, window, strides, padding, dilation in cases:
        attrs = {"window": window, "strides": strides, "padding": padding, "dilation": dilation, "layout": layout}
        yield Row("max_pool", f"{layout} {data}", (Operand(data, distinct),), NUMERIC, attrs)
        for inside in (True, False):
            more = {**attrs, "count_include_pad": inside}
            yield Row("average_pool", f"{layout} {data} pad {inside}", (Operand(data, _SMALL),), FLOATS, more)
    attrs = {"window": (2, 2), "strides": (1, 1), "padding": ((1, 1), (0, 0)), "dilation": (1, 1), "layout": "NHWC"}
    yield Row("max_pool", "ties", (Operand((1, 4, 4, 2), choice(-1, 0, 1)),), NUMERIC, attrs, smooth=False)
    yield Row("max_pool", "special values", (Operand((2, 5, 5, 2), edge),), NUMERIC, attrs, smooth=False)


def rows() -> Iterator[Row]:
    """All rows of this module."""
    yield from _movement()
    yield from _reductions()
    yield from _contractions()
    yield from _indexing()
    yield from _convolutions()
    yield from _pooling()
