"""Where batches come from: arrays (which may be larger than memory), or anything that yields batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
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
        weights: how much each sample (or step of one) counts, an array for each output; none where all count alike.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...] = ()
    weights: tuple[Array, ...] = ()

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.inputs[0])


@dataclass(frozen=True)
class Names:
    """What the arrays of a batch are called.

    Attributes:
        inputs: of the model.
        targets: what its outputs are compared with.
        weights: of the samples, for each output.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    weights: tuple[str, ...]

    def batch(self, x: Any, y: Any = None, weight: Any = None) -> Batch:
        """The arrays that a user gave, in order; one array of weights serves every output."""
        if weight is not None and not isinstance(weight, (Mapping, list, tuple)):
            weight = [weight] * len(self.weights) if len(self.weights) > 1 else weight
        return Batch(
            arrays_of(x, self.inputs, "x"),
            () if y is None else arrays_of(y, self.targets, "y"),
            () if weight is None else arrays_of(weight, self.weights, "sample_weight"),
        )


class Source(Protocol):
    """Batches, epoch after epoch."""

    @property
    def samples(self) -> int | None:
        """How many there are, None where that is not known before."""

    def steps(self, batch_size: int) -> int | None:
        """Batches an epoch, None where that is not known before."""

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """The batches of one epoch, of the samples in ``order`` where they are known by number."""

    def first(self, batch_size: int) -> Batch:
        """The batch that comes next, for its shapes; it is not used up."""


class ArraySource:
    """Samples ``start`` … ``stop`` of arrays: only the rows of a batch are ever read or copied.

    Args:
        arrays: all of them.
        steps: at most so many batches an epoch.
        start: the first sample.
        stop: the one behind the last.
    """

    def __init__(self, arrays: Batch, steps: int | None = None, start: int = 0, stop: int | None = None) -> None:
        self._arrays, self._steps = arrays, steps
        self._start, self._stop = start, arrays.size if stop is None else stop

    @property
    def samples(self) -> int:
        """How many there are."""
        return self._stop - self._start

    def steps(self, batch_size: int) -> int:
        """Batches an epoch, the last of which may be smaller."""
        whole = -(-self.samples // batch_size)
        return whole if self._steps is None else min(self._steps, whole)

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """The batches of one epoch; without ``order`` as they lie."""
        for begin in range(0, self.steps(batch_size) * batch_size, batch_size):
            end = min(begin + batch_size, self.samples)
            rows: Any = slice(self._start + begin, self._start + end)
            if order is not None:
                rows = order[begin:end] + self._start
            whole = (self._arrays.inputs, self._arrays.targets, self._arrays.weights)
            yield Batch(*(tuple(np.asarray(array[rows]) for array in group) for group in whole))

    def first(self, batch_size: int) -> Batch:
        """The first batch."""
        return next(self.batches(batch_size))

    def split(self, fraction: float, steps: int | None = None) -> tuple[ArraySource, ArraySource]:
        """The source without its last ``fraction``, and that, of at most so many steps.

        Raises:
            GraphcValueError: one of the two would be empty.
        """
        border = self._start + int(self.samples * (1.0 - fraction))
        if not 0.0 < fraction < 1.0 or border in (self._start, self._stop):
            message = f"validation_split={fraction} leaves {border - self._start} of {self.samples} samples to train on"
            raise GraphcValueError("E455", message, hint="a number between 0 and 1")
        first = ArraySource(self._arrays, self._steps, self._start, border)
        return first, ArraySource(self._arrays, steps, border, self._stop)


class StreamSource:
    """Batches from an iterable.

    One that starts anew (a list, a loader) gives an epoch each time; an iterator goes on where the last epoch ended,
    so it needs a number of steps.
    """

    samples: int | None = None

    def __init__(self, stream: Iterable[Any], names: Names, steps: int | None) -> None:
        self._stream, self._names, self._steps = stream, names, steps
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
        parts = item if isinstance(item, (tuple, list)) else (item,)
        if not 1 <= len(parts) <= 3:
            raise GraphcValueError("E455", f"a batch is (inputs, targets, sample weights), got {len(parts)} parts")
        return self._names.batch(*parts)


class ClassWeighted:
    """Another source's batches, each sample with the weight of its class.

    Args:
        source: of the batches, which have targets for one output: numbers of classes, or one-hot.
        table: class → weight; 1 for a class that it lacks.

    Raises:
        GraphcValueError: a batch has targets for several outputs, or weights already.
    """

    def __init__(self, source: Source, table: Mapping[int, float]) -> None:
        self._source, self._table = source, table

    @property
    def samples(self) -> int | None:
        """Those of the source."""
        return self._source.samples

    def steps(self, batch_size: int) -> int | None:
        """Those of the source."""
        return self._source.steps(batch_size)

    def batches(self, batch_size: int, order: Array | None = None) -> Iterator[Batch]:
        """Those of the source, weighted."""
        return map(self._weighted, self._source.batches(batch_size, order))

    def first(self, batch_size: int) -> Batch:
        """The batch that comes next."""
        return self._weighted(self._source.first(batch_size))

    def _weighted(self, batch: Batch) -> Batch:
        if len(batch.targets) != 1 or batch.weights:
            fault = "samples have weights already" if batch.weights else f"there are {len(batch.targets)} targets"
            raise GraphcValueError("E455", f"class_weight is for one output, and in place of sample_weight: {fault}")
        truth = batch.targets[0]
        if truth.ndim > 1:
            truth = np.argmax(truth, axis=-1) if truth.shape[-1] > 1 else truth[..., 0]
        classes, places = np.unique(np.rint(truth).astype(np.int64), return_inverse=True)
        weights = np.array([self._table.get(int(one), 1.0) for one in classes], np.float32)
        return replace(batch, weights=(weights[places].reshape(truth.shape),))


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


def make_source(
    x: Any, y: Any, names: Names, steps: int | None = None, weight: Any = None
) -> ArraySource | StreamSource:
    """The batches of ``x`` and ``y``, or of what yields both.

    Args:
        x: an array, a list or dict of arrays, or an iterable of batches.
        y: likewise; None where there are no targets, or ``x`` yields them.
        names: of the arrays.
        steps: at most so many batches an epoch.
        weight: of the samples: an array (batch, …), or a list or dict of one for each output.

    Raises:
        GraphcTypeError: not numbers.
        GraphcValueError: no samples, or not equally many.
    """
    if is_stream(x):
        if y is not None or weight is not None:
            message = (
                "batches from an iterator bring their targets and weights with them: leave y and sample_weight out"
            )
            raise GraphcTypeError("E455", message)
        return StreamSource(x, names, steps)
    arrays = names.batch(x, y, weight)
    for group, what in ((arrays.targets, "y"), (arrays.weights, "sample_weight")):
        if group and len(group[0]) != arrays.size:
            raise GraphcValueError("E449", f"x has {arrays.size} samples, {what} has {len(group[0])}")
    if not arrays.size:
        raise GraphcValueError("E455", "there are no samples")
    return ArraySource(arrays, steps)


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
