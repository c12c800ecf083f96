"""Types of values: a dtype and a shape.

``float16`` and ``bfloat16`` are *storage* formats: an op computes in float32 and rounds its result once.  NumPy has no
bfloat16, so a bfloat16 array crosses the boundary as its raw bits in ``uint16`` (``array.view(ml_dtypes.bfloat16)``
types it), and inside the reference evaluator it is a float32 array whose values all lie on the bfloat16 grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError, nearest
from graphc.ir.dim import Dim, Poly, parse_dim, product, substitute

Kind = Literal["bool", "int", "uint", "float"]

MAXIMUM_ELEMENTS = 2**40
"""Largest number of elements of one tensor; checked when a type is made, before anything is allocated."""


class DType:
    """An element type.  The instances below are the only ones: compare with ``is``.

    Attributes:
        name: the Array API name.
        kind: ``bool``, ``int``, ``uint`` or ``float``.
        bits: size in memory (a bool takes 8).
        storage: NumPy dtype of arrays at the boundary.
        carrier: NumPy dtype of values inside the reference evaluator.
        compute: NumPy dtype in which arithmetic is done.
    """

    __slots__ = ("bits", "carrier", "compute", "kind", "name", "storage")

    def __init__(self, name: str, kind: Kind, bits: int, storage: str, carrier: str, compute: str) -> None:
        self.name = name
        self.kind: Kind = kind
        self.bits = bits
        self.storage: np.dtype[Any] = np.dtype(storage)
        self.carrier: np.dtype[Any] = np.dtype(carrier)
        self.compute: np.dtype[Any] = np.dtype(compute)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        return dtype, (self.name,)

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        """True for the floating-point dtypes: the ones with derivatives."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers (not bool)."""
        return self.kind in ("int", "uint")

    @property
    def is_half(self) -> bool:
        """True for the 16-bit storage formats."""
        return self.bits == 16


bool_ = DType("bool", "bool", 8, "bool", "bool", "bool")
int8 = DType("int8", "int", 8, "int8", "int8", "int8")
int32 = DType("int32", "int", 32, "int32", "int32", "int32")
int64 = DType("int64", "int", 64, "int64", "int64", "int64")
uint8 = DType("uint8", "uint", 8, "uint8", "uint8", "uint8")
float16 = DType("float16", "float", 16, "float16", "float16", "float32")
bfloat16 = DType("bfloat16", "float", 16, "uint16", "float32", "float32")
float32 = DType("float32", "float", 32, "float32", "float32", "float32")
float64 = DType("float64", "float", 64, "float64", "float64", "float64")

DTYPES: Mapping[str, DType] = {
    d.name: d for d in (bool_, int8, int32, int64, uint8, float16, bfloat16, float32, float64)
}
FLOATS = (float16, bfloat16, float32, float64)
INTEGERS = (int8, int32, int64, uint8)
NUMERIC = (*INTEGERS, *FLOATS)
ALL_DTYPES = tuple(DTYPES.values())


def dtype(value: DType | str | np.dtype[Any] | type) -> DType:
    """The dtype meant by a name, a NumPy dtype or a Python type (``float`` is float32, ``int`` is int64)."""
    if isinstance(value, DType):
        return value
    if value is float:
        return float32
    if value is int:
        return int64
    if value is bool:
        return bool_
    name = value if isinstance(value, str) else getattr(value, "__name__", None) or str(value)
    if not isinstance(value, str):
        try:
            name = np.dtype(value).name
        except TypeError:
            name = str(value)
    found = DTYPES.get("bool" if name in ("bool_", "bool") else name)
    if found is None:
        close = nearest(str(name), DTYPES)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(DTYPES)}"
        raise GraphcTypeError("E213", f"unknown dtype {value!r}", hint=hint)
    return found


def promote(left: DType, right: DType) -> DType:
    """The Array API type promotion of two dtypes; mixing kinds (integer with float, bool with a number) is an error.

    float16 with bfloat16 gives float32, the smallest type that holds both.
    """
    if left is right:
        return left
    if left.kind != right.kind and not (left.is_integer and right.is_integer):
        raise GraphcTypeError(
            "E212", f"cannot mix {left} and {right}", hint="cast one of them, e.g. x.astype('float32')"
        )
    if left.is_float:
        if left.bits == right.bits:
            return float32
        return left if left.bits > right.bits else right
    if left.kind == right.kind:
        return left if left.bits > right.bits else right
    signed, unsigned = (left, right) if left.kind == "int" else (right, left)
    # Signed with uint8: the next signed type that holds both; graphc has no int16, so int8 with uint8 is int32.
    return signed if signed.bits > unsigned.bits else int32


Shape = tuple[Dim, ...]


