"""What every optimizer is: hyperparameters, slots, and a step that is part of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.creation import state
from graphc.frontends.dsl.derivatives import grad
from graphc.frontends.dsl.model import Outputs, Step
from graphc.frontends.dsl.penalties import penalized
from graphc.frontends.dsl.replay import Replay
from graphc.frontends.dsl.session import session_of
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail
from graphc.frontends.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from graphc.frontends.optim.projections import projected
from graphc.ir.builder import user_location
from graphc.ir.node import Note
from graphc.ir.traverse import reachable
from graphc.ir.types import bool_

LearningRate = float | Tensor | Callable[[Tensor], Any]
"""A number, a scalar tensor (an input or a state variable, say), or a schedule: a function of the step."""


class Slots:
    """The state that a step keeps beside the parameters: one set for each ``minimize``.

    Attributes:
        prefix: of the names of its variables.
        updates: (variable, new value) so far.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.updates: list[tuple[Tensor, Tensor]] = []

    def slot(self, parameter: Tensor, name: str, initial: float = 0.0) -> Tensor:
        """The variable ``<optimizer>/<parameter>/<name>``, of the parameter's shape and dtype."""
        return state(f"{self.prefix}/{parameter.name}/{name}", initial, parameter.shape, parameter.dtype, role="slot")

    def update(self, variable: Tensor, value: Tensor) -> Tensor:
        """Note the new value of ``variable``, and give it back."""
        self.updates.append((variable, value.astype(variable.dtype)))
        return value


class Optimizer:
    """A rule that changes parameters along a gradient.

    Args:
        learning_rate: a number, a tensor, or a schedule (a function of the step, an int64 tensor that is 0 at first).
        clipnorm: longest gradient of one parameter.
        global_clipnorm: longest gradient of all parameters together.
        clipvalue: largest element of a gradient.
        name: prefix of the slots' names.
        lr: PyTorch's name of ``learning_rate``.

    Raises:
        GraphcValueError: E213 for a hyperparameter out of its range, or two kinds of clipping.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        name: str | None = None,
        lr: LearningRate | None = None,
    ) -> None:
        self.learning_rate: LearningRate = learning_rate if lr is None else lr
        if not isinstance(self.learning_rate, Tensor) and not callable(self.learning_rate):
            check_number("learning_rate", self.learning_rate, 0.0)
        self.clipnorm, self.global_clipnorm, self.clipvalue = clipnorm, global_clipnorm, clipvalue
        given = {"clipnorm": clipnorm, "global_clipnorm": global_clipnorm, "clipvalue": clipvalue}
        chosen = {label: limit for label, limit in given.items() if limit is not None}
        if len(chosen) > 1:
            raise fail(GraphcValueError, "E213", f"choose one kind of clipping, got {' and '.join(chosen)}")
        for label, limit in chosen.items():
            check_number(label, limit, 0.0)
        self.name = name or type(self).__name__.lower()

    # -- what a rule says ------------------------------------------------------------------------------------------

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """The new value of ``parameter``.

        Args:
            slots: where the rule keeps its own state.
            parameter: its value before.
            gradient: of the loss by it, clipped.
            rate: the learning rate, a number or a scalar of the parameter's dtype.
            step: the number of this step, counted from 1, as a scalar of the parameter's dtype.
        """
        raise fail(GraphcTypeError, "E213", f"{type(self).__name__} does not say how it updates: define update(...)")

    # -- what all of them do ---------------------------------------------------------------------------------------

    def minimize(self, loss: Tensor, parameters: Any = None, outputs: Outputs | None = None) -> Step:
        """One step down the gradient of ``loss``, as an entry point.

        Args:
            loss: a floating-point scalar; the penalties of regularized layers that it depends on are added.
            parameters: state variables (a list, tuple, dict, or one); by default all trainable ones that ``loss``
                depends on.
            outputs: what the entry point returns; by default the loss before the step.

        Returns:
            A step that updates the parameters, the slots and the step counter, with ``G.training`` true.
        """
        if not isinstance(loss, Tensor):
            raise fail(GraphcTypeError, "E225", f"minimize takes a tensor, got {type(loss).__name__}")
        loss = penalized(loss)
        chosen = _parameters(loss, parameters)
        loss, outputs = _while_training(loss, loss if outputs is None else outputs)
        gradients = grad(loss, chosen)
        return self.apply_gradients(list(zip(gradients, chosen, strict=True)), outputs)

    def apply_gradients(self, pairs: Sequence[tuple[Tensor, Tensor]], outputs: Outputs) -> Step:
        """A step from (gradient, parameter) pairs of one's own making."""
        gradients, parameters = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        builder = common_builder([*gradients, *parameters])
        prefix = session_of(builder).unique_name(self.name)
        place = user_location()
        with builder.noted(Note((place,) if place else (), (prefix,)), "update"):
            slots = Slots(prefix)
            counter = state(f"{prefix}/iteration", np.int64(0), role="counter")
            rate = self._rate(counter)
            clipped = self._clipped(gradients)
            following = counter + 1
            updates = []
            for parameter, gradient in zip(parameters, clipped, strict=True):
                mine = rate.astype(parameter.dtype) if isinstance(rate, Tensor) else rate
                step = following.astype(parameter.dtype)
                updates.append((parameter, projected(parameter, self.update(slots, parameter, gradient, mine, step))))
            return Step(outputs, [*updates, *slots.updates, (counter, following)], training=True)

    def _rate(self, counter: Tensor) -> Tensor | float:
        given = self.learning_rate
        if callable(given) and not isinstance(given, Tensor):
            given = given(counter)
        if not isinstance(given, Tensor):
            return float(given)
        if given.ndim != 0:
            raise fail(GraphcValueError, "E211", f"a learning rate is a scalar, got shape {given.shape}", None, given)
        return given

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return clip_by_value(gradients, self.clipvalue)
        if self.clipnorm is not None:
            return clip_by_norm(gradients, self.clipnorm)
        if self.global_clipnorm is not None:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        return gradients


