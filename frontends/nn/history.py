"""What ``fit`` gives back: the figures of every epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


class History:
    """The figures of a training run.

    Attributes:
        epoch: numbers of the epochs, from 0.
        history: name of a figure → its value in each epoch; those of validation begin with ``val_``.
        params: ``epochs``, ``steps`` and ``batch_size`` of the run.
        interrupted: Ctrl-C ended it.
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.params: dict[str, Any] = dict(params or {})
        self.interrupted = False

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"<History of {len(self.epoch)} epochs{': ' * bool(last)}{last}>"

    def append(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Note the figures of an epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    def plot(self, names: Sequence[str] | None = None, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the figures over the epochs with Matplotlib, those of validation dashed beside those of training.

        Args:
            names: figures without ``val_``; by default all.
            path: a file to write the drawing to, as PNG, SVG or PDF by its ending.

        Returns:
            The Matplotlib figure.
        """
        from matplotlib.figure import Figure

        wanted = [name for name in self.history if not name.startswith("val_")] if names is None else list(names)
        figure = Figure(figsize=(5.0 * max(len(wanted), 1), 3.5), layout="constrained")
        for position, name in enumerate(wanted):
            axes = figure.add_subplot(1, len(wanted), position + 1)
            for key, label, style in ((name, "training", "-"), (f"val_{name}", "validation", "--")):
                if key in self.history:
                    # A figure that began late (a callback's, say) belongs to the last epochs.
                    epochs = [number + 1 for number in self.epoch[-len(self.history[key]) :]]
                    axes.plot(epochs, self.history[key], style, label=label)
            axes.set_xlabel("epoch")
            axes.set_ylabel(name.replace("_", " "))
            axes.legend()
            axes.grid(alpha=0.3)
        if path is not None:
            figure.savefig(path)
        return figure
