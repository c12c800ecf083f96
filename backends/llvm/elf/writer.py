"""Link one object file into a shared library: the stages in order, and the headers of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.backends.llvm.elf import dynamic
from graphc.backends.llvm.elf import format as elf
from graphc.backends.llvm.elf.errors import LinkError
from graphc.backends.llvm.elf.layout import Layout, OutputSection, Segment
from graphc.backends.llvm.elf.reader import ObjectFile, read_object
from graphc.backends.llvm.elf.relocations import (
    GOT_SLOT_SIZE,
    PLT_ENTRY_SIZE,
    Demand,
    DynamicRelocation,
    Relocator,
    scan,
)

# Three to load, and one each for the dynamic section, unwinding, the stack, and what becomes read-only.
_LARGEST_PROGRAM_HEADER_COUNT = 7

# int3: a jump that misses a function stops there.
_CODE_PADDING = b"\xcc"

# sh_link: the section that holds a table's strings or symbols (gABI ch. 4, "sh_link and sh_info Interpretation").
_LINKS = {".hash": ".dynsym", ".dynsym": ".dynstr", ".rela.dyn": ".dynsym", ".dynamic": ".dynstr"}


def link_shared_object(
    object_bytes: bytes,
    *,
    soname: str,
    exports: Sequence[str],
    needed: Sequence[str] = ("libm.so.6", "libc.so.6"),
) -> bytes:
    """Link one x86-64 relocatable object, compiled position-independent, into a Linux shared library.

    The result depends on the arguments alone.  Functions that the object does not define are imported and resolved when
    the library is loaded; every pointer to them and every constant table of pointers is read-only from then on.

    Args:
        object_bytes: the object file, as LLVM emits it with ``reloc='pic'`` and ``codemodel='default'``.
        soname: the name under which programs linked against the library ask for it.
        exports: the functions and variables that others may see; everything else stays inside.
        needed: the libraries to load with this one, in the order of their search.

    Raises:
        LinkError: the object is damaged or not of this kind, it needs what the linker does not support (thread-local
            storage, code that runs at load time, variables of other libraries), or a name is impossible.
    """
    _check_names(soname, exports, needed)
    obj = read_object(object_bytes)
    layout = Layout(obj)
    exported = dynamic.select_exports(obj, exports)
    inputs = [section for _, section, _ in layout.pieces()]
    demand = scan(obj, inputs, dynamic.variables_others_may_copy(obj, exported))
    table = dynamic.DynamicSymbols(tuple(demand.imports), exported)
    names = table.names(obj)
    strings = dynamic.StringTable((*names, *needed, soname))
    hashes = dynamic.hash_table(names)

    # The sizes of the tables give the addresses, and the addresses their contents.
    _reserve(layout.sections, demand, len(table), len(strings.data), len(hashes))
    layout.sections[".dynamic"].reserve(len(_dynamic_section(layout.sections, strings, soname, needed, 0)))
    layout.assign_addresses(elf.ELF_HEADER.size + elf.PROGRAM_HEADER.size * _LARGEST_PROGRAM_HEADER_COUNT)

    image = _copy_pieces(layout)
    addresses = layout.symbol_addresses(obj.symbols)
    relocations = _relocate(image, layout, obj, demand, addresses)
    relocation_table, relative_count = dynamic.relocation_table(relocations, table)
    header_indices = {section.name: index for index, section in enumerate(layout.used_sections(), start=1)}
    holders = {number: header_indices[name] for number, name in layout.holders().items()}
    contents = {
        ".hash": hashes,
        ".dynsym": dynamic.symbol_table(obj, table, strings, addresses, holders),
        ".dynstr": bytes(strings.data),
        ".rela.dyn": relocation_table,
        ".eh_frame_hdr": _unwind_header(layout.sections),
        ".dynamic": _dynamic_section(layout.sections, strings, soname, needed, relative_count),
    }
    for name, data in contents.items():
        section = layout.sections[name]
        if len(data) != section.size:
            raise AssertionError(f"{name} has {len(data)} bytes, but {section.size} were reserved for it")
        image[section.address : section.end] = data
    _append_headers(image, layout, header_indices)
    return bytes(image)


def _check_names(soname: str, exports: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse names that no string table can hold, or that the loader would take for a path."""
    for what, names in (("soname", (soname,)), ("needed", needed), ("exports", exports)):
        if isinstance(names, str):
            raise LinkError(f"{what} is the string {names!r}, not a sequence of names")
        for name in names:
            is_text = isinstance(name, str) and name != "" and "\0" not in name
            if not is_text or any("\ud800" <= character <= "\udfff" for character in name):
                raise LinkError(f"{what} holds {name!r}, which is no name")
            if what != "exports" and "/" in name:
                raise LinkError(f"{what} holds {name!r}, which is a path and not the name of a library")


