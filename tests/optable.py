"""The table of ops that drives the differential, gradient and oracle suites: what a row is, and how rows become cells.

A row is a way to build a node of one op: shapes and values of its operands, its attributes, and the dtypes for which it
makes sense.  A row with a dtype is a cell.  The rows stand in the ``optable_*`` modules; a test
fails for an op without any.

Floats of a cell agree within ``r · (|value| + condition)``.  The condition of an output is the sum of what one unit in
the last place of each
input does to it, in units of that precision: |∂f/∂x · x| to first order, measured on a float64 evaluation.  It is
capped, so that an ill-conditioned point (the sine of 1e38) does not excuse any answer, and it is zero for rows that sit
on a tie or a jump on purpose.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc.ops  # noqa: F401  (fills the registry)
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.types import (
    DType,
    TensorType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    from_carrier,
    round_to,
    tensor_type,
    to_carrier,
)

Array = np.ndarray[Any, Any]
Values = Callable[[np.random.Generator, tuple[int, ...], DType], Any]
"""(generator, shape, dtype) → numbers, which the cell rounds to the dtype."""

Build = Callable[[Builder, Sequence[Node], DType], Sequence[Node]]
"""(builder, operands, dtype of the cell) → the nodes to compare."""

TOLERANCE: Mapping[DType, float] = {float64: 1e-11, float32: 1e-5, float16: 2e-3, bfloat16: 1.6e-2}
EPSILON: Mapping[DType, float] = {float64: 2.0**-52, float32: 2.0**-23, float16: 2.0**-10, bfloat16: 2.0**-7}
SMALLEST: Mapping[DType, float] = {float64: 2.0**-1074, float32: 2.0**-149, float16: 2.0**-24, bfloat16: 2.0**-133}
"""The distance of subnormal numbers: below it there is nothing to be accurate about."""

CONDITION_CAP = 64.0
_PERTURBATIONS = 4


@dataclass(frozen=True)
class Operand:
    """One operand of a row; ``dtype`` is that of the cell unless it is given."""

    shape: tuple[int, ...]
    values: Values
    dtype: DType | None = None

    def type(self, element: DType) -> TensorType:
        """Its type in a cell of ``element``."""
        return tensor_type(self.dtype or element, self.shape)

    def array(self, rng: np.random.Generator, element: DType) -> Array:
        """A boundary array."""
        dtype = self.dtype or element
        drawn = np.asarray(self.values(rng, self.shape, dtype))
        if dtype.is_float:
            with np.errstate(over="ignore"):
                return from_carrier(round_to(drawn.astype(dtype.compute), dtype), dtype).reshape(self.shape)
        return drawn.astype(dtype.storage).reshape(self.shape)


@dataclass(frozen=True)
class Row:
    """One way to build nodes of ``op``.

    Attributes:
        op: a registered op; the nodes compared are of this op, or depend on one.
        label: unique among the rows of the op.
        operands: of the node.
        dtypes: for which the row makes sense.
        attrs: of the node.
        build: where a node is not simply ``op(operands; attrs)``.
        smooth: False where the values sit on a jump, a kink or a tie, or are no numbers: no condition, no derivatives.
        moves: True where floats must agree bit for bit, too.
    """

    op: str
    label: str
    operands: tuple[Operand, ...]
    dtypes: tuple[DType, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    build: Build | None = None
    smooth: bool = True
    moves: bool = False


@dataclass(frozen=True)
class Cell:
    """A row at a dtype."""

    row: Row
    dtype: DType

    @property
    def name(self) -> str:
        """``op/label/dtype``."""
        return f"{self.row.op}/{self.row.label}/{self.dtype}"

    @functools.cached_property
    def arrays(self) -> list[Array]:
        """Boundary arrays for the operands, the same in every run."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return [operand.array(rng, self.dtype) for operand in self.row.operands]

    @property
    def types(self) -> list[TensorType]:
        """Types of the operands."""
        return [operand.type(self.dtype) for operand in self.row.operands]

    def nodes(self, b: Builder, operands: Sequence[Node]) -> list[Node]:
        """The nodes to compare."""
        if self.row.build is not None:
            return list(self.row.build(b, operands, self.dtype))
        return [b.make(self.row.op, operands, self.row.attrs)]

    @functools.cached_property
    def graph(self) -> Graph:
        """The cell alone as a graph with inputs x0, x1, … and outputs y0, y1, …"""
        return self.at(self.dtype)

    def at(self, element: DType) -> Graph:
        """The graph of the row at another dtype."""
        b = Builder()
        inputs = [b.input(f"x{k}", operand.type(element)) for k, operand in enumerate(self.row.operands)]
        outputs = Cell(self.row, element).nodes(b, inputs)
        return Graph.make("cell", inputs, [(f"y{k}", node) for k, node in enumerate(outputs)], builder=b)

    @functools.cached_property
    def expected(self) -> list[Array]:
        """What the reference evaluator gives."""
        return list(evaluate(self.graph, self.arrays)[0].values())

    @functools.cached_property
    def conditions(self) -> list[Array | None]:
        """For each floating-point output its condition; None where it has none."""
        outputs = self.graph.output_nodes
        if not self.row.smooth or not self.dtype.is_float or not any(node.dtype.is_float for node in outputs):
            return [None] * len(outputs)
        graph = self.at(float64)
        wide = [to_carrier(a, type_.dtype) for a, type_ in zip(self.arrays, self.types, strict=True)]
        exact = [
            a.astype(np.float64) if o.dtype is None and self.dtype.is_float else a
            for a, o in zip(wide, self.row.operands, strict=True)
        ]
        value = list(evaluate(graph, exact)[0].values())
        rng = np.random.default_rng(len(self.name))
        total = [np.zeros(v.shape) for v in value]
        for _ in range(_PERTURBATIONS):
            moved = [
                a + rng.choice((-1.0, 1.0), a.shape) * EPSILON[self.dtype] * np.abs(a) if a.dtype == np.float64 else a
                for a in exact
            ]
            for position, there in enumerate(evaluate(graph, moved)[0].values()):
                with np.errstate(all="ignore"):
                    total[position] += np.nan_to_num(
                        np.abs(there.astype(float) - value[position].astype(float)), nan=0.0, posinf=0.0
                    )
        found: list[Array | None] = []
        for change, v, node in zip(total, value, outputs, strict=True):
            cap = CONDITION_CAP * np.maximum(1.0, np.nan_to_num(np.abs(v.astype(float)), posinf=0.0))
            found.append(np.minimum(change / EPSILON[self.dtype], cap) if node.dtype.is_float else None)
        return found

    def mismatch(self, outputs: Sequence[Array]) -> str | None:
        """What is wrong with ``outputs``, or None."""
        rows = zip(self.graph.output_nodes, outputs, self.expected, self.conditions, strict=True)
        for position, (node, got, expected, condition) in enumerate(rows):
            wrong = difference(got, expected, node.dtype, condition, bits=self.row.moves)
            if wrong is not None:
                arguments = ", ".join(map(str, self.arrays)) if sum(a.size for a in self.arrays) < 60 else "…"
                return f"{self.name}, output {position}: {wrong}; inputs {arguments}"
        return None


