"""What a workload is: shapes, weights and a computation, stated once for every peer."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.peers.base import Kit

INFER, TRAIN = "infer", "train"
MODES = (INFER, TRAIN)

CHECKED_STEPS = 3
"""Training steps whose losses and final weights are compared before anything is timed."""


@dataclass(frozen=True)
class Data:
    """An input or a target.

    Attributes:
        shape: of the array, images as (batch, height, width, channels).
        classes: for class numbers (int64) how many there are; 0 for float32 values, normally distributed.
        binary: True for float32 labels 0 and 1.
        image: True where a peer may keep the array in the layout it likes best.
    """

    shape: tuple[int, ...]
    classes: int = 0
    binary: bool = False
    image: bool = False

    def values(self, random: np.random.Generator) -> np.ndarray:
        """An array of this kind."""
        if self.classes:
            return random.integers(0, self.classes, self.shape)
        if self.binary:
            return random.integers(0, 2, self.shape).astype(np.float32)
        return random.standard_normal(self.shape).astype(np.float32)


@dataclass(frozen=True)
class Parameter:
    """A weight.

    Attributes:
        shape: in the layout that everyone agrees on: ``dense`` (in, out), ``conv`` (height, width, in, out), recurrent
            kernels (in, gates · hidden) with gates i f g o (LSTM) and z r n (GRU).
        kind: what it is for, so that a peer can keep it in a layout of its own: ``plain``, ``dense``, ``image_dense``
            (rows are a flattened image), ``conv``, ``<cell>_kernel``, ``<cell>_recurrent``, ``<cell>_bias``, or
            ``statistic``, which is not trained.
        scale: standard deviation of the initial values; by default 1/√(inputs of a unit).
        offset: mean of the initial values.
        image: for ``image_dense``, (height, width, channels) of the image.
    """

    shape: tuple[int, ...]
    kind: str = "plain"
    scale: float | None = None
    offset: float = 0.0
    image: tuple[int, int, int] | None = None

    @property
    def trained(self) -> bool:
        """Whether an optimizer changes it."""
        return self.kind != "statistic"

    def values(self, random: np.random.Generator) -> np.ndarray:
        """The initial values."""
        scale = self.scale
        if scale is None:
            scale = 0.1 if len(self.shape) == 1 else 1 / math.sqrt(math.prod(self.shape[:-1]))
        return (self.offset + scale * random.standard_normal(self.shape)).astype(np.float32)


@dataclass(frozen=True)
class Product:
    """A matrix product (m × k) · (k × n) with a weight, or a convolution as one: what the limit counts.

    Attributes:
        m: rows: batch, or batch times positions.
        k: length of the sum.
        n: columns.
        count: how often a call runs it one after the other, on the same weight.
        input_gradient: False where training needs no gradient of the left operand: it is data.
        weight_gradient: False where the right operand is data as well, such as what an attention looks at.
        loop: products of one name run in turns, so that a cache must hold all their weights.
    """

    m: int
    k: int
    n: int
    count: int = 1
    input_gradient: bool = True
    weight_gradient: bool = True
    loop: str = ""

    @property
    def flops(self) -> float:
        """Of the forward pass: a multiplication and an addition a term."""
        return 2.0 * self.m * self.k * self.n * self.count

    @property
    def weight_bytes(self) -> float:
        """Size of the weight in float32."""
        return 4.0 * self.k * self.n


Values = Mapping[str, Any]
Forward = Callable[["Kit", Values, Values], Any]
Loss = Callable[["Kit", Any, Any], Any]


def identity(kit: Kit, output: Any) -> Any:
    """A head that leaves the output as it is."""
    return output


def cross_entropy(kit: Kit, output: Any, target: Any) -> Any:
    """Mean cross-entropy of logits (rows, classes) against class numbers (rows)."""
    return kit.cross_entropy(output, target)


def binary_cross_entropy(kit: Kit, output: Any, target: Any) -> Any:
    """Mean cross-entropy of logits against labels 0 and 1 of the same shape."""
    return kit.binary_cross_entropy(output, target)


def mean_square(kit: Kit, output: Any, target: Any) -> Any:
    """Mean squared difference."""
    return kit.mean_square(output, target)


@dataclass(frozen=True)
class Workload:
    """A computation and its data.

    Attributes:
        name: on the command line.
        title: in tables.
        inputs: what ``forward`` reads besides weights.
        parameters: the weights.
        forward: (kit, parameters, inputs) → output, written against the operations that every peer offers.
        products: what the limit is computed from; a test counts them again.
        target: what ``loss`` compares the output with; None for inference alone.
        loss: (kit, output, target) → scalar.
        head: what prediction does to the output.
        image_output: True where the output is an image, which peers may hold in a layout of their own.
        rate: of the optimizer.
        optimizer: ``sgd`` or ``adam``.
        steps: of a recurrence, 0 where there is none.
        batch: rows that share the weights; the aims for one row and for many differ.
        modes: what can be measured.
    """

    name: str
    title: str
    inputs: Mapping[str, Data]
    parameters: Mapping[str, Parameter]
    forward: Forward
    products: tuple[Product, ...]
    target: Data | None = None
    loss: Loss = cross_entropy
    head: Callable[[Kit, Any], Any] = field(default=identity)
    image_output: bool = False
    rate: float = 0.01
    optimizer: str = "sgd"
    steps: int = 0
    batch: int = 1
    modes: tuple[str, ...] = MODES
    _made: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    def input_values(self) -> dict[str, np.ndarray]:
        """The same inputs in every process, made when first asked for."""
        return dict(self._values("input", self.inputs))

    def parameter_values(self) -> dict[str, np.ndarray]:
        """The same initial weights in every process."""
        return dict(self._values("weight", self.parameters))

    def target_values(self) -> np.ndarray:
        """The same targets in every process."""
        if self.target is None:
            raise ValueError(f"{self.name} is for inference alone")
        return self._values("target", {"target": self.target})["target"]

    def _values(self, what: str, kinds: Mapping[str, Data] | Mapping[str, Parameter]) -> dict[str, np.ndarray]:
        if what not in self._made:
            self._made[what] = {name: kind.values(self._random(f"{what} {name}")) for name, kind in kinds.items()}
        return self._made[what]

    def _random(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.name}/{what}".encode()))
