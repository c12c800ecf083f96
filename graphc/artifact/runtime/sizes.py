"""Entry points of which each call says sizes: how many steps its sequences have, how many rows its batch.

The code takes sequences steps first, whatever the order of their dimensions outside, and reads the number of steps
through a pointer behind those of the inputs.  It has an entry point for each of several numbers of rows; a call goes to
the least that has room for its own, which it says through one more pointer: the rows behind them count for nothing.
For all sizes that come, the ordinary entry point of fixed shapes is made once; the code behind it is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .errors import GraphcValueError
from .spec import EntrySpec, Spec, TensorSpec

Array = np.ndarray[Any, Any]
Call = Callable[..., Any]

_KEPT = 64
"""Sizes whose entry points are kept."""


@dataclass(frozen=True)
class _Made:
    """The entry point for some sizes.

    Attributes:
        fixed: with the caller's shapes.
        run: calls the code.
        inputs, outputs: how the arrays of both differ.
    """

    fixed: EntrySpec
    run: Call
    inputs: tuple[_Passage, ...]
    outputs: tuple[_Passage, ...]


@dataclass(frozen=True)
class _Passage:
    """The way of an array between a caller and the code.

    Attributes:
        steps: which dimension comes first in the code; 0 where the order is the same.
        room: shape in the code, with room for more rows than there are; None where there are as many.
        rows: the part of ``room`` that the caller has.
        order: the caller's dimensions in the order of the code.
        original: the code's dimensions in the order of the caller.
    """

    steps: int
    room: tuple[int, ...] | None
    rows: tuple[slice, ...]
    order: tuple[int, ...]
    original: tuple[int, ...]

    @classmethod
    def of(cls, tensor: TensorSpec, steps: int, sizes: Mapping[str, int], room: Mapping[str, int]) -> _Passage:
        """The way of ``tensor``, of which there are ``sizes``, and ``room`` in the code."""
        axes = range(len(tensor.shape))
        order = tuple(axes[steps : steps + 1]) + tuple(axes[:steps]) + tuple(axes[steps + 1 :])
        inside, part = (tensor.sized(those).shape for those in (room, sizes))
        is_cut = inside != part
        return cls(
            steps,
            tuple(inside[axis] for axis in order) if is_cut else None,
            tuple(slice(part[axis]) for axis in order),
            order,
            tuple(order.index(axis) for axis in axes),
        )

    @property
    def is_direct(self) -> bool:
        """Does the code take the caller's array as it is?"""
        return self.steps == 0 and self.room is None

    def into(self, array: Array) -> Array:
        """What the code takes in the place of a caller's array."""
        moved = array.transpose(self.order)
        if self.room is None:
            return np.ascontiguousarray(moved)
        whole = np.zeros(self.room, array.dtype)
        whole[self.rows] = moved
        return whole

    def back(self, array: Array) -> Array:
        """What the caller gets in the place of the code's array."""
        if self.room is None:
            return np.ascontiguousarray(array.transpose(self.original))
        # (A copy, where a view would do: it would keep the memory of all rows that there is room for.)
        return array[self.rows].transpose(self.original).copy()