def difference(
    got: Array, expected: Array, element: DType, condition: Array | None = None, *, bits: bool = False
) -> str | None:
    """In words, where two boundary arrays of ``element`` differ by more than they may."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"{got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}"
    left, right = to_carrier(got, element), to_carrier(expected, element)
    if not element.is_float:
        wrong = left != right
    elif bits:
        # The sign and payload of a NaN are nobody's business; the sign of zero is.
        wrong = (left != right) | (np.signbit(left) != np.signbit(right))
        wrong &= ~(np.isnan(left) & np.isnan(right))
    else:
        left, right = left.astype(np.float64), right.astype(np.float64)
        with np.errstate(all="ignore"):
            allowed = (
                TOLERANCE[element] * (np.abs(right) + (0.0 if condition is None else condition)) + 2 * SMALLEST[element]
            )
            close = np.abs(left - right) <= allowed
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        wrong = ~(same | (close & np.isfinite(left) & np.isfinite(right)))
    if not np.any(wrong):
        return None
    places = np.argwhere(np.atleast_1d(wrong))
    first = tuple(int(i) for i in places[0])[: got.ndim]
    return f"{len(places)} of {got.size} differ, first at {first}: {left[first]!r} instead of {right[first]!r}"


@functools.cache
def rows() -> tuple[Row, ...]:
    """The whole table."""
    from tests import optable_pointwise, optable_regions, optable_structure, optable_views

    parts = (optable_pointwise, optable_structure, optable_regions, optable_views)
    return tuple(row for part in parts for row in part.rows())


def cells(op: str | None = None, *, dtype: DType | None = None, smooth: bool = False) -> Iterator[Cell]:
    """The cells of an op (of all ops), of a dtype, with rows that have derivatives only."""
    for row in rows():
        if (op is not None and row.op != op) or (smooth and not row.smooth):
            continue
        for element in row.dtypes:
            if dtype is None or element is dtype:
                yield Cell(row, element)


# -- values ----------------------------------------------------------------------------------------------------------


def between(low: float, high: float) -> Values:
    """Uniform numbers; whole ones for integers, coin flips for bools."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if dtype is bool_:
            return rng.integers(0, 2, shape)
        if dtype.is_integer:
            return rng.integers(max(low, 0) if dtype.kind == "uint" else int(low), int(high) + 1, shape)
        return rng.uniform(low, high, shape)

    return draw


