"""Callbacks under their Keras names: what ``fit`` tells of its progress, and what may change its course."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from graphc.errors import GraphcKeyError, GraphcOSError, GraphcValueError, nearest

if TYPE_CHECKING:
    from graphc.frontends.nn.training.network import Network

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

Logs = dict[str, float]


class Callback:
    """Told of what happens in ``fit``; a subclass defines the methods that it needs.

    Attributes:
        model: the network being trained.
        params: ``epochs``, ``steps``, ``batch_size`` and ``seed`` of the run.
    """

    def __init__(self) -> None:
        self._model: Network | None = None
        self.params: dict[str, Any] = {}

    @property
    def model(self) -> Network:
        """The network being trained."""
        if self._model is None:
            raise GraphcValueError(
                "E455", f"{type(self).__name__} is not in use", hint="give it to fit(callbacks=[...])"
            )
        return self._model

    def set_model(self, model: Network) -> None:
        """Called before training."""
        self._model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called before training."""
        self.params = dict(params)

    def on_train_begin(self) -> None:
        """Training begins."""

    def on_train_end(self, logs: Logs) -> None:
        """Training is over; ``logs`` are the last epoch's."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """An epoch begins, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """An epoch is over; what is put into ``logs`` becomes part of the history."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """A step begins, counted from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """A step is done; ``logs`` are the means of the epoch so far."""


class LambdaCallback(Callback):
    """A callback made of functions, under the names of the methods of :class:`Callback`."""

    def __init__(self, **functions: Callable[..., None]) -> None:
        super().__init__()
        for name, function in functions.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                known = [method for method in dir(Callback) if method.startswith("on_")]
                close = nearest(name, known)
                hint = f"did you mean {close}?" if close else f"one of {', '.join(known)}"
                raise GraphcValueError("E213", f"a callback has no method {name!r}", hint=hint)
            setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends training when the loss of a batch is no number or infinite."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Look at the loss."""
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True


