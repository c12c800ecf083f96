"""Relocations: what they demand of the library before it has addresses, and how they are applied once it has.

The rules are the psABI's, "Relocation Types"; S is the address of the symbol, A the addend, P the patched place, G the
address of the symbol's slot in the global offset table, L that of its entry in the procedure linkage table.  A library
is loaded at an address nobody knows yet, so distances inside it are settled here, and absolute addresses become dynamic
relocations for the loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from graphc.backends.llvm.elf import format as elf
from graphc.backends.llvm.elf.errors import LinkError
from graphc.backends.llvm.elf.reader import InputSection, ObjectFile, Relocation, Symbol

GOT_SLOT_SIZE = 8
# `jmp *slot(%rip)` and a two-byte nop: the entry of a table that is bound at load time and needs no lazy part.
# Disassemblers know this form and print the entry under the name of its function.
PLT_ENTRY_SIZE = 8
_PLT_JUMP, _PLT_PADDING = b"\xff\x25", b"\x66\x90"

_GOT_KINDS = frozenset({elf.R_X86_64_GOTPCREL, elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX})
_RELAXABLE_KINDS = frozenset({elf.R_X86_64_GOTPCRELX, elf.R_X86_64_REX_GOTPCRELX})

_OPCODE_MOV_LOAD, _OPCODE_LEA, _OPCODE_GROUP_5 = 0x8B, 0x8D, 0xFF
# ModRM bytes of group 5 (0xFF) with a RIP-relative operand: /2 is an indirect call, /4 an indirect jump.
_MODRM_INDIRECT_BRANCHES = frozenset({0x15, 0x25})
_PIC_HINT = "compile the module with reloc='pic'"


class DynamicRelocation(NamedTuple):
    """A relocation left to the loader: at ``address``, by the rule of ``kind``; ``symbol`` is dynamic, or None."""

    address: int
    kind: int
    symbol: int | None
    addend: int


@dataclass(slots=True)
class Demand:
    """What the relocations of an object need; a dictionary gives the position of each symbol in its table.

    An exported variable is reached through the global offset table even from inside: a program that is linked to a
    fixed address may hold a copy of it, and then that copy is the variable for everyone (psABI, "Copy Relocations").
    """

    exported_variables: frozenset[int]
    imports: dict[int, int] = field(default_factory=dict)
    got_slots: dict[int, int] = field(default_factory=dict)
    plt_entries: dict[int, int] = field(default_factory=dict)
    absolute_addresses: int = 0

    @property
    def dynamic_relocation_count(self) -> int:
        """How many relocations the loader has to apply: one for each absolute address and for each table slot."""
        return self.absolute_addresses + len(self.got_slots)

    def is_found_by_name(self, number: int) -> bool:
        """Whether the loader looks symbol ``number`` up, rather than the linker settling where it is."""
        return number in self.imports or number in self.exported_variables


def scan(obj: ObjectFile, sections: Sequence[InputSection], exported_variables: frozenset[int]) -> Demand:
    """Check every relocation of ``sections`` and collect the imports and table slots that they need.

    Raises:
        LinkError: a relocation has no meaning in a shared library, or something imported is not a function.
    """
    demand = Demand(exported_variables)
    functions: set[int] = set()
    for section in sections:
        for relocation in section.relocations:
            symbol = obj.symbols[relocation.symbol]
            _check_relocation(section, relocation, symbol, relocation.symbol in exported_variables)
            if symbol.is_undefined:
                demand.imports.setdefault(relocation.symbol, len(demand.imports))
                if _shows_function(section, relocation, symbol):
                    functions.add(relocation.symbol)
            if relocation.kind == elf.R_X86_64_64:
                demand.absolute_addresses += 1
            elif relocation.kind == elf.R_X86_64_PLT32 and symbol.is_undefined:
                demand.plt_entries.setdefault(relocation.symbol, len(demand.plt_entries))
                demand.got_slots.setdefault(relocation.symbol, len(demand.got_slots))
            elif relocation.kind in _GOT_KINDS and not _can_relax(section, relocation, demand):
                demand.got_slots.setdefault(relocation.symbol, len(demand.got_slots))
    for number in demand.imports:
        if number not in functions:
            raise LinkError(
                f"it uses {obj.symbols[number].name!r}, which it does not define, as a variable",
                "only functions can come from another library; define the variable in the module",
            )
    return demand


def _check_relocation(
    section: InputSection, relocation: Relocation, symbol: Symbol, is_exported_variable: bool
) -> None:
    """Refuse a relocation that cannot be applied in a position-independent library."""
    kind = relocation.kind
    if kind not in elf.SUPPORTED_RELOCATIONS:
        raise _unsupported(section, relocation, symbol)
    if symbol.is_undefined:
        _check_import(section, relocation, symbol)
    if is_exported_variable and kind != elf.R_X86_64_64 and kind not in _GOT_KINDS:
        where = _place(section, relocation, symbol)
        raise LinkError(f"{where} assumes that no program has a copy of the exported variable", _PIC_HINT)
    is_read_only = not section.flags & elf.SHF_WRITE or section.name == ".eh_frame"
    if kind == elf.R_X86_64_64 and is_read_only:
        where = _place(section, relocation, symbol)
        raise LinkError(f"{where} would have the loader write an address into read-only memory", _PIC_HINT)


def _unsupported(section: InputSection, relocation: Relocation, symbol: Symbol) -> LinkError:
    """The error for a relocation type that the linker does not apply, with the reason where the type tells it."""
    where = _place(section, relocation, symbol)
    if relocation.kind in elf.TLS_RELOCATIONS:
        return LinkError(f"{where} needs thread-local storage, which is not supported")
    if relocation.kind in elf.NARROW_ABSOLUTE_RELOCATIONS:
        reason = "puts an absolute address into fewer than 64 bits, but a library may be loaded anywhere"
        return LinkError(f"{where} {reason}", _PIC_HINT)
    if relocation.kind in elf.LARGE_MODEL_RELOCATIONS:
        return LinkError(f"{where} belongs to the large code model", "compile the module with codemodel='default'")
    return LinkError(f"{where} is not supported")


def _check_import(section: InputSection, relocation: Relocation, symbol: Symbol) -> None:
    """Refuse an undefined symbol that no other library can supply in the way the relocation asks for."""
    where = _place(section, relocation, symbol)
    if symbol.binding not in (elf.STB_GLOBAL, elf.STB_WEAK) or not symbol.name:
        raise LinkError(f"{where} refers to no symbol")
    if symbol.visibility != elf.STV_DEFAULT:
        raise LinkError(f"{where} refers to a hidden symbol that the object does not define")
    if symbol.kind == elf.STT_TLS:
        raise LinkError(f"{where} needs thread-local storage, which is not supported")
    if relocation.kind in (elf.R_X86_64_PC32, elf.R_X86_64_PC64):
        raise LinkError(
            f"{where} assumes that the library defines the symbol, and it does not",
            "declare a function of another library without `dso_local`; a variable cannot come from one",
        )


def _shows_function(section: InputSection, relocation: Relocation, symbol: Symbol) -> bool:
    """Whether this use of an undefined symbol shows it to be a function.

    Assemblers leave undefined symbols untyped, so the use has to tell: a call does, and so does a place in a table of
    pointers.  What is only loaded through the global offset table would be a variable.
    """
    if symbol.kind != elf.STT_NOTYPE:
        return symbol.kind == elf.STT_FUNC
    if relocation.kind in (elf.R_X86_64_PLT32, elf.R_X86_64_64):
        return True
    before = bytes(section.contents[max(relocation.offset - 2, 0) : relocation.offset])
    return len(before) == 2 and before[0] == _OPCODE_GROUP_5 and before[1] in _MODRM_INDIRECT_BRANCHES


def _can_relax(section: InputSection, relocation: Relocation, demand: Demand) -> bool:
    """Whether code that loads the symbol's address from the table can compute it instead.

    ``mov slot(%rip), %reg`` becomes ``lea symbol(%rip), %reg``: one byte changes, and a memory access goes (psABI,
    "Optimize GOTPCRELX Relocations").
    """
    if relocation.kind not in _RELAXABLE_KINDS or demand.is_found_by_name(relocation.symbol):
        return False
    offset = relocation.offset
    return offset >= 2 and relocation.addend == -4 and section.contents[offset - 2] == _OPCODE_MOV_LOAD


def _place(section: InputSection, relocation: Relocation, symbol: Symbol) -> str:
    """The relocation in words, for an error."""
    name = f" against {symbol.name!r}" if symbol.name else ""
    return f"relocation {elf.relocation_name(relocation.kind)}{name} at {section.name}+{relocation.offset:#x}"


@dataclass(frozen=True, slots=True)
class Relocator:
    """Applies relocations to ``image``, in which every byte lies at its own address.

    Attributes:
        image: the library from address 0 to the end of its last section with contents.
        symbols: the object's symbol table.
        symbol_addresses: the address of each symbol, None for one that is undefined or in no section of the library.
        demand: what `scan` found.
        got_address: where the global offset table starts.
        plt_address: where the procedure linkage table starts.
    """

    image: bytearray
    symbols: Sequence[Symbol]
    symbol_addresses: Sequence[int | None]
    demand: Demand
    got_address: int
    plt_address: int

    def fill_tables(self) -> list[DynamicRelocation]:
        """Write the procedure linkage table, and give the relocations that fill the global offset table."""
        for number, position in self.demand.plt_entries.items():
            entry = self.plt_address + PLT_ENTRY_SIZE * position
            operand = entry + len(_PLT_JUMP)
            distance = self._slot(number) - (operand + 4)
            code = _PLT_JUMP + distance.to_bytes(4, "little", signed=True) + _PLT_PADDING
            self.image[entry : entry + PLT_ENTRY_SIZE] = code
        relocations = []
        for number in self.demand.got_slots:
            if self.demand.is_found_by_name(number):
                relocations.append(DynamicRelocation(self._slot(number), elf.R_X86_64_GLOB_DAT, number, 0))
            else:
                address = self._address(number)
                relocations.append(DynamicRelocation(self._slot(number), elf.R_X86_64_RELATIVE, None, address))
        return relocations

    def apply(self, section: InputSection, address: int) -> list[DynamicRelocation]:
        """Apply the relocations of ``section``, which lies at ``address``, and give those left to the loader."""
        left: list[DynamicRelocation] = []
        for relocation in section.relocations:
            offset, kind, number, addend = relocation
            place = address + offset
            if kind == elf.R_X86_64_64:  # S + A
                left.append(self._absolute(place, number, addend))
            elif kind == elf.R_X86_64_PC64:  # S + A - P
                self._store(section, relocation, place, 8, self._address(number) + addend - place)
            elif kind not in _GOT_KINDS:  # PC32: S + A - P; PLT32: L + A - P, where L is S for what the library defines
                self._store(section, relocation, place, 4, self._branch_target(number) + addend - place)
            elif _can_relax(section, relocation, self.demand):  # S + A - P
                self.image[place - 2] = _OPCODE_LEA
                self._store(section, relocation, place, 4, self._address(number) + addend - place)
            else:  # G + A - P
                self._store(section, relocation, place, 4, self._slot(number) + addend - place)
        return left

    def _absolute(self, place: int, number: int, addend: int) -> DynamicRelocation:
        """The dynamic relocation that puts the address of symbol ``number``, plus ``addend``, at ``place``."""
        if self.demand.is_found_by_name(number):
            return DynamicRelocation(place, elf.R_X86_64_64, number, addend)
        value = self._address(number) + addend
        if not -(1 << 63) <= value < 1 << 63:
            raise LinkError(f"the pointer at {place:#x} to {self.symbols[number].name!r} does not fit into 64 bits")
        return DynamicRelocation(place, elf.R_X86_64_RELATIVE, None, value)

    def _branch_target(self, number: int) -> int:
        """Where a call of symbol ``number`` goes: to its table entry if it is imported, else to itself."""
        position = self.demand.plt_entries.get(number)
        return self._address(number) if position is None else self.plt_address + PLT_ENTRY_SIZE * position

    def _slot(self, number: int) -> int:
        """The address of the symbol's slot in the global offset table."""
        return self.got_address + GOT_SLOT_SIZE * self.demand.got_slots[number]

    def _address(self, number: int) -> int:
        """The address of a symbol of the library itself."""
        address = self.symbol_addresses[number]
        if address is None:
            name = self.symbols[number].name or number
            raise LinkError(f"a relocation refers to symbol {name!r}, which is in no section of the library")
        return address

    def _store(self, section: InputSection, relocation: Relocation, place: int, width: int, value: int) -> None:
        """Write a signed number of ``width`` bytes at ``place``."""
        try:
            self.image[place : place + width] = value.to_bytes(width, "little", signed=True)
        except OverflowError:
            where = _place(section, relocation, self.symbols[relocation.symbol])
            raise LinkError(f"{where} reaches {value:#x} bytes far, more than {8 * width} bits hold") from None
