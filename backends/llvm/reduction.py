"""Accumulators: what a reduction carries from trip to trip, and how lanes come together at the end.

Sums of floats are accurate whatever their length: short runs are added plainly, and the totals of the runs with the
rounding error of every addition kept beside them (Knuth's two-sum), so that the error does not grow with the number
of terms.  The order of all operations is fixed by the schedule, so results are the same from run to run.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.llvm import integer, pointwise
from graphc.backends.llvm.conversion import cast, register_type
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.pointwise import MathLibrary
from graphc.backends.llvm.values import Value, constant
from graphc.ir.types import DType
from graphc.kernel.loopir import Reduce

State = list[Value]

RUN = 128
"""Terms a lane adds plainly before their total joins the compensated sum."""


class Accumulator:
    """The state of one reduction over ``lanes`` lanes.

    Args:
        fn: the function being built.
        reduce: what is computed.
        source: dtype of the reduced values.
        lanes: vector length of the state.
        library: for the target.
    """

    def __init__(self, fn: Function, reduce: Reduce, source: DType, lanes: int, library: MathLibrary) -> None:
        self.fn = fn
        self.combine = reduce.combine
        self.source = source
        self.result = reduce.dtype
        self.lanes = lanes
        self.library = library
        self.is_position = reduce.combine in ("argmax", "argmin")
        self.dtype = source if self.is_position else reduce.dtype
        self.type = register_type(self.dtype, lanes)
        self.is_compensated = reduce.combine == "sum" and self.type.is_float

    def identity(self) -> State:
        """The state before the first value."""
        if self.is_position:
            # A position beyond every real one, which any first value replaces.
            return [self._extreme(), constant(register_type(self.result, self.lanes), (1 << 63) - 1)]
        match self.combine:
            case "sum" | "any":
                return [constant(self.type, 0)]
            case "prod" | "all":
                return [constant(self.type, 1)]
            case _:
                return [self._extreme()]

    def _extreme(self) -> Value:
        """What every value beats or equals."""
        largest = self.combine in ("max", "argmax")
        if self.dtype.is_float:
            return constant(self.type, float("-inf") if largest else float("inf"))
        bits = self.type.bits
        if self.dtype.kind != "int":
            return constant(self.type, 0 if largest else (1 << bits) - 1)
        return constant(self.type, -(1 << (bits - 1)) if largest else (1 << (bits - 1)) - 1)

    def operand(self, value: Value) -> Value:
        """A reduced value in the dtype and lanes of the state."""
        converted = cast(self.fn, value, self.source, self.dtype, self.library.target)
        return self.fn.splat(converted, self.lanes)

    def update(self, state: State, value: Value, position: Value | None, mask: Value | None) -> State:
        """The state after one more value; lanes outside ``mask`` stay."""
        incoming = [self.operand(value)]
        if position is not None:
            incoming.append(self.fn.splat(position, self.lanes))
        return self.keep(state, self.join(state, incoming), mask)

    def multiply_add(self, state: State, left: Value, right: Value, mask: Value | None) -> State:
        """The state of a sum after one more product, rounded once where the machine can."""
        fn = self.fn
        a, b = self.operand(left), self.operand(right)
        if self.library.target.has_fma:
            total = fn.elementwise("fma", a, b, state[0])
        else:
            total = fn.binary("fadd", state[0], fn.binary("fmul", a, b))
        return self.keep(state, [total], mask)

    def keep(self, state: State, updated: State, mask: Value | None) -> State:
        """``updated`` in the lanes of ``mask``."""
        if mask is None:
            return updated
        return [self.fn.select(mask, new, old) for new, old in zip(updated, state, strict=True)]

    def join(self, left: State, right: State) -> State:
        """Two states (or a state and a value) combined."""
        fn = self.fn
        if self.is_position:
            return self._join_positions(left, right)
        x, y = left[0], right[0]
        match self.combine:
            case "sum":
                return [fn.binary("fadd" if self.type.is_float else "add", x, y)]
            case "prod":
                return [fn.binary("fmul" if self.type.is_float else "mul", x, y)]
            case "any":
                return [fn.binary("or", x, y)]
            case "all":
                return [fn.binary("and", x, y)]
        largest = self.combine == "max"
        if self.type.is_float:
            return [pointwise.extremum(fn, x, y, largest=largest)]
        return [integer.extremum(fn, x, y, largest=largest, unsigned=self.dtype.kind != "int")]

    def _join_positions(self, left: State, right: State) -> State:
        """The better value with its position: a NaN is best, and of equals the first."""
        fn = self.fn
        (x, i), (y, j) = left, right
        greater = self.combine == "argmax"
        if self.type.is_float:
            better = fn.compare("fcmp ogt" if greater else "fcmp olt", y, x)
            x_nan, y_nan = fn.compare("fcmp uno", x, x), fn.compare("fcmp uno", y, y)
            both = fn.binary("and", x_nan, y_nan)
            wins = fn.binary("or", better, fn.binary("and", y_nan, fn.binary("xor", x_nan, constant(x_nan.type, True))))
            ties = fn.binary("or", both, fn.compare("fcmp oeq", x, y))
        else:
            sign = "s" if self.dtype.kind == "int" else "u"
            wins = fn.compare(f"icmp {sign}{'gt' if greater else 'lt'}", y, x)
            ties = fn.compare("icmp eq", x, y)
        wins = fn.binary("or", wins, fn.binary("and", ties, fn.compare("icmp slt", j, i)))
        return [fn.select(wins, y, x), fn.select(wins, j, i)]

    # -- compensated sums ------------------------------------------------------------------------------------------

    def total(self) -> State:
        """The state that totals of runs are added to."""
        return [*self.identity(), constant(self.type, 0.0)] if self.is_compensated else self.identity()

    def run(self, total: State) -> State:
        """The state a run starts with."""
        return self.identity() if self.is_compensated else total

    def fold(self, total: State, run: State) -> State:
        """The total with a finished run."""
        if not self.is_compensated:
            return run
        fn, (large, error), (small,) = self.fn, total, run
        with fn.strict():
            rounded = fn.binary("fadd", large, small)
            taken = fn.binary("fsub", rounded, large)
            lost_large = fn.binary("fsub", large, fn.binary("fsub", rounded, taken))
            lost = fn.binary("fadd", lost_large, fn.binary("fsub", small, taken))
            return [rounded, fn.binary("fadd", error, lost)]

    def settle(self, total: State) -> State:
        """The total with its error added; an infinity has no error."""
        if not self.is_compensated:
            return total
        fn, (large, error) = self.fn, total
        corrected = fn.binary("fadd", large, error)
        return [fn.select(fn.compare("fcmp uno", corrected, corrected), large, corrected)]

    def across(self, state: State) -> State:
        """All lanes combined into a scalar, halves at a time."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low = [self.fn.part(value, 0, lanes) for value in state]
            high = [self.fn.part(value, lanes, lanes) for value in state]
            state = self.join(low, high)
        return state

    def finished(self, state: State) -> Value:
        """The reduction's result."""
        return state[-1] if self.is_position else state[0]


def flattened(states: Sequence[State]) -> list[Value]:
    """The values of several states in a row, as loops carry them."""
    return [value for state in states for value in state]


def regrouped(values: Sequence[Value], like: Sequence[State]) -> list[State]:
    """The inverse of :func:`flattened`."""
    result, start = [], 0
    for state in like:
        result.append(list(values[start : start + len(state)]))
        start += len(state)
    return result
