"""Where batches come from: arrays (which may be larger than memory), or anything that yields batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together.

    Attributes:
        inputs: an array for each input.
        targets: an array for each output; none where there is nothing to compare with.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...] = ()

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.inputs[0])


class Source(Protocol):
    """Batches, epoch after epoch."""

    def steps(self, batch_size: int) -> int | None:
        """Batches an epoch, None where that is not known before."""

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """The batches of one epoch, of the samples in ``order`` where they are known by number."""

    def first(self, batch_size: int) -> Batch:
        """The batch that comes next, for its shapes; it is not used up."""


class ArraySource:
    """Samples ``start`` … ``stop`` of arrays: only the rows of a batch are ever read or copied.

    Attributes:
        samples: how many there are.
    """

    def __init__(
        self, inputs: Sequence[Array], targets: Sequence[Array] = (), start: int = 0, stop: int | None = None
    ) -> None:
        self._inputs, self._targets = tuple(inputs), tuple(targets)
        self._start, self._stop = start, len(inputs[0]) if stop is None else stop
        self.samples = self._stop - start

    def steps(self, batch_size: int) -> int:
        """Batches an epoch, the last of which may be smaller."""
        return -(-self.samples // batch_size)

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """The batches of one epoch; without ``order`` as they lie."""
        for begin in range(0, self.samples, batch_size):
            end = min(begin + batch_size, self.samples)
            rows: Any = slice(self._start + begin, self._start + end)
            if order is not None:
                rows = order[begin:end] + self._start
            yield Batch(
                tuple(np.asarray(array[rows]) for array in self._inputs),
                tuple(np.asarray(array[rows]) for array in self._targets),
            )

    def first(self, batch_size: int) -> Batch:
        """The first batch."""
        return next(self.batches(batch_size))

    def split(self, fraction: float) -> tuple[ArraySource, ArraySource]:
        """The source without its last ``fraction``, and that.

        Raises:
            GraphcValueError: one of the two would be empty.
        """
        border = self._start + int(self.samples * (1.0 - fraction))
        if not 0.0 < fraction < 1.0 or border in (self._start, self._stop):
            message = f"validation_split={fraction} leaves {border - self._start} of {self.samples} samples to train on"
            raise GraphcValueError("E455", message, hint="a number between 0 and 1")
        parts = (self._start, border), (border, self._stop)
        first, second = (ArraySource(self._inputs, self._targets, *part) for part in parts)
        return first, second


class StreamSource:
    """Batches from an iterable.

    One that starts anew (a list, a loader) gives an epoch each time; an iterator goes on where the last epoch ended,
    so it needs a number of steps.
    """

    def __init__(self, stream: Iterable[Any], inputs: Sequence[str], targets: Sequence[str], steps: int | None) -> None:
        self._stream, self._inputs, self._targets, self._steps = stream, inputs, targets, steps
        self._iterator: Iterator[Any] | None = iter(stream) if iter(stream) is stream else None
        self._waiting: list[Batch] = []

    def steps(self, batch_size: int) -> int | None:
        """The number given, or the iterable's length."""
        if self._steps is None and isinstance(self._stream, Sized):
            return len(self._stream)
        return self._steps

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """The batches of one epoch; they come in the sizes that the iterable gives them."""
        yield from islice(self._all(), self._steps)

    def _all(self) -> Iterator[Batch]:
        while self._waiting:
            yield self._waiting.pop()
        for item in self._iterator if self._iterator is not None else self._stream:
            yield self._batch(item)

    def first(self, batch_size: int) -> Batch:
        """The next batch, which the next epoch begins with where the iterable cannot start anew."""
        if self._waiting:
            return self._waiting[-1]
        for item in self._iterator if self._iterator is not None else self._stream:
            batch = self._batch(item)
            if self._iterator is not None:
                self._waiting.append(batch)
            return batch
        raise GraphcValueError("E455", "the data gave no batch")

    def _batch(self, item: Any) -> Batch:
        if isinstance(item, (tuple, list)) and len(item) == 2:
            return Batch(arrays_of(item[0], self._inputs, "x"), arrays_of(item[1], self._targets, "y"))
        if isinstance(item, (tuple, list)) and len(item) != 1:
            raise GraphcValueError("E455", f"a batch is (inputs, targets), got {len(item)} parts")
        return Batch(arrays_of(item[0] if isinstance(item, (tuple, list)) else item, self._inputs, "x"))


def is_stream(x: Any) -> bool:
    """Whether ``x`` yields batches, and is no array or collection of arrays."""
    if isinstance(x, (Mapping, list, tuple, str, bytes)) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__")


def arrays_of(value: Any, names: Sequence[str], what: str) -> tuple[Array, ...]:
    """An array for each of ``names``, from an array, a list of arrays or a dict; memory-mapped ones stay on disk."""
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing:
            raise GraphcValueError("E448", f"{what} lacks {missing[0]!r}", hint=f"it has {', '.join(map(str, value))}")
        parts = [value[name] for name in names]
    elif len(names) == 1:
        parts = [value]
    elif isinstance(value, (list, tuple)) and len(value) == len(names):
        parts = list(value)
    else:
        raise GraphcTypeError("E448", f"{what} must be {len(names)} arrays: {', '.join(names)}")
    arrays = tuple(np.asarray(part) for part in parts)
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise GraphcTypeError("E455", f"{name} must be an array of numbers, got {array.dtype}{list(array.shape)}")
        if len(array) != len(arrays[0]):
            raise GraphcValueError("E449", f"{names[0]} has {len(arrays[0])} samples, {name} has {len(array)}")
    return arrays


def make_source(x: Any, y: Any, inputs: Sequence[str], targets: Sequence[str], steps: int | None = None) -> Source:
    """The batches of ``x`` and ``y``, or of what yields both.

    Args:
        x: an array, a list or dict of arrays, or an iterable of batches.
        y: likewise; None where there are no targets, or ``x`` yields them.
        inputs: names of the model's inputs.
        targets: names of what it is compared with.
        steps: at most so many batches an epoch of an iterable.

    Raises:
        GraphcTypeError: not numbers.
        GraphcValueError: no samples, or not equally many.
    """
    if is_stream(x):
        if y is not None:
            raise GraphcTypeError("E455", "batches from an iterator bring their targets with them: leave y out")
        return StreamSource(x, inputs, targets, steps)
    arrays = arrays_of(x, inputs, "x")
    truth = () if y is None else arrays_of(y, targets, "y")
    if truth and len(truth[0]) != len(arrays[0]):
        raise GraphcValueError("E449", f"x has {len(arrays[0])} samples, y has {len(truth[0])}")
    if not len(arrays[0]):
        raise GraphcValueError("E455", "there are no samples")
    return ArraySource(arrays, truth)


def permutation(count: int, seed: int, epoch: int) -> Array:
    """The order of an epoch's samples: of seed and epoch alone, so that training resumed goes on in the same order."""
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(count)


def converted(array: Array, dtype: np.dtype[Any], owner: str) -> Array:
    """A batch in the dtype of the model; floating-point numbers become integers only where they are whole.

    Raises:
        GraphcTypeError: a fraction where integers are expected.
    """
    if array.dtype == dtype:
        return array
    if dtype.kind in "iub" and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise GraphcTypeError("E449", f"{owner} must be whole numbers ({dtype}), got fractions")
    return array.astype(dtype)
