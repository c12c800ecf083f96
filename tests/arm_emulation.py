"""Runs object code for 64-bit Arm on a machine that is none: in Unicorn's emulator, function by function.

The code gets memory of its own inside the emulator; what it reaches through pointers is this process's memory, mapped
page by page at its very address when it is first touched.  Functions of the C library are this machine's.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from collections.abc import Callable
from dataclasses import dataclass

import unicorn
import unicorn.arm64_const as arm

from graphc.backends.llvm.elf import format as elf

_PAGE = 1 << 12
_BASE = 1 << 32
"""Where code and its data lie, far from what a process on Linux has mapped."""

_STACK = 1 << 33
_STACK_BYTES = 1 << 22
_RETURN = bytes.fromhex("c0035fd6")

_ABSOLUTE_64, _PAGE_OF, _LOW_OF, _CALL, _JUMP = 257, 275, 277, 283, 282
_GOT_PAGE, _GOT_LOW = 311, 312
_SCALED_LOW = {278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
"""R_AARCH64_LDST{8,16,32,64,128}_ABS_LO12_NC: by how many bits the offset in the instruction is scaled."""

_MATH = {"cos": 1, "erfc": 1, "fmod": 2, "sin": 1, "tan": 1}
"""What generated code takes from the C library's mathematics, of how many numbers; in float32 with an f behind it."""

_MOVES = ("memcpy", "memmove", "memset")

