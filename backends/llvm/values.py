"""Types and operands of LLVM IR text: what an instruction is written with."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Type:
    """A first-class LLVM type: a scalar, or ``lanes`` of it (one lane is the scalar itself)."""

    scalar: str
    lanes: int = 1

    def __str__(self) -> str:
        return self.scalar if self.lanes == 1 else f"<{self.lanes} x {self.scalar}>"

    def with_lanes(self, lanes: int) -> Type:
        """The same scalar in another number of lanes."""
        return Type(self.scalar, lanes)

    def with_scalar(self, scalar: str) -> Type:
        """As many lanes of another scalar."""
        return Type(scalar, self.lanes)

    @property
    def is_float(self) -> bool:
        """True for the floating-point scalars."""
        return self.scalar in ("float", "double", "half")

    @property
    def bits(self) -> int:
        """Width of one lane."""
        return _BITS[self.scalar]

    @property
    def suffix(self) -> str:
        """How intrinsics are named for it: ``f32``, ``v16f32``, ``p0``."""
        if self.scalar == "ptr":
            short = "p0"
        elif self.is_float:
            short = f"f{self.bits}"
        else:
            short = self.scalar
        return short if self.lanes == 1 else f"v{self.lanes}{short}"


_BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "float": 32, "double": 64, "ptr": 64}
I1, I8, I32, I64, PTR = map(Type, ("i1", "i8", "i32", "i64", "ptr"))
VOID = "void"


@dataclass(frozen=True, slots=True)
class Value:
    """An operand: a constant or the name of an SSA value, with its type."""

    text: str
    type: Type

    def __str__(self) -> str:
        return f"{self.type} {self.text}"

    @property
    def lanes(self) -> int:
        """Lanes of its type."""
        return self.type.lanes

    @property
    def is_constant(self) -> bool:
        """True for what needs no instruction."""
        return not self.text.startswith("%")


def symbol(name: str) -> str:
    """``name`` as a global symbol: letters, digits and ``._$`` stay, everything else is hexadecimal between dots."""
    return "@" + re.sub(
        r"[^A-Za-z0-9_$.]", lambda found: "".join(f".{byte:02x}." for byte in found.group().encode()), name
    )


def constant(type_: Type, value: float) -> Value:
    """A number in every lane."""
    if type_.is_float:
        if type_.scalar == "float":
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        text = "0x" + struct.pack(">d", value).hex().upper()
    elif type_.scalar == "i1":
        text = "true" if value else "false"
    else:
        text = str(int(value))
    if type_.lanes > 1:
        text = "zeroinitializer" if value == 0 and not text.startswith("0x8") else f"splat ({type_.scalar} {text})"
    return Value(text, type_)


def vector_constant(type_: Type, values: Iterable[int]) -> Value:
    """A vector of integers, one a lane."""
    words = ("true" if v else "false" for v in values) if type_.scalar == "i1" else map(str, values)
    listed = list(words)
    if type_.lanes == 1:
        return Value(listed[0], type_)
    return Value("<" + ", ".join(f"{type_.scalar} {word}" for word in listed) + ">", type_)


def poison(type_: Type) -> Value:
    """No particular value."""
    return Value("poison", type_)


def integer(value: int) -> Value:
    """An i64 constant."""
    return Value(str(value), I64)


def escaped(data: bytes) -> str:
    """Bytes as the inside of a string constant."""
    return "\\" + data.hex("\\") if data else ""
