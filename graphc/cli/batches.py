"""From arrays of all examples to the batches that an entry point takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.artifact.runtime.spec import TensorSpec
from graphc.errors import GraphcTypeError, GraphcValueError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batches:
    """Examples in arrays, in the order and layout that the inputs want.

    Attributes:
        arrays: input name → all examples, with the dtype of the input.
        axes: input name → the axis along which its examples lie; an input without one takes its array whole each time.
        examples: how many there are.
        size: how many an entry point takes at once.
    """

    arrays: Mapping[str, Array]
    axes: Mapping[str, int]
    examples: int
    size: int

    @property
    def count(self) -> int:
        """Full batches."""
        return self.examples // self.size

    @property
    def left_over(self) -> int:
        """Examples after the last full batch."""
        return self.examples % self.size

    def full(self, order: Array | None = None) -> Iterator[dict[str, Array]]:
        """The full batches, of the examples in ``order``."""
        for number in range(self.count):
            positions = np.arange(number * self.size, (number + 1) * self.size)
            yield self.take(positions if order is None else order[positions])

    def all(self) -> Iterator[tuple[dict[str, Array], int]]:
        """Every example once, in order: a batch, and how many of its examples count (the last may be filled up)."""
        for start in range(0, self.examples, self.size):
            positions = np.arange(start, start + self.size)
            yield self.take(positions % self.examples), min(self.size, self.examples - start)

    def take(self, positions: Array) -> dict[str, Array]:
        """One batch: the examples at ``positions``."""
        return {
            name: np.ascontiguousarray(np.take(array, positions, axis=self.axes[name])) if name in self.axes else array
            for name, array in self.arrays.items()
        }


def make_batches(source: str, arrays: Mapping[str, Array], inputs: Mapping[str, TensorSpec]) -> Batches:
    """Match arrays with inputs.

    The examples of an array lie along the axis where the input has its batch, or along the array's first axis.

    Args:
        source: what the arrays come from, for errors.
        arrays: by input name.
        inputs: what the entry point takes.

    Raises:
        GraphcTypeError: a dtype that cannot be cast without loss of kind (E449).
        GraphcValueError: a shape that fits no batch, or numbers of examples that differ (E449).
    """
    laid = {name: _cast(f"{source}: {name!r}", arrays[name], spec) for name, spec in inputs.items()}
    axes: dict[str, int] = {}
    # An array of the input's own shape is taken whole; those that differ in one axis tell the batch size to the others.
    unlike = [name for name, spec in inputs.items() if laid[name].shape != spec.shape]
    for name in sorted(unlike, key=lambda name: _batch_axis(laid[name], inputs[name]) is None):
        size = next((inputs[other].shape[axis] for other, axis in axes.items()), None)
        laid[name], axes[name] = _lay_out(f"{source}: {name!r}", laid[name], inputs[name], size)
    if not axes:  # exactly one batch; its size is the first extent of the simplest input
        simplest = min((spec.shape for spec in inputs.values() if spec.shape), key=len, default=(1,))
        return Batches(laid, {}, simplest[0], simplest[0])
    first, axis = next(iter(axes.items()))
    examples, size = laid[first].shape[axis], inputs[first].shape[axis]
    for name, axis in axes.items():
        if inputs[name].shape[axis] != size:
            other = inputs[name].shape[axis]
            raise GraphcValueError("E449", f"{source}: {first!r} comes in batches of {size}, {name!r} of {other}")
        if laid[name].shape[axis] != examples:
            other = laid[name].shape[axis]
            raise GraphcValueError("E449", f"{source}: {first!r} has {examples} examples, {name!r} {other}")
    if examples < size:
        raise GraphcValueError(
            "E449",
            f"{source} has {examples} examples, fewer than the model's batch of {size}",
            hint="compile it for a smaller batch",
        )
    return Batches(laid, axes, examples, size)


def _batch_axis(array: Array, spec: TensorSpec) -> int | None:
    """The one axis in which the shapes differ; None where it is not one."""
    if array.ndim != len(spec.shape):
        return None
    differing = [
        axis for axis, (ours, theirs) in enumerate(zip(array.shape, spec.shape, strict=True)) if ours != theirs
    ]
    return differing[0] if len(differing) == 1 else None


def _lay_out(what: str, array: Array, spec: TensorSpec, size: int | None) -> tuple[Array, int]:
    """The array with its examples along the input's batch axis, and that axis.

    Args:
        what: the array, for errors.
        array: all examples.
        spec: the input.
        size: of a batch, where it is known.
    """
    axis = _batch_axis(array, spec)
    if axis is not None:
        return array, axis
    for axis, extent in enumerate(spec.shape):
        if size in (None, extent) and spec.shape[:axis] + spec.shape[axis + 1 :] == array.shape[1:]:
            return np.moveaxis(array, 0, axis), axis
    raise GraphcValueError(
        "E449",
        f"{what} has shape {array.shape}, the input is {spec}",
        hint="they may differ in one axis: the number of examples",
    )


def _cast(what: str, array: Array, spec: TensorSpec) -> Array:
    """The array in the input's dtype, where that keeps its kind and, for integers, every value."""
    if array.dtype == spec.storage:
        return array
    wanted = spec.storage
    if spec.dtype == "bfloat16" or array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, wanted, "same_kind"):
        raise GraphcTypeError("E449", f"{what} is {array.dtype}, the input is {spec}", hint=f"save it as {spec.dtype}")
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(converted, array):
        raise GraphcValueError("E449", f"{what} holds numbers that {spec.dtype} cannot hold")
    return converted
