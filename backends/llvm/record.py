"""Compiled code as bytes, for the compile cache: a header in JSON, the object file, the LLVM IR compressed."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict, fields

from graphc.backends.llvm.compile import Native
from graphc.kernel.target import Target

_LENGTHS = struct.Struct("<QQ")
_BULKY = ("ir", "object_bytes", "target")


def encode(native: Native) -> bytes:
    """All that a :class:`Native` holds."""
    rest = {field.name: getattr(native, field.name) for field in fields(native) if field.name not in _BULKY}
    head = json.dumps({**rest, "target": asdict(native.target)}).encode()
    lengths = _LENGTHS.pack(len(head), len(native.object_bytes))
    # The text is long and repeats itself; the fastest level makes a tenth of it.
    return lengths + head + native.object_bytes + zlib.compress(native.ir.encode(), 1)


def decode(data: bytes) -> Native:
    """What :func:`encode` was given.

    Raises:
        ValueError: the bytes are of no such thing.
    """
    try:
        head_length, object_length = _LENGTHS.unpack_from(data)
        start = _LENGTHS.size + head_length
        head = json.loads(data[_LENGTHS.size : start])
        target = Target(**head.pop("target"))
        text = zlib.decompress(data[start + object_length :]).decode()
        return Native(ir=text, object_bytes=data[start : start + object_length], target=target, **head)
    except (struct.error, zlib.error, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"it holds no code: {fault}") from fault
