"""An artifact is written whole or not at all, and always with the same bytes."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from graphc.artifact import writer
from graphc.artifact.compiled import CompiledModel
from graphc.artifact.loader import load
from graphc.errors import GraphcError, GraphcOSError, GraphcValueError
from tests.artifact import samples
from tests.artifact.conftest import ROOT


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, apart from bytecode."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_what_is_written(model: CompiledModel, tmp_path: Path, x: np.ndarray, y: np.ndarray) -> None:
    model.train(x, y)
    folder = tmp_path / "deep" / "nested" / "linear"
    assert model.save(folder) == str(folder)
    runtime = {f"_runtime/{path.name}" for path in (ROOT / "graphc/artifact/runtime").glob("*.py")}
    code = {"_model.py"} if model.build.backend == "numpy" else {"linear.so", "linear.h"}
    assert set(contents(folder)) == {"__init__.py", "manifest.json", "weights.safetensors", *runtime, *code}
    assert os.listdir(folder.parent) == ["linear"]
    other = load(folder)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))
    assert other.parameters["steps"] == 1
    assert all(path.stat().st_mode & stat.S_IRUSR for path in folder.rglob("*"))


_SAVE = """
from tests.artifact import samples
for kind in samples.BACKENDS:
    samples.compiled(kind).save(sys.argv[1] + "/" + kind)
"""


def test_the_same_model_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    made = []
    for seed, folder in (("1", tmp_path / "one"), ("77", tmp_path / "two" / "deeper")):
        folder.mkdir(parents=True)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", f"import sys{_SAVE}", folder]
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=120)
        made.append(contents(folder))
    assert made[0] == made[1] and len(made[0]) > 20


def test_no_path_of_this_machine_is_in_an_artifact(saved: Path) -> None:
    for name, data in contents(saved).items():
        assert str(ROOT).encode() not in data and str(saved).encode() not in data, name


@pytest.mark.parametrize(
    "name", ["a-b", "1a", "class", "a" * 101, "a" * 300, "é", "a b", "a\0b", "a\nb", "-", "a.b", "None"]
)
def test_impossible_names_are_refused(model: CompiledModel, tmp_path: Path, name: str) -> None:
    for attempt in ({"folder": tmp_path / name}, {"folder": tmp_path / "fine", "name": name}):
        with pytest.raises(GraphcValueError) as caught:
            model.save(**attempt)
        assert caught.value.code == "E108"
    assert os.listdir(tmp_path) == []


def test_dots_lead_nowhere_unnoticed(model: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(GraphcValueError):
        model.save(tmp_path / "fine", name="../evil")
    for folder in ("", "/", tmp_path / ".."):
        with pytest.raises(GraphcError):
            model.save(folder)


def test_a_name_may_differ_from_the_folder(tmp_path: Path) -> None:
    samples.compiled("native").save(tmp_path / "folder", name="other")
    assert {"other.so", "other.h"} <= set(contents(tmp_path / "folder"))
    assert load(tmp_path / "folder").spec.name == "other"


def test_what_exists_is_replaced_only_when_asked(model: CompiledModel, tmp_path: Path) -> None:
    folder = tmp_path / "linear"
    model.save(folder)
    before = contents(folder)
    model.parameters["b"] = 9
    with pytest.raises(GraphcOSError, match="exists") as caught:
        model.save(folder)
    assert caught.value.code == "E107" and contents(folder) == before
    model.save(folder, force=True)
    assert load(folder).parameters["b"] == 9
    assert os.listdir(tmp_path) == ["linear"]


def test_force_replaces_artifacts_only(model: CompiledModel, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    artifact = tmp_path / "artifact"
    model.save(artifact)
    (artifact / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder in ("precious", "artifact", "file"):
        with pytest.raises(GraphcOSError) as caught:
            model.save(tmp_path / folder, force=True)
        assert caught.value.code == "E107"
    assert (precious / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty", force=True)
    assert load(tmp_path / "empty").parameters["steps"] == 0


def test_an_artifact_that_was_imported_or_is_of_another_format_is_replaced(
    model: CompiledModel, tmp_path: Path
) -> None:
    folder = tmp_path / "linear"
    model.save(folder)
    load(folder)
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"")
    model.save(folder, force=True)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"format": 1', '"format": 0'))
    model.save(folder, force=True)
    load(folder)


def test_links_are_never_followed(model: CompiledModel, tmp_path: Path) -> None:
    target = tmp_path / "target"
    model.save(target)
    before = contents(target)
    for name, to in (("link", target), ("dangling", tmp_path / "nowhere")):
        (tmp_path / name).symlink_to(to)
        for force in (False, True):
            with pytest.raises(GraphcOSError, match="symbolic link") as caught:
                model.save(tmp_path / name, force=force)
            assert caught.value.code == "E107"
    assert contents(target) == before and not (tmp_path / "nowhere").exists()


def test_a_parent_that_is_no_folder(model: CompiledModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphcOSError) as caught:
        model.save(tmp_path / "file" / "linear")
    assert caught.value.code == "E570"
    with pytest.raises(GraphcOSError) as caught:
        model.save("/proc/linear")
    assert caught.value.code == "E570"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("a bug")])
def test_a_fault_while_writing_leaves_nothing(
    model: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*arguments: object) -> None:
        raise fault

    monkeypatch.setattr(writer, "manifest_text", fail)
    with pytest.raises(GraphcOSError if isinstance(fault, OSError) else type(fault)) as caught:
        model.save(tmp_path / "linear")
    if isinstance(fault, OSError):
        assert caught.value.code == "E570" and "No space left" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_fault_while_replacing_keeps_the_old(
    model: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "linear"
    model.save(folder)
    before = contents(folder)
    rename, count = os.rename, 0

    def fail_second(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(KeyboardInterrupt):
        model.save(folder, force=True)
    assert contents(folder) == before and os.listdir(tmp_path) == ["linear"]


_FULL = """
import resource, signal
from tests.artifact import samples
model = samples.compiled("source")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for attempt in (lambda: model.save("linear"), lambda: model.save_weights("w")):
    try:
        attempt()
    except OSError as fault:
        print(fault.code)
