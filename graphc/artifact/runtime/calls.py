"""From an entry point's code to the Python function that a user calls: native code through ctypes, or NumPy source.

A call of native code costs a few microseconds besides its work: an array that already is as the code wants it is
recognised by five comparisons, and the pointer tables of a workspace are made once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .errors import GraphcError, GraphcIndexError, GraphcMemoryError, GraphcRuntimeError
from .spec import EntrySpec, Spec, TensorSpec
from .turns import Turns, Workspace

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]

_ALIGNMENT = 64


def _aligned_bytes(size: int, what: str) -> Array:
    """Zeroed bytes that start at a multiple of 64."""
    try:
        raw = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    except MemoryError as fault:
        raise GraphcMemoryError("E460", f"there is no memory for {what}: {size} bytes") from fault
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size]


class StateMemory:
    """The state variables of one model, in one block, so that one comparison tells whether an address lies in them.

    Attributes:
        block: all of them as bytes.
        arrays: name → live view, in the code's order.
        low, high: the addresses of the block.
    """

    def __init__(self, states: Sequence[TensorSpec]) -> None:
        offsets, size = [], 0
        for state in states:
            offsets.append(size)
            size += -(-state.nbytes // _ALIGNMENT) * _ALIGNMENT
        self.block = _aligned_bytes(size, "the parameters")
        self.arrays: dict[str, Array] = {
            state.name: self.block[offset : offset + state.nbytes].view(state.storage).reshape(state.shape)
            for state, offset in zip(states, offsets, strict=True)
        }
        self.low = self.block.ctypes.data
        self.high = self.low + size
        self.addresses = [self.low + offset for offset in offsets]


class NativeWorkspace(Workspace):
    """Pointer tables, the error record and the arena of one running call of native code."""

    __slots__ = ("arena", "arena_memory", "error", "inputs", "outputs")

    def __init__(self, input_count: int, output_count: int, arena_bytes: int) -> None:
        self.inputs = (ctypes.c_void_p * max(input_count, 1))()
        self.outputs = (ctypes.c_void_p * max(output_count, 1))()
        self.error = (ctypes.c_int64 * 4)()
        self.arena_memory = _aligned_bytes(arena_bytes, "a workspace")
        self.arena = ctypes.c_void_p(self.arena_memory.ctypes.data)


class NativeCode:
    """Entry points as native functions: see "The native interface" in graphc's architecture.

    Args:
        functions: entry point → function of (inputs, outputs, states, arena, error), callable through ctypes.
        arena_bytes: what a call needs besides its arguments.
        owner: kept alive with the code.
    """

    def __init__(self, functions: Mapping[str, Function], arena_bytes: int, owner: object = None) -> None:
        self._functions = functions
        self._arena_bytes = arena_bytes
        self._owner = owner

    def entries(self, spec: Spec, states: StateMemory, turns: list[Turns[Any]]) -> dict[str, Function]:
        """The Python function of each entry point over the given states; appends the pool they share to ``turns``."""
        input_count = max((len(entry.inputs) for entry in spec.entries), default=0)
        output_count = max((len(entry.outputs) for entry in spec.entries), default=0)
        arena_bytes = self._arena_bytes
        pool: Turns[NativeWorkspace] = Turns(lambda: NativeWorkspace(input_count, output_count, arena_bytes))
        turns.append(pool)
        pointers = (ctypes.c_void_p * max(len(states.addresses), 1))(*states.addresses)
        return {
            entry.name: _native_entry(entry, self._functions[entry.name], states, pointers, pool)
            for entry in spec.entries
        }


class SourceCode:
    """Entry points as functions of a module of NumPy source.

    Args:
        functions: entry point → function of the inputs and a dict of the states, which it updates in place; it returns
            its output, or a dict of several.

    Unlike native code, Python can be interrupted (Ctrl-C) while it writes the new states, some of which are then old.
    """

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions

    def entries(self, spec: Spec, states: StateMemory, turns: list[Turns[Any]]) -> dict[str, Function]:
        """The Python function of each entry point over the given states; appends the pool they share to ``turns``."""
        pool = Turns(Workspace)
        turns.append(pool)
        return {entry.name: _source_entry(entry, self._functions[entry.name], states, pool) for entry in spec.entries}


Code = NativeCode | SourceCode


def _native_entry(
    entry: EntrySpec, function: Function, states: StateMemory, state_pointers: Any, pool: Turns[NativeWorkspace]
) -> Function:
    count = len(entry.inputs)
    # An array without elements has no first byte to take the address of: no shape is as None is.
    plans = tuple((tensor.storage, tensor.shape if tensor.nbytes else None, tensor) for tensor in entry.inputs)
    results = tuple((tensor.storage, tensor.shape) for tensor in entry.outputs)
    only = results[0] if len(results) == 1 else None
    low, high = (states.low, states.high) if entry.updates else (0, 0)
    ndarray, empty, c_char, address_of = np.ndarray, np.empty, ctypes.c_char, ctypes.addressof
    first_byte = c_char.from_buffer
    idle = pool.idle
    writes = bool(entry.updates)

    def run(workspace: NativeWorkspace, addresses: list[int], outputs: Sequence[Array]) -> None:
        table = workspace.inputs
        for position, address in enumerate(addresses):
            table[position] = address
        table = workspace.outputs
        for position, array in enumerate(outputs):
            # A buffer without elements has no first byte; the code does not touch it.
            table[position] = address_of(first_byte(array)) if array.size else 0
        if function(workspace.inputs, workspace.outputs, state_pointers, workspace.arena, workspace.error):
            raise _index_error(entry, workspace.error)

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        if named or len(inputs) != count:
            inputs = tuple(bind(entry, inputs, named))
        outs = None if out is None else select_outs(out, entry, states.block)
        addresses = []
        kept = []
        for value, (dtype, shape, tensor) in zip(inputs, plans, strict=True):
            if (
                type(value) is ndarray
                and value.dtype is dtype
                and value.shape == shape
                and value.flags.carray
                and outs is None
            ):
                address = address_of(first_byte(value))
            else:
                value = as_array(value, tensor, f"{entry.name}: input {tensor.name!r}")
                if outs is not None and any(
                    buffer is not None and np.may_share_memory(value, buffer) for buffer in outs
                ):
                    value = value.copy()
                kept.append(value)
                address = value.ctypes.data
            if low <= address < high:  # a parameter that the code writes while it reads this input
                value = value.copy()
                kept.append(value)
                address = value.ctypes.data
            addresses.append(address)
        try:
            if outs is None:
                outputs = [empty(shape, dtype) for dtype, shape in results]
            else:
                outputs = [
                    empty(shape, dtype) if buffer is None else buffer
                    for buffer, (dtype, shape) in zip(outs, results, strict=True)
                ]
        except MemoryError as fault:
            raise GraphcMemoryError("E460", f"{entry.name}: there is no memory for the results") from fault
        if writes:
            with pool.writing() as workspace:
                run(workspace, addresses, outputs)
        else:
            workspace = None
            try:
                try:
                    workspace = idle.pop()
                except IndexError:
                    workspace = pool.take()
                run(workspace, addresses, outputs)
            finally:
                if workspace is not None:
                    pool.give_back(workspace)
        if only is not None and out is None:
            return outputs[0]
        return _result(entry, outputs, out)

    return _described(call, entry)


def _source_entry(entry: EntrySpec, function: Function, states: StateMemory, pool: Turns[Workspace]) -> Function:
    arrays = states.arrays

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        values = bind(entry, inputs, named)
        outs: Sequence[Array | None] = [None] * len(entry.outputs)
        if out is not None:
            outs = select_outs(out, entry, states.block)
        values = [
            as_array(value, tensor, f"{entry.name}: input {tensor.name!r}")
            for value, tensor in zip(values, entry.inputs, strict=True)
        ]
        if entry.updates:
            values = [value.copy() if np.may_share_memory(value, states.block) else value for value in values]
        with pool.writing() if entry.updates else pool.reading():
            parameters = dict(arrays)
            try:
                with np.errstate(all="ignore"):
                    made = function(*values, parameters)
            except GraphcError:
                raise
            except IndexError as fault:
                raise GraphcIndexError("E456", f"{entry.name}: {fault}") from fault
            except MemoryError as fault:
                raise GraphcMemoryError("E460", f"{entry.name}: {fault}") from fault
            # A result may be an input, a parameter or a constant of the source: what the caller gets is always his own.
            outputs = _own_results(entry, made, outs)
            for name in entry.updates:
                if parameters[name] is not arrays[name]:
                    np.copyto(arrays[name], parameters[name], casting="same_kind")
        return _result(entry, outputs, out)

    return _described(call, entry)


def _own_results(entry: EntrySpec, made: Any, outs: Sequence[Array | None]) -> list[Array]:
    """Copies of what the source returned, in the buffers given or in fresh arrays."""
    outputs = []
    for tensor, buffer in zip(entry.outputs, outs, strict=True):
        value = made if len(entry.outputs) == 1 else made[tensor.name]
        if np.shape(value) != tensor.shape:
            raise GraphcRuntimeError(
                "E900", f"{entry.name}: output {tensor.name!r} must be {tensor}, the code made {np.shape(value)}"
            )
        if buffer is None:
            outputs.append(np.array(value, dtype=tensor.storage, order="C", copy=True))
        else:
            buffer[...] = value
            outputs.append(buffer)
    return outputs


def _result(entry: EntrySpec, outputs: Sequence[Array], out: Any) -> Any:
    """What a call returns: one array, a dict of several, or None; a buffer given as ``out=`` is returned itself."""
    if not outputs:
        return None
    if len(outputs) == 1:
        if out is None or isinstance(out, Mapping):
            return outputs[0] if out is None else out.get(entry.outputs[0].name, outputs[0])
        return out
    given = {} if out is None else out
    return {tensor.name: given.get(tensor.name, array) for tensor, array in zip(entry.outputs, outputs, strict=True)}


def _index_error(entry: EntrySpec, error: Sequence[int]) -> GraphcIndexError:
    number, position, value, limit = error
    what = entry.checks[number] if 0 <= number < len(entry.checks) else f"check {number}"
    return GraphcIndexError(
        "E456", f"{entry.name}: {what}: index {value} at position {position} is outside [0, {limit})"
    )


def _described(call: Function, entry: EntrySpec) -> Function:
    call.__name__ = entry.name
    call.__qualname__ = f"Model.{entry.name}"
    call.__doc__ = (
        f"{entry.signature}\n\n``out=`` takes a buffer for the result{' (a dict by name)' * (len(entry.outputs) > 1)}."
    )
    return call