class _Monitor(Callback):
    """A callback that watches a figure.

    Args:
        monitor: name of the figure in the logs.
        mode: ``"min"``, ``"max"``, or ``"auto"``: accuracies are to rise, all else is to fall.
        min_delta: a change by less is no improvement.
        verbose: 1 prints what the callback does.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0, verbose: int = 0) -> None:
        super().__init__()
        self.verbose = verbose
        if mode not in ("auto", "min", "max"):
            raise GraphcValueError("E213", f"mode is 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        rises = mode == "max" or (mode == "auto" and monitor.endswith(("accuracy", "acc")))
        self._sign = -1.0 if rises else 1.0
        self.min_delta = abs(min_delta)
        self.best = math.inf * self._sign

    def _value(self, logs: Logs) -> float:
        found = logs.get(self.monitor)
        if found is None:
            hint = "give fit validation data" if self.monitor.startswith("val_") else f"there are: {', '.join(logs)}"
            raise GraphcKeyError("E448", f"{type(self).__name__}: there is no figure {self.monitor!r}", hint=hint)
        return found

    def _say(self, epoch: int, what: str) -> None:
        if self.verbose:
            print(f"Epoch {epoch + 1}: {what}")

    def _improves(self, value: float) -> bool:
        return self._sign * value < self._sign * self.best - self.min_delta


class EarlyStopping(_Monitor):
    """Ends training when a figure no longer improves.

    Args:
        monitor: the figure.
        min_delta: a change by less is no improvement.
        patience: epochs without improvement before the end.
        mode: as in Keras: ``"auto"``, ``"min"`` or ``"max"``.
        baseline: a value to be better than before anything counts as an improvement.
        restore_best_weights: True takes the weights of the best epoch back at the end.
        start_from_epoch: epochs before this one do not count.
        verbose: 1 says when training ends.

    Attributes:
        stopped_epoch: the epoch after which training ended, 0 where it was not ended here.
        best_epoch: the epoch with the best value.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        *,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.patience, self.baseline = patience, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch

    def on_train_begin(self) -> None:
        """Start anew."""
        self.best = math.inf * self._sign if self.baseline is None else self.baseline
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self._best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and end training where patience is over."""
        if epoch < self.start_from_epoch:
            return
        value = self._value(logs)
        if self._improves(value):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= max(self.patience, 1):
            self.stopped_epoch = epoch
            self.model.stop_training = True
            self._say(epoch, f"early stopping, {self.monitor} was best in epoch {self.best_epoch + 1}")

    def on_train_end(self, logs: Logs) -> None:
        """Take the best weights back."""
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)


class ModelCheckpoint(_Monitor):
    """Saves weights and optimizer state after each epoch, as a safetensors file that is there whole or not at all.

    Args:
        filepath: where to; ``{epoch}`` (from 1) and figures may stand in it: ``"run-{epoch:02d}-{loss:.3f}"``.
        monitor: the figure that says which epoch is best.
        save_best_only: True saves only where the figure has improved.
        mode: ``"auto"``, ``"min"`` or ``"max"``.
        save_weights_only: as Keras has it; the file always has the weights and the optimizer's state.
        verbose: 1 says what is saved.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        *,
        save_weights_only: bool = True,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, verbose=verbose)
        self.save_weights_only = save_weights_only
        self.filepath = os.fspath(filepath)
        self.save_best_only = save_best_only

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Save."""
        if self.save_best_only:
            value = self._value(logs)
            if not self._improves(value):
                return
            self.best = value
        try:
            path = self.filepath.format(epoch=epoch + 1, **logs)
        except (KeyError, IndexError, ValueError) as fault:
            raise GraphcValueError("E455", f"ModelCheckpoint: cannot fill in {self.filepath!r}: {fault}") from fault
        self.model.save_weights(path)
        self._say(epoch, f"saved {path}")


class CSVLogger(Callback):
    """Writes the figures of each epoch to a CSV file, line by line.

    Args:
        filename: the file.
        separator: between the columns.
        append: True goes on with a file that is there.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def on_train_begin(self) -> None:
        """Open the file."""
        try:
            old = self.append and os.path.exists(self.filename)
            if old:
                with open(self.filename, newline="", encoding="utf-8") as before:
                    self._columns = next(csv.reader(before, delimiter=self.separator), [])
            self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115
        except OSError as fault:
            raise GraphcOSError("E570", f"cannot write {self.filename!r}: {fault}") from fault
        if not old:
            self._columns = []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write a line."""
        if self._file is None:
            return
        writer = csv.writer(self._file, delimiter=self.separator)
        if not self._columns:
            self._columns = ["epoch", *logs]
            writer.writerow(self._columns)
        row = {"epoch": epoch, **logs}
        writer.writerow([row.get(name, "") for name in self._columns])
        self._file.flush()

    def on_train_end(self, logs: Logs) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Args:
        schedule: a function of (epoch, learning rate so far), or of the epoch alone, that gives the new rate.
    """

    def __init__(self, schedule: Callable[..., float]) -> None:
        super().__init__()
        self.schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate."""
        import inspect

        takes = [
            parameter
            for parameter in inspect.signature(self.schedule).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        both = len(takes) > 1
        self.model.learning_rate = self.schedule(epoch, self.model.learning_rate) if both else self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Note the rate in the history."""
        logs["learning_rate"] = self.model.learning_rate


class ReduceLROnPlateau(_Monitor):
    """Lowers the learning rate when a figure no longer improves.

    Args:
        monitor: the figure.
        factor: what the rate is multiplied by, less than 1.
        patience: epochs without improvement before that.
        mode: ``"auto"``, ``"min"`` or ``"max"``.
        min_delta: a change by less is no improvement.
        cooldown: epochs after a change that do not count.
        min_lr: the rate does not go below.
        verbose: 1 says what the rate becomes.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        verbose: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        if not 0.0 < factor < 1.0:
            raise GraphcValueError("E213", f"factor must be between 0 and 1, got {factor}")
        self.factor, self.patience, self.cooldown, self.min_lr = factor, patience, cooldown, min_lr

    def on_train_begin(self) -> None:
        """Start anew."""
        self.best = math.inf * self._sign
        self.wait = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and lower the rate where patience is over."""
        logs["learning_rate"] = self.model.learning_rate
        value = self._value(logs)
        if self._cooling:
            self._cooling -= 1
            self.wait = 0
        if self._improves(value):
            self.best, self.wait = value, 0
        elif not self._cooling:
            self.wait += 1
            if self.wait >= self.patience:
                self.model.learning_rate = max(self.model.learning_rate * self.factor, self.min_lr)
                self._say(epoch, f"learning rate {self.model.learning_rate:.4g}")
                self._cooling, self.wait = self.cooldown, 0
