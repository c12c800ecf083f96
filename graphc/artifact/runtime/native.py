"""Entry points that are native code, called through ctypes.

A call costs one to two microseconds besides its work: an array that already is as the code wants it is recognised by
five comparisons, and the pointer tables of a workspace are made once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .calls import Array, Function, described, result_of, take_threads
from .errors import GraphcIndexError, GraphcMemoryError
from .memory import StateMemory, aligned_bytes
from .sizes import SizedEntry
from .spec import EntrySpec, Spec, TensorSpec
from .threads import Threads
from .turns import Turns, Workspace

Runner = Callable[["NativeWorkspace", list[int], list[int], int | None], None]
"""Runs native code: (workspace, addresses of the inputs, of the outputs, number of threads or None)."""


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
        self._arena = aligned_bytes(arena_bytes, "a workspace")
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
        # (An entry point whose calls say sizes reads them through pointers behind its inputs.)
        input_count = max((len(entry.inputs) + len(entry.open_dims) for entry in spec.entries), default=0)
        output_count = max((len(entry.outputs) for entry in spec.entries), default=0)
        arena_bytes = self._arena_bytes
        table = states.table
        pool: Turns[NativeWorkspace] = Turns(lambda: NativeWorkspace(input_count, output_count, table, arena_bytes))
        turns.append(pool)

        def fixed(entry: EntrySpec, code: str = "", sizes: Sequence[int] = ()) -> Function:
            return _entry(entry, self._runner(entry, threads, code or entry.name, sizes), states, pool)

        return {
            entry.name: described(SizedEntry(entry, spec, fixed, states.block), entry)
            if entry.is_sized
            else fixed(entry)
            for entry in spec.entries
        }

    def _runner(self, entry: EntrySpec, threads: Threads, code: str, sizes: Sequence[int]) -> Runner:
        """What runs an entry point, ``code`` in the code, on as many threads as are said, or as the model has.

        ``sizes`` are what calls say, in the order in which the code reads them.
        """
        function, parallel, number = self._functions[code], self._parallel, self._numbers.get(code, 0)
        every_input, every_output = slice(len(entry.inputs)), slice(len(entry.outputs))
        held = (ctypes.c_int64 * len(sizes))(*sizes)
        places: list[Any] = [
            ctypes.addressof(held) + position * ctypes.sizeof(ctypes.c_int64) for position in range(len(sizes))
        ]
        behind = slice(len(entry.inputs), len(entry.inputs) + len(sizes))

        def run(workspace: NativeWorkspace, inputs: list[Any], outputs: list[Any], count: int | None) -> None:
            if places:
                workspace.inputs[behind] = places
            workspace.inputs[every_input] = inputs
            workspace.outputs[every_output] = outputs
            if parallel is None or (count := count or threads.count) == 1:
                failed = function(*workspace.arguments)
            else:
                failed = parallel(count, number, *workspace.arguments)
            if failed:
                raise _index_error(entry, workspace.error)

        run.__dict__["held"] = held  # as long as the code may read it
        return run


def _entry(entry: EntrySpec, run: Runner, states: StateMemory, pool: Turns[NativeWorkspace]) -> Function:
    """The function that a user calls.

    An argument that is as the code wants it is seen to be so by a handful of comparisons, which stand in the loop
    itself because they are most of what a call costs.  All other arguments go through :mod:`.arguments`.
    """
    count = len(entry.inputs)
    # An array without elements has no first byte to take the address of: no shape is as None is.
    plans = tuple(
        (tensor.storage, tensor.shape if tensor.nbytes else None, tensor.nbytes, tensor) for tensor in entry.inputs
    )
    names = {tensor.name for tensor in entry.inputs}
    results = tuple((tensor.shape, tensor.storage) for tensor in entry.outputs)
    sizes = tuple(tensor.nbytes for tensor in entry.outputs)
    is_single = len(results) == 1 and sizes[0] > 0
    out_shape, out_dtype = results[0] if is_single else ((), np.dtype(bool))
    out_bytes = sizes[0] if is_single else 0
    writes = bool(entry.updates)
    # The states that the code may overwrite while it still reads the inputs.
    low, high = (states.low, states.high) if writes else (0, 0)
    ndarray, empty, address_of = np.ndarray, np.empty, ctypes.addressof
    # Through the buffer protocol: a third of the time that ``array.ctypes.data`` takes.
    first_byte: Callable[[Any], Any] = ctypes.c_char.from_buffer
    idle, give_back = pool.idle, pool.give_back

    def copied(value: Any, tensor: TensorSpec, places: Sequence[int], kept: list[Array]) -> int:
        """The address of an input that is not as the code wants it, or that the code may overwrite."""
        array = as_array(value, tensor, f"{entry.name}: input {tensor.name!r}")
        address: int = array.ctypes.data
        size = tensor.nbytes
        if (address < high and address + size > low) or touches(address, size, places):
            array = array.copy()
            address = array.ctypes.data
        kept.append(array)
        return address

    def touches(address: int, size: int, places: Sequence[int]) -> bool:
        return any(address < place + room and place < address + size for place, room in zip(places, sizes, strict=True))

    def place_of(out: Any) -> int:
        """The address of the buffer for a single output; 0 where it is not ready, and :func:`select_outs` says why."""
        if not (type(out) is ndarray and out.dtype is out_dtype and out.shape == out_shape and out.flags.carray):
            return 0
        place = address_of(first_byte(out))
        return 0 if place < states.high and place + out_bytes > states.low else place

    def buffers(out: Any) -> list[Array]:
        """A buffer for each output: the caller's, or a new one."""
        outs = [None] * len(results) if out is None else select_outs(out, entry, states.block)
        return [
            empty(shape, dtype) if buffer is None else buffer
            for buffer, (shape, dtype) in zip(outs, results, strict=True)
        ]

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        threads = None
        # Between these addresses lie the buffers that the caller gave.
        first, past = 0, 0
        if named or len(inputs) != count:
            if not inputs and named.keys() == names:
                inputs = tuple([named[tensor.name] for tensor in entry.inputs])
            else:
                threads = take_threads(entry, named)
                inputs = tuple(bind(entry, inputs, named))
        try:
            if is_single and out is None:
                result = empty(out_shape, out_dtype)
                places = [address_of(first_byte(result))]
            elif is_single and (place := place_of(out)):
                result = out
                places = [place]
                first, past = place, place + out_bytes
            else:
                outputs = buffers(out)
                # A buffer without elements has no first byte; the code does not touch it.
                places = [address_of(first_byte(array)) if array.size else 0 for array in outputs]
                result = result_of(entry, outputs, out)
                if out is not None and places:
                    first = min(places)
                    past = max(map(add, places, sizes))
        except MemoryError as fault:
            raise GraphcMemoryError("E460", f"{entry.name}: there is no memory for the results") from fault
        addresses: list[int] = []
        kept: list[Array] = []
        for value, (dtype, shape, size, tensor) in zip(inputs, plans):  # noqa: B905  (equally many; strict costs time)
            if (
                type(value) is ndarray
                and value.dtype is dtype
                and value.shape == shape
                and value.flags.carray
                and ((address := address_of(first_byte(value))) >= high or address + size <= low)
                and (address >= past or address + size <= first)
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
                    give_back(workspace)
        return result

    return described(call, entry)


def _index_error(entry: EntrySpec, error: Iterable[int]) -> GraphcIndexError:
    number, position, value, limit = error
    what = entry.checks[number] if 0 <= number < len(entry.checks) else f"check {number}"
    return GraphcIndexError(
        "E456", f"{entry.name}: {what}: index {value} at position {position} is outside [0, {limit})"
    )
