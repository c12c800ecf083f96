"""A folder with model files, and the command line called in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graphc.cli import main

CLASSIFIER = """\
import graphc as G


def model(batch=4, hidden=8, rate=0.5, label="net", big=False):
    x = G.input("x", (batch, 3))
    y = G.input("y", (batch,), dtype="int64")
    w = G.parameter("w", shape=(3, hidden))
    v = G.parameter("v", shape=(hidden, 2))
    scores = G.tanh(x @ w) @ v
    chosen = G.take_along_axis(G.log_softmax(scores, axis=-1), G.expand_dims(y, axis=1), axis=1)
    loss = -G.mean(chosen)
    dw, dv = G.grad(loss, [w, v])
    step = G.Step(loss, [(w, w - rate * dw), (v, v - rate * dv)], training=True)
    return G.Model(predict=scores, loss=loss, train=step)
"""

RECURRENT = """\
import graphc as G

x = G.input("x", (12, 2, 3))
w = G.parameter("w", shape=(3, 3))
h = G.zeros((2, 3))
for step in range(12):
    h = G.tanh(x[step] + h @ w)
model = G.Model(predict=h)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, with two model files and data for the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classifier.py").write_text(CLASSIFIER, encoding="utf-8")
    (tmp_path / "recurrent.py").write_text(RECURRENT, encoding="utf-8")
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 3))
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x[:4].astype(np.float32))
    return tmp_path


@pytest.fixture
def graphc(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``graphc("compile", "classifier.py")`` runs that command in the folder."""

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    return run


@pytest.fixture
def refused(graphc: Callable[..., Outcome]) -> Callable[..., str]:
    """``refused(words, code, "E105")`` runs a command that must fail so, and returns its one line."""

    def run(words: Sequence[str], code: int, error: str) -> str:
        outcome = graphc(*words)
        assert outcome.code == code, outcome
        assert outcome.out == "", outcome
        [line] = outcome.err.splitlines()
        assert line.startswith("graphc: error: ")
        assert f"[{error}]" in line
        assert "Traceback" not in line
        return line

    return run
