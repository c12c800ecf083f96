"""``graphc compile``."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import graphc as G


def test_it_writes_an_artifact_that_python_imports(graphc, folder):
    outcome = graphc("compile", "classifier.py", "--set", "hidden=5")
    assert outcome.code == 0
    assert outcome.out.startswith("classifier: 3 entry points, 25 parameters, ")
    program = "import numpy, classifier as c; print(c.Model().predict(numpy.load('x.npy')).shape)"
    process = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert process.stdout == "(4, 2)\n"


def test_it_says_which_loops_it_found(graphc):
    outcome = graphc("compile", "recurrent.py", "-o", "out/net", "--backend", "numpy")
    assert outcome.out.splitlines()[0] == "predict: rolled 1 loop: 12 × 3 nodes, 1 left"
    assert outcome.out.splitlines()[-1].startswith("out/net: 1 entry point, 9 parameters")


def test_figures_as_json(graphc, folder):
    figures = json.loads(graphc("compile", "recurrent.py", "--name", "cell", "--backend", "numpy", "--json").out)
    assert figures["artifact"] == str(folder / "cell")
    assert figures["name"] == "cell"
    assert figures["entries"]["predict"]["loops"][0]["trips"] == 12
    assert figures["bytes"] > 0
    assert {"model file", "emit"} <= {row["stage"] for row in figures["timings"]}


def test_time_prints_stages_that_add_up(graphc):
    lines = graphc("compile", "recurrent.py", "--backend", "numpy", "--time").out.splitlines()
    rows = {line.rsplit(maxsplit=2)[0].strip(): line.split()[-2] for line in lines if line.endswith("%")}
    assert {"model file", "pass roll", "emit", "write"} <= set(rows)
    [total] = [line.split()[-1] for line in lines if line.startswith("total ")]
    # Each figure is rounded to a tenth of a millisecond.
    assert sum(map(float, rows.values())) == pytest.approx(float(total), abs=0.05 * (len(rows) + 1))
    assert "compile cache: off: the backend numpy has no need of it" in lines


def test_stages_of_native_code_add_up_exactly(graphc):
    figures = json.loads(graphc("compile", "classifier.py", "--json").out)
    seconds = {row["stage"]: row["seconds"] for row in figures["timings"]}
    assert sum(seconds.values()) == pytest.approx(figures["seconds"], rel=1e-12)
    assert {"model file", "differentiate", "pass roll", "lower", "memory plan", "emit", "llvm"} <= set(seconds)
    assert {"load", "initial values", "link", "write"} <= set(seconds)
    assert min(seconds.values()) >= 0.0
    spent = sum(line["seconds"] for line in figures["passes"] if line["pass"] == "simplify")
    assert spent == pytest.approx(seconds["pass simplify"])


def test_verbose_prints_what_each_pass_did(graphc):
    text = graphc("compile", "recurrent.py", "--backend", "numpy", "-v").out
    assert "predict: roll: " in text
    assert " nodes in " in text


def test_a_cached_build_says_the_same_and_writes_the_same_bytes(graphc, folder, monkeypatch):
    def files(name):
        return {path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob("*.*")}

    def build(place):
        figures = json.loads(graphc("compile", "recurrent.py", "-o", f"{place}/net", "--json").out)
        text = graphc("compile", "recurrent.py", "-o", f"{place}/net", "--force", "--time").out
        return figures, [line for line in text.splitlines() if line.startswith(("predict", place))], text

    off = build("off")
    monkeypatch.delenv("GRAPHC_DEBUG")
    monkeypatch.setattr("graphc.cache._LOADED", float("inf"))  # whoever edits graphc meanwhile
    monkeypatch.setenv("GRAPHC_CACHE", str(folder / "cache"))
    missed, hit = build("miss"), build("hits")
    assert [missed[0]["cache"], hit[0]["cache"]] == ["miss", "hit"]
    assert "compile cache: hit" in hit[2]
    assert "llvm" not in hit[2]
    assert off[0]["entries"] == missed[0]["entries"] == hit[0]["entries"]
    assert off[1][0] == hit[1][0] == "predict: rolled 1 loop: 12 × 3 nodes, 1 left"
    assert files("off/net") == files("miss/net") == files("hits/net")


def test_quiet_prints_nothing(graphc):
    outcome = graphc("compile", "recurrent.py", "--backend", "numpy", "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_a_dimension_is_bound(graphc, refused, folder):
    (folder / "m.py").write_text(
        "import graphc as G\nmodel = G.Model(p=G.input('x', ('n', 2)) * 2)\n", encoding="utf-8"
    )
    assert graphc("compile", "m.py", "--dim", "n=7", "--backend", "numpy", "-q").code == 0
    assert G.load("m").p(np.ones((7, 2), np.float32)).shape == (7, 2)
    refused(["compile", "m.py", "--backend", "numpy", "-o", "other"], 2, "E340")
    refused(["compile", "m.py", "--backend", "numpy", "-o", "other", "--dim", "m=7"], 2, "E340")


@pytest.mark.parametrize("name", ["../../x", "class", "x" * 300, "a\0b", "ä", ""])
def test_an_impossible_name_is_refused(refused, folder, name):
    before = sorted(folder.rglob("*"))
    assert "cannot be called" in refused(["compile", "classifier.py", "--backend", "numpy", "--name", name], 2, "E108")
    assert sorted(folder.rglob("*")) == before


def test_a_destination_that_is_there_is_refused_before_the_build(refused, graphc, folder, monkeypatch):
    assert graphc("compile", "recurrent.py", "--backend", "numpy", "-q").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("graphc.driver.compile", None)
        refused(["compile", "recurrent.py"], 74, "E107")
    assert graphc("compile", "recurrent.py", "--backend", "numpy", "-q", "--force").code == 0


def test_a_link_is_never_followed(refused, folder):
    (folder / "target").mkdir()
    (folder / "recurrent").symlink_to("target")
    refused(["compile", "recurrent.py", "--backend", "numpy", "--force"], 74, "E107")
    assert not list((folder / "target").iterdir())


def test_a_read_only_folder_is_refused_before_the_build(refused, folder, monkeypatch):
    (folder / "locked").mkdir()
    # What a mode of 0o555 says to anyone but root.
    monkeypatch.setattr(os, "access", lambda path, _mode: os.path.basename(path) != "locked")
    assert "read-only" in refused(["compile", "recurrent.py", "-o", "locked/net"], 74, "E570")


def test_a_file_in_the_way_of_the_folder_is_refused(refused):
    refused(["compile", "recurrent.py", "-o", "data.npz/net"], 74, "E570")


def test_a_build_within_its_time_is_an_ordinary_build(graphc, folder):
    assert graphc("compile", "recurrent.py", "--backend", "numpy", "--timeout", "60", "-q").code == 0
    assert (folder / "recurrent" / "manifest.json").is_file()


STUBBORN = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        while True:
            time.sleep(0.01)
    except BaseException:
        pass
"""


def test_a_build_that_never_ends_is_ended_whatever_it_does(refused, folder, monkeypatch):
    monkeypatch.setattr("graphc.cli.watchdog._GRACE_S", 0.2)
    (folder / "m.py").write_text(STUBBORN, encoding="utf-8")
    before = sorted(folder.rglob("*"))
    assert "after 1 s" in refused(["compile", "m.py", "--timeout", "1"], 2, "E109")
    assert sorted(folder.rglob("*")) == before


LEAVES_HALF = """\
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.mkdir(f".m.{os.getpid()}-abcd.new")
os.rename("m", f".m.{os.getpid()}-abcd.old")
time.sleep(60)
"""


def test_what_a_killed_build_leaves_is_put_right(refused, folder, monkeypatch):
    monkeypatch.setattr("graphc.cli.watchdog._GRACE_S", 0.2)
    (folder / "m.py").write_text(LEAVES_HALF, encoding="utf-8")
    (folder / "m").mkdir()
    before = sorted(folder.rglob("*"))
    refused(["compile", "m.py", "--timeout", "1"], 2, "E109")
    assert sorted(folder.rglob("*")) == before
