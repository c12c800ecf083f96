"""From calls of kernels to calls of functions: who packs operands, when, and where the panels lie.

A packed operand that does not change is packed once, not at each call: before the outermost loop that never writes
it, which for the weights of a recurrent network is before the loop over time; or at its first use, where the same
operand is used again further on. Panels that are kept have memory of their own behind the arena; all others share the
scratch memory of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.backends.llvm.calls import ARENA, Bases, Pointer, bases_of, pointer, walk, written_buffers
from graphc.kernel.program import Call, Copy, Entry, Loop, Program, Ref, Step
from graphc.kernel.tiling import aligned

_KEPT_LIMIT = 1 << 28
"""Most bytes of panels that are kept although no loop asks for them."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A function that packs one operand.

    Attributes:
        function: its symbol; it takes the operand's parameters and the panels' address.
        params: parameters of the kernel that it reads.
        nbytes: size of the panels.
        shared: a team of threads runs it: its last argument is the member's slot.
    """

    function: str
    params: tuple[int, ...]
    nbytes: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class KernelCode:
    """How to call a kernel: its parameters, then scratch memory if it needs any, then the panels of each pack.

    Where it is ``shared``, a team of threads runs it, and the member's slot comes last.
    """

    function: str
    scratch_bytes: int
    packs: tuple[Pack, ...]
    fails: bool
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Invoke:
    """Call a function.

    Attributes:
        function: its symbol.
        pointers: its arguments.
        check: the number of a call that can fail.
        step: what it is for.
        written: which of the pointers it writes through.
        shared: a team of threads runs it.
    """

    function: str
    pointers: tuple[Pointer, ...]
    check: int | None = None
    step: Call | None = field(default=None, compare=False)
    written: frozenset[int] = frozenset()
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """Copy bytes; ``step`` is what for."""

    target: Pointer
    source: Pointer
    nbytes: int
    step: Copy | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A loop; where ``live``, of as many trips as the call has steps."""

    trips: int
    body: tuple[Action, ...]
    live: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """All threads of the team wait for each other."""


Action = Invoke | Move | Repeat | Wait


@dataclass(frozen=True)
class EntryPlan:
    """What an entry point does, and the memory it needs."""

    actions: tuple[Action, ...]
    arena_bytes: int


_Key = tuple[str, tuple[Ref, ...]]


def invariant_params(program: Program) -> list[frozenset[int]]:
    """For each kernel the parameters that some loop of several trips passes unchanged."""
    found: list[set[int]] = [set() for _ in program.kernels]
    for entry in program.entries.values():
        pending: list[tuple[Sequence[Step], int]] = [(entry.steps, 0)]
        while pending:
            steps, depth = pending.pop()
            for loop in steps:
                if not isinstance(loop, Loop):
                    continue
                pending.append((loop.body, depth + 1))
                if loop.trips < 3:
                    continue
                written = written_buffers(program, loop.body)
                for call in walk(loop.body):
                    if isinstance(call, Call):
                        found[call.kernel] |= {
                            param
                            for param, ref in enumerate(call.args)
                            if ref.buffer not in written and not any(ref.strides[depth:])
                        }
    return [frozenset(params) for params in found]


def plan_entry(program: Program, entry: Entry, codes: Sequence[KernelCode]) -> EntryPlan:
    """Turn the steps of an entry into calls of functions."""
    planner = _EntryPlanner(program, entry, codes)
    actions = planner.region(entry.steps, 0, {})
    return EntryPlan(tuple(actions), planner.high)


