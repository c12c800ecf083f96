"""What the runtime knows of a model: names, dtypes and shapes of entry points and states, to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import GraphcImportError

STORAGE: Mapping[str, np.dtype[Any]] = {
    name: np.dtype("uint16" if name == "bfloat16" else name)
    for name in ("bool", "int8", "int32", "int64", "uint8", "float16", "bfloat16", "float32", "float64")
}
"""dtype name → NumPy dtype of its arrays; NumPy has no bfloat16, whose arrays hold the raw bits."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, dtype and shape of an input, an output or a state variable.

    A text in the place of a size names a dimension whose size each call says.
    """

    name: str
    dtype: str
    shape: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy dtype of its arrays."""
        return STORAGE[self.dtype]

    def axis_of(self, name: str) -> int | None:
        """Which dimension is the open one of this name."""
        return self.shape.index(name) if name in self.shape else None

    def sized(self, sizes: Mapping[str, int]) -> TensorSpec:
        """The same with open dimensions replaced by sizes."""
        return TensorSpec(self.name, self.dtype, tuple(sizes.get(extent, extent) for extent in self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous buffer; of one step where a dimension is open."""
        size = self.storage.itemsize
        for extent in self.shape:
            size *= extent if isinstance(extent, int) else 1
        return size

    def to_json(self) -> dict[str, Any]:
        """The specification as plain lists and strings."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Any) -> TensorSpec:
        """The inverse of :meth:`to_json`; any other data is a damaged manifest."""
        name, dtype, shape = _fields(data, name=str, dtype=str, shape=list)
        if dtype not in STORAGE or not all(
            extent >= 0 if type(extent) is int else type(extent) is str and extent.isidentifier() for extent in shape
        ):
            raise _damaged(data)
        return cls(name, dtype, tuple(shape))


@dataclass(frozen=True, slots=True)
class Rung:
    """An entry point compiled for a number of rows, which calls with as many rows or fewer take.

    Attributes:
        rows: that its arrays have room for.
        code: the code's name for it.
        checks: as in :class:`EntrySpec`.
    """

    rows: int
    code: str
    checks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The rung as plain lists and strings."""
        return {"rows": self.rows, "code": self.code, "checks": list(self.checks)}

    @classmethod
    def from_json(cls, data: Any) -> Rung:
        """The inverse of :meth:`to_json`; any other data is a damaged manifest."""
        rows, code, checks = _fields(data, rows=int, code=str, checks=list)
        if rows < 1 or not all(isinstance(text, str) for text in checks):
            raise _damaged(data)
        return cls(rows, code, tuple(checks))


@dataclass(frozen=True, slots=True)
class EntrySpec:
    """One entry point.

    Attributes:
        name: its name in Python.
        inputs: in call order.
        outputs: in order.
        updates: names of the state variables it writes; such an entry point runs alone.
        checks: for each check of an index from the data, in the code's order, what is being indexed.
        rungs: where calls say a number of rows, the numbers that it is compiled for, ascending.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    updates: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    rungs: tuple[Rung, ...] = ()

    @property
    def is_sized(self) -> bool:
        """Does each call say a size?"""
        return bool(self.open_dims)

    @property
    def open_dims(self) -> tuple[str, ...]:
        """The dimensions whose size each call says, in the order in which they first occur."""
        tensors = (*self.inputs, *self.outputs)
        return tuple(dict.fromkeys(dim for tensor in tensors for dim in tensor.shape if isinstance(dim, str)))

    def sized(self, sizes: Mapping[str, int]) -> EntrySpec:
        """The same with open dimensions replaced by sizes."""
        inputs, outputs = (tuple(tensor.sized(sizes) for tensor in group) for group in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    @property
    def signature(self) -> str:
        """The entry point as one line for people."""
        inputs, outputs = (
            ", ".join(f"{_shown(tensor.name)}: {tensor}" for tensor in group) for group in (self.inputs, self.outputs)
        )
        if len(self.outputs) == 1:
            outputs = str(self.outputs[0])
        return f"{self.name}({inputs}) -> {outputs or 'None'}"

    def to_json(self) -> dict[str, Any]:
        """The specification as plain lists and strings."""
        return {
            "name": self.name,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "updates": list(self.updates),
            "checks": list(self.checks),
            "rungs": [rung.to_json() for rung in self.rungs],
        }

    @classmethod
    def from_json(cls, data: Any) -> EntrySpec:
        """The inverse of :meth:`to_json`; any other data is a damaged manifest."""
        name, inputs, outputs, updates, checks = _fields(
            data, name=str, inputs=list, outputs=list, updates=list, checks=list
        )
        rungs = data.get("rungs", [])
        if not isinstance(rungs, list) or not all(isinstance(text, str) for text in (*updates, *checks)):
            raise _damaged(data)
        read = TensorSpec.from_json
        return cls(
            name,
            tuple(map(read, inputs)),
            tuple(map(read, outputs)),
            tuple(updates),
            tuple(checks),
            tuple(map(Rung.from_json, rungs)),
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """A model: its entry points over its state variables, both in the code's order.

    Attributes:
        name: of the model.
        entries: its entry points.
        states: its state variables.
        sizes: name and largest size of each dimension whose size each call says.
        rows: which of them is worked off by code for the next larger number; loops go over the other.
    """

    name: str
    entries: tuple[EntrySpec, ...]
    states: tuple[TensorSpec, ...]
    sizes: tuple[tuple[str, int], ...] = ()
    rows: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The specification as plain lists and strings."""
        return {
            "name": self.name,
            "entries": [entry.to_json() for entry in self.entries],
            "states": [state.to_json() for state in self.states],
            "sizes": dict(self.sizes),
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, data: Any) -> Spec:
        """The inverse of :meth:`to_json`; any other data is a damaged manifest."""
        name, entries, states = _fields(data, name=str, entries=list, states=list)
        sizes, rows = data.get("sizes", {}), data.get("rows")
        if not isinstance(sizes, dict) or not all(type(largest) is int and largest > 0 for largest in sizes.values()):
            raise _damaged(data)
        if rows is not None and rows not in sizes:
            raise _damaged(data)
        made = cls(
            name,
            tuple(map(EntrySpec.from_json, entries)),
            tuple(map(TensorSpec.from_json, states)),
            (*sizes.items(),),
            rows,
        )
        if any((rows in entry.open_dims) != bool(entry.rungs) for entry in made.entries):
            raise _damaged(data)
        tensors = [*made.states, *(one for entry in made.entries for one in (*entry.inputs, *entry.outputs))]
        if any(isinstance(extent, str) and extent not in sizes for tensor in tensors for extent in tensor.shape):
            raise _damaged(data)
        return made


def _fields(data: Any, **kinds: type) -> list[Any]:
    """The named fields of a JSON object, each of the kind expected."""
    if not isinstance(data, dict):
        raise _damaged(data)
    values = [data.get(name) for name in kinds]
    if any(type(value) is not kind for value, kind in zip(values, kinds.values(), strict=True)):
        raise _damaged(data)
    return values


def _shown(name: str) -> str:
    """A name from outside, as it may stand on one line of text."""
    return name if name.isidentifier() else ascii(name)


def _damaged(data: Any) -> GraphcImportError:
    return GraphcImportError(
        "E561", f"manifest.json is damaged: it holds {str(data)[:80]!r}", hint="compile the model again"
    )