_OF_THE_POOL = frozenset(
    ("sched_yield", "syscall", "pthread_create", "pthread_join", "pthread_sigmask", "sched_getaffinity")
) | {"aligned_alloc", "getpid", "free"}
"""What the pool of threads needs, and a call of one thread does not."""


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class ArmCode:
    """An object file in an emulator.

    Args:
        object_bytes: a relocatable ELF file for AArch64.

    Raises:
        LookupError: the code needs a function that is not known here: a machine might not have it.
        NotImplementedError: a kind of relocation that LLVM has not made for this code so far.
    """

    def __init__(self, object_bytes: bytes) -> None:
        self._data = object_bytes
        self._sections = self._read_sections()
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self._addresses: dict[int, int] = {}
        self._end = _BASE
        for number, section in enumerate(self._sections):
            if section.flags & elf.SHF_ALLOC:
                self._addresses[number] = self._reserve(section.size, section.alignment)
        self._table, self._names = self._read_symbols()
        self._stubs: dict[str, int] = {}
        self._functions: dict[int, Callable[[], None]] = {}
        self._slots: dict[int, int] = {}
        code, slots = self._reserve(1 << 12, 16), self._reserve(1 << 14, 16)
        self._next_stub, self._next_slot = code, slots
        self._machine.mem_map(_BASE, -(-self._end // _PAGE) * _PAGE - _BASE)
        self._machine.mem_map(_STACK, _STACK_BYTES)
        for number, address in self._addresses.items():
            section = self._sections[number]
            if section.kind != elf.SHT_NOBITS and section.size:
                self._machine.mem_write(address, self._data[section.offset : section.offset + section.size])
        self._relocate()
        self._stop = self._stub("", lambda: None)
        self._machine.hook_add(unicorn.UC_HOOK_CODE, self._external, begin=code, end=code + (1 << 12) - 1)
        self._machine.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._map)

    def __call__(self, name: str, *pointers: int) -> int:
        """Call ``i32 name(pointers...)``."""
        machine = self._machine
        for register, value in zip(range(arm.UC_ARM64_REG_X0, arm.UC_ARM64_REG_X0 + 8), pointers, strict=False):
            machine.reg_write(register, value)
        machine.reg_write(arm.UC_ARM64_REG_SP, _STACK + _STACK_BYTES - 64)
        machine.reg_write(arm.UC_ARM64_REG_LR, self._stop)
        machine.emu_start(self._names[name], self._stop)
        return int(machine.reg_read(arm.UC_ARM64_REG_W0))

    # -- the object file -------------------------------------------------------------------------------------------

    def _reserve(self, size: int, alignment: int) -> int:
        start = elf.align_up(self._end, max(alignment, 1))
        self._end = start + size
        return start

    def _read_sections(self) -> list[_Section]:
        header = elf.ELF_HEADER.unpack_from(self._data)
        assert elf.MACHINE_NAMES[header[2]] == "AArch64"
        offset, count = header[6], header[12]
        found = []
        for number in range(count):
            fields = elf.SECTION_HEADER.unpack_from(self._data, offset + number * elf.SECTION_HEADER.size)
            _, kind, flags, _, start, size, link, info, alignment, _ = fields
            found.append(_Section(kind, flags, start, size, link, info, alignment))
        return found

    def _read_symbols(self) -> tuple[list[tuple[str, int, int]], dict[str, int]]:
        """(name, section, value) of each symbol, and where the defined ones are."""
        section = next(section for section in self._sections if section.kind == elf.SHT_SYMTAB)
        names = self._sections[section.link].offset
        table, places = [], {}
        for position in range(section.offset, section.offset + section.size, elf.SYMBOL.size):
            name, _, _, where, value, _ = elf.SYMBOL.unpack_from(self._data, position)
            text = self._data[names + name : self._data.index(b"\0", names + name)].decode()
            table.append((text, where, value))
            if where in self._addresses:
                places[text] = self._addresses[where] + value
        return table, places

    def _relocate(self) -> None:
        """As the ELF ABI for the Arm 64-bit architecture says, for the kinds that LLVM uses here."""
        for section in self._sections:
            if section.kind != elf.SHT_RELA or section.info not in self._addresses:
                continue
            for position in range(section.offset, section.offset + section.size, elf.RELA.size):
                offset, info, addend = elf.RELA.unpack_from(self._data, position)
                self._apply(info & 0xFFFFFFFF, self._addresses[section.info] + offset, info >> 32, addend)

    def _apply(self, kind: int, place: int, symbol: int, addend: int) -> None:
        if kind in (_GOT_PAGE, _GOT_LOW):
            target = self._slot(symbol) + addend
        else:
            target = self._symbol(symbol) + addend
        if kind == _ABSOLUTE_64:
            self._machine.mem_write(place, struct.pack("<Q", target))
            return
        (word,) = struct.unpack("<I", bytes(self._machine.mem_read(place, 4)))
        if kind in (_PAGE_OF, _GOT_PAGE):
            pages = (target // _PAGE - place // _PAGE) & 0x1FFFFF
            word |= (pages & 3) << 29 | pages >> 2 << 5
        elif kind == _LOW_OF:
            word |= (target & 0xFFF) << 10
        elif kind == _GOT_LOW:
            word |= (target & 0xFFF) >> 3 << 10
        elif kind in _SCALED_LOW:
            assert not target & ((1 << _SCALED_LOW[kind]) - 1)
            word |= (target & 0xFFF) >> _SCALED_LOW[kind] << 10
        elif kind in (_CALL, _JUMP):
            word |= (target - place) // 4 & 0x3FFFFFF
        else:
            raise NotImplementedError(f"relocation {kind}")
        self._machine.mem_write(place, struct.pack("<I", word))

    def _symbol(self, number: int) -> int:
        name, section, value = self._table[number]
        if section in self._addresses:
            return self._addresses[section] + value
        return self._stubs.get(name) or self._stub(name, self._library(name))

    def _slot(self, number: int) -> int:
        """The entry of the global offset table for a symbol."""
        if number not in self._slots:
            self._slots[number] = self._next_slot
            self._next_slot += 8
            self._machine.mem_write(self._slots[number], struct.pack("<Q", self._symbol(number)))
        return self._slots[number]

    # -- the world around it ---------------------------------------------------------------------------------------

    def _stub(self, name: str, function: Callable[[], None]) -> int:
        """An instruction that returns, at which ``function`` is called."""
        address = self._next_stub
        self._next_stub += 4
        self._stubs[name] = address
        self._functions[address] = function
        self._machine.mem_write(address, _RETURN)
        return address

    def _external(self, machine: unicorn.Uc, address: int, size: int, user: object) -> None:
        self._functions[address]()

    def _library(self, name: str) -> Callable[[], None]:
        if name in _MOVES:
            return lambda: self._move(name)
        if name.removesuffix("f") in _MATH:
            return self._mathematics(name)
        if name in _OF_THE_POOL:
            return lambda: self._refuse(name)
        raise LookupError(f"the code calls {name}, which is not known here: does an Arm machine have it?")

    def _move(self, name: str) -> None:
        first, second, count = (self._machine.reg_read(arm.UC_ARM64_REG_X0 + number) for number in range(3))
        moved = bytes([second & 0xFF]) * count if name == "memset" else bytes(self._read(second, count))
        self._write(first, moved)

    def _read(self, address: int, count: int) -> bytes:
        if _BASE <= address < _STACK + _STACK_BYTES:
            return bytes(self._machine.mem_read(address, count))
        return ctypes.string_at(address, count)

    def _write(self, address: int, data: bytes) -> None:
        if _BASE <= address < _STACK + _STACK_BYTES:
            self._machine.mem_write(address, data)
        else:
            ctypes.memmove(address, data, len(data))

    def _mathematics(self, name: str) -> Callable[[], None]:
        """A function of the C library on the registers of floating-point numbers."""
        single = name not in _MATH
        count = _MATH[name.removesuffix("f") if single else name]
        value, bits = ("<f", "<I") if single else ("<d", "<Q")
        first = arm.UC_ARM64_REG_S0 if single else arm.UC_ARM64_REG_D0
        kind = ctypes.c_float if single else ctypes.c_double
        function = ctypes.CDLL(ctypes.util.find_library("m"))[name]
        function.restype, function.argtypes = kind, [kind] * count

        def compute() -> None:
            registers = [self._machine.reg_read(first + number) for number in range(count)]
            result = function(*(struct.unpack(value, struct.pack(bits, register))[0] for register in registers))
            self._machine.reg_write(arm.UC_ARM64_REG_D0, struct.unpack(bits, struct.pack(value, result))[0])

        return compute

    def _refuse(self, name: str) -> None:
        raise AssertionError(f"a call of one thread has called {name}")

    def _map(self, machine: unicorn.Uc, access: int, address: int, size: int, value: int, user: object) -> bool:
        """Lend a page of this process."""
        first, last = address // _PAGE * _PAGE, (address + size - 1) // _PAGE * _PAGE
        for page in range(first, last + 1, _PAGE):
            if not _is_ours(page):
                return False
            if not any(start <= page <= end for start, end, _ in machine.mem_regions()):
                machine.mem_map_ptr(page, _PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE, page)
        return True


def _is_ours(page: int) -> bool:
    """Whether this process may read and write a page."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= page < end:
                return rights.startswith("rw")
    return False
