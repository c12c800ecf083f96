"""LoopIR: the untiled meaning of one kernel.

A kernel is a rectangular iteration domain and a straight-line body in SSA form over it:

    kernel  = params, extents, values, stores
    value   = const | load(param, map) | gather(param, map, index·stride) | index(map)
            | apply(op, args) | reduce(combine, arg, axes) | scan(combine, arg, axis)
    store   = param[map (+ index·stride)] (= | +=) value
    map     = offset + Σ coefficient[axis]·axis            (in elements of the parameter's buffer)

A value lives on the axes it depends on; ``reduce`` removes axes, and later values may use the axes again (softmax reads
its row three times).  Read as loops, each value is computed at every point of its own axes, reductions complete before
their users start, and stores happen in row-major order of the domain.  Nothing here says how: tiling, vectors and
threads are a schedule's business.

The meaning is small enough to run directly (:mod:`graphc.kernel.run`), which is the oracle for lowering and for
backends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from graphc.ir.attrs import EMPTY, Attrs
from graphc.ir.types import DType

Combine = Literal["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]
ParamMode = Literal["in", "out", "inout"]
ValueId = int


@dataclass(frozen=True, slots=True)
class Param:
    """A pointer argument: the element type it points to and how it is used.

    No element that one parameter of a call writes is accessed through another one: memory that a kernel both reads and
        writes is one
    ``inout`` parameter, whose loads have the very map of its one store and feed no reduction, or whose stores
    accumulate.  Two parameters may point into one buffer, to different elements.
    """

    dtype: DType
    mode: ParamMode


@dataclass(frozen=True, slots=True)
class Map:
    """An affine function of the axes: ``offset + Σ coefficients[axis] * axis``, in elements; one coefficient an
    axis.
    """

    coefficients: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Const:
    """A scalar; ``bits`` is its value as raw little-endian bytes of ``dtype.storage``."""

    dtype: DType
    bits: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """The element of ``param`` at ``map``."""

    param: int
    map: Map
    dtype: DType


@dataclass(frozen=True, slots=True)
class Gather:
    """The element of ``param`` at ``map + index * stride``; the int64 index has been checked by an earlier kernel."""

    param: int
    map: Map
    index: ValueId
    stride: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Index:
    """The int64 value of an affine function of the axes."""

    map: Map
    dtype: DType


@dataclass(frozen=True, slots=True)
class Apply:
    """A pointwise op, by its name in the op registry, on scalars of its operands' dtypes.

    A ``cast`` is to ``dtype`` and has no attributes.  ``random_uniform`` is applied here too: args are seed, step
    and the element's flat index, perhaps an offset of the stream (all int64), attribute ``stream``.
    """

    op: str
    args: tuple[ValueId, ...]
    dtype: DType
    attrs: Attrs = EMPTY


@dataclass(frozen=True, slots=True)
class Reduce:
    """``arg`` combined over ``axes``.  argmax/argmin give the int64 position along their one axis, first of equals, NaN
    wins.

    ``dtype`` is the result's; half dtypes accumulate in float32 and round once.
    """

    combine: Combine
    arg: ValueId
    axes: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Scan:
    """Running sum of ``arg`` along ``axis`` (from the end where ``reverse``)."""

    arg: ValueId
    axis: int
    reverse: bool
    dtype: DType


Value = Const | Load | Gather | Index | Apply | Reduce | Scan


@dataclass(frozen=True, slots=True)
class Scatter:
    """A data-dependent part of a store's position: ``index * stride``."""

    index: ValueId
    stride: int


@dataclass(frozen=True, slots=True)
class Store:
    """Write ``value`` to ``param`` at ``map`` (plus a scatter), over ``axes`` (those the store runs over, in order).

    Where ``accumulate``, the value is added to what is there: iterations are ordered and must not be reordered across
        equal positions.
    """

    param: int
    map: Map
    value: ValueId
    axes: tuple[int, ...]
    accumulate: bool = False
    scatter: Scatter | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """One loop nest.  Compared structurally: equal kernels are compiled once.

    Attributes:
        params: pointer arguments in call order: first those that are only read, then those that are written.
        extents: size of each axis, 2 or more.  Axes of the largest result come first, outermost in memory first, then
            those that are only reduced; a contraction therefore has its batch, row and column axes before its inner
            ones.
        values: SSA body; ``values[i]`` may refer to earlier ones only.
        stores: what is written, in order.
        name: for people and symbols, unique in a program; not part of equality.
    """

    params: tuple[Param, ...]
    extents: tuple[int, ...]
    values: tuple[Value, ...]
    stores: tuple[Store, ...]
    name: str = field(default="kernel", compare=False)


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A kernel that is not a loop nest over a domain, by name, with integer parameters.

    ``check_index``: params (index buffer in); sizes (count, limit): fails with the position of the first index outside
        [0, limit).
    ``argsort``: params (in, out int64, scratch int64); sizes (outer, length, inner, descending): stable sort along the
        middle axis, NaN last; scratch has 2·length elements.
    """

    intrinsic: Literal["check_index", "argsort"]
    params: tuple[Param, ...]
    sizes: tuple[int, ...]
    name: str = field(default="intrinsic", compare=False)


AnyKernel = Kernel | Intrinsic


def operands(value: Value) -> tuple[ValueId, ...]:
    """The values that ``value`` is computed from."""
    match value:
        case Apply():
            return value.args
        case Gather():
            return (value.index,)
        case Reduce() | Scan():
            return (value.arg,)
        case _:
            return ()


def value_axes(kernel: Kernel) -> tuple[frozenset[int], ...]:
    """For each value the axes it depends on."""
    result: list[frozenset[int]] = []
    for value in kernel.values:
        axes = frozenset[int]().union(*(result[i] for i in operands(value)))
        match value:
            case Load(map=map_) | Gather(map=map_) | Index(map=map_):
                axes |= {axis for axis, coefficient in enumerate(map_.coefficients) if coefficient}
            case Reduce(axes=removed):
                axes -= set(removed)
            case Scan(axis=axis):
                axes |= {axis}
        result.append(axes)
    return tuple(result)
