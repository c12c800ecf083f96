"""Constants: which dtype a Python or NumPy value gets, and its bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.session import Session
from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import DType, bfloat16, bool_, dtype, float32, int64

_PYTHON_DTYPES = {"b": bool_, "i": int64, "u": int64, "f": float32}
_KIND_NAMES = {"b": "a bool", "i": "an integer", "f": "a floating-point number"}


def is_scalar(value: object) -> bool:
    """True for Python's and NumPy's scalars, which take the dtype of the tensor they meet."""
    return isinstance(value, (bool, int, float, np.generic))


def constant_node(builder: Builder, value: Any, element: DType | None = None) -> Node:
    """A constant of ``value``, bit for bit where the dtype is its own.

    Args:
        builder: makes it.
        value: a number, an array, or a list of numbers.
        element: the dtype; by default that of a NumPy value, and float32, int64 or bool for Python's numbers and lists
            of them.

    Raises:
        GraphcTypeError: E213 for values that are not numbers, or whose dtype graphc does not have.
        GraphcValueError: E212 for an integer that its dtype cannot hold.
    """
    array = _array(value)
    if element is None:
        typed = isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__")
        element = dtype(array.dtype) if typed else _PYTHON_DTYPES[array.dtype.kind]
    if array.dtype.name == "bfloat16":
        if element is bfloat16:
            return builder.constant(ArrayValue(array.view(np.uint16), bfloat16), bfloat16)
        array = array.astype(np.float32)
    if element.is_integer:
        _check_range(array, element)
    if array.dtype == element.storage and element is not bfloat16:
        return builder.constant(ArrayValue(array, element), element)  # NaN payloads and signed zeros survive
    return builder.constant(array, element)


def _array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise GraphcTypeError("E213", "a masked array cannot become a tensor", hint="fill it first: array.filled(0)")
    try:
        array = np.asarray(value)
    except GraphcTypeError:
        # A tensor inside says that it has no values yet.
        kind = type(value).__name__
        hint = "take one of them, as in states[0], or join them with stack"
        raise GraphcTypeError("E213", f"a {kind} that holds tensors is no tensor", hint=hint) from None
    except (ValueError, OverflowError, TypeError) as error:
        raise GraphcTypeError("E213", f"cannot make a tensor of {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        if isinstance(value, int):
            raise GraphcValueError("E212", f"the integer {value} does not fit in int64")
        raise GraphcTypeError("E213", f"cannot make a tensor of {type(value).__name__} with dtype {array.dtype}")
    return array


def _check_range(array: np.ndarray[Any, Any], element: DType) -> None:
    if array.dtype.kind == "f":
        raise GraphcTypeError(
            "E212", f"cannot make {element} of floating-point numbers", hint="round them first, or cast the tensor"
        )
    limits = np.iinfo(element.storage)
    if array.size and array.dtype.kind != "b" and (int(array.max()) > limits.max or int(array.min()) < limits.min):
        raise GraphcValueError("E212", f"an integer outside the range of {element}: {limits.min} to {limits.max}")


def scalar_node(builder: Builder, value: Any, element: DType) -> Node:
    """A scalar beside a tensor of dtype ``element``, whose dtype it takes, as the Array API has it.

    An integer may stand beside floats; a float beside integers, or a bool beside numbers, is an error (E212).
    """
    session = builder if isinstance(builder, Session) and value.__class__ in (int, float) and value else None
    known = session.known_scalar(value, element) if session is not None else None
    if known is not None:
        return known
    kind = np.asarray(value).dtype.kind.replace("u", "i")
    allowed = {"bool": "b", "int": "i", "uint": "i", "float": "if"}[element.kind]
    if kind not in allowed:
        name = _KIND_NAMES.get(kind, type(value).__name__)
        raise GraphcTypeError(
            "E212",
            f"cannot mix {name} ({value!r}) and a tensor of {element}",
            hint="cast the tensor, e.g. x.astype('float32')",
        )
    node = constant_node(builder, value, element)
    if session is not None:
        session.keep_scalar(value, element, node)
    return node
