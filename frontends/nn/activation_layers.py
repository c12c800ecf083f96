"""Activations as layers.

``ReLU``, ``LeakyReLU``, ``PReLU``, ``ELU`` and ``Softmax`` are Keras' layers, with its arguments and defaults; the
others have PyTorch's names and take no arguments but ``name``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from graphc.errors import GraphcValueError
from graphc.frontends.dsl import activations as functions
from graphc.frontends.dsl.axes import normalize_axis
from graphc.frontends.dsl.elementwise import greater, minimum, relu, sigmoid, softplus, step, tanh, where
from graphc.frontends.dsl.tensor import Tensor, as_tensor, fail
from graphc.frontends.nn import activations
from graphc.frontends.nn.checks import axes_argument
from graphc.frontends.nn.layer import Layer
from graphc.frontends.optim.optimizer import check_number
from graphc.ir.dim import Dim
from graphc.ir.types import bool_


class ReLU(Layer):
    """X from ``threshold`` to ``max_value``, negative_slope (x - threshold) below.

    Args:
        max_value: the largest output; None for no limit.
        negative_slope: below the threshold.
        threshold: where the line begins.
        options: as in :class:`Layer`.
    """

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"inplace": None}

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else check_number("max_value", max_value, 0.0)
        self.negative_slope = check_number("negative_slope", negative_slope, 0.0)
        self.threshold = check_number("threshold", threshold, 0.0)

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        if self.threshold == 0.0 and self.negative_slope == 0.0:
            result = relu(x)
        else:
            result = where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        return result if self.max_value is None else minimum(result, self.max_value)


class LeakyReLU(Layer):
    """X where positive, else negative_slope x."""

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"inplace": None}

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        super().__init__(**options)
        self.negative_slope = check_number("negative_slope", negative_slope, 0.0)

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return functions.leaky_relu(x, self.negative_slope)


class ELU(Layer):
    """X where positive, else alpha (exp(x) - 1)."""

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"inplace": None}

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = check_number("alpha", alpha, 0.0)

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return functions.elu(x, self.alpha)


class PReLU(Layer):
    """X where positive, else alpha x with a learned alpha for each element of a sample (He et al., 2015).

    Args:
        shared_axes: axes, counted from 1, along which there is one alpha.
        options: as in :class:`Layer`; ``alpha_…`` of ``<name>/alpha``.
    """

    supports_masking = True
    default_initializers: ClassVar[Mapping[str, str]] = {"alpha": "zeros"}

    def __init__(self, shared_axes: int | Sequence[int] | None = None, **options: Any) -> None:
        super().__init__(**options)
        given = shared_axes if isinstance(shared_axes, (list, tuple)) else () if shared_axes is None else (shared_axes,)
        self.shared_axes = tuple(given)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """One alpha an element of a sample."""
        for axis in self.shared_axes:
            if normalize_axis(axis, len(shape)) == 0:
                raise fail(GraphcValueError, "E217", f"{self.name}: samples do not share an alpha, got axis {axis}")
        wanted = [1 if axis in self.shared_axes else dim for axis, dim in enumerate(shape[1:], start=1)]
        self.alpha = self.add_weight("alpha", wanted, self.recipes["alpha"])

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return relu(x) - self.alpha * relu(-x)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along ``axis``; elements that ``mask`` leaves out get 0.

    The mask of a sequence (batch, time) goes on to the next layer: a step that does not count has all of its elements.
    """

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"dim": "axis"}

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axes_argument(axis)

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """The distribution."""
        if mask is None:
            return functions.softmax(x, self.axis)
        kept = as_tensor(mask, None, x.builder)
        if kept.shape == x.shape[: kept.ndim] and kept.ndim < x.ndim:
            return functions.softmax(x, self.axis)
        if kept.dtype is not bool_:
            kept = greater(kept, 0.5) if kept.dtype.is_float else kept != 0
        low = -3e4 if x.dtype.is_half else -1e9
        return where(kept, functions.softmax(where(kept, x, low), self.axis), 0)


class _Fixed(Layer):
    """An activation without arguments."""

    supports_masking = True
    torch_names: ClassVar[Mapping[str, str | None]] = {"inplace": None}
    function: ClassVar[staticmethod[..., Tensor]]
    arguments: Mapping[str, Any] = {}

    def call(self, x: Tensor) -> Tensor:
        """The activation."""
        return type(self).function(x, **self.arguments)


class SELU(_Fixed):
    """The self-normalizing elu."""

    function = staticmethod(functions.selu)


class GELU(_Fixed):
    """X Φ(x), with the normal distribution's Φ; ``approximate`` (True or ``"tanh"``) takes its tanh form."""

    function = staticmethod(functions.gelu)

    def __init__(self, approximate: bool | str = False, **options: Any) -> None:
        super().__init__(**options)
        if approximate not in (True, False, "tanh", "none"):
            raise fail(GraphcValueError, "E213", f"approximate is True, False, 'tanh' or 'none', got {approximate!r}")
        self.arguments = {"approximate": approximate in (True, "tanh")}


class SiLU(_Fixed):
    """X sigmoid(x), also called swish."""

    function = staticmethod(functions.silu)


class Sigmoid(_Fixed):
    """1 / (1 + exp(-x))."""

    function = staticmethod(sigmoid)


class Tanh(_Fixed):
    """The hyperbolic tangent."""

    function = staticmethod(tanh)


class Softplus(_Fixed):
    """log(1 + exp(x))."""

    function = staticmethod(softplus)


class Softsign(_Fixed):
    """X / (1 + |x|)."""

    function = staticmethod(functions.softsign)


class LogSoftmax(_Fixed):
    """log(softmax(x)) along ``axis``."""

    function = staticmethod(functions.log_softmax)
    torch_names: ClassVar[Mapping[str, str | None]] = {"dim": "axis"}

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.arguments = {"axis": axes_argument(axis)}


class LogSigmoid(_Fixed):
    """log(sigmoid(x))."""

    function = staticmethod(functions.log_sigmoid)


class HardSigmoid(_Fixed):
    """X / 6 + 1/2, kept between 0 and 1."""

    function = staticmethod(functions.hard_sigmoid)


class HardTanh(_Fixed):
    """X, kept between -1 and 1."""

    function = staticmethod(functions.hard_tanh)


class HardSwish(_Fixed):
    """X hard_sigmoid(x)."""

    function = staticmethod(activations.hard_silu)


class ReLU6(_Fixed):
    """X, kept between 0 and 6."""

    function = staticmethod(functions.relu6)


Hardsigmoid, Hardswish, Hardtanh = HardSigmoid, HardSwish, HardTanh


class Step(_Fixed):
    """1 where x is positive, else 0; its derivative is 0."""

    function = staticmethod(step)
