"""Models in memory and on disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphc.artifact.compiled import CompiledModel
from tests.artifact import samples

collect_ignore = [] if shutil.which("cc") else ["test_c.py"]

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=samples.BACKENDS)
def model(request: pytest.FixtureRequest) -> CompiledModel:
    """The sample model, through native code and through NumPy source."""
    return samples.compiled(request.param)


@pytest.fixture
def x() -> np.ndarray:
    return np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def y() -> np.ndarray:
    return np.array([1, -2, 3, 0.5], dtype=np.float32)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the artifacts ``native`` and ``source``: never written to."""
    folder = tmp_path_factory.mktemp("artifacts")
    for kind in samples.BACKENDS:
        samples.compiled(kind).save(folder / kind)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``python(code, *arguments)``: run code in a process of its own, which sees graphc and the samples."""

    def run(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, **options
        )

    return run
