"""Where tensors come from: inputs, state variables, constants and patterns."""

from __future__ import annotations

import keyword
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.axes import checked_shape, checked_size
from graphc.frontends.dsl.session import current_session
from graphc.frontends.dsl.tensor import Tensor, apply, as_tensor, fail, to_dtype
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, bfloat16, float32, int64, tensor_type


def _type(dtype: Any, shape: tuple[Dim, ...]) -> TensorType:
    try:
        return tensor_type(to_dtype(dtype), shape)
    except GraphcError as error:
        raise current_session().locate(error) from None


def input(name: str, shape: Any = (), dtype: DType | str | type = "float32") -> Tensor:
    """An argument of an entry point; strings in ``shape`` are symbolic dimensions.

    Every call makes another argument: two of one name in one entry point are an error (E224).
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        hint = "it becomes a keyword argument of the compiled function"
        raise fail(GraphcValueError, "E224", f"the name of an input must be a Python identifier, got {name!r}", hint)
    builder = current_session()
    return Tensor(builder.new_input(name, _type(dtype, checked_shape(shape))), builder)


def parameter(
    name: str,
    init: Any = None,
    shape: Any = None,
    dtype: DType | str | type = "float32",
    trainable: bool = True,
) -> Tensor:
    """A parameter: a state variable that optimizers train.

    Args:
        name: unique in the model; ``/`` separates levels, as in ``lstm/kernel``.
        init: an array or a number, an initializer of ``graphc.nn.initializers`` or its name, or a function of (type,
            seed).  None is ``glorot_uniform`` for two dimensions and more, zeros otherwise.
        shape: needed unless ``init`` is an array; with a number the default is a scalar.
        dtype: of the variable, whatever that of ``init``.
        trainable: False freezes it.
    """
    return state(name, init, shape, dtype, role="parameter", trainable=trainable)


def state(
    name: str,
    init: Any = None,
    shape: Any = None,
    dtype: DType | str | type | None = None,
    *,
    role: str = "recurrent",
    trainable: bool = False,
) -> Tensor:
    """A state variable that keeps its value between calls; an entry point changes it where a :class:`Step` says so.

    Args:
        name: unique in the model.
        init: as in :func:`parameter`.
        shape: as in :func:`parameter`.
        dtype: by default that of ``init`` where it is a number or an array, else float32.
        role: what it is for: ``parameter``, ``slot``, ``statistic``, ``counter`` or ``recurrent``.
        trainable: True lets optimizers train it.
    """
    if not isinstance(name, str) or not name or any(not character.isprintable() for character in name):
        raise fail(GraphcValueError, "E224", f"the name of a state variable must be printable text, got {name!r}")
    if isinstance(init, Tensor):
        raise fail(
            GraphcTypeError, "E213", "an initial value must be known while the graph is built, got a tensor", None, init
        )
    builder = current_session()
    if init is None or callable(init) or isinstance(init, str):
        from graphc.frontends.nn.initializers import bound

        if shape is None:
            raise fail(GraphcValueError, "E214", f"the state variable {name!r} needs a shape")
        type_ = _type(float32 if dtype is None else dtype, checked_shape(shape))
        made = State(name, type_, bound(init, name, type_), role, trainable)
    else:
        made = _state_from_value(name, init, shape, dtype, role, trainable)
    try:
        made.type.static_shape  # noqa: B018  (raises for symbols)
    except GraphcError as error:
        raise builder.locate(error) from None
    return Tensor(builder.state(made), builder)


def _state_from_value(name: str, init: Any, shape: Any, dtype: Any, role: str, trainable: bool) -> State:
    # A constant checks the value and converts it, half dtypes included.
    value = as_tensor(init, None if dtype is None else to_dtype(dtype)).node.attrs["value"]
    initial: np.ndarray[Any, Any] = value.array
    if shape is not None and value.array.shape != checked_shape(shape):
        if value.array.shape:
            message = (
                f"the state variable {name!r} has shape {checked_shape(shape)}, its initial value {value.array.shape}"
            )
            raise fail(GraphcValueError, "E211", message)
        initial = np.full(_type(value.type.dtype, checked_shape(shape)).static_shape, value.array)
    return State(name, _type(value.type.dtype, initial.shape), initial, role, trainable)


def constant(value: Any, dtype: DType | str | type | None = None) -> Tensor:
    """A constant.  NumPy's arrays keep their dtype.

    Python's floats are float32, its integers int64; NaN and infinities stay as they are.
    """
    return as_tensor(value, None if dtype is None else to_dtype(dtype))


def asarray(value: Any, dtype: DType | str | type | None = None) -> Tensor:
    """A tensor as it is, or cast to ``dtype``; anything else as a constant."""
    if isinstance(value, Tensor):
        return value if dtype is None else value.astype(dtype)
    return constant(value, dtype)


def full(shape: Any, fill_value: Any, dtype: DType | str | type | None = None) -> Tensor:
    """``fill_value``, a scalar or a scalar tensor, everywhere."""
    tensor = asarray(fill_value, dtype)
    target = checked_shape(shape)
    return tensor if target == tensor.shape else apply("broadcast_to", tensor, shape=target)


def zeros(shape: Any, dtype: DType | str | type = "float32") -> Tensor:
    """Zeros."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: DType | str | type = "float32") -> Tensor:
    """Ones."""
    return full(shape, 1, dtype)


