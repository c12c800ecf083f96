"""``Persistent``: the weights of a network, and the files and folders that keep them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcValueError
from graphc.frontends.dsl.model import Model as EntryPoints
from graphc.frontends.nn.training.compilable import DEFAULT_BATCH_SIZE, Compilable
from graphc.frontends.nn.training.data import Array
from graphc.frontends.nn.training.engine import read_states
from graphc.frontends.nn.training.entries import BATCH, likely_targets, training_entries
from graphc.frontends.nn.training.names import aligned


class Persistent(Compilable):
    """What gives a network's weights away, takes them over, and writes them."""

    def _checked_batch_size(self, given: int | None) -> int:
        if given is None:
            fixed = self._inputs[0].shape[0] if self._connected() else None
            return fixed if isinstance(fixed, int) else DEFAULT_BATCH_SIZE
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
            raise GraphcValueError("E455", f"batch_size must be a positive integer, got {given!r}")
        return int(given)

    def _values(self) -> Mapping[str, Array]:
        return self._engine_for(None, training=False).values

    def get_weights(self) -> list[Array]:
        """Copies of the weights, layer by layer, in Keras' order."""
        values = self._values()
        return [np.array(values[variable.name]) for variable in self.states]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over weights in the order of :meth:`get_weights`.

        Raises:
            GraphcValueError: another number of arrays, or another shape.
        """
        values, states = self._values(), self.states
        if len(weights) != len(states):
            raise GraphcValueError("E566", f"{self.name} has {len(states)} weights, got {len(weights)}")
        arrays = [np.asarray(given) for given in weights]
        for variable, array in zip(states, arrays, strict=True):
            if array.shape != variable.type.static_shape:
                message = f"{variable.name!r} has shape {variable.type.static_shape}, got {array.shape}"
                raise GraphcValueError("E566", message)
        for variable, array in zip(states, arrays, strict=True):
            values[variable.name][...] = array

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all: the weights, and the optimizer's state once there is one."""
        self._engine_for(None, training=False).save(path)

    def load_weights(self, path: str | os.PathLike[str], *, optimizer: bool = True) -> None:
        """Take over a file of :meth:`save_weights`; training then goes on as if it had not been interrupted.

        Args:
            path: the file.
            optimizer: False leaves the optimizer's state as it is.

        Raises:
            GraphcValueError: the file lacks a weight, or has one that does not fit (E566).
        """
        engine = self._engine_for(None, training=False)
        mine = [variable.name for variable in self.states]
        found = aligned(read_states(path), mine)
        missing = [name for name in mine if name not in found]
        if missing:
            raise GraphcValueError("E566", f"cannot use the weights {os.fspath(path)!r}: they lack {missing[0]!r}")
        wanted = found if optimizer else {name: found[name] for name in mine}
        known = {name: value for name, value in wanted.items() if name in engine.values}
        unknown = {name: value for name, value in wanted.items() if name not in engine.values}
        if unknown and self._trains:
            name = next(iter(unknown))
            raise GraphcValueError("E566", f"the weights have {name!r}, which {self.name} with its optimizer does not")
        for name, value in known.items():
            old = engine.values[name]
            if old.shape != value.shape or old.dtype != value.dtype:
                message = f"{name!r} must be {old.dtype}{list(old.shape)}, got {value.dtype}{list(value.shape)}"
                raise GraphcValueError("E566", message)
        for name, value in known.items():
            engine.values[name][...] = value
        # The optimizer's variables are made with the first step, for which these wait.
        self._loaded |= {name: np.array(value) for name, value in unknown.items()}

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int | None = None,
        name: str | None = None,
        force: bool = False,
        dims: Mapping[str, int] | None = None,
        max_dims: Mapping[str, int] | None = None,
    ) -> str:
        """Write an artifact that needs nothing but numpy, and return its path.

        It has the entry points ``predict`` and, once data have said what the targets look like, ``evaluate`` and
        ``train``, with the present weights and optimizer state.

        Args:
            folder: the destination.
            batch_size: of its entry points, whose shapes are fixed; by default that of the last ``fit``.
            name: of the model in C and in file names; by default that of the folder.
            force: replace an artifact that is there.
            dims: values for the other sizes that only data say, such as ``x_1`` of ``Input((None, 28), name="x")``.
            max_dims: the largest sizes that each call may say, of the batch too, as for :func:`graphc.compile`.
        """
        engine = self._engine_for(None, training=False)
        entries = tuple(engine.module.entries)
        sizes = dict(dims or {})
        if not isinstance(self._inputs[0].shape[0], int) and BATCH not in (max_dims or {}):
            sizes[BATCH] = self._batch_size if batch_size is None else self._checked_batch_size(batch_size)
        path: str = engine.compiled(entries, sizes, max_dims).save(folder, name=name, force=force)
        return path

    save = export

    def to_model(self) -> EntryPoints:
        """The network as a :class:`graphc.Model`: what ``G.compile`` and the command line take.

        It has the entry point ``predict`` and, after ``compile``, ``evaluate`` and ``train``, over a batch that is the
        symbolic dimension ``batch`` (``--dim batch=32``) unless the inputs say otherwise, with initial weights.
        """
        self._connected(required=True)
        entries: dict[str, Any] = {"predict": dict(self._outputs)}
        with self._at_work():
            if self._request is not None:
                entries |= training_entries(self._outputs, likely_targets(self._outputs, self._request), self._request)
            return EntryPoints(**entries)

    def reset_states(self) -> None:
        """Set what stateful recurrent layers keep from call to call to zero."""
        values = self._values()
        for variable in self.states:
            if variable.role == "recurrent":
                values[variable.name][...] = 0
