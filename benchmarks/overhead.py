"""What a call costs besides its work: ``python -m benchmarks.overhead``.

Arrays of four numbers go through a compiled model and through the artifact saved from it.  ``kernel`` is the native
function called through ctypes with pointers that are ready; the other columns are what a call takes beyond that, with
every check of its arguments made.  Figures are the least of many batches, in microseconds of this thread's time.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

import graphc as G

INPUTS = (1, 4, 16)
_BATCH = 1000
_numbers = itertools.count()


@dataclass(frozen=True)
class Overhead:
    """Microseconds of calls with so many inputs and one output.

    Attributes:
        inputs: how many.
        address: what NumPy takes for the address of one array, ``array.ctypes.data``: a unit for the others.
        kernel: the native function itself.
        call: a compiled model's call, beyond the kernel.
        named: the same with its arguments by name.
        out: the same with ``out=``.
        artifact: a call of the model of an imported artifact.
        function: a call of the function of the artifact's module.
    """

    inputs: int
    address: float
    kernel: float
    call: float
    named: float
    out: float
    artifact: float
    function: float


def least(calls: Mapping[str, Callable[[], Any]], batches: int) -> dict[str, float]:
    """The least time of each call in any batch, in microseconds, without what an empty call costs.

    The calls take turns, a batch each: while the machine is slow it is slow for all of them.
    """
    timed = {**calls, "": lambda: None}
    found = dict.fromkeys(timed, math.inf)
    for _ in range(batches):
        for name, call in timed.items():
            start = time.thread_time_ns()
            for _ in range(_BATCH):
                call()
            found[name] = min(found[name], (time.thread_time_ns() - start) / _BATCH / 1000)
    empty = found.pop("")
    return {name: best - empty for name, best in found.items()}


def measure(inputs: int, batches: int = 300) -> Overhead:
    """Compile a sum of ``inputs`` vectors, save it, import it, and time the calls."""
    names = [f"x{number}" for number in range(inputs)]
    total = sum((G.input(name, (4,)) for name in names), start=G.constant(1.0))
    model = G.compile(G.Model(predict=total))
    arrays = [np.full(4, number, np.float32) for number in range(inputs)]
    by_name = dict(zip(names, arrays, strict=True))
    out = np.empty(4, np.float32)
    artifact = _saved_and_imported(model)
    loaded = artifact.Model.default()
    calls: dict[str, Callable[[], Any]] = {
        "call": lambda: model.predict(*arrays),
        "named": lambda: model.predict(**by_name),
        "out": lambda: model.predict(*arrays, out=out),
        "artifact": lambda: loaded.predict(*arrays),
        "function": lambda: artifact.predict(*arrays),
    }
    for call in calls.values():
        np.testing.assert_array_equal(call(), np.full(4, 1 + sum(range(inputs)), np.float32))
    units = {"address": lambda: out.ctypes.data, "kernel": _kernel(model, arrays, out)}
    found = least({**units, **calls}, batches)
    beyond = {name: found[name] - found["kernel"] for name in calls}
    return Overhead(inputs, found["address"], found["kernel"], **beyond)


def _saved_and_imported(model: Any) -> ModuleType:
    """The module of an artifact; its files are gone once it is loaded."""
    with TemporaryDirectory() as folder:
        name = f"graphc_overhead_{next(_numbers)}"
        model.save(Path(folder, name))
        sys.path.insert(0, folder)
        try:
            importlib.invalidate_caches()
            module = importlib.import_module(name)
            module.Model.default()  # reads the weights
        finally:
            sys.path.remove(folder)
        return module


def _kernel(model: Any, arrays: Sequence[np.ndarray[Any, Any]], out: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """The native function over pointers that are ready: see "The native interface" in docs/ARCHITECTURE.md."""
    inputs = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    outputs = (ctypes.c_void_p * 1)(out.ctypes.data)
    states, error = (ctypes.c_void_p * 1)(), (ctypes.c_int64 * 4)()
    arena = np.zeros(model.build.arena_bytes + 64, np.uint8)
    start = arena.ctypes.data + -arena.ctypes.data % 64
    function = model.build.functions["predict"]
    arguments = [ctypes.c_void_p(ctypes.addressof(table)) for table in (inputs, outputs, states)]
    arguments += [ctypes.c_void_p(start), ctypes.c_void_p(ctypes.addressof(error))]
    keep = (inputs, outputs, states, error, arena)
    return lambda: function(*arguments) or keep


def main() -> None:
    """Measure and print."""
    columns = f"{'call':>6} {'by name':>7} {'out=':>6} {'artifact':>8} {'its function':>12}"
    print(f"{'inputs':>6} {'kernel':>7} | beyond it, µs: {columns}")
    for inputs in INPUTS:
        found = measure(inputs)
        beyond = f"{found.call:6.2f} {found.named:7.2f} {found.out:6.2f} {found.artifact:8.2f} {found.function:12.2f}"
        print(f"{inputs:6} {found.kernel:7.2f} | {'':14} {beyond}")


if __name__ == "__main__":
    main()
