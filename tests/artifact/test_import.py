"""An artifact needs Python and numpy, nothing else, and little time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.artifact.loader import load

_LIMIT_MS = 30

_CLEAN = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
before = set(sys.modules)
start = time.perf_counter()
import {kind} as artifact
print((time.perf_counter() - start) * 1e3)
x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
y = np.array([1, -2, 3, 0.5], dtype=np.float32)
m = artifact.Model()
loss = m.train(x, y)
print(float(loss), *m.predict(x))
assert artifact.predict(x).tolist() == artifact.Model().predict(x).tolist()
artifact.train(x, y)
assert artifact.predict(x).tolist() == m.predict(x).tolist()
assert artifact.Model.default().parameters["steps"] == 1
m.save_weights(sys.argv[2])
other = artifact.Model()
other.load_weights(sys.argv[2])
assert other.parameters["steps"] == 1
try:
    m.lookup([0, 3])
except IndexError as fault:
    assert fault.code == "E456"
for attempt in (lambda: m.predict(x.T), lambda: m.reset(seed=1)):
    try:
        attempt()
    except ValueError as fault:
        assert type(fault).__name__ == "GraphcValueError"
    else:
        raise AssertionError
m.reset()
assert m.parameters["steps"] == 0
assert artifact.__version__ and "predict(x: float32[4,3])" in artifact.__doc__
foreign = [name for name in sys.modules if name.split(".")[0] in ("graphc", "llvmlite", "sympy", "safetensors")]
assert not foreign, foreign
"""


@pytest.mark.parametrize("kind", ["native", "source"])
def test_an_artifact_runs_where_there_is_no_graphc(kind: str, saved: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-c", _CLEAN.replace("{kind}", kind), str(saved), str(tmp_path / "w")]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert lines.returncode == 0, lines.stderr
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    model = load(saved / kind)
    expected = [model.train(x, np.array([1, -2, 3, 0.5], dtype=np.float32)), *model.predict(x)]
    assert [np.float32(text) for text in lines.stdout.split("\n")[1].split()] == [
        np.float32(value) for value in expected
    ]


_TIMED = """
import sys, time, numpy
sys.path.insert(0, sys.argv[1])
start = time.process_time()
import native
print(time.process_time() - start)
"""


def test_importing_an_artifact_is_quick(saved: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    command = [sys.executable, "-c", _TIMED, str(saved)]
    times = [
        1e3 * float(subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout)
        for _ in range(6)
    ]
    assert min(times[1:]) <= _LIMIT_MS, times


def test_a_loaded_model_raises_graphcs_own_errors(saved: Path) -> None:
    import graphc

    for kind in ("native", "source"):
        model = load(saved / kind)
        with pytest.raises(graphc.GraphcError) as caught:
            model.predict(3)
        assert type(caught.value) is graphc.GraphcValueError
        assert model.spec.entries[0].name == "predict"
        assert load(saved / kind).parameters["b"] is not model.parameters["b"]


def test_a_folder_of_any_name_is_loaded(saved: Path, tmp_path: Path, x: np.ndarray) -> None:
    folder = tmp_path / "not a name, 2"
    folder.symlink_to(saved / "native")
    np.testing.assert_array_equal(load(folder).predict(x), load(saved / "native").predict(x))
