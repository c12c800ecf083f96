"""``import graphc`` is cheap: it loads nothing heavy and costs little beyond numpy."""

import subprocess
import sys
from pathlib import Path

_HEAVY = ("sympy", "llvmlite", "graphviz", "safetensors", "torch", "onnx", "scipy")
_LIMIT_S = 0.150

_TIMED = """
import time, numpy
start = time.perf_counter()
import graphc
print(time.perf_counter() - start)
"""


def _python(code: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_import_graphc_loads_nothing_heavy(repository: Path) -> None:
    loaded = _python("import sys, graphc; print(*sys.modules)", repository).split()
    assert "graphc" in loaded
    assert not [name for name in _HEAVY if name in loaded]


def test_import_graphc_takes_at_most_150_ms_beyond_numpy(repository: Path) -> None:
    seconds = [float(_python(_TIMED, repository)) for _ in range(5)]
    assert min(seconds) <= _LIMIT_S, seconds
