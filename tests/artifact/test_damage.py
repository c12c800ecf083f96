"""Damaged, mixed, foreign and edited artifacts: found before anything of them runs."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from graphc.artifact.loader import load
from graphc.artifact.runtime import artifact as runtime
from graphc.errors import GraphcError, GraphcImportError
from tests.artifact import samples

# Loads each folder in turn, as somebody without graphc would, and says how it went.
_TRY = """
import importlib, json, warnings
warnings.simplefilter("error")
import numpy as np
results = {}
for folder in json.load(sys.stdin):
    print(folder, file=sys.stderr, flush=True)
    sys.path.insert(0, folder)
    sys.modules = {k: v for k, v in sys.modules.items() if not k.startswith("linear")}
    try:
        model = importlib.import_module("linear").Model()
        made = model.predict(np.ones((4, 3), np.float32)).tolist()
        results[folder] = "well" if made == [3.5] * 4 else "wrong"
    except SyntaxError:
        results[folder] = "SyntaxError"
    except Exception as fault:
        results[folder] = getattr(fault, "code", None) or str(fault)[-5:-1] if "E5" in str(fault) else repr(fault)
    sys.path.pop(0)
assert "graphc" not in sys.modules
print(json.dumps(results))
"""


def _damaged(data: bytes, random: np.random.Generator, kind: int) -> bytes:
    if kind == 0:
        return data[: int(random.integers(0, len(data)))]
    changed = bytearray(data)
    changed[int(random.integers(0, len(data)))] ^= 1 << int(random.integers(0, 8))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["native", "source"])
def test_no_damage_goes_unnoticed(kind: str, tmp_path: Path, python: Callable[..., CompletedProcess[str]]) -> None:
    whole = tmp_path / "whole" / "linear"
    samples.compiled(kind).save(whole)
    code = "linear.so" if kind == "native" else "_model.py"
    random = np.random.default_rng(4)
    folders = {}
    for number in range(60):
        file = ("manifest.json", "weights.safetensors", code)[number % 3]
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder / "linear")
        target = folder / "linear" / file
        target.write_bytes(_damaged(target.read_bytes(), random, number // 3 % 2))
        folders[str(folder)] = file
    folders[str(whole.parent)] = "nothing"
    done = python(_TRY.removeprefix("\n"), input=json.dumps(list(folders)))
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    assert results.pop(str(whole.parent)) == "well"
    for folder, result in results.items():
        # A change of white space in the manifest means nothing and is let pass.
        allowed = {
            "manifest.json": ("E561", "E562", "E565", "well"),
            "weights.safetensors": ("E561", "E562"),
            "linear.so": ("E561",),
            "_model.py": ("E561", "E573"),
        }[folders[folder]]
        assert result in allowed, (folders[folder], result)
    assert len([result for result in results.values() if result == "well"]) <= 8


@pytest.mark.parametrize(
    "file", ["manifest.json", "linear.so", "weights.safetensors", "__init__.py", "_runtime/calls.py"]
)
def test_a_missing_or_empty_file(file: str, tmp_path: Path) -> None:
    for name in ("missing", "empty"):
        folder = tmp_path / name / "linear"
        samples.compiled("native").save(folder)
        (folder / file).unlink()
        if name == "empty":
            (folder / file).write_bytes(b"")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty Python file counts as edited
            with pytest.raises(GraphcImportError) as caught:
                load(folder)
        assert caught.value.code == ("E560" if (file, name) == ("manifest.json", "missing") else "E561")
        assert isinstance(caught.value, ImportError)


def test_what_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(GraphcImportError, match="not an artifact") as caught:
            load(folder)
        assert caught.value.code == "E560"


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two builds of one model, with other weights."""
    one, other = tmp_path / "a" / "linear", tmp_path / "b" / "linear"
    samples.compiled("native").save(one)
    samples.compiled("native", seed=1).save(other)
    return one, other


@pytest.mark.parametrize("file", ["manifest.json", "__init__.py", "weights.safetensors"])
def test_files_of_different_builds(two: tuple[Path, Path], file: str) -> None:
    one, other = two
    shutil.copy(one / file, other / file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(GraphcImportError, match="of build") as caught:
            load(other)
    assert caught.value.code == "E562"


def test_a_shared_object_of_another_build(two: tuple[Path, Path]) -> None:
    one, other = two
    (other / "linear.so").write_bytes((one / "linear.so").read_bytes() + b"\0")
    with pytest.raises(GraphcImportError, match=r"linear.so is damaged, or of another build") as caught:
        load(other)
    assert caught.value.code == "E561"


def _edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, field = key.partition("__")
        if field:
            manifest[part][field] = value
        else:
            manifest[part] = value
    manifest["sha256"] = runtime.manifest_digest(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"format": 0}, "E565", "an older graphc"),
        ({"format": 2}, "E565", "a newer graphc"),
        ({"format": "1"}, "E561", "states no format"),
        ({"target__system": "darwin"}, "E564", "compiled for darwin x86_64, this is linux"),
        ({"target__machine": "aarch64"}, "E564", "compiled for linux aarch64"),
        ({"target__flags": {"avx9": "avx9", "sse2": "sse2"}}, "E563", "with avx9, which"),
        ({"model": []}, "E561", "damaged"),
        ({"model": {"name": "x", "entries": [{"name": 3}], "states": []}}, "E561", "damaged"),
    ],
)
def test_what_cannot_run_here(two: tuple[Path, Path], changes: dict, code: str, message: str) -> None:
    folder, _ = two
    _edit_manifest(folder, **changes)
    with pytest.raises(GraphcImportError, match=message) as caught:
        load(folder)
    assert caught.value.code == code
    assert caught.value.hint


def test_python_source_runs_anywhere(tmp_path: Path) -> None:
    samples.compiled("source").save(tmp_path / "linear")
    assert json.loads((tmp_path / "linear" / "manifest.json").read_text())["target"] is None


@pytest.mark.parametrize("file", ["__init__.py", "_model.py", "_runtime/model.py", "linear.h"])
def test_an_edited_file_is_warned_about(tmp_path: Path, file: str, x: np.ndarray) -> None:
    folder = tmp_path / "linear"
    samples.compiled("native" if file == "linear.h" else "source").save(folder)
    with (folder / file).open("a") as opened:
        opened.write("\n# my change\n")
    with pytest.warns(UserWarning, match=r"E573") as caught:
        model = load(folder)
    assert [file in str(warning.message) for warning in caught] == [True]
    np.testing.assert_allclose(model.predict(x), samples.compiled("source").predict(x), rtol=1e-6)


def test_python_that_no_longer_parses(tmp_path: Path) -> None:
    samples.compiled("source").save(tmp_path / "linear")
    for file in ("_model.py", "_runtime/model.py", "__init__.py"):
        (tmp_path / "linear" / file).write_text("def (")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(GraphcError) as caught:
                load(tmp_path / "linear")
        assert caught.value.code == "E561"


def test_a_replaced_shared_object_is_not_mistaken_for_the_old(tmp_path: Path, x: np.ndarray) -> None:
    """The dynamic loader knows libraries by their path; a recompiled artifact has the path of the one before."""
    folder = tmp_path / "linear"
    samples.compiled("native").save(folder)
    before = load(folder)
    np.testing.assert_array_equal(before.stats(x)["doubled"], 2 * x)
    samples.compiled("native", factor=3).save(folder, force=True)
    after = load(folder)
    np.testing.assert_array_equal(after.stats(x)["doubled"], 3 * x)
    np.testing.assert_array_equal(before.stats(x)["doubled"], 2 * x)
