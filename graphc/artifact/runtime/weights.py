"""Reads and writes safetensors files with numpy alone.

A file is a length (8 bytes, little-endian), a JSON header of that length, and the tensors' bytes.  The reader is
strict: every offset lies in the file, and the tensors cover the data without gap or overlap, so no byte of a hostile
    file is read as anything but what it says.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np

from .errors import GraphcOSError, GraphcValueError
from .spec import TensorSpec

Array = np.ndarray[Any, Any]

_CODES = {
    "bool": "BOOL",
    "int8": "I8",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
_DTYPES = {code: name for name, code in _CODES.items()}
_HEADER_LIMIT = 100_000_000
_ALIGNMENT = 64


def layout(tensors: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The order of the tensors in a file: widest elements first, then by name, so that each lies aligned."""
    return tuple(sorted(tensors, key=lambda tensor: (-tensor.storage.itemsize, tensor.name)))


def encode_header(tensors: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """The file up to the first tensor, a multiple of 64 bytes; the same for the same tensors and metadata."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for tensor in layout(tensors):
        end = offset + tensor.nbytes
        header[tensor.name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write(
    file: IO[bytes], tensors: Iterable[TensorSpec], values: Mapping[str, Array], metadata: Mapping[str, str]
) -> None:
    """Write a whole file; ``values`` has a C-contiguous array for each tensor."""
    tensors = tuple(tensors)
    file.write(encode_header(tensors, metadata))
    for tensor in layout(tensors):
        array = values[tensor.name]
        if array.size:
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            file.write(little.reshape(-1).view(np.uint8).data)


def save(
    path: str | os.PathLike[str],
    tensors: Iterable[TensorSpec],
    values: Mapping[str, Array],
    metadata: Mapping[str, str],
) -> None:
    """Write ``path`` whole or not at all: a temporary file beside it takes its name at the end.

    Raises:
        GraphcOSError: the file cannot be written (E570).
    """
    path = os.fspath(path)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        try:
            with open(temporary, "xb") as file:
                write(file, tensors, values, metadata)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        raise GraphcOSError("E570", f"cannot write the weights {path!r}: {fault}") from fault


def read_bytes(path: str | os.PathLike[str], code: str = "E570") -> bytes:
    """The content of a regular file.

    Raises:
        GraphcOSError: there is none, or it cannot be read; ``code`` says which file it was.
    """
    path = os.fspath(path)
    try:
        # Opening a FIFO would wait for its other end.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise GraphcOSError(code, f"cannot read {path!r}: not a regular file")
            return file.read()
    except GraphcOSError:
        raise
    except (OSError, ValueError) as fault:
        raise GraphcOSError(code, f"cannot read {path!r}: {fault}") from fault


def decode(data: bytes, path: str) -> tuple[dict[str, tuple[TensorSpec, memoryview]], dict[str, str]]:
    """The tensors of a file, name → (type, bytes), and its metadata.

    Args:
        data: the whole file.
        path: its name, for errors.

    Raises:
        GraphcValueError: the file breaks a rule of the format (E566).
    """
    if len(data) < 8:
        raise _refused(path, f"it has {len(data)} bytes")
    length = int.from_bytes(data[:8], "little")
    if length > min(_HEADER_LIMIT, len(data) - 8):
        raise _refused(path, f"its header should have {length} bytes, the file has {len(data)}")
    header = _parse_header(data[8 : 8 + length], path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _refused(path, "its metadata is not text")
    body = memoryview(data)[8 + length :]
    found = [_check_tensor(name, fields, path) for name, fields in header.items()]
    found.sort(key=lambda item: item[1:])
    position = 0
    for tensor, begin, end in found:
        if begin != position:
            raise _refused(path, f"tensor {tensor.name!r} begins at {begin}, where {position} is free: overlap or gap")
        position = end
    if position != len(body):
        raise _refused(path, f"its tensors need {position} bytes, it has {len(body)}")
    return {tensor.name: (tensor, body[begin:end]) for tensor, begin, end in found}, metadata


def select(
    tensors: Mapping[str, tuple[TensorSpec, memoryview]], expected: Iterable[TensorSpec], path: str
) -> dict[str, Array]:
    """The arrays of a file for exactly the expected states; views of its bytes where the machine is little-endian.

    Raises:
        GraphcValueError: a state is missing, unknown, or of another dtype or shape (E566).
    """
    expected = tuple(expected)
    names = {state.name for state in expected}
    missing = [state.name for state in expected if state.name not in tensors]
    unknown = sorted(tensors.keys() - names)
    if missing or unknown:
        parts = [f"lacks {', '.join(map(repr, missing))}"] if missing else []
        parts += [f"has {', '.join(map(repr, unknown))}, which the model does not"] if unknown else []
        raise _refused(path, f"it {' and '.join(parts)}")
    arrays = {}
    for state in expected:
        tensor, raw = tensors[state.name]
        if tensor != state:
            raise _refused(path, f"{state.name!r} must be {state}, got {tensor}")
        arrays[state.name] = np.frombuffer(raw, dtype=state.storage.newbyteorder("<")).reshape(state.shape)
    return arrays


def _parse_header(text: bytes, path: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def refuse_constant(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    try:
        header = json.loads(
            text.decode("utf-8", "surrogatepass"), object_pairs_hook=unique, parse_constant=refuse_constant
        )
    except (ValueError, RecursionError) as fault:
        raise _refused(path, f"its header is no JSON: {fault}") from fault
    if not isinstance(header, dict):
        raise _refused(path, "its header is not an object")
    return header


def _check_tensor(name: str, fields: Any, path: str) -> tuple[TensorSpec, int, int]:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refused(path, f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise _refused(path, f"tensor {name!r} has dtype {str(dtype)[:40]}")
    if not _is_size_list(shape) or len(shape) > 64:
        raise _refused(path, f"tensor {name!r} has shape {str(shape)[:80]}")
    if not _is_size_list(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _refused(path, f"tensor {name!r} has offsets {str(offsets)[:80]}")
    tensor = TensorSpec(name, _DTYPES[dtype], tuple(shape))
    if tensor.nbytes != offsets[1] - offsets[0]:
        raise _refused(path, f"tensor {name!r} is {str(tensor)[:80]} in {offsets[1] - offsets[0]} bytes")
    return tensor, offsets[0], offsets[1]


def _is_size_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _refused(path: str, why: str) -> GraphcValueError:
    return GraphcValueError("E566", f"cannot use the weights {path!r}: {why}")