def _reserve(
    sections: Mapping[str, OutputSection], demand: Demand, symbol_count: int, names_size: int, hash_size: int
) -> None:
    """Make room for the tables that the linker makes, apart from the dynamic section, which lists them."""
    sizes = {
        ".hash": hash_size,
        ".dynsym": elf.SYMBOL.size * symbol_count,
        ".dynstr": names_size,
        ".rela.dyn": elf.RELA.size * demand.dynamic_relocation_count,
        ".eh_frame_hdr": dynamic.EH_FRAME_HEADER.size if sections[".eh_frame"].size else 0,
        ".plt.got": PLT_ENTRY_SIZE * len(demand.plt_entries),
        ".got": GOT_SLOT_SIZE * len(demand.got_slots),
    }
    for name, size in sizes.items():
        if size:
            sections[name].reserve(size)


def _copy_pieces(layout: Layout) -> bytearray:
    """The mapped part of the file with the contents of the object in place, and zeros elsewhere."""
    image = bytearray(layout.file_end)
    code = layout.sections[".text"]
    image[code.address : code.end] = _CODE_PADDING * code.size
    for output, section, offset in layout.pieces():
        if section.contents:
            start = output.address + offset
            image[start : start + section.size] = section.contents
    return image


def _relocate(
    image: bytearray, layout: Layout, obj: ObjectFile, demand: Demand, addresses: Sequence[int | None]
) -> list[DynamicRelocation]:
    """Apply the relocations of every section to ``image``, and give those that are left to the loader."""
    got, plt = layout.sections[".got"].address, layout.sections[".plt.got"].address
    relocator = Relocator(image, obj.symbols, addresses, demand, got, plt)
    left = relocator.fill_tables()
    for output, section, offset in layout.pieces():
        left += relocator.apply(section, output.address + offset)
    return left


def _unwind_header(sections: Mapping[str, OutputSection]) -> bytes:
    """The contents of .eh_frame_hdr, which is there if there is anything to unwind by."""
    header = sections[".eh_frame_hdr"]
    return dynamic.unwind_header(header.address, sections[".eh_frame"].address) if header.size else b""


def _dynamic_section(
    sections: Mapping[str, OutputSection],
    strings: dynamic.StringTable,
    soname: str,
    needed: Sequence[str],
    relative_count: int,
) -> bytes:
    """The contents of .dynamic (gABI ch. 5, "Dynamic Section"); their size is right before the addresses are known."""
    entries = [(elf.DT_NEEDED, strings.add(name)) for name in needed]
    entries += [
        (elf.DT_SONAME, strings.add(soname)),
        (elf.DT_HASH, sections[".hash"].address),
        (elf.DT_STRTAB, sections[".dynstr"].address),
        (elf.DT_SYMTAB, sections[".dynsym"].address),
        (elf.DT_STRSZ, sections[".dynstr"].size),
        (elf.DT_SYMENT, elf.SYMBOL.size),
    ]
    relocations = sections[".rela.dyn"]
    if relocations.size:
        entries += [
            (elf.DT_RELA, relocations.address),
            (elf.DT_RELASZ, relocations.size),
            (elf.DT_RELAENT, elf.RELA.size),
            (elf.DT_RELACOUNT, relative_count),
        ]
    entries += [(elf.DT_FLAGS, elf.DF_BIND_NOW), (elf.DT_FLAGS_1, elf.DF_1_NOW), (elf.DT_NULL, 0)]
    return b"".join(elf.DYNAMIC_ENTRY.pack(tag, value) for tag, value in entries)


