"""The tables that the dynamic loader reads: symbols, their names and hash table, relocations, and the dynamic section.

All of gABI ch. 5, "Dynamic Linking".  The references to other libraries carry no version: the loader then binds each to
the oldest version that the library has, so the result runs with every later C library as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.llvm.elf import format as elf
from graphc.backends.llvm.elf.errors import LinkError
from graphc.backends.llvm.elf.reader import COMMON, ObjectFile, Symbol
from graphc.backends.llvm.elf.relocations import DynamicRelocation

_VARIABLE_KINDS = frozenset({elf.STT_OBJECT, elf.STT_COMMON})
_EXPORTABLE_KINDS = _VARIABLE_KINDS | {elf.STT_NOTYPE, elf.STT_FUNC}
# Encodings of pointers in .eh_frame_hdr (Linux Standard Base Core, "Exception Frames"): relative to the place, with 32
# bits and a sign; and absent.
_DW_EH_PE_PCREL_SDATA4, _DW_EH_PE_OMIT = 0x1B, 0xFF
EH_FRAME_HEADER = struct.Struct("<BBBBi")


@dataclass(frozen=True, slots=True)
class DynamicSymbols:
    """The dynamic symbol table in order: the null symbol, ``imports``, ``exports`` (by number in the object)."""

    imports: tuple[int, ...]
    exports: tuple[int, ...]

    def __len__(self) -> int:
        return 1 + len(self.imports) + len(self.exports)

    def names(self, obj: ObjectFile) -> list[str]:
        """The names of the symbols behind the null symbol."""
        return [obj.symbols[number].name for number in (*self.imports, *self.exports)]

    def indices(self) -> dict[int, int]:
        """The index in the table of each symbol, by its number in the object."""
        return {number: index for index, number in enumerate((*self.imports, *self.exports), start=1)}


class StringTable:
    """A string table under construction (gABI ch. 4, "String Table"): each string once, in order of arrival."""

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self.data = bytearray(b"\0")
        self._offsets = {"": 0}
        for string in strings:
            self.add(string)

    def add(self, string: str) -> int:
        """The offset of ``string``, which is appended if it is new."""
        offset = self._offsets.get(string)
        if offset is None:
            offset = self._offsets[string] = len(self.data)
            self.data += string.encode("utf-8") + b"\0"
        return offset


def select_exports(obj: ObjectFile, names: Iterable[str]) -> tuple[int, ...]:
    """The numbers of the symbols called ``names``, in order of their names.

    Raises:
        LinkError: an export is not a function or a variable that the object defines for others to use.
    """
    by_name = {symbol.name: number for number, symbol in enumerate(obj.symbols) if symbol.binding != elf.STB_LOCAL}
    exported = []
    for name in sorted(set(names)):
        number = by_name.get(name)
        if number is None or obj.symbols[number].is_undefined:
            raise LinkError(f"{name!r} is to be exported, but the object does not define it as an external symbol")
        symbol = obj.symbols[number]
        if symbol.visibility in (elf.STV_HIDDEN, elf.STV_INTERNAL):
            raise LinkError(f"{name!r} is to be exported, but the object declares it hidden")
        if symbol.kind not in _EXPORTABLE_KINDS:
            raise LinkError(f"{name!r} is to be exported, but it is neither a function nor a variable")
        exported.append(number)
    return tuple(exported)


def variables_others_may_copy(obj: ObjectFile, exports: Iterable[int]) -> frozenset[int]:
    """The exported variables of default visibility; a protected one belongs to the library alone."""
    return frozenset(
        number
        for number in exports
        if obj.symbols[number].kind in _VARIABLE_KINDS and obj.symbols[number].visibility == elf.STV_DEFAULT
    )


def symbol_table(
    obj: ObjectFile,
    table: DynamicSymbols,
    strings: StringTable,
    addresses: Sequence[int | None],
    holders: Mapping[int, int],
) -> bytes:
    """The contents of .dynsym; ``holders`` maps a section of the object to the header of the section that holds it."""
    entries = [bytes(elf.SYMBOL.size)]
    for number in table.imports:
        symbol = obj.symbols[number]
        info = symbol.binding << 4 | elf.STT_FUNC  # only functions are imported
        entries.append(elf.SYMBOL.pack(strings.add(symbol.name), info, elf.STV_DEFAULT, elf.SHN_UNDEF, 0, 0))
    for number in table.exports:
        symbol, address = obj.symbols[number], addresses[number]
        section = holders.get(symbol.section)
        if address is None or section is None:
            raise LinkError(f"{symbol.name!r} is to be exported, but it is in no section of the library")
        name, info = strings.add(symbol.name), _exported_info(symbol)
        entries.append(elf.SYMBOL.pack(name, info, symbol.visibility, section, address, symbol.size))
    return b"".join(entries)


def _exported_info(symbol: Symbol) -> int:
    """Binding and type of an exported symbol; a tentative definition has become a variable."""
    kind = elf.STT_OBJECT if symbol.section == COMMON or symbol.kind == elf.STT_COMMON else symbol.kind
    return symbol.binding << 4 | kind


def hash_table(names: Sequence[str]) -> bytes:
    """The contents of .hash for dynamic symbols 1, 2, ... named ``names`` (gABI ch. 5, "Hash Table")."""
    bucket_count = max(1, len(names))
    buckets, chains = [0] * bucket_count, [0] * (len(names) + 1)
    for index, name in enumerate(names, start=1):
        bucket = hash_name(name) % bucket_count
        chains[index], buckets[bucket] = buckets[bucket], index
    return struct.pack(f"<II{bucket_count}I{len(chains)}I", bucket_count, len(chains), *buckets, *chains)


def hash_name(name: str) -> int:
    """The gABI's hash of a symbol name."""
    value = 0
    for byte in name.encode("utf-8"):
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def relocation_table(relocations: Sequence[DynamicRelocation], table: DynamicSymbols) -> tuple[bytes, int]:
    """The contents of .rela.dyn, relative relocations first, and how many of those there are."""
    index_of = table.indices()
    ordered = sorted(relocations, key=lambda relocation: (relocation.symbol is not None, relocation.address))
    entries = (
        elf.RELA.pack(address, (0 if symbol is None else index_of[symbol]) << 32 | kind, addend)
        for address, kind, symbol, addend in ordered
    )
    return b"".join(entries), sum(relocation.symbol is None for relocation in ordered)


def unwind_header(address: int, eh_frame_address: int) -> bytes:
    """The contents of .eh_frame_hdr at ``address``: the way to .eh_frame, without a table for binary search."""
    distance = eh_frame_address - (address + 4)
    return EH_FRAME_HEADER.pack(1, _DW_EH_PE_PCREL_SDATA4, _DW_EH_PE_OMIT, _DW_EH_PE_OMIT, distance)
