"""From an entry point's code to the Python function that a user calls: native code through ctypes, or NumPy source.

A call of native code costs a few microseconds besides its work: an array that already is as the code wants it is
recognised by five comparisons, and the pointer tables of a workspace are made once.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .errors import GraphcError, GraphcIndexError, GraphcMemoryError, GraphcRuntimeError
from .spec import EntrySpec, Spec, TensorSpec
from .threads import Threads, thread_count
from .turns import Turns, Workspace

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]
Runner = Callable[[Sequence[ctypes.c_void_p], int | None], int]

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
        table: pointer to the array of pointers to them.
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
        self._pointers = (ctypes.c_void_p * (len(offsets) + 1))(*(self.low + offset for offset in offsets))
        self.table = ctypes.c_void_p(ctypes.addressof(self._pointers))


class NativeWorkspace(Workspace):
    """Pointer tables, the error record and the arena of one running call of native code.

    Attributes:
        inputs, outputs: pointer tables, filled by each call.
        error: where the code reports an index out of range.
        arguments: what every entry point is called with.
    """

    __slots__ = ("_arena", "arguments", "error", "inputs", "outputs")

    def __init__(self, input_count: int, output_count: int, states: ctypes.c_void_p, arena_bytes: int) -> None:
        self.inputs = (ctypes.c_void_p * max(input_count, 1))()
        self.outputs = (ctypes.c_void_p * max(output_count, 1))()
        self.error = (ctypes.c_int64 * 4)()
        self._arena = _aligned_bytes(arena_bytes, "a workspace")
        inputs, outputs, error = (
            ctypes.c_void_p(ctypes.addressof(table)) for table in (self.inputs, self.outputs, self.error)
        )
        self.arguments = (inputs, outputs, states, ctypes.c_void_p(self._arena.ctypes.data), error)


class NativeCode:
    """Entry points as native functions: see "The native interface" in graphc's architecture.

    Args:
        functions: entry point → function of (inputs, outputs, states, arena, error), callable through ctypes.
        arena_bytes: what a call needs besides its arguments.
        owner: kept alive with the code.
        parallel: function of (threads, number of the entry point, and the same five), where there is one.
        numbers: entry point → its number.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        arena_bytes: int,
        owner: object = None,
        parallel: Function | None = None,
        numbers: Mapping[str, int] | None = None,
    ) -> None:
        self._functions = functions
        self._arena_bytes = arena_bytes
        self._owner = owner
        self._parallel = parallel
        self._numbers = numbers or {}

    def entries(
        self, spec: Spec, states: StateMemory, turns: list[Turns[Any]], threads: Threads
    ) -> dict[str, Function]:
        """The Python function of each entry point over the given states; appends the pool they share to ``turns``."""
        input_count = max((len(entry.inputs) for entry in spec.entries), default=0)
        output_count = max((len(entry.outputs) for entry in spec.entries), default=0)
        arena_bytes = self._arena_bytes
        table = states.table
        pool: Turns[NativeWorkspace] = Turns(lambda: NativeWorkspace(input_count, output_count, table, arena_bytes))
        turns.append(pool)
        return {
            entry.name: _native_entry(entry, self._runner(entry.name, threads), states, pool) for entry in spec.entries
        }

    def _runner(self, entry: str, threads: Threads) -> Runner:
        """What runs an entry point with the pointers of a workspace, on as many threads as said, or as the model has.

        It returns what the code returns.
        """
        function, parallel, number = self._functions[entry], self._parallel, self._numbers.get(entry, 0)
        if parallel is None:
            return lambda arguments, _: function(*arguments)

        def run(arguments: Sequence[ctypes.c_void_p], count: int | None) -> int:
            if count is None:
                count = threads.count
            failed: int = function(*arguments) if count == 1 else parallel(count, number, *arguments)
            return failed

        return run


class SourceCode:
    """Entry points as functions of a module of NumPy source.

    Args:
        functions: entry point → function of the inputs and a dict of the states, which it updates in place; it returns
            its output, or a dict of several.

    Unlike native code, Python can be interrupted (Ctrl-C) while it writes the new states: in the main thread an
    interrupt waits for the end of a call that updates state.
    """

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions

    def entries(
        self, spec: Spec, states: StateMemory, turns: list[Turns[Any]], threads: Threads
    ) -> dict[str, Function]:
        """The Python function of each entry point over the given states; appends the pool they share to ``turns``.

        How many threads NumPy uses is not for a model to say: ``threads`` changes nothing.
        """
        pool = Turns(Workspace)
        turns.append(pool)
        return {entry.name: _source_entry(entry, self._functions[entry.name], states, pool) for entry in spec.entries}


Code = NativeCode | SourceCode


