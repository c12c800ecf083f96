"""graphc is one package wherever it runs: from a wheel, an editable install, or a checkout that was never installed."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import graphc

# What must hold wherever graphc was found: one name a module, working resources and pickling.
_PROBE = """
import importlib.resources, pickle, subprocess, sys
import graphc, graphc.frontends, graphc.backends
import graphc.frontends.{module} as module

assert "frontends" not in sys.modules and "backends" not in sys.modules
assert module.__name__ == "graphc.frontends.{module}" and module.__spec__.parent == "graphc.frontends"
assert graphc.frontends.{module} is module
assert pickle.loads(pickle.dumps(module.Probe(7))).value == 7
text = (importlib.resources.files("graphc.frontends") / "{module}.py").read_text()
assert "class Probe" in text
child = "import pickle, sys; print(pickle.load(sys.stdin.buffer).value)"
sent = pickle.dumps(module.Probe(8))
received = subprocess.run([sys.executable, "-c", child], input=sent, capture_output=True, check=True).stdout
assert received.split() == [b"8"]
print(graphc.frontends.__path__[0])
"""
_PROBE_MODULE = "packaging_probe"
_PROBE_SOURCE = '''"""A module with a class to pickle."""


class Probe:
    """Holds a value."""

    def __init__(self, value):
        self.value = value
'''
_FOLDERS = ("graphc", "frontends", "backends")


@pytest.fixture(scope="module")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with one more frontend module."""
    root = tmp_path_factory.mktemp("checkout")
    for name in _FOLDERS:
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", ".gitignore"):
        shutil.copy(repository / name, root / name)
    (root / "README.md").write_text("# graphc\n")
    (root / "frontends" / f"{_PROBE_MODULE}.py").write_text(_PROBE_SOURCE)
    return root


