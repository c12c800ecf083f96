"""Lay out the library: gather the object's sections into a few output sections, and give each an address.

A byte of the file lies at the offset that equals its address; that costs less than a page between two segments.  In
order of address, behind the headers:

* read: .hash .dynsym .dynstr .rela.dyn .rodata .eh_frame_hdr .eh_frame
* read and execute: .text .plt.got
* read, and write until relocated ("RELRO"): .data.rel.ro .dynamic .got
* read and write: .data .bss
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.backends.llvm.elf import format as elf
from graphc.backends.llvm.elf.errors import LinkError
from graphc.backends.llvm.elf.reader import COMMON, InputSection, ObjectFile, Symbol

# A branch or an address computation of the small code model reaches 2 GiB.
_LARGEST_IMAGE = 1 << 31

_READ_ONLY = (".hash", ".dynsym", ".dynstr", ".rela.dyn", ".rodata", ".eh_frame_hdr", ".eh_frame")
_CODE = (".text", ".plt.got")
_RELOCATED_READ_ONLY = (".data.rel.ro", ".dynamic", ".got")
_WRITABLE = (".data", ".bss")

_A, _AX, _WA = elf.SHF_ALLOC, elf.SHF_ALLOC | elf.SHF_EXECINSTR, elf.SHF_ALLOC | elf.SHF_WRITE
# name: type, flags, alignment, size of an entry
_KINDS: Mapping[str, tuple[int, int, int, int]] = {
    ".hash": (elf.SHT_HASH, _A, 8, 4),
    ".dynsym": (elf.SHT_DYNSYM, _A, 8, elf.SYMBOL.size),
    ".dynstr": (elf.SHT_STRTAB, _A, 1, 0),
    ".rela.dyn": (elf.SHT_RELA, _A, 8, elf.RELA.size),
    ".rodata": (elf.SHT_PROGBITS, _A, 1, 0),
    ".eh_frame_hdr": (elf.SHT_PROGBITS, _A, 4, 0),
    ".eh_frame": (elf.SHT_PROGBITS, _A, 8, 0),
    ".text": (elf.SHT_PROGBITS, _AX, 16, 0),
    ".plt.got": (elf.SHT_PROGBITS, _AX, 16, 8),
    ".data.rel.ro": (elf.SHT_PROGBITS, _WA, 8, 0),
    ".dynamic": (elf.SHT_DYNAMIC, _WA, 8, elf.DYNAMIC_ENTRY.size),
    ".got": (elf.SHT_PROGBITS, _WA, 8, 8),
    ".data": (elf.SHT_PROGBITS, _WA, 1, 0),
    ".bss": (elf.SHT_NOBITS, _WA, 1, 0),
}
_LOADED_TYPES = frozenset({elf.SHT_PROGBITS, elf.SHT_NOBITS, elf.SHT_X86_64_UNWIND})
_STARTUP_TYPES = frozenset({elf.SHT_INIT_ARRAY, elf.SHT_FINI_ARRAY, elf.SHT_PREINIT_ARRAY})
_STARTUP_NAMES = (".ctors.", ".dtors.", ".init.", ".fini.")


@dataclass(slots=True)
class OutputSection:
    """A section of the library: its size grows by `reserve`, then it gets an address.

    Attributes:
        pieces: the input sections in it, each with its offset.
        is_used: whether something lies in it, be it of size 0 (a symbol may point there).
    """

    name: str
    kind: int
    flags: int
    alignment: int
    entry_size: int
    size: int = 0
    address: int = 0
    is_used: bool = False
    pieces: list[tuple[InputSection, int]] = field(default_factory=list)

    def reserve(self, size: int, alignment: int = 1) -> int:
        """Make room for ``size`` bytes and give their offset."""
        offset = elf.align_up(self.size, alignment)
        self.size = offset + size
        self.alignment = max(self.alignment, alignment)
        self.is_used = True
        return offset

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of the library that is mapped with one permission; ``file_size`` leaves out the zeros at its end."""

    flags: int
    address: int
    file_size: int
    memory_size: int


