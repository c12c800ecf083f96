"""Attributes of nodes: immutable, interned, compared by dtype and bit pattern.

Python equates ``1``, ``1.0`` and ``True``, equates ``0.0`` with ``-0.0``, and a NaN with nothing; a compiler that
interned on Python's equality would merge different constants.  Every attribute value therefore has a canonical key that
keeps them apart.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Mapping
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphcTypeError
from graphc.ir.dim import Poly
from graphc.ir.types import DType, TensorType, from_carrier, tensor_type, to_carrier


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

_OWN_KEY = frozenset({int, str, type(None), DType, Poly, ArrayValue})
"""Classes whose values are their own keys (exact classes: ``True`` is an ``int`` that must not pass for 1)."""


def attr_key(value: AttrValue) -> Hashable:
    """The canonical key of an attribute value: equal exactly where type and bits are equal."""
    if value.__class__ in _OWN_KEY:
        return value
    if isinstance(value, tuple):
        return value if _OWN_KEY.issuperset(map(type, value)) else tuple(map(attr_key, value))
    if isinstance(value, (str, DType, Poly, ArrayValue)):
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    from graphc.ir.graph import Graph
    from graphc.ir.state import State

    if isinstance(value, (Graph, State)):
        return value
    raise GraphcTypeError("E902", f"not an attribute value: {value!r}")


class Attrs(dict[str, AttrValue]):
    """An immutable mapping from names to attribute values, in the order of the names.

    A dict for its speed: passes read attributes of every node.  Where ``is_light`` it is interned, and equality is
    identity.

    Attributes:
        key: equal exactly where all values have the same type and bits.
        is_light: holds no array, state or region.
        identity: what nodes are interned by: itself where it is light, else ``key``.
    """

    __slots__ = ("is_light", "key")

    key: Hashable
    is_light: bool

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    @property
    def identity(self) -> Hashable:
        """See the class."""
        return self if self.is_light else self.key

    def _frozen(self, *_arguments: object, **_options: object) -> NoReturn:
        raise TypeError("attributes are frozen: make others with replace(...)")

    __setitem__ = __delitem__ = __ior__ = _frozen
    clear = pop = popitem = setdefault = update = _frozen

    def __reduce__(self) -> tuple[object, ...]:
        return make_attrs, (dict(self),)

    def __repr__(self) -> str:
        return f"Attrs({dict(self)!r})"

    def replace(self, **changes: AttrValue) -> Attrs:
        """The same attributes with some changed."""
        return make_attrs({**self, **changes})


def _build(items: dict[str, AttrValue], key: Hashable, is_light: bool) -> Attrs:
    made = Attrs(items)
    made.key = key
    made.is_light = is_light
    return made


_NAME = itemgetter(0)

_small: dict[Hashable, Attrs] = {}
EMPTY = _build({}, (), True)
_small[()] = EMPTY

_plain: dict[tuple[AttrValue, ...], Attrs] = {}
"""Names and values in the order in which someone gave them, all values their own keys: a shorter way to ``_small``."""


def make_attrs(items: Mapping[str, AttrValue]) -> Attrs:
    """Intern a mapping of attributes.

    Attributes that hold an array, a state or a region stay out of the process-wide table: their nodes would keep the
    data alive for ever.  A builder still shares such nodes, because it compares ``key``.
    """
    if items.__class__ is Attrs:
        return items
    if not items:
        return EMPTY
    plain: tuple[AttrValue, ...] = ()
    if _OWN_KEY.issuperset(map(type, items.values())):
        plain = (*items, *items.values())
        known = _plain.get(plain)
        if known is not None:
            return known
    key = tuple([(n, v if v.__class__ in _OWN_KEY else attr_key(v)) for n, v in sorted(items.items(), key=_NAME)])
    found = _small.get(key)
    if found is not None:
        if plain:
            _plain[plain] = found
        return found
    ordered = {name: items[name] for name in sorted(items)}
    if any(_is_heavy(value) for value in ordered.values()):
        return _build(ordered, key, False)
    return _small.setdefault(key, _build(ordered, key, True))


def _is_heavy(value: AttrValue) -> bool:
    return not isinstance(value, (bool, int, float, str, tuple, DType, Poly, type(None)))
