"""Attributes of nodes: immutable, interned, compared by dtype and bit pattern.

Python equates ``1``, ``1.0`` and ``True``, equates ``0.0`` with ``-0.0``, and a NaN with nothing; a compiler that
interned on Python's equality would merge different constants.  Every attribute value therefore has a canonical key that
keeps them apart.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.ir.dim import Poly
from graphc.ir.types import DType, TensorType, from_carrier, tensor_type, to_carrier

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.ir.state import State


class ArrayValue:
    """A constant array: dtype, shape and bits; immutable, compared by content.

    ``array`` is read-only and has the dtype's boundary form (bfloat16 as ``uint16`` bits); ``carrier`` is what the
    evaluator computes with.
    """

    __slots__ = ("array", "key", "type")

    def __init__(self, array: np.ndarray[Any, Any], element: DType) -> None:
        held = np.array(array, dtype=element.storage, order="C", copy=True)
        held.flags.writeable = False
        self.array = held
        self.type: TensorType = tensor_type(element, held.shape)
        self.key = (element.name, held.shape, held.tobytes())

    @classmethod
    def from_carrier(cls, array: np.ndarray[Any, Any], element: DType) -> ArrayValue:
        """The constant whose evaluator form is ``array``."""
        return cls(from_carrier(array, element), element)

    @property
    def carrier(self) -> np.ndarray[Any, Any]:
        """The values as the reference evaluator holds them."""
        return to_carrier(self.array, self.type.dtype)

    @property
    def is_uniform(self) -> bool:
        """True where every element has the same bits (and there is one)."""
        if self.array.size == 0:
            return False
        item = self.array.dtype.itemsize
        data = self.array.tobytes()
        return data == data[:item] * self.array.size

    def scalar(self) -> float | int | bool:
        """The value of a uniform constant as a Python number."""
        return self.carrier.reshape(-1)[0].item()  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayValue) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"ArrayValue({self.array.tolist()!r}, {self.type.dtype})"


AttrValue = Any
"""bool, int, float, str, None, DType, Dim, ArrayValue, State, Graph (a region), or a tuple of these."""


def attr_key(value: AttrValue) -> Hashable:
    """The canonical key of an attribute value: equal exactly where type and bits are equal."""
    if value is None or isinstance(value, (str, DType, Poly, ArrayValue)):
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, tuple):
        return tuple(map(attr_key, value))
    from graphc.ir.graph import Graph
    from graphc.ir.state import State

    if isinstance(value, (Graph, State)):
        return value
    raise GraphcTypeError("E902", f"not an attribute value: {value!r}")


class Attrs(Mapping[str, AttrValue]):
    """An immutable mapping from names to attribute values; interned, so equality is identity."""

    __slots__ = ("_items", "key")

    _items: dict[str, AttrValue]
    key: Hashable

    def __getitem__(self, name: str) -> AttrValue:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"Attrs({self._items!r})"

    def replace(self, **changes: AttrValue) -> Attrs:
        """The same attributes with some changed."""
        return make_attrs({**self._items, **changes})


def _build(items: dict[str, AttrValue], key: Hashable) -> Attrs:
    made = Attrs()
    made._items = items
    made.key = key
    return made


_small: dict[Hashable, Attrs] = {}
EMPTY = _build({}, ())
_small[()] = EMPTY


def make_attrs(items: Mapping[str, AttrValue]) -> Attrs:
    """Intern a mapping of attributes.

    Attributes that hold an array, a state or a region stay out of the process-wide table: their nodes would keep the
    data alive for ever.  A builder still shares such nodes, because it compares ``key``.
    """
    if isinstance(items, Attrs):
        return items
    if not items:
        return EMPTY
    ordered = {name: items[name] for name in sorted(items)}
    key = tuple((name, attr_key(value)) for name, value in ordered.items())
    if any(_is_heavy(value) for value in ordered.values()):
        return _build(ordered, key)
    found = _small.get(key)
    return found if found is not None else _small.setdefault(key, _build(ordered, key))


def _is_heavy(value: AttrValue) -> bool:
    return not isinstance(value, (bool, int, float, str, tuple, DType, Poly, type(None)))


if TYPE_CHECKING:
    _Region = Graph | State