class Layout:
    """The output sections of a library, by name and in order of address, and where the object's parts went.

    Made from an object, it holds the object's own sections.  The caller reserves room in the sections that it makes
    itself, calls `assign_addresses`, and may then ask for addresses.
    """

    def __init__(self, obj: ObjectFile) -> None:
        self.sections = {name: OutputSection(name, *kind) for name, kind in _KINDS.items()}
        self._common_offsets: dict[int, int] = {}
        for section in obj.sections:
            self._place_section(section)
        for number, symbol in enumerate(obj.symbols):
            if symbol.section == COMMON:
                self._common_offsets[number] = self._place_common(symbol)
        if self.sections[".eh_frame"].size:
            self.sections[".eh_frame"].reserve(4)  # a record of length 0 ends the table

    def _place_section(self, section: InputSection) -> None:
        """Append an input section to the output section that fits its use; notes are left out."""
        if section.kind == elf.SHT_NOTE:
            return
        output = self.sections[_output_name(section)]
        if section.alignment > elf.PAGE_SIZE:
            limit = f"more than the {elf.PAGE_SIZE} that every loader keeps"
            raise LinkError(f"section {section.name!r} is aligned to {section.alignment}, {limit}")
        # Padding between two unwind tables would read as the end of both; records are found by the length of the last.
        alignment = 1 if output.name == ".eh_frame" else section.alignment
        output.pieces.append((section, output.reserve(section.size, alignment)))

    def _place_common(self, symbol: Symbol) -> int:
        """Room in .bss for a tentative definition, whose value is its alignment (gABI ch. 4, "Symbol Values")."""
        alignment = max(symbol.value, 1)
        if alignment & (alignment - 1) or alignment > elf.PAGE_SIZE:
            raise LinkError(f"variable {symbol.name!r} is aligned to {alignment}, no power of two up to a page")
        return self.sections[".bss"].reserve(symbol.size, alignment)

    def pieces(self) -> Iterator[tuple[OutputSection, InputSection, int]]:
        """Every input section in the library, with its output section and its offset there."""
        for output in self.sections.values():
            for section, offset in output.pieces:
                yield output, section, offset

    def assign_addresses(self, headers_size: int) -> None:
        """Give every section an address, behind ``headers_size`` bytes for the headers of the file."""
        address = headers_size
        for group in (_READ_ONLY, _CODE, _RELOCATED_READ_ONLY, _WRITABLE):
            for name in group:
                section = self.sections[name]
                section.address = elf.align_up(address, section.alignment)
                address = section.end
            address = elf.align_up(address, elf.PAGE_SIZE)
        if address > _LARGEST_IMAGE:
            raise LinkError(
                f"the library would have {address} bytes, more than the 2 GiB that its code can reach",
                "keep large tables out of the module and pass them as arguments",
            )

    def symbol_addresses(self, symbols: Sequence[Symbol]) -> list[int | None]:
        """The address of each symbol, None for one that is undefined or in no section of the library."""
        starts = {section.index: output.address + offset for output, section, offset in self.pieces()}
        bss = self.sections[".bss"].address
        addresses: list[int | None] = []
        for number, symbol in enumerate(symbols):
            if number in self._common_offsets:
                addresses.append(bss + self._common_offsets[number])
            else:
                start = starts.get(symbol.section)
                addresses.append(None if start is None else start + symbol.value)
        return addresses

    def holders(self) -> dict[int, str]:
        """For each section that a defined symbol may be in, `COMMON` included, the output section that holds it."""
        names = {section.index: output.name for output, section, _ in self.pieces()}
        if self._common_offsets:
            names[COMMON] = ".bss"
        return names

    def used_sections(self) -> list[OutputSection]:
        """The sections that hold something, in order of address: those that get a header in the file."""
        return [section for section in self.sections.values() if section.is_used]

    @property
    def file_end(self) -> int:
        """The size of the part of the file that is mapped."""
        return self.sections[".data" if self.sections[".data"].size else ".got"].end

    @property
    def relocated_read_only(self) -> Segment:
        """The pages that the loader writes once and then protects."""
        first, last = self.sections[_RELOCATED_READ_ONLY[0]], self.sections[_RELOCATED_READ_ONLY[-1]]
        size = last.end - first.address
        return Segment(elf.PF_R, first.address, size, elf.align_up(last.end, elf.PAGE_SIZE) - first.address)

    def segments(self) -> list[Segment]:
        """The ranges to map, in order of address; a range that would be empty is left out, as mapping it would fail."""
        code_start, code_end = self.sections[_CODE[0]].address, self.sections[_CODE[-1]].end
        constants_end = self.sections[_READ_ONLY[-1]].end
        relro = self.relocated_read_only
        data_end = max(relro.address + relro.memory_size, self.sections[_WRITABLE[-1]].end)
        segments = [
            Segment(elf.PF_R, 0, constants_end, constants_end),
            Segment(elf.PF_R | elf.PF_X, code_start, code_end - code_start, code_end - code_start),
            Segment(elf.PF_R | elf.PF_W, relro.address, self.file_end - relro.address, data_end - relro.address),
        ]
        return [segment for segment in segments if segment.memory_size]


def _output_name(section: InputSection) -> str:
    """The output section for an input section, by what its flags allow (gABI ch. 4, "Section Attribute Flags")."""
    flags = section.flags
    if flags & elf.SHF_TLS:
        raise LinkError(f"section {section.name!r} is thread-local storage, which is not supported")
    if flags & elf.SHF_COMPRESSED:
        raise LinkError(f"section {section.name!r} is compressed, which only debugging information may be")
    if section.kind in _STARTUP_TYPES or f"{section.name}.".startswith(_STARTUP_NAMES):
        reason = "would run code when the library is loaded or unloaded, which is not supported"
        raise LinkError(f"section {section.name!r} {reason}", "drop llvm.global_ctors and llvm.global_dtors")
    if section.kind not in _LOADED_TYPES:
        raise LinkError(f"section {section.name!r} has type {section.kind:#x}, which is not supported")
    if flags & elf.SHF_EXECINSTR:
        if flags & elf.SHF_WRITE or section.kind == elf.SHT_NOBITS:
            raise LinkError(f"section {section.name!r} holds code that is writable or absent, which is not supported")
        return ".text"
    if section.kind == elf.SHT_NOBITS:
        return ".bss"
    if section.name == ".eh_frame":
        return ".eh_frame"
    if not flags & elf.SHF_WRITE:
        return ".rodata"
    return ".data.rel.ro" if section.name.startswith(".data.rel.ro") else ".data"
