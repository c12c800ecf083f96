"""Verbs, options and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphc.cli import summary
from graphc.cli.common import Console, json_value, one_line, readable_size, table
from graphc.cli.main import VERBS
from graphc.errors import VerificationError

ROOT = Path(__file__).resolve().parent.parent.parent


def start(folder, *words):
    """The command line as a process of its own, with Ctrl-C as in a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "graphc", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def raising(fault):
    """A function of graphc, by its file, that raises ``fault``."""
    namespace = {"fault": fault}
    exec(compile("def execute(*_):\n    raise fault\n", summary.__file__, "exec"), namespace)
    return namespace["execute"]


def test_help_lists_every_verb(graphc):
    outcome = graphc("--help")
    assert outcome.code == 0
    assert all(f"  {verb} " in outcome.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example(graphc, verb):
    outcome = graphc(verb, "--help")
    assert outcome.code == 0
    assert f"  graphc {verb} " in outcome.out.partition("example")[2]
    assert "--quiet" in outcome.out
    assert "--debug" in outcome.out


def test_without_a_verb_the_help_is_an_error(graphc):
    outcome = graphc()
    assert (outcome.code, outcome.out) == (2, "")
    assert "commands:" in outcome.err


def test_help_and_version_load_nothing_heavy():
    program = (
        "import sys; from graphc.cli import main; main(['--help']); main(['compile', '--help'])\n"
        "print('heavy:', *[name for name in ('numpy', 'llvmlite', 'sympy', 'graphviz') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1].strip() == "heavy:"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["complie", "classifier.py"], "did you mean compile?"),
        (["compile", "classifier.py", "--bakend", "numpy"], "did you mean --backend?"),
        (["compile", "classifier.py", "--bakend=numpy"], "did you mean --backend?"),
        (["compile", "classifier.py", "--backend", "nmpy"], "did you mean numpy?"),
        (["compile", "classifier.py", "--cpu", "avx3"], "did you mean avx"),
        (["compile", "classifier.py", "more"], "unknown argument 'more'"),
        (["compile"], "MODEL"),
        (["compile", "classifier.py", "--set", "hidden"], "expected K=V"),
        (["compile", "classifier.py", "--dim", "n=x"], "expected NAME=N"),
        (["compile", "classifier.py", "--timeout", "-1"], "seconds"),
        (["train", "classifier.py"], "--data"),
        (["train", "classifier.py", "--data", "data.npz", "--epochs", "0"], "positive number"),
        (["compare", "classifier.py", "--backends", "llmv"], "did you mean llvm?"),
        (["render", "classifier.py", "--stage", "roled"], "did you mean rolled?"),
        (["render", "classifier.py", "-o", "a.svgg"], "did you mean svg?"),
        (["run", "classifier.py", "predikt"], "did you mean predict?"),
    ],
)
def test_what_is_misspelt_is_refused_with_the_nearest_name(graphc, words, said):
    outcome = graphc(*words)
    assert outcome.code == 2, outcome
    [line] = outcome.err.splitlines()
    assert said in line


def test_options_and_arguments_stand_in_any_order(graphc):
    assert "predict" in graphc("run", "--input", "x=x.npy", "classifier.py", "--backend", "numpy", "predict").out


def test_debug_shows_the_traceback_before_the_line(graphc, folder):
    (folder / "m.py").write_text("model = 1 / 0\n", encoding="utf-8")
    outcome = graphc("summary", "m.py", "--debug")
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("graphc: error: m.py:1: ")


@pytest.mark.parametrize("fault", [RuntimeError("broken\ninside"), VerificationError("E902", "not valid")])
def test_a_fault_of_graphc_leaves_a_report(graphc, monkeypatch, folder, fault):
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(summary, "execute", raising(fault))
    outcome = graphc("summary", "classifier.py")
    assert outcome.code == 70
    [line] = outcome.err.splitlines()
    assert line.startswith("graphc: internal error: ")
    [report] = folder.glob("graphc-report-*.txt")
    assert str(report) in line
    text = report.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "graphc 'summary' 'classifier.py'" in text
    assert "numpy " in text


@pytest.mark.parametrize(
    ("fault", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 74), (BrokenPipeError(), 74), (MemoryError(), 2)],
)
def test_exit_codes_of_what_may_happen_anywhere(graphc, monkeypatch, fault, code):
    monkeypatch.setattr(summary, "execute", raising(fault))
    monkeypatch.setattr("os.dup2", lambda *_: None)  # the test's own standard output stays
    assert graphc("summary", "classifier.py").code == code


def test_a_warning_is_one_line(graphc, folder):
    (folder / "m.py").write_text(
        "import warnings, graphc as G\nwarnings.warn('careful\\nhere')\nmodel = G.Model(p=G.input('x', (2,)) + 1)\n",
        encoding="utf-8",
    )
    assert "graphc: warning: careful here\n" in graphc("summary", "m.py").err


def test_ctrl_c_ends_with_130_and_one_line(folder):
    (folder / "m.py").write_text("import time\nopen('started', 'w').close()\ntime.sleep(60)\n", encoding="utf-8")
    with start(folder, "compile", "m.py") as process:
        while not (folder / "started").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "graphc: interrupted\n")


def test_a_reader_that_leaves_is_no_error(folder):
    with start(folder, "summary", "classifier.py") as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 74


# -- text --------------------------------------------------------------------------------------------------------------


def test_a_name_cannot_steer_the_terminal():
    assert one_line("a\x1b[2Jb\nc") == "a\\x1b[2Jb c"


def test_a_table_aligns_numbers_at_the_right():
    assert table([("a", 1), ("bb", 22)], header=("k", "n"), right=[1]) == "k    n\n--  --\na    1\nbb  22"


def test_sizes_are_readable():
    assert [readable_size(size) for size in (5, 2048, 3 << 20, 5 << 30)] == ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB"]


def test_json_has_null_for_what_it_has_no_number_for(capsys):
    Console(json=True).figures({"a": [float("nan"), 1.5], "b": float("inf")})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": None}
    assert json_value({1: (2,)}) == {"1": [2]}