def _like(x: Any, value: Any, dtype: Any) -> Tensor:
    tensor = as_tensor(x)
    filled = as_tensor(value, tensor.dtype if dtype is None else to_dtype(dtype), tensor.builder)
    return filled if not tensor.shape else apply("broadcast_to", filled, shape=tensor.shape)


def full_like(x: Any, fill_value: Any, dtype: DType | str | type | None = None) -> Tensor:
    """``fill_value`` in the shape and dtype of x."""
    return _like(x, fill_value, dtype)


def zeros_like(x: Any, dtype: DType | str | type | None = None) -> Tensor:
    """Zeros in the shape and dtype of x."""
    return _like(x, 0, dtype)


def ones_like(x: Any, dtype: DType | str | type | None = None) -> Tensor:
    """Ones in the shape and dtype of x."""
    return _like(x, 1, dtype)


def _iota(shape: tuple[Dim, ...], axis: int, dtype: DType) -> Tensor:
    builder = current_session()
    return Tensor(builder.op("iota", shape=shape, axis=axis, dtype=dtype), builder)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: DType | str | type | None = None) -> Tensor:
    """start, start + step, … before ``stop``.

    Numbers must be known while the graph is built, but a lone ``stop`` may be a dimension.
    """
    if stop is None:
        start, stop = 0, start
    if start == 0 and step == 1 and not isinstance(stop, (int, float, np.number)):
        return _iota(checked_shape(stop), 0, int64 if dtype is None else to_dtype(dtype))
    if any(isinstance(value, Tensor) for value in (start, stop, step)):
        raise fail(GraphcTypeError, "E227", "the bounds of arange must be known while the graph is built")
    if step == 0:
        raise fail(GraphcValueError, "E218", "the step of arange must not be 0")
    whole = all(isinstance(value, (int, np.integer)) for value in (start, stop, step))
    element = to_dtype(dtype) if dtype is not None else int64 if whole else float32
    count = max(0, int(np.ceil((stop - start) / step)))
    positions = _iota((count,), 0, int64 if whole else element)
    return (positions * step + start if (start, step) != (0, 1) else positions).astype(element)


def linspace(
    start: float, stop: float, num: int, dtype: DType | str | type = "float32", endpoint: bool = True
) -> Tensor:
    """``num`` numbers at equal distances from ``start`` to ``stop``, computed in float64."""
    count = checked_size(num, "num")
    element = to_dtype(dtype)
    values = np.linspace(start, stop, count, endpoint=endpoint)
    return constant(values.astype(np.float32 if element is bfloat16 else element.storage), element)


def eye(n_rows: Any, n_cols: Any = None, k: int = 0, dtype: DType | str | type = "float32") -> Tensor:
    """1 on diagonal ``k`` and 0 elsewhere."""
    (rows,) = checked_shape(n_rows)
    (columns,) = checked_shape(n_rows if n_cols is None else n_cols)
    return (_iota((1, columns), 1, int64) - _iota((rows, 1), 0, int64) == k).astype(to_dtype(dtype))


class TrainingSymbol(Tensor):
    """``G.training``: a boolean scalar of whatever graph is under construction."""

    __slots__ = ()

    def __init__(self) -> None:
        """Holds nothing: builder and node are those of the moment."""

    @property
    def builder(self) -> Builder:  # type: ignore[override]
        """The builder of the graph under construction."""
        return current_session()

    @property
    def node(self) -> Node:  # type: ignore[override]
        """Its node there."""
        return self.builder.op("training")


training = TrainingSymbol()
"""True in entry points made by ``minimize``, false in the others."""
