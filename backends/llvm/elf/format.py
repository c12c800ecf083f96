"""The numbers and records of the ELF-64 little-endian format, under the names that the gABI and the psABI give them."""

from __future__ import annotations

import struct

# Records (gABI ch. 4 "ELF Header", "Section Header", "Symbol Table", "Relocation"; ch. 5 "Program Header", "Dynamic
# Section").
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")
DYNAMIC_ENTRY = struct.Struct("<qQ")

# ELF header.
ELF_MAGIC = b"\x7fELF"
EI_CLASS, EI_DATA, EI_VERSION = 4, 5, 6
ELFCLASS64 = 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
EV_CURRENT = 1
ET_REL, ET_DYN = 1, 3
EM_X86_64 = 62
MACHINE_NAMES = {
    2: "SPARC",
    3: "i386",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    22: "S390",
    40: "ARM",
    43: "SPARC V9",
    EM_X86_64: "x86-64",
    183: "AArch64",
    190: "CUDA",
    224: "AMD GPU",
    243: "RISC-V",
    247: "BPF",
    258: "LoongArch",
}

# Section header: sh_type, sh_flags, reserved section indices.
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 0, 1, 2, 3, 4
SHT_HASH, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 5, 6, 7, 8, 9, 11
SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY, SHT_SYMTAB_SHNDX = 14, 15, 16, 18
SHT_X86_64_UNWIND = 0x70000001
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 0x1, 0x2, 0x4
SHF_INFO_LINK, SHF_TLS, SHF_COMPRESSED, SHF_EXCLUDE = 0x40, 0x400, 0x800, 0x80000000
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFF2, 0xFFFF

# Symbol: binding and type share st_info, visibility is the low bits of st_other.
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_COMMON, STT_TLS, STT_GNU_IFUNC = 0, 1, 2, 3, 4, 5, 6, 10
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN, STV_PROTECTED = 0, 1, 2, 3

# Program header: p_type, p_flags.
PT_LOAD, PT_DYNAMIC = 1, 2
PT_GNU_EH_FRAME, PT_GNU_STACK, PT_GNU_RELRO = 0x6474E550, 0x6474E551, 0x6474E552
PF_X, PF_W, PF_R = 1, 2, 4

# Dynamic section: d_tag and the values of the flag tags.
DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_RELAENT = 0, 1, 4, 5, 6, 7, 8, 9
DT_STRSZ, DT_SYMENT, DT_SONAME, DT_FLAGS, DT_RELACOUNT, DT_FLAGS_1 = 10, 11, 14, 30, 0x6FFFFFF9, 0x6FFFFFFB
DF_BIND_NOW, DF_1_NOW = 0x8, 0x1

# Relocation types (psABI "Relocation Types").
R_X86_64_NONE, R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32, R_X86_64_GLOB_DAT = 0, 1, 2, 4, 6
R_X86_64_RELATIVE, R_X86_64_GOTPCREL, R_X86_64_PC64, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX = 8, 9, 24, 41, 42
SUPPORTED_RELOCATIONS = {
    R_X86_64_64: "R_X86_64_64",
    R_X86_64_PC32: "R_X86_64_PC32",
    R_X86_64_PLT32: "R_X86_64_PLT32",
    R_X86_64_GOTPCREL: "R_X86_64_GOTPCREL",
    R_X86_64_PC64: "R_X86_64_PC64",
    R_X86_64_GOTPCRELX: "R_X86_64_GOTPCRELX",
    R_X86_64_REX_GOTPCRELX: "R_X86_64_REX_GOTPCRELX",
}
# Types that a compiler emits under options other than ours, each group with a reason of its own to refuse it.
NARROW_ABSOLUTE_RELOCATIONS = {10: "R_X86_64_32", 11: "R_X86_64_32S", 12: "R_X86_64_16", 14: "R_X86_64_8"}
LARGE_MODEL_RELOCATIONS = {
    3: "R_X86_64_GOT32",
    25: "R_X86_64_GOTOFF64",
    26: "R_X86_64_GOTPC32",
    27: "R_X86_64_GOT64",
    28: "R_X86_64_GOTPCREL64",
    29: "R_X86_64_GOTPC64",
    31: "R_X86_64_PLTOFF64",
}
TLS_RELOCATIONS = {
    16: "R_X86_64_DTPMOD64",
    17: "R_X86_64_DTPOFF64",
    18: "R_X86_64_TPOFF64",
    19: "R_X86_64_TLSGD",
    20: "R_X86_64_TLSLD",
    21: "R_X86_64_DTPOFF32",
    22: "R_X86_64_GOTTPOFF",
    23: "R_X86_64_TPOFF32",
    34: "R_X86_64_GOTPC32_TLSDESC",
    35: "R_X86_64_TLSDESC_CALL",
    36: "R_X86_64_TLSDESC",
}
_RELOCATION_NAMES = SUPPORTED_RELOCATIONS | NARROW_ABSOLUTE_RELOCATIONS | LARGE_MODEL_RELOCATIONS | TLS_RELOCATIONS

# The largest page that x86-64 Linux maps by default, and the granularity of memory protection.
PAGE_SIZE = 0x1000


def relocation_name(kind: int) -> str:
    """The psABI's name of relocation type ``kind``, or its number where a compiler has no business to emit it."""
    return _RELOCATION_NAMES.get(kind, f"of type {kind}")


def align_up(value: int, alignment: int) -> int:
    """The least multiple of ``alignment`` (a power of two) that is not below ``value``."""
    return (value + alignment - 1) & -alignment
