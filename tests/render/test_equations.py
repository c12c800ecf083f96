"""Formulas: right for a model that everybody knows, honest about what they cannot show, safe whatever the names are."""

import re

import pytest

from graphc.errors import GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.types import float32, tensor_type
from graphc.passes.pipeline import run_pipeline
from graphc.render import render
from graphc.render.equations import equations, to_latex
from graphc.render.terms import latex_name
from tests.render.models import chain, hostile, logistic, mlp, parameter, recurrent


def test_logistic_regression_and_its_cotangents():
    assert to_latex(logistic()) == (
        "\\begin{align*}\n"
        "  y &= \\sigma\\left(w_{0} + X^{\\top} w\\right)\n"
        "\\end{align*}\n"
        "\\begin{align*}\n"
        "  z_{1} &= \\overline{y} \\odot y \\odot \\left(1 - y\\right) \\\\\n"
        "  \\overline{w} &= X z_{1} \\\\\n"
        "  \\overline{w_{0}} &= \\operatorname{sum}\\left(z_{1}\\right)\n"
        "\\end{align*}\n"
    )


def test_the_gradient_of_a_loss():
    text = to_latex(logistic(), "loss")
    assert "\\mathrm{loss} &= \\operatorname{sum}\\left(z_{2}^{\\circ 2}\\right)" in text
    assert "z_{3} &= 2 z_{2} \\odot z_{1} \\odot \\left(1 - z_{1}\\right)" in text
    assert "\\frac{\\partial \\mathrm{loss}}{\\partial w} &= X z_{3}" in text


def test_a_graph_alone_will_do():
    graph = logistic().entries["predict"]
    assert to_latex(graph) == to_latex(logistic(), "predict")


def test_inputs_are_differentiated_where_there_are_no_parameters():
    b = Builder()
    x = b.input("x", tensor_type(float32, ()))
    text = to_latex(Graph.make("f", [x], [("y", b.op("square", x))], builder=b))
    assert "y &= x^{2}" in text
    assert "\\frac{\\partial y}{\\partial x} &= 2 x" in text


def test_updates_are_shown_as_they_are():
    made = equations(mlp(), "train")
    assert len(made.model) + len(made.gradient) > 8
    assert "\\operatorname{new}\\left(\\mathrm{dense\\_0/kernel}\\right)" in to_latex(mlp(), "train")


def test_a_broadcast_is_written_where_it_is_not_understood():
    b = Builder()
    x = b.input("x", tensor_type(float32, (3,)))
    total = b.op("sum", b.op("broadcast_to", x, shape=(4, 3)), axes=(0, 1), keepdims=False)
    assert "broadcast" in to_latex(Graph.make("f", [x], [("y", total)], builder=b))


def test_functions_parts_and_quotients():
    b = Builder()
    x, y = b.input("x", tensor_type(float32, (4, 4))), b.input("beta", tensor_type(float32, (4,)))
    row = b.op("index", x, axis=0, index=2)
    made = b.op("divide", b.op("logaddexp", row, y), b.op("softplus", y))
    text = to_latex(Graph.make("f", [x, y], [("out", made)], builder=b))
    assert "x_{[2]}" in text
    assert "\\operatorname{logaddexp}\\left(x_{[2]}, \\beta\\right)" in text
    assert "\\frac{" in text


def test_large_graphs_are_refused():
    for graph in (chain(100), recurrent(64).entries["train"]):
        with pytest.raises(GraphcValueError, match="formulas can be read up to 60") as raised:
            to_latex(graph)
        assert raised.value.code == "E136"


def test_loops_are_refused():
    rolled = run_pipeline(recurrent(64).entries["train"], until="hoist")
    with pytest.raises(GraphcValueError, match=r"loops, which have no formula|can be read up to"):
        to_latex(rolled, limit=10_000)


def test_files(tmp_path):
    document = render(logistic(), tmp_path / "m.tex", stage="equations", entry="loss").read_text()
    assert document.startswith("\\documentclass{article}")
    assert document.count("\\begin{align*}") == document.count("\\end{align*}") == 2
    assert "$X$ (5$\\times$7)" in document
    page = render(logistic(), tmp_path / "m.html", stage="equations").read_text()
    assert page.count("<math") == page.count("</math>") == 4
    assert "http:" not in page and "<script" not in page


def test_hostile_names_stay_names(tmp_path):
    text = to_latex(hostile())
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")
    assert "\\input" not in text
    assert re.search(r"(?<!\\)[%#$]", text) is None
    page = render(hostile(), tmp_path / "m.html", stage="equations").read_text()
    assert "<script" not in page
    assert "\\input" not in render(hostile(), tmp_path / "m.tex", stage="equations").read_text()


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("w", "w"),
        ("w0", "w_{0}"),
        ("W_12", "W_{12}"),
        ("sigma", "\\sigma"),
        ("kernel", "\\mathrm{kernel}"),
        ("a_b", "\\mathrm{a\\_b}"),
        ("50%", "\\mathrm{50\\%}"),
        ("", "\\mathrm{}"),
    ],
)
def test_names(name, latex):
    assert latex_name(name) == latex


def test_equal_names_are_told_apart():
    b = Builder()
    x = b.input("y", tensor_type(float32, (2, 2)))
    module = Module("m", {"f": Graph.make("f", [x], [("y", b.op("matmul", x, parameter(b, "w", 2, 2)))], builder=b)})
    assert "y' &= y w" in to_latex(module)
