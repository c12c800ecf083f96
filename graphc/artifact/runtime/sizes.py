"""Entry points of which each call says a size: how many steps its sequences have.

The code takes sequences steps first, whatever the order of their dimensions outside, and reads the number of steps
through one more pointer behind those of the inputs.  For each size that comes, the ordinary entry point of fixed shapes
is made once; the code behind it is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .errors import GraphcValueError
from .spec import EntrySpec, TensorSpec

Array = np.ndarray[Any, Any]
Call = Callable[..., Any]

_KEPT = 64
"""Sizes whose entry points are kept."""


class SizedEntry:
    """One entry point for any size up to the largest.

    Args:
        entry: as the user sees it, with the name of the dimension in its shapes.
        sizes: name → largest size.
        make: entry of fixed shapes, steps first → the function that calls the code.
        block: the memory of all states.
    """

    def __init__(
        self, entry: EntrySpec, sizes: Mapping[str, int], make: Callable[[EntrySpec, int], Call], block: Array
    ) -> None:
        self.entry = entry
        ((self.name, self.largest),) = sizes.items()
        self._make = make
        self._block = block
        self._lock = threading.Lock()
        self._known: dict[int, tuple[EntrySpec, Call]] = {}

    def __call__(self, *inputs: Any, out: Any = None, **named: Any) -> Any:
        """Check the arguments, bring them into the code's order, call, and give the results their own order again."""
        entry = self.entry
        threads = {}
        if "threads" in named and all(tensor.name != "threads" for tensor in entry.inputs):
            threads["threads"] = named.pop("threads")
        values = bind(entry, inputs, named)
        size = self._size(values)
        fixed, call = self._known.get(size) or self._made(size)
        arrays = []
        for value, tensor, declared in zip(values, fixed.inputs, entry.inputs, strict=True):
            axis = declared.axis_of(self.name)
            if axis is not None and axis > 0:
                array = as_array(value, tensor, f"{entry.name}: input {tensor.name!r}")
                value = np.ascontiguousarray(np.moveaxis(array, axis, 0))
            arrays.append(value)
        outs = None if out is None else select_outs(out, fixed, self._block)
        made = call(*arrays, **threads)
        if not entry.outputs:
            return None
        results = list(made.values()) if len(entry.outputs) > 1 else [made]
        for place, declared in enumerate(entry.outputs):
            axis = declared.axis_of(self.name)
            if axis is not None and axis > 0:
                results[place] = np.ascontiguousarray(np.moveaxis(results[place], 0, axis))
        if outs is not None:
            for place, buffer in enumerate(outs):
                if buffer is not None:
                    np.copyto(buffer, results[place])
                    results[place] = out[entry.outputs[place].name] if isinstance(out, Mapping) else out
        return results[0] if len(results) == 1 else dict(zip(made, results, strict=True))

    def _made(self, size: int) -> tuple[EntrySpec, Call]:
        """The entry point of fixed shapes for a size."""
        fixed = self.entry.sized({self.name: size})
        made = (fixed, self._make(_steps_first(self.entry, fixed), size))
        with self._lock:
            if len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[size] = made
        return made

    def _size(self, values: Sequence[Any]) -> int:
        """The size that the inputs agree on."""
        entry, name = self.entry, self.name
        size, said = 0, ""
        for value, tensor in zip(values, entry.inputs, strict=True):
            axis = tensor.axis_of(name)
            if axis is None:
                continue
            try:
                shape = np.shape(value)
            except ValueError:  # lists of different lengths
                shape = as_array(value, tensor.sized({name: 1}), f"{entry.name}: input {tensor.name!r}").shape
            if len(shape) != len(tensor.shape):
                got = f"{getattr(value, 'dtype', type(value).__name__)}[{','.join(map(str, shape))}]"
                raise GraphcValueError("E449", f"{entry.name}: input {tensor.name!r} must be {tensor}, got {got}")
            if said and shape[axis] != size:
                message = f"{name!r} is {size} in input {said!r} and {shape[axis]} in input {tensor.name!r}"
                raise GraphcValueError("E449", f"{entry.name}: {message}")
            if not said:
                size, said = shape[axis], tensor.name
        if not 1 <= size <= self.largest:
            hint = f"compile it for more: max_dims={{{name!r}: {size}}}" if size else None
            message = f"{name!r} must be 1 to {self.largest}, got {size} in input {said!r}"
            raise GraphcValueError("E449", f"{entry.name}: {message}", hint=hint)
        return size


def _steps_first(entry: EntrySpec, fixed: EntrySpec) -> EntrySpec:
    """The entry point as the code has it."""

    def moved(tensor: TensorSpec, declared: TensorSpec) -> TensorSpec:
        axis = next((axis for axis, dim in enumerate(declared.shape) if isinstance(dim, str)), 0)
        shape = tensor.shape
        return TensorSpec(tensor.name, tensor.dtype, (*shape[axis : axis + 1], *shape[:axis], *shape[axis + 1 :]))

    groups = ((fixed.inputs, entry.inputs), (fixed.outputs, entry.outputs))
    inputs, outputs = (tuple(map(moved, *pair)) for pair in groups)
    return EntrySpec(fixed.name, inputs, outputs, fixed.updates, fixed.checks)