class SizedEntry:
    """One entry point for any sizes up to the largest.

    Args:
        entry: as the user sees it, with the names of dimensions in its shapes.
        spec: of the model.
        make: entry of fixed shapes as the code has it, the code's name for it, the sizes that the code reads → the
            function that calls it.
        block: the memory of all states.
    """

    def __init__(
        self, entry: EntrySpec, spec: Spec, make: Callable[[EntrySpec, str, Sequence[int]], Call], block: Array
    ) -> None:
        self.entry = entry
        self._largest = {name: largest for name, largest in spec.sizes if name in entry.open_dims}
        self._rows = spec.rows if entry.rungs else None
        self._steps = next((name for name in self._largest if name != self._rows), None)
        self._make = make
        self._block = block
        self._lock = threading.Lock()
        self._known: dict[tuple[int, ...], _Made] = {}

    def __call__(self, *inputs: Any, out: Any = None, **named: Any) -> Any:
        """Check the arguments, bring them into the code's order, call, and give the results their own order again."""
        entry = self.entry
        threads = {}
        if "threads" in named and all(tensor.name != "threads" for tensor in entry.inputs):
            threads["threads"] = named.pop("threads")
        values = bind(entry, inputs, named)
        sizes = {name: self._size(values, name) for name in self._largest}
        key = tuple(sizes.values())
        made = self._known.get(key)
        if made is None:
            made = self._made(sizes)
            with self._lock:
                if len(self._known) >= _KEPT:
                    del self._known[next(iter(self._known))]
                self._known[key] = made
        arrays = []
        for value, tensor, passage in zip(values, made.fixed.inputs, made.inputs, strict=True):
            if not passage.is_direct:
                value = passage.into(as_array(value, tensor, f"{entry.name}: input {tensor.name!r}"))
            arrays.append(value)
        outs = None if out is None else select_outs(out, made.fixed, self._block)
        found = made.run(*arrays, **threads)
        if not entry.outputs:
            return None
        results = list(found.values()) if len(entry.outputs) > 1 else [found]
        for place, passage in enumerate(made.outputs):
            if not passage.is_direct:
                results[place] = passage.back(results[place])
        if outs is not None:
            for place, buffer in enumerate(outs):
                if buffer is not None:
                    np.copyto(buffer, results[place])
                    results[place] = out[entry.outputs[place].name] if isinstance(out, Mapping) else out
        return results[0] if len(results) == 1 else dict(zip(found, results, strict=True))

    def _made(self, sizes: Mapping[str, int]) -> _Made:
        """The entry point for some sizes."""
        entry, code, checks, told = self.entry, self.entry.name, self.entry.checks, []
        room = dict(sizes)
        if self._rows is not None:
            rung = next(rung for rung in entry.rungs if rung.rows >= sizes[self._rows])
            room[self._rows], code, checks = rung.rows, rung.code, rung.checks
            told.append(sizes[self._rows])
        if self._steps is not None:
            told.append(sizes[self._steps])
        inside, inputs = self._passages(entry.inputs, sizes, room)
        results, outputs = self._passages(entry.outputs, sizes, room)
        native = replace(entry, inputs=inside, outputs=results, checks=checks, rungs=())
        return _Made(entry.sized(sizes), self._make(native, code, told), inputs, outputs)

    def _passages(
        self, tensors: Sequence[TensorSpec], sizes: Mapping[str, int], room: Mapping[str, int]
    ) -> tuple[tuple[TensorSpec, ...], tuple[_Passage, ...]]:
        """Tensors as the code has them, and the ways there."""
        made = []
        for tensor in tensors:
            steps = None if self._steps is None else tensor.axis_of(self._steps)
            passage = _Passage.of(tensor, steps or 0, sizes, room)
            shape = tensor.sized(room).shape
            inside = TensorSpec(tensor.name, tensor.dtype, tuple(shape[axis] for axis in passage.order))
            made.append((inside, passage))
        return tuple(inside for inside, _ in made), tuple(passage for _, passage in made)

    def _size(self, values: Sequence[Any], name: str) -> int:
        """The size of a dimension that the inputs agree on."""
        entry, largest = self.entry, self._largest[name]
        size, said = 0, ""
        for value, tensor in zip(values, entry.inputs, strict=True):
            axis = tensor.axis_of(name)
            if axis is None:
                continue
            try:
                shape = np.shape(value)
            except ValueError:  # lists of different lengths
                one = tensor.sized(dict.fromkeys(self._largest, 1))
                shape = as_array(value, one, f"{entry.name}: input {tensor.name!r}").shape
            if len(shape) != len(tensor.shape):
                got = f"{getattr(value, 'dtype', type(value).__name__)}[{','.join(map(str, shape))}]"
                raise GraphcValueError("E449", f"{entry.name}: input {tensor.name!r} must be {tensor}, got {got}")
            if said and shape[axis] != size:
                message = f"{name!r} is {size} in input {said!r} and {shape[axis]} in input {tensor.name!r}"
                raise GraphcValueError("E449", f"{entry.name}: {message}")
            if not said:
                size, said = shape[axis], tensor.name
        if not 1 <= size <= largest:
            hint = f"compile it for more: max_dims={{{name!r}: {size}}}" if size else None
            message = f"{name!r} must be 1 to {largest}, got {size} in input {said!r}"
            raise GraphcValueError("E449", f"{entry.name}: {message}", hint=hint)
        return size
