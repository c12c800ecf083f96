"""Values of a kernel where they are needed, each computed once in the outermost scope that binds its axes.

A scope is a loop that is open: it binds axes to index values and knows the block from which deeper loops start, so
that whatever does not depend on the inner axes is added there, before them.  One scope on the way may bind its axis
to a *vector* of neighbouring positions; values that depend on that axis are vectors, all others stay scalars until a
vector op wants them in every lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphc.backends.llvm import pointwise
from graphc.backends.llvm.conversion import const_value, from_memory, memory_type, to_memory
from graphc.backends.llvm.emitter import Block, Function
from graphc.backends.llvm.memory import Lanes, lane_offsets, load_lanes, load_vector, store_lanes, store_vector
from graphc.backends.llvm.pointwise import MathLibrary
from graphc.backends.llvm.values import Value, constant, integer
from graphc.ir.attrs import EMPTY
from graphc.ir.types import DType
from graphc.kernel.loopir import Apply, Const, Gather, Index, Kernel, Load, Map, Store, ValueId, value_axes


@dataclass(slots=True, eq=False)
class Scope:
    """An open loop (or several axes bound at once)."""

    indices: Mapping[int, Value]
    block: Block
    lanes: Lanes | None
    values: dict[ValueId, Value] = field(default_factory=dict)
    spread: dict[tuple[str, int], Value] = field(default_factory=dict)
    offsets: dict[tuple[int, ...], Value] = field(default_factory=dict)
    kept: dict[ValueId, tuple[Value, Map]] = field(default_factory=dict)


class Evaluator:
    """Computes values, addresses and stores of one kernel inside one function.

    Args:
        fn: the function being built.
        kernel: what is computed.
        pointers: the address of each parameter.
        library: elementary functions and the target.
    """

    def __init__(self, fn: Function, kernel: Kernel, pointers: Sequence[Value], library: MathLibrary) -> None:
        self.fn = fn
        self.kernel = kernel
        self.pointers = pointers
        self.library = library
        self.target = library.target
        self.axes = value_axes(kernel)
        self.scopes: list[Scope] = [Scope({}, fn.block, None)]

    # -- scopes ----------------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self, indices: Mapping[int, Value], lanes: Lanes | None = None) -> Iterator[Scope]:
        """Bind axes; values of this scope are computed in the function's current block until a deeper one opens."""
        made = Scope(indices, self.fn.block, lanes or self.scopes[-1].lanes)
        self.scopes.append(made)
        try:
            yield made
        finally:
            self.scopes.pop()

    def mark(self) -> None:
        """Remember the current block as the innermost scope's: what is hoisted from now on goes there."""
        self.scopes[-1].block = self.fn.block

    @property
    def lanes(self) -> Lanes | None:
        """The vector axis here, if any is bound."""
        return self.scopes[-1].lanes

    def put(self, value: ValueId, computed: Value) -> None:
        """Make a value that was computed elsewhere (a reduction) known in the innermost scope."""
        self.scopes[-1].values[value] = computed

    def keep(self, value: ValueId, memory: Value, place: Map) -> None:
        """Write a value down, at ``place`` of ``memory``."""
        dtype = self.kernel.values[value].dtype
        fn, lanes = self.fn, self.lanes
        stored = to_memory(fn, self.value(value), dtype, self.target)
        address = self._element(memory, dtype, place)
        if lanes is None or not self._stride(place):
            fn.store(stored, address, dtype.itemsize)
        else:
            store_vector(fn, self.spread(stored, lanes.count), address, lanes, dtype.itemsize)

    def put_kept(self, value: ValueId, memory: Value, place: Map) -> None:
        """Make it known in the innermost scope that a value has been written down."""
        self.scopes[-1].kept[value] = memory, place

    def _kept(self, value: ValueId) -> tuple[Value, Map] | None:
        for scope in reversed(self.scopes):
            if value in scope.kept:
                return scope.kept[value]
        return None

    def _depth(self, axes: frozenset[int]) -> int:
        missing = set(axes)
        for depth, scope in enumerate(self.scopes):
            missing.difference_update(scope.indices)
            if not missing:
                return depth
        raise AssertionError(f"axes {sorted(missing)} are not bound")

    @contextmanager
    def _at(self, depth: int) -> Iterator[Scope]:
        """Emit into the scope at ``depth``."""
        if depth == len(self.scopes) - 1:
            yield self.scopes[-1]
            return
        block, scopes = self.fn.block, self.scopes
        self.fn.block, self.scopes = scopes[depth].block, scopes[: depth + 1]
        yield self.scopes[-1]
        self.fn.block, self.scopes = block, scopes

    def _find(self, value: ValueId) -> Value | None:
        for scope in reversed(self.scopes):
            found = scope.values.get(value)
            if found is not None:
                return found
        return None

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self, wanted: ValueId) -> Value:
        """A value here, computed where it is not known yet; long chains are walked without recursion."""
        pending = [wanted]
        while pending:
            number = pending[-1]
            if self._find(number) is not None:
                pending.pop()
                continue
            missing = [operand for operand in self._operands(number) if self._find(operand) is None]
            if missing:
                pending.extend(missing)
                continue
            with self._at(self._depth(self.axes[number])) as scope:
                scope.values[number] = self._compute(number)
            pending.pop()
        found = self._find(wanted)
        if found is None:
            raise AssertionError(f"value {wanted} was not computed")
        return found

    def _operands(self, number: ValueId) -> tuple[ValueId, ...]:
        if self._kept(number) is not None:
            return ()
        match self.kernel.values[number]:
            case Apply(args=args):
                return args
            case Gather(index=index):
                return (index,)
            case Load() | Const() | Index():
                return ()
            case value:
                raise AssertionError(f"{value} must have been computed before its users")

    def _compute(self, number: ValueId) -> Value:
        kept = self._kept(number)
        if kept is not None:
            return self._read(*kept, self.kernel.values[number].dtype)
        match self.kernel.values[number]:
            case Const() as value:
                return const_value(value)
            case Load(param, map_, dtype):
                return self.read(param, map_, dtype)
            case Gather(param, map_, index, stride, dtype):
                return self._gather(param, map_, self._known(index), stride, dtype)
            case Index(map_):
                return self.positions(map_.coefficients, map_.offset)
            case Apply(op, args, dtype, attrs):
                known = [self._known(arg) for arg in args]
                lanes = max(value.lanes for value in known)
                operands = [self.spread(value, lanes) for value in known]
                sources = [self.kernel.values[arg].dtype for arg in args]
                return pointwise.apply(self.fn, self.library, op, operands, sources, dtype, attrs)
            case value:
                raise AssertionError(f"{value} is not computed in place")

    def _known(self, number: ValueId) -> Value:
        found = self._find(number)
        if found is None:
            raise AssertionError(f"value {number} was not computed")
        return found

    def spread(self, value: Value, lanes: int) -> Value:
        """A value in every lane; the copy of a hoisted scalar is made once, where the scalar is."""
        if value.lanes == lanes:
            return value
        # With its type: the zeros of two dtypes are one text.
        key = (str(value), lanes)
        for depth, scope in enumerate(self.scopes):
            if key in scope.spread:
                return scope.spread[key]
            if any(known is value for known in scope.values.values()):
                with self._at(depth) as home:
                    home.spread[key] = self.fn.splat(value, lanes)
                return home.spread[key]
        return self.fn.splat(value, lanes)

    # -- addresses -------------------------------------------------------------------------------------------------

    def offset(self, coefficients: tuple[int, ...]) -> Value:
        """Σ coefficient·index as an i64, for lane 0; partial sums stay in the scopes they belong to."""
        total = integer(0)
        remaining = {axis: c for axis, c in enumerate(coefficients) if c}
        partial = [0] * len(coefficients)
        for depth, scope in enumerate(self.scopes):
            bound = [axis for axis in scope.indices if axis in remaining]
            if not bound:
                continue
            for axis in bound:
                partial[axis] = remaining.pop(axis)
            key = tuple(partial)
            known = scope.offsets.get(key)
            if known is None:
                with self._at(depth):
                    known = total
                    for axis in bound:
                        known = self.fn.add(known, self.fn.multiply(scope.indices[axis], partial[axis]))
                scope.offsets[key] = known
            total = known
        if remaining:
            raise AssertionError(f"axes {sorted(remaining)} are not bound")
        return total

    def address(self, param: int, map_: Map, extra: int = 0) -> Value:
        """The address of lane 0, ``extra`` elements further on."""
        return self._element(self.pointers[param], self.kernel.params[param].dtype, map_, extra)

    def _element(self, base: Value, dtype: DType, map_: Map, extra: int = 0) -> Value:
        element = memory_type(dtype)
        first = self.fn.element(base, element, self.offset(map_.coefficients))
        return self.fn.element(first, element, integer(map_.offset + extra))

    def _stride(self, map_: Map) -> int:
        """Elements from lane to lane."""
        lanes = self.lanes
        return 0 if lanes is None else map_.coefficients[lanes.axis]

    def _first(self, map_: Map) -> Value:
        return self.fn.add(self.offset(map_.coefficients), integer(map_.offset))

    def positions(self, coefficients: tuple[int, ...], offset: int = 0) -> Value:
        """An affine function of the axes as a value: i64, a vector where it moves along the lanes."""
        map_ = Map(coefficients, offset)
        stride, lanes = self._stride(map_), self.lanes
        first = self._first(map_)
        return first if lanes is None or not stride else lane_offsets(self.fn, first, stride, lanes.count)

    # -- memory ----------------------------------------------------------------------------------------------------

    def read(self, param: int, map_: Map, dtype: DType) -> Value:
        """The element at ``map_``, or the vector of elements."""
        return self._read(self.pointers[param], map_, dtype)

    def _read(self, base: Value, map_: Map, dtype: DType) -> Value:
        stride, lanes, fn = self._stride(map_), self.lanes, self.fn
        element, align = memory_type(dtype), dtype.itemsize
        if lanes is None or not stride:
            stored = fn.load(element, self._element(base, dtype, map_), align)
        elif stride == 1:
            stored = load_vector(fn, element, self._element(base, dtype, map_), lanes, align)
        elif stride == -1 and not lanes.is_partial:
            forward = load_vector(fn, element, self._element(base, dtype, map_, 1 - lanes.count), lanes, align)
            stored = fn.shuffle(forward, forward, range(lanes.count - 1, -1, -1))
        else:
            offsets = lane_offsets(fn, self._first(map_), stride, lanes.count)
            stored = load_lanes(fn, element, base, offsets, lanes, align)
        return from_memory(fn, stored, dtype, self.target)

    def _displaced(self, map_: Map, index: Value, stride: int) -> tuple[Value, int]:
        """``map_ + index·stride``: a scalar and the step from lane to lane, or a vector of offsets and 0."""
        fn = self.fn
        if index.lanes == 1:
            return fn.add(self._first(map_), fn.multiply(index, stride)), self._stride(map_)
        moved = fn.binary("mul", index, constant(index.type, stride)) if stride != 1 else index
        first = lane_offsets(fn, self._first(map_), self._stride(map_), index.lanes)
        return fn.binary("add", moved, first), 0

    def _gather(self, param: int, map_: Map, index: Value, stride: int, dtype: DType) -> Value:
        fn, lanes = self.fn, self.lanes
        element, align, base = memory_type(dtype), dtype.itemsize, self.pointers[param]
        offset, step = self._displaced(map_, index, stride)
        if lanes is not None and (offset.lanes > 1 or step not in (0, 1)):
            offsets = offset if offset.lanes > 1 else lane_offsets(fn, offset, step, lanes.count)
            stored = load_lanes(fn, element, base, offsets, lanes, align)
        elif lanes is not None and step == 1:
            stored = load_vector(fn, element, fn.element(base, element, offset), lanes, align)
        else:
            stored = fn.load(element, fn.element(base, element, offset), align)
        return from_memory(fn, stored, dtype, self.target)

    def write_all(self, stores: Sequence[Store]) -> None:
        """Execute stores here, all values first: a store may overwrite what another value reads at this position."""
        for store in stores:
            self.value(store.value)
        for store in stores:
            self.write(store)

    def write(self, store: Store) -> None:
        """Execute a store here."""
        value = self.value(store.value)
        index = integer(0) if store.scatter is None else self.value(store.scatter.index)
        offset, step = self._displaced(store.map, index, store.scatter.stride if store.scatter else 0)
        dtype = self.kernel.params[store.param].dtype
        element, base, lanes = memory_type(dtype), self.pointers[store.param], self.lanes
        if lanes is None or (offset.lanes == 1 and not step and value.lanes == 1):
            self._update(store, dtype, value, base, offset, None)
        elif offset.lanes == 1 and step == 1:
            self._update(store, dtype, self.spread(value, lanes.count), base, offset, lanes)
        elif store.accumulate:
            # Lanes may meet at one place, so they take their turns.
            wide = self.spread(value, lanes.count)
            offsets = offset if offset.lanes > 1 else lane_offsets(self.fn, offset, step, lanes.count)
            for lane in range(lanes.active):
                self._update(store, dtype, self.fn.extract(wide, lane), base, self.fn.extract(offsets, lane), None)
        else:
            stored = to_memory(self.fn, self.spread(value, lanes.count), dtype, self.target)
            offsets = offset if offset.lanes > 1 else lane_offsets(self.fn, offset, step, lanes.count)
            store_lanes(self.fn, stored, base, offsets, lanes, element.bits // 8)

    def _update(
        self, store: Store, dtype: DType, value: Value, base: Value, offset: Value, lanes: Lanes | None
    ) -> None:
        """Write (or add) one value or one vector of neighbours."""
        fn, element = self.fn, memory_type(dtype)
        address = fn.element(base, element, offset)
        if store.accumulate:
            held = (
                load_vector(fn, element, address, lanes, dtype.itemsize)
                if lanes
                else fn.load(element, address, dtype.itemsize)
            )
            before = from_memory(fn, held, dtype, self.target)
            value = pointwise.apply(fn, self.library, "add", [before, value], [dtype, dtype], dtype, EMPTY)
        stored = to_memory(fn, value, dtype, self.target)
        if lanes is None:
            fn.store(stored, address, dtype.itemsize)
        else:
            store_vector(fn, stored, address, lanes, dtype.itemsize)
