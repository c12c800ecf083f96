"""Constants in source text: scalars as short literals, arrays as module-level values, all with the same bits."""

from __future__ import annotations

import ast
import math
from typing import Any

import numpy as np

from graphc.backends.numpy.syntax import call, integers, literal, method, numpy
from graphc.ir.attrs import ArrayValue
from graphc.ir.types import DType

_WRITTEN_OUT = 64
"""Arrays of up to this many elements are written as lists, larger ones as hexadecimal bytes."""


def dtype_expression(element: DType) -> ast.expr:
    """``np.float32`` and so on: the dtype of arrays that hold values of ``element`` inside a function."""
    name = np.dtype(element.carrier).name
    return numpy("bool_" if name == "bool" else name)


def short_number(value: Any) -> float | int | bool:
    """The Python number with the fewest digits that converts back to the NumPy scalar ``value``.

    A float16 keeps all its digits, since arithmetic on it is done in float32.
    """
    number: float | int | bool = value.item()
    if value.dtype != np.float32 or not math.isfinite(number):
        return number
    # The shortest text of the narrow type, read as a double and rounded once more, could be off: then all digits.
    short = float(str(value))
    return short if value.dtype.type(short) == value else number


def weak_scalar(value: ArrayValue) -> ast.expr:
    """A scalar constant as a plain Python number, which takes the dtype of the array it meets."""
    return literal(short_number(value.carrier.reshape(-1)[0]))


def typed_scalar(value: ArrayValue) -> ast.expr:
    """A scalar constant with its dtype, such as ``np.float32(0.5)``."""
    return call(dtype_expression(value.type.dtype), weak_scalar(value))


def is_plain(value: ArrayValue) -> bool:
    """True where the elements survive as Python numbers: a NaN must be the ordinary one."""
    held = value.carrier
    if held.dtype.kind != "f":
        return True
    wrong = np.isnan(held)
    if not wrong.any():
        return True
    ordinary = np.asarray(np.nan, dtype=held.dtype).tobytes()
    return bool(held[wrong].tobytes() == ordinary * int(wrong.sum()))


def array_expression(value: ArrayValue) -> ast.expr:
    """An array constant, as the value of a module-level name."""
    held = value.carrier
    element = dtype_expression(value.type.dtype)
    if held.size == 0:
        return call(numpy("zeros"), integers(held.shape), element)
    if value.is_uniform and held.ndim and is_plain(value):
        number = weak_scalar(value)
        return call(numpy("full"), integers(held.shape), number, element)
    if held.size <= _WRITTEN_OUT and is_plain(value):
        return call(numpy("array"), _nested(held), element)
    stored = np.ascontiguousarray(held)
    text = stored.astype(stored.dtype.newbyteorder("<")).tobytes().hex()
    code = "|b1" if stored.dtype.kind == "b" else stored.dtype.newbyteorder("<").str
    # Read-only, and in the machine's own byte order only where that is little-endian, as all supported machines are.
    data = call(numpy("frombuffer"), method(ast.Name("bytes", ast.Load()), "fromhex", literal(text)), literal(code))
    return method(data, "reshape", integers(held.shape)) if held.ndim != 1 else data


def _nested(array: Any) -> ast.expr:
    """The elements as nested lists; the depth is the rank."""
    if array.ndim == 0:
        return literal(short_number(array[()]))
    return ast.List([_nested(row) if row.ndim else literal(short_number(row[()])) for row in _rows(array)], ast.Load())


def _rows(array: Any) -> list[Any]:
    return [np.asarray(array[position]) for position in range(len(array))]
