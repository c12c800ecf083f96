"""Runs programs on teams of several sizes, with the work shared as measured or in any way at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from graphc.backends.llvm.compile import Loaded, Native, compile_program, load_in_process
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.threads import barriers, sharing
from graphc.kernel.program import Program
from tests.backends.llvm.native_kernels import aligned_bytes, pointers, unaligned

Array = np.ndarray
TEAMS = (1, 2, 3, 5)


@contextmanager
def any_way(seed: int | None) -> Iterator[None]:
    """Share everything that can be, however small; where there is a seed, each step in a way that chance decides."""
    rng = None if seed is None else np.random.default_rng(seed)

    def choose(chooser: sharing._Chooser) -> list[list[sharing.Way]]:
        chosen = []
        for steps in chooser.ways:
            picked = []
            for ways in steps:
                shared = ways[1:] or ways
                picked.append(shared[0] if rng is None else ways[int(rng.integers(len(ways)))])
            chosen.append(picked)
        chooser.chosen = chosen
        return chosen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing._Chooser, "choose", choose)
        patch.setattr(sharing, "_LEAST_ENTRY_CYCLES", -1e30)
        patch.setattr(barriers, "SHARED_COPY_BYTES", 64)
        yield


@dataclass
class Outcome:
    """What one call left: its status and error words, outputs and states."""

    status: int
    error: list[int]
    outputs: list[bytes]
    states: list[bytes]


class Teamwork:
    """A program's code, to be called on teams."""

    def __init__(self, program: Program, level: str = "host") -> None:
        self.program = program
        self.native: Native = compile_program(program, host_target(level), "test")
        self.code: Loaded = load_in_process(self.native)

    @property
    def is_shared(self) -> bool:
        """Whether an entry point is worth a team."""
        return self.native.parallel is not None

    def call(self, entry: str, inputs: Sequence[Array], threads: int, states: Sequence[Array] = ()) -> Outcome:
        """Call on a team, with memory of its own; without threads, by the entry point's own function."""
        arguments = [unaligned(np.ascontiguousarray(array)) for array in inputs]
        types = self.program.entries[entry].outputs.values()
        results = [unaligned(np.zeros(type_.static_size, type_.dtype.storage)) for type_ in types]
        memory = [array.copy() for array in states]
        arena, error = aligned_bytes(self.native.arena_bytes), np.zeros(4, np.int64)
        tables = [pointers(arrays) for arrays in (arguments, results, memory)]
        rest = (arena.ctypes.data, error.ctypes.data)
        if threads and self.code.parallel is not None:
            status = self.code.parallel(threads, list(self.native.exports).index(entry), *tables, *rest)
        else:
            status = self.code[entry](*tables, *rest)
        for given, array in zip(inputs, arguments, strict=True):
            assert array.tobytes() == np.ascontiguousarray(given).tobytes(), "an input was written"
        return Outcome(status, error.tolist(), [r.tobytes() for r in results], [s.tobytes() for s in memory])


def initial_states(program: Program) -> list[Array]:
    """A value for each state."""
    return [np.ascontiguousarray(state.initial_value(0)) for state in program.module.states.values()]


def assert_same_bits(
    program: Program, entry: str, inputs: Sequence[Array], *, seeds: Sequence[int | None] = (None,), calls: int = 1
) -> None:
    """One thread's code, and shared code on teams of every size, however it is shared, give the same bits.

    Code that no team runs is made by the same compiler of the same loops, so the comparison with it is exact as well.
    """
    states = initial_states(program)
    expected = Teamwork(program).call(entry, inputs, 0, states)
    for seed in seeds:
        with any_way(seed):
            team = Teamwork(program)
        for threads in TEAMS:
            for _ in range(calls):
                got = team.call(entry, inputs, threads, states)
                assert got == expected, f"{threads} threads, ways by seed {seed}"
