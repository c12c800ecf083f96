"""Every example compiles, trains and runs as a user would run it.

A file in ``examples/`` is found by itself.  One that takes longer than a few seconds has the option ``--quick``: a run
that is too short for what it claims, which is therefore not checked then.  What an example claims is asserted, with
seeds, by the slow tests in ``tests/examples``.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc.cli import main
from graphc.cli.comparison import index_limit
from graphc.cli.model_file import ModelFile
from graphc.ir.graph import Module

FOLDER = Path(__file__).resolve().parent.parent / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("_"))
"""What a name with an underscore holds is shared by examples and is none."""

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def text_of(example: Path) -> str:
    return example.read_text(encoding="utf-8")


@each_example
def test_it_runs(example: Path, tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example), *(["--quick"] if '"--quick"' in text_of(example) else [])],
        cwd=tmp_path,
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_example
def test_it_compiles_and_trains_from_the_command_line(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModelFile(str(example)).model().module
    artifact = str(tmp_path / example.stem)
    if "train" not in module.entries:
        code = main(["compile", str(example), "-o", artifact, "--quiet"])
    else:
        np.savez(tmp_path / "data.npz", **one_batch(module))
        code = main(["train", str(example), "--data", str(tmp_path / "data.npz"), "-o", artifact, "--quiet"])
    assert code == 0, capsys.readouterr().err
    assert (tmp_path / example.stem / "manifest.json").is_file()


def one_batch(module: Module) -> dict[str, np.ndarray]:
    """Random arrays for the inputs of ``train``; integers stay inside what they index."""
    graph = module.entry("train")
    rng = np.random.default_rng(0)
    made = {}
    for node in graph.inputs:
        shape, dtype = node.tensor.static_shape, node.dtype
        if dtype.is_float:
            made[node.attrs["name"]] = rng.standard_normal(shape).astype(dtype.name)
        else:
            made[node.attrs["name"]] = rng.integers(0, index_limit(node, graph), shape).astype(dtype.name)
    return made


def test_every_example_has_a_docstring_that_says_how_to_run_it() -> None:
    for example in EXAMPLES:
        text = text_of(example)
        assert text.startswith('"""') and f"examples/{example.name}" in text, example
