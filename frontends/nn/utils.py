"""Helpers for data under their Keras names; they work on arrays, before any graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError

__all__ = ["pad_sequences", "to_categorical"]

Array = np.ndarray[Any, Any]


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """One-hot vectors (float32) of class numbers, along a new last axis; a last axis of 1 goes.

    Args:
        x: integers from 0.
        num_classes: one more than the largest number for None.

    Raises:
        GraphcValueError: a number outside [0, num_classes) (E455).
    """
    classes = np.asarray(x, dtype=np.int64)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    count = int(classes.max(initial=-1)) + 1 if num_classes is None else num_classes
    if classes.size and not 0 <= classes.min() <= classes.max() < count:
        raise GraphcValueError("E455", f"class numbers lie in [0, {count}), got {classes.min()} to {classes.max()}")
    made = np.zeros((*classes.shape, count), np.float32)
    np.put_along_axis(made, classes[..., None], 1.0, axis=-1)
    return made


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: float = 0.0,
) -> Array:
    """Sequences of different lengths as one array (sequences, maxlen, …).

    Args:
        sequences: each (length, …).
        maxlen: the longest length for None.
        dtype: of the result.
        padding: ``"pre"`` or ``"post"``: where ``value`` stands.
        truncating: ``"pre"`` or ``"post"``: which end of a longer sequence goes.
        value: what fills up.
    """
    for what, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise GraphcValueError("E455", f"{what} is 'pre' or 'post', got {given!r}")
    arrays = [np.asarray(sequence) for sequence in sequences]
    length = max((len(array) for array in arrays), default=0) if maxlen is None else maxlen
    rest = next((array.shape[1:] for array in arrays if len(array)), ())
    made = np.full((len(arrays), length, *rest), value, np.dtype(dtype))
    for row, array in zip(made, arrays, strict=True):
        kept = array[max(len(array) - length, 0) :] if truncating == "pre" else array[:length]
        if len(kept):
            row[slice(length - len(kept), None) if padding == "pre" else slice(len(kept))] = kept
    return made
