"""Arguments of a call: what is taken as it is, what is copied, and what is refused with expected and got.

An array must have the dtype and shape that the entry point declares; nothing is cast or broadcast silently.  How its
elements lie in memory is free: strides, misalignment and byte order are put right by a copy.  Python numbers and lists
of them are taken where they stand for the declared dtype exactly (floats may round, as a literal does).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import GraphcTypeError, GraphcValueError, nearest
from .spec import EntrySpec, TensorSpec

Array = np.ndarray[Any, Any]


def bind(entry: EntrySpec, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """The inputs of a call in declared order, from positions and keywords.

    Raises:
        GraphcTypeError: a wrong number of inputs, an unknown name, or a name given twice (E448).
    """
    names = [tensor.name for tensor in entry.inputs]
    if len(inputs) > len(names):
        raise GraphcTypeError(
            "E448", f"{entry.name} takes {_count(len(names), 'input')}, got {len(inputs)}", hint=entry.signature
        )
    bound = dict(zip(names, inputs, strict=False))
    for name, value in named.items():
        if name not in names:
            close = nearest(name, [*names, "out", "threads"])
            hint = f"did you mean {close}?" if close else entry.signature
            raise GraphcTypeError("E448", f"{entry.name} has no input {name!r}", hint=hint)
        if name in bound:
            raise GraphcTypeError("E448", f"{entry.name} got input {name!r} twice", hint=entry.signature)
        bound[name] = value
    missing = [name for name in names if name not in bound]
    if missing:
        counts = f"{_count(len(names), 'input')}, got {len(bound)}"
        lacking = ", ".join(map(repr, missing))
        raise GraphcTypeError("E448", f"{entry.name} takes {counts}: missing {lacking}", hint=entry.signature)
    return [bound[name] for name in names]


def as_array(value: Any, tensor: TensorSpec, owner: str) -> Array:
    """``value`` as a C-contiguous, aligned array of the machine's byte order; the value itself where it already is one.

    Args:
        value: an array, a number, a list, or anything that NumPy takes for an array.
        tensor: what is expected.
        owner: what the value is for, as in ``predict: input 'x'``; begins the message of an error.

    Raises:
        GraphcTypeError: not numbers at all (E455), or another dtype (E449).
        GraphcValueError: another shape, or numbers that the dtype cannot hold (E449).
    """
    if _is_masked(value):
        raise GraphcTypeError("E455", f"{owner} must be {tensor}, got a masked array", hint="fill it, e.g. x.filled(0)")
    array = _from_array(value, tensor, owner) if _has_dtype(value) else _from_numbers(value, tensor, owner)
    if array.shape != tensor.shape:
        raise GraphcValueError("E449", f"{owner} must be {tensor}, got {_describe(array, tensor)}")
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, dtype=tensor.storage, order="C", copy=True)


def check_out(out: Any, tensor: TensorSpec, owner: str) -> Array:
    """``out`` if results can be written there: an array of the dtype and shape, writable and C-contiguous.

    Raises:
        GraphcTypeError: not an array, or another dtype (E453).
        GraphcValueError: another shape, read-only, or not contiguous (E453).
    """
    if not isinstance(out, np.ndarray) or _is_masked(out):
        raise GraphcTypeError("E453", f"{owner} must be an array {tensor}, got {type(out).__name__}")
    if out.dtype != tensor.storage and not _is_bfloat16(out, tensor):
        raise GraphcTypeError("E453", f"{owner} must be {tensor}, got {_describe(out, tensor)}")
    if out.shape != tensor.shape:
        raise GraphcValueError("E453", f"{owner} must be {tensor}, got {_describe(out, tensor)}")
    if not out.flags.writeable:
        raise GraphcValueError("E453", f"{owner} is read-only")
    if not (out.flags.c_contiguous and out.flags.aligned):
        raise GraphcValueError("E453", f"{owner} must be C-contiguous and aligned", hint="np.empty makes such arrays")
    return out.view(np.uint16) if _is_bfloat16(out, tensor) else out.view(np.ndarray)


def select_outs(out: Any, entry: EntrySpec, states: Array) -> list[Array | None]:
    """The buffers given as ``out=``, in the order of the outputs, with None where a fresh array is wanted.

    Args:
        out: an array for an entry point with one output, or a dict from output names to arrays.
        entry: the entry point.
        states: the memory of all states, which no output may overlap.
    """
    if isinstance(out, Mapping):
        given = dict(out)
    elif len(entry.outputs) == 1:
        given = {entry.outputs[0].name: out}
    else:
        names = ", ".join(tensor.name for tensor in entry.outputs)
        raise GraphcTypeError(
            "E453",
            f"{entry.name} has {_count(len(entry.outputs), 'output')}: out must be a dict by name",
            hint=f"outputs: {names}" if names else None,
        )
    outs: list[Array | None] = []
    for tensor in entry.outputs:
        buffer = given.pop(tensor.name, None)
        outs.append(None if buffer is None else check_out(buffer, tensor, f"{entry.name}: out for {tensor.name!r}"))
    if given:
        unknown = next(iter(given))
        close = nearest(str(unknown), [tensor.name for tensor in entry.outputs])
        raise GraphcTypeError(
            "E453",
            f"{entry.name} has no output {unknown!r}",
            hint=f"did you mean {close}?" if close else entry.signature,
        )
    earlier = [states]
    for buffer, tensor in zip(outs, entry.outputs, strict=True):
        if buffer is None:
            continue
        if any(np.may_share_memory(buffer, other) for other in earlier):
            raise GraphcValueError(
                "E453", f"{entry.name}: out for {tensor.name!r} overlaps another output or a parameter"
            )
        earlier.append(buffer)
    return outs


def _has_dtype(value: Any) -> bool:
    """True for arrays of any library, and for NumPy's scalars; False for Python numbers and lists."""
    return isinstance(value, (np.ndarray, np.generic)) or (
        hasattr(value, "dtype") and (hasattr(value, "__array__") or hasattr(value, "__array_interface__"))
    )


