"""Kernels that are no loop nest: the check of indices from the data, and the stable sort."""

from __future__ import annotations

from graphc.backends.llvm.conversion import from_memory, memory_type
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import I1, I64, Value, constant, integer
from graphc.ir.types import DType
from graphc.kernel.loopir import Intrinsic
from graphc.kernel.target import Target


def emit_intrinsic(fn: Function, intrinsic: Intrinsic, target: Target) -> None:
    """The body of an intrinsic's function."""
    if intrinsic.intrinsic == "check_index":
        _check_index(fn, intrinsic)
    else:
        _argsort(fn, intrinsic, target)


def _check_index(fn: Function, intrinsic: Intrinsic) -> None:
    """``i1 check(indices, error)``: true and error[1..3] = position, value, limit where an index is outside."""
    count, limit = intrinsic.sizes
    indices, error = fn.arguments
    if not count:
        fn.ret(constant(I1, False))
        return
    dtype = intrinsic.params[0].dtype
    bad = fn.new_block()
    loop = fn.begin_loop(count)
    value = fn.load(memory_type(dtype), fn.element(indices, memory_type(dtype), loop.index), dtype.itemsize)
    wide = fn.convert("sext" if dtype.kind == "int" else "zext", value, "i64")
    # Read without a sign a negative index is a large one.
    outside = fn.compare("icmp uge", wide, integer(limit))
    inside = fn.new_block()
    fn.branch(outside, bad, inside)
    fn.place(inside)
    fn.end_loop(loop)
    fn.ret(constant(I1, False))
    fn.place(bad)
    position = loop.index
    for place, word in ((1, position), (2, wide), (3, integer(limit))):
        fn.store(word, fn.element(error, I64, integer(place)), 8)
    fn.ret(constant(I1, True))


def _argsort(fn: Function, intrinsic: Intrinsic, target: Target) -> None:
    """Bottom-up merge sort of positions along the middle axis, from buffer to buffer; stable, NaN last."""
    outer, length, inner, descending = intrinsic.sizes
    keys, result, scratch = fn.arguments
    if not outer * length * inner:
        fn.ret()
        return
    dtype = intrinsic.params[0].dtype
    passes = (length - 1).bit_length()
    # The last pass must end in ``scratch``'s partner: the sorted positions are then copied out with their stride.
    sorter = _Sorter(fn, dtype, length, inner, bool(descending), target)
    rows = fn.begin_loop(outer)
    columns = fn.begin_loop(inner)
    first = fn.add(fn.multiply(rows.index, length * inner), columns.index)
    key = fn.element(keys, memory_type(dtype), first)
    out = fn.element(result, I64, first)
    if length == 1:
        fn.store(integer(0), out, 8)
    else:
        fill = fn.begin_loop(length)
        fn.store(fill.index, fn.element(scratch, I64, fill.index), 8)
        fn.end_loop(fill)
        source, target_buffer = scratch, fn.element(scratch, I64, integer(length))
        for number in range(passes):
            sorter.merge_pass(key, source, target_buffer, 1 << number)
            source, target_buffer = target_buffer, source
        copy = fn.begin_loop(length)
        position = fn.load(I64, fn.element(source, I64, copy.index), 8)
        fn.store(position, fn.element(out, I64, fn.multiply(copy.index, inner)), 8)
        fn.end_loop(copy)
    fn.end_loop(columns)
    fn.end_loop(rows)
    fn.ret()


class _Sorter:
    """Merge passes over one column of keys."""

    def __init__(self, fn: Function, dtype: DType, length: int, inner: int, descending: bool, target: Target) -> None:
        self.fn = fn
        self.dtype = dtype
        self.length = length
        self.inner = inner
        self.descending = descending
        self.target = target
        self.left, self.right = fn.stack(I64, 1, 8), fn.stack(I64, 1, 8)

    def merge_pass(self, key: Value, source: Value, target: Value, width: int) -> None:
        """Merge neighbouring sorted runs of ``width`` positions."""
        fn, end = self.fn, integer(self.length)
        runs = fn.begin_loop(-(-self.length // (2 * width)))
        low = fn.multiply(runs.index, 2 * width)
        middle = fn.elementwise("umin", fn.add(low, integer(width)), end)
        high = fn.elementwise("umin", fn.add(low, integer(2 * width)), end)
        fn.store(low, self.left, 8)
        fn.store(middle, self.right, 8)
        loop = fn.begin_loop(fn.binary("sub", high, low))
        i, j = fn.load(I64, self.left, 8), fn.load(I64, self.right, 8)
        # An exhausted run reads its last position again, and the choice ignores what it found.
        last_left = fn.elementwise("umin", i, fn.binary("sub", middle, integer(1)))
        last_right = fn.elementwise("umin", j, fn.binary("sub", high, integer(1)))
        x = fn.load(I64, fn.element(source, I64, last_left), 8)
        y = fn.load(I64, fn.element(source, I64, last_right), 8)
        before = self._precedes(self._key(key, y), self._key(key, x))
        right_open = fn.compare("icmp ult", j, high)
        left_done = fn.compare("icmp uge", i, middle)
        take_right = fn.binary("and", right_open, fn.binary("or", left_done, before))
        fn.store(fn.select(take_right, y, x), fn.element(target, I64, fn.add(low, loop.index)), 8)
        step = fn.convert("zext", take_right, "i64")
        fn.store(fn.binary("add", j, step), self.right, 8)
        fn.store(fn.binary("add", i, fn.binary("sub", integer(1), step)), self.left, 8)
        fn.end_loop(loop)
        fn.end_loop(runs)

    def _key(self, key: Value, position: Value) -> Value:
        fn, element = self.fn, memory_type(self.dtype)
        address = fn.element(key, element, fn.multiply(position, self.inner))
        return from_memory(fn, fn.load(element, address, self.dtype.itemsize), self.dtype, self.target)

    def _precedes(self, x: Value, y: Value) -> Value:
        """Whether ``x`` must stand before ``y``, equals not; a NaN after every number."""
        fn = self.fn
        if not self.dtype.is_float:
            sign = "s" if self.dtype.kind == "int" else "u"
            return fn.compare(f"icmp {sign}{'gt' if self.descending else 'lt'}", x, y)
        before = fn.compare("fcmp ogt" if self.descending else "fcmp olt", x, y)
        only_y = fn.binary("and", fn.compare("fcmp ord", x, x), fn.compare("fcmp uno", y, y))
        return fn.binary("or", before, only_y)
