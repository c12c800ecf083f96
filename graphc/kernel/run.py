"""Runs kernels and programs with NumPy: slow, obvious, the oracle for lowering and for backends.

A program runs on real bytes: the arena is one array, and temporaries lie in it where the memory plan says, so that a
wrong plan gives wrong numbers.  The arena starts filled with garbage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, VerificationError
from graphc.ir.attrs import make_attrs
from graphc.ir.op import get_op
from graphc.ir.types import DType, from_carrier, int64, round_to, tensor_type, to_carrier
from graphc.kernel.loopir import (
    Apply,
    Combine,
    Const,
    Gather,
    Index,
    Intrinsic,
    Kernel,
    Load,
    Map,
    Reduce,
    Scan,
    Store,
    Value,
    value_axes,
)
from graphc.kernel.program import Call, Copy, Entry, Program, Ref, Step
from graphc.ops.random import uniform_values

Array = np.ndarray[Any, Any]
Pointer = tuple[Array, int]
"""A flat array in storage form, and the element that the pointer points to."""

_GARBAGE = 0xA5

_REDUCTIONS: dict[Combine, Callable[..., Any]] = {
    "sum": np.sum,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
    "argmax": np.argmax,
    "argmin": np.argmin,
}


# -- kernels -------------------------------------------------------------------------------------------------------


class _KernelRun:
    """The values of one kernel, each an array with one dimension an axis: size 1 where it does not depend on it."""

    def __init__(self, kernel: Kernel, pointers: Sequence[Pointer]) -> None:
        self.kernel = kernel
        self.pointers = pointers
        self.axes = value_axes(kernel)
        self.values: list[Array] = []
        self._read_at: dict[int, list[Array]] = {}
        self._written_at: dict[int, list[Array]] = {}

    def run(self) -> None:
        """Compute all values, then store.

        Raises:
            VerificationError: an access outside a buffer, or one parameter that writes what another one accesses.
        """
        if 0 in self.kernel.extents:
            return
        with np.errstate(all="ignore"):
            for value in self.kernel.values:
                self.values.append(round_to(np.asarray(self._value(value)), value.dtype))
        for store in self.kernel.stores:
            self._store(store)
        self._check_apart()

    def _check_apart(self) -> None:
        """The promise of :class:`Param`, which this order of evaluation would otherwise hide the breaking of."""
        for param, written in self._written_at.items():
            for other, (array, _) in enumerate(self.pointers):
                if other == param or array is not self.pointers[param][0]:
                    continue
                for places in (*self._read_at.get(other, ()), *self._written_at.get(other, ())):
                    if any(np.intersect1d(places, mine).size for mine in written):
                        raise _broken(self.kernel.name, f"parameter {param} writes what parameter {other} accesses")

    def _positions(self, map_: Map) -> Array:
        rank = len(self.kernel.extents)
        total = np.full((1,) * rank, map_.offset, dtype=np.int64)
        for axis, coefficient in enumerate(map_.coefficients):
            if coefficient:
                shape = [1] * rank
                shape[axis] = self.kernel.extents[axis]
                total = total + (coefficient * np.arange(self.kernel.extents[axis], dtype=np.int64)).reshape(shape)
        return total

    def _read(self, param: int, positions: Array, dtype: DType) -> Array:
        array, start = self.pointers[param]
        places = positions + start
        if places.size and (places.min() < 0 or places.max() >= array.size):
            raise _broken(self.kernel.name, f"parameter {param} is read outside its buffer")
        self._read_at.setdefault(param, []).append(places)
        return to_carrier(array[places], dtype)

    def _value(self, value: Value) -> Any:
        match value:
            case Const(dtype=dtype, bits=bits):
                scalar = to_carrier(np.frombuffer(bits, dtype.storage), dtype)
                return scalar.reshape((1,) * len(self.kernel.extents))
            case Load(param=param, map=map_, dtype=dtype):
                return self._read(param, self._positions(map_), dtype)
            case Gather(param=param, map=map_, index=index, stride=stride, dtype=dtype):
                return self._read(param, self._positions(map_) + self.values[index] * stride, dtype)
            case Index(map=map_):
                return self._positions(map_)
            case Apply():
                return self._apply(value)
            case Reduce():
                return self._reduce(value)
            case Scan(arg=arg, axis=axis, reverse=reverse):
                return self._scan(self.values[arg], axis, reverse)

    def _apply(self, value: Apply) -> Any:
        args = [self.values[arg] for arg in value.args]
        if value.op == "random_uniform":
            return _random(args, value)
        for position, arg in enumerate(value.args):
            if self.kernel.values[arg].dtype.is_half:
                args[position] = args[position].astype(np.float32)
        shape = np.broadcast_shapes(*(arg.shape for arg in args))
        return get_op(value.op).evaluate(value.attrs, *args, result=tensor_type(value.dtype, shape))

    def _full(self, arg: Array, axes: Sequence[int]) -> Array:
        """``arg`` repeated along ``axes``, on which it need not depend."""
        shape = list(arg.shape)
        for axis in axes:
            shape[axis] = self.kernel.extents[axis]
        return np.broadcast_to(arg, shape)

    def _reduce(self, value: Reduce) -> Array:
        arg = self._full(self.values[value.arg], value.axes)
        function = _REDUCTIONS[value.combine]
        if value.combine in ("argmax", "argmin"):
            return np.asarray(function(arg, axis=value.axes[0], keepdims=True), dtype=np.int64)
        if value.combine in ("sum", "prod"):
            return np.asarray(function(arg, axis=value.axes, keepdims=True, dtype=value.dtype.compute))
        return np.asarray(function(arg, axis=value.axes, keepdims=True))

    def _scan(self, arg: Array, axis: int, reverse: bool) -> Array:
        full = self._full(arg, (axis,))
        if reverse:
            return np.flip(np.cumsum(np.flip(full, axis), axis=axis, dtype=full.dtype), axis)
        return np.cumsum(full, axis=axis, dtype=full.dtype)

    def _store(self, store: Store) -> None:
        positions = self._positions(store.map)
        dtype = self.kernel.params[store.param].dtype
        if store.scatter is not None:
            positions = positions + self.values[store.scatter.index] * store.scatter.stride
        shape = [extent if axis in store.axes else 1 for axis, extent in enumerate(self.kernel.extents)]
        array, start = self.pointers[store.param]
        places = np.broadcast_to(positions + start, shape).reshape(-1)
        values = np.broadcast_to(self.values[store.value], shape).reshape(-1)
        if places.size and (places.min() < 0 or places.max() >= array.size):
            raise _broken(self.kernel.name, f"parameter {store.param} is written outside its buffer")
        self._written_at.setdefault(store.param, []).append(places)
        if not store.accumulate:
            array[places] = from_carrier(values, dtype)
            return
        with np.errstate(all="ignore"):
            if array.dtype == dtype.carrier:
                np.add.at(array, places, values)
            else:
                for place, value in zip(places, values, strict=True):
                    total = to_carrier(array[place : place + 1], dtype) + value
                    array[place : place + 1] = from_carrier(round_to(total, dtype), dtype)


def _broken(name: str, rule: str) -> VerificationError:
    return VerificationError("E903", f"kernel {name!r}: {rule}")


def _random(args: Sequence[Array], value: Apply) -> Array:
    """Uniform numbers at flat positions: all numbers up to the last one wanted, then those that are."""
    key = np.array([arg.reshape(-1)[0] for arg in args[:2]], dtype=np.int64)
    offset = int(args[3].reshape(-1)[0]) if len(args) > 3 else 0
    stream = (value.attrs["stream"] + offset) & 0xFFFFFFFF
    drawn = uniform_values(key, int(args[2].max()) + 1, stream, value.dtype)
    return drawn[args[2]]


def _run_intrinsic(kernel: Intrinsic, pointers: Sequence[Pointer]) -> None:
    if kernel.intrinsic == "check_index":
        count, limit = kernel.sizes
        array, start = pointers[0]
        indices = array[start : start + count].astype(np.int64)
        wrong = np.flatnonzero((indices < 0) | (indices >= limit))
        if wrong.size:
            first = int(wrong[0])
            raise GraphcIndexError("E456", f"index {int(indices[first])} at position {first} is not in [0, {limit})")
        return
    outer, length, inner, descending = kernel.sizes
    shape = (outer, length, inner)
    source, target = (array[start : start + math.prod(shape)] for array, start in pointers[:2])
    keys = to_carrier(source, kernel.params[0].dtype).reshape(shape)
    attrs = make_attrs({"axis": 1, "descending": bool(descending)})
    target[...] = get_op("argsort").evaluate(attrs, keys, result=tensor_type(int64, shape)).reshape(-1)


def run_kernel(kernel: Kernel | Intrinsic, pointers: Sequence[Array | Pointer]) -> None:
    """Run one kernel on flat arrays in storage form, one a parameter: an array, or an array and the element pointed to.

    Raises:
        GraphcIndexError: E456, from ``check_index``.
    """
    starts: list[Pointer] = [pointer if isinstance(pointer, tuple) else (pointer, 0) for pointer in pointers]
    if isinstance(kernel, Intrinsic):
        _run_intrinsic(kernel, starts)
    else:
        _KernelRun(kernel, starts).run()


# -- programs ------------------------------------------------------------------------------------------------------


class _EntryRun:
    def __init__(
        self, program: Program, entry: Entry, inputs: Sequence[Array], states: Sequence[Array], live: int
    ) -> None:
        self.program = program
        self.live = live
        self.trips: list[int] = []
        arena = np.full(entry.memory.arena_bytes, _GARBAGE, dtype=np.uint8)
        self.arrays: list[Array] = []
        for number, buffer in enumerate(entry.buffers):
            if buffer.kind == "temporary":
                start = entry.memory.offsets.get(number, 0)
                array = arena[start : start + buffer.nbytes].view(buffer.dtype.storage)
            elif buffer.kind == "input":
                array = inputs[buffer.position].reshape(-1)
            elif buffer.kind == "state":
                array = states[buffer.position]
            elif buffer.kind == "constant":
                array = program.constants[buffer.position].array.reshape(-1)
            else:
                array = np.full(buffer.nbytes, _GARBAGE, dtype=np.uint8).view(buffer.dtype.storage)
            self.arrays.append(array)

    def _pointer(self, ref: Ref) -> Pointer:
        offset = (
            ref.offset
            + ref.live * self.live
            + sum(stride * trip for stride, trip in zip(ref.strides, self.trips, strict=False))
        )
        return self.arrays[ref.buffer], offset

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps in order."""
        for step in steps:
            if isinstance(step, Call):
                run_kernel(self.program.kernels[step.kernel], [self._pointer(ref) for ref in step.args])
            elif isinstance(step, Copy):
                (target, to), (source, start) = self._pointer(step.target), self._pointer(step.source)
                if target is source and abs(to - start) < step.size:
                    raise _broken("copy", "target and source overlap")
                target[to : to + step.size] = source[start : start + step.size].copy()
            else:
                for trip in range(self.live if step.live else step.trips):
                    self.trips.append(trip)
                    self.run(step.body)
                    self.trips.pop()


