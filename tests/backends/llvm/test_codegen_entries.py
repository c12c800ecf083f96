"""Entry points: loops with moving pointers, operands packed before loops, tables of calls, checks, text and bytes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from graphc.backends.llvm.codegen import emit_module
from graphc.backends.llvm.compile import compile_program, load_in_process
from graphc.backends.llvm.elf import link_shared_object
from graphc.backends.llvm.host import LEVELS, host_target
from graphc.errors import GraphcValueError
from graphc.ir.attrs import ArrayValue
from graphc.ir.graph import Module
from graphc.ir.types import DType, bool_, float16, float32, float64, int32, int64, tensor_type, uint8
from graphc.kernel.loopir import AnyKernel, Apply, Intrinsic, Kernel, Load, Param, Store
from graphc.kernel.program import Buffer, Call, Copy, Entry, Loop, MemoryPlan, Program, Ref, Step
from graphc.kernel.run import run_kernel
from tests.backends.llvm.native_kernels import aligned_bytes, pointers, run_native
from tests.backends.llvm.test_codegen import m
from tests.backends.llvm.test_contraction import matmul

F = float32
ADD = Kernel(
    (Param(F, "in"), Param(F, "in"), Param(F, "out")),
    (8,),
    (Load(0, m(1), F), Load(1, m(1), F), Apply("add", (0, 1), F)),
    (Store(2, m(1), 2, (0,)),),
    "add",
)
CHECK = Intrinsic("check_index", (Param(int64, "in"),), (3, 10), "check_index")


def program(
    kernels: tuple[AnyKernel, ...], steps: tuple[Step, ...], *buffers: Buffer, constants: tuple[ArrayValue, ...] = ()
) -> Program:
    offsets, top = {}, 0
    for number, buffer in enumerate(buffers):
        if buffer.kind == "temporary":
            offsets[number] = top
            top += -(-buffer.nbytes // 64) * 64
    inputs = {b.name: tensor_type(b.dtype, (b.size,)) for b in buffers if b.kind == "input"}
    outputs = {b.name: tensor_type(b.dtype, (b.size,)) for b in buffers if b.kind == "output"}
    entry = Entry("run", inputs, outputs, buffers, steps, MemoryPlan(offsets, top, {}), ())
    return Program(Module("m", {}), kernels, constants, {"run": entry})


def run(built: Program, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> np.ndarray | None:
    native = compile_program(built, host_target(), "m")
    arena, error = aligned_bytes(native.arena_bytes), np.zeros(4, np.int64)
    function = load_in_process(native)["run"]
    failed = function(pointers(inputs), pointers(outputs), None, arena.ctypes.data, error.ctypes.data)
    return error if failed else None


def test_a_loop_moves_its_pointers() -> None:
    body = (Call(0, (Ref(0, 8, (8,)), Ref(2), Ref(1, 0, (8,)))), Copy(Ref(2), Ref(1, 0, (8,)), 8))
    steps = (Copy(Ref(2), Ref(0), 8), Loop(9, body))
    built = program(
        (ADD,), steps, Buffer("x", F, 80, "input"), Buffer("y", F, 72, "output"), Buffer("c", F, 8, "temporary")
    )
    x, y = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32), np.zeros((9, 8), np.float32)
    assert run(built, [x], [y]) is None
    np.testing.assert_allclose(y, np.cumsum(x, 0)[1:], rtol=1e-5, atol=1e-6)


def test_nested_loops() -> None:
    inner = Loop(4, (Call(0, (Ref(0, 0, (0, 8)), Ref(1, 0, (8,)), Ref(1, 0, (8,)))),))
    built = program(
        (replace(ADD, params=(Param(F, "in"), Param(F, "inout"), Param(F, "out"))),),
        (Copy(Ref(1), Ref(2), 24), Loop(3, (inner,))),
        Buffer("x", F, 32, "input"),
        Buffer("y", F, 24, "output"),
        Buffer("z", F, 24, "constant"),
        constants=(ArrayValue(np.arange(24, dtype=np.float32), F),),
    )
    x, y = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32), np.zeros((3, 8), np.float32)
    assert run(built, [x], [y]) is None
    np.testing.assert_allclose(y, np.arange(24).reshape(3, 8) + x.sum(0), rtol=1e-5, atol=1e-5)


def _chain(trips: int) -> Program:
    """``h ← h·W`` in a loop, as a recurrent network multiplies by its weights."""
    kernel = matmul(8, 32, 32)
    body = (Call(0, (Ref(1), Ref(2), Ref(3))), Copy(Ref(1), Ref(3), 256))
    steps = (Copy(Ref(1), Ref(0), 256), Loop(trips, body), Copy(Ref(4), Ref(1), 256))
    return program(
        (kernel,),
        steps,
        Buffer("h", F, 256, "input"),
        Buffer("carry", F, 256, "temporary"),
        Buffer("w", F, 1024, "input", 1),
        Buffer("next", F, 256, "temporary"),
        Buffer("y", F, 256, "output"),
    )


def test_weights_are_packed_before_the_loop() -> None:
    built = _chain(5)
    entry = emit_module(built, host_target("avx512"), "m").ir.split("@m_run(")[1]
    assert entry.index("pack0") < entry.index("phi i64") < entry.index("@k0.matmul")
    assert entry.count("pack0") == 1
    rng = np.random.default_rng(0)
    h, w = rng.standard_normal((8, 32)).astype(np.float32), rng.standard_normal((32, 32)).astype(np.float32) / 6
    y = np.zeros((8, 32), np.float32)
    assert run(built, [h, w], [y]) is None
    np.testing.assert_allclose(y, h @ np.linalg.matrix_power(w, 5), rtol=1e-4, atol=1e-5)


def test_an_operand_that_the_loop_writes_is_packed_in_the_loop() -> None:
    kernel = matmul(4, 16, 16)
    steps = (
        Copy(Ref(1), Ref(0), 256),
        Copy(Ref(2), Ref(0), 256),
        Loop(3, (Call(1, (Ref(1), Ref(2), Ref(3))), Copy(Ref(2), Ref(3), 256))),
        Loop(3, (Call(0, (Ref(1), Ref(2), Ref(4))),)),
    )
    square = matmul(16, 16, 16)
    built = program(
        (kernel, square),
        steps,
        Buffer("a", F, 256, "input"),
        Buffer("b", F, 256, "temporary"),
        Buffer("c", F, 256, "temporary"),
        Buffer("d", F, 256, "temporary"),
        Buffer("y", F, 64, "output"),
    )
    a = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32) / 4
    y = np.zeros((4, 16), np.float32)
    assert run(built, [a], [y]) is None
    np.testing.assert_allclose(y, np.linalg.matrix_power(a.astype(float), 5)[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("calls", [150, 1000])
def test_long_stretches_of_calls(calls: int) -> None:
    """More calls than a table needs to be worth it; copies and a check among them."""
    steps: list[Step] = [Copy(Ref(2), Ref(0), 8), Call(1, (Ref(1),))]
    for number in range(calls):
        source, target = (2, 3) if number % 2 == 0 else (3, 2)
        steps.append(Call(0, (Ref(source), Ref(0, 8 * (number % 4)), Ref(target))))
    steps.append(Copy(Ref(4), Ref(2), 8))
    built = program(
        (ADD, CHECK),
        tuple(steps),
        Buffer("x", F, 32, "input"),
        Buffer("i", int64, 3, "input", 1),
        Buffer("a", F, 8, "temporary"),
        Buffer("b", F, 8, "temporary"),
        Buffer("y", F, 8, "output"),
    )
    ir = emit_module(built, host_target(), "m").ir
    assert ("switch" in ir) == (calls > 200)
    x, y = np.arange(32, dtype=np.float32).reshape(4, 8) % 5, np.zeros(8, np.float32)
    assert run(built, [x, np.array([0, 9, 5])], [y]) is None
    np.testing.assert_array_equal(y, x[0] + x.sum(0) * (calls // 4) + x[: calls % 4].sum(0))
    error = run(built, [x, np.array([0, 9, 10])], [y])
    assert error is not None and error.tolist() == [0, 2, 10, 10]


def test_code_does_not_grow_with_the_number_of_calls() -> None:
    def built(calls: int) -> Program:
        steps = tuple(Call(0, (Ref(0), Ref(0), Ref(1))) for _ in range(calls))
        return program((ADD,), steps, Buffer("x", F, 8, "input"), Buffer("y", F, 8, "output"))

    short, long = (emit_module(built(calls), host_target(), "m").ir for calls in (300, 3000))
    assert short.count("\n") == long.count("\n")


def test_the_check_that_failed_is_reported() -> None:
    steps = (Call(0, (Ref(0),)), Call(0, (Ref(1),)))
    built = program((CHECK,), steps, Buffer("i", int64, 3, "input"), Buffer("j", int64, 3, "input", 1))
    good = np.array([0, 9, 3])
    assert run(built, [good, good], []) is None
    for bad in (-1, 10, 2**62, -(2**63)):
        error = run(built, [good, np.array([1, bad, bad])], [])
        assert error is not None and error.tolist() == [1, 1, bad, 10]


@pytest.mark.parametrize("dtype", [float32, float64, float16, int32, int64, uint8, bool_], ids=str)
@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("sizes", [(3, 17, 2), (1, 1, 5), (2, 64, 1), (1, 100, 1)])
def test_argsort(sizes: tuple[int, int, int], descending: int, dtype: DType) -> None:
    rng = np.random.default_rng(sum(sizes))
    keys = rng.integers(0, 6, sizes).astype(dtype.storage)
    if dtype.is_float:
        keys[rng.random(sizes) < 0.2] = np.nan
    params = (Param(dtype, "in"), Param(int64, "out"), Param(int64, "out"))
    kernel = Intrinsic("argsort", params, (*sizes, descending))
    expected, got = (np.zeros(keys.size, np.int64) for _ in range(2))
    scratch = np.zeros(2 * sizes[1], np.int64)
    run_kernel(kernel, [keys.reshape(-1), expected, scratch])
    assert run_native(kernel, [keys.reshape(-1), got, scratch]) is None
    np.testing.assert_array_equal(got, expected)


def test_a_check_of_no_indices_passes() -> None:
    kernel = Intrinsic("check_index", (Param(int32, "in"),), (0, 5))
    assert run_native(kernel, [np.zeros(1, np.int32)]) is None


def test_the_same_program_gives_the_same_text_and_bytes() -> None:
    native = compile_program(_chain(4), host_target("avx2"), "m")
    script = (
        "import graphc, hashlib\n"
        "from graphc.backends.llvm.compile import compile_program\n"
        "from graphc.backends.llvm.host import host_target\n"
        "from tests.backends.llvm.test_codegen_entries import _chain\n"
        "native = compile_program(_chain(4), host_target('avx2'), 'm')\n"
        "print(hashlib.sha256(native.ir.encode() + native.object_bytes).hexdigest())"
    )
    import hashlib

    mine = hashlib.sha256(native.ir.encode() + native.object_bytes).hexdigest()
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_other_hashes()
    )
    assert made.stdout.strip() == mine


def _other_hashes() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONHASHSEED": "77"}


def test_every_level_links() -> None:
    for level in LEVELS:
        native = compile_program(_chain(3), host_target(level), "m")
        library = link_shared_object(native.object_bytes, soname="m.so", exports=list(native.exports.values()))
        assert library.startswith(b"\x7fELF")


def test_names_that_are_no_identifiers_are_refused() -> None:
    with pytest.raises(GraphcValueError, match="C identifier"):
        emit_module(_chain(3), host_target(), 'x"; evil')
    with pytest.raises(GraphcValueError, match="did you mean avx2"):
        host_target("avx3")


def test_fast_math_is_a_choice() -> None:
    built = _chain(3)
    built = replace(built, kernels=(*built.kernels, ADD))
    assert "contract" not in emit_module(built, host_target(), "m").ir
    assert "fadd reassoc" in emit_module(built, host_target(), "m", fast_math=True).ir
