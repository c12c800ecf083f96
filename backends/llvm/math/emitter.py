"""A small emitter of vector LLVM IR: typed SSA values with Python operators, so that a function reads like its formula.

All lanes do the same work without branches; where a lane needs a library function, `FunctionEmitter.lane_by_lane` makes
the loop. No instruction carries a fast-math flag: every operation rounds as IEEE 754 says.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class FloatFormat:
    """A binary interchange format: its LLVM names and the widths of its fields."""

    dtype: str
    llvm: str
    integer: str
    mantissa_bits: int
    exponent_bias: int

    @property
    def total_bits(self) -> int:
        """Width of the whole number."""
        return int(self.integer[1:])

    @property
    def smallest_normal(self) -> float:
        """The smallest number with a full mantissa."""
        return 2.0 ** (1 - self.exponent_bias)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0**-self.mantissa_bits) * 2.0**self.exponent_bias

    @property
    def rounder(self) -> float:
        """1.5·2^m: adding it rounds to an integer, which then stands in the low bits of the sum."""
        return 1.5 * 2.0**self.mantissa_bits

    def bits(self, value: float) -> int:
        """Return the bit pattern of a number of this format."""
        code, word = (">f", ">I") if self.total_bits == 32 else (">d", ">Q")
        return int(struct.unpack(word, struct.pack(code, value))[0])

    def text(self, value: float) -> str:
        """Return the LLVM constant, exact to the bit (LLVM writes a float as the double of the same value)."""
        if self.total_bits == 32:
            value = struct.unpack(">f", struct.pack(">f", value))[0]
        return "0x" + struct.pack(">d", value).hex().upper()


BINARY32 = FloatFormat("float32", "float", "i32", 23, 127)
BINARY64 = FloatFormat("float64", "double", "i64", 52, 1023)
FORMATS = {one.dtype: one for one in (BINARY32, BINARY64)}


class Kind(Enum):
    """What the lanes of a value hold."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, eq=False)