def _run(command: list[str], cwd: Path, path: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _probe() -> str:
    return _PROBE.format(module=_PROBE_MODULE)


def test_version_is_the_same_in_both_places(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert graphc.__version__ == project["version"]


def test_both_packages_have_one_name_in_this_process() -> None:
    assert importlib.import_module("graphc.frontends").__name__ == "graphc.frontends"
    assert importlib.import_module("graphc.backends").__name__ == "graphc.backends"
    assert "frontends" not in sys.modules
    assert "backends" not in sys.modules


def test_uninstalled_from_the_root(checkout: Path) -> None:
    found = _run([sys.executable, "-c", _probe()], checkout, path=checkout)
    assert Path(found.strip()) == checkout / "frontends"


def test_uninstalled_from_elsewhere(checkout: Path, tmp_path: Path) -> None:
    found = _run([sys.executable, "-c", _probe()], tmp_path, path=checkout)
    assert Path(found.strip()) == checkout / "frontends"


def test_module_run_as_a_script(checkout: Path) -> None:
    script = checkout / "frontends" / "packaging_script.py"
    script.write_text('"""Says its package."""\n\nprint(__spec__.name)\n')
    name = _run([sys.executable, "-m", "graphc.frontends.packaging_script"], checkout)
    assert name.strip() == "graphc.frontends.packaging_script"


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_every_pytest_import_mode(checkout: Path, mode: str) -> None:
    folder = checkout / "tests"
    folder.mkdir(exist_ok=True)
    body = "".join(f"    {line}\n" for line in _probe().strip().splitlines())
    (folder / "test_probe.py").write_text(f"def test_probe():\n{body}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--import-mode={mode}", "tests"]
    assert "1 passed" in _run(command, checkout, path=checkout)


def test_reloading_adds_no_second_finder(checkout: Path) -> None:
    code = """
import importlib, sys, graphc
importlib.reload(graphc)
print(sum(type(finder).__name__ == "CheckoutFinder" for finder in sys.meta_path))
"""
    assert _run([sys.executable, "-c", code], checkout).strip() == "1"


def test_an_installed_graphc_has_no_finder(checkout: Path, tmp_path: Path) -> None:
    for name in _FOLDERS:
        inside = tmp_path / "graphc" / ("" if name == "graphc" else name)
        shutil.copytree(checkout / name, inside, dirs_exist_ok=True)
    (tmp_path / "frontends").mkdir()  # a stranger's package of that name in the same site-packages
    (tmp_path / "frontends" / "__init__.py").write_text("raise RuntimeError('not graphc')\n")
    probe = _probe() + 'assert "CheckoutFinder" not in map(lambda f: type(f).__name__, sys.meta_path)\n'
    found = _run([sys.executable, "-c", probe], tmp_path)
    assert Path(found.strip()) == tmp_path / "graphc" / "frontends"


def test_the_facade_loads_each_name_from_its_module() -> None:
    assert graphc.GraphcError is importlib.import_module("graphc.errors").GraphcError
    assert set(graphc._LAZY) <= set(dir(graphc))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = graphc.nonsense


@pytest.mark.parametrize("name", sorted(graphc._LAZY))
def test_every_name_of_the_facade_exists(name: str) -> None:
    assert getattr(graphc, name) is not None


@pytest.mark.parametrize("name", ["nn", "optim"])
def test_nn_and_optim_are_facades_of_the_frontends(name: str) -> None:
    facade = importlib.import_module(f"graphc.{name}")
    target = importlib.import_module(f"graphc.frontends.{name}")
    public = [each for each in dir(target) if not each.startswith("_") and each not in _submodules(name)]
    assert public
    assert all(getattr(facade, each) is getattr(target, each) for each in public)
    for submodule in _submodules(name):
        face = importlib.import_module(f"graphc.{name}.{submodule}")
        behind = getattr(target, submodule)
        assert behind.__all__
        assert all(getattr(face, each) is getattr(behind, each) for each in behind.__all__)


def _submodules(name: str) -> list[str]:
    """What can be imported from below a façade."""
    folder = Path(importlib.import_module(f"graphc.{name}").__file__ or "").parent
    return [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def test_importing_a_facade_loads_nothing_behind_it() -> None:
    code = "import sys, graphc.nn, graphc.optim; print(*(n for n in sys.modules if n.startswith('graphc.frontends')))"
    assert _run([sys.executable, "-c", code], Path(graphc.__file__).parent.parent).strip() == ""


def _site_packages(environment: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(_run([str(_python_of(environment)), "-c", code], environment).strip())


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _fresh_environment(folder: Path) -> Path:
    """An environment that sees the packages of this one after its own."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    outer = Path(pytest.__file__).resolve().parent.parent
    # Named to be read last: the outer environment may hold a graphc of its own.
    (_site_packages(folder) / "zz_outer.pth").write_text(f"{outer}\n")
    return folder


def _pip(*arguments: str, cwd: Path, environment: Path | None = None) -> None:
    python = [sys.executable, "-m", "pip"]
    if environment is not None:
        python += ["--python", str(_python_of(environment))]
    _run([*python, "--disable-pip-version-check", *arguments], cwd)


def _hatch(checkout: Path, target: str, output: Path) -> Path:
    _run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(output)], checkout)
    [built] = output.iterdir()
    return built


@pytest.mark.slow
def test_wheel_holds_and_runs_only_graphc(checkout: Path, tmp_path: Path) -> None:
    _pip("wheel", "--no-build-isolation", "--no-deps", "-w", str(tmp_path / "dist"), ".", cwd=checkout)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"graphc", f"graphc-{graphc.__version__}.dist-info"}

    environment = _fresh_environment(tmp_path / "env")
    _pip("install", "--no-deps", "--no-index", "--ignore-installed", str(wheel), cwd=tmp_path, environment=environment)
    found = _run([str(_python_of(environment)), "-c", _probe()], tmp_path)
    assert Path(found.strip()) == _site_packages(environment) / "graphc" / "frontends"


@pytest.mark.slow
def test_editable_install_runs_from_the_checkout(checkout: Path, tmp_path: Path) -> None:
    environment = _fresh_environment(tmp_path / "env")
    options = ("--no-build-isolation", "--no-deps", "--ignore-installed")
    _pip("install", *options, "-e", ".", cwd=checkout, environment=environment)
    found = _run([str(_python_of(environment)), "-c", _probe()], tmp_path)
    assert Path(found.strip()) == checkout / "frontends"


@pytest.mark.slow
def test_sdist_gives_the_same_wheel(checkout: Path, tmp_path: Path) -> None:
    direct = _hatch(checkout, "wheel", tmp_path / "direct")
    sdist = _hatch(checkout, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    indirect = _hatch(unpacked, "wheel", tmp_path / "indirect")
    names = zipfile.ZipFile(indirect).namelist()
    assert names == zipfile.ZipFile(direct).namelist()
    assert {name.split("/")[0] for name in names} == {"graphc", f"graphc-{graphc.__version__}.dist-info"}