def _append_headers(image: bytearray, layout: Layout, header_indices: Mapping[str, int]) -> None:
    """Write the ELF and program headers at the start of ``image``, and the section headers behind its end."""
    program_headers = _program_headers(layout)
    image[elf.ELF_HEADER.size : elf.ELF_HEADER.size + len(program_headers)] = program_headers
    names = dynamic.StringTable((*header_indices, ".shstrtab"))
    names_offset = len(image)
    image += names.data
    image += bytes(elf.align_up(len(image), 8) - len(image))
    section_headers_offset = len(image)
    image += bytes(elf.SECTION_HEADER.size)
    for section in layout.used_sections():
        offset = min(section.address, layout.file_end)
        link = header_indices[_LINKS[section.name]] if section.name in _LINKS else 0
        # Of the dynamic symbols only the null symbol is local: the index of the first other one is 1.
        info = 1 if section.kind == elf.SHT_DYNSYM else 0
        image += elf.SECTION_HEADER.pack(
            names.add(section.name), section.kind, section.flags, section.address, offset, section.size, link, info,
            section.alignment, section.entry_size,
        )  # fmt: skip
    image += elf.SECTION_HEADER.pack(
        names.add(".shstrtab"), elf.SHT_STRTAB, 0, 0, names_offset, len(names.data), 0, 0, 1, 0
    )
    identity = elf.ELF_MAGIC + bytes((elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EV_CURRENT))
    section_count = len(header_indices) + 2
    image[: elf.ELF_HEADER.size] = elf.ELF_HEADER.pack(
        identity, elf.ET_DYN, elf.EM_X86_64, elf.EV_CURRENT, 0, elf.ELF_HEADER.size, section_headers_offset, 0,
        elf.ELF_HEADER.size, elf.PROGRAM_HEADER.size, len(program_headers) // elf.PROGRAM_HEADER.size,
        elf.SECTION_HEADER.size, section_count, section_count - 1,
    )  # fmt: skip


def _program_headers(layout: Layout) -> bytes:
    """The program header table (gABI ch. 5, "Program Header")."""

    def of_section(kind: int, flags: int, section: OutputSection) -> bytes:
        address, size = section.address, section.size
        return elf.PROGRAM_HEADER.pack(kind, flags, address, address, address, size, size, section.alignment)

    def of_segment(kind: int, alignment: int, segment: Segment) -> bytes:
        address, sizes = segment.address, (segment.file_size, segment.memory_size)
        return elf.PROGRAM_HEADER.pack(kind, segment.flags, address, address, address, *sizes, alignment)

    unwind = layout.sections[".eh_frame_hdr"]
    headers = [of_segment(elf.PT_LOAD, elf.PAGE_SIZE, segment) for segment in layout.segments()]
    headers.append(of_section(elf.PT_DYNAMIC, elf.PF_R | elf.PF_W, layout.sections[".dynamic"]))
    if unwind.size:
        headers.append(of_section(elf.PT_GNU_EH_FRAME, elf.PF_R, unwind))
    # With the execute flag, or without this header, the loader would make the stack of the whole process executable.
    headers.append(elf.PROGRAM_HEADER.pack(elf.PT_GNU_STACK, elf.PF_R | elf.PF_W, 0, 0, 0, 0, 0, 16))
    headers.append(of_segment(elf.PT_GNU_RELRO, 1, layout.relocated_read_only))
    return b"".join(headers)
