"""Program: what a backend compiles.  Buffers, kernels, and for each entry point a list of calls with loops.

Equal kernels stand once in ``Program.kernels`` however often they are called, and a rolled model keeps its loops, so
native code grows with the number of *different* kernels and never with the number of time steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from graphc.errors import Location
from graphc.ir.attrs import ArrayValue
from graphc.ir.graph import Module
from graphc.ir.types import DType, TensorType
from graphc.kernel.loopir import AnyKernel

BufferKind = Literal["input", "output", "state", "constant", "temporary"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A contiguous piece of memory.

    Attributes:
        name: for people.
        dtype: element type.
        size: number of elements.
        kind: who owns it: the caller (input, output), the model (state), the code (constant) or the arena (temporary).
        position: index among the entry's inputs or outputs, among the module's states, or among the program's
            constants.
    """

    name: str
    dtype: DType
    size: int
    kind: BufferKind
    position: int = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Ref:
    """A pointer argument of a call: a buffer and an element offset, affine in the loops around the call.

    Attributes:
        buffer: index into ``Entry.buffers``.
        offset: in elements.
        strides: elements a trip of each enclosing loop, outermost first (shorter than the nesting means zero).
        live: elements for each step that the call has.
    """

    buffer: int
    offset: int = 0
    strides: tuple[int, ...] = ()
    live: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """Run a kernel.  ``note`` says for people which nodes it computes."""

    kernel: int
    args: tuple[Ref, ...]
    note: str = field(default="", compare=False)
    location: Location | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy ``size`` elements between two places that do not overlap: carries of loops and late commits of state."""

    target: Ref
    source: Ref
    size: int


@dataclass(frozen=True, slots=True)
class Loop:
    """Run ``body`` for ``trips`` values of a new innermost loop variable, 0 first.

    Where ``live``, it runs for as many as the call has steps, and ``trips`` is the most of them.
    """

    trips: int
    body: tuple[Step, ...]
    live: bool = False


Step = Call | Copy | Loop


@dataclass(frozen=True)
class MemoryPlan:
    """Where each temporary lies in the arena.

    Attributes:
        offsets: buffer index → byte offset, 64-byte aligned.
        arena_bytes: size of the arena.
        lifetimes: buffer index → (first, last) position in the flattened order of steps, both inclusive.
    """

    offsets: Mapping[int, int]
    arena_bytes: int
    lifetimes: Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class Entry:
    """One entry point, ready for code generation.

    Attributes:
        inputs: name → type, in call order.
        outputs: name → type, in order.
        buffers: all buffers of this entry.
        steps: what runs, in order.
        memory: the arena's layout.
        updated: names of the state variables it writes.
    """

    name: str
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    memory: MemoryPlan
    updated: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A module lowered for a target.

    Attributes:
        module: the scheduled module (its states give order, types and initial values).
        kernels: the different kernels.
        constants: constant buffers, shared by all entries.
        entries: by name.
        size: name and largest value of the dimension whose size each call says: the number of its steps.
    """

    module: Module
    kernels: tuple[AnyKernel, ...]
    constants: tuple[ArrayValue, ...]
    entries: Mapping[str, Entry]
    size: tuple[str, int] | None = None

    @property
    def arena_bytes(self) -> int:
        """Size of the one arena that any entry can run in."""
        return max((entry.memory.arena_bytes for entry in self.entries.values()), default=0)