class Value:
    """An SSA value (or constant) of one format; numbers beside it in an expression become constants of its kind."""

    emitter: "FunctionEmitter"
    name: str
    kind: Kind
    format: FloatFormat

    @property
    def type(self) -> str:
        """The LLVM type, for example ``<8 x float>``."""
        return self.emitter.type_of(self.kind, self.format)

    def _binary(self, operations: tuple[str, str], other: "Value | float", swap: bool = False) -> "Value":
        operation = operations[self.kind is not Kind.FLOAT]
        first, second = self.name, self.peer(other).name
        if swap:
            first, second = second, first
        return self.emitter.define(f"{operation} {self.type} {first}, {second}", self.kind, self.format)

    def peer(self, other: "Value | float") -> "Value":
        """Return the other operand, made a constant of this value's kind if it is a number."""
        return other if isinstance(other, Value) else self.emitter.constant(other, self.kind, self.format)

    def _compare(self, predicate: str, other: "Value | float") -> "Value":
        text = f"fcmp {predicate} {self.type} {self.name}, {self.peer(other).name}"
        return self.emitter.define(text, Kind.BOOLEAN, self.format)

    def __add__(self, other: "Value | float") -> "Value":
        return self._binary(("fadd", "add"), other)

    def __radd__(self, other: float) -> "Value":
        return self._binary(("fadd", "add"), other, swap=True)

    def __sub__(self, other: "Value | float") -> "Value":
        return self._binary(("fsub", "sub"), other)

    def __rsub__(self, other: float) -> "Value":
        return self._binary(("fsub", "sub"), other, swap=True)

    def __mul__(self, other: "Value | float") -> "Value":
        return self._binary(("fmul", "mul"), other)

    def __rmul__(self, other: float) -> "Value":
        return self._binary(("fmul", "mul"), other, swap=True)

    def __truediv__(self, other: "Value | float") -> "Value":
        return self._binary(("fdiv", "sdiv"), other)

    def __rtruediv__(self, other: float) -> "Value":
        return self._binary(("fdiv", "sdiv"), other, swap=True)

    def __neg__(self) -> "Value":
        return self.emitter.define(f"fneg {self.type} {self.name}", self.kind, self.format)

    def __lshift__(self, count: int) -> "Value":
        return self._binary(("", "shl"), count)

    def __rshift__(self, count: int) -> "Value":
        """Shift right, filling with zeros (an arithmetic shift of 64-bit lanes is slow before AVX-512)."""
        return self._binary(("", "lshr"), count)

    def __and__(self, other: "Value | int") -> "Value":
        return self._binary(("", "and"), other)

    def __or__(self, other: "Value | int") -> "Value":
        return self._binary(("", "or"), other)

    def __xor__(self, other: "Value | int") -> "Value":
        return self._binary(("", "xor"), other)

    def __lt__(self, other: "Value | float") -> "Value":
        return self._compare("olt", other)

    def __le__(self, other: "Value | float") -> "Value":
        return self._compare("ole", other)

    def __gt__(self, other: "Value | float") -> "Value":
        return self._compare("ogt", other)

    def __ge__(self, other: "Value | float") -> "Value":
        return self._compare("oge", other)

    def equals(self, other: "Value | float") -> "Value":
        """Compare floats; a NaN equals nothing."""
        return self._compare("oeq", other)

    def differs(self, other: int) -> "Value":
        """Compare integers for inequality."""
        text = f"icmp ne {self.type} {self.name}, {self.peer(other).name}"
        return self.emitter.define(text, Kind.BOOLEAN, self.format)

    def select(self, then: "Value", otherwise: "Value | float") -> "Value":
        """Pick lanes of ``then`` where this boolean holds."""
        other = then.peer(otherwise)
        text = f"select {self.type} {self.name}, {then.type} {then.name}, {other.type} {other.name}"
        return self.emitter.define(text, then.kind, then.format)

    def at_most(self, limit: float) -> "Value":
        """Clamp from above; a NaN stays."""
        return (self > limit).select(self.peer(limit), self)

    def at_least(self, limit: float) -> "Value":
        """Clamp from below; a NaN stays."""
        return (self < limit).select(self.peer(limit), self)

    def bits(self) -> "Value":
        """Reinterpret a float as an integer."""
        integer = self.emitter.type_of(Kind.INTEGER, self.format)
        return self.emitter.define(f"bitcast {self.type} {self.name} to {integer}", Kind.INTEGER, self.format)

    def as_float(self) -> "Value":
        """Reinterpret an integer as a float."""
        target = self.emitter.type_of(Kind.FLOAT, self.format)
        return self.emitter.define(f"bitcast {self.type} {self.name} to {target}", Kind.FLOAT, self.format)

    def convert(self, target: FloatFormat) -> "Value":
        """Round or extend to another format."""
        operation = "fpext" if target.total_bits > self.format.total_bits else "fptrunc"
        result = self.emitter.type_of(Kind.FLOAT, target)
        return self.emitter.define(f"{operation} {self.type} {self.name} to {result}", Kind.FLOAT, target)

    def narrow_bits(self, target: FloatFormat) -> "Value":
        """Keep the low bits of an integer."""
        result = self.emitter.type_of(Kind.INTEGER, target)
        return self.emitter.define(f"trunc {self.type} {self.name} to {result}", Kind.INTEGER, target)

    def absolute(self) -> "Value":
        """Clear the sign."""
        return self.emitter.intrinsic("fabs", self)

    def copy_sign(self, sign: "Value") -> "Value":
        """Take the sign bit of another value."""
        return self.emitter.intrinsic("copysign", self, sign)

    def square_root(self) -> "Value":
        """Take the correctly rounded square root; NaN below zero."""
        return self.emitter.intrinsic("sqrt", self)


