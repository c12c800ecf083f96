"""Rows of the pointwise ops: every registered one, by its number of operands; then their special values and ties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from graphc.ir.op import OpDef, OpKind, registered_ops
from graphc.ir.types import ALL_DTYPES, DType, bool_
from tests.optable import Array, Operand, Row, Values, away_from_zero, between, choice, distinct, edge, specials

UNARY_SHAPES = ((37,), (), (0, 3), (1,), (2, 1, 5))
BINARY_SHAPES = (
    ((3, 4), (3, 4)),
    ((37,), ()),
    ((3, 1), (1, 5)),
    ((2, 1, 3), (3,)),
    ((0, 3), (1, 3)),
    ((), ()),
    ((1,), (1, 1)),
)
TERNARY_SHAPES = (
    ((37,), (37,), (37,)),
    ((3, 1), (1, 4), ()),
    ((), (2, 3), (2, 3)),
    ((0,), (1,), ()),
    ((1, 1), (1,), (2, 1)),
)


def _fractions(low: int, high: int) -> Values:
    """Numbers well away from whole ones and from halves."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if not dtype.is_float:
            return np.asarray(between(low, high)(rng, shape, dtype))
        return rng.integers(low, high, shape) + rng.choice((0.125, 0.3, 0.7, 0.875), shape)

    return draw


def _grid(offset: float) -> Values:
    """Multiples of one half, moved by ``offset``: two grids of different offset never meet."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if not dtype.is_float:
            return np.asarray(between(-9, 9)(rng, shape, dtype))
        return rng.integers(-6, 6, shape) / 2 + offset

    return draw


def _ints_or(floats: Values, low: int, high: int) -> Values:
    """``floats`` for floats, whole numbers from ``low`` to ``high`` for integers."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        return np.asarray((floats if dtype.is_float else between(low, high))(rng, shape, dtype))

    return draw


_ANY = _ints_or(between(-3, 3), -100, 100)
_APART = _ints_or(away_from_zero(0.2, 3.0), -100, 100)

VALUES: Mapping[str, tuple[Values, ...]] = {
    "reciprocal": (_APART,),
    "abs": (_APART,),
    "relu": (_APART,),
    "sign": (_APART,),
    "tan": (between(-1.3, 1.3),),
    "floor": (_fractions(-4, 4),),
    "ceil": (_fractions(-4, 4),),
    "trunc": (_fractions(-4, 4),),
    "round": (_fractions(-4, 4),),
    "divide": (_ANY, _APART),
    "floor_divide": (_ints_or(_fractions(-4, 4), -100, 100), _ints_or(choice(-2.0, -1.0, 0.5, 1.0, 2.0), -9, 9)),
    "remainder": (_ints_or(_fractions(-4, 4), -100, 100), _ints_or(choice(-2.0, -1.0, 0.5, 1.0, 2.0), -9, 9)),
    "pow": (_ints_or(between(0.2, 3.0), -5, 5), _ints_or(between(-2.0, 3.0), -3, 7)),
    "atan2": (_APART, _APART),
    "hypot": (_APART, _APART),
    "copysign": (_APART, _APART),
    "maximum": (_grid(0.0), _grid(0.25)),
    "minimum": (_grid(0.0), _grid(0.25)),
    "bitwise_left_shift": (_ANY, between(-2, 70)),
    "bitwise_right_shift": (_ANY, between(-2, 70)),
    "select": (choice(0, 1), _ANY, _ANY),
    "cast": (_ints_or(_fractions(-90, 90), -100, 100),),
}
"""Operands that keep away from kinks, jumps and poles; ops that are not named take numbers from their domain."""

_COMPARISONS = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})


def _values(op: OpDef) -> tuple[Values, ...]:
    if op.name in VALUES:
        return VALUES[op.name]
    if op.name in _COMPARISONS:
        return (_grid(0.0), _grid(0.25))
    low, high = op.extra.get("domain", (-3.0, 3.0))
    if "domain" in op.extra:
        low = low + 0.1
        high = low + 4.0 if math.isinf(high) else high - 0.1
    first = _ints_or(between(low, high), -100, 100)
    return (first, *(_ANY,) * ((op.arity or 1) - 1))


