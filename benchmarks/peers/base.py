"""What every peer offers: a kit of operations to state a workload with, and a session that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.spec import Parameter, Workload

NORM_EPSILON = 1e-5
"""Of layer and batch normalization."""

Outputs = dict[str, np.ndarray]
Step = Callable[[tuple[Any, ...], Any], tuple[tuple[Any, ...], Any]]


class Unsupported(Exception):
    """The peer cannot do this; the message says why, and goes into the report."""


@dataclass
class Session:
    """A workload made ready by a peer.

    Attributes:
        call: runs it once to the end; what is timed.
        outputs: runs it and gives what is compared: the output, or the losses and the weights after training.
        reset: takes the weights back to their initial values.
        info: further figures for the report, found out after the clock has stopped.
    """

    call: Callable[[], Any]
    outputs: Callable[[], Outputs]
    reset: Callable[[], None] = field(default=lambda: None)
    info: Callable[[], Mapping[str, float]] = field(default=dict)


class Peer:
    """One way to run a workload.  A subclass imports its library when it is made, in a process of its own.

    Args:
        threads: how many the peer may use; the process is pinned to as many cores.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def versions(self) -> dict[str, str]:
        """Of the libraries in use."""
        raise NotImplementedError

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Build and compile.

        Raises:
            Unsupported: with the reason.
        """
        raise NotImplementedError


class Kit:
    """Operations on a peer's own arrays, which also know ``+ - * / @``.

    What a peer's library has a kernel for, its kit overrides; the layers below are what one writes where there is none.
    Sequences are (time, batch, features); images are (batch, height, width, channels) where a workload gives shapes,
    and in memory as the peer likes.
    """

    label = "this peer"
    training = False
    """Whether batch normalization uses the batch."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise Unsupported(f"{self.label} has no {name}")

    # -- data ------------------------------------------------------------------------------------------------------

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Any:
        """A weight in the peer's form."""
        raise NotImplementedError

    # -- layers ----------------------------------------------------------------------------------------------------

    def dense(self, x: Any, w: Any, b: Any) -> Any:
        """Over the last axis, x w + b."""
        return x @ w + b

    def recurrence(self, step: Step, carries: tuple[Any, ...], inputs: Any, count: int, sequence: bool) -> Any:
        """``step(carries, inputs[t]) -> (carries, output)`` for every t: all outputs, or the last.

        Args:
            step: one step of a cell.
            carries: what goes from step to step, at the start.
            inputs: an array over (time, ...), or a tuple of such.
            count: how many steps there are.
            sequence: True for the outputs of all steps, stacked.
        """
        outputs = []
        for t in range(count):
            here = tuple(self.at(x, t) for x in inputs) if isinstance(inputs, tuple) else self.at(inputs, t)
            carries, output = step(carries, here)
            outputs.append(output)
        return self.stack(outputs) if sequence else outputs[-1]

    def rnn(self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Any:
        """Elman's layer, h' = tanh(x w + h u + b); ``shape`` is (steps, batch, hidden)."""
        steps, batch, hidden = shape

        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h = self.tanh(xw + carries[0] @ u)
            return (h,), h

        return self.recurrence(step, (self.zeros((batch, hidden)),), x @ w + b, steps, sequence)

    def gru(self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Any:
        """Gates z, r, n; r acts on the product with the state, which has a bias of its own, the second row of ``b``."""
        steps, batch, hidden = shape

        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h = carries[0]
            xz, xr, xn = self.split(xw, 3)
            hz, hr, hn = self.split(h @ u + self.at(b, 1), 3)
            z, r = self.sigmoid(xz + hz), self.sigmoid(xr + hr)
            n = self.tanh(xn + r * hn)
            h = z * (h - n) + n
            return (h,), h

        return self.recurrence(step, (self.zeros((batch, hidden)),), x @ w + self.at(b, 0), steps, sequence)

    def lstm(
        self, x: Any, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False, reverse: bool = False
    ) -> Any:
        """Gates i, f, g, o; ``reverse`` starts at the last step, and is for the last output alone."""
        steps, batch, hidden = shape

        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h, c = carries
            i, f, g, o = self.split(xw + h @ u, 4)
            c = self.sigmoid(f) * c + self.sigmoid(i) * self.tanh(g)
            h = self.sigmoid(o) * self.tanh(c)
            return (h, c), h

        zero = self.zeros((batch, hidden))
        projected = x @ w + b
        if reverse:
            projected = self.flip(projected)
        return self.recurrence(step, (zero, zero), projected, steps, sequence)

    def bilstm(self, x: Any, shape: Sequence[int], forward: Sequence[Any], backward: Sequence[Any]) -> Any:
        """The last outputs of two LSTMs, one from each end, side by side; each is (w, u, b)."""
        ends = [self.lstm(x, shape, *forward), self.lstm(x, shape, *backward, reverse=True)]
        return self.concat(ends, 1)

    # -- losses ----------------------------------------------------------------------------------------------------

    def binary_cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean of log(1 + eˣ) - y x."""
        return self.mean(self.softplus(logits) - labels * logits)

    def mean_square(self, output: Any, target: Any) -> Any:
        """Mean squared difference."""
        difference = output - target
        return self.mean(difference * difference)