def _while_training(loss: Tensor, outputs: Outputs) -> tuple[Tensor, Outputs]:
    """Both as they are where ``G.training`` is true: no derivative is taken of what training does not compute."""
    session = session_of(loss.builder)
    flag = session.op("training")
    replay = Replay(session, {flag: session.constant(True, bool_)})

    def known(tensor: Any) -> Any:
        # (What was made before the flag cannot read it; to look for it in a long loop takes a tenth of all the time.)
        if not isinstance(tensor, Tensor) or tensor.node.serial < flag.serial:
            return tensor
        return Tensor(replay.run([tensor.node])[0], session)

    if isinstance(outputs, Mapping):
        return known(loss), {name: known(tensor) for name, tensor in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return known(loss), type(outputs)(map(known, outputs))
    return known(loss), known(outputs)


def _parameters(loss: Tensor, given: Any) -> list[Tensor]:
    if given is None:
        states = [node for node in reachable([loss.node]) if node.op.name == "state"]
        nodes = [node for node in sorted(states, key=lambda node: node.serial) if node.attrs["state"].trainable]
        if not nodes:
            raise fail(GraphcValueError, "E225", "the loss depends on no trainable parameter", None, loss)
        return [Tensor(node, loss.builder) for node in nodes]
    items = (
        list(given.values())
        if isinstance(given, Mapping)
        else list(given)
        if isinstance(given, (list, tuple))
        else [given]
    )
    for item in items:
        if not isinstance(item, Tensor) or item.state is None:
            raise fail(
                GraphcTypeError,
                "E212",
                f"only state variables can be trained, got {item!r}",
                "make it with G.parameter",
            )
    if not items:
        raise fail(GraphcValueError, "E225", "there are no parameters to train", None, loss)
    return items


def check_number(name: str, value: Any, low: float, high: float = float("inf"), *, below: bool = False) -> float:
    """A hyperparameter between ``low`` and ``high`` (less than ``high`` where ``below``), E213 otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise fail(GraphcTypeError, "E213", f"{name} must be a number, got {value!r}")
    if not low <= value <= high or (below and value == high):
        limit = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise fail(GraphcValueError, "E213", f"{name} must be {limit}, got {value}")
    return float(value)


def scalar(value: float | Tensor, like: Tensor) -> Tensor:
    """A number as a constant of the dtype of ``like``."""
    return as_tensor(value, like.dtype, like.builder)
