"""What the README promises: deterministic artifacts, code that does not grow with the steps, a folder that needs numpy
only.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import graphc as G
from graphc.driver import lower, schedule
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.kernel.program import Loop
from tests.cells import lstm

_BUILD = """
import sys
sys.path.insert(0, sys.argv[2])
import graphc as G
from digits_lstm import model
G.compile(model(), name="digits", backend=sys.argv[3]).save(sys.argv[1])
"""


def build(folder: Path, repository: Path, backend: str, seed: str) -> dict[str, bytes]:
    """The artifact of the digits example, made in a process of its own; path → bytes."""
    folder.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder / "digits"), str(repository / "examples"), backend],
        env={**os.environ, "PYTHONPATH": str(repository), "PYTHONHASHSEED": seed},
        cwd=folder,
        check=True,
        timeout=120,
    )
    files = sorted(path for path in (folder / "digits").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_same_input_same_bytes(tmp_path: Path, repository: Path, backend: str) -> None:
    first = build(tmp_path / "one", repository, backend, "1")
    second = build(tmp_path / "two" / "deeper", repository, backend, "31337")
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def cell(steps: int, **options: bool) -> Module:
    return Module("cell", {"step": lstm(steps, 32, 64, 64, peephole=True, **options)})


def code_size(module: Module) -> int:
    """Bytes of code and constants: the object file without its symbol names and page padding."""
    compiled = G.compile(module)
    text = compiled.build.link("code.so", list(compiled.build.exports.values()))
    return sum(size for flags, size in _sections(text) if flags & 2)


def _sections(image: bytes) -> list[tuple[int, int]]:
    """(flags, size) of each section of an ELF file."""
    import struct

    offset = struct.unpack_from("<Q", image, 40)[0]
    size, count = struct.unpack_from("<HH", image, 58)
    headers = (struct.unpack_from("<IIQQQQ", image, offset + index * size) for index in range(count))
    return [(header[2], header[5]) for header in headers]


def test_code_does_not_grow_with_the_steps() -> None:
    """The very kernels are the same: only trip counts and offsets differ."""
    sizes = [code_size(cell(steps)) for steps in (64, 640)]
    assert sizes[1] <= 1.10 * sizes[0]


@pytest.mark.slow
def test_1500_steps_of_a_hand_written_cell() -> None:
    """Built, differentiated, rolled, compiled in 10 s; code within 10% of 64 steps; equal to its unrolled self."""
    start = time.process_time()
    module = cell(1500, to_inputs=True)
    compiled = G.compile(module)
    seconds = time.process_time() - start
    graph = schedule(module, until="block").entry("step")
    loops = [node.attrs["trips"] for node in graph.nodes if node.op.name == "loop"]
    assert len(loops) == 2 and min(loops) > 1490
    assert code_size(module) <= 1.10 * code_size(cell(64, to_inputs=True))
    x = np.random.default_rng(0).standard_normal((1500, 32, 64)).astype("float32")
    expected, _ = evaluate(module.entry("step"), [x])
    found = compiled.step(x)
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-4 * np.abs(value).max()
    assert seconds <= 10, f"took {seconds:.1f} s of processor time"


def test_rolled_loops_stay_loops_in_the_program() -> None:
    program = lower(cell(40))
    loops = [step for step in program.entries["step"].steps if isinstance(step, Loop)]
    assert len(loops) == 2
    assert len(program.kernels) < 60


def test_rolled_and_unrolled_code_agree() -> None:
    module = cell(24, to_inputs=True)
    x = np.random.default_rng(0).standard_normal((24, 32, 64)).astype("float32")
    rolled, straight = (G.compile(module, disable=disable).step(x) for disable in ((), ("roll",)))
    for name, value in straight.items():
        assert np.abs(rolled[name] - value).max() <= 1e-5 * np.abs(value).max()


@pytest.mark.slow
def test_an_artifact_needs_numpy_and_nothing_else(tmp_path: Path, repository: Path) -> None:
    """A virtual environment with numpy alone imports the folder from elsewhere, predicts what was saved, and trains."""
    build(tmp_path / "made", repository, "llvm", "0")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "clean")], check=True, timeout=120)
    python = tmp_path / "clean" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "numpy"], check=True, timeout=300)
    x = np.random.default_rng(0).standard_normal((8, 32, 8)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    sys.path.insert(0, str(repository / "examples"))
    try:
        from digits_lstm import model
    finally:
        sys.path.pop(0)
    with G.graph():  # in which no layer has taken a name before
        np.save(tmp_path / "expected.npy", G.compile(model()).predict(x))
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path / "made")!r})
import numpy as np
import digits
m = digits.Model()
x, y = np.load({str(tmp_path / "x.npy")!r}), np.arange(32) % 10
assert np.array_equal(m.predict(x), np.load({str(tmp_path / "expected.npy")!r}))
first = m.train(x, y)
for _ in range(20):
    last = m.train(x, y)
assert last < 0.9 * first, (first, last)
loaded = [name for name in ("graphc", "llvmlite", "sympy", "graphviz", "safetensors") if name in sys.modules]
assert not loaded, loaded
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run([str(python), "-c", script], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_graph_of_a_step_is_an_ordinary_graph() -> None:
    """A module is data: what the driver schedules can be evaluated by the reference."""
    module = schedule(cell(12))
    graph = module.entry("step")
    assert isinstance(graph, Graph)
    x = np.random.default_rng(0).standard_normal((12, 32, 64)).astype("float32")
    outputs, _ = evaluate(graph, [x])
    assert np.isfinite(outputs["loss"])
