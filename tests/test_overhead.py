"""What a call costs beyond its work, in units of what NumPy takes for the address of one array."""

import pytest

from benchmarks.overhead import measure

_LIMIT = 4.0
"""Of ``array.ctypes.data``, which takes 1.0 to 1.6 µs where a call may take 3 µs; measured 2.1 to 2.4."""

_COLUMNS = ("call", "named", "out", "artifact", "function")
_ATTEMPTS = 5
"""The least of so many measurements counts: a neighbour on the machine slows a call down, and nothing speeds it up."""


@pytest.mark.parametrize("column", _COLUMNS)
def test_a_call_on_tiny_arrays_costs_little(column: str, overheads: dict[str, float]) -> None:
    assert 0 < overheads[column] <= _LIMIT * overheads["address"], overheads


@pytest.fixture(scope="module")
def overheads() -> dict[str, float]:
    found = vars(measure(1, batches=50))
    for _ in range(_ATTEMPTS - 1):
        if all(found[column] <= _LIMIT * found["address"] for column in _COLUMNS):
            break
        found = {name: min(least, found[name]) for name, least in vars(measure(1, batches=50)).items()}
    return found
