"""``graphc render``; what the pictures show is tested with the renderer."""

import pytest

from graphc.render.stages import STAGES


def test_a_graph_is_written_as_dot(graphc, folder):
    outcome = graphc("render", "recurrent.py", "-o", "net.dot", "--stage", "rolled")
    assert (outcome.code, outcome.out) == (0, "net.dot: rolled of recurrent.py\n")
    text = (folder / "net.dot").read_text(encoding="utf-8")
    assert text.startswith("digraph")
    assert "recurrent" in text


def test_the_memory_is_drawn_without_graphviz(graphc, folder):
    assert graphc("render", "classifier.py", "--stage", "memory", "-q", "--set", "hidden=5").code == 0
    assert "<svg" in (folder / "classifier.svg").read_text(encoding="utf-8")


def test_the_format_may_be_given_beside_the_name(graphc, folder):
    assert graphc("render", "classifier.py", "-o", "drawing", "--format", "dot", "--entry", "loss").code == 0
    assert (folder / "drawing").read_text(encoding="utf-8").startswith("digraph")


def test_the_help_names_every_stage(graphc):
    text = graphc("render", "--help").out
    assert all(stage in text for stage in STAGES)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["-o", "net.gif"], 2, "E106"),
        (["-o", "net"], 2, "E106"),
        (["--stage", "memory", "-o", "net.png"], 2, "E106"),
        (["-o", "nowhere/net.dot"], 74, "E570"),
        (["-o", "net.dot", "--entry", "predikt"], 2, "E448"),
        (["-o", "net.dot", "--stage", "gradient"], 2, "E135"),
    ],
)
def test_what_cannot_be_drawn_is_refused(refused, folder, words, code, error):
    before = sorted(folder.iterdir())
    refused(["render", "recurrent.py", *words], code, error)
    assert sorted(folder.iterdir()) == before


def test_a_file_that_is_there_is_replaced_only_by_force(refused, graphc, folder):
    (folder / "net.dot").write_text("mine", encoding="utf-8")
    refused(["render", "recurrent.py", "-o", "net.dot"], 74, "E107")
    assert (folder / "net.dot").read_text(encoding="utf-8") == "mine"
    assert graphc("render", "recurrent.py", "-o", "net.dot", "--force").code == 0
    assert (folder / "net.dot").read_text(encoding="utf-8") != "mine"
