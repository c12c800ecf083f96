"""Vector access to memory: whole vectors, vectors of which only the first lanes exist, and lanes that lie apart."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import I1, I32, Type, Value, constant, vector_constant


@dataclass(frozen=True, slots=True)
class Lanes:
    """Neighbouring positions along ``axis``: ``count`` lanes, of which the first ``active`` exist."""

    axis: int
    count: int
    active: int

    @property
    def is_partial(self) -> bool:
        """True where some lanes lie beyond the end."""
        return self.active < self.count

    def mask(self) -> Value:
        """Which lanes exist."""
        return vector_constant(I1.with_lanes(self.count), [lane < self.active for lane in range(self.count)])


def load_vector(fn: Function, element: Type, address: Value, lanes: Lanes, align: int) -> Value:
    """Neighbouring elements; lanes that do not exist are zero and their memory is not touched."""
    type_ = element.with_lanes(lanes.count)
    if not lanes.is_partial:
        return fn.load(type_, address, align)
    arguments = [address, Value(str(align), I32), lanes.mask(), constant(type_, 0)]
    return _masked(fn, f"masked.load.{type_.suffix}.p0", type_, arguments, alignment=1)


def store_vector(fn: Function, value: Value, address: Value, lanes: Lanes, align: int) -> None:
    """Write neighbouring elements, those of the lanes that exist."""
    if not lanes.is_partial:
        fn.store(value, address, align)
        return
    if lanes.active == 1:
        # LLVM 22 (X86, combineMaskedStore) takes the mask away from a narrowing store of one lane and stores the wide
        # lane whole: after `trunc <8 x i64> to <8 x i8>`, eight bytes for one.
        fn.store(fn.extract(value, 0), address, align)
        return
    arguments = [value, address, Value(str(align), I32), lanes.mask()]
    _masked(fn, f"masked.store.{value.type.suffix}.p0", None, arguments, alignment=2)


def load_lanes(fn: Function, element: Type, base: Value, offsets: Value, lanes: Lanes, align: int) -> Value:
    """Elements at any offsets from ``base``; lanes that do not exist are zero."""
    type_ = element.with_lanes(lanes.count)
    addresses = fn.element(base, element, offsets)
    arguments = [addresses, Value(str(align), I32), lanes.mask(), constant(type_, 0)]
    return _masked(fn, f"masked.gather.{type_.suffix}.{addresses.type.suffix}", type_, arguments, alignment=1)


def store_lanes(fn: Function, value: Value, base: Value, offsets: Value, lanes: Lanes, align: int) -> None:
    """Write elements at any offsets from ``base``; of equal offsets the last lane's value stays."""
    addresses = fn.element(base, value.type.with_lanes(1), offsets)
    arguments = [value, addresses, Value(str(align), I32), lanes.mask()]
    _masked(fn, f"masked.scatter.{value.type.suffix}.{addresses.type.suffix}", None, arguments, alignment=2)


def _masked(fn: Function, name: str, result: Type | None, arguments: list[Value], alignment: int) -> Value:
    """Call a masked intrinsic; its alignment operand must be declared ``immarg``."""
    types = [f"{argument.type}{' immarg' if i == alignment else ''}" for i, argument in enumerate(arguments)]
    fn.declarations[f"declare {result or 'void'} @llvm.{name}({', '.join(types)})"] = None
    return fn.call(f"@llvm.{name}", result, arguments)


def lane_offsets(fn: Function, first: Value, stride: int, count: int) -> Value:
    """``first``, ``first + stride``, ... as a vector of i64."""
    steps = vector_constant(first.type.with_lanes(count), [lane * stride for lane in range(count)])
    if first.text == "0":
        return steps
    return fn.binary("add", fn.splat(first, count), steps)