@dataclass(eq=False)
class FunctionEmitter:
    """Collects the body of one function of ``width`` lanes.

    Attributes:
        format: The format of arguments and result.
        width: Lanes; 1 means scalar types.
        fma: Whether `multiply_add` may fuse. Without the hardware instruction a fused product is a slow library call.
        declarations: What the body calls, in order of first use.
    """

    format: FloatFormat
    width: int
    fma: bool
    declarations: dict[str, None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    _names: int = 0

    def type_of(self, kind: Kind, number_format: FloatFormat) -> str:
        """Return the LLVM type of a value."""
        scalar = {Kind.FLOAT: number_format.llvm, Kind.INTEGER: number_format.integer, Kind.BOOLEAN: "i1"}[kind]
        return scalar if self.width == 1 else f"<{self.width} x {scalar}>"

    def argument(self, name: str) -> Value:
        """Return a parameter of the function."""
        return Value(self, f"%{name}", Kind.FLOAT, self.format)

    def constant(self, value: float, kind: Kind, number_format: FloatFormat) -> Value:
        """Return a constant in every lane; an integer is taken modulo its width."""
        if kind is Kind.FLOAT:
            scalar, text = number_format.llvm, number_format.text(value)
        else:
            scalar, text = number_format.integer, str(int(value) % (1 << number_format.total_bits))
        return Value(self, text if self.width == 1 else f"splat ({scalar} {text})", kind, number_format)

    def real(self, value: float) -> Value:
        """Return a float constant of the function's own format."""
        return self.constant(value, Kind.FLOAT, self.format)

    def define(self, instruction: str, kind: Kind, number_format: FloatFormat) -> Value:
        """Append an instruction and name its result."""
        self._names += 1
        self.lines.append(f"  %t{self._names} = {instruction}")
        return Value(self, f"%t{self._names}", kind, number_format)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """Call ``llvm.<name>`` on values of one type."""
        one = arguments[0]
        lanes = "" if self.width == 1 else f"v{self.width}"
        function = f"@llvm.{name}.{lanes}f{one.format.total_bits}"
        self.declarations[f"declare {one.type} {function}({', '.join([one.type] * len(arguments))})"] = None
        listed = ", ".join(f"{value.type} {value.name}" for value in arguments)
        return self.define(f"call {one.type} {function}({listed})", one.kind, one.format)

    def multiply_add(self, first: Value, second: Value | float, addend: Value | float) -> Value:
        """Return first·second + addend, rounded once with `fma` and twice without."""
        if not self.fma:
            return first * second + addend
        return self.intrinsic("fma", first, first.peer(second), first.peer(addend))

    def polynomial(self, variable: Value, coefficients: Sequence[float]) -> Value:
        """Evaluate Σ cᵢ·xⁱ by Horner's rule; loops over many vectors hide its latency."""
        total = variable.peer(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.multiply_add(total, variable, coefficient)
        return total

    def library_lanes(self, function: str, *arguments: Value) -> Value:
        """Call a function of the C library on each lane."""
        one = arguments[0]
        scalar = one.format.llvm
        prototype = f"{scalar} @{function}({', '.join([scalar] * len(arguments))})"
        self.declarations[f"declare {prototype} nounwind willreturn memory(none)"] = None
        if self.width == 1:
            listed = ", ".join(f"{scalar} {value.name}" for value in arguments)
            return self.define(f"call {scalar} @{function}({listed})", Kind.FLOAT, one.format)
        result = Value(self, "poison", Kind.FLOAT, one.format)
        for lane in range(self.width):
            scalars = [
                self.define(f"extractelement {value.type} {value.name}, i32 {lane}", Kind.FLOAT, one.format).name
                for value in arguments
            ]
            listed = ", ".join(f"{scalar} {name}" for name in scalars)
            called = self.define(f"call {scalar} @{function}({listed})", Kind.FLOAT, one.format)
            inserted = f"insertelement {one.type} {result.name}, {scalar} {called.name}, i32 {lane}"
            result = self.define(inserted, Kind.FLOAT, one.format)
        return result

    def where_rare(self, mask: Value, result: Value, function: str, *arguments: Value) -> Value:
        """Replace ``result`` in the lanes of ``mask`` by ``function(*arguments)``, not called while the mask is empty.

        ``function`` is an LLVM function of the same width, meant to stay out of line. One such branch a function.
        """
        some = mask.name
        if self.width > 1:
            some, flags = f"{mask.name}.some", f"i{self.width}"
            self.lines.append(f"  {some}.flags = bitcast {mask.type} {mask.name} to {flags}")
            self.lines.append(f"  {some} = icmp ne {flags} {some}.flags, 0")
        self.lines += [f"  br i1 {some}, label %rare, label %done", "rare:"]
        listed = ", ".join(f"{one.type} {one.name}" for one in arguments)
        called = self.define(f"call {result.type} {function}({listed})", Kind.FLOAT, self.format)
        replaced = mask.select(called, result)
        self.lines += ["  br label %done", "done:"]
        merged = f"phi {result.type} [ {result.name}, %entry ], [ {replaced.name}, %rare ]"
        return self.define(merged, Kind.FLOAT, self.format)
