"""Readable text of kernels, as loops, and of programs; the same text for the same program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphc.ir.types import DType, to_carrier
from graphc.kernel.loopir import (
    AnyKernel,
    Apply,
    Const,
    Gather,
    Index,
    Intrinsic,
    Load,
    Map,
    Reduce,
    Scan,
    Store,
    Value,
    value_axes,
)
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, Program, Ref, Step

_AXES = "ijklmnopqrstuvwxyz"


def _axis(number: int) -> str:
    return _AXES[number] if number < len(_AXES) else f"a{number}"


def _sum(terms: Sequence[tuple[int, str]], offset: int) -> str:
    """``offset + Σ coefficient·name`` as people write it."""
    text = ""
    for coefficient, name in terms:
        if coefficient:
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
            sign = ("-" if coefficient < 0 else "") if not text else (" - " if coefficient < 0 else " + ")
            text += f"{sign}{factor}{name}"
    if not text:
        return str(offset)
    return text if not offset else f"{text} {'-' if offset < 0 else '+'} {abs(offset)}"


def _position(map_: Map, index: tuple[int, int] | None = None) -> str:
    terms = [(coefficient, _axis(axis)) for axis, coefficient in enumerate(map_.coefficients)]
    if index is not None:
        terms.append((index[1], f"v{index[0]}"))
    return _sum(terms, map_.offset)


def _number(dtype: DType, bits: bytes) -> str:
    return str(to_carrier(np.frombuffer(bits, dtype.storage), dtype)[0])


def _expression(value: Value) -> str:
    match value:
        case Const(dtype=dtype, bits=bits):
            return f"{dtype}({_number(dtype, bits)})"
        case Load(param=param, map=map_):
            return f"p{param}[{_position(map_)}]"
        case Gather(param=param, map=map_, index=index, stride=stride):
            return f"p{param}[{_position(map_, (index, stride))}]"
        case Index(map=map_):
            return _position(map_)
        case Apply(op=op, args=args, dtype=dtype, attrs=attrs):
            name = f"{op}.{dtype}" if op == "cast" else op
            extra = [f"{key}={attrs[key]}" for key in attrs]
            return f"{name}({', '.join([f'v{arg}' for arg in args] + extra)})"
        case Reduce(combine=combine, arg=arg, axes=axes):
            return f"{combine} over {' '.join(map(_axis, axes))} of v{arg}"
        case Scan(arg=arg, axis=axis, reverse=reverse):
            return f"running sum along {_axis(axis)}{' from the end' if reverse else ''} of v{arg}"


def _store(store: Store) -> str:
    scatter = None if store.scatter is None else (store.scatter.index, store.scatter.stride)
    sign = "+=" if store.accumulate else "="
    loops = f"for {' '.join(map(_axis, store.axes))}: " if store.axes else ""
    return f"{loops}p{store.param}[{_position(store.map, scatter)}] {sign} v{store.value}"


def print_kernel(kernel: AnyKernel) -> str:
    """One kernel: parameters, axes, values with the axes they live on, stores."""
    params = ", ".join(f"{param.mode} p{number}: {param.dtype}" for number, param in enumerate(kernel.params))
    if isinstance(kernel, Intrinsic):
        return f"{kernel.name}({params}) {kernel.intrinsic}{list(kernel.sizes)}\n"
    domain = ", ".join(f"{_axis(axis)} < {extent}" for axis, extent in enumerate(kernel.extents))
    lines = [f"{kernel.name}({params}) over {domain or 'one point'}"]
    for number, (value, axes) in enumerate(zip(kernel.values, value_axes(kernel), strict=True)):
        on = "".join(f" {_axis(axis)}" for axis in sorted(axes))
        lines.append(f"    v{number}: {value.dtype}{on} = {_expression(value)}")
    lines.extend(f"    {_store(store)}" for store in kernel.stores)
    return "\n".join(lines) + "\n"


def _pointer(ref: Ref, buffers: Sequence[Buffer]) -> str:
    moves = [(stride, f"t{depth}") for depth, stride in enumerate(ref.strides)]
    place = _sum([*moves, (ref.live, "steps")], ref.offset)
    name = buffers[ref.buffer].name
    return name if place == "0" else f"{name}[{place}]"


def _step_lines(steps: Sequence[Step], entry: Entry, kernels: Sequence[AnyKernel]) -> Iterator[str]:
    stack: list[Iterator[Step]] = [iter(steps)]
    while stack:
        step = next(stack[-1], None)
        indent = "    " * len(stack)
        if step is None:
            stack.pop()
        elif isinstance(step, Loop):
            yield f"{indent}for t{len(stack) - 1} < {'steps' if step.live else step.trips}:"
            stack.append(iter(step.body))
        elif isinstance(step, Copy):
            target, source = _pointer(step.target, entry.buffers), _pointer(step.source, entry.buffers)
            yield f"{indent}copy {step.size}: {target} = {source}"
        else:
            yield f"{indent}{_call(step, entry, kernels)}"


def _call(step: Call, entry: Entry, kernels: Sequence[AnyKernel]) -> str:
    kernel = kernels[step.kernel]
    args = ", ".join(_pointer(ref, entry.buffers) for ref in step.args)
    note = f"    # {step.note}" if step.note else ""
    return f"{kernel.name}({args}){note}"


def print_entry(entry: Entry, kernels: Sequence[AnyKernel]) -> str:
    """One entry point: its buffers, temporaries with their place in the arena, and its steps."""
    inputs = ", ".join(f"{name}: {type_!r}" for name, type_ in entry.inputs.items())
    outputs = ", ".join(f"{name}: {type_!r}" for name, type_ in entry.outputs.items())
    lines = [f"entry {entry.name}({inputs}) -> ({outputs})"]
    for number, buffer in enumerate(entry.buffers):
        place = ""
        if buffer.kind == "temporary":
            if number not in entry.memory.offsets:
                continue
            first, last = entry.memory.lifetimes[number]
            place = f" at {entry.memory.offsets[number]}, steps {first} to {last}"
        lines.append(f"    {buffer.kind} {buffer.name}: {buffer.dtype} × {buffer.size}{place}")
    lines.extend(_step_lines(entry.steps, entry, kernels))
    return "\n".join(lines) + "\n"


def print_program(program: Program) -> str:
    """Kernels, then entries."""
    parts = [print_kernel(kernel) for kernel in program.kernels]
    parts += [print_entry(entry, program.kernels) for entry in program.entries.values()]
    return "\n".join(parts) + f"\narena {program.arena_bytes} bytes\n"
