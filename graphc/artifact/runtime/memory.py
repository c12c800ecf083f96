"""Memory that native code works in: aligned blocks, and the states of a model in one of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import GraphcMemoryError
from .spec import TensorSpec

Array = np.ndarray[Any, Any]

_ALIGNMENT = 64


def aligned_bytes(size: int, what: str) -> Array:
    """Zeroed bytes that start at a multiple of 64."""
    try:
        raw = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    except MemoryError as fault:
        raise GraphcMemoryError("E460", f"there is no memory for {what}: {size} bytes") from fault
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size]


class StateMemory:
    """The state variables of one model, in one block, so that one comparison tells whether an address lies in them.

    Attributes:
        block: all of them as bytes.
        arrays: name → live view, in the code's order.
        low, high: the addresses of the block.
        table: pointer to the array of pointers to them.
    """

    def __init__(self, states: Sequence[TensorSpec]) -> None:
        offsets, size = [], 0
        for state in states:
            offsets.append(size)
            size += -(-state.nbytes // _ALIGNMENT) * _ALIGNMENT
        self.block = aligned_bytes(size, "the parameters")
        self.arrays: dict[str, Array] = {
            state.name: self.block[offset : offset + state.nbytes].view(state.storage).reshape(state.shape)
            for state, offset in zip(states, offsets, strict=True)
        }
        self.low = self.block.ctypes.data
        self.high = self.low + size
        self._pointers = (ctypes.c_void_p * (len(offsets) + 1))(*(self.low + offset for offset in offsets))
        self.table = ctypes.c_void_p(ctypes.addressof(self._pointers))
