"""The verifier of kernels and programs: structure, types, and bounds of every access, by interval arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.errors import VerificationError
from graphc.ir.types import bool_, int64
from graphc.kernel import loopir
from graphc.kernel.builder import NotInPlace, check_in_place
from graphc.kernel.loopir import (
    AnyKernel,
    Apply,
    Const,
    Gather,
    Index,
    Intrinsic,
    Kernel,
    Load,
    Map,
    Reduce,
    Scan,
    Value,
)
from graphc.kernel.memory import verify_plan
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, Program, Ref, Step

Interval = tuple[int, int]
"""Smallest and largest value, both inclusive."""


def _require(condition: bool, where: str, rule: str) -> None:
    if not condition:
        raise VerificationError("E903", f"{where}: {rule}")


# -- kernels -------------------------------------------------------------------------------------------------------


def verify_kernel(kernel: AnyKernel) -> None:
    """Check one kernel.

    Raises:
        VerificationError: with the kernel's name and the rule that it breaks.
    """
    if isinstance(kernel, Intrinsic):
        return
    where = f"kernel {kernel.name!r}"
    _require(
        all(extent > 1 for extent in kernel.extents), where, f"an axis has fewer than two elements: {kernel.extents}"
    )
    for number, value in enumerate(kernel.values):
        _verify_value(kernel, number, value, f"{where}, value {number}")
    axes = loopir.value_axes(kernel)
    for number, store in enumerate(kernel.stores):
        place = f"{where}, store {number}"
        _verify_map(kernel, store.map, place)
        _require(0 <= store.value < len(kernel.values), place, f"there is no value {store.value}")
        _require(0 <= store.param < len(kernel.params), place, f"there is no parameter {store.param}")
        param = kernel.params[store.param]
        _require(param.mode != "in", place, "writes an input")
        _require(param.mode == "inout" or not store.accumulate, place, "adds to what it never reads")
        _require(param.dtype is kernel.values[store.value].dtype, place, "writes a value of another dtype")
        moving = {axis for axis, coefficient in enumerate(store.map.coefficients) if coefficient} | axes[store.value]
        if store.scatter is not None:
            _require(0 <= store.scatter.index < len(kernel.values), place, f"there is no value {store.scatter.index}")
            _require(kernel.values[store.scatter.index].dtype is int64, place, "a position is not int64")
            moving |= axes[store.scatter.index]
        _require(moving <= set(store.axes), place, f"depends on axes {sorted(moving)}, runs over {store.axes}")
        _require(list(store.axes) == sorted(set(store.axes)), place, "its axes are not in order")
    try:
        check_in_place(kernel)
    except NotInPlace:
        raise VerificationError("E903", f"{where}: reads what it overwrites at other positions") from None


def _verify_map(kernel: Kernel, map_: Map, where: str) -> None:
    _require(len(map_.coefficients) == len(kernel.extents), where, "a map has not one coefficient an axis")


def _verify_value(kernel: Kernel, number: int, value: Value, where: str) -> None:
    for operand in loopir.operands(value):
        _require(0 <= operand < number, where, f"uses value {operand}, which is not there yet")
    match value:
        case Const(dtype=dtype, bits=bits):
            _require(len(bits) == dtype.itemsize, where, "its bits do not fit its dtype")
        case Load(param=param, map=map_, dtype=dtype) | Gather(param=param, map=map_, dtype=dtype):
            _verify_map(kernel, map_, where)
            _require(0 <= param < len(kernel.params), where, f"there is no parameter {param}")
            _require(kernel.params[param].mode != "out", where, "reads an output")
            _require(kernel.params[param].dtype is dtype, where, "reads another dtype")
            if isinstance(value, Gather):
                _require(kernel.values[value.index].dtype is int64, where, "a position is not int64")
        case Index(map=map_, dtype=dtype):
            _verify_map(kernel, map_, where)
            _require(dtype is int64, where, "an index is int64")
        case Reduce(combine=combine, arg=arg, axes=axes, dtype=dtype):
            _require(
                bool(axes) and all(0 <= axis < len(kernel.extents) for axis in axes), where, f"reduces over {axes}"
            )
            if combine in ("argmax", "argmin"):
                _require(len(axes) == 1 and dtype is int64, where, "finds an int64 position along one axis")
            else:
                _require(dtype is kernel.values[arg].dtype, where, "changes the dtype")
                _require((dtype is bool_) == (combine in ("any", "all")), where, f"{combine} of {dtype}")
        case Scan(arg=arg, axis=axis, dtype=dtype):
            _require(0 <= axis < len(kernel.extents), where, f"runs along axis {axis}")
            _require(dtype is kernel.values[arg].dtype, where, "changes the dtype")
        case Apply():
            pass


def _map_range(map_: Map, extents: Sequence[int]) -> Interval:
    low = high = map_.offset
    for coefficient, extent in zip(map_.coefficients, extents, strict=True):
        reach = coefficient * (extent - 1)
        low += min(0, reach)
        high += max(0, reach)
    return low, high


def param_ranges(kernel: AnyKernel) -> list[Interval]:
    """For each parameter the elements it touches, counted from its pointer; data-dependent parts left out."""
    if isinstance(kernel, Intrinsic):
        if kernel.intrinsic == "check_index":
            return [(0, kernel.sizes[0] - 1)]
        outer, length, inner, _ = kernel.sizes
        return [(0, outer * length * inner - 1)] * 2 + [(0, 2 * length - 1)]
    found: list[Interval | None] = [None] * len(kernel.params)
    touched = [(value.param, value.map) for value in kernel.values if isinstance(value, (Load, Gather))]
    for param, map_ in [*touched, *((store.param, store.map) for store in kernel.stores)]:
        low, high = _map_range(map_, kernel.extents)
        before = found[param]
        found[param] = (low, high) if before is None else (min(low, before[0]), max(high, before[1]))
    for number, interval in enumerate(found):
        _require(interval is not None, f"kernel {kernel.name!r}", f"parameter {number} is never used")
    return [interval for interval in found if interval is not None]


# -- programs ------------------------------------------------------------------------------------------------------


def verify_program(program: Program) -> None:
    """Check all kernels, and each entry: arguments, bounds of every access in every trip, order of checks, memory plan.

    Raises:
        VerificationError: with the entry or kernel and the rule that it breaks.
    """
    for kernel in program.kernels:
        verify_kernel(kernel)
    ranges = [param_ranges(kernel) for kernel in program.kernels]
    for entry in program.entries.values():
        _verify_entry(program, entry, ranges)
        verify_plan(entry, program.kernels)


def _steps(steps: Sequence[Step]) -> Iterator[tuple[Call | Copy, tuple[int, ...]]]:
    """Each call or copy with the trips of the loops around it, 0 for those that the call says."""
    stack: list[tuple[Iterator[Step], tuple[int, ...]]] = [(iter(steps), ())]
    while stack:
        remaining, trips = stack[-1]
        step = next(remaining, None)
        if step is None:
            stack.pop()
        elif isinstance(step, Loop):
            stack.append((iter(step.body), (*trips, 0 if step.live else step.trips)))
        else:
            yield step, trips


def _verify_entry(program: Program, entry: Entry, ranges: Sequence[Sequence[Interval]]) -> None:
    state_written = False
    for number, (step, trips) in enumerate(_steps(entry.steps)):
        where = f"entry {entry.name!r}, step {number}"
        written: list[Ref] = []
        if isinstance(step, Copy):
            for ref in (step.target, step.source):
                _verify_reach(entry, ref, (0, step.size - 1), trips, where, program.size)
            dtypes = {entry.buffers[ref.buffer].dtype for ref in (step.target, step.source)}
            _require(len(dtypes) == 1, where, "copies between dtypes")
            written.append(step.target)
        else:
            kernel = program.kernels[step.kernel]
            where = f"{where} ({kernel.name})"
            _require(len(step.args) == len(kernel.params), where, "has not one argument a parameter")
            for ref, param, reach in zip(step.args, kernel.params, ranges[step.kernel], strict=True):
                buffer = entry.buffers[ref.buffer]
                _require(buffer.dtype is param.dtype, where, f"passes {buffer.dtype} {buffer.name!r} for {param.dtype}")
                _verify_reach(entry, ref, reach, trips, where, program.size)
                if param.mode != "in":
                    written.append(ref)
            if isinstance(kernel, Intrinsic) and kernel.intrinsic == "check_index":
                _require(not state_written, where, "checks an index after state has been written")
            _verify_apart(step, kernel, where)
        for ref in written:
            kind = entry.buffers[ref.buffer].kind
            _require(kind not in ("input", "constant"), where, f"writes the {kind} {entry.buffers[ref.buffer].name!r}")
            state_written |= kind == "state"


def _verify_reach(
    entry: Entry, ref: Ref, reach: Interval, trips: Sequence[int], where: str, size: tuple[str, int] | None
) -> None:
    _require(0 <= ref.buffer < len(entry.buffers), where, f"there is no buffer {ref.buffer}")
    _require(len(ref.strides) <= len(trips), where, "moves with a loop that is not there")
    buffer: Buffer = entry.buffers[ref.buffer]
    # What is reached is affine in the number of steps of the call: it is enough to look at the fewest and the most.
    for live in (1,) if size is None else (1, size[1]):
        low, high = ref.offset + ref.live * live + reach[0], ref.offset + ref.live * live + reach[1]
        for stride, count in zip(ref.strides, trips, strict=False):
            span = stride * ((count or live) - 1)
            low, high = low + min(0, span), high + max(0, span)
        _require(
            low >= 0 and high < buffer.size,
            where,
            f"reaches elements {low} … {high} of {buffer.name!r}, which has {buffer.size}",
        )


def _verify_apart(step: Call, kernel: AnyKernel, where: str) -> None:
    """No argument points exactly where another one is written."""
    for number, (ref, param) in enumerate(zip(step.args, kernel.params, strict=True)):
        if param.mode == "in":
            continue
        twins = [other for other, twin in enumerate(step.args) if twin == ref and other != number]
        _require(not twins, where, f"arguments {number} and {twins} are the same memory, which is written")
