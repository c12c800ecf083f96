"""Where the pointers of a program's calls point: bases, byte offsets, and which parameters never overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from graphc.kernel.loopir import AnyKernel, Gather, Kernel, Load, Map
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, Program, Ref, Step

ARENA = 0
"""Number of the arena among the bases; inputs, outputs, states and constants follow in this order."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A place that a call is given.

    Attributes:
        base: number of the base.
        offset: in bytes.
        strides: bytes it moves a trip of each enclosing loop, outermost first.
        live: bytes for each step that the call has.
        reach: first byte of the base that the call may touch through it, and the one behind the last.
    """

    base: int
    offset: int
    strides: tuple[int, ...] = ()
    live: int = 0
    reach: tuple[int, int] = field(default=(0, 1 << 62), compare=False)


@dataclass(frozen=True, slots=True)
class Bases:
    """How the bases of an entry are numbered."""

    inputs: int
    outputs: int
    states: int
    constants: int

    @property
    def count(self) -> int:
        """All of them, the arena included."""
        return 1 + self.inputs + self.outputs + self.states + self.constants

    def number(self, buffer: Buffer) -> int:
        """The base of a buffer that its owner passes; a temporary's is the arena."""
        before = {
            "temporary": ARENA,
            "input": 1,
            "output": 1 + self.inputs,
            "state": 1 + self.inputs + self.outputs,
            "constant": 1 + self.inputs + self.outputs + self.states,
        }[buffer.kind]
        return ARENA if buffer.kind == "temporary" else before + buffer.position


def bases_of(program: Program, entry: Entry) -> Bases:
    """The numbering for one entry."""
    return Bases(len(entry.inputs), len(entry.outputs), len(program.module.states), len(program.constants))


def pointer(entry: Entry, bases: Bases, ref: Ref) -> Pointer:
    """What a reference points to."""
    buffer = entry.buffers[ref.buffer]
    size = buffer.dtype.itemsize
    start = entry.memory.offsets[ref.buffer] if buffer.kind == "temporary" else 0
    strides = tuple(stride * size for stride in ref.strides)
    reach = (start, start + buffer.nbytes)
    return Pointer(bases.number(buffer), start + ref.offset * size, strides, ref.live * size, reach)


def walk(steps: Sequence[Step]) -> Iterator[Call | Copy]:
    """All calls and copies, those in loops included, in order."""
    pending = list(reversed(steps))
    while pending:
        step = pending.pop()
        if isinstance(step, Loop):
            pending.extend(reversed(step.body))
        else:
            yield step


def written_buffers(program: Program, steps: Sequence[Step]) -> frozenset[int]:
    """The buffers that ``steps`` write."""
    written: set[int] = set()
    for step in walk(steps):
        if isinstance(step, Copy):
            written.add(step.target.buffer)
            continue
        for param, ref in zip(program.kernels[step.kernel].params, step.args, strict=True):
            if param.mode != "in":
                written.add(ref.buffer)
    return frozenset(written)


def separate_params(program: Program) -> list[frozenset[int]]:
    """For each kernel the parameters that, at every call, overlap no other one where either is written."""
    overlapping: list[set[int]] = [set() for _ in program.kernels]
    ranges = [_access_ranges(kernel) for kernel in program.kernels]
    for entry in program.entries.values():
        for step in walk(entry.steps):
            if not isinstance(step, Call):
                continue
            params = program.kernels[step.kernel].params
            reach = ranges[step.kernel]
            for first in range(len(params)):
                for second in range(first + 1, len(params)):
                    if params[first].mode == params[second].mode == "in":
                        continue
                    if _overlap(entry, step.args[first], reach[first], step.args[second], reach[second]):
                        overlapping[step.kernel] |= {first, second}
    return [frozenset(range(len(k.params))) - found for k, found in zip(program.kernels, overlapping, strict=True)]


Range = tuple[int, int] | None
"""Lowest and highest element of a parameter that a kernel touches; None where data decides."""


def _access_ranges(kernel: AnyKernel) -> list[Range]:
    if not isinstance(kernel, Kernel):
        return [None] * len(kernel.params)
    reach: list[Range] = [(0, 0)] * len(kernel.params)

    def touch(param: int, map_: Map) -> None:
        low = high = map_.offset
        for coefficient, extent in zip(map_.coefficients, kernel.extents, strict=True):
            span = coefficient * (extent - 1)
            low, high = low + min(span, 0), high + max(span, 0)
        known = reach[param]
        if known is not None:
            reach[param] = (min(known[0], low), max(known[1], high))

    for value in kernel.values:
        if isinstance(value, Load):
            touch(value.param, value.map)
        elif isinstance(value, Gather):
            reach[value.param] = None
    for store in kernel.stores:
        if store.scatter is None:
            touch(store.param, store.map)
        else:
            reach[store.param] = None
    return reach


def _overlap(entry: Entry, first: Ref, first_range: Range, second: Ref, second_range: Range) -> bool:
    one, two = entry.buffers[first.buffer], entry.buffers[second.buffer]
    if first.buffer == second.buffer:
        if first_range is None or second_range is None:
            return True
        if (_trimmed(first.strides), first.live) != (_trimmed(second.strides), second.live):
            return True
        a = (first.offset + first_range[0], first.offset + first_range[1])
        b = (second.offset + second_range[0], second.offset + second_range[1])
        return a[0] <= b[1] and b[0] <= a[1]
    if one.kind != two.kind:
        return False
    if one.kind == "temporary":
        offsets = entry.memory.offsets
        start, other = offsets[first.buffer], offsets[second.buffer]
        return start < other + two.nbytes and other < start + one.nbytes
    return one.position == two.position


def _trimmed(strides: tuple[int, ...]) -> tuple[int, ...]:
    kept = len(strides)
    while kept and not strides[kept - 1]:
        kept -= 1
    return strides[:kept]
