"""``Network``: what can be trained, measured, asked and saved."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcKeyError, GraphcValueError, nearest
from graphc.frontends.dsl.model import Model as EntryPoints
from graphc.frontends.nn import summary as summaries
from graphc.frontends.nn.history import History
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.training import fitting
from graphc.frontends.nn.training.data import (
    Array,
    ArraySource,
    Batch,
    ClassWeighted,
    Source,
    StreamSource,
    make_source,
)
from graphc.frontends.nn.training.fitting import Figures
from graphc.frontends.nn.training.persistent import Persistent
from graphc.frontends.nn.training.progress import Progress, describe
from graphc.ir.dim import substitute
from graphc.ir.state import State


class Network(Persistent):
    """What :class:`Sequential` and the functional :class:`Model` share; see there."""

    # -- work ------------------------------------------------------------------------------------------------------

    def _source(
        self, x: Any, y: Any, batch_size: int, steps: int | None = None, sample_weight: Any = None
    ) -> ArraySource | StreamSource:
        """The data as batches; connects the network where its inputs are not known yet."""
        source = make_source(x, y, self.array_names, steps, sample_weight)
        if not self._outputs:
            self._connected(source.first(batch_size), required=True)
        return source

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str | bool = "auto",
        callbacks: Sequence[Any] | Any = (),
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        *,
        seed: int = 0,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
    ) -> History:
        """Train.  Ctrl-C ends after the present step and keeps what was learned.

        Args:
            x: an array, a list or dict of arrays for several inputs, or an iterable of batches (inputs, targets) or
                (inputs, targets, sample weights).  Memory-mapped arrays are read batch by batch.
            y: the targets; None where ``x`` yields them.
            batch_size: samples a step, 32 by default.
            epochs: number of the last epoch.
            verbose: 0 silent, 1 a bar, 2 a line an epoch, ``"auto"`` a bar on a terminal and nothing elsewhere.
            callbacks: see :mod:`graphc.nn.callbacks`.
            validation_split: share of the samples, the last ones before shuffling, that are measured and not learned.
            validation_data: (x, y) or (x, y, sample weights) to measure after each epoch, or an iterable of batches.
            shuffle: True takes the samples of arrays in another order in each epoch.
            class_weight: class → how much its samples count in the loss, for one output; 1 for a class it lacks.
            sample_weight: how much each sample counts in the loss: an array (samples) or (samples, steps), for several
                outputs also a list or dict of them.
            seed: of that order.
            initial_epoch: number of the first epoch, to go on with a run.
            steps_per_epoch: batches an epoch; all there are by default.
            validation_steps: batches to measure; likewise.
            validation_batch_size: by default ``batch_size``.

        Returns:
            The figures of each epoch.
        """
        size = self._checked_batch_size(batch_size)
        run = fitting.Run(
            source=self._source(x, y, size, steps_per_epoch, sample_weight),
            batch_size=size,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=shuffle,
            seed=seed,
            verbose=verbose,
            callbacks=tuple(callbacks or ()) if isinstance(callbacks, (list, tuple, type(None))) else (callbacks,),
            validation_batch_size=size if validation_batch_size is None else validation_batch_size,
        )
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, (tuple, list)) else (validation_data, None)
            if len(given) not in (2, 3):
                raise GraphcValueError("E455", f"validation_data is (x, y) or (x, y, weights), got {len(given)} parts")
            run.validation = self._source(given[0], given[1], run.validation_batch_size, validation_steps, *given[2:])
        elif validation_split:
            run.split(validation_split, validation_steps)
        if class_weight is not None:
            run.source = ClassWeighted(run.source, class_weight)
        self._engine_for(run.source.first(size), training=True)
        self._batch_size = size
        self.history = fitting.fit(self, run)
        return self.history

    def run_batch(self, entry: str, batch: Batch) -> dict[str, float]:
        """What ``train`` or ``evaluate`` gives for one batch: figures, and under names that end in ``/count`` how much
        some of them count against other batches.
        """
        engine = self._engine_for(batch, training=True)
        given = self._named(batch)
        # (Not from weights, of which there may be one a sample where the entry point takes one a step.)
        dims = engine.sizes(entry, {key: given[key] for key in given if key not in self.array_names.weights})
        for node in engine.module.entry(entry).inputs:
            name = node.attrs["name"]
            if name not in self.array_names.weights:
                continue
            weight = given.get(name, np.ones(batch.size, np.float32))
            if weight.ndim < node.rank:  # a weight of a sample is one of each of its steps
                weight = weight.reshape(*weight.shape, *(1,) * (node.rank - weight.ndim))
                steps = (int(size) for dim in node.shape[1:] if isinstance(size := substitute(dim, dims), int))
                weight = np.broadcast_to(weight, (*weight.shape[:1], *steps))
            given[name] = weight
        return {name: float(value) for name, value in engine.call(entry, given).items()}

    def _named(self, batch: Batch) -> dict[str, Array]:
        names = self.array_names
        given = zip(names.inputs, batch.inputs, strict=True)
        return {
            **dict(given),
            **dict(zip(names.targets, batch.targets, strict=False)),
            **dict(zip(names.weights, batch.weights, strict=False)),
        }

    def _on_batch(
        self, entry: str, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool
    ) -> Figures:
        source: Source = self._source(x, y, sys.maxsize, None, sample_weight)
        if class_weight is not None:
            source = ClassWeighted(source, class_weight)
        batch = source.first(sys.maxsize)
        return fitting.returned(fitting.Means().add(self.run_batch(entry, batch), batch.size), return_dict)

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Figures:
        """One step; the loss and the metrics before it, as :meth:`evaluate` gives them."""
        return self._on_batch("train", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Figures:
        """The loss and the metrics of a batch, which change nothing."""
        return self._on_batch("evaluate", x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for a batch."""
        return self.predict(x, sys.maxsize)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str | bool = "auto",
        sample_weight: Any = None,
        *,
        steps: int | None = None,
        return_dict: bool = False,
    ) -> Figures:
        """The loss and the metrics on data, which change nothing: means over all samples.

        Args:
            x: as in :meth:`fit`.
            y: as in :meth:`fit`.
            batch_size: samples at once, 32 by default.
            verbose: 1 prints the figures, ``"auto"`` does so on a terminal.
            sample_weight: as in :meth:`fit`.
            steps: batches to measure; all there are by default.
            return_dict: True gives the figures by name.

        Returns:
            The loss where there are no metrics, else a list of the loss and the metrics.
        """
        size = self._checked_batch_size(batch_size)
        source = self._source(x, y, size, steps, sample_weight)
        self._engine_for(source.first(size), training=True)
        progress = Progress(verbose, 1)
        figures = fitting.measure(self, source, size)
        progress.note(describe(figures))
        return fitting.returned(figures, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str | bool = "auto",
        *,
        steps: int | None = None,
    ) -> Any:
        """The outputs for all samples: an array, or a list or dict of arrays as the outputs were given.

        Args:
            x: an array, a list or dict of arrays, or an iterable of batches.
            batch_size: samples at once, 32 by default.
            verbose: accepted as in Keras; nothing is printed.
            steps: batches to predict; all there are by default.
        """
        size = self._checked_batch_size(batch_size)
        source = self._source(x, None, size, steps)
        engine = self._engine_for(None, training=False)
        made = [engine.call("predict", self._named(batch)) for batch in source.batches(size)]
        if not made:
            raise GraphcValueError("E455", "there are no samples")
        joined = {label: np.concatenate([part[label] for part in made]) for label in self._outputs}
        if isinstance(self._structure, Mapping):
            return joined
        arrays = list(joined.values())
        return arrays if isinstance(self._structure, (list, tuple)) else arrays[0]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place.

        Raises:
            GraphcKeyError: there is none (E448).
        """
        layers = list(self.sublayers())
        found = [layer for place, layer in enumerate(layers) if layer.name == name or place == index]
        if len(found) != 1:
            close = nearest(str(name), [layer.name for layer in layers])
            hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(layer.name for layer in layers)}"
            raise GraphcKeyError("E448", f"{self.name} has no layer {index if name is None else name!r}", hint=hint)
        return found[0]

    # -- summary ---------------------------------------------------------------------------------------------------

    def summary_rows(self) -> list[summaries.Row]:
        """The rows of :meth:`summary`."""
        self._connected(required=True)
        with self._at_work():
            forward = EntryPoints(predict=dict(self._outputs)).entries["predict"]
        return summaries.rows(self.blocks(), forward)

    def summary(self, print_fn: Any = None) -> None:
        """Print a table of the layers: output shapes, parameters, floating-point operations and bytes moved.

        Args:
            print_fn: takes the text in place of ``print``.
        """
        optimizer: list[State] = []
        if self._engine is not None and self._trains:
            own = {variable.name for variable in self.states}
            optimizer = [
                one
                for name, one in self._engine.module.states.items()
                if name not in own and one is not self._session.random_state
            ]
        (print_fn or print)(summaries.table(self.name, self.summary_rows(), optimizer=optimizer))
