"""Initial values of weights under their Keras names: deterministic functions of type, seed and the variable's name.

Each variable draws from a Philox generator of its own, keyed by a stable hash of its name, so a weight does not change
when another layer is added before it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.tensor import fail
from graphc.ir.types import DType, TensorType, bfloat16, from_carrier, round_to

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
]

Array = np.ndarray[Any, Any]


def generator(seed: int, name: str) -> np.random.Generator:
    """The random generator of the variable ``name``: the same in every process."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Inputs and outputs of one unit of a kernel: window sizes, then input and output channels."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def _stored(values: Any, dtype: DType) -> Array:
    """Values in boundary form."""
    if dtype is bfloat16:
        return from_carrier(round_to(np.asarray(values, dtype=np.float32), bfloat16), bfloat16)
    return np.asarray(values, dtype=dtype.storage)


@dataclass(frozen=True)
class Initializer:
    """A way to fill a weight.

    Attributes:
        seed: takes the place of the model's seed.
    """

    seed: int | None = None

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """The values, in float64 or any dtype that converts."""
        raise GraphcTypeError("E213", f"{type(self).__name__} does not say how to draw")

    def __call__(self, type: TensorType, seed: int, name: str = "") -> Array:
        """The value of the variable ``name``, in boundary form."""
        values = self.draw(generator(seed if self.seed is None else self.seed, name), type.static_shape)
        return _stored(values, type.dtype)


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere, or an array of the weight's shape."""

    value: Any = 0.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """The value, repeated."""
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Zeros(Initializer):
    """Zeros."""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Zeros of ``shape``."""
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """Ones."""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Ones of ``shape``."""
        return np.ones(shape)


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform numbers between two limits."""

    minval: float = -0.05
    maxval: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Numbers in [minval, maxval)."""
        return random.uniform(self.minval, self.maxval, shape)


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal numbers."""

    mean: float = 0.0
    stddev: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Normal numbers of ``shape``."""
        return random.normal(self.mean, self.stddev, shape)


def _truncated(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, those beyond two standard deviations drawn again."""
    values = np.asarray(random.standard_normal(shape))
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = random.standard_normal(int(outside.sum()))
    return values


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal numbers within two standard deviations of the mean."""

    mean: float = 0.0
    stddev: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Truncated normal numbers of ``shape``."""
        return self.mean + self.stddev * _truncated(random, shape)


# The standard deviation of a normal distribution cut off at two standard deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Numbers whose variance is ``scale`` over the number of a unit's inputs, outputs, or their mean."""

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Numbers of ``shape`` with the variance asked for."""
        inputs, outputs = fans(shape)
        units = {"fan_in": float(inputs), "fan_out": float(outputs), "fan_avg": (inputs + outputs) / 2.0}.get(self.mode)
        if units is None:
            raise GraphcValueError("E213", f"mode is fan_in, fan_out or fan_avg, got {self.mode!r}")
        variance = self.scale / max(1.0, units)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(-limit, limit, shape)
        if self.distribution == "truncated_normal":
            return math.sqrt(variance) / _TRUNCATED_DEVIATION * _truncated(random, shape)
        if self.distribution in ("normal", "untruncated_normal"):
            return random.normal(0.0, math.sqrt(variance), shape)
        raise GraphcValueError(
            "E213",
            f"unknown distribution {self.distribution!r}",
            hint="uniform, truncated_normal or untruncated_normal",
        )


@dataclass(frozen=True)
class _Scaled(Initializer):
    """A variance scaling with its figures fixed."""

    _rule: ClassVar[tuple[float, str, str]]

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Numbers of ``shape`` by the fixed rule."""
        scale, mode, distribution = self._rule
        return VarianceScaling(None, scale, mode, distribution).draw(random, shape)


@dataclass(frozen=True)
class GlorotUniform(_Scaled):
    """Uniform within ±√(6 / (inputs + outputs)) (Glorot and Bengio, 2010)."""

    _rule = (1.0, "fan_avg", "uniform")


@dataclass(frozen=True)
class GlorotNormal(_Scaled):
    """Truncated normal of variance 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""

    _rule = (1.0, "fan_avg", "truncated_normal")


@dataclass(frozen=True)
class HeUniform(_Scaled):
    """Uniform within ±√(6 / inputs) (He et al., 2015)."""

    _rule = (2.0, "fan_in", "uniform")


@dataclass(frozen=True)
class HeNormal(_Scaled):
    """Truncated normal of variance 2 / inputs (He et al., 2015)."""

    _rule = (2.0, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class LecunUniform(_Scaled):
    """Uniform within ±√(3 / inputs) (LeCun et al., 1998)."""

    _rule = (1.0, "fan_in", "uniform")


@dataclass(frozen=True)
class LecunNormal(_Scaled):
    """Truncated normal of variance 1 / inputs (LeCun et al., 1998)."""

    _rule = (1.0, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer (Saxe et al., 2014)."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """An orthogonal matrix of the leading axes by the last."""
        if len(shape) < 2:
            raise GraphcValueError("E213", f"an orthogonal weight needs 2 dimensions or more, got shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        basis, triangle = np.linalg.qr(random.standard_normal((max(rows, columns), min(rows, columns))))
        # A sign for each column makes the distribution uniform, whatever signs the factorisation prefers.
        basis = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)
        return self.gain * (basis if rows >= columns else basis.T).reshape(shape)


@dataclass(frozen=True)
class Identity(Initializer):
    """The identity matrix."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Ones on the diagonal, times the gain."""
        if len(shape) != 2:
            raise GraphcValueError("E213", f"an identity needs 2 dimensions, got shape {shape}")
        return self.gain * np.eye(*shape)


@dataclass(frozen=True)
class BlockOfOnes(Initializer):
    """Ones from ``start`` to ``stop`` along the last axis, and what another initializer gives elsewhere."""

    rest: Any = "zeros"
    start: int = 0
    stop: int = 0

    def __call__(self, type: TensorType, seed: int, name: str = "") -> Array:
        """The value of the variable ``name``, in boundary form."""
        values = np.array(bound(self.rest, name, type)(type, seed))
        values[..., self.start : self.stop] = _stored(1.0, type.dtype)
        return values


_BY_NAME: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "uniform": RandomUniform,
    "random_uniform": RandomUniform,
    "normal": RandomNormal,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "identity": Identity,
}


def get(identifier: Any) -> Initializer | Callable[..., Any]:
    """The initializer meant by a name, an object, a class or a function of (type, seed)."""
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if isinstance(identifier, str):
        return by_name(identifier, _BY_NAME, "initializer")()
    if isinstance(identifier, (int, float)):
        return Constant(value=identifier)
    if callable(identifier):
        function: Callable[..., Any] = identifier
        return function
    message = f"an initializer is a name or an object of nn.initializers, got {identifier!r}"
    raise fail(GraphcTypeError, "E213", message)


@dataclass(frozen=True)
class _Bound:
    """An initializer together with the name of the variable it fills."""

    initializer: Initializer
    name: str

    def __call__(self, type: TensorType, seed: int) -> Array:
        return self.initializer(type, seed, self.name)


def bound(identifier: Any, name: str, type: TensorType) -> Callable[[TensorType, int], Array]:
    """What a state variable called ``name`` keeps as its initial value; None stands for the default of its rank."""
    if identifier is None:
        identifier = "glorot_uniform" if type.rank >= 2 else "zeros"
    found = get(identifier)
    return _Bound(found, name) if isinstance(found, Initializer) else found
