"""Parse a relocatable ELF object into sections, symbols and relocations; every offset is checked before it is used."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from graphc.backends.llvm.elf import format as elf
from graphc.backends.llvm.elf.errors import LinkError

# Where a symbol lives when it is not in a section: negative, so that no section index can be mistaken for one.
ABSOLUTE = -1
COMMON = -2

_OTHER_FORMATS = {
    b"\xcf\xfa\xed\xfe": "a Mach-O object",
    b"\x64\x86": "a COFF object",
    b"BC\xc0\xde": "LLVM bitcode",
    b"\0asm": "a WebAssembly module",
    b"!<arch>\n": "an archive",
}


class Relocation(NamedTuple):
    """One ``Elf64_Rela``: patch ``offset`` of its section, by the rule of ``kind``, with ``symbol`` and ``addend``."""

    offset: int
    kind: int
    symbol: int
    addend: int


class Symbol(NamedTuple):
    """One ``Elf64_Sym``; ``section`` is a section index, or 0 (undefined), ``ABSOLUTE`` or ``COMMON``."""

    name: str
    binding: int
    kind: int
    visibility: int
    section: int
    value: int
    size: int

    @property
    def is_undefined(self) -> bool:
        """Whether another library has to define the symbol."""
        return self.section == elf.SHN_UNDEF


@dataclass(frozen=True, slots=True)
class InputSection:
    """A section of the object that occupies memory; ``contents`` is empty for one of zeros (``SHT_NOBITS``)."""

    index: int
    name: str
    kind: int
    flags: int
    size: int
    alignment: int
    contents: memoryview
    relocations: tuple[Relocation, ...]


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """What linking needs of an object: its sections in memory, in order of their index, and its symbol table."""

    sections: tuple[InputSection, ...]
    symbols: tuple[Symbol, ...]


class _SectionHeader(NamedTuple):
    """One ``Elf64_Shdr``, field by field."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def read_object(data: bytes) -> ObjectFile:
    """Parse ``data``, one x86-64 relocatable object.

    Raises:
        LinkError: the bytes are not such an object, or something in them points outside them.
    """
    _check_identity(data)
    view = memoryview(data)
    headers, names_index = _read_section_headers(view)
    if names_index >= len(headers):
        raise LinkError(f"its section name table is section {names_index} of {len(headers)}")
    names = _table(view, headers[names_index], "the section name table", elf.SHT_STRTAB)
    symbol_table = _only(headers, elf.SHT_SYMTAB)
    allocated = {
        index: header
        for index, header in enumerate(headers)
        if header.flags & elf.SHF_ALLOC and not header.flags & elf.SHF_EXCLUDE and header.kind != elf.SHT_NULL
    }
    symbols: tuple[Symbol, ...] = ()
    if symbol_table is not None:
        symbols = tuple(_read_symbols(view, headers, symbol_table, allocated))
    relocations = _read_relocations(view, headers, allocated, symbol_table, len(symbols))
    sections = tuple(
        _input_section(view, index, header, _string(names, header.name, "a section"), tuple(relocations.get(index, ())))
        for index, header in allocated.items()
    )
    return ObjectFile(sections, symbols)


def _check_identity(data: bytes) -> None:
    """Refuse what is not a 64-bit little-endian x86-64 relocatable object (gABI ch. 4, "ELF Identification")."""
    if not data.startswith(elf.ELF_MAGIC):
        found = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), "not an ELF file")
        raise LinkError(f"it is {found}", "only x86-64 ELF objects can be linked; compile for x86_64-unknown-linux-gnu")
    if len(data) < elf.ELF_HEADER.size:
        raise LinkError(f"it is cut off inside its header, at {len(data)} bytes")
    byte_order: Literal["little", "big"] = "big" if data[elf.EI_DATA] == elf.ELFDATA2MSB else "little"
    machine = int.from_bytes(data[18:20], byte_order)
    if machine != elf.EM_X86_64:
        name = elf.MACHINE_NAMES.get(machine, f"machine number {machine}")
        raise LinkError(f"it is for {name}, not x86-64", "compile for x86_64-unknown-linux-gnu")
    if data[elf.EI_CLASS] != elf.ELFCLASS64 or data[elf.EI_DATA] != elf.ELFDATA2LSB:
        raise LinkError("it is an x86-64 object, but not a 64-bit little-endian one")
    kind, _, version = elf.ELF_HEADER.unpack_from(data)[1:4]
    if data[elf.EI_VERSION] != elf.EV_CURRENT or version != elf.EV_CURRENT:
        raise LinkError("its ELF version is not 1")
    if kind != elf.ET_REL:
        raise LinkError(f"its type is {kind}, not {elf.ET_REL} (relocatable)")


