"""``Compilable``: a layer with inputs and outputs, and the compiled entry points behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends import optim
from graphc.frontends.dsl.model import Model as EntryPoints
from graphc.frontends.dsl.session import current_session, entered
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.history import History
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.summary import Block
from graphc.frontends.nn.training.data import Array, Batch, Names
from graphc.frontends.nn.training.engine import Engine, Target
from graphc.frontends.nn.training.entries import Request, rate_name, target_names, training_entries, weight_names
from graphc.frontends.optim.optimizer import Optimizer, check_number

DEFAULT_BATCH_SIZE = 32


class Compilable(Layer):
    """A layer with inputs and outputs, whose entry points are compiled when data say how large they are.

    Args:
        seed: of the initial weights and of dropout.
        options: as in :class:`Layer`.

    Attributes:
        history: of the last ``fit``.
        stop_training: set by a callback to end ``fit`` after the present epoch.
    """

    def __init__(self, *, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed
        self.history: History | None = None
        self.stop_training = False
        self._session = current_session()
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: dict[str, Tensor] = {}
        self._structure: Any = None
        self._request: Request | None = None
        self._target = Target()
        self._engine: Engine | None = None
        self._trains = False
        self._weight_axes: tuple[int, ...] = ()
        self._loaded: dict[str, Array] = {}
        self._batch_size = DEFAULT_BATCH_SIZE

    # -- what a kind of network says -------------------------------------------------------------------------------

    def connect(self, batch: Batch | None) -> bool:
        """Make inputs and outputs, for the shapes of ``batch`` where they are not known otherwise.

        Returns:
            False where nothing is known of the inputs.
        """
        raise fail(GraphcTypeError, "E213", f"{type(self).__name__} does not say what it consists of: define connect")

    def blocks(self) -> list[Block]:
        """The layers as rows of a summary."""
        return []

    # -- set-up ----------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs; empty before they are known."""
        self._connected()
        return self._inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs; empty before the inputs are known."""
        self._connected()
        return tuple(self._outputs.values())

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Inside, tensors are made in the session of the layers, wherever the caller is."""
        with entered(self._session):
            yield

    def _connected(self, batch: Batch | None = None, *, required: bool = False) -> bool:
        if self._outputs:
            return True
        with self._at_work():
            known = self.connect(batch)
        if required and not known:
            hint = "give the first layer input_shape=(...), put nn.Input(shape) first, or fit it to data"
            raise GraphcValueError("E214", f"{self.name} does not know the shape of its input yet", hint=hint)
        return known

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        *,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        backend: str = "llvm",
        threads: int | str | None = None,
        fast_math: bool = False,
    ) -> None:
        """Say how to train; nothing is compiled before data give the sizes.

        The weights keep their values, the optimizer starts anew.

        Args:
            optimizer: an optimizer or its name.
            loss: a function of (y_true, y_pred) or its name; for several outputs a list, or a dict by label.
            metrics: a list of functions of (y_true, y_pred) or names; for several outputs a dict by label.
            loss_weights: numbers by which the losses of several outputs are multiplied.
            weighted_metrics: as ``metrics``, for those in which samples count by their weights.
            backend: as in :func:`graphc.compile`.
            threads: native threads a step may use, as for :func:`graphc.compile`.
            fast_math: as in :func:`graphc.compile`.
        """
        self._request = Request(optim.get(optimizer), loss, metrics, loss_weights, weighted_metrics)
        self._target = Target(backend, threads, fast_math)
        self._drop_engine()

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer that ``compile`` was given."""
        return None if self._request is None else self._request.optimizer

    def _drop_engine(self) -> None:
        """Forget the entry points and the optimizer's state, and keep the values of everything else."""
        if self._engine is not None:
            roles = {name: variable.role for name, variable in self._engine.module.states.items()}
            mine = {variable.name for variable in self.states}
            self._loaded |= {
                name: np.array(value)
                for name, value in self._engine.values.items()
                if name in mine or roles[name] not in ("slot", "counter")
            }
        self._engine, self._trains = None, False

    @property
    def array_names(self) -> Names:
        """Names of the arrays that a batch consists of; those of Keras for one input and one output."""
        if not self._connected():
            return Names(("x",), target_names(("",)), weight_names(("",)))
        labels = list(self._outputs)
        return Names(tuple(str(tensor.name) for tensor in self._inputs), target_names(labels), weight_names(labels))

    # -- engines ---------------------------------------------------------------------------------------------------

    def _engine_for(self, batch: Batch | None, *, training: bool) -> Engine:
        """The engine with the entry points that are wanted; what was there keeps its values.

        Once samples have had weights they have them always, of 1 where nothing else is said.
        """
        self._connected(batch, required=True)
        weights_are_new = batch is not None and _more_axes(batch.weights, self._weight_axes)
        if self._engine is not None and (not training or (self._trains and not weights_are_new)):
            return self._engine
        entries: dict[str, Any] = {"predict": dict(self._outputs)}
        with self._at_work():
            if training:
                if self._request is None:
                    hint = "call compile(optimizer, loss) first"
                    raise GraphcValueError("E455", f"{self.name} is not compiled", hint=hint)
                entries |= training_entries(self._outputs, Batch(()) if batch is None else batch, self._request)
                self._weight_axes = () if batch is None else tuple(weight.ndim for weight in batch.weights)
            module = EntryPoints(**entries).module
        values = dict(self._loaded) if self._engine is None else {**self._loaded, **self._engine.values}
        if training:
            unknown = sorted(values.keys() - module.states.keys() - {variable.name for variable in self.states})
            if unknown:
                message = f"the loaded weights have {unknown[0]!r}, which {self.name} with its optimizer does not"
                hint = "compile with the optimizer that they were saved with, or load_weights(path, optimizer=False)"
                raise GraphcValueError("E566", message, hint=hint)
        self._engine = Engine(module, self._target, self.seed, values)
        self._loaded = {name: value for name, value in values.items() if name not in module.states}
        self._trains = training
        return self._engine

    @property
    def learning_rate(self) -> float:
        """The learning rate in use; assigning changes it from the next step on.

        Raises:
            GraphcValueError: the optimizer follows a schedule or a tensor of the user's.
        """
        return float(self._rate_variable()[()])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rate_variable()[...] = check_number("learning_rate", float(value), 0.0)

    def _rate_variable(self) -> Array:
        name = "" if self.optimizer is None else rate_name(self.optimizer)
        if self._engine is None or name not in self._engine.values:
            message = f"{self.name} has no learning rate that can be read or set"
            raise GraphcValueError("E455", message, hint="it has one once fit has begun, unless a schedule gives it")
        return self._engine.values[name]


def _more_axes(weights: Sequence[Array], known: tuple[int, ...]) -> bool:
    """Whether samples have weights, or their steps have, where the entry points do not take any."""
    return len(weights) > len(known) or any(weight.ndim > axes for weight, axes in zip(weights, known, strict=False))