def _condition_type(op: OpDef, position: int) -> DType | None:
    return bool_ if op.name == "select" and position == 0 else None


def _dtypes(op: OpDef) -> tuple[DType, ...]:
    return ALL_DTYPES if op.name == "select" else op.dtypes


def _attributes(op: OpDef) -> Iterator[tuple[str, dict[str, DType]]]:
    if op.name == "cast":
        yield from ((f" to {target}", {"dtype": target}) for target in ALL_DTYPES)
    else:
        yield "", {}


def _shapes(op: OpDef) -> tuple[tuple[tuple[int, ...], ...], ...]:
    if op.name == "cast":
        return (((37,),), ((),), ((0, 3),))
    if op.arity == 1:
        return tuple((shape,) for shape in UNARY_SHAPES)
    return BINARY_SHAPES if op.arity == 2 else TERNARY_SHAPES


def _regular(op: OpDef) -> Iterator[Row]:
    values = _values(op)
    for suffix, attrs in _attributes(op):
        for shapes in _shapes(op):
            operands = tuple(
                Operand(shape, draw, _condition_type(op, position))
                for position, (shape, draw) in enumerate(zip(shapes, values, strict=True))
            )
            label = "×".join(",".join(map(str, shape)) or "scalar" for shape in shapes) + suffix
            yield Row(op.name, label, operands, _dtypes(op), attrs)


def _all_specials(axis: int, count: int) -> Values:
    """All special values along one of ``count`` axes: operands meet in all combinations."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        values = specials(dtype)
        repeated = np.resize(values, shape[axis])
        return repeated.reshape([-1 if place == axis else 1 for place in range(count)])

    return draw


def _edges(op: OpDef) -> Iterator[Row]:
    """Special values, which include the ties of rounding and of comparing."""
    arity = op.arity or 1
    for suffix, attrs in _attributes(op):
        for element in _dtypes(op):
            operands = []
            for position in range(arity):
                forced = _condition_type(op, position)
                shape = tuple(len(specials(forced or element)) if place == position else 1 for place in range(arity))
                operands.append(Operand(shape, _all_specials(position, arity), forced))
            yield Row(op.name, f"special values{suffix}", tuple(operands), (element,), attrs, smooth=False)


def _kinks() -> Iterator[Row]:
    """Ties where the derivative is a convention; see docs/DERIVATIVES.md."""
    for name in ("maximum", "minimum"):
        yield Row(
            name,
            "ties",
            (Operand((9,), choice(-1, 0, 1)), Operand((9,), choice(-1, 0, 1))),
            _dtypes_of(name),
            smooth=False,
        )
    for name in ("abs", "relu", "sign"):
        yield Row(name, "zeros", (Operand((7,), choice(-1, 0, 1)),), _dtypes_of(name), smooth=False)
    for name in sorted(_COMPARISONS):
        yield Row(
            name,
            "ties",
            (Operand((40,), choice(-1, 0, 1)), Operand((40,), choice(-1, 0, 1))),
            _dtypes_of(name),
            smooth=False,
        )
    yield Row(
        "select",
        "kept and dropped NaN",
        (Operand((16,), choice(0, 1), bool_), Operand((16,), edge), Operand((16,), edge)),
        ALL_DTYPES,
        smooth=False,
    )
    yield Row(
        "equal",
        "different numbers",
        (Operand((4, 5), distinct), Operand((4, 5), distinct)),
        _dtypes_of("equal"),
        smooth=False,
    )


def _dtypes_of(name: str) -> tuple[DType, ...]:
    return next(op.dtypes for op in registered_ops() if op.name == name)


def rows() -> Iterator[Row]:
    """All rows of pointwise ops."""
    for op in registered_ops():
        if op.kind is OpKind.POINTWISE:
            yield from _regular(op)
            yield from _edges(op)
    yield from _kinks()
