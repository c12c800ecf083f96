"""Checks of axes and shapes that the user gives."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.session import current_session
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.ir.dim import Dim, Poly, parse_dim


def normalize_axis(axis: Any, rank: int, *operands: Tensor) -> int:
    """``axis`` counted from the front.

    Raises:
        GraphcValueError: E217 where it is out of range.
        GraphcTypeError: E217 where it is not an integer.
    """
    if isinstance(axis, (bool, np.bool_, Tensor)):
        raise fail(GraphcTypeError, "E217", f"an axis must be an integer, got {axis!r}", None, *operands)
    try:
        position = operator.index(axis)
    except TypeError:
        raise fail(GraphcTypeError, "E217", f"an axis must be an integer, got {axis!r}", None, *operands) from None
    if not -rank <= position < rank:
        message = f"axis {position} is out of range for a tensor with {rank} dimension{'s' * (rank != 1)}"
        raise fail(GraphcValueError, "E217", message, None, *operands)
    return position % rank


def normalize_axes(x: Tensor, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    """The axes meant, sorted: all of them for None.

    Raises:
        GraphcValueError: E217 where one is out of range or stands twice.
    """
    if axis is None:
        return tuple(range(x.ndim))
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(normalize_axis(one, x.ndim, x) for one in given)
    if len(set(axes)) != len(axes):
        raise fail(GraphcValueError, "E217", f"an axis stands twice in {given}", None, x)
    return tuple(sorted(axes))


def checked_dim(dim: Any, what: str = "a dimension", *operands: Tensor) -> Dim:
    """A dimension: a non-negative integer, a symbol's name or a polynomial (E214 otherwise)."""
    if isinstance(dim, Poly):
        return dim
    if isinstance(dim, str):
        try:
            return parse_dim(dim)
        except GraphcError as error:
            raise current_session().locate(error) from None
    if isinstance(dim, (bool, np.bool_, Tensor)):
        raise fail(GraphcTypeError, "E214", f"{what} must be an integer or a symbol, got {dim!r}", None, *operands)
    try:
        value = operator.index(dim)
    except TypeError:
        raise fail(
            GraphcTypeError, "E214", f"{what} must be an integer or a symbol, got {dim!r}", None, *operands
        ) from None
    if value < 0:
        raise fail(GraphcValueError, "E214", f"{what} must not be negative, got {value}", None, *operands)
    return value


def checked_shape(shape: Any, *operands: Tensor) -> tuple[Dim, ...]:
    """A shape: one dimension, or a sequence of them."""
    if isinstance(shape, (int, np.integer, Poly, str)):
        return (checked_dim(shape, "a dimension", *operands),)
    if not isinstance(shape, (tuple, list)):
        raise fail(
            GraphcTypeError, "E214", f"a shape must be a tuple of integers and symbols, got {shape!r}", None, *operands
        )
    return tuple(checked_dim(dim, "a dimension", *operands) for dim in shape)


def checked_size(value: Any, what: str, *operands: Tensor, minimum: int = 0, code: str = "E214") -> int:
    """An integer option such as a count, a stride or a window."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise fail(GraphcTypeError, code, f"{what} must be an integer, got {value!r}", None, *operands)
    if value < minimum:
        raise fail(GraphcValueError, code, f"{what} must be at least {minimum}, got {value}", None, *operands)
    return int(value)
