"""Native code in this process: all in one piece, with all that it calls."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

import graphc as G
from graphc import driver
from graphc.backends.llvm.compile import compile_program, object_code
from graphc.backends.llvm.elf.reader import read_object
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.loader import Code
from graphc.kernel.lower import lower_module

CROWDED = """
import ctypes
import numpy as np
import graphc as G

PRIVATE, UNREADABLE = 0x4022, 0
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

def take(address, size):
    return libc.mmap(address, size, UNREADABLE, PRIVATE, -1, 0)

def compiled(name, backend="llvm"):
    x = G.input(name, (64, 64))
    more_than_a_page = G.softmax(G.tanh(x) @ x) + G.sin(x) * G.erf(x) + G.log1p(G.exp(x)) + G.atan(x)
    return G.compile(G.Model(predict=G.sum(more_than_a_page)), backend)

compiled("warm")
size = 5 << 30
start = take(None, size)
assert start not in (None, 2**64 - 1), "no room for 5 GiB of addresses"
with open("/proc/self/maps") as file:
    places = [[int(end, 16) for end in line.split()[0].split("-")] for line in file]
for (_, before), (after, _) in zip(places, places[1:]):
    if before >= start and 0 < after - before < size:
        take(before, after - before)
for page in range(1, 40):  # room for data above the 5 GiB, for code only below them
    libc.munmap(start + size - 16384 * page, 4096)
native = compiled("x")
ones = np.ones((64, 64), "float32")
np.testing.assert_allclose(native.predict(ones), compiled("x", "numpy").predict(ones), rtol=1e-5)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="addresses are taken as Linux gives them")
def test_code_and_its_data_lie_together() -> None:
    """Were they placed one by one, an address would not fit in its 32 bits, and the process would end."""
    made = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr


def half_of_a_double() -> G.Model:
    """The sign of the arc tangent is that of a double, two roundings before."""
    x = G.input("x", (1, 3), dtype="float64")
    return G.Model(predict=G.atan(G.sum(x, axis=1).astype("float16")))


def test_what_is_left_undefined_is_in_the_c_library() -> None:
    module = driver.schedule(half_of_a_double().module)
    for level in ("x86-64", "avx2", "avx512"):
        native = compile_program(lower_module(module), host_target(level), "test")
        undefined = {symbol.name for symbol in read_object(native.object_bytes).symbols if symbol.is_undefined}
        assert not {name for name in undefined if name.startswith("_")}, level


def test_the_sign_of_a_double_rounded_twice() -> None:
    x = np.array([[-1.5, 0.25, 0.0]])
    (got,) = G.compile(half_of_a_double()).predict(x).tolist()
    assert got == np.float16(np.arctan(np.float32(-1.25)))


def test_a_function_that_no_library_has_is_an_error() -> None:
    text = "declare void @no_such_function()\ndefine i32 @f() {\n call void @no_such_function()\n ret i32 0\n}\n"
    target = host_target()
    with pytest.raises(G.GraphcError, match="no_such_function") as caught:
        Code(object_code(text, target), target, ["f"], None)
    assert caught.value.code == "E960"


def test_without_executable_memory_files_llvm_loads_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> int:
        raise PermissionError(name)

    monkeypatch.setattr(os, "memfd_create", refused)
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(G.compile(G.Model(predict=G.input("x", (2, 3)) + 1)).predict(x), x + 1)


def test_libraries_that_come_and_go_are_never_confused() -> None:
    """File descriptors get the same numbers again, by which the system's loader knows a library."""
    target, kept = host_target(), []
    for number in range(40):
        code = Code(object_code(f"define i32 @f() {{\n ret i32 {number}\n}}\n", target), target, ["f"], None)
        assert ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("f"))() == number
        if number % 3 == 0:
            kept.append(code)
    for place, code in enumerate(kept):
        assert ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("f"))() == 3 * place