def _is_masked(value: Any) -> bool:
    masked = sys.modules.get("numpy.ma")  # where nobody has loaded it, nobody has made one
    return masked is not None and isinstance(value, masked.MaskedArray)


def _is_bfloat16(array: Array, tensor: TensorSpec) -> bool:
    return tensor.dtype == "bfloat16" and array.dtype.name == "bfloat16"


def _from_array(value: Any, tensor: TensorSpec, owner: str) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise GraphcTypeError("E455", f"{owner} must be {tensor}, got {type(value).__name__}: {fault}") from fault
    if _is_bfloat16(array, tensor):
        contiguous = array if array.flags.c_contiguous else array.copy()
        return contiguous.view(np.uint16)
    if array.dtype.newbyteorder("=") != tensor.storage:
        code = "E455" if array.dtype.kind in "OcSUVMm" else "E449"
        hint = None if code == "E455" else f"convert it, e.g. x.astype({tensor.dtype!r})"
        raise GraphcTypeError(code, f"{owner} must be {tensor}, got {_describe(array, tensor)}", hint=hint)
    return array


def _from_numbers(value: Any, tensor: TensorSpec, owner: str) -> Array:
    """Python numbers, or nested lists of them, as an array of the declared dtype."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as fault:
        raise GraphcTypeError("E455", f"{owner} must be {tensor}, got {type(value).__name__}: {fault}") from fault
    wanted = np.dtype(np.float32) if tensor.dtype == "bfloat16" else tensor.storage
    taken = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[wanted.kind]
    # An empty list has no kind of its own; NumPy calls it float64.
    if array.size and array.dtype.kind not in taken:
        got = type(value).__name__ if array.dtype.kind == "O" else f"{type(value).__name__} of {array.dtype}"
        raise GraphcTypeError("E455", f"{owner} must be {tensor}, got {got}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(wanted)
        if array.dtype.kind == "f":
            lost = np.isfinite(array) & ~np.isfinite(converted)
        else:
            lost = converted.astype(array.dtype) != array
    if np.any(lost):
        raise GraphcValueError("E449", f"{owner} must be {tensor}: {tensor.dtype} cannot hold these numbers")
    return _bfloat16_bits(converted) if tensor.dtype == "bfloat16" else converted


def _bfloat16_bits(single: Array) -> Array:
    """float32 values as the bits of the nearest bfloat16, ties to even; a NaN stays one."""
    bits = single.view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    kept = np.where(np.isnan(single), bits | np.uint32(0x400000), rounded)
    return (kept >> np.uint32(16)).astype(np.uint16)


def _describe(array: Array, tensor: TensorSpec) -> str:
    name = "bfloat16" if tensor.dtype == "bfloat16" and array.dtype == np.uint16 else str(array.dtype)
    return f"{name}[{','.join(map(str, array.shape))}]"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
