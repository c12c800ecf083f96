"""What a call costs beyond its work, in units of what NumPy takes for the address of one array."""

import numpy as np
import pytest

from benchmarks.overhead import least, measure

_LIMIT = 4.0
"""Of ``array.ctypes.data``, which takes 1.0 to 1.6 µs where a call may take 3 µs; measured 2.1 to 2.4."""


@pytest.mark.parametrize("column", ["call", "named", "out", "artifact", "function"])
def test_a_call_on_tiny_arrays_costs_little(column: str, overheads: dict[str, float]) -> None:
    assert 0 < overheads[column] <= _LIMIT * overheads["address"], overheads


@pytest.fixture(scope="module")
def overheads() -> dict[str, float]:
    array = np.ones(4, np.float32)
    return {"address": least(lambda: array.ctypes.data, 50), **vars(measure(1, batches=50))}
