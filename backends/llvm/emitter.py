"""A structured emitter of LLVM IR text: typed values, fresh names, blocks, and loops whose carried values are explicit.

Text and not llvmlite's builder, because the builder cannot say everything and is slower.  Every name in the text is
made here; no name from outside reaches it but through ``values.symbol``.  Loops test at the bottom, because every trip
count is at least one where they are made: what leaves a loop is then simply what its last trip computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from graphc.backends.llvm.values import I1, I64, PTR, VOID, Type, Value, integer, poison


@dataclass(slots=True, eq=False)
class Block:
    """A basic block; instructions may be added to it after its terminator is known, which is how values are hoisted."""

    label: str
    phis: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    terminator: str = ""


@dataclass(slots=True, eq=False)
class Loop:
    """A loop being built: ``index`` counts from 0, ``carried`` are the values of the trip."""

    index: Value
    carried: list[Value]
    before: Block | None = None
    header: Block | None = None
    trips: Value | None = None
    first: list[Value] = field(default_factory=list)


class Function:
    """One function under construction; instructions go to ``block``.

    Args:
        name: its symbol, from :func:`symbol`.
        parameters: type and attributes of each.
        result: type of the result, or ``void``.
        prefix: linkage and visibility.
        attributes: attribute group or list after the parameters.

    Attributes:
        arguments: the parameters as values.
        block: where instructions go.
        declarations: what the body calls.
        flags: fast-math flags of float arithmetic, with a leading space.
    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[tuple[Type, str]],
        *,
        result: str = VOID,
        prefix: str = "internal ",
        attributes: str = "#0",
    ) -> None:
        self.name = name
        self.result = result
        self._parameters = tuple(parameters)
        self._prefix = prefix
        self._attributes = attributes
        self._names = 0
        self.blocks: list[Block] = []
        self.block = self.new_block()
        self.place(self.block)
        self.declarations: dict[str, None] = {}
        self.arguments = [Value(f"%a{number}", type_) for number, (type_, _) in enumerate(self._parameters)]
        self.flags = ""

    # -- blocks ----------------------------------------------------------------------------------------------------

    def new_block(self) -> Block:
        """A block with a fresh label, not yet placed."""
        self._names += 1
        return Block(f"b{self._names}")

    def place(self, block: Block) -> None:
        """Put ``block`` next and continue in it."""
        self.blocks.append(block)
        self.block = block

    def jump(self, target: Block) -> None:
        """End the block with a branch."""
        self.block.terminator = f"br label %{target.label}"

    def branch(self, condition: Value, then: Block, otherwise: Block) -> None:
        """End the block with a conditional branch."""
        self.block.terminator = f"br i1 {condition.text}, label %{then.label}, label %{otherwise.label}"

    def ret(self, value: Value | None = None) -> None:
        """End the function."""
        self.block.terminator = f"ret {value}" if value is not None else "ret void"

    def begin_loop(self, trips: int | Value, carried: Sequence[Value] = ()) -> Loop:
        """Open a loop of ``trips`` ≥ 1 trips; one known trip is no loop at all."""
        if trips == 1:
            return Loop(integer(0), list(carried))
        before, header = self.block, self.new_block()
        self.jump(header)
        self.place(header)
        count = integer(trips) if isinstance(trips, int) else trips
        phis = [self._fresh(value.type) for value in carried]
        return Loop(self._fresh(I64), phis, before, header, count, list(carried))

    def end_loop(self, loop: Loop, updates: Sequence[Value] = ()) -> list[Value]:
        """Close the loop; the values of the last trip."""
        if loop.header is None or loop.before is None or loop.trips is None:
            return list(updates)
        following = self.binary("add nuw nsw", loop.index, integer(1))
        again = self.compare("icmp ult", following, loop.trips)
        latch, after = self.block, self.new_block()
        self.branch(again, loop.header, after)
        start, end = loop.before.label, latch.label
        loop.header.phis.append(f"{loop.index.text} = phi i64 [ 0, %{start} ], [ {following.text}, %{end} ]")
        for phi, first, update in zip(loop.carried, loop.first, updates, strict=True):
            incoming = f"[ {first.text}, %{start} ], [ {update.text}, %{end} ]"
            loop.header.phis.append(f"{phi.text} = phi {phi.type} {incoming}")
        self.place(after)
        return list(updates)

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Emit without fast-math flags: for arithmetic whose point is its rounding."""
        flags, self.flags = self.flags, ""
        yield
        self.flags = flags

    # -- instructions ----------------------------------------------------------------------------------------------

    def _fresh(self, type_: Type) -> Value:
        self._names += 1
        return Value(f"%v{self._names}", type_)

    def define(self, instruction: str, type_: Type) -> Value:
        """Append an instruction that has a result."""
        value = self._fresh(type_)
        self.block.lines.append(f"{value.text} = {instruction}")
        return value

    def effect(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self.block.lines.append(instruction)

    def binary(self, op: str, left: Value, right: Value) -> Value:
        """An arithmetic or bitwise instruction on two values of one type."""
        if op[0] == "f" and self.flags:
            op += self.flags
        return self.define(f"{op} {left.type} {left.text}, {right.text}", left.type)

    def unary(self, op: str, operand: Value) -> Value:
        """``fneg``."""
        return self.define(f"{op} {operand.type} {operand.text}", operand.type)

    def compare(self, predicate: str, left: Value, right: Value) -> Value:
        """``icmp`` or ``fcmp`` with its predicate."""
        return self.define(f"{predicate} {left.type} {left.text}, {right.text}", left.type.with_scalar("i1"))

    def select(self, condition: Value, then: Value, otherwise: Value) -> Value:
        """Lane by lane choice."""
        return self.define(f"select {condition}, {then}, {otherwise}", then.type)

    def convert(self, op: str, value: Value, scalar: str) -> Value:
        """A conversion instruction (``fpext``, ``trunc``, ``bitcast``, ...) to another scalar, unless it has it."""
        target = value.type.with_scalar(scalar)
        return value if target == value.type else self.define(f"{op} {value} to {target}", target)

    def call(self, function: str, result: Type | None, arguments: Sequence[Value]) -> Value:
        """Call a function by its symbol; for no result the value is meaningless."""
        listed = ", ".join(map(str, arguments))
        if result is None:
            self.effect(f"call void {function}({listed})")
            return poison(I1)
        return self.define(f"call {result} {function}({listed})", result)

    def intrinsic(self, name: str, result: Type | None, arguments: Sequence[Value]) -> Value:
        """Call ``@llvm.<name>`` (its full name) and declare it."""
        types = ", ".join(str(argument.type) for argument in arguments)
        self.declarations[f"declare {result or VOID} @llvm.{name}({types})"] = None
        return self.call(f"@llvm.{name}", result, arguments)

    def elementwise(self, name: str, *arguments: Value) -> Value:
        """An intrinsic on values of one type, with that type as result (``fabs``, ``smax``, ...)."""
        type_ = arguments[0].type
        return self.intrinsic(f"{name}.{type_.suffix}", type_, arguments)

    def splat(self, value: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        type_ = value.type.with_lanes(lanes)
        if lanes in (1, value.lanes):
            return value
        if value.is_constant:
            return Value(f"splat ({value})", type_)
        one = self.define(f"insertelement {type_} poison, {value}, i64 0", type_)
        return self.define(f"shufflevector {one}, {type_} poison, <{lanes} x i32> zeroinitializer", type_)

    def shuffle(self, left: Value, right: Value, lanes: Sequence[int]) -> Value:
        """Lanes of two vectors by number; the second vector's follow the first's."""
        type_ = left.type.with_lanes(len(lanes))
        if len(lanes) == 1:
            return self.extract(left, lanes[0])
        listed = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.define(f"shufflevector {left}, {right}, <{len(lanes)} x i32> <{listed}>", type_)

    def part(self, value: Value, start: int, lanes: int) -> Value:
        """``lanes`` neighbouring lanes; beyond the end the last one repeats."""
        if start == 0 and lanes == value.lanes:
            return value
        if value.lanes == 1:
            return self.splat(value, lanes)
        return self.shuffle(value, poison(value.type), [min(start + lane, value.lanes - 1) for lane in range(lanes)])

    def join(self, parts: Sequence[Value], lanes: int) -> Value:
        """Vectors (or scalars) of equal length one after another, cut to ``lanes``."""
        row = list(parts)
        while len(row) > 1:
            if len(row) % 2:
                row.append(poison(row[0].type))
            row = [self._join_two(row[i], row[i + 1]) for i in range(0, len(row), 2)]
        return self.part(row[0], 0, lanes)

    def _join_two(self, left: Value, right: Value) -> Value:
        if left.lanes > 1:
            return self.shuffle(left, right, range(2 * left.lanes))
        type_ = left.type.with_lanes(2)
        first = self.define(f"insertelement {type_} poison, {left}, i64 0", type_)
        return self.define(f"insertelement {first}, {right}, i64 1", type_)

    def extract(self, value: Value, lane: int) -> Value:
        """One lane as a scalar."""
        if value.lanes == 1:
            return value
        return self.define(f"extractelement {value}, i64 {lane}", value.type.with_lanes(1))

    # -- memory ----------------------------------------------------------------------------------------------------

    def element(self, base: Value, element: Type, offset: Value) -> Value:
        """The address ``offset`` elements after ``base``; a vector of offsets gives a vector of addresses."""
        if offset.text == "0":
            return base
        return self.define(f"getelementptr {element.scalar}, {base}, {offset}", PTR.with_lanes(offset.lanes))

    def load(self, type_: Type, address: Value, align: int) -> Value:
        """Read a value."""
        return self.define(f"load {type_}, {address}, align {align}", type_)

    def store(self, value: Value, address: Value, align: int) -> None:
        """Write a value."""
        self.effect(f"store {value}, {address}, align {align}")

    def prefetch(self, address: Value, *, writes: bool) -> None:
        """Ask for the line of the cache at ``address``, which need not exist."""
        arguments = ", ".join(f"i32 {number}" for number in (int(writes), 3, 1))
        self.declarations["declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)"] = None
        self.effect(f"call void @llvm.prefetch.p0({address}, {arguments})")

    def stack(self, element: Type, count: int, align: int) -> Value:
        """Memory of this call, made once at its start."""
        value = self._fresh(PTR)
        self.blocks[0].lines.insert(0, f"{value.text} = alloca [{count} x {element.scalar}], align {align}")
        return value

    # -- integers --------------------------------------------------------------------------------------------------

    def add(self, left: Value, right: Value) -> Value:
        """Sum of two i64, folded where both or either are constants."""
        if left.text == "0":
            return right
        if right.text == "0":
            return left
        if left.is_constant and right.is_constant:
            return replace(left, text=str(int(left.text) + int(right.text)))
        return self.binary("add", left, right)

    def multiply(self, value: Value, factor: int) -> Value:
        """An i64 times a constant."""
        if factor == 0:
            return integer(0)
        if factor == 1:
            return value
        if value.is_constant:
            return integer(int(value.text) * factor)
        return self.binary("mul", value, integer(factor))

    def render(self) -> str:
        """The definition as text."""
        listed = ", ".join(
            f"{type_} {attributes + ' ' if attributes else ''}%a{number}"
            for number, (type_, attributes) in enumerate(self._parameters)
        )
        lines = [f"define {self._prefix}{self.result} {self.name}({listed}) {self._attributes} {{"]
        for block in self.blocks:
            lines.append(f"{block.label}:")
            lines += [f"  {line}" for line in (*block.phis, *block.lines, block.terminator)]
        return "\n".join([*lines, "}", ""])