class _EntryPlanner:
    """Walks the steps of one entry; loops nest only a few levels, so it may call itself."""

    def __init__(self, program: Program, entry: Entry, codes: Sequence[KernelCode]) -> None:
        self.program = program
        self.entry = entry
        self.codes = codes
        self.bases: Bases = bases_of(program, entry)
        self.scratch = aligned(program.arena_bytes)
        used = {step.kernel for step in walk(entry.steps) if isinstance(step, Call)}
        need = max((_temporary_bytes(codes[number]) for number in used), default=0)
        self.top = self.scratch + need
        self.high = self.top if need else program.arena_bytes
        self.checks = 0
        self.uses = Counter(key for step in walk(entry.steps) if isinstance(step, Call) for _, key in self._packs(step))
        self.kept = 0

    def region(self, steps: Sequence[Step], depth: int, packed: dict[_Key, Pointer]) -> list[Action]:
        """The actions of a list of steps; ``packed`` are panels that are ready, and it grows."""
        actions: list[Action] = []
        mark = self.top
        for step in steps:
            if isinstance(step, Call):
                actions += self._call(step, packed)
                written = written_buffers(self.program, [step])
            elif isinstance(step, Copy):
                nbytes = step.size * self.entry.buffers[step.source.buffer].dtype.itemsize
                if nbytes:
                    actions.append(Move(self._pointer(step.target), self._pointer(step.source), nbytes, step))
                written = frozenset({step.target.buffer})
            else:
                if step.trips < 1:
                    continue
                actions += self._before(step, depth, packed)
                written = written_buffers(self.program, step.body)
                inside = {key: place for key, place in packed.items() if not _reads(key, written)}
                actions.append(Repeat(step.trips, tuple(self.region(step.body, depth + 1, inside)), step.live))
            for key in [key for key in packed if _reads(key, written)]:
                del packed[key]
        self.top = mark
        return actions

    def _before(self, loop: Loop, depth: int, packed: dict[_Key, Pointer]) -> list[Action]:
        """Pack what the loop never changes."""
        actions: list[Action] = []
        written = written_buffers(self.program, loop.body)
        for call in walk(loop.body):
            if not isinstance(call, Call) or loop.trips < 2:
                continue
            for pack, key in self._packs(call):
                if key in packed or _reads(key, written) or any(any(ref.strides[depth:]) for ref in key[1]):
                    continue
                packed[key] = self._reserve(pack.nbytes)
                actions.append(self._run_pack(pack, key, packed[key], call))
        return actions

    def _packs(self, call: Call) -> list[tuple[Pack, _Key]]:
        """The packs that calls of this kernel ask of their surroundings, and what identifies their panels."""
        packs = self.codes[call.kernel].packs
        return [(pack, (pack.function, tuple(call.args[p] for p in pack.params))) for pack in packs]

    def _call(self, call: Call, packed: dict[_Key, Pointer]) -> list[Action]:
        code = self.codes[call.kernel]
        actions: list[Action] = []
        pointers = [self._pointer(ref) for ref in call.args]
        params = self.program.kernels[call.kernel].params
        written = {number for number, param in enumerate(params) if param.mode != "in"}
        if code.scratch_bytes:
            written.add(len(pointers))
            pointers.append(_place(self.scratch, code.scratch_bytes))
        panels = self.scratch + aligned(code.scratch_bytes)
        for pack, key in self._packs(call):
            place = packed.get(key)
            if place is None:
                if self.uses[key] > 1 and self.kept + pack.nbytes <= _KEPT_LIMIT:
                    self.kept += pack.nbytes
                    place = packed[key] = self._reserve(pack.nbytes)
                else:
                    place = _place(panels, pack.nbytes)
                    panels += pack.nbytes
                actions.append(self._run_pack(pack, key, place, call))
            pointers.append(place)
        check = None
        if code.fails:
            check = self.checks
            self.checks += 1
        actions.append(Invoke(code.function, tuple(pointers), check, call, frozenset(written), code.shared))
        return actions

    def _run_pack(self, pack: Pack, key: _Key, place: Pointer, call: Call) -> Invoke:
        pointers = (*(self._pointer(ref) for ref in key[1]), place)
        written = frozenset({len(pointers) - 1})
        return Invoke(pack.function, pointers, step=call, written=written, shared=pack.shared)

    def _reserve(self, nbytes: int) -> Pointer:
        """Memory behind the arena that stays until the surrounding region ends."""
        place = _place(self.top, nbytes)
        self.top += nbytes
        self.high = max(self.high, self.top)
        return place

    def _pointer(self, ref: Ref) -> Pointer:
        return pointer(self.entry, self.bases, ref)


def _place(start: int, nbytes: int) -> Pointer:
    """Memory behind the arena."""
    return Pointer(ARENA, start, reach=(start, start + nbytes))


def _reads(key: _Key, buffers: frozenset[int]) -> bool:
    return any(ref.buffer in buffers for ref in key[1])


def _temporary_bytes(code: KernelCode) -> int:
    """Scratch memory and panels of one call, if none of them are kept."""
    return aligned(code.scratch_bytes) + sum(pack.nbytes for pack in code.packs)
