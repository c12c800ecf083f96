"""Builds one kernel: values in SSA form over axes made on the way, then a canonical form: equal loop nests are equal.

The operands and destinations of the kernel are *abstract* views: ``buffer`` is the operand's number, ``offset``
counts from the pointer that the call will pass.  Constant offsets become part of that pointer, so that kernels which
differ only in where they read are one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.ir.attrs import EMPTY, ArrayValue, Attrs
from graphc.ir.types import DType, float32, int64
from graphc.kernel import loopir
from graphc.kernel.affine import ZERO, IndexMap, axes_of, axis_map, combined
from graphc.kernel.loopir import (
    Apply,
    Combine,
    Const,
    Gather,
    Index,
    Kernel,
    Load,
    Map,
    Param,
    Reduce,
    Scan,
    Scatter,
    Store,
    Value,
    ValueId,
)
from graphc.kernel.views import View


class NotOneKernel(Exception):
    """The body cannot be one kernel: its nodes are lowered one by one instead.  Never reaches the user."""


class NotInPlace(Exception):
    """The kernel reads what it overwrites at other positions: it gets another destination.  Never reaches the user."""


@dataclass(frozen=True, slots=True)
class Argument:
    """Where a parameter of a finished kernel points: operand or destination ``number``, plus ``offset`` elements."""

    is_destination: bool
    number: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Pointer:
    """A parameter while the kernel is being built."""

    argument: Argument
    dtype: DType


class KernelBuilder:
    """Collects the values and stores of one kernel.

    Args:
        destinations: abstract views of what is written.
        in_place: for each destination the operand whose memory it takes over, or None.
    """

    def __init__(self, destinations: Sequence[View], in_place: Sequence[int | None]) -> None:
        self.destinations = destinations
        self.extents: list[int] = []
        self._taken = {operand: number for number, operand in enumerate(in_place) if operand is not None}
        self._values: list[Value] = []
        self._numbers: dict[Value, ValueId] = {}
        self._pointers: dict[Argument, int] = {}
        self._params: list[_Pointer] = []
        self._stores: list[Store] = []

    # -- axes and values -------------------------------------------------------------------------------------------

    def axis(self, extent: int) -> Map:
        """A new axis; the constant 0 where it would have one element only."""
        if extent == 1:
            return ZERO
        self.extents.append(extent)
        return axis_map(len(self.extents) - 1)

    def axes(self, shape: Iterable[int]) -> IndexMap:
        """A new axis a dimension."""
        return tuple(self.axis(extent) for extent in shape)

    def _value(self, value: Value) -> ValueId:
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self._values)
            self._values.append(value)
        return number

    def dtype_of(self, value: ValueId) -> DType:
        """Element type of a value."""
        return self._values[value].dtype

    def const(self, dtype: DType, bits: bytes) -> ValueId:
        """A scalar from its storage bits."""
        return self._value(Const(dtype, bits))

    def number(self, dtype: DType, number: int | bool) -> ValueId:
        """A small integer as a scalar of ``dtype``."""
        return self.const(dtype, ArrayValue.from_carrier(np.asarray(number, dtype.carrier), dtype).array.tobytes())

    def load(self, view: View, index: IndexMap) -> ValueId:
        """The element of an operand (or a view of one) at ``index``."""
        param, map_ = self._pointer(view, index)
        return self._value(Load(param, map_, view.dtype))

    def gather(self, view: View, index: IndexMap, position: ValueId, stride: int) -> ValueId:
        """The element of an operand at ``index``, ``position · stride`` further on."""
        param, map_ = self._pointer(view, index)
        return self._value(Gather(param, map_, self.cast(position, int64), stride, view.dtype))

    def index(self, map_: Map) -> ValueId:
        """The int64 value of an affine function of the axes."""
        return self._value(Index(map_, int64))

    def apply(self, op: str, args: Sequence[ValueId], dtype: DType, attrs: Attrs = EMPTY) -> ValueId:
        """A pointwise op."""
        return self._value(Apply(op, tuple(args), dtype, attrs))

    def cast(self, value: ValueId, dtype: DType) -> ValueId:
        """The value in ``dtype``; itself where it has it."""
        return value if self.dtype_of(value) is dtype else self.apply("cast", (value,), dtype)

    def reduce(self, combine: Combine, value: ValueId, axes: Sequence[int], dtype: DType) -> ValueId:
        """The value combined over ``axes``; half dtypes accumulate in float32 and are rounded once, at the end."""
        if combine in ("argmax", "argmin"):
            wide = self.cast(value, float32) if self.dtype_of(value).is_half else value
            return self._value(Reduce(combine, wide, tuple(axes), dtype))
        inner = float32 if dtype.is_half else dtype
        result = self.cast(value, inner)
        if axes:
            result = self._value(Reduce(combine, result, tuple(axes), inner))
        return self.cast(result, dtype)

    def scan(self, value: ValueId, axis: int, reverse: bool, dtype: DType) -> ValueId:
        """The running sum along ``axis``; half dtypes as in :meth:`reduce`."""
        inner = float32 if dtype.is_half else dtype
        return self.cast(self._value(Scan(self.cast(value, inner), axis, reverse, inner)), dtype)

    def store(
        self,
        number: int,
        index: IndexMap,
        value: ValueId,
        axes: Sequence[int],
        *,
        accumulate: bool = False,
        scatter: Scatter | None = None,
    ) -> None:
        """Write ``value`` to destination ``number`` at ``index``, over ``axes``."""
        view = self.destinations[number]
        if view.dtype is not self.dtype_of(value):
            raise AssertionError(f"a {self.dtype_of(value)} value for a {view.dtype} destination")
        map_ = combined(index, view.strides, view.offset)
        param = self._param(Argument(True, number, 0), view.dtype)
        self._stores.append(Store(param, map_, value, tuple(axes), accumulate, scatter))

    def _pointer(self, view: View, index: IndexMap) -> tuple[int, Map]:
        map_ = combined(index, view.strides, view.offset)
        taken = self._taken.get(view.buffer)
        if taken is not None:
            # Memory that is also written is one pointer, so that the backend sees the two accesses together.
            return self._param(Argument(True, taken, 0), view.dtype), map_
        return self._param(Argument(False, view.buffer, map_.offset), view.dtype), Map(map_.coefficients)

    def _param(self, argument: Argument, dtype: DType) -> int:
        number = self._pointers.get(argument)
        if number is None:
            number = self._pointers[argument] = len(self._params)
            self._params.append(_Pointer(argument, dtype))
        return number

    # -- the finished kernel ---------------------------------------------------------------------------------------

    def finish(self, name: str) -> tuple[Kernel, tuple[Argument, ...]]:
        """The kernel in canonical form and what its parameters point to.

        Raises:
            NotInPlace: an operand that is overwritten is read at another position than the one written.
        """
        live = self._live_values()
        groups = self._merged_axes(live)
        number_of = {value: position for position, value in enumerate(live)}
        used: list[int] = []
        for value in live:
            match self._values[value]:
                case Load(param=param) | Gather(param=param):
                    used.append(param)
        reads = set(used)
        written = [store.param for store in self._stores]
        order = [p for p in dict.fromkeys(used) if not self._params[p].argument.is_destination]
        order += sorted(set(written), key=lambda p: self._params[p].argument.number)
        param_of = {param: position for position, param in enumerate(order)}
        axis_of = {axis: position for position, group in enumerate(groups) for axis in group}
        rewriter = _Rewriter(groups, axis_of, param_of, number_of)
        values = tuple(rewriter.value(self._values[value]) for value in live)
        stores = tuple(rewriter.store(store) for store in self._stores)
        accumulated = {store.param for store in self._stores if store.accumulate}
        params = []
        for param in order:
            pointer = self._params[param]
            mode: loopir.ParamMode = "in"
            if pointer.argument.is_destination:
                mode = "inout" if param in reads or param in accumulated else "out"
            params.append(Param(pointer.dtype, mode))
        extents = []
        for group in groups:
            extent = 1
            for axis in group:
                extent *= self.extents[axis]
            extents.append(extent)
        kernel = Kernel(tuple(params), tuple(extents), values, stores, name)
        if self._taken:
            check_in_place(kernel)
        return kernel, tuple(self._params[param].argument for param in order)

    def _live_values(self) -> list[ValueId]:
        live = [False] * len(self._values)
        for store in self._stores:
            live[store.value] = True
            if store.scatter is not None:
                live[store.scatter.index] = True
        for number in range(len(self._values) - 1, -1, -1):
            if live[number]:
                for operand in loopir.operands(self._values[number]):
                    live[operand] = True
        return [number for number, alive in enumerate(live) if alive]

    def _merged_axes(self, live: Sequence[ValueId]) -> list[list[int]]:
        """The axes in use, in the order they were made; neighbours that every map walks as one are merged."""
        maps: list[Map] = [store.map for store in self._stores]
        # Axes merge only where everything that names axes names both or neither; axes of scans and argmax never merge.
        named: list[frozenset[int]] = [frozenset(store.axes) for store in self._stores]
        alone: set[int] = set()
        for number in live:
            match self._values[number]:
                case Load(map=map_) | Gather(map=map_) | Index(map=map_):
                    maps.append(map_)
                case Reduce(combine=combine, axes=axes):
                    named.append(frozenset(axes))
                    if combine in ("argmax", "argmin"):
                        alone.update(axes)
                case Scan(axis=axis):
                    alone.add(axis)
        used = axes_of(maps).union(alone, *named)
        groups: list[list[int]] = []
        for axis in sorted(used):
            single = not groups or axis in alone or groups[-1][-1] in alone
            if single or not self._joins(groups[-1][-1], axis, maps, named):
                groups.append([axis])
            else:
                groups[-1].append(axis)
        return groups

    def _joins(self, outer: int, inner: int, maps: Sequence[Map], named: Sequence[frozenset[int]]) -> bool:
        if any((outer in axes) is not (inner in axes) for axes in named):
            return False
        extent = self.extents[inner]
        return all(coefficient(map_, outer) == coefficient(map_, inner) * extent for map_ in maps)


def coefficient(map_: Map, axis: int) -> int:
    """The coefficient of ``axis``; maps of kernels under construction leave out trailing zeros."""
    return map_.coefficients[axis] if axis < len(map_.coefficients) else 0


class _Rewriter:
    """Renumbers axes, parameters and values."""

    def __init__(
        self, groups: list[list[int]], axis_of: dict[int, int], param_of: dict[int, int], number_of: dict[int, int]
    ) -> None:
        # The innermost axis of a merged run carries its step.
        self._innermost = [group[-1] for group in groups]
        self._axis_of = axis_of
        self._param_of = param_of
        self._number_of = number_of

    def _map(self, map_: Map) -> Map:
        return Map(tuple(coefficient(map_, axis) for axis in self._innermost), map_.offset)

    def _axes(self, axes: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({self._axis_of[axis] for axis in axes}))

    def value(self, value: Value) -> Value:
        """The value in final numbering."""
        match value:
            case Load():
                return replace(value, param=self._param_of[value.param], map=self._map(value.map))
            case Gather():
                index = self._number_of[value.index]
                return replace(value, param=self._param_of[value.param], map=self._map(value.map), index=index)
            case Index():
                return replace(value, map=self._map(value.map))
            case Apply():
                return replace(value, args=tuple(self._number_of[arg] for arg in value.args))
            case Reduce():
                return replace(value, arg=self._number_of[value.arg], axes=self._axes(value.axes))
            case Scan():
                return replace(value, arg=self._number_of[value.arg], axis=self._axis_of[value.axis])
            case _:
                return value

    def store(self, store: Store) -> Store:
        """The store in final numbering."""
        scatter = store.scatter
        if scatter is not None:
            scatter = replace(scatter, index=self._number_of[scatter.index])
        return Store(
            self._param_of[store.param],
            self._map(store.map),
            self._number_of[store.value],
            self._axes(store.axes),
            store.accumulate,
            scatter,
        )


def check_in_place(kernel: Kernel) -> None:
    """Memory that is also written is read only at the very position that is written, and never for a reduction.

    Raises:
        NotInPlace: where that does not hold.
    """
    written: dict[int, Store] = {}
    for store in kernel.stores:
        if kernel.params[store.param].mode == "inout":
            if store.param in written:
                raise NotInPlace
            written[store.param] = store
    tainted: set[int] = set()
    for number, value in enumerate(kernel.values):
        match value:
            case Load(param=param, map=map_) if param in written:
                store = written[param]
                if store.accumulate or store.scatter is not None or store.map != map_:
                    raise NotInPlace
                tainted.add(number)
            case Gather(param=param) if param in written:
                raise NotInPlace
            case Reduce(arg=arg) | Scan(arg=arg) if arg in tainted:
                raise NotInPlace
            case _:
                if any(operand in tainted for operand in loopir.operands(value)):
                    tainted.add(number)
