"""Nodes: frozen, slotted, interned by the builder that made them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from graphc.errors import Location
from graphc.ir.attrs import Attrs
from graphc.ir.op import OpDef
from graphc.ir.types import DType, TensorType, ValueType


class _Fields:
    """What a node is made of."""

    __slots__ = ("__weakref__", "attrs", "inputs", "op", "serial", "type")

    op: OpDef
    inputs: tuple[Node, ...]
    attrs: Attrs
    type: ValueType
    serial: int


class Node(_Fields):
    """One operation and its value.  Equality is identity: a builder makes each structure once.

    Attributes:
        op: its definition.
        inputs: the nodes it reads.
        attrs: its attributes.
        type: dtype and shape of the value (a :class:`TupleType` where it has several results).
        serial: creation number, rising along a builder; a graph's own order is ``Graph.nodes``.
    """

    __slots__ = ()

    def __new__(cls, op: OpDef, inputs: tuple[Node, ...], attrs: Attrs, type: ValueType, serial: int) -> Node:
        """A node, frozen from here on."""
        # Five plain assignments and a change of class take less than half of what object.__setattr__ would.
        made = _Fields()
        made.op = op
        made.inputs = inputs
        made.attrs = attrs
        made.type = type
        made.serial = serial
        made.__class__ = cls
        return made  # type: ignore[return-value]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a node is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a node is frozen: cannot delete {name!r}")

    def __repr__(self) -> str:
        return f"<{self.op.name} #{self.serial} {self.type!r}>"

    @property
    def tensor(self) -> TensorType:
        """The type of a node with one result."""
        assert isinstance(self.type, TensorType), self
        return self.type

    # (The three below are asked for millions of times and leave the check to the attribute that a TupleType lacks.)

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of the one result."""
        return self.type.shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> DType:
        """Dtype of the one result."""
        return self.type.dtype  # type: ignore[union-attr]

    @property
    def rank(self) -> int:
        """Number of dimensions of the one result."""
        return len(self.type.shape)  # type: ignore[union-attr]


NodeRef = weakref.ref[Node]


@dataclass(frozen=True, slots=True)
class Note:
    """What is known about a node for people: never changes meaning.

    Attributes:
        locations: the user's lines that made it (interning merges equal nodes of several lines).
        scope: layer path from the outside in, such as ``("lstm", "step 3")``.
        role: ``forward``, ``backward`` or ``update``.
        name: the user's name for it, if given.
    """

    locations: tuple[Location, ...] = ()
    scope: tuple[str, ...] = ()
    role: str = "forward"
    name: str | None = None


NO_NOTE = Note()
