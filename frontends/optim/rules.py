"""The optimizers.  Names, defaults and formulas are Keras'; PyTorch's spelling of an argument is understood beside it.

Where the two libraries add their small constant at different places, Keras' name ``epsilon`` puts it where Keras has
it, and PyTorch's name ``eps`` where PyTorch has it; so ``Adam(1e-3)`` is Keras' Adam, and ``Adam(lr=1e-3, eps=1e-8)``
is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.frontends.dsl.elementwise import sqrt, square
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.optimizer import LearningRate, Optimizer, Slots, check_number, scalar


class SGD(Optimizer):
    """Gradient descent: p' = p - rate · g; with momentum v' = m v - rate · g and p' = p + v'.

    Args:
        learning_rate: see :class:`Optimizer`.
        momentum: m, between 0 and 1.
        nesterov: True looks ahead: p' = p + m v' - rate · g.
        options: see :class:`Optimizer`.
    """

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        super().__init__(learning_rate, **options)
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)
        self.nesterov = nesterov

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """One step of one parameter."""
        change = gradient * rate
        if not self.momentum:
            return parameter - change
        before = slots.slot(parameter, "momentum")
        velocity = slots.update(before, before * self.momentum - change)
        return parameter + velocity * self.momentum - change if self.nesterov else parameter + velocity


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square (Kingma and Ba, 2014).

    Args:
        learning_rate: see :class:`Optimizer`.
        beta_1: of the mean of the gradient.
        beta_2: of the mean of its square.
        epsilon: added to the root of the mean square before bias correction, as in Keras.
        betas: PyTorch's name of (beta_1, beta_2).
        eps: added after bias correction, as in PyTorch, in place of ``epsilon``.
        options: see :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        betas: tuple[float, float] | None = None,
        eps: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        first, second = (beta_1, beta_2) if betas is None else betas
        self.beta_1 = check_number("beta_1", first, 0.0, 1.0, below=True)
        self.beta_2 = check_number("beta_2", second, 0.0, 1.0, below=True)
        self.epsilon = check_number("epsilon", epsilon, 0.0)
        self.eps = None if eps is None else check_number("eps", eps, 0.0)

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """One step of one parameter."""
        mean, square_mean = slots.slot(parameter, "momentum"), slots.slot(parameter, "velocity")
        m = slots.update(mean, mean + (gradient - mean) * (1.0 - self.beta_1))
        v = slots.update(square_mean, square_mean + (square(gradient) - square_mean) * (1.0 - self.beta_2))
        correction_1 = 1.0 - scalar(self.beta_1, parameter) ** step
        root = sqrt(1.0 - scalar(self.beta_2, parameter) ** step)
        if self.eps is not None:
            return parameter - (rate / correction_1) * m / (sqrt(v) / root + self.eps)
        return parameter - (rate * root / correction_1) * m / (sqrt(v) + self.epsilon)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017): p also shrinks by rate · weight_decay.

    Args:
        learning_rate: see :class:`Optimizer`.
        weight_decay: how much of a parameter goes, times the learning rate.
        options: as in :class:`Adam`.
    """

    def __init__(
        self, learning_rate: LearningRate = 0.001, weight_decay: float = 0.004, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(learning_rate, *arguments, **options)
        self.weight_decay = check_number("weight_decay", weight_decay, 0.0)

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """One step of one parameter."""
        return super().update(slots, parameter, gradient, rate, step) - parameter * (rate * self.weight_decay)


class Adagrad(Optimizer):
    """Steps scaled by the root of the sum of all squared gradients (Duchi et al., 2011).

    Args:
        learning_rate: see :class:`Optimizer`.
        initial_accumulator_value: where the sum begins.
        epsilon: added to the sum under the root, as in Keras.
        eps: added to the root, as in PyTorch, in place of ``epsilon``.
        options: see :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *,
        eps: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = check_number("initial_accumulator_value", initial_accumulator_value, 0.0)
        self.epsilon = check_number("epsilon", epsilon, 0.0)
        self.eps = None if eps is None else check_number("eps", eps, 0.0)

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """One step of one parameter."""
        before = slots.slot(parameter, "accumulator", self.initial_accumulator_value)
        total = slots.update(before, before + square(gradient))
        root = sqrt(total + self.epsilon) if self.eps is None else sqrt(total) + self.eps
        return parameter - gradient * rate / root


class RMSprop(Optimizer):
    """Steps scaled by the root of the running mean of squared gradients (Tieleman and Hinton, 2012).

    Args:
        learning_rate: see :class:`Optimizer`.
        rho: of the running mean.
        momentum: of the steps, 0 for none.
        epsilon: added to the mean under the root, as in Keras.
        centered: True subtracts the square of the mean gradient first.
        alpha: PyTorch's name of ``rho``.
        eps: added to the root, as in PyTorch, in place of ``epsilon``.
        options: see :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        alpha: float | None = None,
        eps: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = check_number("rho", rho if alpha is None else alpha, 0.0, 1.0, below=True)
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)
        self.epsilon = check_number("epsilon", epsilon, 0.0)
        self.centered = centered
        self.eps = None if eps is None else check_number("eps", eps, 0.0)

    def update(self, slots: Slots, parameter: Tensor, gradient: Tensor, rate: Tensor | float, step: Tensor) -> Tensor:
        """One step of one parameter."""
        before = slots.slot(parameter, "velocity")
        spread = slots.update(before, before * self.rho + square(gradient) * (1.0 - self.rho))
        if self.centered:
            mean = slots.slot(parameter, "average_gradient")
            spread = spread - square(slots.update(mean, mean * self.rho + gradient * (1.0 - self.rho)))
        root = sqrt(spread + self.epsilon) if self.eps is None else sqrt(spread) + self.eps
        direction = gradient / root
        if not self.momentum:
            return parameter - direction * rate
        speed = slots.slot(parameter, "momentum")
        if self.eps is None:
            return parameter - slots.update(speed, speed * self.momentum + direction * rate)
        # PyTorch keeps the learning rate out of the momentum, which matters where the rate changes.
        return parameter - slots.update(speed, speed * self.momentum + direction) * rate


def get(identifier: Any) -> Optimizer:
    """The optimizer meant by a name such as ``"adam"``, or by an object."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg]
    known: dict[str, Callable[[], Optimizer]] = {
        "sgd": SGD,
        "adam": Adam,
        "adamw": AdamW,
        "adagrad": Adagrad,
        "rmsprop": RMSprop,
    }
    return by_name(str(identifier).lower(), known, "optimizer")()