def away_from_zero(low: float, high: float) -> Values:
    """Magnitudes from ``low`` to ``high`` of either sign."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if dtype is bool_ or dtype.is_integer:
            return np.asarray(between(-high, high)(rng, shape, dtype))
        return rng.uniform(low, high, shape) * rng.choice((-1.0, 1.0), shape)

    return draw


def choice(*options: float) -> Values:
    """One of a few numbers each."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        allowed = [option for option in options if dtype.kind != "uint" or option >= 0]
        return rng.choice(np.asarray(allowed), shape)

    return draw


def distinct(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Different numbers in a random order, 1/8 apart around 0."""
    count = int(np.prod(shape, dtype=int))
    order = rng.permutation(count).reshape(shape)
    if dtype is bool_:
        return order % 2
    if dtype.is_integer:
        return order % 200 - (0 if dtype.kind == "uint" else 100)
    return (order - count / 2 + 0.25) / 8


def given(*numbers: Any) -> Values:
    """These numbers."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        return np.asarray(numbers[0] if len(numbers) == 1 else numbers).reshape(shape)

    return draw


def specials(dtype: DType) -> Array:
    """The values at the edges of a dtype."""
    if dtype is bool_:
        return np.asarray([False, True])
    if dtype.is_integer:
        limits = np.iinfo(dtype.storage)
        picked = [limits.min, limits.min + 1, -2, -1, 0, 1, 2, 3, 7, limits.max - 1, limits.max]
        return np.asarray([n for n in picked if n >= limits.min], dtype=np.int64)
    largest = {
        float16: 65504.0,
        bfloat16: 3.3895313892515355e38,
        float32: 3.4028234663852886e38,
        float64: 1.7976931348623157e308,
    }[dtype]
    normal = {float16: 2.0**-14, bfloat16: 2.0**-126, float32: 2.0**-126, float64: 2.0**-1022}[dtype]
    tiny = SMALLEST[dtype]
    halves = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.0]
    positive = [0.0, tiny, 5 * tiny, normal, *halves, 300.5, largest, np.inf]
    return np.asarray([*positive, *(-x for x in positive), np.nan])


def edge(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Special values, repeated in a random order to fill the shape."""
    return rng.choice(specials(dtype), shape) if np.prod(shape, dtype=int) else np.zeros(shape)
