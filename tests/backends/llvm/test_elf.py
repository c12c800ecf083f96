"""The ELF writer: objects from LLVM become libraries that load, compute and link as those of a system linker would."""

import ctypes
import hashlib
import itertools
import math
import os
import platform
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from graphc.backends.llvm.elf import LinkError, link_shared_object
from graphc.errors import GraphcValueError

IS_LINUX_X86_64 = sys.platform == "linux" and platform.machine() == "x86_64"

MODULE = Path(__file__).with_name("elf_module.ll").read_text(encoding="utf-8")
EXPORTS = (
    "cube", "dispatch", "outside", "count", "accumulate", "copy_weights", "copy_lanes", "misalignment", "choose",
    "weights", "first_weight", "tentative",
)  # fmt: skip
NEEDED = ["libm.so.6", "libc.so.6"]
ONE = "define i32 @one() {\n  ret i32 1\n}\n"


def compile_object(
    text: str,
    *,
    triple: str = "x86_64-unknown-linux-gnu",
    reloc: str = "pic",
    codemodel: str = "default",
    optimize: int = 2,
) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(text)
    module.triple = triple
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(opt=optimize, reloc=reloc, codemodel=codemodel)
    return machine.emit_object(module)


def link(text: str, exports=("one",), **options) -> bytes:
    return link_shared_object(compile_object(text, **options), soname="libtest.so", exports=exports)


@pytest.fixture(scope="module")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elf") / "libtest.so"
    path.write_bytes(link(MODULE, EXPORTS))
    return path