def _native_entry(entry: EntrySpec, runner: Runner, states: StateMemory, pool: Turns[NativeWorkspace]) -> Function:
    count = len(entry.inputs)
    # An array without elements has no first byte to take the address of: no shape is as None is.
    plans = tuple((tensor.storage, tensor.shape if tensor.nbytes else None, tensor) for tensor in entry.inputs)
    results = tuple((tensor.storage, tensor.shape) for tensor in entry.outputs)
    sizes = tuple(tensor.nbytes for tensor in entry.outputs)
    single = len(results) == 1
    writes = bool(entry.updates)
    low, high = (states.low, states.high) if writes else (0, 0)
    ndarray, empty, address_of = np.ndarray, np.empty, ctypes.addressof
    first_byte: Callable[[Any], Any] = ctypes.c_char.from_buffer
    idle = pool.idle

    def copied(value: Any, tensor: TensorSpec, places: Sequence[int], kept: list[Array]) -> int:
        """The address of an input that is not as the code wants it, or that the code may overwrite."""
        array = as_array(value, tensor, f"{entry.name}: input {tensor.name!r}")
        address: int = array.ctypes.data
        if low <= address < high or touches(address, tensor.nbytes, places):
            array = array.copy()
            address = array.ctypes.data
        kept.append(array)
        return address

    def touches(address: int, size: int, places: Sequence[int]) -> bool:
        return any(address < place + room and place < address + size for place, room in zip(places, sizes, strict=True))

    def places_of(outputs: Sequence[Array]) -> list[int]:
        # A buffer without elements has no first byte; the code does not touch it.
        return [address_of(first_byte(array)) if array.size else 0 for array in outputs]

    def is_ready(out: Array) -> bool:
        """The buffer of a single output can be written as it is; whatever else it is, :func:`select_outs` says."""
        (dtype, shape), (size,) = results[0], sizes
        if not (out.dtype is dtype and out.shape == shape and out.flags.carray and size):
            return False
        return not states.low <= address_of(first_byte(out)) < states.high

    def run(workspace: NativeWorkspace, addresses: list[int], places: list[int], threads: int | None) -> None:
        table = workspace.inputs
        for position, address in enumerate(addresses):
            table[position] = address
        table = workspace.outputs
        for position, address in enumerate(places):
            table[position] = address
        if runner(workspace.arguments, threads):
            raise _index_error(entry, workspace.error)

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        threads = None
        if named or len(inputs) != count:
            threads = _take_threads(entry, named)
            inputs = tuple(bind(entry, inputs, named))
        try:
            if out is None:
                outputs = [empty(shape, dtype) for dtype, shape in results]
            elif type(out) is ndarray and single and is_ready(out):
                outputs = [out]
            else:
                outs = select_outs(out, entry, states.block)
                outputs = [
                    empty(shape, dtype) if buffer is None else buffer
                    for buffer, (dtype, shape) in zip(outs, results, strict=True)
                ]
        except MemoryError as fault:
            raise GraphcMemoryError("E460", f"{entry.name}: there is no memory for the results") from fault
        places = places_of(outputs)
        addresses: list[int] = []
        kept: list[Array] = []
        for value, (dtype, shape, tensor) in zip(inputs, plans):  # noqa: B905  (equally many; strict costs time)
            if (
                type(value) is ndarray
                and value.dtype is dtype
                and value.shape == shape
                and value.flags.carray
                and not low <= (address := address_of(first_byte(value))) < high
                and (out is None or not touches(address, tensor.nbytes, places))
            ):
                addresses.append(address)
            else:
                addresses.append(copied(value, tensor, places, kept))
        if writes:
            with pool.lock:
                held: list[NativeWorkspace] = []
                nested = pool.is_writing
                try:
                    run(pool.begin_writing(held), addresses, places, threads)
                finally:
                    if not nested:
                        pool.is_writing = False
                        pool.put_back(held)
        else:
            workspace = None
            try:
                try:
                    workspace = idle.pop()
                except IndexError:
                    workspace = pool.take()
                run(workspace, addresses, places, threads)
            finally:
                if workspace is not None:
                    pool.give_back(workspace)
        return outputs[0] if single and (out is None or out is outputs[0]) else _result(entry, outputs, out)

    return _described(call, entry)


def _source_entry(entry: EntrySpec, function: Function, states: StateMemory, pool: Turns[Workspace]) -> Function:
    arrays = states.arrays

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        _take_threads(entry, named)
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
        with _written_whole(pool) if entry.updates else pool.reading():
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


@contextmanager
def _written_whole(pool: Turns[Workspace]) -> Iterator[None]:
    """A writer's turn that Ctrl-C does not end in the middle: what SIGINT means happens after it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        with pool.writing():
            yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
        with pool.writing():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            before(*waiting[0])


def _take_threads(entry: EntrySpec, named: dict[str, Any]) -> int | None:
    """The number of threads that a call asks for, out of its keywords; an input of that name comes first."""
    if "threads" not in named or any(tensor.name == "threads" for tensor in entry.inputs):
        return None
    threads = named.pop("threads")
    return None if threads is None else thread_count(threads, f"{entry.name}: threads")


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


def _index_error(entry: EntrySpec, error: Iterable[int]) -> GraphcIndexError:
    number, position, value, limit = error
    what = entry.checks[number] if 0 <= number < len(entry.checks) else f"check {number}"
    return GraphcIndexError(
        "E456", f"{entry.name}: {what}: index {value} at position {position} is outside [0, {limit})"
    )


def _described(call: Function, entry: EntrySpec) -> Function:
    call.__name__ = entry.name
    call.__qualname__ = f"Model.{entry.name}"
    call.__doc__ = (
        f"{entry.signature}\n\n``out=`` takes a buffer for the result{' (a dict by name)' * (len(entry.outputs) > 1)}, "
        "``threads=`` the number of threads of this call."
    )
    return call