class TensorType:
    """Dtype and shape of a value; interned through :func:`tensor_type`, so equality is identity."""

    __slots__ = ("dtype", "shape")

    dtype: DType
    shape: Shape

    def __repr__(self) -> str:
        return f"{self.dtype}[{','.join(str(d) for d in self.shape)}]"

    def __reduce__(self) -> tuple[object, ...]:
        return tensor_type, (self.dtype, self.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        """True where every dimension is an integer."""
        return not any(isinstance(d, Poly) for d in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape as integers; an error naming the symbols where one is symbolic."""
        if not self.is_static:
            names = sorted({name for d in self.shape if isinstance(d, Poly) for name in d.symbols})
            raise GraphcValueError(
                "E340", f"the shape {self!r} is symbolic", hint=f"bind {', '.join(names)}, e.g. --dim {names[0]}=32"
            )
        return tuple(d for d in self.shape if isinstance(d, int))

    @property
    def static_size(self) -> int:
        """The number of elements as an integer."""
        total = 1
        for d in self.static_shape:
            total *= d
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous buffer; needs a static shape."""
        return self.static_size * self.dtype.itemsize

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        """The same dtype with another shape."""
        return tensor_type(self.dtype, shape)

    def with_dtype(self, new_dtype: DType) -> TensorType:
        """The same shape with another dtype."""
        return tensor_type(new_dtype, self.shape)

    def substitute(self, values: Mapping[str, Dim]) -> TensorType:
        """The type with symbolic dimensions replaced."""
        return self if self.is_static else tensor_type(self.dtype, [substitute(d, values) for d in self.shape])


_DIM_CLASSES = frozenset({int, Poly})
_tensor_types: dict[tuple[DType, Shape], TensorType] = {}


def tensor_type(element: DType, shape: Iterable[Dim] = ()) -> TensorType:
    """The type of tensors of ``element`` with ``shape``.

    Raises:
        GraphcValueError: a negative dimension (E214) or more than ``MAXIMUM_ELEMENTS`` elements (E216).
        GraphcTypeError: a dimension that is not an integer (E214).
    """
    dims = tuple(shape)
    key = (element, dims)
    # True and 1.0 hash as 1: only true integers and symbols may ask the table.
    found = _tensor_types.get(key) if _DIM_CLASSES.issuperset(map(type, dims)) else None
    if found is not None:
        return found
    dims = tuple(_check_dim(d, dims) for d in dims)
    count = 1
    for d in dims:
        count *= d if isinstance(d, int) else 1
    if count > MAXIMUM_ELEMENTS:
        raise GraphcValueError("E216", f"a tensor of shape {dims} has {count} elements, the limit is 2**40")
    made = TensorType()
    made.dtype = element
    made.shape = dims
    return _tensor_types.setdefault((element, dims), made)


def _check_dim(d: object, dims: tuple[object, ...]) -> Dim:
    if isinstance(d, Poly):
        return d
    if isinstance(d, str):
        return parse_dim(d)
    if isinstance(d, bool) or not isinstance(d, (int, np.integer)):
        raise GraphcTypeError("E214", f"a dimension must be an integer or a symbol, got {d!r} in shape {dims}")
    if d < 0:
        raise GraphcValueError("E214", f"a dimension must not be negative, got {d} in shape {dims}")
    return int(d)


class TupleType:
    """Type of an op with several results (``loop``); a ``result`` node takes one of them."""

    __slots__ = ("elements",)

    elements: tuple[TensorType, ...]

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self.elements))})"

    def __reduce__(self) -> tuple[object, ...]:
        return tuple_type, (self.elements,)


_tuple_types: dict[tuple[TensorType, ...], TupleType] = {}


def tuple_type(elements: Iterable[TensorType]) -> TupleType:
    """The interned type of several results."""
    key = tuple(elements)
    found = _tuple_types.get(key)
    if found is None:
        found = TupleType()
        found.elements = key
        _tuple_types[key] = found
    return found


ValueType = TensorType | TupleType


def to_carrier(array: np.ndarray[Any, Any], element: DType) -> np.ndarray[Any, Any]:
    """A boundary array as the reference evaluator holds it (bfloat16 bits become float32 values)."""
    if element is bfloat16:
        bits = np.asarray(array).view(np.uint16).astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    return np.asarray(array, dtype=element.carrier)


def from_carrier(array: np.ndarray[Any, Any], element: DType) -> np.ndarray[Any, Any]:
    """The inverse of :func:`to_carrier`."""
    if element is bfloat16:
        # np.array, not ascontiguousarray: a scalar must stay a scalar.
        return (np.array(array, dtype=np.float32, order="C").view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.asarray(array, dtype=element.storage)


def round_to(array: np.ndarray[Any, Any], element: DType) -> np.ndarray[Any, Any]:
    """Round a computed array to the carrier of ``element`` (nearest, ties to even; a NaN stays a NaN)."""
    if element is not bfloat16:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(array).astype(element.carrier, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.array(array, dtype=np.float32, copy=True, order="C", ndmin=0)
    bits = single.view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    rounded = np.where(np.isnan(single), bits | np.uint32(0x400000), rounded) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)
