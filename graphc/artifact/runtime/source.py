"""Entry points that are NumPy source."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from .arguments import as_array, bind, select_outs
from .calls import Array, Function, described, result_of, take_threads
from .errors import GraphcError, GraphcIndexError, GraphcMemoryError, GraphcRuntimeError
from .memory import StateMemory
from .spec import EntrySpec, Spec
from .threads import Threads
from .turns import Turns, Workspace


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


def _source_entry(entry: EntrySpec, function: Function, states: StateMemory, pool: Turns[Workspace]) -> Function:
    arrays = states.arrays

    def call(*inputs: Any, out: Any = None, **named: Any) -> Any:
        take_threads(entry, named)
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
        return result_of(entry, outputs, out)

    return described(call, entry)


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
