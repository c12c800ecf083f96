"""The loop of ``fit``: epochs, steps, validation, callbacks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.errors import GraphcValueError
from graphc.frontends.nn.history import History
from graphc.frontends.nn.training.data import ArraySource, Source, permutation
from graphc.frontends.nn.training.entries import COUNT
from graphc.frontends.nn.training.progress import Progress
from graphc.interrupts import stop_on_interrupt

if TYPE_CHECKING:
    from graphc.frontends.nn.training.network import Network


Figures = float | list[float] | dict[str, float]
"""The loss; where there are metrics a list of both; or all of them by name."""


def returned(figures: dict[str, float], return_dict: bool) -> Figures:
    """Figures as Keras gives them."""
    if return_dict:
        return figures
    values = list(figures.values())
    return values if len(values) > 1 else values[0]


@dataclass
class Run:
    """What ``fit`` was asked to do; see :meth:`Network.fit`."""

    source: Source
    batch_size: int
    epochs: int
    initial_epoch: int
    shuffle: bool
    seed: int
    verbose: int | str | bool
    callbacks: tuple[Any, ...]
    validation_batch_size: int
    validation: Source | None = None

    def split(self, fraction: float, steps: int | None) -> None:
        """Keep the last samples for validation, in at most so many steps."""
        if not isinstance(self.source, ArraySource):
            raise GraphcValueError(
                "E455", "validation_split needs arrays", hint="give validation_data for data from an iterator"
            )
        self.source, self.validation = self.source.split(fraction, steps)


class Means:
    """Figures of batches, averaged over samples, or over what their ``/count`` says."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, float]] = {}

    def add(self, figures: Mapping[str, float], samples: int) -> dict[str, float]:
        """Take in the figures of a batch, and give the means so far."""
        for name, value in figures.items():
            if name.endswith(COUNT):
                continue
            count = figures.get(f"{name}{COUNT}", samples)
            total, counted = self._totals.get(name, (0.0, 0.0))
            self._totals[name] = total + value * count, counted + count
        return {name: total / counted if counted else 0.0 for name, (total, counted) in self._totals.items()}


def fit(network: Network, run: Run) -> History:
    """Train, and give the figures of each epoch."""
    history = History({"epochs": run.epochs, "steps": run.source.steps(run.batch_size), "batch_size": run.batch_size})
    network.history = history
    network.stop_training = False
    progress = Progress(run.verbose, run.epochs)
    for callback in run.callbacks:
        callback.set_model(network)
        callback.set_params({**history.params, "seed": run.seed})
    _tell(run, "on_train_begin")
    logs: dict[str, float] = {}
    with stop_on_interrupt() as stop:
        for epoch in range(run.initial_epoch, run.epochs):
            _tell(run, "on_epoch_begin", epoch, {})
            progress.begin(epoch, run.source.steps(run.batch_size))
            logs = _epoch(network, run, epoch, progress, stop)
            history.interrupted = stop.is_set()
            if run.validation is not None and not history.interrupted:
                measured = measure(network, run.validation, run.validation_batch_size)
                logs |= {f"val_{name}": value for name, value in measured.items()}
            progress.end(logs)
            if history.interrupted:
                progress.note("interrupted: what was learned is kept")
                break
            # Callbacks may add figures of their own, and read those of the callbacks before them.
            _tell(run, "on_epoch_end", epoch, logs)
            history.append(epoch, logs)
            if network.stop_training:
                break
    _tell(run, "on_train_end", logs)
    return history


def _epoch(network: Network, run: Run, epoch: int, progress: Progress, stop: threading.Event) -> dict[str, float]:
    order = None
    if run.shuffle and run.source.samples is not None:
        order = permutation(run.source.samples, run.seed, epoch)
    means = Means()
    logs: dict[str, float] = {}
    number = -1
    for number, batch in enumerate(run.source.batches(run.batch_size, order)):
        _tell(run, "on_train_batch_begin", number, {})
        logs = means.add(network.run_batch("train", batch), batch.size)
        progress.step(batch.size, logs)
        _tell(run, "on_train_batch_end", number, logs)
        if stop.is_set() or network.stop_training:
            break
    if number < 0:
        hint = "an iterator can be read once: give steps_per_epoch, or an iterable that starts anew"
        raise GraphcValueError("E455", f"the data ended before epoch {epoch + 1} of {run.epochs}", hint=hint)
    return logs


def measure(network: Network, source: Source, batch_size: int) -> dict[str, float]:
    """The loss and the metrics over one epoch of ``source``."""
    means = Means()
    logs: dict[str, float] = {}
    for batch in source.batches(batch_size):
        logs = means.add(network.run_batch("evaluate", batch), batch.size)
    if not logs:
        raise GraphcValueError("E455", "there are no samples to measure")
    return logs


def _tell(run: Run, event: str, *arguments: Any) -> None:
    for callback in run.callbacks:
        getattr(callback, event)(*arguments)
