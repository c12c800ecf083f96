"""Code that times itself: what a backend gives for ``graphc profile``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from graphc.artifact.spec import NativeBuild
from graphc.kernel.cost import Machine
from graphc.kernel.program import Call, Copy, Program


@dataclass(frozen=True)
class Site:
    """A function that an entry point calls on behalf of one or several of its steps.

    Attributes:
        kind: a kernel of the program, the packing of an operand for one, or a copy.
        steps: of the entry point; calls of one kernel that come from one line of the model.
        function: its symbol in the code.
        nbytes: of a packed operand or a copy.
        shared: a team of threads runs it; what is counted is its first member's.
    """

    kind: Literal["kernel", "pack", "copy"]
    steps: tuple[Call | Copy, ...]
    function: str
    nbytes: int = 0
    shared: bool = False


@dataclass(frozen=True)
class Profiled:
    """A build of one entry point that counts the ticks of a clock in each function it calls.

    Attributes:
        build: the code.
        program: what it was made from.
        sites: what is counted.
        read: the counts since the last ``reset``: for each site (ticks, runs).
        reset: sets all counts to zero.
        now: the present tick.
        empty_ticks: what is counted for a function that does nothing.
    """

    build: NativeBuild
    program: Program
    sites: tuple[Site, ...]
    read: Callable[[], list[tuple[int, int]]]
    reset: Callable[[], None]
    now: Callable[[], int]
    empty_ticks: float


@dataclass(frozen=True)
class Profiler:
    """What a backend can measure.

    Attributes:
        build: (module with one entry point, after the passes; options; a stage's clock; whether several threads are
            to run it) → code that times itself.
        machine: measures what one core can do; takes about a second.
        identity: what the result of ``machine`` depends on.
    """

    build: Callable[..., Profiled]
    machine: Callable[[], Machine]
    identity: Callable[[], str] = field(default=lambda: "")
