"""Type promotion: NumPy's for the dtypes that both have, and a semilattice for all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphc.errors import GraphcTypeError
from graphc.ir.types import ALL_DTYPES, DType, bfloat16, float16, float32, int8, int32, promote, uint8


def promoted(left: DType, right: DType) -> DType | None:
    """The common dtype, or None where kinds do not mix."""
    try:
        return promote(left, right)
    except GraphcTypeError:
        return None


@pytest.mark.parametrize(("left", "right"), list(itertools.product(ALL_DTYPES, ALL_DTYPES)), ids=str)
def test_agrees_with_numpy(left: DType, right: DType) -> None:
    found = promoted(left, right)
    mixed = left.kind != right.kind and not (left.is_integer and right.is_integer)
    if mixed:
        assert found is None, "the Array API leaves mixed kinds undefined, and so does graphc"
    elif {left, right} == {float16, bfloat16}:
        assert found is float32
    elif bfloat16 in (left, right):
        assert found is (right if left is bfloat16 else left)
    elif {left, right} == {int8, uint8}:
        # NumPy's int16 holds both; the smallest that graphc has is int32.
        assert np.promote_types("int8", "uint8") == np.int16 and found is int32
    else:
        assert found is not None and found.storage == np.promote_types(left.storage, right.storage)


def test_order_and_grouping_do_not_matter() -> None:
    for left, right in itertools.product(ALL_DTYPES, repeat=2):
        assert promoted(left, right) is promoted(right, left)
        assert promoted(left, left) is left
    for a, b, c in itertools.product(ALL_DTYPES, repeat=3):
        if None in (promoted(a, b), promoted(b, c), promoted(a, c)):
            continue
        assert promoted(promote(a, b), c) is promoted(a, promote(b, c))
