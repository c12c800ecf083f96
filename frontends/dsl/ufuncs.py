"""NumPy's universal functions of tensors: each means the function of graphc that computes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.frontends.dsl import elementwise, linalg
from graphc.frontends.dsl.tensor import Tensor, fail

# NumPy's names where the Array API has others.
_RENAMED = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
}
_LINEAR = {"matmul": linalg.matmul, "vecdot": linalg.vecdot}


def apply_ufunc(ufunc: np.ufunc, method: str, operands: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    """The result of a universal function of which an operand is a tensor.

    Raises:
        GraphcTypeError: there is no function that computes the same (E213); a result that NumPy should write into an
            array, or a reduction: the values are not known while the graph is built (E227).
    """
    name = _RENAMED.get(ufunc.__name__, ufunc.__name__)
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    if "out" in options or "where" in options or not tensors:
        _refuse("values that NumPy should write into an array", "write a = a + x, not a += x")
    if method != "__call__":
        _refuse(f"values that numpy.{ufunc.__name__}.{method} needs", "use graphc's own functions")
    function = _LINEAR.get(name) or getattr(elementwise, name, None)
    if function is None:
        message = f"graphc has no function that computes numpy.{ufunc.__name__} of tensors"
        raise fail(GraphcTypeError, "E213", message, "use graphc's own functions", *tensors)
    result: Tensor = function(*operands)
    return result


def _refuse(what: str, hint: str) -> NoReturn:
    raise fail(GraphcTypeError, "E227", f"{what} are not known while the graph is built", hint)