"""


def test_a_full_disk(python: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    done = python(_FULL)
    assert done.stdout.split() == ["E570", "E570"], done.stderr
    assert os.listdir(tmp_path) == []


_READ_ONLY = """
import os
from tests.artifact import samples
model = samples.compiled("source")
os.mkdir("locked", 0o500)
if os.geteuid() == 0:
    os.chmod(".", 0o777)
    os.chown("locked", 65534, 65534)
    os.seteuid(65534)
for attempt in (lambda: model.save("locked/linear"), lambda: model.save_weights("locked/w")):
    try:
        attempt()
    except OSError as fault:
        print(fault.code)
"""


def test_a_read_only_folder(python: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    done = python(_READ_ONLY)
    assert done.stdout.split() == ["E570", "E570"], done.stderr
    assert list((tmp_path / "locked").iterdir()) == []


_ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from tests.artifact import samples
model = samples.compiled("source")
print("ready", flush=True)
while True:
    model.parameters["steps"] += 1
    model.save("linear", force=True)
    print(model.parameters["steps"], flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_the_destination_absent_or_complete(tmp_path: Path, number: signal.Signals) -> None:
    random = np.random.default_rng(int(number))
    for trial in range(4):
        folder = tmp_path / str(trial)
        folder.mkdir()
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){_ENDLESS}"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(random.uniform(0.001, 0.05)))
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
        process.stdout.close()
        left = sorted(os.listdir(folder))
        if number != signal.SIGKILL:
            assert left in ([], ["linear"])
        if "linear" in left:
            assert load(folder / "linear").parameters["steps"] >= 1