def run_entry(
    program: Program,
    entry_name: str,
    inputs: Mapping[str, Array] | Sequence[Array],
    states: Mapping[str, Array] | None = None,
    live: int = 0,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run an entry point of a program, as :func:`graphc.ir.interp.evaluate` runs a graph.

    Args:
        program: lowered module.
        entry_name: which entry.
        inputs: boundary arrays by name, or in order.
        states: boundary arrays by state name; the initial values for those not given.
        live: how many steps the call has, where the program asks; arrays over them have room for the most there may be.

    Returns:
        Outputs by name, and new values of the updated state variables by name, as boundary arrays.
    """
    entry = program.entries[entry_name]
    given = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
    if isinstance(inputs, Mapping):
        given = [inputs[name] for name in entry.inputs]
    arguments = [
        np.ascontiguousarray(array, dtype=type_.dtype.storage)
        for array, type_ in zip(given, entry.inputs.values(), strict=True)
    ]
    memory: list[Array] = []
    for name, state in program.module.states.items():
        held = (states or {}).get(name)
        value = state.initial_value() if held is None else held
        memory.append(np.array(value, dtype=state.type.dtype.storage, order="C").reshape(-1))
    run = _EntryRun(program, entry, arguments, memory, live)
    run.run(entry.steps)
    outputs = {}
    for buffer, array in zip(entry.buffers, run.arrays, strict=True):
        if buffer.kind == "output":
            outputs[buffer.name] = array.reshape(entry.outputs[buffer.name].static_shape)
    position = {name: number for number, name in enumerate(program.module.states)}
    updates = {
        name: memory[position[name]].reshape(program.module.states[name].type.static_shape) for name in entry.updated
    }
    return {name: outputs[name] for name in entry.outputs}, updates
