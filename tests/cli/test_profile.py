"""``graphc profile``."""

import json

import pytest

from graphc.kernel.cost import Level, Machine


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """A machine that need not be measured."""
    levels = (Level(32 << 10, 2e11, 1e11), Level(float("inf"), 2e10, 1e10))
    machine = Machine(1e11, 1e11, levels, {"tanh": 33.0}, {"tanh": 20.0})
    monkeypatch.setattr("graphc.driver.machine", lambda backend, again=False: machine)


PROFILE = ["profile", "recurrent.py", "--seconds", "0.05"]


def test_kernels_with_their_lines_and_limits(graphc):
    outcome = graphc(*PROFILE)
    assert outcome.code == 0
    header, _, *rows = outcome.out.splitlines()
    assert header.split() == [
        *("kernel", "layer", "line", "runs", "time", "share", "GFLOP/s", "GB/s", "of", "limit", "limited", "by"),
    ]
    assert any("matmul" in row and "recurrent.py:7" in row and " 12 " in row for row in rows)
    assert any(row.startswith("(between kernels)") for row in rows)
    assert "of the limit; timing the kernels makes it " in outcome.out
    assert "100 GFLOP/s" in outcome.out


def test_figures_as_json_belong_together(graphc):
    figures = json.loads(graphc("profile", "classifier.py", "--entry", "train", "--seconds", "0.05", "--json").out)
    kernels = figures["kernels"]
    assert figures["entry"] == "train"
    assert sum(line["seconds"] for line in kernels) + figures["between_seconds"] == pytest.approx(figures["seconds"])
    assert sum(line["limit_seconds"] for line in kernels) == pytest.approx(figures["limit_seconds"])
    assert [line["seconds"] for line in kernels] == sorted((line["seconds"] for line in kernels), reverse=True)
    assert all(line["share"] == pytest.approx(line["seconds"] / figures["seconds"]) for line in kernels)
    product = next(line for line in kernels if line["op"] == "fused" and line["flops"] >= 2 * 4 * 3 * 8)
    assert product["line"].startswith("classifier.py:")
    assert product["limited_by"] in ("arithmetic", "reading", "writing")
    assert figures["machine"]["levels"][1] == {"bytes": None, "read_gb_s": 20.0, "write_gb_s": 10.0}
    assert figures["profiling_overhead"] > -1.0


WIDE = """
import graphc as G

x = G.input("x", (256, 256))
w = G.parameter("w", shape=(256, 256))
y = G.sum(G.tanh(x @ w) @ w, axis=1)
model = G.Model(predict=y)
"""


def test_two_threads_share_what_is_worth_it(graphc, folder):
    (folder / "wide.py").write_text(WIDE)
    command = ["profile", "wide.py", "--seconds", "0.05", "--threads"]
    text = graphc(*command, "2").out
    assert "the first of 2 threads" in text
    assert "(between kernels, and waiting for each other)" in text
    one, two = (json.loads(graphc(*command, number, "--json").out) for number in "12")
    assert (one["threads"], two["threads"]) == (1, 2)
    products = [[line for line in figures["kernels"] if line["flops"] > 2e7] for figures in (one, two)]
    assert [[line["runs"] for line in lines] for lines in products] == [[1, 1], [1, 1]]
    for alone, shared in zip(
        *(sorted(lines, key=lambda line: line["kernel"]) for lines in products),
        strict=True,
    ):
        assert shared["limit_seconds"] == pytest.approx(alone["limit_seconds"] / 2)


def test_only_the_slowest_are_listed(graphc):
    text = graphc("profile", "classifier.py", "--entry", "train", "--seconds", "0.05", "--top", "2").out
    assert len([line for line in text.splitlines() if "classifier.py:" in line]) <= 2
    assert " more " in text


def test_quiet_prints_nothing(graphc):
    outcome = graphc(*PROFILE, "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_what_cannot_be_profiled_is_refused(refused, graphc):
    assert "--backend llvm" in refused([*PROFILE, "--backend", "numpy"], 2, "E333")
    assert "did you mean predict?" in refused([*PROFILE, "--entry", "predikt"], 2, "E448")
    refused([*PROFILE, "--seed", "-1"], 2, "E106")
    refused([*PROFILE, "--threads", "-2"], 2, "E106")
    assert graphc("compile", "recurrent.py", "--backend", "numpy", "-q").code == 0
    assert "compiled" in refused(["profile", "recurrent"], 74, "E101")