def _read_section_headers(view: memoryview) -> tuple[list[_SectionHeader], int]:
    """The section header table, and the index of the section that holds the section names."""
    fields = elf.ELF_HEADER.unpack_from(view)
    offset, entry_size, count, names_index = fields[6], fields[11], fields[12], fields[13]
    if offset == 0:
        raise LinkError("it has no section header table")
    if entry_size != elf.SECTION_HEADER.size:
        raise LinkError(f"its section headers have {entry_size} bytes, not {elf.SECTION_HEADER.size}")
    first = _SectionHeader(*elf.SECTION_HEADER.unpack(_slice(view, offset, entry_size, "the section header table")))
    # A number too large for its 16-bit field moves to the first header (gABI ch. 4, "Section Header Table").
    count = first.size if count == 0 else count
    names_index = first.link if names_index == elf.SHN_XINDEX else names_index
    table = _slice(view, offset, count * entry_size, "the section header table")
    return [_SectionHeader(*fields) for fields in elf.SECTION_HEADER.iter_unpack(table)], names_index


def _read_symbols(
    view: memoryview, headers: list[_SectionHeader], table_index: int, allocated: dict[int, _SectionHeader]
) -> Iterator[Symbol]:
    """The symbol table in order (gABI ch. 4, "Symbol Table"); section indices are real ones, `ABSOLUTE` or `COMMON`."""
    header = headers[table_index]
    names = _table(view, _linked(headers, header, "the symbol table"), "the symbol name table", elf.SHT_STRTAB)
    entries = _records(view, header, elf.SYMBOL.size, "the symbol table")
    wide_indices = _read_wide_indices(view, headers, len(entries) // elf.SYMBOL.size)
    for number, (name, info, other, section, value, size) in enumerate(elf.SYMBOL.iter_unpack(entries)):
        text = _string(names, name, f"symbol {number}") if name else ""
        if section == elf.SHN_XINDEX and wide_indices is not None:
            section = wide_indices[number]
        elif section == elf.SHN_ABS:
            section = ABSOLUTE
        elif section == elf.SHN_COMMON:
            section = COMMON
        elif section >= elf.SHN_LORESERVE:
            raise LinkError(f"symbol {text or number!r} is in the reserved section {section:#x}")
        if section >= len(headers):
            raise LinkError(f"symbol {text or number!r} is in section {section} of {len(headers)}")
        if section in allocated and value > allocated[section].size:
            raise LinkError(f"symbol {text or number!r} is at {value:#x}, past the end of its section")
        yield Symbol(text, info >> 4, info & 0xF, other & 0x3, section, value, size)


def _read_wide_indices(view: memoryview, headers: list[_SectionHeader], count: int) -> tuple[int, ...] | None:
    """The section index of each symbol as 32 bits, where the object has more sections than 16 bits can number."""
    index = _only(headers, elf.SHT_SYMTAB_SHNDX)
    if index is None:
        return None
    entries = _records(view, headers[index], 4, "the extended section index table")
    if len(entries) != 4 * count:
        raise LinkError("its extended section index table and its symbol table differ in length")
    return struct.unpack(f"<{count}I", entries)


def _read_relocations(
    view: memoryview,
    headers: list[_SectionHeader],
    allocated: dict[int, _SectionHeader],
    symbol_table: int | None,
    symbol_count: int,
) -> dict[int, list[Relocation]]:
    """The relocations of every allocated section, by its index (gABI ch. 4, "Relocation")."""
    relocations: dict[int, list[Relocation]] = {}
    for header in headers:
        if header.kind not in (elf.SHT_RELA, elf.SHT_REL) or header.info not in allocated:
            continue
        where = f"the relocation table of section {header.info}"
        if header.kind == elf.SHT_REL:
            raise LinkError(f"{where} has no addends, which the psABI prescribes")
        if header.link != symbol_table:
            raise LinkError(f"{where} does not refer to the symbol table")
        target = allocated[header.info]
        entries = _records(view, header, elf.RELA.size, where)
        found = relocations.setdefault(header.info, [])
        for offset, info, addend in elf.RELA.iter_unpack(entries):
            kind, symbol = info & 0xFFFFFFFF, info >> 32
            if kind == elf.R_X86_64_NONE:
                continue
            width = 8 if kind in (elf.R_X86_64_64, elf.R_X86_64_PC64) else 4
            if target.kind == elf.SHT_NOBITS or offset + width > target.size:
                raise LinkError(f"{where} patches offset {offset:#x}, outside the section")
            if symbol >= symbol_count:
                raise LinkError(f"{where} names symbol {symbol} of {symbol_count}")
            found.append(Relocation(offset, kind, symbol, addend))
    return relocations


def _input_section(
    view: memoryview, index: int, header: _SectionHeader, name: str, relocations: tuple[Relocation, ...]
) -> InputSection:
    """The section that ``header`` describes, with its bytes."""
    alignment = max(header.alignment, 1)
    if alignment & (alignment - 1):
        raise LinkError(f"section {name!r} is aligned to {alignment}, which is no power of two")
    size = 0 if header.kind == elf.SHT_NOBITS else header.size
    contents = _slice(view, header.offset, size, f"section {name!r}")
    return InputSection(index, name, header.kind, header.flags, header.size, alignment, contents, relocations)


def _only(headers: list[_SectionHeader], kind: int) -> int | None:
    """The index of the one section of type ``kind``, or None where there is none."""
    found = [index for index, header in enumerate(headers) if header.kind == kind]
    if len(found) > 1:
        raise LinkError(f"it has {len(found)} sections of type {kind}, of which an object has at most one")
    return found[0] if found else None


def _linked(headers: list[_SectionHeader], header: _SectionHeader, what: str) -> _SectionHeader:
    """The section that ``header`` names in its ``sh_link``."""
    if header.link >= len(headers):
        raise LinkError(f"{what} refers to section {header.link} of {len(headers)}")
    return headers[header.link]


def _records(view: memoryview, header: _SectionHeader, size: int, what: str) -> memoryview:
    """The bytes of a table whose entries have ``size`` bytes each."""
    if header.entry_size != size or header.size % size:
        raise LinkError(f"{what} does not hold whole entries of {size} bytes")
    return _slice(view, header.offset, header.size, what)


def _table(view: memoryview, header: _SectionHeader, what: str, kind: int) -> bytes:
    """The bytes of a section that has to be of type ``kind``."""
    if header.kind != kind:
        raise LinkError(f"{what} has type {header.kind}, not {kind}")
    return bytes(_slice(view, header.offset, header.size, what))


def _slice(view: memoryview, offset: int, size: int, what: str) -> memoryview:
    """``size`` bytes at ``offset`` of the file."""
    if offset + size > len(view):
        end = offset + size
        raise LinkError(f"{what} ends at byte {end} of a file of {len(view)}", "the file is cut off or damaged")
    return view[offset : offset + size]


def _string(table: bytes, offset: int, what: str) -> str:
    """The NUL-terminated string at ``offset`` of a string table (gABI ch. 4, "String Table")."""
    end = table.find(b"\0", offset) if offset < len(table) else -1
    if end < 0:
        raise LinkError(f"the name of {what} is not inside its string table")
    try:
        return table[offset:end].decode("utf-8")
    except UnicodeDecodeError:
        raise LinkError(f"the name of {what} is not UTF-8") from None