class Image:
    """A reader of shared libraries that shares no code with the writer, and goes by the segments as the loader does."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, start + 56 * i) for i in range(count)]
        dynamic = next(segment for segment in self.segments if segment[0] == 2)
        pairs = [struct.unpack_from("<QQ", data, self.offset(dynamic[3]) + 16 * i) for i in range(dynamic[5] // 16)]
        self.dynamic = [(tag, value) for tag, value in pairs[: pairs.index((0, 0))]]
        self.values = dict(self.dynamic)

    def offset(self, address: int) -> int:
        for kind, _, offset, start, _, size, _, _ in self.segments:
            if kind == 1 and start <= address < start + size:
                return offset + address - start
        raise AssertionError(f"{address:#x} is in no segment")

    def string(self, offset: int) -> str:
        start = self.offset(self.values[5]) + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def names(self, tag: int) -> list[str]:
        return [self.string(value) for found, value in self.dynamic if found == tag]

    def symbols(self) -> dict[str, tuple[int, ...]]:
        count = struct.unpack_from("<I", self.data, self.offset(self.values[4]) + 4)[0]
        start = self.offset(self.values[6])
        entries = [struct.unpack_from("<IBBHQQ", self.data, start + 24 * i) for i in range(1, count)]
        return {self.string(name): rest for name, *rest in entries}

    def section_names(self) -> list[str]:
        start, count, names = (*struct.unpack_from("<Q", self.data, 40), *struct.unpack_from("<HH", self.data, 60))
        headers = [struct.unpack_from("<IIQQQQIIQQ", self.data, start + 64 * i) for i in range(count)]
        texts = self.data[headers[names][4] :][: headers[names][5]]
        return [texts[header[0] : texts.index(b"\0", header[0])].decode() for header in headers]


def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in ("cube", "dispatch", "outside"):
        getattr(library, name).restype = ctypes.c_float
    library.cube.argtypes = [ctypes.c_float]
    library.dispatch.argtypes = [ctypes.c_int64, ctypes.c_float]
    library.outside.argtypes = [ctypes.c_float, ctypes.c_float]
    library.accumulate.argtypes = [ctypes.c_int64, ctypes.c_int32]
    library.copy_weights.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    library.misalignment.restype = ctypes.c_int64
    return library


if IS_LINUX_X86_64:

    def test_functions_compute_through_every_kind_of_reference(library_path):
        library = load(library_path)
        assert library.cube(3.0) == 27.0
        assert [library.dispatch(i, 1.5) for i in range(3)] == pytest.approx([2.25, 3.375, math.exp(1.5)], rel=1e-6)
        assert library.outside(1.5, 2.0) == pytest.approx(math.exp(2.25), rel=1e-6)
        assert [library.choose(i) for i in (1, 2, 3, 4, 5, 77)] == [81, 17, 55, -3, 99, 99]

    def test_variables_keep_their_values_zeros_and_alignment(library_path):
        library = load(library_path)
        before = library.count()
        assert library.count() == before + 1
        assert ctypes.c_int32.in_dll(library, "tentative").value == before + 1 - 5
        assert [library.accumulate(999, 4), library.accumulate(999, 5), library.accumulate(0, 1)] == [4, 9, 1]
        assert library.misalignment() == 0
        lanes = (ctypes.c_float * 16)()
        library.copy_lanes(lanes)
        assert list(lanes) == [float(i) for i in range(1, 17)]

    def test_exported_variables_are_the_librarys_own(library_path):
        library = load(library_path)
        weights = (ctypes.c_int32 * 4).in_dll(library, "weights")
        assert ctypes.c_void_p.in_dll(library, "first_weight").value == ctypes.addressof(weights)
        weights[2] = 31
        copied = (ctypes.c_int32 * 4)()
        library.copy_weights(copied, 16)
        assert list(copied) == [10, 20, 31, 40]
        weights[2] = 30

    def test_memory_is_never_writable_and_executable(library_path):
        load(library_path)
        lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(library_path))]
        assert [line.split()[1] for line in lines] == ["r--p", "r-xp", "r--p", "rw-p"]  # the third was relocated first

    def test_a_library_without_code_or_symbols_loads(tmp_path):
        path = tmp_path / "libempty.so"
        path.write_bytes(link("", ()))
        assert not hasattr(ctypes.CDLL(str(path)), "one")

    def test_a_missing_weak_function_is_null(tmp_path):
        path = tmp_path / "libweak.so"
        text = "declare extern_weak i32 @graphc_absent()\n@table = constant [1 x ptr] [ptr @graphc_absent]\n" + ONE
        path.write_bytes(link(text, ["one", "table"]))
        assert ctypes.c_void_p.in_dll(ctypes.CDLL(str(path)), "table").value is None

    def test_backtraces_pass_through(tmp_path):
        path = tmp_path / "libunwind-test.so"
        text = "define i32 @one(ptr %f) uwtable {\n  %r = call i32 %f()\n  %s = add i32 %r, 1\n  ret i32 %s\n}\n"
        path.write_bytes(link(text))
        library, libc = ctypes.CDLL(str(path)), ctypes.CDLL(None)
        depths = []

        def callback() -> int:
            depths.append(libc.backtrace((ctypes.c_void_p * 5000)(), 5000))
            return 4

        function = ctypes.CFUNCTYPE(ctypes.c_int)(callback)
        function()
        assert library.one(function) == 5
        assert depths[1] == depths[0] + 1

    if shutil.which("ldd"):

        def test_ldd_names_libm_libc_and_the_loader_only(library_path):
            lines = subprocess.run(
                ["ldd", library_path], check=True, capture_output=True, text=True
            ).stdout.splitlines()
            names = {Path(line.split()[0]).name for line in lines}
            assert names == {"linux-vdso.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}

    if shutil.which("cc"):

        def test_a_c_program_links_against_it(library_path, tmp_path):
            source, program = tmp_path / "main.c", tmp_path / "main"
            source.write_text(
                "#include <stdio.h>\nextern float cube(float); extern void copy_weights(int *, long);\n"
                "extern int weights[4];\nint main(void) { int copy[4]; weights[1] = 21; copy_weights(copy, 16);\n"
                'printf("%g %d %d\\n", cube(1.5f), copy[0], copy[1]); return 0; }\n'
            )
            for flags in ([], ["-no-pie"]):  # in both, the program holds the copy of `weights`
                command = ["cc", *flags, source, library_path, f"-Wl,-rpath,{library_path.parent}", "-o", program]
                subprocess.run(command, check=True, capture_output=True)
                assert subprocess.run([program], check=True, capture_output=True, text=True).stdout == "3.375 10 21\n"


def test_only_exports_and_used_imports_are_dynamic_symbols(library_path):
    symbols = Image(library_path.read_bytes()).symbols()
    defined = {name for name, symbol in symbols.items() if symbol[2] != 0}
    assert defined == set(EXPORTS)
    assert symbols.keys() - defined == {"expf", "powf", "memcpy"}
    assert symbols["weights"][0] == (1 << 4 | 1) and symbols["weights"][4] == 16
    assert symbols["tentative"][0] == (1 << 4 | 1)


def test_dynamic_section_binds_at_load_time(library_path):
    image = Image(library_path.read_bytes())
    assert (image.names(1), image.names(14)) == (NEEDED, ["libtest.so"])
    assert image.values[30] & 8 and image.values[0x6FFFFFFB] & 1
    assert image.values[7] and 22 not in image.values  # relocations, and none in read-only memory (DT_TEXTREL)


def test_needed_is_what_the_caller_says():
    data = link_shared_object(compile_object(ONE), soname="a.so", exports=["one"], needed=["libc.so.6"])
    assert Image(data).names(1) == ["libc.so.6"]


def test_sections_and_segments(library_path):
    image = Image(library_path.read_bytes())
    names = image.section_names()
    assert {".hash", ".dynsym", ".dynstr", ".rela.dyn", ".dynamic", ".got", ".plt.got"} <= set(names)
    assert {".text", ".rodata", ".data.rel.ro", ".data", ".bss", ".eh_frame", ".eh_frame_hdr"} <= set(names)
    loaded = [segment for segment in image.segments if segment[0] == 1]
    assert [segment[1] for segment in loaded] == [4, 5, 6]
    for before, after in itertools.pairwise(loaded):
        assert before[3] + before[6] <= after[3] and after[3] % 4096 == after[2] % 4096
    assert loaded[2][6] - loaded[2][5] >= 4000  # zeros take no room in the file
    assert next(segment[1] for segment in image.segments if segment[0] == 0x6474E551) == 6
    protected = next(segment for segment in image.segments if segment[0] == 0x6474E552)
    assert (protected[3] + protected[6]) % 4096 == 0


SUBPROCESS = """
import hashlib, sys
from pathlib import Path
from graphc.backends.llvm.elf import link_shared_object
data = Path(sys.argv[1]).read_bytes()
exports = sorted(set(sys.argv[2:]), key=hash)
print(hashlib.sha256(link_shared_object(data, soname="libtest.so", exports=exports)).hexdigest())
"""


def test_bytes_are_the_same_in_every_process(library_path, tmp_path, repository):
    source = tmp_path / "module.o"
    source.write_bytes(compile_object(MODULE))
    command = [sys.executable, "-c", SUBPROCESS, source, *EXPORTS]
    digests = {
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd=repository,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256(library_path.read_bytes()).hexdigest()}


def test_cut_objects_are_refused():
    data = compile_object(MODULE)
    for length in sorted(random.Random(0).sample(range(len(data)), 200)):
        with pytest.raises(LinkError):
            link_shared_object(data[:length], soname="libtest.so", exports=EXPORTS)


def test_flipped_bits_never_escape_as_another_error():
    """A bit of the code may flip unseen; what matters is that nothing but a LinkError or a library comes out."""
    data, chance = compile_object(MODULE), random.Random(0)
    refused = 0
    # The section header table, 15 or so entries at the end, is where a wrong number leads furthest.
    places = [chance.randrange(8 * len(data)) for _ in range(200)]
    places += [8 * len(data) - 1 - chance.randrange(8 * 64 * 12) for _ in range(400)]
    for place in places:
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            library = link_shared_object(bytes(flipped), soname="libtest.so", exports=EXPORTS)
        except LinkError:
            refused += 1
        else:
            assert library.startswith(b"\x7fELF")
    assert refused > 100


@pytest.mark.parametrize(
    ("triple", "machine"),
    [
        ("aarch64-unknown-linux-gnu", "AArch64"),
        ("riscv64-unknown-linux-gnu", "RISC-V"),
        ("i686-unknown-linux-gnu", "i386"),
        ("s390x-ibm-linux", "S390"),
        ("x86_64-apple-macosx", "Mach-O"),
        ("x86_64-pc-windows-msvc", "COFF"),
    ],
)
def test_objects_for_other_systems_are_named(triple, machine):
    with pytest.raises(LinkError, match=machine):
        link(ONE, triple=triple)


TABLE = """@table = internal constant [4 x i32] [i32 4, i32 9, i32 6, i32 2]
define i32 @one(i64 %i) {
  %p = getelementptr i32, ptr @table, i64 %i
  %x = load i32, ptr %p
  ret i32 %x
}
"""
LOAD = "define i32 @one() {\n  %x = load i32, ptr @x\n  ret i32 %x\n}\n"
STARTUP = (
    "@llvm.global_ctors = appending global [1 x {i32, ptr, ptr}] [{i32, ptr, ptr} {i32 65535, ptr @one, ptr null}]\n"
)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TABLE, {"reloc": "static"}, r"R_X86_64_32S at \.text.*reloc='pic'"),
        ("@table = constant ptr @one\n" + ONE, {"reloc": "static"}, r"R_X86_64_64 .*read-only memory.*reloc='pic'"),
        (TABLE, {"codemodel": "large"}, "large code model.*codemodel='default'"),
        ("@x = thread_local global i32 0\n" + LOAD, {}, "'.tbss' is thread-local storage"),
        ("@x = external thread_local global i32\n" + LOAD, {}, "R_X86_64_TLSGD against 'x'.*thread-local storage"),
        ("@x = external global i32\n" + LOAD, {}, "uses 'x', which it does not define, as a variable"),
        ("@x = external dso_local global i32\n" + LOAD, {}, "against 'x'.*assumes that the library defines"),
        ("declare hidden i32 @x()\ndefine i32 @one() {\n %r = call i32 @x()\n ret i32 %r\n}", {}, "'x'.*hidden symbol"),
        (STARTUP + ONE, {}, "would run code when the library is loaded"),
        ("@x = global i32 1, align 65536\n" + ONE, {}, "'.data' is aligned to 65536"),
        ("@x = internal global [3000000000 x i8] zeroinitializer\ndefine ptr @one() {\n ret ptr @x\n}", {}, "2 GiB"),
        (
            "define internal i32 @one() {\n ret i32 1\n}\n@llvm.used = appending global [1 x ptr] [ptr @one]",
            {},
            "'one'",
        ),
        ("define hidden i32 @one() {\n ret i32 1\n}", {}, "'one'.*declares it hidden"),
        ("@x = global i32 3", {}, "'one' is to be exported, but the object does not define it"),
    ],
)
def test_what_cannot_be_linked_is_refused_with_its_reason(text, options, message):
    with pytest.raises(LinkError, match=message) as caught:
        link(text, **options)
    assert isinstance(caught.value, GraphcValueError)
    assert caught.value.code == "E572"


def test_an_exported_variable_must_be_reached_through_the_table():
    with pytest.raises(LinkError, match=r"R_X86_64_PC32 against 'x'.*copy of the exported variable"):
        link("@x = dso_local global i32 3\n" + LOAD, ["x"], reloc="static")


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"text", bytes(64), b"\x7fELF\2\1\1" + bytes(57)])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(LinkError):
        link_shared_object(data, soname="a.so", exports=[])


def test_a_library_is_not_an_object(library_path):
    with pytest.raises(LinkError, match="relocatable"):
        link_shared_object(library_path.read_bytes(), soname="a.so", exports=[])


@pytest.mark.parametrize(
    "names",
    [
        {"soname": ""},
        {"soname": "a\0b"},
        {"soname": "../a.so"},
        {"needed": "libc.so.6"},
        {"needed": ["/lib/libc.so.6"]},
        {"exports": "one"},
        {"exports": [""]},
        {"exports": ["\ud800"]},
    ],
)
def test_impossible_names_are_refused(names):
    with pytest.raises(LinkError):
        link_shared_object(compile_object(ONE), **({"soname": "a.so", "exports": ["one"]} | names))


def test_more_sections_than_16_bits_can_number():
    count = 66_000
    text = "\n".join(f'@g{i} = constant i32 {i}, section ".rodata.s{i}"' for i in range(count))
    image = Image(link(text, [f"g{count - 1}"]))
    address = image.symbols()[f"g{count - 1}"][3]
    assert struct.unpack_from("<I", image.data, image.offset(address)) == (count - 1,)
