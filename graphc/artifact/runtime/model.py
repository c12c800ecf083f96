"""``Model``: entry points over live parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from . import weights
from .arguments import as_array
from .errors import GraphcKeyError, GraphcTypeError, nearest
from .memory import StateMemory
from .native import NativeCode
from .source import SourceCode
from .spec import Spec
from .threads import Threads, initial_count, thread_count
from .turns import Turns

Array = np.ndarray[Any, Any]
Code = NativeCode | SourceCode
Initial = Callable[[int | None], Mapping[str, Array]]
"""The starting values of all states for a seed; None asks for the ones the model came with."""


class Parameters(MutableMapping[str, Array]):
    """The state variables of a model by name: parameters, optimizer slots, statistics, counters.

    ``parameters[name]`` is a live view: reading it sees every training step, writing into it changes the model.
    ``parameters[name] = array`` copies, after checking dtype and shape.  Variables cannot be added or removed.
    """

    def __init__(self, spec: Spec, memory: StateMemory, turns: list[Turns[Any]]) -> None:
        self._types = {state.name: state for state in spec.states}
        self._arrays = memory.arrays
        self._turns = turns

    def __getitem__(self, name: str) -> Array:
        found = self._arrays.get(name)
        if found is None:
            raise self._unknown(name)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        target = self[name]
        if value is target:  # what ``parameters[name] += 1`` ends with
            return
        array = as_array(value, self._types[name], f"parameter {name!r}")
        with self._turns[0].writing():
            np.copyto(target, array)

    def __delitem__(self, name: str) -> None:
        raise GraphcTypeError("E455", f"parameter {name!r} cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name}: {state}' for name, state in self._types.items())})"

    def _unknown(self, name: object) -> GraphcKeyError:
        close = nearest(str(name), self._arrays)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(map(repr, self._arrays)) or 'none'}"
        return GraphcKeyError("E448", f"no parameter {name!r}", hint=hint)


class Model:
    """A compiled model: its entry points are methods, its state is its own.

    Entry points that only read may run in several threads at once; one that updates state waits for them and runs
    alone.

    Attributes:
        parameters: the state variables by name, as live arrays.
        spec: entry points and states with dtypes and shapes.
    """

    def __init__(
        self,
        spec: Spec,
        code: Code,
        initial: Initial,
        metadata: Mapping[str, str] | None = None,
        memory: StateMemory | None = None,
        threads: Any = None,
        stated_threads: int = 1,
    ) -> None:
        """Make a model with states of its own, or over the ``memory`` of another one with the same states.

        ``threads`` is what its maker asks for; where he does not, ``stated_threads`` were asked for at compile time.
        """
        self.spec = spec
        self._threads = Threads(initial_count(threads, stated_threads))
        self._initial = initial
        self._metadata = dict(metadata or {})
        self._memory = StateMemory(spec.states) if memory is None else memory
        self._turns: list[Turns[Any]] = []
        self._calls = code.entries(spec, self._memory, self._turns, self._threads)
        self.parameters = Parameters(spec, self._memory, self._turns)
        if memory is None:
            self._assign(initial(None))
        # Entry points are attributes of the object, so that a call does not go through a method first.
        vars(self).update(self._calls)

    @property
    def threads(self) -> int:
        """How many threads a call may use; the result does not depend on it.

        It is 1 unless ``threads=`` was given when the model was compiled or made, or ``GRAPHC_THREADS`` is set: a model
        takes no more than one processor unasked.  0 or ``"auto"`` asks for one thread a processor.
        """
        return self._threads.count

    @threads.setter
    def threads(self, count: Any) -> None:
        self._threads.count = thread_count(count)

    def __getattr__(self, name: str) -> Any:
        calls = vars(self).get("_calls", {})
        close = nearest(name, calls)
        hint = f"did you mean {close}?" if close else f"entry points: {', '.join(calls)}"
        raise AttributeError(f"{type(self).__name__} has no entry point or attribute {name!r} ({hint})")

    def __repr__(self) -> str:
        return f"<{self.spec.name}: {'; '.join(entry.signature for entry in self.spec.entries)}>"

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write all states to a safetensors file, whole or not at all.

        Raises:
            GraphcOSError: the file cannot be written (E570).
        """
        weights.save(path, self.spec.states, self._snapshot(), self._metadata)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Take all states from a safetensors file; where the file is refused, nothing has changed.

        Raises:
            GraphcOSError: the file cannot be read (E570).
            GraphcValueError: it breaks the format, or its names, dtypes or shapes are not the model's (E566).
        """
        name = os.fspath(path)
        tensors, _ = weights.decode(weights.read_bytes(path), name)
        self._assign(weights.select(tensors, self.spec.states, name))

    def reset(self, seed: int | None = None) -> None:
        """Take all states back to their initial values: those the model came with, or new ones made with ``seed``."""
        self._assign(self._initial(seed))

    def _snapshot(self) -> dict[str, Array]:
        """Copies of all states, taken between two updates."""
        with self._turns[0].reading():
            return {name: array.copy() for name, array in self._memory.arrays.items()}

    def _assign(self, values: Mapping[str, Array]) -> None:
        with self._turns[0].writing():
            for name, array in self._memory.arrays.items():
                np.copyto(array, values[name])

    def __reduce__(self) -> tuple[Any, ...]:
        raise GraphcTypeError(
            "E455", f"a {type(self).__name__} in memory cannot be pickled", hint="save(folder), and load it there"
        )
