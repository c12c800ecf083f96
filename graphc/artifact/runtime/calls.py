"""What calls of native code and of NumPy source have in common: how threads are asked for, and what is returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .spec import EntrySpec
from .threads import thread_count

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


def take_threads(entry: EntrySpec, named: dict[str, Any]) -> int | None:
    """The number of threads that a call asks for, out of its keywords; an input of that name comes first."""
    if "threads" not in named or any(tensor.name == "threads" for tensor in entry.inputs):
        return None
    threads = named.pop("threads")
    return None if threads is None else thread_count(threads, f"{entry.name}: threads")


def result_of(entry: EntrySpec, outputs: Sequence[Array], out: Any) -> Any:
    """What a call returns: one array, a dict of several, or None; a buffer given as ``out=`` is returned itself."""
    if not outputs:
        return None
    if len(outputs) == 1:
        if out is None or isinstance(out, Mapping):
            return outputs[0] if out is None else out.get(entry.outputs[0].name, outputs[0])
        return out
    given = {} if out is None else out
    return {tensor.name: given.get(tensor.name, array) for tensor, array in zip(entry.outputs, outputs, strict=True)}


def described(call: Function, entry: EntrySpec) -> Function:
    """``call`` with the name and the documentation of the entry point."""
    call.__name__ = entry.name
    call.__qualname__ = f"Model.{entry.name}"
    call.__doc__ = (
        f"{entry.signature}\n\n``out=`` takes a buffer for the result{' (a dict by name)' * (len(entry.outputs) > 1)}, "
        "``threads=`` the number of threads of this call."
    )
    return call
